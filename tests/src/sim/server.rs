//! One server of the world: its agent, and its stream to the controller.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skynet_engine::SweepEnd;
use skynet_model::command::{Command, LedgerEntry, Outcome};
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;

use super::host::CuredBy;
use super::node::Node;

/// Services of every server.
pub(super) const UNITS: [&str; 2] = ["a.service", "b.service"];

/// What an agent says.
pub(super) enum Up {
    Announce(u32, SeriesKey),
    Inventory(Vec<LedgerEntry>),
    Outcome(Outcome),
    Sweep { sensor: &'static str, started: i64, readings: Vec<(u32, f64)>, end: SweepEnd },
}

pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) node: Node,
    /// Rises with each session; what was under way in an older one is lost.
    pub(super) session: u64,
    pub(super) connected: bool,
    pub(super) reconnect_at: i64,
    /// Series of this session.
    pub(super) ids: BTreeMap<SeriesKey, u32>,
    /// Under way to the controller and to the agent: when it arrives, and what.
    pub(super) up: VecDeque<(i64, Up)>,
    pub(super) down: VecDeque<(i64, Command)>,
    pub(super) outcomes: Vec<Outcome>,
    /// What the engine was last told, by sensor: when, and the instances for which a scenario's condition holds.
    pub(super) told: BTreeMap<&'static str, (i64, BTreeSet<String>)>,
}

impl Server {
    pub(super) fn new(n: usize) -> Self {
        let name = format!("server{n}");
        let id = ServerId::new(&name).unwrap_or_else(|_| unreachable!("a plain name"));
        Self {
            node: Node::new(id.clone()),
            id,
            session: 0,
            connected: false,
            reconnect_at: 0,
            ids: BTreeMap::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            outcomes: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    pub(super) fn lose_session(&mut self, again: i64) {
        self.connected = false;
        self.reconnect_at = again;
        self.up.clear();
        self.down.clear();
        self.outcomes.clear();
        self.told.clear();
    }

    /// In order: a stream never overtakes itself.
    pub(super) fn send(&mut self, at: i64, message: Up) {
        let at = self.up.back().map_or(at, |(last, _)| at.max(*last));
        self.up.push_back((at, message));
    }

    pub(super) fn sweep(&mut self, now: i64, delay: i64, failed: bool) {
        let readings: Vec<(&'static str, Vec<(SeriesKey, f64)>)> = {
            let state = self.node.host.state();
            let service = |unit: &&str| {
                let up = f64::from(u8::from(!state.dead.contains_key(*unit)));
                (SeriesKey::new("service.up", [("service", *unit)]), up)
            };
            let process = |(pid, (start, _)): (&u32, &(u64, CuredBy))| {
                let labels = [
                    ("pid", pid.to_string()),
                    ("start", start.to_string()),
                    ("name", "job".into()),
                    ("user", "1000".into()),
                ];
                (SeriesKey::new("process.cpu_ratio", labels), 1.0)
            };
            let check =
                (SeriesKey::new("exec.state", [("check", "disk")]), if state.sick.is_some() { 2.0 } else { 0.0 });
            vec![
                ("service", UNITS.iter().map(service).collect()),
                ("process", state.runaways.iter().map(process).collect()),
                ("exec:disk", vec![check]),
            ]
        };
        for (sensor, values) in readings {
            if failed {
                self.send(now + delay, Up::Sweep { sensor, started: now, readings: Vec::new(), end: SweepEnd::Failed });
                continue;
            }
            let mut numbered = Vec::new();
            for (series, value) in values {
                let next = self.ids.len() as u32 + 1;
                let id = *self.ids.entry(series.clone()).or_insert(next);
                if id == next {
                    self.send(now + delay, Up::Announce(id, series));
                }
                numbered.push((id, value));
            }
            self.send(now + delay, Up::Sweep { sensor, started: now, readings: numbered, end: SweepEnd::Complete });
        }
    }

    /// What the engine knows from now on.
    pub(super) fn note_told(&mut self, sensor: &'static str, now: i64, readings: &[(u32, f64)], end: SweepEnd) {
        if end == SweepEnd::Failed {
            self.told.remove(sensor);
            return;
        }
        let name = |id: u32| self.ids.iter().find(|(_, n)| **n == id).map(|(series, _)| series);
        let mut firing = BTreeSet::new();
        for (id, value) in readings {
            let Some(series) = name(*id) else { continue };
            let instance = match sensor {
                "service" if *value == 0.0 => series.labels.get("service"),
                "process" if *value > 0.9 => series.labels.get("pid"),
                "exec:disk" if *value == 2.0 => Some("disk"),
                _ => None,
            };
            firing.extend(instance.map(str::to_owned));
        }
        self.told.insert(sensor, (now, firing));
    }
}
