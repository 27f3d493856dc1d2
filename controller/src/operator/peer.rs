//! Names of users.

use std::io::Read;

/// Most of the user list that is read, in bytes.
const MAX_USERS: u64 = 1 << 20;

/// The name of a user who is an operator: root, and whoever runs the controller.
///
/// # Errors
/// Why not, and who is.
pub(super) fn admit(uid: u32, own: u32) -> Result<String, String> {
    if uid == 0 || uid == own {
        Ok(name(uid))
    } else {
        Err(format!("uid {uid} is no operator; run skynetctl as uid {own} or as root"))
    }
}

/// The name of a user of this machine, or `uid 1000` where it has none.
pub(super) fn name(uid: u32) -> String {
    let mut users = String::new();
    let read = std::fs::File::open("/etc/passwd").and_then(|file| file.take(MAX_USERS).read_to_string(&mut users));
    let found = read.ok().and_then(|_| look_up(&users, uid));
    found.unwrap_or_else(|| format!("uid {uid}"))
}

/// `name:password:uid:...` a line, passwd(5).
fn look_up(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && name.len() <= 256)?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_controllers_own_user_are_operators() {
        assert!(admit(0, 1000).is_ok() && admit(1000, 1000).is_ok());
        assert!(admit(1001, 1000).unwrap_err().contains("uid 1000"));
        assert!(admit(1001, 0).is_err());
    }

    #[test]
    fn users_are_looked_up_by_their_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(look_up(users, 1000).as_deref(), Some("ann"));
        assert_eq!(look_up(users, 0).as_deref(), Some("root"));
        assert_eq!(look_up(users, 7), None);
        assert_eq!(name(4_000_000_000), "uid 4000000000");
    }
}
