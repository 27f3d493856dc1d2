//! The names of the keys. All begin with `skynet:{FLEET}:`, so that a cluster keeps them together.

use skynet_model::name::ServerId;

/// Names of one fleet's keys.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of a fleet.
    #[must_use]
    pub fn new(fleet: &str) -> Self {
        Self { prefix: format!("skynet:{{{fleet}}}:") }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What all names begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Hash: format, fleet, instance, created.
    #[must_use]
    pub fn meta(&self) -> String {
        self.key("meta")
    }

    /// Stream: one entry an event.
    #[must_use]
    pub fn events(&self) -> String {
        self.key("events")
    }

    /// Hash: how far the chain goes, sealed.
    #[must_use]
    pub fn head(&self) -> String {
        self.key("head")
    }

    /// List: older events that still matter, up to event `seq`.
    #[must_use]
    pub fn base(&self, seq: u64) -> String {
        self.key(&format!("base:{seq}"))
    }

    /// Hash: policy version to digest.
    #[must_use]
    pub fn policies(&self) -> String {
        self.key("policies")
    }

    /// String: a policy's bundle.
    #[must_use]
    pub fn policy(&self, version: u64) -> String {
        self.key(&format!("policy:{version}"))
    }

    /// Hash: series to `value time`.
    #[must_use]
    pub fn latest(&self, server: &ServerId) -> String {
        self.key(&format!("latest:{server}"))
    }

    /// Channel: what is new.
    #[must_use]
    pub fn live(&self) -> String {
        self.key("live")
    }

    /// Hash: series to its short number.
    #[must_use]
    pub fn series(&self, server: &ServerId) -> String {
        self.key(&format!("series:{server}"))
    }

    /// Hash: behind which chunk on disk the copy goes on.
    #[must_use]
    pub fn archive(&self) -> String {
        self.key("archive")
    }

    /// Hash: packs of chunks that begin in one hour (since 1970).
    #[must_use]
    pub fn chunks(&self, server: &ServerId, hour: i64) -> String {
        self.key(&format!("chunks:{server}:{hour}"))
    }
}
