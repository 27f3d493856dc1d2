//! From members to groups: who belongs where, and what has changed. Cells are looked at one after the other, never two at
//! once.

use std::collections::BTreeSet;
use std::sync::Arc;

use skynet_model::name::ServerId;
use skynet_model::policy::{Scope, cluster_of};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;

use super::super::many::Said;
use super::super::rule::Rule;
use super::super::{Evaluator, Signal, lock};
use crate::timers::Timers;

impl Evaluator {
    /// The name of the group a server is in by a rule; none when the rule is not about it, or it does not count now.
    fn group_name(&self, rule: &Rule, server: u32) -> Option<String> {
        let scope = rule.many.as_ref()?.scope;
        if self.groups.excluded.contains(&server) {
            return None;
        }
        let policy = self.rules.policy.as_ref()?;
        let cell = lock(self.cell(server)?);
        if !policy.applies(&rule.scenario, &cell.server.labels) {
            return None;
        }
        Some(match scope {
            Scope::Fleet => policy.fleet.name.clone(),
            Scope::Server | Scope::Cluster => cluster_of(&cell.server.id, &cell.server.labels).to_owned(),
        })
    }

    /// The servers a group is made of.
    fn belonging(&self, rule: &Rule, name: &str) -> Vec<u32> {
        let all: Vec<u32> = match rule.many.as_ref().map(|many| many.scope) {
            Some(Scope::Fleet) => (0..self.servers.len() as u32).collect(),
            Some(Scope::Server | Scope::Cluster) | None => {
                self.groups.clusters.get(name).into_iter().flatten().copied().collect()
            }
        };
        all.into_iter().filter(|server| self.group_name(rule, *server).as_deref() == Some(name)).collect()
    }

    /// What a server says as a member, made one if it is none. A server whose rules have another text of the scenario says
    /// nothing that is known.
    fn ask(&mut self, server: u32, number: u32, labels: &Labels, now: Timestamp, timers: &mut Timers) -> Option<Said> {
        let rules = Arc::clone(&self.rules);
        let rule = rules.get(number)?;
        let measures = rule.many.as_ref()?.measures.len();
        let said = self.with_number(server, now, timers, |server, pass| {
            let own = pass.rules.find(&rule.scenario.name, &rule.scenario.digest)?;
            let i = server.ask_member(own, labels, pass)?;
            server.said(i, pass.rules).map(|(_, _, said)| said)
        });
        let nothing = || Said { values: vec![f64::NAN; measures].into_boxed_slice(), ..Said::default() };
        Some(said?.unwrap_or_else(nothing))
    }

    /// The group, made with all its members when there is none.
    pub(super) fn ensure_group(
        &mut self,
        number: u32,
        name: &str,
        labels: &Labels,
        now: Timestamp,
        timers: &mut Timers,
    ) -> Option<u32> {
        if let Some(group) = self.groups.find(number, name, labels) {
            return Some(group);
        }
        let rules = Arc::clone(&self.rules);
        let rule = rules.get(number)?;
        let servers = self.belonging(rule, name);
        if !self.groups.has_room(number, name, servers.len()) {
            if self.groups.capped.insert((number, name.to_owned())) {
                let scenario = rule.scenario.name.clone();
                self.signals.push(Signal::SetsCapped { scenario, name: name.to_owned() });
            }
            return None;
        }
        let (group, _) = self.groups.open(number, rule, name, labels)?;
        for server in servers {
            if let Some(said) = self.ask(server, number, labels, now, timers) {
                self.groups.take(group, server, said);
            }
        }
        Some(group)
    }

    /// Follows up what members have said and who has come and gone; then evaluates the groups that this concerns.
    pub(crate) fn gather(&mut self, now: Timestamp, timers: &mut Timers) {
        self.heard = now;
        loop {
            let stirred = std::mem::take(&mut self.stirred);
            if stirred.is_empty() && self.groups.dirty.is_empty() {
                return;
            }
            let all: BTreeSet<u32> = stirred.iter().filter(|(_, i)| i.is_none()).map(|(server, _)| *server).collect();
            for server in &all {
                self.sync(*server, now, timers);
            }
            for (server, instance) in stirred {
                if let Some(i) = instance.filter(|_| !all.contains(&server)) {
                    self.heard(server, i, now, timers);
                }
            }
            while let Some(group) = self.groups.dirty.pop_first() {
                self.evaluate_group(group, now, timers);
            }
        }
    }

    /// One member has said something new.
    fn heard(&mut self, server: u32, instance: u32, now: Timestamp, timers: &mut Timers) {
        let said = self.cell(server).and_then(|cell| {
            let cell = lock(cell);
            let (rule, labels, said) = cell.server.said(instance, &cell.rules)?;
            let scenario = &cell.rules.get(rule)?.scenario;
            Some((self.rules.find(&scenario.name, &scenario.digest)?, labels, said))
        });
        if let Some((number, labels, said)) = said {
            self.enter(server, number, &labels, said, now, timers);
        }
    }

    fn enter(&mut self, server: u32, number: u32, labels: &Labels, said: Said, now: Timestamp, timers: &mut Timers) {
        let rules = Arc::clone(&self.rules);
        let Some(name) = rules.get(number).and_then(|rule| self.group_name(rule, server)) else { return };
        let group = match self.groups.find(number, &name, labels) {
            Some(group) => Some(group),
            // Nobody has the series with these labels any more.
            None if !said.present => None,
            None => self.ensure_group(number, &name, labels, now, timers),
        };
        if let Some(group) = group {
            self.groups.take(group, server, said);
        }
    }

    /// A server's members were made anew, or it has come or gone: where it belongs is looked up anew.
    fn sync(&mut self, server: u32, now: Timestamp, timers: &mut Timers) {
        let rules = Arc::clone(&self.rules);
        let numbers = (0u32..).zip(&rules.list).filter(|(_, rule)| rule.many.is_some());
        let names: Vec<(u32, Option<String>)> =
            numbers.map(|(number, rule)| (number, self.group_name(rule, server))).collect();
        if names.is_empty() {
            return;
        }
        let place = |number: u32| names.iter().find(|(n, _)| *n == number).and_then(|(_, name)| name.as_deref());
        for group in self.groups.of_server.get(&server).cloned().unwrap_or_default() {
            let gone = self.groups.list.get(group).is_none_or(|of| place(of.rule) != Some(of.name.as_str()));
            if gone {
                self.groups.leave(group, server);
            }
        }
        let said = self.cell(server).map(|cell| {
            let cell = lock(cell);
            let mut all = cell.server.all_said(&cell.rules);
            all.retain_mut(|(rule, _, _)| {
                let scenario = cell.rules.get(*rule).map(|rule| &rule.scenario);
                let own = scenario.and_then(|s| self.rules.find(&s.name, &s.digest));
                own.inspect(|own| *rule = *own).is_some()
            });
            all
        });
        for (number, labels, said) in said.unwrap_or_default() {
            self.enter(server, number, &labels, said, now, timers);
        }
        for (number, name) in names.iter().filter_map(|(number, name)| Some((*number, name.as_ref()?))) {
            let Some(rule) = rules.get(number) else { continue };
            if !rule.retired && rule.many.as_ref().is_some_and(|many| many.single) {
                self.ensure_group(number, name, &Labels::default(), now, timers);
            }
            let sets = self.groups.index.get(&(number, name.clone())).cloned().unwrap_or_default();
            for (labels, group) in sets {
                let Some(said) = self.ask(server, number, &labels, now, timers) else { continue };
                self.groups.take(group, server, said);
                // Its sweeps count for a proof that is under way.
                let watched = self.groups.list.get(group).is_some_and(|of| of.watch.is_some());
                if watched {
                    self.count_turns(&[server], number, &labels, now, timers);
                }
            }
        }
    }

    /// Counts the sweeps of members from now on.
    pub(super) fn count_turns(
        &mut self,
        servers: &[u32],
        number: u32,
        labels: &Labels,
        now: Timestamp,
        timers: &mut Timers,
    ) {
        for server in servers {
            self.with_member(*server, number, labels, now, timers, |server, i, pass| {
                server.count_turns(i, pass);
            });
            let said = self.ask(*server, number, labels, now, timers);
            let group = self.group_of(number, *server, labels);
            if let (Some(said), Some(group)) = (said, group) {
                self.groups.take(group, *server, said);
            }
        }
    }

    fn group_of(&self, number: u32, server: u32, labels: &Labels) -> Option<u32> {
        let name = self.group_name(self.rules.get(number)?, server)?;
        self.groups.find(number, &name, labels)
    }

    /// Does something with a member that is there.
    pub(super) fn with_member(
        &mut self,
        server: u32,
        number: u32,
        labels: &Labels,
        now: Timestamp,
        timers: &mut Timers,
        what: impl FnOnce(&mut super::super::Server, u32, &mut super::super::Pass<'_>),
    ) {
        let rules = Arc::clone(&self.rules);
        let Some(rule) = rules.get(number) else { return };
        self.with_number(server, now, timers, |server, pass| {
            let own = pass.rules.find(&rule.scenario.name, &rule.scenario.digest);
            let i = own.and_then(|own| server.by_labels.get(&(own, labels.clone())).copied());
            if let Some(i) = i {
                what(server, i, pass);
            }
        });
    }

    fn evaluate_group(&mut self, number: u32, now: Timestamp, timers: &mut Timers) {
        let rules = Arc::clone(&self.rules);
        let Some(group) = self.groups.list.get_mut(number) else { return };
        let Some(rule) = rules.get(group.rule) else { return };
        let anew = group.evaluate(number, rule, now, &mut self.signals, timers);
        let single = !rule.retired && rule.many.as_ref().is_some_and(|many| many.single);
        if group.is_idle() && (group.members.is_empty() || (group.present == 0 && !single)) {
            let Some((rule, labels, servers)) = self.groups.close(number, timers) else { return };
            for server in servers {
                self.with_member(server, rule, &labels, now, timers, |server, i, pass| server.drop_instance(i, pass));
            }
            return;
        }
        if anew {
            // It has just become true: every member has to say so again.
            let (servers, labels) = (group.members.keys().copied().collect::<Vec<_>>(), group.labels.clone());
            let rule = group.rule;
            self.count_turns(&servers, rule, &labels, now, timers);
        }
    }

    /// Whether a server counts: while it is worked on it does not.
    pub(crate) fn exclude(&mut self, server: &ServerId, excluded: bool) {
        let Some(number) = self.index.get(server).copied() else { return };
        let changed = match excluded {
            true => self.groups.excluded.insert(number),
            false => self.groups.excluded.remove(&number),
        };
        if changed {
            self.stirred.push((number, None));
        }
    }
}
