//! Where the offsite Redis is, as its URL says.

use std::net::IpAddr;

/// How the machines behind an address work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One server.
    Single,
    /// Sentinels, asked for the primary of this service.
    Sentinel(String),
    /// A cluster; any of its nodes will do to begin with.
    Cluster,
}

/// A parsed URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// How the machines work together.
    pub layout: Layout,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The ACL user; the default user if none.
    pub user: Option<String>,
    /// Host and port; at least one.
    pub hosts: Vec<(String, u16)>,
    /// The database's number; always 0 in a cluster.
    pub database: u8,
    text: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Most machines a URL may name.
const MAX_HOSTS: usize = 64;
/// Longest URL, in bytes.
const MAX_URL: usize = 4096;

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let wrong = || format!("`{text}` is not HOST or HOST:PORT");
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
        (host, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")).ok_or_else(wrong)?)
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(fine) {
        return Err(wrong());
    }
    let port = if port.is_empty() { default } else { port.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)? };
    Ok((host.to_owned(), port))
}

impl Address {
    /// Reads a URL. `plaintext`: other machines may be reached without TLS.
    ///
    /// # Errors
    /// What is wrong and what to write instead. The message never holds a password.
    pub fn parse(url: &str, plaintext: bool) -> Result<Self, String> {
        if url.len() > MAX_URL || url.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(format!("it is longer than {MAX_URL} bytes or has spaces or control characters"));
        }
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme; write rediss://USER@HOST:PORT/DB")?;
        let (tls, kind) = match scheme.split_once('+').unwrap_or((scheme, "")) {
            ("rediss", kind) => (true, kind),
            ("redis", kind) => (false, kind),
            _ => return Err(format!("`{scheme}` is not rediss or redis, or one of them with +sentinel or +cluster")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, machines) = authority.rsplit_once('@').map_or((None, authority), |(user, rest)| (Some(user), rest));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "it carries a password, which everybody who may read this file would see; write the password into a \
                 file of its own: [credentials] redis-writer = { file = \"...\" }, and [redis] credential = \
                 \"redis-writer\""
                    .to_owned(),
            );
        }
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if let Some(user) = user.filter(|user| user.is_empty() || !user.chars().all(word)) {
            return Err(format!("`{user}` is not the name of an ACL user"));
        }
        if path.contains(['?', '#']) {
            return Err("parameters after `?` or `#` are not known here; [redis] has keys for them".to_owned());
        }
        let number = |text: &str| match text {
            "" => Ok(0),
            text => text.parse::<u8>().map_err(|_| format!("`{text}` is not a database's number")),
        };
        let (layout, port, database) = match kind {
            "" if !scheme.contains('+') => (Layout::Single, 6379, number(path)?),
            "sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() || !service.chars().all(word) {
                    return Err("Sentinel needs the service's name: rediss+sentinel://HOST:PORT/SERVICE".to_owned());
                }
                (Layout::Sentinel(service.to_owned()), 26379, number(database)?)
            }
            "cluster" if number(path)? == 0 => (Layout::Cluster, 6379, 0),
            "cluster" => return Err("a cluster has one database only, number 0".to_owned()),
            other => return Err(format!("`+{other}` is not +sentinel or +cluster")),
        };
        let hosts = machines.split(',').map(|text| host_and_port(text, port)).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > MAX_HOSTS || (layout == Layout::Single && hosts.len() > 1) {
            return Err(format!(
                "it names {} machines; one without +sentinel or +cluster, else at most {MAX_HOSTS}",
                hosts.len()
            ));
        }
        let elsewhere = hosts.iter().find(|(host, _)| !is_this_machine(host));
        if let Some((host, _)) = elsewhere.filter(|_| !tls && !plaintext) {
            return Err(format!(
                "it would send passwords and events to {host} unencrypted; write rediss://, or say [redis] \
                 insecure_plaintext = true if the way there is safe"
            ));
        }
        Ok(Self { layout, tls, user: user.map(str::to_owned), hosts, database, text: url.to_owned() })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_is_read() {
        let one = Address::parse("rediss://writer@redis.example.net:6380/3", false).unwrap();
        assert_eq!((one.layout, one.tls, one.database), (Layout::Single, true, 3));
        assert_eq!((one.user.as_deref(), one.hosts), (Some("writer"), vec![("redis.example.net".to_owned(), 6380)]));
        let sentinel = Address::parse("rediss+sentinel://w@s1,s2:26380,[::1]:7/fleet/2", false).unwrap();
        assert_eq!(sentinel.layout, Layout::Sentinel("fleet".to_owned()));
        let hosts: Vec<(&str, u16)> = sentinel.hosts.iter().map(|(h, p)| (h.as_str(), *p)).collect();
        assert_eq!(hosts, [("s1", 26379), ("s2", 26380), ("::1", 7)]);
        assert_eq!(sentinel.database, 2);
        let cluster = Address::parse("redis+cluster://127.0.0.1:7000,127.0.0.2", false).unwrap();
        assert_eq!((cluster.layout, cluster.tls, cluster.hosts.len()), (Layout::Cluster, false, 2));
        assert_eq!(cluster.hosts[1].1, 6379);
    }

    #[test]
    fn what_is_wrong_is_said_and_no_password_is_repeated() {
        for (url, word) in [
            ("redis.example.net", "scheme"),
            ("http://h", "`http`"),
            ("rediss+ring://h", "+ring"),
            ("rediss+://h", "`+`"),
            ("rediss://u:secret@h", "[credentials] redis-writer"),
            ("rediss://:secret@h", "file of its own"),
            ("rediss://u$@h", "ACL user"),
            ("rediss://h/x", "`x`"),
            ("rediss://h/300", "`300`"),
            ("rediss://h?ssl=no", "HOST:PORT"),
            ("rediss://h/0?ssl=no", "parameters"),
            ("rediss://", "HOST:PORT"),
            ("rediss://h:0", "h:0"),
            ("rediss://[::1", "HOST:PORT"),
            ("rediss://a,b", "2 machines"),
            ("rediss+sentinel://h", "SERVICE"),
            ("rediss+cluster://h/1", "number 0"),
            ("redis://h", "insecure_plaintext"),
            ("redis://127.0.0.1.example.net", "rediss://"),
            ("rediss://a b", "spaces"),
        ] {
            let error = Address::parse(url, false).unwrap_err();
            assert!(error.contains(word), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        Address::parse("redis://h", true).unwrap();
        Address::parse("redis://[::1]:7", false).unwrap();
    }
}
