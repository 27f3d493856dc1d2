use super::*;

const LIMITS: Limits = Limits { bytes: 100 << 20, age_ms: 1000 };

fn batch(seq: u64, size: usize) -> New {
    New { kind: Kind::Batch, seq, readings: 10, body: vec![u8::try_from(seq % 256).unwrap(); size] }
}

fn open(path: &std::path::Path, limits: Limits) -> Store {
    Store::open(Box::new(Folder::open(path).unwrap()), limits).unwrap().0
}

/// The numbers of the batches, and the readings that were lost.
fn rest(store: &mut Store) -> (Vec<u64>, u64) {
    let (mut seqs, mut lost) = (Vec::new(), 0);
    while let Some((piece, _)) = store.hand_out().unwrap() {
        match piece {
            Piece::Record(record) => seqs.push(record.head.seq),
            Piece::Damage(damage) => lost += damage.readings,
        }
    }
    assert!(!store.has_more());
    (seqs, lost)
}

fn files(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some());
    files.sort();
    files
}

#[test]
fn what_is_written_is_read_in_order_also_by_the_next_process_and_goes_when_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), LIMITS);
    for seq in 1..=40 {
        store.append(&[batch(seq, 100_000)], 0).unwrap();
    }
    assert_eq!(files(dir.path()).len(), 4);
    assert_eq!(rest(&mut store), ((1..=40).collect(), 0));
    store.acknowledge(15);
    store.rewind();
    assert_eq!(rest(&mut store), ((16..=40).collect(), 0));
    drop(store);
    let mut store = open(dir.path(), LIMITS);
    let (seqs, lost) = rest(&mut store);
    assert_eq!((seqs[0], seqs.len(), lost), (12, 29, 0), "the segment that is acknowledged in part is sent again");
    store.append(&[batch(41, 10)], 0).unwrap();
    assert_eq!(rest(&mut store), (vec![41], 0));
    store.acknowledge(41);
    assert_eq!((files(dir.path()).len(), store.bytes()), (0, 0));
}

#[test]
fn damage_in_any_segment_is_counted_and_the_rest_is_read() {
    for (which, from_end) in [(0, 50_000), (0, 1), (1, 100_040), (2, 1_000_000), (3, 5)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), LIMITS);
        for seq in 1..=40 {
            store.append(&[batch(seq, 100_000)], 0).unwrap();
        }
        drop(store);
        let path = &files(dir.path())[which];
        let mut bytes = std::fs::read(path).unwrap();
        let at = bytes.len() - from_end;
        bytes[at] ^= 4;
        std::fs::write(path, bytes).unwrap();
        let (seqs, lost) = rest(&mut open(dir.path(), LIMITS));
        assert_eq!((seqs.len(), lost), (39, 10), "segment {which}, {from_end} bytes from its end");
    }
    // A segment cut short in the middle of the queue, at a record's header.
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), LIMITS);
    (1..=40).for_each(|seq| store.append(&[batch(seq, 100_000)], 0).unwrap());
    drop(store);
    let path = &files(dir.path())[1];
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..2 * 100_052 + 7]).unwrap();
    let (seqs, lost) = rest(&mut open(dir.path(), LIMITS));
    assert_eq!(seqs.len() as u64 * 10 + lost, 400);
    assert_eq!(seqs.len(), 31);
}

#[test]
fn the_oldest_go_when_there_is_too_much_or_they_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path(), Limits { bytes: 3 << 20, ..LIMITS });
    (1..=40).for_each(|seq| store.append(&[batch(seq, 100_000)], 0).unwrap());
    let gone = store.enforce(1000);
    assert!(store.bytes() <= 3 << 20);
    let (seqs, lost) = rest(&mut store);
    assert_eq!((gone.len() + seqs.len(), seqs.last(), lost), (40, Some(&40), 0));
    assert!(!gone.is_empty());
    assert_eq!(store.enforce(1001).len(), seqs.len());
    assert_eq!(store.bytes(), 0);
}

/// A disk that takes no more than so many bytes, and leaves a part of what it refuses.
struct Full(Folder, u64);

impl Disk for Full {
    fn place(&self) -> String {
        self.0.place()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let taken = bytes.len().min(usize::try_from(self.1).unwrap());
        self.1 -= taken as u64;
        self.0.append(name, &bytes[..taken])?;
        if taken == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
    fn truncate(&mut self, _: &str, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.1 = 1 << 20;
        self.0.remove(name)
    }
}

#[test]
fn a_write_that_fails_half_way_leaves_what_was_there_before() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Full(Folder::open(dir.path()).unwrap(), 2500);
    let (mut store, _) = Store::open(Box::new(disk), LIMITS).unwrap();
    store.append(&[batch(1, 1000)], 0).unwrap();
    store.append(&[batch(2, 1000)], 0).unwrap();
    assert!(store.append(&[batch(3, 1000)], 0).is_err());
    assert!(store.append(&[batch(3, 1000)], 0).is_err());
    store.append(&[batch(4, 1000)], 0).unwrap();
    let (seqs, _) = rest(&mut store);
    assert_eq!(seqs, [1, 2, 4]);
}
