//! Recorded readings in order of time, for trying policy out on them.
//!
//! It is read slice by slice, each as long as one answer's memory allows, and only as fast as whoever asked takes it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use skynet_model::name::ServerId;
use skynet_model::series::{MAX_TEXT, SeriesKey};
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::query::servers_named;
use crate::history::History;

/// Longest time that is replayed.
const LONGEST: Span = Span::hours(31 * 24);
/// Most names of series.
const NAMES: usize = 1000;
/// Most servers.
const SERVERS: usize = 10_000;
/// Shortest and longest slice.
const SLICES: (Span, Span) = (Span::minutes(1), Span::hours(1));
/// Samples of a slice, about: a slice with more is followed by shorter ones.
const SAMPLES: usize = 1_000_000;
/// Parts that wait for one reader.
const PARTS: usize = 4;

pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<v1::ReplayPart, Status>> + Send>>;

/// A request that was checked.
#[derive(Debug)]
pub(super) struct Replay {
    names: BTreeSet<String>,
    servers: Vec<ServerId>,
    from: Timestamp,
    until: Timestamp,
}

/// Checks a request against the servers there are.
pub(super) fn check(request: v1::ReplayRequest, known: &BTreeSet<ServerId>) -> Result<Replay, Status> {
    let (from, until) = (Timestamp(request.from_ms), Timestamp(request.until_ms));
    if from > until || until.0.saturating_sub(from.0) > LONGEST.0 {
        return Err(Status::invalid_argument("the time ends before it begins, or is longer than 31 days"));
    }
    let fine = |name: &String| !name.is_empty() && name.len() <= MAX_TEXT;
    if request.series.is_empty() || request.series.len() > NAMES || !request.series.iter().all(fine) {
        return Err(Status::invalid_argument(format!("name 1 to {NAMES} series")));
    }
    let servers = servers_named(&request.servers, known, SERVERS)?;
    Ok(Replay { names: request.series.into_iter().collect(), servers, from, until })
}

/// Reads it on a thread of its own, which ends when whoever asked is gone.
pub(super) fn parts(history: Arc<History>, replay: Replay, permit: OwnedSemaphorePermit) -> Parts {
    let (parts, stream) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // Nobody is there to hear that nobody is there.
        let _ = read(&history, &replay, |part| parts.blocking_send(Ok(part)).map_err(|_| Gone));
    });
    Box::pin(ReceiverStream::new(stream))
}

/// Whoever asked is gone.
#[derive(Debug)]
struct Gone;

fn read(
    history: &History,
    replay: &Replay,
    mut give: impl FnMut(v1::ReplayPart) -> Result<(), Gone>,
) -> Result<(), Gone> {
    let wanted = |key: &SeriesKey| replay.names.contains(&*key.name);
    let (mut from, mut slice) = (replay.from, Span::minutes(10));
    while from <= replay.until {
        let until = Timestamp((from.0 + slice.0 - 1).min(replay.until.0));
        let mut samples = 0;
        for server in &replay.servers {
            let answer = history.samples_of(server, &wanted, from, until);
            let mut holes: Vec<String> = answer.holes.iter().map(ToString::to_string).collect();
            if answer.cut {
                holes.push(format!("{server} has more readings there than one question may look at"));
            }
            if answer.series.is_empty() && holes.is_empty() {
                continue;
            }
            samples += answer.series.iter().map(|past| past.samples.len()).sum::<usize>();
            let series = answer.series.into_iter().map(|past| pack(past.series.to_string(), &past.samples)).collect();
            give(v1::ReplayPart { until_ms: until.0, server: server.to_string(), series, holes })?;
        }
        give(v1::ReplayPart { until_ms: until.0, ..v1::ReplayPart::default() })?;
        if samples > SAMPLES {
            slice = Span((slice.0 / 2).max(SLICES.0.0));
        } else if samples < SAMPLES / 4 {
            slice = Span((slice.0 * 2).min(SLICES.1.0));
        }
        from = Timestamp(until.0 + 1);
    }
    Ok(())
}

fn pack(series: String, samples: &[(Timestamp, f64)]) -> v1::PastSeries {
    let mut before = 0;
    v1::PastSeries {
        series,
        time_ms: samples.iter().map(|(time, _)| time.0 - std::mem::replace(&mut before, time.0)).collect(),
        avg: samples.iter().map(|(_, value)| *value).collect(),
        ..v1::PastSeries::default()
    }
}
