//! One made-up server: what its sensors read at a time, and what its actions do.

use std::collections::BTreeMap;

use skynet_model::catalogue::Catalogue;
use skynet_model::command::{LedgerEntry, Outcome};
use skynet_model::name::{CommandId, ServerId};
use skynet_model::policy::test::{Level, Test};
use skynet_model::policy::{Policy, SensorUse};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::Span;

/// A server of a test.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) labels: Labels,
    pub(super) connected: bool,
    pub(super) sensors: Vec<Sensing>,
    pub(super) ledger: BTreeMap<CommandId, Option<Outcome>>,
    /// How often each action was asked for.
    pub(super) asked: BTreeMap<String, usize>,
}

/// A sensor that it runs.
#[derive(Debug)]
pub(super) struct Sensing {
    pub(super) id: String,
    pub(super) every: Span,
    pub(super) lines: Vec<Line>,
}

/// A series of a sensor.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) series: SeriesKey,
    /// Its number in the present session.
    pub(super) number: u32,
    pub(super) announced: bool,
    /// Where its course is written: entry of `readings`, and place in it.
    feeds: Vec<(usize, usize)>,
    /// What an action made of it, and when.
    set: Option<(Span, Level)>,
}

impl Line {
    /// What a sweep at that time finds. Before anything is said of it, the series is not there.
    pub(super) fn level(&self, test: &Test, at: Span) -> Level {
        let mut newest: Option<(Span, Level)> = None;
        for (entry, place) in &self.feeds {
            let Some(feed) = test.readings.get(*entry).filter(|feed| feed.from <= at) else { continue };
            let Some((_, course)) = feed.series.get(*place) else { continue };
            if newest.is_none_or(|(from, _)| feed.from >= from) {
                newest = Some((feed.from, feed.level(course, at)));
            }
        }
        match (self.set, newest) {
            (Some((since, level)), Some((from, _))) if from <= since => level,
            (Some((_, level)), None) => level,
            (_, Some((_, level))) => level,
            (None, None) => Level::Gone,
        }
    }
}

impl Server {
    /// The server as the test describes it, with the sensors that its profiles give it, if `read` says that they matter.
    pub(super) fn new(
        id: &ServerId,
        labels: &Labels,
        policy: &Policy,
        catalogue: &Catalogue,
        test: &Test,
        read: impl Fn(&str) -> bool,
    ) -> Self {
        let uses: Vec<&SensorUse> = policy.sensors_for(labels).into_iter().filter(|used| read(used.sensor)).collect();
        let sensing = |used: &&SensorUse| Sensing { id: used.id.clone(), every: used.every, lines: Vec::new() };
        let mut sensors: Vec<Sensing> = uses.iter().map(sensing).collect();
        let mut place = |series: &SeriesKey, feed: Option<(usize, usize)>| {
            let Some(index) = sensor_of(series, &uses, catalogue) else { return };
            let Some(sensor) = sensors.get_mut(index) else { return };
            if let Some(line) = sensor.lines.iter_mut().find(|line| line.series == *series) {
                line.feeds.extend(feed);
            } else {
                let (series, feeds) = (series.clone(), feed.into_iter().collect());
                sensor.lines.push(Line { series, number: 0, announced: false, feeds, set: None });
            }
        };
        for (entry, feed) in test.readings.iter().enumerate().filter(|(_, feed)| feed.servers.contains(id)) {
            for (at, (series, _)) in feed.series.iter().enumerate() {
                place(series, Some((entry, at)));
            }
        }
        for effect in test.outcomes.values().flatten() {
            if effect.servers.is_empty() || effect.servers.contains(id) {
                effect.sets.iter().for_each(|(series, _)| place(series, None));
            }
        }
        let mut number = 0;
        for line in sensors.iter_mut().flat_map(|sensor| &mut sensor.lines) {
            number += 1;
            line.number = number;
        }
        let (id, labels) = (id.clone(), labels.clone());
        Self { id, labels, connected: false, sensors, ledger: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// An action changed what is read.
    pub(super) fn set(&mut self, series: &SeriesKey, at: Span, level: Level) {
        for line in self.sensors.iter_mut().flat_map(|sensor| &mut sensor.lines) {
            if line.series == *series {
                line.set = Some((at, level));
            }
        }
    }

    /// A session ended: series are announced anew in the next.
    pub(super) fn forget_session(&mut self) {
        self.connected = false;
        for line in self.sensors.iter_mut().flat_map(|sensor| &mut sensor.lines) {
            line.announced = false;
        }
    }

    pub(super) fn inventory(&self) -> Vec<LedgerEntry> {
        let entry = |(command, outcome): (&CommandId, &Option<Outcome>)| LedgerEntry {
            command: command.clone(),
            outcome: outcome.clone(),
        };
        self.ledger.iter().map(entry).collect()
    }
}

/// Which of the sensors gives a series: where one is used several times, the use whose name one of its labels has.
fn sensor_of(series: &SeriesKey, uses: &[&SensorUse], catalogue: &Catalogue) -> Option<usize> {
    let (sensor, _) = catalogue.series(&series.name)?;
    let sensor = sensor?.name;
    let named = |used: &SensorUse| series.labels.iter().any(|(_, value)| used.name.as_deref() == Some(value));
    let of = |which: &dyn Fn(&SensorUse) -> bool| uses.iter().position(|u| u.sensor == sensor && which(u));
    of(&named).or_else(|| of(&|used| used.name.is_none())).or_else(|| of(&|_| true))
}
