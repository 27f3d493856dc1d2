//! What can be wrong with the way to Redis, each with its way out.

use std::time::Duration;

use super::Address;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A file of ours cannot be read.
    Setup,
    /// Nobody answers there.
    Down,
    /// No answer within this time.
    Slow(Duration),
    /// The user or the password is wrong.
    Denied,
    /// The user may not do this.
    NoPermission,
    /// It is a replica, or was told not to be written to.
    ReadOnly,
    /// `maxmemory` is reached.
    OutOfMemory,
    /// A key holds something else than it should.
    WrongType,
    /// It is loading its data, or failing over.
    Busy,
    /// It refuses writes because it cannot save them.
    NotSaving,
    /// Something else.
    Other,
}

/// What went wrong on the way to Redis or there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where.
    pub place: String,
    /// In the system's or the server's words.
    pub text: String,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, address: &Address, text: String) -> Self {
        Self { kind, place: address.to_string(), text }
    }

    /// Whether the connection is of no more use.
    #[must_use]
    pub fn broken(&self) -> bool {
        match self.kind {
            FaultKind::WrongType | FaultKind::OutOfMemory | FaultKind::NoPermission => false,
            FaultKind::Setup
            | FaultKind::Down
            | FaultKind::Slow(_)
            | FaultKind::Denied
            | FaultKind::ReadOnly
            | FaultKind::Busy
            | FaultKind::NotSaving
            | FaultKind::Other => true,
        }
    }

    /// A stable word for its kind.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.kind {
            FaultKind::Setup => "setup",
            FaultKind::Down => "down",
            FaultKind::Slow(_) => "slow",
            FaultKind::Denied => "denied",
            FaultKind::NoPermission => "no_permission",
            FaultKind::ReadOnly => "read_only",
            FaultKind::OutOfMemory => "out_of_memory",
            FaultKind::WrongType => "wrong_type",
            FaultKind::Busy => "busy",
            FaultKind::NotSaving => "not_saving",
            FaultKind::Other => "refused",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, place, text } = self;
        match kind {
            FaultKind::Setup => write!(f, "{text}"),
            FaultKind::Down => write!(f, "no Redis at {place}: {text}"),
            FaultKind::Slow(time) => {
                write!(
                    f,
                    "Redis at {place} did not answer within {} s; see its load and the way there",
                    time.as_secs_f32()
                )
            }
            FaultKind::Denied => write!(
                f,
                "Redis at {place} lets nobody in with that user and password ({text}); check the user in [redis] url \
                 and the credential's file, or make the user as docs/redis.md says"
            ),
            FaultKind::NoPermission => write!(
                f,
                "Redis at {place} does not allow its user something ({text}); set its rights with ACL SETUSER as \
                 docs/redis.md says"
            ),
            FaultKind::ReadOnly => write!(
                f,
                "Redis at {place} is read only: it is a replica, or became one; name the primary in [redis] url, or \
                 use rediss+sentinel:// or rediss+cluster://, which find it"
            ),
            FaultKind::OutOfMemory => write!(
                f,
                "Redis at {place} is out of memory: raise its maxmemory (`CONFIG SET maxmemory`), or lower [redis] \
                 events_max or chunks_keep"
            ),
            FaultKind::WrongType => write!(f, "Redis at {place}: a key holds something of another type ({text})"),
            FaultKind::Busy => write!(f, "Redis at {place} is not ready yet ({text})"),
            FaultKind::NotSaving => {
                write!(
                    f,
                    "Redis at {place} refuses writes because it cannot save them; see its log and its disk ({text})"
                )
            }
            FaultKind::Other => write!(f, "Redis at {place} refused: {text}"),
        }
    }
}

impl std::error::Error for Fault {}
