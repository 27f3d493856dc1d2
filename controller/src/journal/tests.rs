use skynet_model::incident::{Incident, NoticeKind, Silence, State, Subject};
use skynet_model::name::{IncidentId, NoticeId, ScenarioName, ServerId};
use skynet_model::policy::{Mode, Severity, Target};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::*;

fn event(seq: u64, body: EventBody) -> Event {
    Event { seq, time: Timestamp(1_700_000_000_000).plus(Span::hours(i64::try_from(seq).unwrap())), body }
}

fn remark(seq: u64) -> Event {
    event(seq, EventBody::Remark { server: None, topic: "test".to_owned(), message: format!("number {seq}") })
}

fn remarks(range: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    range.map(remark).collect()
}

fn open(memory: &Memory) -> Result<(Journal, Vec<Event>), JournalError> {
    Journal::open(Box::new(memory.clone()), SEGMENT_BYTES)
}

const FIRST: &str = "00000000000000000001.log";

#[test]
fn what_was_appended_is_replayed_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, events) = Journal::open_folder(folder.path()).unwrap();
    assert!(events.is_empty());
    journal.append(&remarks(1..=3)).unwrap();
    journal.append(&remarks(4..=4)).unwrap();
    drop(journal);
    let (mut journal, events) = Journal::open_folder(folder.path()).unwrap();
    assert_eq!(events, remarks(1..=4));
    journal.append(&remarks(5..=6)).unwrap();
    assert_eq!(Journal::open_folder(folder.path()).unwrap().1, remarks(1..=6));
}

#[test]
fn numbers_have_no_gaps() {
    let (mut journal, _) = open(&Memory::default()).unwrap();
    assert!(matches!(journal.append(&remarks(2..=2)), Err(JournalError::Event(_))));
    journal.append(&remarks(1..=1)).unwrap();
    assert!(matches!(journal.append(&remarks(1..=1)), Err(JournalError::Event(_))));
}

#[test]
fn a_tail_torn_at_any_byte_of_the_last_append_leaves_the_longest_valid_prefix() {
    let memory = Memory::default();
    let (mut journal, _) = open(&memory).unwrap();
    journal.append(&remarks(1..=2)).unwrap();
    let before = memory.bytes(FIRST).unwrap().len();
    journal.append(&remarks(3..=4)).unwrap();
    let whole = memory.bytes(FIRST).unwrap();
    let mut record = Vec::new();
    record::encode(&remark(3), false, &mut record).unwrap();
    for length in 0..whole.len() {
        let torn = Memory::default();
        torn.put(FIRST, whole[..length].to_vec());
        let opened = open(&torn);
        if length < before {
            // The tear is where a tear may be only while the first append was going on; nothing follows it.
            assert!(opened.unwrap().1.len() < 2);
            continue;
        }
        let (mut journal, events) = opened.unwrap();
        let expected = if length < before + record.len() { 2 } else { 3 };
        assert_eq!(events, remarks(1..=expected), "cut at {length}");
        journal.append(&remarks(expected + 1..=5)).unwrap();
        assert_eq!(open(&torn).unwrap().1, remarks(1..=5), "cut at {length}");
    }
}

#[test]
fn garbage_within_the_last_append_is_a_torn_tail_too() {
    let memory = Memory::default();
    let (mut journal, _) = open(&memory).unwrap();
    journal.append(&remarks(1..=1)).unwrap();
    let start = memory.bytes(FIRST).unwrap().len();
    journal.append(&remarks(2..=4)).unwrap();
    let mut bytes = memory.bytes(FIRST).unwrap();
    // Disks may write the pages of one append in any order.
    bytes[start + 20] ^= 0xff;
    memory.put(FIRST, bytes);
    assert_eq!(open(&memory).unwrap().1, remarks(1..=1));
}

#[test]
fn damage_before_the_end_is_refused_with_place_and_remedy() {
    let memory = Memory::default();
    let (mut journal, _) = open(&memory).unwrap();
    for seq in 1..=4 {
        journal.append(&remarks(seq..=seq)).unwrap();
    }
    let whole = memory.bytes(FIRST).unwrap();
    let mut record = Vec::new();
    record::encode(&remark(1), false, &mut record).unwrap();
    let second = HEADER.len() + record.len();
    for at in second..second + record.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let damaged = Memory::default();
        damaged.put(FIRST, bytes);
        let error = open(&damaged).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { offset, last: 1, .. } if offset == second),
            "byte {at}: {error}"
        );
        let text = error.to_string();
        assert!(text.contains(FIRST) && text.contains(&format!("byte {second}")) && text.contains("restore"), "{text}");
    }
    for (bytes, word) in [(b"SKYJRNL\n\x02\0\0\0".to_vec(), "version"), (b"something else".to_vec(), "not a journal")] {
        let other = Memory::default();
        other.put(FIRST, bytes);
        assert!(open(&other).unwrap_err().to_string().contains(word));
    }
}

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room() {
    let memory = Memory::default();
    let (mut journal, _) = open(&memory).unwrap();
    journal.append(&remarks(1..=2)).unwrap();
    for room in 0..100 {
        memory.set_fault(Fault::Full(room));
        let error = journal.append(&remarks(3..=4)).unwrap_err().to_string();
        assert!(error.contains("No space left") && error.contains("room"), "{error}");
        assert_eq!(journal.last(), 2);
    }
    memory.set_fault(Fault::Sync);
    journal.append(&remarks(3..=4)).unwrap_err();
    memory.set_fault(Fault::None);
    journal.append(&remarks(3..=4)).unwrap();
    memory.crash();
    assert_eq!(open(&memory).unwrap().1, remarks(1..=4));
}

#[test]
fn what_was_not_synced_is_never_reported_as_written() {
    let memory = Memory::default();
    let (mut journal, _) = open(&memory).unwrap();
    journal.append(&remarks(1..=1)).unwrap();
    memory.set_fault(Fault::Sync);
    journal.append(&remarks(2..=2)).unwrap_err();
    memory.crash();
    assert_eq!(open(&memory).unwrap().1, remarks(1..=1));
}

fn opened(seq: u64, id: &str) -> Event {
    let incident = Incident {
        id: IncidentId::new(id).unwrap(),
        scenario: ScenarioName::new("s").unwrap(),
        policy: 1,
        digest: String::new(),
        subject: Subject::Server(ServerId::new("web1").unwrap()),
        asked: None,
        labels: Labels::default(),
        severity: Severity::Warning,
        mode: Mode::Enforce,
        state: State::Waiting,
        summary: String::new(),
        since: Timestamp(0),
        opened: Timestamp(0),
        closed: None,
        reason: None,
        readings: vec![],
        last_readings: vec![],
        steps: vec![],
        chosen: None,
        hold: None,
        held: vec![],
        acknowledged: None,
        route: None,
    };
    event(seq, EventBody::IncidentOpened { incident: Box::new(incident) })
}

fn changed(seq: u64, id: &str, state: State) -> Event {
    let incident = IncidentId::new(id).unwrap();
    event(seq, EventBody::IncidentChanged { incident, state, reason: String::new(), readings: vec![] })
}

fn raised(seq: u64, id: &str) -> Event {
    let notice = Notice {
        id: NoticeId::new(id).unwrap(),
        kind: NoticeKind::Skynet,
        incident: None,
        scenario: None,
        server: None,
        labels: Labels::default(),
        severity: Severity::Warning,
        route: "r".to_owned(),
        to: vec![Target::Console, Target::Contact("pager".to_owned())],
        title: String::new(),
        story: String::new(),
        at: Timestamp(0),
        since: Timestamp(0),
    };
    event(seq, EventBody::NoticeRaised { notice: Box::new(notice) })
}

fn delivered(seq: u64, id: &str, target: &str) -> Event {
    event(seq, EventBody::NoticeDelivered { notice: NoticeId::new(id).unwrap(), target: target.to_owned() })
}

#[test]
fn compaction_keeps_incidents_whole_and_forgets_what_operators_set_once_it_is_over() {
    let at = |hours: i64, body: Event| Event { time: Timestamp(hours * 3_600_000), ..body };
    let silence = |seq: u64, id: &str, until: i64| {
        let silence = Silence {
            id: id.to_owned(),
            matches: std::collections::BTreeMap::new(),
            from: Timestamp(0),
            until: Timestamp(until * 3_600_000),
            by: "a".to_owned(),
            comment: "b".to_owned(),
        };
        event(seq, EventBody::SilenceAdded { silence })
    };
    let expired = |seq: u64, id: &str| event(seq, EventBody::SilenceExpired { id: id.to_owned(), by: "a".to_owned() });
    let events = vec![
        at(0, opened(1, "i-long")),
        at(0, opened(2, "i-old")),
        at(1, changed(3, "i-old", State::Contained)),
        at(1, silence(4, "s-lapsed", 2)),
        at(1, silence(5, "s-ended", 99)),
        at(1, silence(6, "s-stands", 99)),
        at(2, expired(7, "s-ended")),
        at(2, raised(8, "n-skynet")),
        at(2, delivered(9, "n-skynet", "console")),
        at(2, delivered(10, "n-skynet", "contact:pager")),
        at(30, changed(11, "i-long", State::Contained)),
        at(40, event(12, EventBody::Remark { server: None, topic: "t".to_owned(), message: "m".to_owned() })),
    ];
    let kept: Vec<u64> = compact::what_matters(events, 1).iter().map(|e| e.seq).collect();
    assert_eq!(kept, [1, 6, 8, 11, 12]);
}

#[test]
fn compaction_keeps_what_still_matters_and_survives_a_restart() {
    let memory = Memory::default();
    let (mut journal, _) = Journal::open(Box::new(memory.clone()), 1 << 20).unwrap();
    let mut all = vec![
        event(1, EventBody::ControllerStarted { epoch: 7, version: "1".to_owned() }),
        opened(2, "i-live"),
        opened(3, "i-done"),
        changed(4, "i-live", State::Escalated),
        changed(5, "i-done", State::Contained),
        raised(6, "n-1"),
        raised(7, "n-2"),
        delivered(8, "n-1", "console"),
        delivered(9, "n-2", "console"),
        delivered(10, "n-2", "contact:pager"),
        event(11, EventBody::Halted { by: "a".to_owned(), reason: "b".to_owned() }),
        event(
            12,
            EventBody::ServerLabelled {
                server: ServerId::new("web1").unwrap(),
                labels: Labels::new([("role", "web")]),
                by: None,
            },
        ),
        event(13, EventBody::PolicyActivated { version: 1, digest: "d".to_owned(), by: "c".to_owned() }),
    ];
    let matter: Vec<u64> = vec![1, 2, 4, 6, 8, 11, 12, 13];
    journal.append(&all).unwrap();
    let mut seq = 13;
    while journal.compacted.is_none() {
        let batch = remarks(seq + 1..=seq + 1000);
        journal.append(&batch).unwrap();
        all.extend(batch);
        seq += 1000;
        assert!(seq < 100_000, "it never compacts");
    }
    // The append that sealed the second segment is in the new one.
    let covered = usize::try_from(seq - 1000).unwrap();
    let tail = covered - compact::NEWEST;
    let expected: Vec<Event> =
        all.iter().enumerate().filter(|(i, e)| *i >= tail || matter.contains(&e.seq)).map(|(_, e)| e.clone()).collect();
    drop(journal);
    let (mut journal, events) = Journal::open(Box::new(memory.clone()), 1 << 20).unwrap();
    assert_eq!(events.len(), expected.len());
    assert_eq!(events, expected);
    let pending = pending_notices(&events);
    assert_eq!(pending.len(), 1);
    assert_eq!((pending[0].0.id.as_str(), pending[0].1.len()), ("n-1", 1));
    journal.append(&remarks(seq + 1..=seq + 1)).unwrap();
    assert_eq!(Journal::open(Box::new(memory), 1 << 20).unwrap().1.len(), expected.len() + 1);
}

#[test]
fn a_restart_with_much_that_waits_for_a_copy_takes_only_what_matters_into_memory() {
    let memory = Memory::default();
    let (mut journal, _) = Journal::open(Box::new(memory.clone()), 1 << 20).unwrap();
    journal.set_hold(Arc::new(Hold::new(Bounds { bytes: 1 << 40, age: Span::hours(1 << 30) }, 0)));
    let count = MANY as u64 + 30_000;
    journal.append(&[opened(1, "i-live")]).unwrap();
    for seq in (2..=count).step_by(2000) {
        journal.append(&remarks(seq..=seq + 1999)).unwrap();
    }
    let last = journal.last();
    drop(journal);
    let (journal, events) = Journal::open(Box::new(memory), 1 << 20).unwrap();
    assert_eq!((journal.last(), events.last().unwrap().seq), (last, last));
    assert!(events.len() < MANY, "{}", events.len());
    assert_eq!(events[0], opened(1, "i-live"));
}

#[test]
fn a_missing_segment_is_refused_and_leftovers_of_a_compaction_are_removed() {
    let memory = Memory::default();
    let (mut journal, _) = Journal::open(Box::new(memory.clone()), 100).unwrap();
    journal.append(&remarks(1..=2)).unwrap();
    journal.append(&remarks(3..=4)).unwrap();
    let first = memory.bytes(FIRST).unwrap();
    journal.append(&remarks(5..=6)).unwrap();
    assert!(journal.compacted.is_some());
    memory.put(FIRST, first);
    memory.put(TEMPORARY, b"half".to_vec());
    assert_eq!(Journal::open(Box::new(memory.clone()), 100).unwrap().1, remarks(1..=6));
    assert!(memory.bytes(FIRST).is_none() && memory.bytes(TEMPORARY).is_none());
    let mut other: Box<dyn Storage> = Box::new(memory.clone());
    other.remove(&compacted_name(4)).unwrap();
    let error = Journal::open(other, 100).unwrap_err().to_string();
    assert!(error.contains("missing") && error.contains("event 1"), "{error}");
}

#[test]
fn followers_get_what_is_kept_and_then_what_comes() {
    let feed = Feed::default();
    for seq in 1..=5 {
        feed.publish(remark(seq));
    }
    let (kept, mut coming) = feed.follow(feed.before_newest(2));
    assert_eq!(kept.iter().map(|e| e.seq).collect::<Vec<_>>(), [4, 5]);
    feed.publish(remark(6));
    assert_eq!(coming.try_recv().unwrap().seq, 6);
    assert_eq!(feed.before_newest(100), 0);
}

#[test]
fn a_folder_cuts_what_a_failed_write_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut storage = Folder::open(folder.path()).unwrap();
    storage.write_at("a", 0, b"0123456789").unwrap();
    storage.write_at("a", 4, b"xy").unwrap();
    storage.sync("a").unwrap();
    assert_eq!(storage.read("a").unwrap(), b"0123xy");
    storage.rename("a", "b").unwrap();
    storage.write_at("b", 6, b"z").unwrap();
    storage.sync("b").unwrap();
    assert_eq!(storage.list().unwrap(), ["b"]);
    assert_eq!(storage.read("b").unwrap(), b"0123xyz");
    storage.remove("b").unwrap();
    assert!(storage.list().unwrap().is_empty() && storage.read("b").is_err());
}

/// What the golden log holds: one event of most kinds.
fn kinds() -> Vec<Event> {
    let server = || ServerId::new("web1").unwrap();
    let text = |text: &str| text.to_owned();
    let incident: Incident = serde_json::from_str(
        r#"{"id":"i-7f3a9c","scenario":"disk-filling","policy":3,"digest":"aa","server":"web1","labels":{"mount":"/var"},
        "severity":"warning","mode":"enforce","state":"waiting","summary":"/var is full","since":1,"opened":2,"closed":null,
        "reason":null,"readings":[{"series":"disk.used_ratio{mount=\"/var\"}","value":0.93,"time":3}],"last_readings":[],
        "steps":[],"hold":null,"held":[],"acknowledged":null,"route":"oncall"}"#,
    )
    .unwrap();
    let id = incident.id.clone();
    let bodies = vec![
        EventBody::ControllerStarted { epoch: 7, version: text("0.1.0") },
        EventBody::PolicyActivated { version: 3, digest: text("ab"), by: text("uid 0") },
        EventBody::ServerLabelled { server: server(), labels: Labels::new([("role", "web")]), by: None },
        EventBody::ServerConnected { server: server(), boot: text("b-1"), version: text("0.1.0") },
        EventBody::ServerPolicy { server: server(), version: 3, error: Some(text("no")) },
        EventBody::IncidentOpened { incident: Box::new(incident) },
        EventBody::IncidentChanged {
            incident: id.clone(),
            state: State::Escalated,
            reason: text("r"),
            readings: vec![],
        },
        EventBody::IncidentAcknowledged { incident: id, by: text("ann"), comment: text("mine") },
        EventBody::NoticeDelivered { notice: NoticeId::new("n-1").unwrap(), target: text("console") },
        EventBody::Halted { by: text("ann"), reason: text("test") },
        EventBody::Resumed { by: text("ann") },
        EventBody::ServerDisconnected { server: server(), reason: text("gone") },
        EventBody::Remark { server: None, topic: text("t"), message: text("m") },
    ];
    (1..).zip(bodies).map(|(seq, body)| event(seq, body)).collect()
}

/// `UPDATE_GOLDEN=1` writes the file where it is missing and never changes it.
#[test]
fn a_log_of_format_1_loads_for_ever() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/golden/journal-1.log");
    let folder = tempfile::tempdir().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        let (mut journal, _) = Journal::open_folder(folder.path()).unwrap();
        journal.append(&kinds()[..9]).unwrap();
        journal.append(&kinds()[9..]).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(folder.path().join(FIRST), &path).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&path, folder.path().join(FIRST)).unwrap();
    assert_eq!(Journal::open_folder(folder.path()).unwrap().1, kinds());
}
