//! The past of series, for operators.

use std::collections::BTreeSet;

use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;
use tonic::Status;

use crate::history::{Answer, History, MOST_POINTS, Point, Question, Selector, glob};

/// Servers one request may ask about.
const SERVERS: usize = 1000;
/// Patterns one request may hold.
const PATTERNS: usize = 1000;
/// Names that are suggested for one that is not there.
const SUGGESTIONS: usize = 3;

/// A request that was checked.
#[derive(Debug)]
pub(super) struct Query {
    servers: Vec<ServerId>,
    question: Question,
}

/// Checks a request against the servers there are.
pub(super) fn check(request: v1::QueryRequest, known: &BTreeSet<ServerId>) -> Result<Query, Status> {
    let series: Selector = request.series.parse().map_err(Status::invalid_argument)?;
    let (from, until) = (Timestamp(request.from_ms), Timestamp(request.until_ms));
    if from > until {
        return Err(Status::invalid_argument("the time ends before it begins"));
    }
    if request.step_ms < 0 {
        return Err(Status::invalid_argument("a step is longer than nothing"));
    }
    let servers = servers_named(&request.servers, known, SERVERS)?;
    let step = (request.step_ms > 0).then_some(Span(request.step_ms));
    let question = Question { series, from, until, step };
    Ok(Query { servers, question })
}

/// The servers that names and patterns stand for, in order.
pub(super) fn servers_named(
    patterns: &[String],
    known: &BTreeSet<ServerId>,
    most: usize,
) -> Result<Vec<ServerId>, Status> {
    if patterns.is_empty() || patterns.len() > PATTERNS {
        return Err(Status::invalid_argument(format!("name 1 to {PATTERNS} servers; `*` stands for any text")));
    }
    let mut servers = BTreeSet::new();
    for pattern in patterns {
        let before = servers.len();
        servers.extend(known.iter().filter(|id| glob(pattern, id.as_str())).cloned());
        if servers.len() == before && !servers.iter().any(|id| glob(pattern, id.as_str())) {
            return Err(Status::not_found(no_server(pattern, known)));
        }
    }
    if servers.len() > most {
        return Err(Status::invalid_argument(format!(
            "{} servers fit; one request may ask about {most}: narrow the names",
            servers.len()
        )));
    }
    Ok(servers.into_iter().collect())
}

fn no_server(pattern: &str, known: &BTreeSet<ServerId>) -> String {
    let shown: String = pattern.chars().take(140).collect();
    let mut like: Vec<(f64, &str)> =
        known.iter().map(|id| (strsim::jaro_winkler(pattern, id.as_str()), id.as_str())).collect();
    like.retain(|(likeness, _)| *likeness > 0.75);
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    let like: Vec<&str> = like.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect();
    let hint = if like.is_empty() { "skynetctl get servers lists them".to_owned() } else { or(&like) };
    format!("no server is called `{}`; {hint}", shown.escape_debug())
}

fn or<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("did you mean {}?", names.join(" or "))
}

/// Answers it. Blocks on the disk.
pub(super) fn answer(history: &History, query: &Query, words: &[&str]) -> Result<v1::QueryAnswer, Status> {
    let mut found = v1::QueryAnswer::default();
    let mut room = MOST_POINTS;
    for server in &query.servers {
        let Answer { series, holes, cut } = history.ask(server, &query.question);
        found.cut |= cut;
        for hole in holes {
            let hole = hole.to_string();
            if !found.holes.contains(&hole) {
                found.holes.push(hole);
            }
        }
        for past in series {
            if past.samples.len() > room {
                found.cut = true;
                return Ok(found);
            }
            room -= past.samples.len();
            found.series.push(pack(server, past.series.to_string(), &past.samples));
        }
    }
    if found.series.is_empty() && found.holes.is_empty() {
        let names = query.servers.iter().flat_map(|server| history.names(server));
        let names: BTreeSet<_> = names.collect();
        let selector = &query.question.series;
        if !query.servers.iter().any(|server| history.has(server, selector)) {
            let like = selector.nearest(names.iter().map(|name| &**name).chain(words.iter().copied()));
            let hint =
                if like.is_empty() { "skynetctl describe server lists its series".to_owned() } else { or(&like) };
            return Err(Status::not_found(format!("no series fits `{selector}` there; {hint}")));
        }
    }
    Ok(found)
}

fn pack(server: &ServerId, series: String, points: &[Point]) -> v1::PastSeries {
    let mut before = 0;
    let mut time = |point: &Point| point.time.0 - std::mem::replace(&mut before, point.time.0);
    let mut past = v1::PastSeries {
        server: server.to_string(),
        series,
        time_ms: points.iter().map(&mut time).collect(),
        avg: points.iter().map(|p| p.avg).collect(),
        ..v1::PastSeries::default()
    };
    if points.iter().any(|p| p.count != 1) {
        past.min = points.iter().map(|p| p.min).collect();
        past.max = points.iter().map(|p| p.max).collect();
        past.count = points.iter().map(|p| p.count).collect();
    }
    past
}
