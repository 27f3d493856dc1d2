//! What each input does.

use std::collections::BTreeSet;

use skynet_model::command::{LedgerEntry, Outcome, Status};
use skynet_model::event::EventBody;
use skynet_model::incident::{Rail, StepRecord};
use skynet_model::name::{CommandId, ServerId};
use skynet_model::series::Labels;
use skynet_model::sign::is_breach;
use skynet_model::time::{Span, Timestamp};

use crate::incidents::breach::Asked;
use crate::{Engine, Input, Output, await_server};

impl Engine {
    pub(crate) fn take(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Labelled { server, labels } => self.labelled(now, server, labels, None, out),
            Input::Relabelled { server, labels, by } => self.labelled(now, server, labels, Some(by), out),
            Input::Connected { server, boot, version } => {
                if self.evaluator.server(&server).is_none() {
                    self.labelled(now, server.clone(), Labels::default(), None, out);
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
                    let id = incident.clone();
                    self.todo.push_back(id.clone());
                    self.emit(now, EventBody::IncidentAcknowledged { incident, by, comment }, out);
                    self.tell(now, &id, out);
                }
            }
            Input::Approve { incident, by, comment } => self.approve(now, &incident, by, comment, out),
            Input::Silence(silence) => {
                self.emit(now, EventBody::SilenceAdded { silence }, out);
                self.tell_all(now, out);
            }
            Input::ExpireSilence { id, by } => {
                if self.book.standing.has(&id) {
                    self.emit(now, EventBody::SilenceExpired { id, by }, out);
                    self.tell_all(now, out);
                }
            }
            Input::StartMaintenance(maintenance) => {
                self.emit(now, EventBody::MaintenanceStarted { maintenance }, out);
                self.maintenance_changed(now, out);
            }
            Input::EndMaintenance { id, by } => {
                if self.book.standing.has(&id) {
                    self.emit(now, EventBody::MaintenanceEnded { id, by }, out);
                    self.maintenance_changed(now, out);
                }
            }
            Input::Term { version, activated, expires } => {
                self.term = Some((version, activated, expires));
                self.mind_expiry(now, out);
                self.recheck(|i| i.hold.as_ref().is_some_and(|h| h.rail == Rail::Expired));
            }
            Input::Halt { by, reason } => {
                if self.book.halted.is_none() {
                    self.emit(now, EventBody::Halted { by, reason }, out);
                }
            }
            Input::Emergency { taken, signatures } => {
                if self.book.emergency.as_ref().is_none_or(|(last, _)| last.sequence < taken.sequence) {
                    let stops = taken.action.stops();
                    self.emit(now, EventBody::EmergencyTaken { taken, signatures }, out);
                    if !stops {
                        self.recheck(|_| true);
                    }
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

    fn labelled(
        &mut self,
        now: Timestamp,
        server: ServerId,
        labels: Labels,
        by: Option<String>,
        out: &mut Vec<Output>,
    ) {
        let known = self.evaluator.server(&server).map(|s| s.labels == labels);
        // What an operator says is on record even if it changes nothing.
        if by.is_none() && known == Some(true) && self.book.servers.contains_key(&server) {
            return;
        }
        self.emit(now, EventBody::ServerLabelled { server: server.clone(), labels: labels.clone(), by }, out);
        self.tell_all(now, out);
        self.evaluator.label(&server, &labels, now, &mut self.timers);
        if known.is_none() {
            await_server(&self.evaluator, &mut self.timers, &server, now);
        }
        self.evaluator.exclude(&server, self.book.in_maintenance(&server, now).is_some());
        self.resume_all_of(now, &server);
        // A step may have waited for a server with these labels.
        self.recheck(|i| i.server().is_none());
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
        let mut lost = Vec::new();
        for incident in self.book.live().iter().filter_map(|id| self.book.incidents.get(id)) {
            let of_server = incident.steps.iter().filter(|step| step.command.server == *server);
            for step in of_server.filter(|step| step.outcome.is_none() && step.ended.is_none()) {
                if held.contains(&step.command.id) {
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
                lost.push((incident.id.clone(), step.command.id.clone()));
            }
        }
        for (incident, command) in lost {
            let outcome = Outcome {
                command,
                status: Status::Expired,
                message: "it never reached the server's ledger, and its time to live has passed".to_owned(),
                finished: now,
                finished_boot_ms: 0,
                took_ms: 0,
            };
            self.emit(now, EventBody::CommandEnded { incident: incident.clone(), outcome }, out);
            self.todo.push_back(incident);
        }
        self.evaluator.with(server, now, &mut self.timers, |s, _| s.merged = true);
        let was_over = self.startup.is_over();
        if self.startup.known.contains(server) {
            self.startup.back.insert(server.clone());
        }
        if !was_over && self.startup.is_over() {
            self.recheck(|_| true);
        } else {
            // Acting ones too: the rest of a step may have waited for this server.
            self.recheck(|i| i.concerns(server) || i.server().is_none());
        }
    }

    /// A command ended. One that is known to have ended, or is not this server's, is passed over.
    fn outcome(&mut self, now: Timestamp, server: &ServerId, outcome: Outcome, out: &mut Vec<Output>) {
        let Some(id) = self.book.issue(&outcome.command).map(|issue| issue.incident.clone()) else { return };
        let Some(incident) = self.book.incidents.get(&id) else { return };
        let is_open =
            |s: &&StepRecord| s.command.id == outcome.command && s.command.server == *server && s.outcome.is_none();
        let Some(version) = incident.steps.iter().find(is_open).map(|step| step.command.policy) else { return };
        let breach = outcome.status == Status::Refused && is_breach(&outcome.message);
        let reason = breach.then(|| outcome.message.clone());
        self.emit(now, EventBody::CommandEnded { incident: id.clone(), outcome }, out);
        self.todo.push_back(id);
        if let Some(reason) = reason {
            self.breach(now, Asked::Command, server, version, &reason, out);
        }
    }
}
