//! What is done about a rail: a step is held and in the end a person is told; a common cause and a breaker are found,
//! journalled, and then hold by the rails of their own.

use skynet_model::catalogue::Risk;
use skynet_model::event::EventBody;
use skynet_model::incident::{Hold, Incident, Rail, State};
use skynet_model::name::ServerId;
use skynet_model::policy::Severity;
use skynet_model::time::Timestamp;

use super::rails::cluster::some;
use super::rails::{Patience, Stop};
use super::{Step, rails};
use crate::{Engine, Output};

impl Engine {
    /// Holds an incident's next step, `what`. A person is told when patience has run out. That is one wait whatever
    /// rails hold it in turn; only maintenance does not count.
    pub(crate) fn hold(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        what: &str,
        held: (Rail, Stop),
        out: &mut Vec<Output>,
    ) -> Step {
        let since = self.note(now, incident, &held, out);
        let (rail, stop) = held;
        let last = match stop.patience {
            Patience::None => now,
            Patience::Usual => since.plus(self.settings.hold_patience),
            Patience::Endless => return Step::Stay(stop.until),
        };
        if now >= last {
            let waited =
                if stop.patience == Patience::None { String::new() } else { format!(" for {}", now.since(since)) };
            let reason = format!("{what} was held back{waited} by {}: {}", rail.as_str(), stop.why);
            self.change(now, &incident.id, State::Escalated, reason, out);
            return Step::Moved;
        }
        Step::Stay(Some(stop.until.filter(|at| *at > now).map_or(last, |at| at.min(last))))
    }

    /// Journals what holds a step back, when it is another rail than before. Gives since when it is held.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        (rail, stop): &(Rail, Stop),
        out: &mut Vec<Output>,
    ) -> Timestamp {
        let works = |rail: Rail| rail == Rail::Maintenance;
        let before = incident.hold.as_ref();
        let since = before.filter(|h| works(h.rail) == works(*rail)).map_or(now, |h| h.since);
        if before.is_none_or(|h| h.rail != *rail) {
            let hold = Hold { rail: *rail, why: stop.why.clone(), since };
            self.emit(now, EventBody::IncidentHeld { incident: incident.id.clone(), hold }, out);
        }
        since
    }

    /// Whether the incident's server is worked on: then nothing at all is decided about it.
    pub(crate) fn worked_on(&self, now: Timestamp, incident: &Incident) -> Option<(Rail, Stop)> {
        let stop = rails::fleet::in_maintenance(&self.book, incident.server()?, now)?;
        (self.without != Some(Rail::Maintenance)).then_some((Rail::Maintenance, stop))
    }

    /// Whether so many servers of the target's cluster fire the same scenario that the cause is not theirs. Asked when
    /// an incident first comes to a step, for only an opening can make it so.
    pub(crate) fn look_for_cause(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        target: &ServerId,
        risk: Risk,
        out: &mut Vec<Output>,
    ) {
        let Self { book, settings, .. } = self;
        let (scenario, window) = (&incident.scenario, settings.common_cause_window);
        let cluster = book.cluster(target);
        if risk == Risk::Reversible || incident.hold.is_some() || book.alarms.cause(scenario, cluster).is_some() {
            return;
        }
        let members: Vec<&ServerId> =
            book.reach.members(cluster).filter(|s| book.in_maintenance(s, now).is_none()).collect();
        let fired: Vec<&ServerId> =
            members.iter().copied().filter(|s| book.history.fired(scenario, s, window, now)).collect();
        let enough = fired.len() as f64 + 1e-9 >= settings.common_cause_share * members.len() as f64;
        if fired.len() < settings.common_cause_servers || !enough {
            return;
        }
        let reason = format!(
            "{} of {} servers in cluster {cluster} fired {scenario} within {window} ({})",
            fired.len(),
            members.len(),
            some(fired.iter().copied())
        );
        let (scenario, cluster) = (scenario.clone(), cluster.to_owned());
        self.emit(now, EventBody::CommonCauseFound { scenario, cluster, reason }, out);
        self.tell_all(now, out);
        self.recheck(|i| i.scenario == incident.scenario);
    }

    /// Opens the breaker when it is due, and says that it is open.
    pub(crate) fn mind_breaker(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let most = self.settings.breaker_after;
        let (row, servers) = self.book.alarms.row();
        if self.book.alarms.breaker.is_none() && row.len() >= most && servers >= most {
            let last = row.iter().rev().take(most).rev().map(|(id, server)| format!("{id} on {server}"));
            let reason = format!(
                "{} incidents in a row on {servers} servers acted and were not contained ({})",
                row.len(),
                last.collect::<Vec<_>>().join(", ")
            );
            self.emit(now, EventBody::BreakerOpened { reason }, out);
        }
        let Some(open) = self.book.alarms.breaker.clone() else { return };
        let story = format!(
            "Automation has paused on the whole fleet: {}.\nWhat fires is told, nothing is done. `skynetctl resume` lets \
             it go on.\n",
            open.reason
        );
        let title = format!("automation has paused: {}", open.reason);
        self.tell_of_skynet(now, &format!("n-breaker-{}", open.since.0), Severity::Critical, title, story, out);
    }
}
