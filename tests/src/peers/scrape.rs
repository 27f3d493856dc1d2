//! A scraper of one page over a kept connection, as Prometheus does it: gzip asked for, every byte counted.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest page, in bytes.
const MAX_PAGE: usize = 16 << 20;

/// A connection to an exporter.
#[derive(Debug)]
pub(super) struct Scraper {
    stream: TcpStream,
    /// Bytes of both directions.
    pub(super) bytes: u64,
}

impl Scraper {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, bytes: 0 })
    }

    /// One page; the body is as it came, packed if `gzip`.
    pub(super) async fn get(&mut self, gzip: bool) -> anyhow::Result<Vec<u8>> {
        let coding = if gzip { "accept-encoding: gzip\r\n" } else { "" };
        let request = format!(
            "GET /metrics HTTP/1.1\r\nhost: localhost\r\nuser-agent: skynet-bench\r\naccept: text/plain;version=0.0.4\r\n{coding}\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.bytes += request.len() as u64;
        let mut got = Vec::new();
        let mut block = vec![0; 64 << 10];
        loop {
            if let Some(body) = body(&got)? {
                return Ok(body);
            }
            let n = self.stream.read(&mut block).await?;
            anyhow::ensure!(n > 0, "the exporter closed the connection");
            anyhow::ensure!(got.len() < MAX_PAGE, "a page of more than {MAX_PAGE} bytes");
            got.extend_from_slice(&block[..n]);
            self.bytes += n as u64;
        }
    }
}

/// The body of an answer; none while it is not whole.
fn body(got: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
    anyhow::ensure!(head.starts_with("http/1.1 200"), "the exporter answered: {head}");
    let mut rest = &got[end + 4..];
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        let length: usize = length.trim().parse()?;
        return Ok((rest.len() >= length).then(|| rest[..length].to_vec()));
    }
    let mut whole = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.context("a chunk without a size")?;
        if rest.len() < line + 2 + size + 2 {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(whole));
        }
        whole.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_whole_or_not_there() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(body(plain).unwrap(), Some(b"abc".to_vec()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), Some(b"abcd".to_vec()));
        for whole in [&plain[..], &chunked[..]] {
            for cut in 0..whole.len() {
                assert_eq!(body(&whole[..cut]).unwrap(), None, "{cut}");
            }
        }
        assert!(body(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
