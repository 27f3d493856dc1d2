//! The acting process behind its stream.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use super::*;

struct Session {
    stream: UnixStream,
    actor: JoinHandle<Result<(), ActorError>>,
}

impl Session {
    fn begin(rig: &Rig) -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let (storage, host) = (rig.storage.clone(), rig.host.clone());
        let actor = std::thread::spawn(move || serve_on(theirs, config(), storage, host));
        let mut session = Self { stream, actor };
        assert!(matches!(session.read(), Reply::Ready { version: 1, .. }));
        session
    }

    fn write(&mut self, request: &Request) {
        frame::write(&mut self.stream, request).unwrap();
    }

    fn execute(&mut self, command: Command) {
        self.write(&Request::Execute { command: Box::new(command), deadline_boot_ms: i64::MAX });
    }

    fn read(&mut self) -> Reply {
        frame::read(&mut self.stream).unwrap().unwrap()
    }

    fn outcome(&mut self) -> Outcome {
        let Reply::Outcome { outcome } = self.read() else { panic!("no outcome") };
        outcome
    }

    fn end(self) -> Result<(), ActorError> {
        drop(self.stream);
        self.actor.join().unwrap()
    }
}

#[test]
fn requests_are_answered_in_order() {
    let rig = Rig::new();
    let mut session = Session::begin(&rig);
    session.write(&Request::Policy { bundle: bundle(2, POLICY), signatures: Vec::new(), labels: labels() });
    session.execute(Command { policy: 2, ..command("once", 1) });
    session.write(&Request::Inventory);
    assert!(matches!(session.read(), Reply::Policy { version: 2, error: None, .. }));
    assert_eq!(session.outcome().status, Status::Done);
    assert!(matches!(session.read(), Reply::Inventory { entries } if entries.len() == 1));
    session.end().unwrap();
}

#[test]
fn a_halt_overtakes_what_waits_behind_a_long_action() {
    let rig = Rig::new();
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel::<()>();
    *rig.host.hook.lock().unwrap() = Some(Box::new(move |_| {
        begun.send(()).unwrap();
        let _ = may_go_on.recv();
    }));
    let mut session = Session::begin(&rig);
    session.execute(command("once", 1));
    has_begun.recv().unwrap();
    session.execute(command("declarative", 2));
    session.write(&Request::Halt { halted: true });
    // The latch is kept at once, while the first action still runs.
    let until = crate::host::LocalHost::new();
    let deadline = until.boot_ms() + 20_000;
    while rig.storage.read("halt").unwrap().is_none() {
        assert!(until.boot_ms() < deadline, "the halt waits for the action");
        std::thread::yield_now();
    }
    drop(go_on);
    assert_eq!(session.outcome().status, Status::Done, "what had begun ends");
    assert!(session.outcome().message.contains("halted"));
    assert_eq!(rig.host.effects(), ["script fix a b"]);
    session.end().unwrap();
}

#[test]
fn at_the_end_of_the_stream_the_running_action_ends_and_its_outcome_is_kept() {
    let mut rig = Rig::new();
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel::<()>();
    *rig.host.hook.lock().unwrap() = Some(Box::new(move |_| {
        begun.send(()).unwrap();
        let _ = may_go_on.recv();
    }));
    let mut session = Session::begin(&rig);
    session.execute(command("once", 1));
    has_begun.recv().unwrap();
    let Session { stream, actor } = session;
    drop(stream);
    drop(go_on);
    actor.join().unwrap().unwrap();
    rig.restart();
    let entries = rig.inventory();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].outcome.as_ref().unwrap().status, Status::Done);
    assert_eq!(rig.host.effects(), ["script fix a b"]);
}

#[test]
fn commands_that_wait_when_the_stream_ends_are_dropped() {
    let mut rig = Rig::new();
    let ended = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&ended);
    *rig.host.hook.lock().unwrap() = Some(Box::new(move |_| ends.store(true, SeqCst)));
    let requests = [command("once", 1), command("declarative", 2)]
        .map(|command| Request::Execute { command: Box::new(command), deadline_boot_ms: i64::MAX });
    carry_out(&mut rig.actor, requests, &ended, &mut Vec::new()).unwrap();
    assert_eq!(rig.host.effects(), ["script fix a b"]);
    assert_eq!(rig.inventory().len(), 1);
}

#[test]
fn what_is_no_frame_ends_the_stream_with_an_error() {
    use std::io::Write;
    let rig = Rig::new();
    for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 2, b'{', b'}'], &[0, 0, 1]] {
        let mut session = Session::begin(&rig);
        session.stream.write_all(bytes).unwrap();
        assert!(matches!(session.end(), Err(ActorError::Stream(_))), "{bytes:?}");
    }
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = ActorConfig { data: dir.path().to_owned(), ..config() };
    let host: Arc<dyn Host> = Arc::new(Fake::new());
    let (mut stream, theirs) = UnixStream::pair().unwrap();
    let first = {
        let (config, host) = (config.clone(), host.clone());
        std::thread::spawn(move || serve(theirs, config, host))
    };
    assert!(matches!(frame::read(&mut stream).unwrap(), Some(Reply::Ready { version: 0, .. })));
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let error = serve(theirs, config.clone(), host.clone()).unwrap_err().to_string();
    assert!(error.contains("another acting process holds"), "{error}");
    drop(stream);
    first.join().unwrap().unwrap();
}
