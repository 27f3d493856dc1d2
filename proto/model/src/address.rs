//! Where something answers: `host:port` and `http://...`, as operators write them.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

/// Longest name of a host (RFC 1035), in bytes.
const MAX_HOST: usize = 253;
/// Longest URL, in bytes.
const MAX_URL: usize = 2048;

/// A host, by name or address, and a port where one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A DNS name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl Address {
    /// Parses `shop.example`, `shop.example:443`, `192.0.2.1:53`, `::1`, `[::1]:53`.
    ///
    /// # Errors
    /// A sentence: what it is not, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a host and port: write `shop.example:443`, `192.0.2.1:443` or `[::1]:443`");
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self { host: text.to_owned(), port: None });
        }
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(bad)).transpose()? {
            Some((inside, after)) => {
                inside.parse::<Ipv6Addr>().map_err(|_| bad())?;
                (inside, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) })
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port_of(port).ok_or_else(bad)).transpose()?;
        if host.parse::<IpAddr>().is_err() && !is_name(host) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = self.host.contains(':');
        match (self.port, bracketed) {
            (Some(port), true) => write!(f, "[{}]:{port}", self.host),
            (Some(port), false) => write!(f, "{}:{port}", self.host),
            (None, true) => write!(f, "[{}]", self.host),
            (None, false) => f.write_str(&self.host),
        }
    }
}

fn port_of(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port > 0)
}

/// Whether this can be the name of a host. Underscores are not of hosts, but names in use have them.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // What ends in a number is a mistyped address, not a name (URL Standard, "ends in a number").
    let plain = text.strip_suffix('.').unwrap_or(text);
    let last_is_number = plain.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    plain.len() <= MAX_HOST && !last_is_number && plain.split('.').all(label)
}

/// An `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host, and port where one is written.
    pub address: Address,
    /// Path and query, as sent; begins with `/`.
    pub target: String,
}

impl Url {
    /// Parses `http://host[:port][/path][?query]`. A fragment is left out; a user name or password is refused, for a
    /// policy is no place for either.
    ///
    /// # Errors
    /// A sentence: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("a URL has at most {MAX_URL} visible ASCII characters; write others as %XX"));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("`{text}` is not a URL: it begins with http:// or https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a URL here holds no user name or password".to_owned());
        }
        let address = Address::parse(authority)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { tls, address, target })
    }

    /// The port that is written, else the scheme's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port.unwrap_or(if self.tls { 443 } else { 80 })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_print_as_written() {
        for (text, host, port) in [
            ("shop.example:443", "shop.example", Some(443)),
            ("shop_1", "shop_1", None),
            ("192.0.2.1:53", "192.0.2.1", Some(53)),
            ("[::1]:53", "::1", Some(53)),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port, address.to_string().as_str()), (host, port, text));
        }
        assert_eq!(Address::parse("::1").unwrap().to_string(), "[::1]");
        for bad in
            ["", ":80", "a:", "a:0", "a:+1", "a:70000", "a b", "-a", "a..b", "[::1", "[x]:1", "1.2.3", "a/b", "a\r\nb"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_are_read_and_nothing_in_them_can_end_a_header() {
        let url = Url::parse("https://[::1]/a?b=c#d").unwrap();
        assert_eq!((url.tls, url.port(), url.target.as_str()), (true, 443, "/a?b=c"));
        assert_eq!(url.to_string(), "https://[::1]/a?b=c");
        let url = Url::parse("http://127.0.0.1:8080?x").unwrap();
        assert_eq!((url.port(), url.target.as_str()), (8080, "/?x"));
        for bad in
            ["ftp://a/", "a", "http://", "http:///x", "http://u:p@a/", "http://a/ b", "http://a/\r\nX: y", "http://ä/"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(Url::parse(&format!("http://a/{}", "x".repeat(MAX_URL))).is_err());
    }
}
