//! What one server's session has said: its series, by wire id and by name, and the sensors they come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::catalogue::SERVER_CONNECTED;
use skynet_model::condition::SeriesRef;
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

use super::board::NONE;
use super::slab::Slab;

/// Most series of one server.
pub(crate) const MAX_SERIES: usize = 50_000;
/// Most sensors of one server.
const MAX_SENSORS: usize = 1_000;
/// Wire ids from here on are not taken.
const MAX_WIRE: u32 = 1 << 20;
/// The series of a wire id that names none.
const NO_SERIES: u32 = u32::MAX;
/// The number of `server.connected` in every dictionary.
pub(crate) const CONNECTED: u32 = 0;

/// How a series stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Sight {
    /// Not read yet, or not any more: unknown.
    Silent,
    /// Read by the last sweep.
    Known,
    /// Missing from the last complete sweep.
    Gone,
}

/// What every reading of a series touches: those of a server lie side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) value: f64,
    /// The number of the sweep that read it last, among its sensor's.
    pub(crate) sweep: u32,
    /// The first of the value places it fills, in the [`Board`](super::board::Board).
    pub(crate) users: u32,
    /// The first of the windows and folds that use it, in [`Derived`](super::derived::Derived).
    pub(crate) taps: u32,
    sensor: u16,
    pub(crate) sight: Sight,
}

/// The sensor of a series that none has read.
const NO_SENSOR: u16 = u16::MAX;

impl Point {
    const NEW: Self =
        Self { value: f64::NAN, sweep: 0, sensor: NO_SENSOR, sight: Sight::Silent, users: NONE, taps: NONE };

    /// The sensor that read it last.
    pub(crate) fn sensor(&self) -> Option<u16> {
        (self.sensor != NO_SENSOR).then_some(self.sensor)
    }
}

/// The rest of a series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) key: SeriesKey,
    wire: Option<u32>,
}

/// One sensor.
#[derive(Debug)]
pub(crate) struct Sensor {
    pub(crate) id: Box<str>,
    /// The start of the newest sweep seen, on the boot clock.
    pub(crate) begun: i64,
    /// That sweep's number, and when it and the one before began, on the server's wall clock.
    pub(crate) sweep: u32,
    pub(crate) started: [Timestamp; 2],
    /// Whether that sweep has ended.
    pub(crate) ended: bool,
    /// Whether the last sweep was complete and is not too old.
    pub(crate) fresh: bool,
    /// Until when it is not too old.
    pub(crate) until: Timestamp,
    /// When its timer is set.
    pub(crate) alarm: Option<Timestamp>,
    /// Series it has read.
    pub(crate) members: Vec<u32>,
}

/// Whether `id` names a use of the sensor `name`: `exec` or `exec:queue`.
pub(crate) fn is_use_of(id: &str, name: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) series: Slab<Series>,
    /// By the series' numbers.
    pub(crate) points: Vec<Point>,
    pub(crate) sensors: Vec<Sensor>,
    /// Where the next sweep's sensor is, if they come in the order they came before.
    next_sensor: usize,
    /// By wire ids, which are dense: their series.
    wires: Vec<u32>,
    /// When the session began or ended.
    pub(crate) connected: Timestamp,
    keys: BTreeMap<SeriesKey, u32>,
    names: BTreeMap<Arc<str>, Vec<u32>>,
}

impl Default for Dictionary {
    fn default() -> Self {
        let mut empty = Self {
            series: Slab::default(),
            points: Vec::new(),
            sensors: Vec::new(),
            next_sensor: 0,
            wires: Vec::new(),
            connected: Timestamp::default(),
            keys: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        empty.insert(None, SeriesKey::plain(SERVER_CONNECTED.name));
        empty
    }
}

impl Dictionary {
    fn insert(&mut self, wire: Option<u32>, key: SeriesKey) -> u32 {
        let at = self.series.insert(Series { key: key.clone(), wire });
        match self.points.get_mut(at as usize) {
            Some(point) => *point = Point::NEW,
            None => self.points.push(Point::NEW),
        }
        self.names.entry(Arc::clone(&key.name)).or_default().push(at);
        self.keys.insert(key, at);
        at
    }

    /// Gives a wire id to a series. The first of the pair is the series' number; the second says whether it is new.
    /// None when there are too many, or when the name is the controller's own.
    pub(crate) fn announce(&mut self, id: u32, key: SeriesKey) -> Option<(u32, bool)> {
        if id >= MAX_WIRE {
            return None;
        }
        if let Some(at) = self.keys.get(&key).copied() {
            if at == CONNECTED {
                return None;
            }
            let before = self.series.get_mut(at)?.wire.replace(id);
            if let Some(wire) = before.and_then(|before| self.wires.get_mut(before as usize)) {
                *wire = NO_SERIES;
            }
            self.map(id, at);
            return Some((at, false));
        }
        if &*key.name == SERVER_CONNECTED.name || self.series.len() >= MAX_SERIES {
            return None;
        }
        let at = self.insert(Some(id), key);
        self.map(id, at);
        Some((at, true))
    }

    fn map(&mut self, id: u32, at: u32) {
        let id = id as usize;
        if self.wires.len() <= id {
            self.wires.resize(id + 1, NO_SERIES);
        }
        self.wires[id] = at;
    }

    /// The series of a wire id.
    #[inline]
    pub(crate) fn by_wire(&self, id: u32) -> Option<u32> {
        self.wires.get(id as usize).copied().filter(|at| *at != NO_SERIES)
    }

    /// How a series stands.
    #[inline]
    pub(crate) fn point(&self, at: u32) -> Option<&Point> {
        self.points.get(at as usize)
    }

    /// How a series stands.
    #[inline]
    pub(crate) fn point_mut(&mut self, at: u32) -> Option<&mut Point> {
        self.points.get_mut(at as usize)
    }

    /// When a series was read last, on the server's wall clock.
    pub(crate) fn time(&self, point: &Point) -> Timestamp {
        let Some(sensor) = point.sensor().and_then(|s| self.sensors.get(usize::from(s))) else { return self.connected };
        sensor.started[usize::from(point.sweep != sensor.sweep)]
    }

    /// Ends a series; gives its number and how it stood.
    pub(crate) fn retire(&mut self, id: u32) -> Option<(u32, Point)> {
        let at = self.by_wire(id)?;
        self.wires[id as usize] = NO_SERIES;
        let series = self.series.remove(at)?;
        self.keys.remove(&series.key);
        if let Some(list) = self.names.get_mut(&series.key.name) {
            list.retain(|other| *other != at);
            if list.is_empty() {
                self.names.remove(&series.key.name);
            }
        }
        let point = std::mem::replace(self.points.get_mut(at as usize)?, Point::NEW);
        if let Some(sensor) = point.sensor().and_then(|s| self.sensors.get_mut(usize::from(s))) {
            sensor.members.retain(|other| *other != at);
        }
        Some((at, point))
    }

    /// Lets no series fill a slot any more, itself or through a window or a fold.
    pub(crate) fn forget_users(&mut self) {
        self.points.iter_mut().for_each(|point| (point.users, point.taps) = (NONE, NONE));
    }

    /// The number of a series.
    pub(crate) fn by_key(&self, key: &SeriesKey) -> Option<u32> {
        self.keys.get(key).copied()
    }

    /// A series is read by another sensor than before.
    pub(crate) fn change_sensor(&mut self, at: u32, now: u16) {
        let Some(point) = self.points.get_mut(at as usize) else { return };
        let before = point.sensor();
        point.sensor = now;
        if let Some(sensor) = before.and_then(|s| self.sensors.get_mut(usize::from(s))) {
            sensor.members.retain(|other| *other != at);
        }
        if let Some(sensor) = self.sensors.get_mut(usize::from(now)) {
            sensor.members.push(at);
        }
    }

    /// How many series a sensor has read.
    pub(crate) fn members(&self, sensor: u16) -> usize {
        self.sensors.get(usize::from(sensor)).map_or(0, |s| s.members.len())
    }

    /// One of them.
    pub(crate) fn member(&self, sensor: u16, i: usize) -> Option<u32> {
        self.sensors.get(usize::from(sensor))?.members.get(i).copied()
    }

    /// Series called `name`.
    pub(crate) fn named(&self, name: &str) -> &[u32] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// The labels a series brings to the join for this reference; none when `where` does not select it.
    pub(crate) fn rest(&self, at: u32, wanted: &SeriesRef) -> Option<Labels> {
        let labels = &self.series.get(at)?.key.labels;
        if wanted.selected.is_empty() {
            return Some(labels.clone());
        }
        if !wanted.selected.iter().all(|(name, value)| labels.get(name) == Some(value)) {
            return None;
        }
        Some(Labels::new(labels.iter().filter(|(name, _)| !wanted.selected.iter().any(|(n, _)| n == name))))
    }

    /// The series that fills a slot of an instance with these labels.
    pub(crate) fn find(&self, wanted: &SeriesRef, labels: &Labels) -> Option<u32> {
        if !wanted.open && wanted.labels.iter().all(|name| labels.get(name).is_some()) {
            let own = wanted.labels.iter().filter_map(|n| labels.get(n).map(|v| (n.as_str(), v)));
            let selected = wanted.selected.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let key = SeriesKey { name: wanted.name.as_str().into(), labels: Labels::new(own.chain(selected)) };
            return self.keys.get(&key).copied();
        }
        let fitting = self.named(&wanted.name).iter().filter_map(|at| {
            let rest = self.rest(*at, wanted)?;
            rest.iter().all(|(n, v)| labels.get(n) == Some(v)).then_some((rest.len(), *at))
        });
        // Of several the one that says most about the instance, and of those the first.
        fitting.max_by_key(|(len, at)| (*len, std::cmp::Reverse(*at))).map(|(_, at)| at)
    }

    /// The number of a sensor, made when it is new. None when there are too many.
    pub(crate) fn sensor(&mut self, id: &str) -> Option<u16> {
        let expected = self.sensors.get(self.next_sensor).is_some_and(|s| &*s.id == id);
        let known = if expected { Some(self.next_sensor) } else { self.sensors.iter().position(|s| &*s.id == id) };
        let at = match known {
            Some(at) => at,
            None if self.sensors.len() >= MAX_SENSORS => return None,
            None => {
                self.sensors.push(Sensor {
                    id: id.into(),
                    begun: i64::MIN,
                    sweep: 0,
                    started: [Timestamp::default(); 2],
                    ended: true,
                    fresh: false,
                    until: Timestamp::default(),
                    alarm: None,
                    members: Vec::new(),
                });
                self.sensors.len() - 1
            }
        };
        self.next_sensor = if at + 1 < self.sensors.len() { at + 1 } else { 0 };
        u16::try_from(at).ok()
    }

    /// Whether all that the sensor `name` sees has been said: every use in `declared` has a complete and fresh sweep,
    /// and there is at least one.
    pub(crate) fn has_swept(&self, name: &str, declared: &[Box<str>]) -> bool {
        let fresh = |id: &str| self.sensors.iter().any(|s| &*s.id == id && s.fresh);
        let mut uses = declared.iter().filter(|id| is_use_of(id, name)).peekable();
        if uses.peek().is_none() {
            return self.sensors.iter().any(|s| is_use_of(&s.id, name) && s.fresh);
        }
        uses.all(|id| fresh(id))
    }
}

/// Three intervals, and never less than a second: then a sensor's readings are too old.
pub(crate) fn patience(every: Span) -> Span {
    Span(every.0.clamp(1, i64::MAX / 8).saturating_mul(3).max(1000))
}
