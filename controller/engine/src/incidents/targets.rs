//! Which servers a step is done on: the incident's own, those of a request, or some that the step's `target` selects.

use std::cmp::Ordering;

use skynet_model::incident::{Incident, Subject};
use skynet_model::name::ServerId;
use skynet_model::policy::{Order, Pick, Step, StepTarget, Where, cluster_of};
use skynet_model::time::Timestamp;

use super::View;
use super::rails::{Patience, Stop};
use super::steps::Task;
use crate::Engine;

/// Most servers that are named in a sentence.
const MAX_NAMED: usize = 5;

impl Engine {
    /// The servers a step is done on, in the order they get their commands. What was chosen stays chosen while one of it
    /// can go, or none else could. Of those to pick from, they come first whom no rail stops now.
    pub(super) fn choose(&self, now: Timestamp, view: &View, task: &Task<'_>) -> Result<Vec<ServerId>, Stop> {
        let all = self.candidates(view, task.step)?;
        if task.step.target.is_none() {
            return Ok(all);
        }
        let is_free = |server: &ServerId| self.stop(now, view, task, server).is_none();
        let chosen = view.incident.chosen.as_ref().filter(|chosen| chosen.step == task.number);
        if let Some(chosen) = chosen.filter(|chosen| chosen.servers.iter().all(|server| all.contains(server)))
            && (chosen.servers.iter().any(is_free) || !all.iter().any(is_free))
        {
            return Ok(chosen.servers.clone());
        }
        match &task.step.target {
            Some(StepTarget::Pick(Pick { pick: Some(pick), .. })) => {
                let (free, held): (Vec<ServerId>, Vec<ServerId>) = all.into_iter().partition(is_free);
                Ok(free.into_iter().chain(held).take((*pick).max(1) as usize).collect())
            }
            Some(StepTarget::Pick(Pick { pick: None, .. }) | StepTarget::Request) | None => Ok(all),
        }
    }

    /// The servers a step could be done on, in order; why there are none.
    fn candidates(&self, view: &View, step: &Step) -> Result<Vec<ServerId>, Stop> {
        let incident = &view.incident;
        let lost = |why: &str| Stop { why: why.to_owned(), until: None, patience: Patience::None };
        let Some(policy) = &self.policy else { return Err(lost("no policy is in force")) };
        let fits = |server: &ServerId| {
            let record = self.book.servers.get(server);
            record.is_some_and(|record| policy.may_target(&view.scenario, step, &record.labels))
        };
        match &step.target {
            None => match incident.server() {
                Some(server) => Ok(vec![server.clone()]),
                None => Err(lost("outside scope `server` a step names its servers: give it a `target`")),
            },
            Some(StepTarget::Request) => {
                let asked = incident.asked.as_ref().map_or(&[][..], |asked| &asked.servers);
                let servers: Vec<ServerId> = asked.iter().filter(|server| fits(server)).cloned().collect();
                match servers.is_empty() {
                    true => Err(lost("the request resolved to no server that the scenario is about")),
                    false => Ok(servers),
                }
            }
            Some(StepTarget::Pick(pick)) => {
                let is_within = |(server, labels)| match &incident.subject {
                    Subject::Cluster(cluster) => cluster_of(server, labels) == cluster,
                    Subject::Server(_) | Subject::Fleet(_) | Subject::Request(_) => true,
                };
                let all = self.book.servers.iter().filter(|(server, record)| is_within((server, &record.labels)));
                let mut servers: Vec<&ServerId> = all.map(|(server, _)| server).filter(|server| fits(server)).collect();
                let is_there = |server: &ServerId| self.evaluator.server(server).is_some_and(|s| s.connected);
                // Those that are away are left out when others are there.
                let there: Vec<&ServerId> = servers.iter().copied().filter(|server| is_there(server)).collect();
                if !there.is_empty() {
                    servers = there;
                }
                if servers.is_empty() {
                    let within = match &incident.subject {
                        Subject::Cluster(cluster) => format!(" in cluster {cluster}"),
                        Subject::Server(_) | Subject::Fleet(_) | Subject::Request(_) => String::new(),
                    };
                    let why = format!("no server matches {}{within}", selection(&pick.selects));
                    return Err(Stop { why, until: None, patience: Patience::Usual });
                }
                Ok(self.ranked(servers, pick.order.as_ref()))
            }
        }
    }

    /// Servers in order: by a number of each where that is asked for, unknown ones last, and by name.
    fn ranked(&self, servers: Vec<&ServerId>, order: Option<&Order>) -> Vec<ServerId> {
        let Some(order) = order else { return servers.into_iter().cloned().collect() };
        let rank = |server: &ServerId| {
            let value = self.evaluator.server(server).map_or(f64::NAN, |s| s.number_of(&order.by));
            if order.highest { -value } else { value }
        };
        let mut ranked: Vec<(f64, &ServerId)> = servers.into_iter().map(|server| (rank(server), server)).collect();
        ranked.sort_by(|(a, a_name), (b, b_name)| {
            let known = a.is_nan().cmp(&b.is_nan());
            known.then(a.partial_cmp(b).unwrap_or(Ordering::Equal)).then_with(|| a_name.cmp(b_name))
        });
        ranked.into_iter().map(|(_, server)| server.clone()).collect()
    }
}

/// `role=lb` or `profile web`.
fn selection(selects: &Where) -> String {
    match selects {
        Where::Labels(matches) => {
            matches.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        }
        Where::Profile(name) => format!("profile {name}"),
        Where::Declaring => "the scenario's own `where`".to_owned(),
    }
}

/// ` on 1 server of role=lb, highest cpu.busy_ratio first`; nothing for a step on the incident's own server.
pub(super) fn in_words(incident: &Incident, step: &Step) -> String {
    match &step.target {
        None => String::new(),
        Some(StepTarget::Request) => names(incident.asked.iter().flat_map(|asked| &asked.servers)),
        Some(StepTarget::Pick(pick)) => {
            let many = match pick.pick {
                None => "every server".to_owned(),
                Some(1) => "1 server".to_owned(),
                Some(n) => format!("{n} servers"),
            };
            let order = pick.order.as_ref().map(|order| {
                format!(", {} {} first", if order.highest { "highest" } else { "lowest" }, order.by.source())
            });
            format!(" on {many} of {}{}", selection(&pick.selects), order.unwrap_or_default())
        }
    }
}

/// ` on lb1, lb2` for a step that names its servers.
pub(super) fn on_servers(incident: &Incident, number: u32) -> String {
    match incident.server() {
        Some(_) => String::new(),
        None => names(incident.records(number).map(|record| &record.command.server)),
    }
}

fn names<'a>(servers: impl Iterator<Item = &'a ServerId>) -> String {
    let all: Vec<&str> = servers.map(ServerId::as_str).collect();
    let more = match all.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!(" on {}{more}", all[..all.len().min(MAX_NAMED)].join(", "))
}
