//! The ledger's file: a header, then records of length, CRC-32 and JSON.
//!
//! Every record is synced before the next is written, so a crash can only spoil the last one. A spoilt record with
//! sound ones after it is damage of another kind, and is told apart from a torn tail.

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::{Idempotence, Risk};
use skynet_model::command::{Command, Outcome};
use skynet_model::name::CommandId;
use skynet_model::time::Timestamp;

/// What the file begins with; the number is the format's version.
pub(super) const HEADER: &[u8; 16] = b"skynet-ledger 1\n";
/// Longest JSON of one record, in bytes.
pub(super) const MAX_RECORD: usize = 256 << 10;
/// Length and CRC before each JSON.
const PREFIX: usize = 8;

/// What was about to be done: on disk before it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The command, as it was checked.
    pub command: Command,
    /// The action's risk, for the local rate.
    pub risk: Risk,
    /// What may be done after a crash.
    pub idempotence: Idempotence,
    /// When, by the server's wall clock.
    pub begun: Timestamp,
    /// When, by the boot clock, in milliseconds.
    pub begun_boot_ms: i64,
    /// Which boot that clock belongs to.
    pub boot_id: String,
    /// It must not begin later, by the same clock.
    pub deadline_boot_ms: i64,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// Before an action.
    Intent {
        /// What is about to be done.
        intent: Box<Intent>,
    },
    /// After it.
    Outcome {
        /// How it ended.
        outcome: Outcome,
    },
    /// The controller has journalled these outcomes.
    Forget {
        /// Whose.
        commands: Vec<CommandId>,
    },
}

/// Appends one record's bytes; false (and nothing appended) when it is too large.
pub(super) fn encode(record: &Record, into: &mut Vec<u8>) -> bool {
    let Ok(json) = serde_json::to_vec(record) else { return false };
    let Some(length) = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_RECORD) else { return false };
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&checksum(length, &json).to_be_bytes());
    into.extend_from_slice(&json);
    true
}

/// The length is part of the sum, so that a changed length never finds a matching text.
fn checksum(length: u32, json: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&length.to_be_bytes());
    hash.update(json);
    hash.finalize()
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// Its sound records, in order.
    pub(super) records: Vec<Record>,
    /// How many bytes they take, header included.
    pub(super) sound: usize,
    /// Whether sound records follow an unsound one: then the file was damaged, not torn.
    pub(super) hole: bool,
}

/// Reads the longest sound prefix. `None`: the file begins with something else than a header, or a part of one.
pub(super) fn scan(bytes: &[u8]) -> Option<Scan> {
    if bytes.len() < HEADER.len() {
        let torn = HEADER.starts_with(bytes);
        return torn.then(|| Scan { records: Vec::new(), sound: 0, hole: false });
    }
    if !bytes.starts_with(HEADER) {
        return None;
    }
    let mut records = Vec::new();
    let mut at = HEADER.len();
    while let Some((record, length)) = record_at(&bytes[at..]) {
        records.push(record);
        at += length;
    }
    let hole = (at + 1..bytes.len()).any(|later| record_at(&bytes[later..]).is_some());
    Some(Scan { records, sound: at, hole })
}

fn record_at(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let crc = u32::from_be_bytes(bytes.get(4..PREFIX)?.try_into().ok()?);
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_RECORD)?;
    let json = bytes.get(PREFIX..PREFIX + size)?;
    // Cheap tests first: the search for later records tries every place.
    if json.first() != Some(&b'{') || checksum(length, json) != crc {
        return None;
    }
    serde_json::from_slice(json).ok().map(|record| (record, PREFIX + size))
}
