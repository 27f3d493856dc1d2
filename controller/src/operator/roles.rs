//! What each method needs, and who has it: the one table of the operators' API.

use std::path::PathBuf;

use super::peer::{Users, read_users};
use crate::config::Operators;

/// What an operator may do. A higher role has the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Look.
    Viewer,
    /// Act on incidents; stop and start what Skynet does.
    Operator,
    /// Change what Skynet does.
    Admin,
}

impl Role {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The configuration's list of those who have it.
    const fn list(self) -> &'static str {
        match self {
            Self::Viewer => "viewers",
            Self::Operator => "operators",
            Self::Admin => "admins",
        }
    }
}

/// One method of the API.
#[derive(Debug)]
pub(super) struct Method {
    /// As the contract has it.
    pub(super) name: &'static str,
    /// The lowest role that may call it.
    pub(super) role: Role,
    /// Whether it changes something: then each call is an event.
    pub(super) changes: bool,
}

const fn reads(name: &'static str) -> Method {
    Method { name, role: Role::Viewer, changes: false }
}

const fn acts(name: &'static str, role: Role) -> Method {
    Method { name, role, changes: true }
}

/// All methods. What is not here is denied.
pub(super) static METHODS: &[Method] = &[
    reads("List"),
    reads("Describe"),
    reads("Logs"),
    reads("Query"),
    reads("Replay"),
    reads("VerifyStore"),
    acts("Acknowledge", Role::Operator),
    acts("Request", Role::Operator),
    acts("Approve", Role::Operator),
    acts("AddSilence", Role::Operator),
    acts("ExpireSilence", Role::Operator),
    acts("StartMaintenance", Role::Operator),
    acts("EndMaintenance", Role::Operator),
    acts("Halt", Role::Operator),
    acts("Resume", Role::Operator),
    // Back to what was in force before, and no further: whoever is on call must be able to.
    acts("PauseRollout", Role::Operator),
    acts("RollBack", Role::Operator),
    acts("PushPolicy", Role::Admin),
    // Labels choose profiles and are not signed.
    acts("LabelServer", Role::Admin),
];

/// The method that a request's path names.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix("/skynet.v1.OperatorService/")?;
    METHODS.iter().find(|method| method.name == name)
}

/// Who called what.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The user's name.
    pub(super) name: String,
    /// The highest role they have.
    pub(super) role: Role,
    /// What they call.
    pub(super) method: &'static Method,
}

/// Who has which role.
#[derive(Clone, Debug)]
pub struct Roles {
    named: Operators,
    own: u32,
    users: PathBuf,
    groups: PathBuf,
}

impl Roles {
    /// Those of the configuration, by the users and groups of this machine's `/etc/passwd` and `/etc/group`.
    #[must_use]
    pub fn new(named: Operators) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self { named, own, users: "/etc/passwd".into(), groups: "/etc/group".into() }
    }

    #[cfg(test)]
    pub(super) fn of_files(named: Operators, own: u32, folder: &std::path::Path) -> Self {
        Self { named, own, users: folder.join("passwd"), groups: folder.join("group") }
    }

    /// Lets a call in.
    ///
    /// # Errors
    /// Which role is missing, and how to get it.
    pub(super) fn admit(&self, uid: u32, gid: u32, method: &'static Method) -> Result<Caller, String> {
        // Read each time: whoever is taken out of a group has lost the role at once.
        let users = read_users(&self.users, &self.groups);
        let name = users.name(uid);
        let role = self.role(&users, uid, gid);
        if let Some(role) = role.filter(|role| *role >= method.role) {
            return Ok(Caller { name, role, method });
        }
        let has = role.map_or_else(|| "has no role".to_owned(), |role| format!("is {}", role.as_str()));
        let (needed, list) = (method.role.as_str(), method.role.list());
        Err(format!(
            "{} needs the role {needed}; {name} {has}. Whoever keeps the controller's configuration can give it: \
             [operators] {list} = [\"{}\"]; or run skynetctl as {} or root",
            method.name,
            if name.contains(' ') { uid.to_string() } else { name.clone() },
            users.name(self.own),
        ))
    }

    /// Lets an admin in where no method of the API is called, and gives the name.
    ///
    /// # Errors
    /// Which role is missing, and how to get it.
    pub fn admin(&self, uid: u32, gid: u32) -> Result<String, String> {
        static VAULT: Method = acts("the vault", Role::Admin);
        self.admit(uid, gid, &VAULT).map(|caller| caller.name)
    }

    fn role(&self, users: &Users, uid: u32, gid: u32) -> Option<Role> {
        if uid == 0 || uid == self.own {
            return Some(Role::Admin);
        }
        let lists = [
            (Role::Admin, &self.named.admins),
            (Role::Operator, &self.named.operators),
            (Role::Viewer, &self.named.viewers),
        ];
        let is_of = |name: &String| match name.strip_prefix("group:") {
            Some(group) => users.is_member(uid, gid, group),
            None => users.is(uid, name),
        };
        lists.into_iter().find(|(_, names)| names.iter().any(is_of)).map(|(role, _)| role)
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self::new(Operators::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str) -> (tempfile::TempDir, Roles) {
        let folder = tempfile::tempdir().unwrap();
        let users = "root:x:0:0::/:/bin/sh\nskynet:x:990:990::/:\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\n\
                     cem:x:1002:50::/:\n";
        std::fs::write(folder.path().join("passwd"), users).unwrap();
        std::fs::write(folder.path().join("group"), "oncall:x:50:bob\nmonitoring:x:60:ann,bob\n").unwrap();
        let roles = Roles::of_files(toml::from_str(text).unwrap(), 990, folder.path());
        (folder, roles)
    }

    fn role(roles: &Roles, uid: u32, gid: u32) -> Option<Role> {
        roles.role(&read_users(&roles.users, &roles.groups), uid, gid)
    }

    #[test]
    fn without_a_configuration_only_root_and_the_controllers_own_user_have_a_role() {
        let (_folder, roles) = roles("");
        assert_eq!(role(&roles, 0, 0), Some(Role::Admin));
        assert_eq!(role(&roles, 990, 990), Some(Role::Admin));
        for (uid, gid) in [(1000, 1000), (1001, 0), (4_000_000_000, 990)] {
            assert_eq!(role(&roles, uid, gid), None, "uid {uid}");
        }
    }

    #[test]
    fn users_and_groups_have_the_highest_role_they_are_named_for() {
        let text = "viewers = [\"group:monitoring\"]\noperators = [\"group:oncall\", \"1003\", \"group:70\"]\n\
                    admins = [\"ann\", \"nosuch\", \"group:nosuch\"]";
        let (folder, roles) = roles(text);
        assert_eq!(role(&roles, 1000, 1000), Some(Role::Admin), "a viewer by group, an admin by name");
        assert_eq!(role(&roles, 1001, 1001), Some(Role::Operator), "listed in the group");
        assert_eq!(role(&roles, 1002, 50), Some(Role::Operator), "it is the primary group");
        assert_eq!(role(&roles, 1003, 1003), Some(Role::Operator), "by number, unknown to the user list");
        assert_eq!(role(&roles, 1004, 70), Some(Role::Operator), "a group by number, unknown to the group list");
        assert_eq!(role(&roles, 1004, 60), Some(Role::Viewer));
        assert_eq!(role(&roles, 1004, 1004), None);
        std::fs::write(folder.path().join("group"), "oncall:x:50:\nmonitoring:x:60:\n").unwrap();
        assert_eq!(role(&roles, 1001, 1001), None, "out of the group, out of the role");
    }

    #[test]
    fn a_denial_says_which_role_is_needed_and_who_gives_it() {
        let (_folder, roles) = roles("viewers = [\"ann\"]");
        let halt = method("/skynet.v1.OperatorService/Halt").unwrap();
        let denied = roles.admit(1000, 1000, halt).unwrap_err();
        for word in ["Halt needs the role operator", "ann is viewer", "operators = [\"ann\"]", "as skynet or root"] {
            assert!(denied.contains(word), "{denied}");
        }
        let stranger = roles.admit(77, 77, method("/skynet.v1.OperatorService/List").unwrap()).unwrap_err();
        assert!(stranger.contains("uid 77 has no role") && stranger.contains("viewers = [\"77\"]"), "{stranger}");
        assert_eq!(roles.admit(990, 990, halt).unwrap().name, "skynet");
    }

    #[test]
    fn only_what_the_table_has_is_a_method() {
        assert!(method("/skynet.v1.OperatorService/Halt").is_some());
        for path in ["", "/", "Halt", "/skynet.v1.AgentService/Session", "/skynet.v1.OperatorService/Halt/"] {
            assert!(method(path).is_none(), "{path}");
        }
    }
}
