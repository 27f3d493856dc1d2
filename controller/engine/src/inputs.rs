//! What each input does.

use std::collections::BTreeSet;

use skynet_model::command::{LedgerEntry, Outcome, Status};
use skynet_model::event::EventBody;
use skynet_model::incident::{Rail, State};
use skynet_model::name::{CommandId, ServerId};
use skynet_model::series::Labels;
use skynet_model::sign::is_breach;
use skynet_model::time::{Span, Timestamp};

use crate::incidents::breach::Asked;
use crate::{Engine, Input, Output, await_server};

impl Engine {
    pub(crate) fn take(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Labelled { server, labels } => self.labelled(now, server, labels, out),
            Input::Connected { server, boot, version } => {
                if self.evaluator.server(&server).is_none() {
                    self.labelled(now, server.clone(), Labels::default(), out);
                }
                let event = EventBody::ServerConnected { server: server.clone(), boot: boot.clone(), version };
                self.emit(now, event, out);
                self.evaluator.with(&server, now, &mut self.timers, |s, pass| s.connect(boot, pass));
                self.resume_all_of(now, &server);
            }
            Input::Disconnected { server, reason } => {
                if self.evaluator.server(&server).is_some_and(|s| s.connected) {
                    self.emit(now, EventBody::ServerDisconnected { server: server.clone(), reason }, out);
                    self.evaluator.with(&server, now, &mut self.timers, |s, pass| s.disconnect(pass));
                }
            }
            Input::Announced { server, id, series } => {
                self.evaluator.with(&server, now, &mut self.timers, |s, pass| s.announce(id, series, pass));
            }
            Input::Retired { server, id } => {
                self.evaluator.with(&server, now, &mut self.timers, |s, pass| {
                    s.retire(id);
                    s.settle(pass);
                });
            }
            Input::Found { server } => {
                self.evaluator.with(&server, now, &mut self.timers, |_, _| ());
            }
            Input::Inventory { server, entries } => self.inventory(now, &server, entries, out),
            Input::Outcome { server, outcome } => self.outcome(now, &server, outcome, out),
            Input::PolicyStatus { server, version, error } => {
                let status = Some((version, error.clone()));
                if self.book.servers.get(&server).is_some_and(|s| s.policy != status) {
                    let told = EventBody::ServerPolicy { server: server.clone(), version, error: error.clone() };
                    self.emit(now, told, out);
                    if let Some(reason) = error.filter(|reason| is_breach(reason)) {
                        self.breach(now, Asked::Policy, &server, version, &reason, out);
                    }
                }
            }
            Input::Acknowledge { incident, by, comment } => {
                if self.book.incidents.get(&incident).is_some_and(|i| !i.state.is_end()) {
                    self.emit(now, EventBody::IncidentAcknowledged { incident, by, comment }, out);
                }
            }
            Input::Halt { by, reason } => {
                if self.book.halted.is_none() {
                    self.emit(now, EventBody::Halted { by, reason }, out);
                }
            }
            Input::Resume { by } => {
                self.emit(now, EventBody::Resumed { by }, out);
                self.startup.waived = true;
                self.recheck(|_| true);
            }
            Input::JournalBlocked(blocked) => {
                self.journal_blocked = blocked;
                if !blocked {
                    self.recheck(|i| i.hold.as_ref().is_some_and(|h| h.rail == Rail::Journal));
                }
            }
            Input::Wake => {}
        }
    }

    fn labelled(&mut self, now: Timestamp, server: ServerId, labels: Labels, out: &mut Vec<Output>) {
        let known = self.evaluator.server(&server).map(|s| s.labels == labels);
        if known == Some(true) && self.book.servers.contains_key(&server) {
            return;
        }
        self.emit(now, EventBody::ServerLabelled { server: server.clone(), labels: labels.clone() }, out);
        self.evaluator.label(&server, &labels, now, &mut self.timers);
        if known.is_none() {
            await_server(&self.evaluator, &mut self.timers, &server, now);
        }
        self.resume_all_of(now, &server);
    }

    /// What the ledger holds settles what became of every command that has no outcome yet.
    fn inventory(&mut self, now: Timestamp, server: &ServerId, entries: Vec<LedgerEntry>, out: &mut Vec<Output>) {
        if !self.evaluator.server(server).is_some_and(|s| s.connected) {
            return;
        }
        let held: BTreeSet<CommandId> = entries.iter().map(|e| e.command.clone()).collect();
        for outcome in entries.into_iter().filter_map(|e| e.outcome) {
            self.outcome(now, server, outcome, out);
        }
        for id in self.book.live() {
            let Some(incident) = self.book.incidents.get(&id).filter(|i| i.server() == Some(server)) else { continue };
            let Some(step) = incident.steps.last() else { continue };
            let open = incident.state == State::Acting && step.outcome.is_none();
            if !open || held.contains(&step.command.id) {
                continue;
            }
            let left = Span(step.command.ttl.0 - now.since(step.issued).0);
            if left > Span::default() {
                // What is left of its time to live, so that it cannot begin after it was given up here.
                let mut command = step.command.clone();
                command.ttl = left;
                out.push(Output::Resend(command));
                continue;
            }
            let outcome = Outcome {
                command: step.command.id.clone(),
                status: Status::Expired,
                message: "it never reached the server's ledger, and its time to live has passed".to_owned(),
                finished: now,
                finished_boot_ms: 0,
                took_ms: 0,
            };
            self.emit(now, EventBody::CommandEnded { incident: id.clone(), outcome }, out);
            self.todo.push_back(id);
        }
        self.evaluator.with(server, now, &mut self.timers, |s, _| s.merged = true);
        let was_over = self.startup.is_over();
        if self.startup.known.contains(server) {
            self.startup.back.insert(server.clone());
        }
        if !was_over && self.startup.is_over() {
            self.recheck(|_| true);
        } else {
            self.recheck(|i| i.server() == Some(server));
        }
    }

    /// A command ended. One that is known to have ended, or is not this server's, is passed over.
    fn outcome(&mut self, now: Timestamp, server: &ServerId, outcome: Outcome, out: &mut Vec<Output>) {
        let Some(id) = self.book.issue(&outcome.command).map(|issue| issue.incident.clone()) else { return };
        let Some(incident) = self.book.incidents.get(&id).filter(|i| i.server() == Some(server)) else { return };
        let mut open = incident.steps.iter().filter(|s| s.command.id == outcome.command && s.outcome.is_none());
        let Some(version) = open.next().map(|step| step.command.policy) else { return };
        let breach = outcome.status == Status::Refused && is_breach(&outcome.message);
        let reason = breach.then(|| outcome.message.clone());
        self.emit(now, EventBody::CommandEnded { incident: id.clone(), outcome }, out);
        self.todo.push_back(id);
        if let Some(reason) = reason {
            self.breach(now, Asked::Command, server, version, &reason, out);
        }
    }
}
