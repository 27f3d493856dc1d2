//! Users and groups of this machine, as passwd(5) and group(5) have them.
//!
//! Directories behind NSS are not asked: that is code of others within this process. Their users have a role by number,
//! or by the group they connect with.

use std::io::Read;
use std::path::Path;

/// Most of each list that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Both lists, as they were when they were read.
#[derive(Debug)]
pub(super) struct Users {
    users: String,
    groups: String,
}

/// Reads both lists. One that cannot be read is empty: its names are nobody's.
pub(super) fn read_users(users: &Path, groups: &Path) -> Users {
    let read = |path: &Path| {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    };
    Users { users: read(users), groups: read(groups) }
}

/// `name:password:number:rest`.
fn entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.splitn(4, ':');
    let name = fields.next().filter(|name| !name.is_empty() && name.len() <= 256)?;
    let number = fields.nth(1)?.parse().ok()?;
    Some((name, number, fields.next().unwrap_or("")))
}

impl Users {
    /// The name of a user, or `uid 1000` where it has none.
    pub(super) fn name(&self, uid: u32) -> String {
        let found = self.users.lines().filter_map(entry).find(|(_, number, _)| *number == uid);
        found.map_or_else(|| format!("uid {uid}"), |(name, ..)| name.to_owned())
    }

    /// Whether `name`, or the number it is, is this user's.
    pub(super) fn is(&self, uid: u32, name: &str) -> bool {
        name.parse() == Ok(uid) || self.users.lines().filter_map(entry).any(|(n, number, _)| n == name && number == uid)
    }

    /// Whether a user who connects with group `gid` is in `group`: a name, or a number.
    pub(super) fn is_member(&self, uid: u32, gid: u32, group: &str) -> bool {
        if group.parse() == Ok(gid) {
            return true;
        }
        let number = group.parse::<u32>().ok();
        let mut groups = self.groups.lines().filter_map(entry);
        groups.any(|(name, id, members)| {
            (name == group || number == Some(id))
                && (id == gid || members.split(',').any(|member| !member.is_empty() && self.is_called(uid, member)))
        })
    }

    fn is_called(&self, uid: u32, name: &str) -> bool {
        self.users.lines().filter_map(entry).any(|(n, number, _)| n == name && number == uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_looked_up_by_their_number() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let users = Users { users: text.to_owned(), groups: "some:x:5:1000,,ann\n".to_owned() };
        assert_eq!((&*users.name(1000), &*users.name(0)), ("ann", "root"));
        assert_eq!(users.name(4_000_000_000), "uid 4000000000");
        assert!(users.is(1000, "ann") && users.is(1000, "1000") && !users.is(1000, "root") && !users.is(7, ""));
        assert!(users.is_member(1000, 9, "some") && users.is_member(1000, 9, "5") && users.is_member(3, 5, "some"));
        assert!(!users.is_member(3, 9, "some") && !users.is_member(1000, 9, "") && !users.is_member(1001, 9, "some"));
        let none = read_users(Path::new("/nowhere"), Path::new("/nowhere"));
        assert_eq!(none.name(0), "uid 0");
    }
}
