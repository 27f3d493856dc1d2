//! Mount points: which there are, and asking each how it is without being held by one that hangs.
//!
//! What must never enter: readings.

mod asker;

pub(crate) use asker::{Answer, Asker};

/// Most mounts that one sensor looks at.
pub(crate) const MAX_MOUNTS: usize = 128;

/// A line of /proc/mounts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount<'t> {
    pub(crate) source: &'t str,
    /// As written, escapes and all.
    escaped: &'t str,
    pub(crate) kind: &'t str,
}

impl Mount<'_> {
    /// Where it is mounted.
    pub(crate) fn point(&self) -> String {
        unescape(self.escaped)
    }
}

/// The mounts of proc_mounts(5), in its order; lines that are no text are left out.
pub(crate) fn table(text: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        Some(Mount { source: words.next()?, escaped: words.next()?, kind: words.next()? })
    })
}

/// proc_mounts(5) writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        let code = octal.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_mount_table_are_read() {
        assert_eq!(unescape("/a\\040b\\134c\\011"), "/a b\\c\t");
        assert_eq!(unescape("/a\\04"), "/a\\04");
        assert_eq!(unescape("/ä\\999"), "/ä\\999");
        let text = b"/dev/sda1 / ext4 rw 0 0\nnas:/x /my\\040data nfs4 rw 0 0\n\xff\n\nshort\n";
        let mounts: Vec<_> = table(text).collect();
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[1].source, mounts[1].kind, mounts[1].point().as_str()), ("nas:/x", "nfs4", "/my data"));
        assert_eq!(mounts[0].point(), "/");
    }
}
