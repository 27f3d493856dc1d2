//! What can be wrong with the copy, each with its way out.

use crate::journal::RedisFault;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Redis or the way there.
    Fault(RedisFault),
    /// A key holds something of another type.
    WrongType {
        /// The key.
        key: String,
        /// What it holds.
        is: String,
        /// What it should hold.
        should: &'static str,
    },
    /// The server is older than what is needed.
    TooOld {
        /// Its version.
        version: String,
    },
    /// A newer build wrote what is there.
    Format {
        /// The version it wrote.
        version: String,
    },
    /// The keys are marked as another fleet's.
    OtherFleet {
        /// Whose.
        fleet: String,
        /// The key that says so.
        key: String,
    },
    /// The keys are those of another controller of a fleet of this name, or of this one's lost data folder.
    OtherInstance {
        /// The key that says so.
        key: String,
        /// What all keys begin with.
        prefix: String,
    },
    /// There are events, but nothing says whose.
    Unmarked {
        /// The events' key.
        key: String,
    },
    /// Redis has more than the journal.
    Ahead {
        /// The last event there.
        redis: u64,
        /// The last event here.
        journal: u64,
    },
    /// Redis has other events than the journal.
    Forked {
        /// The first that is known to differ.
        seq: u64,
    },
    /// The head is not sealed with our key.
    Seal {
        /// The head's key.
        key: String,
    },
    /// The stream does not end where its head says.
    Damaged {
        /// Where the head says it ends.
        head: u64,
        /// The last entry's id; none when it is empty.
        stream: Option<String>,
        /// The events' key.
        key: String,
    },
    /// Something of ours: the journal or a file cannot be read.
    Own(String),
}

impl From<RedisFault> for Trouble {
    fn from(fault: RedisFault) -> Self {
        Self::Fault(fault)
    }
}

impl Trouble {
    /// A stable word for its kind.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.word(),
            Self::WrongType { .. } => "wrong_type",
            Self::TooOld { .. } => "too_old",
            Self::Format { .. } => "format",
            Self::OtherFleet { .. } => "other_fleet",
            Self::OtherInstance { .. } => "other_instance",
            Self::Unmarked { .. } => "unmarked",
            Self::Ahead { .. } => "ahead",
            Self::Forked { .. } => "forked",
            Self::Seal { .. } => "seal",
            Self::Damaged { .. } => "damaged",
            Self::Own(_) => "own",
        }
    }
}

impl Trouble {
    /// Equal for what need not be told twice.
    pub(super) fn same(&self) -> String {
        match self {
            Self::WrongType { key, .. } => format!("{} {key}", self.word()),
            Self::Own(text) => text.clone(),
            Self::Fault(_)
            | Self::TooOld { .. }
            | Self::Format { .. }
            | Self::OtherFleet { .. }
            | Self::OtherInstance { .. }
            | Self::Unmarked { .. }
            | Self::Ahead { .. }
            | Self::Forked { .. }
            | Self::Seal { .. }
            | Self::Damaged { .. } => self.word().to_owned(),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::WrongType { key, is, should } => write!(
                f,
                "the key {key} in Redis holds a {is} where a {should} belongs; see what wrote it, then move it away: \
                 RENAME '{key}' '{key}.old'"
            ),
            Self::TooOld { version } => write!(f, "Redis is of version {version}; 7.0 or newer is needed"),
            Self::Format { version } => {
                write!(f, "what is in Redis is of format {version}, which a newer build wrote; use that build")
            }
            Self::OtherFleet { fleet, key } => write!(
                f,
                "{key} in Redis says that the keys are of fleet `{fleet}`, not of this one; nothing is written there: \
                 name this fleet's own Redis or database in [redis] url"
            ),
            Self::OtherInstance { key, prefix } => write!(
                f,
                "{key} in Redis is of another controller of a fleet of this name, or of a data folder that was lost; \
                 nothing is written there: bring that one back with `skynet-controller store restore` on an empty data \
                 folder, or name another database in [redis] url, or delete all keys that begin with {prefix}"
            ),
            Self::Unmarked { key } => write!(
                f,
                "{key} in Redis holds events, but nothing says whose; nothing is written there: move it away (RENAME \
                 '{key}' '{key}.old') or name another database in [redis] url"
            ),
            Self::Ahead { redis, journal } => write!(
                f,
                "Redis has events up to {redis}, the journal ends at {journal}: this data folder is older than its \
                 copy, or a second controller runs; nothing is written there: end the other one, or bring this one \
                 back with `skynet-controller store restore` on an empty data folder"
            ),
            Self::Forked { seq } => write!(
                f,
                "event {seq} in Redis is another one than in the journal: somebody else wrote there, or this data \
                 folder is a copy; nothing is written there: `skynetctl store verify` tells what is broken, and [redis] \
                 url can name another database"
            ),
            Self::Seal { key } => write!(
                f,
                "{key} in Redis is not sealed with this controller's chain key: the key was changed, or somebody else \
                 wrote there; nothing is written there: put the old key back, or name another database in [redis] url"
            ),
            Self::Damaged { head, stream, key } => {
                let stream = stream.as_deref().unwrap_or("nothing");
                write!(
                    f,
                    "{key} in Redis ends with {stream} where event {head} should be the last: entries were deleted or \
                     added there; nothing is written there: move it away (RENAME '{key}' '{key}.old'), then all that \
                     the journal still has is sent again"
                )
            }
            Self::Own(text) => f.write_str(text),
        }
    }
}
