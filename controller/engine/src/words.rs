//! What the engine is told, and what it answers.

use skynet_model::command::{Command, LedgerEntry, Outcome};
use skynet_model::event::EventBody;
use skynet_model::incident::{Maintenance, Silence};
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

/// What the engine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A server is enrolled, or its labels changed. Comes before anything else about it.
    Labelled {
        /// Which.
        server: ServerId,
        /// All its labels.
        labels: Labels,
    },
    /// An operator gave a server other labels.
    Relabelled {
        /// Which.
        server: ServerId,
        /// All its labels.
        labels: Labels,
        /// Who.
        by: String,
    },
    /// A session began. All series of the server are unknown until read again.
    Connected {
        /// Which.
        server: ServerId,
        /// The server's boot id.
        boot: String,
        /// The agent's version.
        version: String,
    },
    /// The session ended.
    Disconnected {
        /// Which.
        server: ServerId,
        /// Why.
        reason: String,
    },
    /// A series got its id for this session.
    Announced {
        /// Whose.
        server: ServerId,
        /// The id on the wire.
        id: u32,
        /// The series.
        series: SeriesKey,
    },
    /// A series ended.
    Retired {
        /// Whose.
        server: ServerId,
        /// The id on the wire.
        id: u32,
    },
    /// A seat's [`crate::Hot::leave`] said so: what was found waits to be taken.
    Found {
        /// Whose.
        server: ServerId,
    },
    /// The ledger's inventory: until it came, the server gets no command.
    Inventory {
        /// Whose.
        server: ServerId,
        /// All that the ledger holds.
        entries: Vec<LedgerEntry>,
    },
    /// A command ended.
    Outcome {
        /// Who says so.
        server: ServerId,
        /// How.
        outcome: Outcome,
    },
    /// An agent took a policy or refused it.
    PolicyStatus {
        /// Which.
        server: ServerId,
        /// The version.
        version: u64,
        /// Why it was refused; none when taken.
        error: Option<String>,
    },
    /// An operator takes an incident over.
    Acknowledge {
        /// Which.
        incident: IncidentId,
        /// Who.
        by: String,
        /// What they say.
        comment: String,
    },
    /// An operator lets the step be done that waits for approval. Check with [`crate::Engine::approvable`] first: what
    /// does not wait is passed over.
    Approve {
        /// Which incident.
        incident: IncidentId,
        /// Who.
        by: String,
        /// What they say.
        comment: String,
    },
    /// Notices that match are held back: as [`crate::Engine::silence`] made it.
    Silence(Silence),
    /// A silence ends before its time.
    ExpireSilence {
        /// Which.
        id: String,
        /// Who.
        by: String,
    },
    /// Servers are worked on: as [`crate::Engine::maintenance`] made it.
    StartMaintenance(Maintenance),
    /// Maintenance ends before its time.
    EndMaintenance {
        /// Which.
        id: String,
        /// Who.
        by: String,
    },
    /// How long a policy holds: told before [`crate::Engine::set_policy`] puts it in force, so that nothing is done under
    /// one that has expired. Without it, it never expires.
    Term {
        /// Its version.
        version: u64,
        /// Since when it is in force.
        activated: Timestamp,
        /// When its actions stop.
        expires: Timestamp,
    },
    /// The local latch.
    Halt {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// An emergency document whose signatures are good; one that is not newer than the last changes nothing.
    Emergency {
        /// What it says.
        taken: Box<skynet_model::emergency::Taken>,
        /// Its signatures.
        signatures: Vec<String>,
    },
    /// The local latch is released; also closes the fleet breaker and ends the startup wait.
    Resume {
        /// Who.
        by: String,
    },
    /// The journal cannot be written (true), or can again: no action meanwhile.
    JournalBlocked(bool),
    /// Time passed: a deadline given by [`crate::Engine::next_wake`] is due.
    Wake,
}

/// One sweep (or part of one) of one sensor.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// The sensor's id on the server: `cpu`, `exec:queue`.
    pub sensor: &'a str,
    /// The sensor's interval.
    pub every: Span,
    /// When it began, by the server's wall clock.
    pub started: Timestamp,
    /// When it began, by the server's boot clock in milliseconds.
    pub started_boot_ms: i64,
    /// Series ids and finite values.
    pub readings: &'a [(u32, f64)],
    /// Whether all the sensor sees has been said, more follows, or the sweep failed.
    pub end: SweepEnd,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepEnd {
    /// More follows.
    Partial,
    /// The complete-marker.
    Complete,
    /// The sensor failed: its series are unknown.
    Failed,
}

/// What the caller has to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Journal this; then let its effect out (`CommandIssued` sends, `NoticeRaised` tells).
    Event(EventBody),
    /// Send this again: it was issued, is within its time to live, and the ledger does not know it.
    Resend(Command),
}
