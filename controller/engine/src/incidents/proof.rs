//! The proof of a step: what its readings have to say, on which servers, and for how long.

use skynet_model::command::Status;
use skynet_model::condition::Truth;
use skynet_model::incident::{State, StepRecord};
use skynet_model::policy::StepTarget;
use skynet_model::time::{Span, Timestamp};

use super::{Step, View, story, targets};
use crate::evaluator::{Site, Spot, Watch};
use crate::{Engine, Output};

/// How far a proof is.
struct Proof {
    proved: bool,
    truth: Truth,
}

impl Engine {
    /// Waits for the proof.
    pub(super) fn verifying(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let incident = &view.incident;
        let Some(number) = incident.last_step() else { return Step::Stay(None) };
        let index = number as usize;
        let open: Vec<&StepRecord> = incident.records(number).filter(|r| r.ended.is_none() && is_done(r)).collect();
        let proved = |text: String| format!("{text} for two fresh sweeps");
        let is_provable = self.evaluator.is_provable(view.site, index);
        if let Some(first) = incident.records(number).find(|r| r.verified == Some(true)) {
            // The journal may have ended between the servers of the step.
            for record in &open {
                self.end_step(now, record, true, first.reason.clone().unwrap_or_default(), out);
            }
            let what = format!("{}{}", story::step(first), targets::on_servers(incident, number));
            let reason = match is_provable {
                true => proved(format!("{what} cured it; the proof held")),
                false => format!("{what} was done"),
            };
            self.change(now, &incident.id, State::Contained, reason, out);
            return Step::Moved;
        }
        let Some(outcome_at) = open.iter().filter_map(|r| r.outcome_at).max() else { return Step::Stay(None) };
        let step = view.scenario.respond.get(index);
        if !is_provable {
            let wanted = match step.and_then(|s| s.target.as_ref()) {
                Some(StepTarget::Request) => incident.asked.as_ref().map_or(0, |a| a.servers.len()),
                Some(StepTarget::Pick(_)) | None => {
                    let given_up = incident.chosen.as_ref().map_or(0, |chosen| chosen.given_up.len());
                    incident.records(number).count() + given_up
                }
            };
            let reason = format!("it was done on {} of {wanted} servers", open.len());
            for record in &open {
                self.end_step(now, record, open.len() >= wanted, reason.clone(), out);
            }
            return Step::Moved;
        }
        let own = step.and_then(|s| s.verify.as_ref());
        // Without a proof of its own it is the incident's clear that is proved, so that `settle` counts too.
        let need = if own.is_some() { Span::default() } else { view.scenario.settle };
        let within = step.map_or(Span::minutes(2), |s| s.verify_within);
        let last = outcome_at.plus(Span(within.0 + need.0));
        let proof = match (own, &view.scenario.clear) {
            (Some(condition), _) | (None, Some(condition)) => format!("`{}`", condition.source()),
            (None, None) => format!("that `{}` is over", view.scenario.when.as_ref().map_or("", |when| when.source())),
        };
        let progress = self.prove(now, view, index, &open, need);
        if progress.proved {
            for record in &open {
                self.end_step(now, record, true, proved(format!("{proof} held")), out);
            }
            return Step::Moved;
        }
        if now < last {
            return Step::Stay(Some(last));
        }
        let readings = self.evaluator.readings(incident);
        let reason = match progress.truth {
            Truth::True => format!("{proof} held, but not for two fresh sweeps within {within}"),
            Truth::False => format!("{proof} did not hold within {within}: {}", story::readings(&readings)),
            Truth::Unknown => format!("whether {proof} holds was still unknown after {within}"),
        };
        for record in &open {
            self.end_step(now, record, false, reason.clone(), out);
        }
        Step::Moved
    }

    /// Begins to watch for the proof, or goes on with it.
    fn prove(&mut self, now: Timestamp, view: &View, step: usize, open: &[&StepRecord], need: Span) -> Proof {
        match view.site {
            Site::Server(spot) => {
                let Some(record) = open.first() else { return Proof { proved: false, truth: Truth::Unknown } };
                self.prove_at(now, spot, view.look.clear, step, record, need)
            }
            Site::Group(group) => {
                let (proved, truth) = self.evaluator.watch_group(group, step, need, now, &mut self.timers);
                Proof { proved, truth }
            }
            Site::Asked(_) => {
                let mut whole = Proof { proved: true, truth: Truth::True };
                for record in open {
                    let server = &record.command.server;
                    let spot = self.evaluator.attach_at(server, &view.incident, now, &mut self.timers);
                    let part = match spot {
                        Some(spot) => self.prove_at(now, spot, Truth::Unknown, step, record, need),
                        None => Proof { proved: false, truth: Truth::Unknown },
                    };
                    whole.proved &= part.proved;
                    whole.truth = match (whole.truth, part.truth) {
                        (Truth::False, _) | (_, Truth::False) => Truth::False,
                        (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
                        (Truth::True, Truth::True) => Truth::True,
                    };
                }
                whole
            }
        }
    }

    /// The same at the instance of one server.
    fn prove_at(
        &mut self,
        now: Timestamp,
        spot: Spot,
        truth: Truth,
        step: usize,
        record: &StepRecord,
        need: Span,
    ) -> Proof {
        let Some(outcome) = &record.outcome else { return Proof { proved: false, truth } };
        let issued_under = self.book.issue(&record.command.id).map(|issue| issue.boot.clone());
        self.evaluator.with_number(spot.server, now, &mut self.timers, |server, _| {
            // Boot clocks of two boots cannot be compared; then the server's wall clock has to do.
            let same_boot = issued_under.as_ref() == Some(&server.boot);
            let watch = Watch {
                step,
                after_boot_ms: same_boot.then_some(outcome.finished_boot_ms),
                after: outcome.finished,
                need,
                sweeps: Vec::new(),
                since: None,
                truth,
                seen: false,
                proved: false,
            };
            server.watch(spot.instance, watch);
        });
        let watch = self.evaluator.watched(spot);
        Proof { proved: watch.as_ref().is_some_and(|w| w.proved), truth: watch.map_or(Truth::Unknown, |w| w.truth) }
    }
}

/// Whether a command did what it was to do, so that its effect can be proved.
fn is_done(record: &StepRecord) -> bool {
    record.outcome.as_ref().is_some_and(|outcome| outcome.status == Status::Done)
}
