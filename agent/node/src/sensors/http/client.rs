//! HTTP/1.1 (RFC 9112), one request on a connection of its own, everything bounded.

use std::io::{self, ErrorKind, Read, Write};

use skynet_model::address::{Address, Url};

/// Largest head of an answer, all its interim ones together.
const MAX_HEAD: usize = 64 << 10;
/// What is read of a body; more is not asked for.
const MAX_BODY: usize = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    location: Option<String>,
    /// At most its first [`MAX_BODY`] bytes.
    body: Vec<u8>,
    /// How the body ended, if not well.
    pub(super) ended: Result<(), String>,
}

impl Answer {
    /// Whether the body holds `text`.
    pub(super) fn holds(&self, text: &[u8]) -> bool {
        text.is_empty() || self.body.windows(text.len()).any(|part| part == text)
    }

    /// Where it sends us, coming from `from`.
    ///
    /// # Errors
    /// Where that is no place to go to.
    pub(super) fn redirect(&self, from: &Url) -> Result<Option<Url>, String> {
        let Some(location) = self.location.as_deref().filter(|_| matches!(self.status, 301 | 302 | 303 | 307 | 308))
        else {
            return Ok(None);
        };
        let scheme = if from.tls { "https" } else { "http" };
        let absolute = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", from.address)
        } else {
            let path = from.target.split('?').next().unwrap_or("/");
            let folder = &path[..=path.rfind('/').unwrap_or(0)];
            format!("{scheme}://{}{folder}{location}", from.address)
        };
        let next = Url::parse(&absolute).map_err(|words| format!("it redirects to nowhere: {words}"))?;
        if from.tls && !next.tls {
            return Err("it redirects from https to http; that is not followed".to_owned());
        }
        Ok(Some(next))
    }
}

/// Sends the request and reads the answer.
///
/// # Errors
/// A sentence: why there is no answer.
pub(super) fn fetch(stream: &mut (impl Read + Write), method: &str, url: &Url) -> Result<Answer, String> {
    let said = |e: io::Error| e.to_string();
    let default = url.port() == if url.tls { 443 } else { 80 };
    let port = if default { None } else { url.address.port };
    let authority = Address { host: url.address.host.clone(), port };
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: skynet-agent/{}\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
        url.target,
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(said)?;
    let mut input = Input { stream, buf: Vec::new(), at: 0 };
    let mut left = MAX_HEAD;
    loop {
        let head = input.head(&mut left)?;
        // Interim answers (100, 103) precede the one that counts.
        if (100..200).contains(&head.status) && head.status != 101 {
            continue;
        }
        let (mut body, mut ended) = (Vec::new(), Ok(()));
        if method != "HEAD" && !matches!(head.status, 101 | 204 | 304) {
            ended = match (head.chunked, head.length) {
                (true, _) => input.chunks(&mut body),
                (false, Some(length)) => input.exactly(length, &mut body),
                (false, None) => input.until_end(&mut body),
            };
        }
        return Ok(Answer { status: head.status, location: head.location, body, ended });
    }
}

struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    location: Option<String>,
}

struct Input<'s, S> {
    stream: &'s mut S,
    buf: Vec<u8>,
    at: usize,
}

impl<S: Read> Input<'_, S> {
    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool, String> {
        self.buf.drain(..self.at);
        self.at = 0;
        let mut part = [0; 8192];
        loop {
            match self.stream.read(&mut part) {
                Ok(n) => {
                    self.buf.extend_from_slice(&part[..n]);
                    return Ok(n > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A TLS server that hangs up without a word: what its answer says of its own length decides.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// A line without its end; `left` is what may still be read.
    fn line(&mut self, left: &mut usize) -> Result<String, String> {
        loop {
            let rest = &self.buf[self.at..];
            if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                if end >= *left {
                    return Err("the head of its answer is too long".to_owned());
                }
                *left -= end + 1;
                let line = String::from_utf8_lossy(&rest[..end]).trim_end_matches('\r').to_owned();
                self.at += end + 1;
                return Ok(line);
            }
            if rest.len() >= *left {
                return Err("the head of its answer is too long".to_owned());
            }
            if !self.fill()? {
                return Err("it hung up before its answer was whole".to_owned());
            }
        }
    }

    fn head(&mut self, left: &mut usize) -> Result<Head, String> {
        let first = self.line(left)?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status = status.filter(|s| (100..1000).contains(s)).ok_or("what it answers is no HTTP/1")?;
        let mut head = Head { status, length: None, chunked: false, location: None };
        loop {
            let line = self.line(left)?;
            if line.is_empty() {
                return Ok(head);
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().map_err(|_| "its Content-Length is no number".to_owned())?;
                head.length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else if name.eq_ignore_ascii_case("location") {
                head.location = Some(value.to_owned());
            }
        }
    }

    /// Moves `n` bytes into `body`; ends early, and well, when that is full.
    fn exactly(&mut self, n: u64, body: &mut Vec<u8>) -> Result<(), String> {
        let mut left = usize::try_from(n).unwrap_or(usize::MAX);
        while left > 0 && body.len() < MAX_BODY {
            if self.at == self.buf.len() && !self.fill()? {
                return Err("it hung up before its body was whole".to_owned());
            }
            let take = left.min(self.buf.len() - self.at).min(MAX_BODY - body.len());
            body.extend_from_slice(&self.buf[self.at..self.at + take]);
            self.at += take;
            left -= take;
        }
        Ok(())
    }

    fn until_end(&mut self, body: &mut Vec<u8>) -> Result<(), String> {
        while body.len() < MAX_BODY {
            if self.at == self.buf.len() && !self.fill()? {
                return Ok(());
            }
            let take = (self.buf.len() - self.at).min(MAX_BODY - body.len());
            body.extend_from_slice(&self.buf[self.at..self.at + take]);
            self.at += take;
        }
        Ok(())
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<(), String> {
        // Sizes, extensions and trailers: as much as a body of chunks of 16 bytes would need.
        let mut left = MAX_BODY;
        while body.len() < MAX_BODY {
            let line = self.line(&mut left)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| "the size of a chunk is no number".to_owned())?;
            if size == 0 {
                while !self.line(&mut left)?.is_empty() {}
                return Ok(());
            }
            self.exactly(size, body)?;
            if body.len() < MAX_BODY && !self.line(&mut left)?.is_empty() {
                return Err("a chunk is longer than it says".to_owned());
            }
        }
        Ok(())
    }
}
