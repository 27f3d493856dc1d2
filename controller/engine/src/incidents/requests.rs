//! What people ask for: checked against policy, journalled, and answered by an incident of each scenario that has
//! `on_request`.

use skynet_model::diagnostic::nearest;
use skynet_model::event::EventBody;
use skynet_model::incident::{Asked, Incident, State, Subject};
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::policy::{Mode, Policy, Scenario};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::{Step, View};
use crate::{Engine, Output};

/// How long what was asked for, and was not done, is shown as open when nobody takes it over.
const OPEN_FOR: Span = Span::hours(24);
/// Most servers of one request.
const MAX_SERVERS: usize = 10_000;
/// Longest text of one parameter, in bytes.
const MAX_TEXT: usize = 1000;

/// Something a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// The request's name in policy.
    pub request: String,
    /// Its parameters, as they were written.
    pub parameters: Labels,
    /// Who asks: an operator's name, a customer's.
    pub by: String,
    /// The servers it is for; none, for a customer: all of theirs.
    pub servers: Vec<ServerId>,
    /// The customer on whose behalf it is asked; none: an operator asks.
    pub customer: Option<String>,
}

impl Engine {
    /// Takes a request: it is journalled, and an incident opens for each scenario that answers it.
    ///
    /// # Errors
    /// Why it is not taken and what to do about it, for whoever asked. Nothing is journalled then.
    pub fn request(
        &mut self,
        now: Timestamp,
        asking: Asking,
        out: &mut Vec<Output>,
    ) -> Result<Vec<IncidentId>, String> {
        self.expire(now, out);
        let policy = self.policy.clone().ok_or("no policy is in force: push one first")?;
        let parameters = parameters(&policy, &asking)?;
        let servers = self.asked_servers(&policy, &asking)?;
        let answers = |s: &&std::sync::Arc<Scenario>| s.on_request.as_deref() == Some(asking.request.as_str());
        let scenarios: Vec<_> = policy.scenarios.values().filter(answers).cloned().collect();
        if scenarios.is_empty() {
            return Err(format!(
                "no scenario answers the request `{0}`: write one with `on_request: {0}`",
                asking.request
            ));
        }
        for scenario in &scenarios {
            check_steps(&policy, scenario, &parameters)?;
        }
        let asked = Asked { by: asking.by, servers };
        let fresh = |engine: &Self, scenario: &Scenario| {
            let subject = Subject::Request(asking.request.clone());
            Incident {
                id: engine.book.new_id(now),
                scenario: scenario.name.clone(),
                policy: engine.version,
                digest: scenario.digest.clone(),
                summary: scenario.summarize(&subject, &parameters, None),
                subject,
                asked: Some(asked.clone()),
                labels: parameters.clone(),
                severity: scenario.severity,
                mode: scenario.mode,
                state: State::Waiting,
                since: now,
                opened: now,
                closed: None,
                reason: None,
                readings: Vec::new(),
                last_readings: Vec::new(),
                steps: Vec::new(),
                chosen: None,
                hold: None,
                held: Vec::new(),
                acknowledged: None,
                route: scenario.escalate.clone(),
            }
        };
        let mut again = Vec::new();
        for scenario in &scenarios {
            let live = self.book.live_like(&fresh(self, scenario)).and_then(|id| self.book.incidents.get(id));
            match live.map(|incident| (incident.id.clone(), incident.state)) {
                Some((id, State::Escalated)) => again.push(id),
                Some((id, _)) => return Err(format!("{id} is at it already: `skynetctl describe incident {id}`")),
                None => {}
            }
        }
        let event = EventBody::RequestMade {
            request: asking.request.clone(),
            parameters: parameters.clone(),
            asked: asked.clone(),
        };
        self.emit(now, event, out);
        for id in again {
            self.change(now, &id, State::Resolved, "it is asked for again".to_owned(), out);
        }
        let mut opened = Vec::new();
        for scenario in scenarios {
            let incident = fresh(self, &scenario);
            opened.push(incident.id.clone());
            self.begin(now, incident, &scenario, out);
        }
        self.pump(now, out);
        Ok(opened)
    }

    /// The servers a request is for: all known, and all of the customer's.
    fn asked_servers(&self, policy: &Policy, asking: &Asking) -> Result<Vec<ServerId>, String> {
        let mut servers = asking.servers.clone();
        servers.sort();
        servers.dedup();
        if servers.len() > MAX_SERVERS {
            return Err(format!("the request names {} servers; at most {MAX_SERVERS} may be", servers.len()));
        }
        let customer = match &asking.customer {
            None => None,
            Some(name) => {
                let customer = policy.customers.get(name);
                let customer = customer.ok_or_else(|| unknown("customer", name, policy.customers.keys()))?;
                if !customer.may.contains(&asking.request) {
                    return Err(format!(
                        "customer {name} may not ask for `{}`; `may` of `customer: {name}` lists what it may",
                        asking.request
                    ));
                }
                Some((name, customer))
            }
        };
        if let (Some((_, customer)), true) = (&customer, servers.is_empty()) {
            let theirs = self.book.servers.iter().filter(|(_, record)| customer.servers.fits(&record.labels));
            servers.extend(theirs.map(|(server, _)| server.clone()));
        }
        if servers.is_empty() {
            return Err("the request names no server: name servers, or labels that select some".to_owned());
        }
        for server in &servers {
            let record = self.book.servers.get(server);
            let record = record
                .ok_or_else(|| unknown("server", server.as_str(), self.book.servers.keys().map(ServerId::as_str)))?;
            if let Some((name, customer)) = &customer
                && !customer.servers.fits(&record.labels)
            {
                return Err(format!("{server} is none of the servers of customer {name}"));
            }
        }
        Ok(servers)
    }

    /// What was asked for was not done, or only observed: nothing more is read about it.
    pub(super) fn asked_and_told(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let incident = &view.incident;
        let until = incident.opened.plus(OPEN_FOR);
        let (state, reason) = match (incident.state, &incident.acknowledged) {
            (State::Observed, _) => (State::Cleared, "it was said what would be done".to_owned()),
            (_, Some(acknowledged)) => (State::Resolved, format!("{} has taken it over", acknowledged.by)),
            (_, None) if now >= until => {
                (State::Resolved, format!("nobody has taken it over within {OPEN_FOR}; it can be asked for again"))
            }
            (_, None) => return Step::Stay(Some(until)),
        };
        self.change(now, &incident.id, state, reason, out);
        Step::Moved
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = impl AsRef<str> + 'a> + Clone) -> String {
    let names: Vec<String> = known.map(|name| name.as_ref().to_owned()).collect();
    let suggestion = nearest(name, names.iter().map(String::as_str));
    format!("unknown {what} `{name}`{}", suggestion.map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())
}

/// The parameters, each there, of its kind, and written as the kind writes it.
fn parameters(policy: &Policy, asking: &Asking) -> Result<Labels, String> {
    let name = &asking.request;
    let request = policy.requests.get(name).ok_or_else(|| unknown("request", name, policy.requests.keys()))?;
    for (given, text) in asking.parameters.iter() {
        if !request.parameters.contains_key(given) {
            return Err(unknown(&format!("parameter of `{name}`"), given, request.parameters.keys()));
        }
        if text.len() > MAX_TEXT {
            return Err(format!("the parameter `{given}` has {} bytes; at most {MAX_TEXT} are taken", text.len()));
        }
    }
    let mut parsed = Vec::new();
    for (parameter, kind) in &request.parameters {
        let text = asking.parameters.get(parameter);
        let text = text.ok_or_else(|| format!("`{name}` needs the parameter `{parameter}` ({kind})"))?;
        let value = kind.parse(text).map_err(|error| format!("the parameter `{parameter}`: {error}"))?;
        parsed.push((parameter.clone(), value.to_string()));
    }
    Ok(Labels::new(parsed))
}

/// Whether all steps can be filled in and none is refused whoever asks.
fn check_steps(policy: &Policy, scenario: &Scenario, parameters: &Labels) -> Result<(), String> {
    for (step, number) in scenario.respond.iter().zip(1..) {
        let params =
            step.render(parameters).map_err(|error| format!("step {number} of `{}`: {error}", scenario.name))?;
        if let (Mode::Enforce, Some(never)) = (scenario.mode, policy.refused_by(step.action, &params)) {
            return Err(format!(
                "`never: {never}` of the policy refuses {} with these parameters, whoever asks",
                step.action.name
            ));
        }
    }
    Ok(())
}
