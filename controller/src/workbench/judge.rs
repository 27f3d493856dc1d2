//! Whether what was expected has come; and if not, what was there instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, State, Subject};
use skynet_model::name::IncidentId;
use skynet_model::policy::test::{Expectation, Moment, Test, Wanted};
use skynet_model::policy::{Mode, Policy, Scope};
use skynet_model::time::Span;

use super::{BEGIN, Missed};

/// How an expectation stands.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// It has been decided that way.
    met: Option<bool>,
    /// What was there when it was decided; for what is not to be: the incident that came.
    found: Option<String>,
    /// Since when an instance has been pending, while none opened.
    pending: Option<Span>,
}

/// Watches over the expectations of one test.
pub(super) struct Judge<'t> {
    test: &'t Test,
    policy: Arc<Policy>,
    standing: Vec<Standing>,
    notices: BTreeMap<IncidentId, u32>,
    heard: usize,
}

impl<'t> Judge<'t> {
    pub(super) fn new(test: &'t Test, policy: Arc<Policy>) -> Self {
        let standing = vec![Standing::default(); test.expect.len()];
        Self { test, policy, standing, notices: BTreeMap::new(), heard: 0 }
    }

    /// Takes in what happened since it was asked last. Gives the incidents that opened.
    pub(super) fn heard(&mut self, events: &[Event]) -> Vec<IncidentId> {
        let mut opened = Vec::new();
        for event in events.get(self.heard..).unwrap_or_default() {
            if let EventBody::IncidentOpened { incident } = &event.body {
                opened.push(incident.id.clone());
            }
            if let EventBody::NoticeRaised { notice } = &event.body
                && let Some(id) = &notice.incident
            {
                *self.notices.entry(id.clone()).or_default() += 1;
            }
        }
        self.heard = events.len();
        opened
    }

    /// Whether it matters now which instances wait for their `for`.
    pub(super) fn wants_pending(&self, now: Span) -> bool {
        let open = self.test.expect.iter().zip(&self.standing).filter(|(_, s)| s.met.is_none());
        open.into_iter().any(|(e, _)| match e.when {
            Moment::Within(_) => e.incident.state == Some(State::Pending) || (e.there && now.0 % 1000 == 0),
            Moment::At(at) => at == now,
        })
    }

    /// Looks at what there is at a moment, when all that was due then has been done.
    pub(super) fn look(&mut self, now: Span, incidents: &[Incident], pending: &[Incident]) {
        for (expectation, standing) in self.test.expect.iter().zip(&mut self.standing) {
            if standing.met.is_some() || now > expectation.when.last() {
                continue;
            }
            let wanted = &expectation.incident;
            let just_now = matches!(expectation.when, Moment::At(_));
            if just_now && now < expectation.when.last() {
                continue;
            }
            let told = |incident: &Incident| self.notices.get(&incident.id).copied().unwrap_or(0);
            let all = incidents.iter().chain(pending);
            let found =
                all.clone().find(|i| fits(i, wanted, just_now && !expectation.there) && stands(i, wanted, told(i)));
            if standing.pending.is_none() {
                let waits = pending.iter().find(|i| about(i, wanted));
                standing.pending = waits.map(|incident| incident.since.since(BEGIN));
            }
            let decided = now >= expectation.when.last();
            match (found, expectation.there) {
                (Some(_), true) => standing.met = Some(true),
                (Some(incident), false) => {
                    standing.met = Some(false);
                    standing.found = Some(story(incident, told(incident)));
                }
                (None, there) if decided => {
                    standing.met = Some(!there);
                    let about: Vec<String> = all.filter(|i| about(i, wanted)).map(|i| story(i, told(i))).collect();
                    standing.found = (!about.is_empty()).then(|| about.join("; "));
                }
                (None, _) => {}
            }
        }
    }

    /// What was expected and did not come, or came and was not expected.
    pub(super) fn missed(&self, incidents: &[Incident]) -> Vec<Missed> {
        let all = self.test.expect.iter().zip(&self.standing).enumerate();
        let missed =
            all.filter(|(_, (_, standing))| standing.met != Some(true)).map(|(place, (expected, standing))| {
                let found = standing.found.clone().unwrap_or_else(|| self.nothing(expected, standing, incidents));
                Missed { expectation: place, expected: in_words(expected), found }
            });
        missed.collect()
    }

    /// Why there was nothing, as far as that can be told.
    fn nothing(&self, expected: &Expectation, standing: &Standing, incidents: &[Incident]) -> String {
        let wanted = &expected.incident;
        let name = &wanted.scenario;
        let Some(scenario) = self.policy.scenarios.get(name) else { return format!("there is no scenario {name}") };
        if let Some(since) = standing.pending {
            return format!(
                "no incident of {name} opened: its condition held from {since} on, but not for {}",
                scenario.hold
            );
        }
        if let Some(server) = &wanted.server
            && let Some(labels) = self.test.servers.get(server)
            && scenario.scope == Scope::Server
            && !self.policy.applies(scenario, labels)
        {
            return format!("{name} does not apply to {server} {labels}: see its `where`, and the `match` of profiles");
        }
        if incidents.iter().any(|i| i.scenario == *name) {
            return format!("no such incident of {name} opened, but others did");
        }
        let when =
            scenario.when.as_ref().map(|when| format!(": `{}` never held, as far as it was known", when.source()));
        format!("no incident of {name} opened{}", when.unwrap_or_default())
    }
}

/// Whether an incident is about what is wanted, however it stands.
fn about(incident: &Incident, wanted: &Wanted) -> bool {
    let subject = match &incident.subject {
        Subject::Server(server) => wanted.server.as_ref().is_none_or(|w| w == server) && wanted.cluster.is_none(),
        Subject::Cluster(name) => wanted.cluster.as_ref().is_none_or(|w| w == name) && wanted.server.is_none(),
        Subject::Fleet(_) | Subject::Request(_) => wanted.cluster.is_none() && wanted.server.is_none(),
    };
    let labels = wanted.labels.iter().all(|(name, value)| incident.labels.get(name) == Some(value));
    incident.scenario == wanted.scenario && subject && labels
}

/// Whether an incident counts: one that waits for its `for` only where `pending` is asked for. `live`: nor one that is
/// over, unless its end is asked for.
fn fits(incident: &Incident, wanted: &Wanted, live: bool) -> bool {
    let counts = match wanted.state {
        Some(_) => true,
        None => incident.state != State::Pending && !(live && incident.state.is_end()),
    };
    counts && about(incident, wanted)
}

/// Whether it stands as wanted.
fn stands(incident: &Incident, wanted: &Wanted, notices: u32) -> bool {
    wanted.state.is_none_or(|state| incident.state == state)
        && wanted.steps.as_ref().is_none_or(|steps| *steps == actions(incident))
        && wanted.notices.is_none_or(|wanted| notices == wanted)
        && wanted.held.is_none_or(|rail| incident.held.iter().chain(&incident.hold).any(|hold| hold.rail == rail))
}

/// The actions of the steps taken, each step once however many servers it was for.
fn actions(incident: &Incident) -> Vec<String> {
    let mut actions: Vec<(u32, String)> = Vec::new();
    for step in &incident.steps {
        if actions.last().is_none_or(|(number, _)| *number != step.command.step) {
            actions.push((step.command.step, step.command.action.clone()));
        }
    }
    actions.into_iter().map(|(_, action)| action).collect()
}

fn times(notices: u32) -> String {
    match notices {
        0 => "nobody told".to_owned(),
        1 => "a person told".to_owned(),
        more => format!("people told {more} times"),
    }
}

/// An incident in one line.
fn story(incident: &Incident, notices: u32) -> String {
    let labels = &incident.labels;
    if incident.state == State::Pending {
        let since = incident.since.since(BEGIN);
        return format!("{} on {}{labels} was pending since {since}", incident.scenario, incident.subject);
    }
    let opened = incident.opened.since(BEGIN);
    let steps = match (actions(incident).join(", "), incident.mode) {
        (none, Mode::Observe) if none.is_empty() => "only observed".to_owned(),
        (none, Mode::Enforce) if none.is_empty() => "no step taken".to_owned(),
        (steps, _) => format!("steps {steps}"),
    };
    let held: Vec<&str> = incident.held.iter().map(|hold| hold.rail.as_str()).collect();
    let held = if held.is_empty() { String::new() } else { format!(", held by {}", held.join(", ")) };
    format!(
        "{} on {}{labels} opened at {opened} and was {}: {steps}, {}{held}",
        incident.scenario,
        incident.subject,
        incident.state.as_str(),
        times(notices)
    )
}

/// An expectation in words.
fn in_words(expected: &Expectation) -> String {
    let Wanted { scenario, server, cluster, labels, state, steps, notices, held } = &expected.incident;
    let mut words = match expected.when {
        Moment::Within(span) => format!("within {span} "),
        Moment::At(span) => format!("at {span} "),
    };
    words.push_str(if expected.there { "an incident of " } else { "no incident of " });
    words.push_str(scenario.as_str());
    if let Some(server) = server {
        words.push_str(&format!(" on {server}"));
    }
    if let Some(cluster) = cluster {
        words.push_str(&format!(" on cluster {cluster}"));
    }
    if !labels.is_empty() {
        let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        words.push_str(&format!(" with {}", pairs.join(", ")));
    }
    let mut more: Vec<String> = Vec::new();
    more.extend(state.map(|state| state.as_str().to_owned()));
    more.extend(steps.as_ref().map(|steps| match steps.is_empty() {
        true => "no step taken".to_owned(),
        false => format!("steps {}", steps.join(", ")),
    }));
    more.extend(notices.map(times));
    more.extend(held.map(|rail| format!("held by {}", rail.as_str())));
    if !more.is_empty() {
        words.push_str(&format!(": {}", more.join(", ")));
    }
    words
}
