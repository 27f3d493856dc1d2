//! When a person is told, and who: routes and their tiers, silences, maintenance, quiet hours. A notice that something
//! holds back is not raised; its deadline is kept, and it is raised then if it is still true.

use skynet_model::incident::{Incident, Notice, NoticeKind, State, Subject};
use skynet_model::name::{IncidentId, NoticeId};
use skynet_model::policy::{Quiet, Route, Severity, Target};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use skynet_model::event::EventBody;

use super::alarms::Cause;
use super::rails::cluster::some;
use super::story;
use crate::timers::Timer;
use crate::{Engine, Output};

const MINUTE: i64 = 60_000;
const MINUTES_A_DAY: i64 = 24 * 60;
/// Incidents that the notice of a common cause names.
const NAMED: usize = 50;

/// What a person has yet to hear of an incident.
enum Due {
    /// This.
    Now(Box<Notice>),
    /// Nothing before then.
    Later(Timestamp),
}

/// When quiet hours that go on at `now` end; none outside of them. Times of day are UTC.
fn quiet_until(quiet: &Quiet, now: Timestamp) -> Option<Timestamp> {
    let minute = now.0.div_euclid(MINUTE).rem_euclid(MINUTES_A_DAY);
    let (from, until) = (i64::from(quiet.from), i64::from(quiet.until));
    let length = (until - from).rem_euclid(MINUTES_A_DAY);
    let gone = (minute - from).rem_euclid(MINUTES_A_DAY);
    (gone < length).then(|| Timestamp((now.0.div_euclid(MINUTE) + length - gone) * MINUTE))
}

impl Engine {
    /// Tells what is due of an incident, and keeps the deadline of what is not.
    pub(crate) fn tell(&mut self, now: Timestamp, id: &IncidentId, out: &mut Vec<Output>) {
        loop {
            match self.due(now, id) {
                Some(Due::Now(notice)) => self.emit(now, EventBody::NoticeRaised { notice }, out),
                Some(Due::Later(at)) => return self.timers.set(Timer::Tell(id.clone()), Some(at)),
                None => return self.timers.set(Timer::Tell(id.clone()), None),
            }
        }
    }

    /// Tells whatever may be due by now: what held it back has changed.
    pub(crate) fn tell_all(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let open: Vec<IncidentId> = self.book.untold.iter().chain(self.book.told.keys()).cloned().collect();
        for id in open {
            self.tell(now, &id, out);
        }
    }

    fn route(&self, named: Option<&str>) -> (String, Option<&Route>) {
        let named = named.unwrap_or("default");
        let route = self.policy.as_ref().and_then(|policy| policy.routes.get(named));
        (if route.is_some() { named } else { "console" }.to_owned(), route)
    }

    fn due(&self, now: Timestamp, id: &IncidentId) -> Option<Due> {
        let incident = self.book.incidents.get(id)?;
        let cause = self.book.alarms.led_by(id);
        if cause.is_none() && self.book.covered_by(incident).is_some() {
            return None;
        }
        let (name, route) = self.route(incident.route.as_deref());
        let told = self.book.told.get(id);
        let over = cause.map_or(incident.state.is_end(), |c| c.over);
        let tier = if self.book.untold.contains(id) {
            0
        } else {
            let goes_on = cause.is_some() || incident.state == State::Escalated;
            if over || !goes_on || incident.acknowledged.is_some() {
                return None;
            }
            let told = told?;
            let at = told.first.plus(route?.tiers.get(told.tiers)?.after);
            if now < at {
                return Some(Due::Later(at));
            }
            told.tiers
        };
        if let Some(at) = self.kept_until(now, incident, cause.is_some(), over, route) {
            return Some(Due::Later(at));
        }
        let to = if over {
            let mut to = told.map(|t| t.to.clone()).unwrap_or_default();
            to.sort_by_key(|target| *target == Target::Console);
            if to == [Target::Console] { Vec::new() } else { to }
        } else {
            route.and_then(|r| r.tiers.get(tier)).map(|t| t.to.clone()).unwrap_or_default()
        };
        let mut notice = self.notice(now, incident, cause, over)?;
        if tier > 0 {
            let waited = told.map(|t| now.since(t.first)).unwrap_or_default();
            let first = format!("Tier {} of route {name}: nobody took it over within {waited}.\n", tier + 1);
            notice.story.insert_str(0, &first);
            notice.title = format!("{} (not taken over for {waited})", notice.title);
        }
        Some(Due::Now(Box::new(Notice { route: name, to, ..notice })))
    }

    /// Until when nobody is told. That something is over is no new trouble: a silence lets it through, so that what was
    /// told is not left open.
    fn kept_until(
        &self,
        now: Timestamp,
        incident: &Incident,
        cause: bool,
        over: bool,
        route: Option<&Route>,
    ) -> Option<Timestamp> {
        let work =
            incident.server().filter(|_| !cause && self.without != Some(skynet_model::incident::Rail::Maintenance));
        let work = work.and_then(|server| self.book.in_maintenance(server, now)).map(|m| m.until);
        let silence = self.book.standing.silence_of(&self.book, incident, now).filter(|_| !over).map(|s| s.until);
        let quiet = route.and_then(|r| r.quiet.as_ref()).filter(|q| incident.severity < q.only_below);
        let quiet = quiet.and_then(|q| quiet_until(q, now));
        [work, silence, quiet].into_iter().flatten().max()
    }

    /// The notice as it stands; route and targets are the caller's.
    fn notice(&self, now: Timestamp, incident: &Incident, cause: Option<&Cause>, over: bool) -> Option<Notice> {
        let hex = incident.id.as_str().trim_start_matches("i-");
        let count = self.book.told.get(&incident.id).map_or(0, |t| t.notices);
        let id = match (over, count) {
            (true, _) => format!("n-{hex}-end"),
            (false, 0) => format!("n-{hex}"),
            (false, n) => format!("n-{hex}-{}", n + 1),
        };
        let verb = match (over, incident.state) {
            (false, _) => "not contained",
            (true, State::Superseded) => "closed, the policy changed",
            (true, State::Contained) => "contained after all",
            (true, _) => "resolved",
        };
        let scenario = self.evaluator.site(incident).and_then(|site| self.evaluator.scenario(site));
        let mut story = story::story(incident, scenario.as_deref(), now);
        let mut title = format!("{} on {}, {verb}: {}", incident.scenario, incident.subject, incident.summary);
        let mut labels = incident.labels.clone();
        if let Subject::Cluster(name) | Subject::Request(name) = &incident.subject {
            // What a notice without a server is about, for whoever sorts notices by labels.
            let own = if incident.subject.is_request() { "request" } else { "cluster" };
            let others = incident.labels.iter().filter(|(label, _)| *label != own);
            labels = Labels::new(others.chain([(own, name.as_str())]));
        }
        if let Some(cause) = cause {
            let (what, told) = self.cause_in_words(cause, over);
            title = format!("{} in cluster {}, {what}", cause.scenario, cause.cluster);
            story.insert_str(0, &told);
            labels = Labels::new([("cluster", cause.cluster.as_str())]);
        }
        Some(Notice {
            id: NoticeId::new(&id).ok()?,
            kind: if over { NoticeKind::Resolved } else { NoticeKind::Escalated },
            incident: Some(incident.id.clone()),
            scenario: Some(incident.scenario.clone()),
            server: incident.server().filter(|_| cause.is_none()).cloned(),
            labels,
            severity: incident.severity,
            route: String::new(),
            to: Vec::new(),
            title,
            story,
            at: now,
            since: cause.map_or(incident.since, |c| c.since),
        })
    }

    fn cause_in_words(&self, cause: &Cause, over: bool) -> (String, String) {
        let live: Vec<&Incident> = self.book.live_in(&cause.scenario, &cause.cluster).collect();
        let servers = some(live.iter().filter_map(|i| i.server()));
        if over {
            return ("the common cause is over".to_owned(), format!("It is over everywhere: {}.\n", cause.reason));
        }
        let what = format!("a common cause: {} servers at once ({servers})", live.len());
        let mut text = format!(
            "Steps that disrupt are no longer taken on it in cluster {}: {}.\nThis is told once for all of them:\n",
            cause.cluster, cause.reason
        );
        for incident in live.iter().take(NAMED) {
            text.push_str(&format!("  {} on {}: {}\n", incident.id, incident.subject, incident.summary));
        }
        if live.len() > NAMED {
            text.push_str(&format!("  and {} more\n", live.len() - NAMED));
        }
        text.push_str("The newest of them:\n");
        (what, text)
    }

    /// Tells of Skynet itself, once for each `id`: by the route named `default`, else on the console. Silences and
    /// quiet hours are about servers and do not hold it back.
    pub(crate) fn tell_of_skynet(
        &mut self,
        now: Timestamp,
        id: &str,
        severity: Severity,
        title: String,
        story: String,
        out: &mut Vec<Output>,
    ) {
        let Ok(id) = NoticeId::new(id) else { return };
        if self.book.alarms.has_said(&id) {
            return;
        }
        let (route, tiers) = self.route(None);
        let to = tiers.and_then(|r| r.tiers.first()).map(|t| t.to.clone()).unwrap_or_default();
        let notice = Notice {
            id,
            kind: NoticeKind::Skynet,
            incident: None,
            scenario: None,
            server: None,
            labels: Labels::default(),
            severity,
            route,
            to,
            title,
            story,
            at: now,
            since: now,
        };
        self.emit(now, EventBody::NoticeRaised { notice: Box::new(notice) }, out);
    }

    /// Puts the deadline of what is next about the policy's end, and tells what is due: some time before it
    /// (14 days, or a quarter of its life if that is less) and at it.
    pub(crate) fn mind_expiry(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Some((version, activated, at)) = self.term.filter(|_| self.policy.is_some()) else { return };
        let before = Span(at.since(activated).0 / 4).min(Span::hours(14 * 24));
        let soon = Timestamp(at.0 - before.0);
        let remedy = "Build, sign and push it again; until then sensors run and actions stop at its end.".to_owned();
        if now >= at {
            let title = format!("policy {version} has expired: nothing is done any more");
            self.tell_of_skynet(now, &format!("n-expired-{version}"), Severity::Critical, title, remedy, out);
        } else if now >= soon {
            let title = format!("policy {version} expires at {at}");
            self.tell_of_skynet(now, &format!("n-expires-{version}"), Severity::Warning, title, remedy, out);
        }
        let next = [soon, at].into_iter().find(|t| *t > now);
        self.timers.set(Timer::Expiry, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64, minute: i64) -> Timestamp {
        Timestamp(((3 * 24 + hour) * 60 + minute) * MINUTE + 17_000)
    }

    fn quiet(from: u32, until: u32) -> Quiet {
        Quiet { from: from * 60, until: until * 60, only_below: Severity::Critical }
    }

    #[test]
    fn quiet_hours_end_when_they_say_over_midnight_too() {
        let night = quiet(23, 7);
        assert_eq!(quiet_until(&night, at(22, 59)), None);
        assert_eq!(quiet_until(&night, at(23, 0)), Some(Timestamp(at(31, 0).0 - 17_000)));
        assert_eq!(quiet_until(&night, at(6, 59)), Some(Timestamp(at(7, 0).0 - 17_000)));
        assert_eq!(quiet_until(&night, at(7, 0)), None);
        let noon = quiet(12, 13);
        assert_eq!(quiet_until(&noon, at(11, 59)), None);
        assert_eq!(quiet_until(&noon, at(12, 30)), Some(Timestamp(at(13, 0).0 - 17_000)));
        assert_eq!(quiet_until(&quiet(5, 5), at(5, 0)), None, "no length, no quiet");
    }
}
