//! A fleet of servers that only take policies, in virtual time. Each course is also run with a restart after every event:
//! what goes on from the journal must be what went on without it.

use skynet_model::command::{Command, Outcome, Status, command_id};
use skynet_model::event::Event;
use skynet_model::incident::{Incident, State as Phase, Subject};
use skynet_model::name::{CommandId, IncidentId, ScenarioName};
use skynet_model::policy::Mode;

use super::*;

const SOAK: Span = Span::minutes(10);
const MINUTE: i64 = 60_000;

/// What a server does with the new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Refuses,
    Restarts,
    GivesUp,
    SensorFails,
    SensorFailsOnce,
    ActionFails,
    Escalates,
    StaysOpen,
    Flaps,
    IsLost,
    Silent,
}

const HARMS: [(Harm, &str); 11] = [
    (Harm::Refuses, "not taken: no"),
    (Harm::Restarts, "began anew"),
    (Harm::GivesUp, "given up"),
    (Harm::SensorFails, "sensor exec:queue fails"),
    (Harm::SensorFailsOnce, "sensor exec:queue fails"),
    (Harm::ActionFails, "failed or refused actions"),
    (Harm::Escalates, "not contained: hot"),
    (Harm::StaysOpen, "new incidents that are not over (hot)"),
    (Harm::Flaps, "not contained: hot"),
    (Harm::IsLost, "no word from its agent"),
    (Harm::Silent, "no answer"),
];

struct Fleet {
    events: Vec<Event>,
    state: State,
    now: i64,
    health: Health,
    runs: BTreeMap<ServerId, u64>,
    /// Does harm from this wave on.
    harm: Option<(Harm, u32)>,
    hurt: BTreeSet<ServerId>,
    /// A controller that is started anew after every event.
    restarts: bool,
    next: u32,
}

fn server(n: usize) -> ServerId {
    ServerId::new(&format!("s{n:03}")).unwrap()
}

impl Fleet {
    /// All of them run version 1.
    fn new(size: usize, restarts: bool) -> Self {
        let mut fleet = Self {
            events: Vec::new(),
            state: State::default(),
            now: 1_000_000_000,
            health: Health::new(),
            runs: BTreeMap::new(),
            harm: None,
            hurt: BTreeSet::new(),
            restarts,
            next: 0,
        };
        fleet.event(EventBody::PolicyActivated { version: 1, digest: "one".into(), by: "ann".into() });
        for n in 0..size {
            fleet.connect(&server(n));
            fleet.takes(&server(n), 1, None);
        }
        fleet
    }

    fn event(&mut self, body: EventBody) {
        let time = Timestamp(self.now);
        self.state.apply(time, &body);
        self.events.push(Event { seq: self.events.len() as u64 + 1, time, body });
        if self.restarts {
            assert_eq!(State::of(&self.events), self.state);
            self.state = State::of(&self.events);
        }
    }

    fn connect(&mut self, server: &ServerId) {
        self.event(EventBody::ServerConnected { server: server.clone(), boot: "b".into(), version: "0".into() });
    }

    fn disconnect(&mut self, server: &ServerId) {
        self.event(EventBody::ServerDisconnected { server: server.clone(), reason: "gone".into() });
    }

    fn takes(&mut self, server: &ServerId, version: u64, error: Option<&str>) {
        if error.is_none() {
            self.runs.insert(server.clone(), version);
        }
        self.event(EventBody::ServerPolicy { server: server.clone(), version, error: error.map(str::to_owned) });
    }

    fn push(&mut self, sizes: &[Wave]) {
        let members: Vec<Member> = self
            .state
            .servers()
            .iter()
            .map(|(id, seen)| Member {
                server: id.clone(),
                cluster: "one".into(),
                connected: seen.connected,
                healthy: true,
            })
            .collect();
        let waves = waves(&members, sizes);
        self.event(EventBody::RolloutStarted { version: 2, digest: "two".into(), by: "ann".into(), waves, soak: SOAK });
    }

    fn run(&mut self, minutes: i64) {
        for _ in 0..minutes * 4 {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += MINUTE / 4;
        loop {
            let due = advance(&self.state, Timestamp(self.now), &self.health, None);
            if due.is_empty() {
                break;
            }
            due.into_iter().for_each(|body| self.event(body));
        }
        for (id, seen) in self.state.servers().clone() {
            if !seen.connected {
                continue;
            }
            let wave = self.state.run().and_then(|run| run.wave_of(&id)).unwrap_or(0);
            let harm = self.harm.filter(|(_, from)| wave >= *from).map(|(harm, _)| harm);
            match self.state.order(&id, self.runs.get(&id).copied()) {
                Some(Order::Push(2)) if harm == Some(Harm::Silent) => {}
                Some(Order::Push(2)) if harm == Some(Harm::Refuses) && seen.error.is_some() => {}
                Some(Order::Push(2)) if harm == Some(Harm::Refuses) => self.takes(&id, 2, Some("no")),
                Some(Order::Push(2)) if self.hurt.contains(&id) => {}
                Some(Order::Push(version)) => {
                    self.takes(&id, version, None);
                    if let Some(harm) = harm.filter(|_| version == 2) {
                        self.hurt.insert(id.clone());
                        self.hurts(&id, harm);
                    }
                }
                Some(Order::Return(version)) => {
                    self.health.remove(&id);
                    self.takes(&id, version, None);
                }
                None => {}
            }
        }
    }

    fn hurts(&mut self, id: &ServerId, harm: Harm) {
        self.now += 1000;
        match harm {
            Harm::Refuses | Harm::Silent => {}
            Harm::Restarts => {
                self.disconnect(id);
                self.connect(id);
                let topic = state::RESTARTED.to_owned();
                self.event(EventBody::Remark { server: Some(id.clone()), topic, message: String::new() });
            }
            Harm::GivesUp => {
                self.takes(id, 1, None);
                self.takes(id, 2, Some("given up"));
            }
            Harm::SensorFails => self.fails(id, 2),
            Harm::SensorFailsOnce => self.fails(id, 1),
            Harm::ActionFails => {
                let incident = self.opens(id, 2);
                self.acts(&incident, id);
                self.changes(&incident, Phase::Contained);
            }
            Harm::Escalates => {
                let incident = self.opens(id, 2);
                self.changes(&incident, Phase::Escalated);
            }
            Harm::StaysOpen => drop(self.opens(id, 2)),
            Harm::Flaps => {
                for _ in 0..3 {
                    let incident = self.opens(id, 2);
                    self.changes(&incident, Phase::Contained);
                }
            }
            Harm::IsLost => self.disconnect(id),
        }
    }

    fn fails(&mut self, id: &ServerId, sweeps: u64) {
        self.health.insert(id.clone(), BTreeMap::from([("exec:queue".to_owned(), sweeps)]));
    }

    fn opens(&mut self, id: &ServerId, policy: u64) -> IncidentId {
        self.next += 1;
        let incident = IncidentId::new(&format!("i-{}", self.next)).unwrap();
        let time = Timestamp(self.now);
        self.event(EventBody::IncidentOpened {
            incident: Box::new(Incident {
                id: incident.clone(),
                scenario: ScenarioName::new("hot").unwrap(),
                policy,
                digest: String::new(),
                subject: Subject::Server(id.clone()),
                asked: None,
                chosen: Default::default(),
                labels: Labels::default(),
                severity: Severity::Warning,
                mode: Mode::Enforce,
                state: Phase::Waiting,
                summary: String::new(),
                since: time,
                opened: time,
                closed: None,
                reason: None,
                readings: Vec::new(),
                last_readings: Vec::new(),
                steps: Vec::new(),
                hold: None,
                held: Vec::new(),
                acknowledged: None,
                route: None,
            }),
        });
        incident
    }

    fn changes(&mut self, incident: &IncidentId, state: Phase) {
        let (incident, reason) = (incident.clone(), String::new());
        self.event(EventBody::IncidentChanged { incident, state, reason, readings: Vec::new() });
    }

    fn acts(&mut self, incident: &IncidentId, server: &ServerId) {
        let id: CommandId = command_id(incident, 0, 1, server);
        let command = Command {
            id: id.clone(),
            incident: incident.clone(),
            scenario: ScenarioName::new("hot").unwrap(),
            step: 0,
            attempt: 1,
            server: server.clone(),
            action: "fix".into(),
            labels: Labels::default(),
            params: BTreeMap::new(),
            policy: 2,
            epoch: 1,
            ttl: Span::minutes(1),
        };
        self.event(EventBody::CommandIssued { command, risk: skynet_model::catalogue::Risk::Reversible });
        let finished = Timestamp(self.now);
        let (status, message) = (Status::Failed, String::new());
        let outcome = Outcome { command: id, status, message, finished, finished_boot_ms: 0, took_ms: 1 };
        self.event(EventBody::CommandEnded { incident: incident.clone(), outcome });
    }

    fn wave(&self) -> Option<u32> {
        self.state.run().unwrap().wave
    }

    fn ended(&self) -> Option<&Ended> {
        self.state.run().unwrap().ended.as_ref()
    }

    fn on(&self, version: u64) -> usize {
        self.runs.values().filter(|runs| **runs == version).count()
    }

    fn notices(&self) -> usize {
        self.events.iter().filter(|e| matches!(e.body, EventBody::NoticeRaised { .. })).count()
    }
}

const USUAL: [Wave; 4] = [Wave::Count(1), Wave::Share(0.05), Wave::Share(0.25), Wave::Share(1.0)];

#[test]
fn a_good_version_goes_through_its_waves_and_is_in_force_at_the_end() {
    for restarts in [false, true] {
        let mut fleet = Fleet::new(40, restarts);
        fleet.push(&USUAL);
        for (wave, servers) in [(0, 1), (1, 2), (2, 10), (3, 40)] {
            fleet.run(1);
            assert_eq!((fleet.wave(), fleet.on(2)), (Some(wave), servers));
            fleet.run(8);
            assert_eq!(fleet.wave(), Some(wave), "each is watched for its time");
            while fleet.wave() == Some(wave) && fleet.ended().is_none() {
                fleet.step();
            }
        }
        assert_eq!(fleet.state.base(), Some(2));
        assert!(!fleet.ended().unwrap().rolled_back);
        assert_eq!(fleet.notices(), 0);
        let activated = fleet.events.iter().filter(|e| matches!(e.body, EventBody::PolicyActivated { .. })).count();
        assert_eq!(activated, 2);
    }
}

#[test]
fn every_harm_in_every_wave_stops_it_there_and_all_of_them_go_back() {
    for restarts in [false, true] {
        for (harm, told) in HARMS {
            for (wave, most) in [(0, 1), (1, 2), (2, 10), (3, 40)] {
                let mut fleet = Fleet::new(40, restarts);
                fleet.harm = Some((harm, wave));
                fleet.push(&USUAL);
                fleet.run(60);
                let ended = fleet.ended().unwrap_or_else(|| panic!("{harm:?} in wave {wave} went on"));
                assert!(ended.rolled_back && ended.by == SKYNET, "{harm:?} in wave {wave}: {ended:?}");
                assert!(ended.reason.contains(told), "{harm:?}: {}", ended.reason);
                assert!(ended.reason.starts_with(&format!("wave {} of 4", wave + 1)), "{}", ended.reason);
                let reached = fleet.state.run().unwrap().took.len();
                assert!(reached <= most, "{harm:?} in wave {wave} reached {reached}");
                let away = fleet.state.servers().values().filter(|seen| !seen.connected).count();
                assert_eq!(fleet.on(2), away, "{harm:?} in wave {wave}");
                // Who was away goes back when it comes.
                let lost: Vec<ServerId> = fleet.hurt.iter().cloned().collect();
                if harm == Harm::IsLost {
                    lost.iter().for_each(|id| fleet.connect(id));
                    fleet.run(1);
                }
                assert_eq!((fleet.on(2), fleet.state.base(), fleet.notices()), (0, Some(1), 1), "{harm:?}");
            }
        }
    }
}

#[test]
fn what_the_rest_has_as_well_is_not_held_against_the_version() {
    let mut fleet = Fleet::new(40, true);
    fleet.push(&USUAL);
    fleet.run(1);
    for n in 0..40 {
        let incident = fleet.opens(&server(n), if fleet.runs[&server(n)] == 2 { 2 } else { 1 });
        fleet.acts(&incident, &server(n));
        fleet.changes(&incident, Phase::Escalated);
        fleet.fails(&server(n), 3);
    }
    fleet.run(11);
    assert_eq!(fleet.wave(), Some(1), "{:?}", fleet.ended());
}

#[test]
fn a_sensor_that_failed_before_is_not_held_against_the_version() {
    let mut fleet = Fleet::new(3, true);
    (0..3).for_each(|n| fleet.fails(&server(n), 9));
    fleet.push(&[Wave::Share(1.0)]);
    fleet.run(12);
    assert_eq!(fleet.state.base(), Some(2), "{:?}", fleet.ended());
}

#[test]
fn of_twenty_servers_one_is_excused_and_two_are_not() {
    for (hurt, goes_back) in [(2, false), (3, true)] {
        let mut fleet = Fleet::new(40, false);
        fleet.push(&[Wave::Share(1.0)]);
        fleet.run(1);
        for n in 0..hurt {
            fleet.hurts(&server(n), Harm::Escalates);
        }
        fleet.run(1);
        assert_eq!(fleet.ended().is_some(), goes_back, "{hurt}");
    }
}

#[test]
fn a_pause_holds_the_next_wave_back_and_not_the_gate() {
    let mut fleet = Fleet::new(40, true);
    fleet.push(&USUAL);
    fleet.run(1);
    fleet.event(EventBody::RolloutPaused { version: 2, paused: true, by: "ann".into() });
    fleet.run(60);
    assert_eq!((fleet.wave(), fleet.on(2)), (Some(0), 1));
    fleet.event(EventBody::RolloutPaused { version: 2, paused: false, by: "ann".into() });
    fleet.run(1);
    assert_eq!(fleet.wave(), Some(1), "its time had passed");
    fleet.event(EventBody::RolloutPaused { version: 2, paused: true, by: "ann".into() });
    let canary = fleet.state.run().unwrap().waves[0][0].clone();
    fleet.fails(&canary, 2);
    fleet.run(1);
    assert!(fleet.ended().unwrap().rolled_back);
    assert_eq!(fleet.on(2), 0);
}

#[test]
fn an_operators_rollback_tells_nobody_and_everything_goes_back() {
    let mut fleet = Fleet::new(40, true);
    fleet.push(&USUAL);
    fleet.run(25);
    assert!(fleet.on(2) > 1);
    let (reason, by) = ("wrong file".to_owned(), "ann".to_owned());
    fleet.event(EventBody::RolloutEnded { version: 2, rolled_back: true, reason, by });
    fleet.run(1);
    assert_eq!((fleet.on(2), fleet.notices(), fleet.state.base()), (0, 0, Some(1)));
    assert_eq!(fleet.state.stand(&fleet.state.run().unwrap().waves[0][0]), Stand::Returned);
    assert_eq!(fleet.state.highest(), 2);
}

#[test]
fn who_was_away_catches_up_with_its_wave_and_holds_nobody_up() {
    let mut fleet = Fleet::new(40, true);
    let late = server(7);
    fleet.disconnect(&late);
    fleet.push(&USUAL);
    fleet.run(43);
    assert_eq!(fleet.wave(), Some(3));
    assert_eq!(fleet.state.stand(&late), Stand::Pending);
    fleet.run(5);
    assert_eq!(fleet.state.base(), Some(2));
    fleet.connect(&late);
    fleet.run(1);
    assert_eq!(fleet.on(2), 40);
}

#[test]
fn nothing_is_proved_while_the_canary_is_away() {
    let mut fleet = Fleet::new(3, true);
    (0..3).for_each(|n| fleet.disconnect(&server(n)));
    fleet.push(&USUAL);
    fleet.run(60);
    assert_eq!((fleet.wave(), fleet.ended()), (Some(0), None));
    (0..3).for_each(|n| fleet.connect(&server(n)));
    fleet.run(9);
    assert_eq!(fleet.wave(), Some(0), "watched from its answer on");
    fleet.run(3);
    assert_eq!(fleet.wave(), Some(1));
}

#[test]
fn new_servers_have_the_version_in_force_until_the_last_wave_has_begun() {
    let mut fleet = Fleet::new(3, true);
    fleet.push(&USUAL);
    fleet.run(1);
    let new = server(900);
    fleet.connect(&new);
    assert_eq!(fleet.state.order(&new, None), Some(Order::Push(1)));
    fleet.run(11);
    assert_eq!(fleet.wave(), Some(1));
    assert_eq!(fleet.state.target(&new), Some(2));
}

#[test]
fn what_a_server_could_go_back_to_is_the_version_in_force() {
    let mut fleet = Fleet::new(3, true);
    fleet.push(&[Wave::Share(1.0)]);
    fleet.run(1);
    assert_eq!(fleet.state.order(&server(0), Some(0)), Some(Order::Push(1)), "first the one it would go back to");
    assert_eq!(fleet.state.order(&server(0), Some(1)), Some(Order::Push(2)));
    assert_eq!(fleet.state.order(&server(0), Some(2)), None);
    assert_eq!(fleet.state.order(&server(0), Some(9)), Some(Order::Return(2)), "it may know a way back");
}

#[test]
fn a_controller_that_was_away_waits_for_its_agents_before_it_judges() {
    let mut fleet = Fleet::new(40, true);
    fleet.push(&USUAL);
    fleet.run(12);
    fleet.event(EventBody::ControllerStarted { epoch: 2, version: "0".into() });
    fleet.run(1);
    assert_eq!((fleet.wave(), fleet.ended()), (Some(1), None));
    (0..40).for_each(|n| fleet.connect(&server(n)));
    fleet.run(60);
    assert_eq!(fleet.state.base(), Some(2), "{:?}", fleet.ended());
}

#[test]
fn a_crash_between_the_last_two_events_ends_it_all_the_same() {
    let mut fleet = Fleet::new(3, true);
    fleet.push(&[Wave::Share(1.0)]);
    fleet.run(1);
    fleet.event(EventBody::PolicyActivated { version: 2, digest: "two".into(), by: "ann".into() });
    fleet.step();
    assert!(!fleet.ended().unwrap().rolled_back);
}

#[test]
fn at_once_is_what_has_nothing_to_go_back_to_or_says_so_itself() {
    let mut policy = Policy::default();
    assert!(is_at_once(&policy, None) && !is_at_once(&policy, Some(1)));
    policy.fleet.waves = vec![Wave::Share(1.0)];
    assert!(!is_at_once(&policy, Some(1)), "one wave may still be watched");
    policy.fleet.soak = Span::default();
    assert!(is_at_once(&policy, Some(1)));
    policy.fleet.waves.insert(0, Wave::Count(1));
    assert!(!is_at_once(&policy, Some(1)));
}
