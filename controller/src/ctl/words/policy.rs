//! Events about what operators set: requests, approvals, silences, maintenance, rails of the whole fleet, rollouts.

use skynet_model::event::EventBody;

use super::with;
use crate::ctl::age::to_the_second;
use crate::ctl::page::Ink;

/// Event, subject, sentence and ink of such an event.
pub(super) fn said(body: &EventBody) -> (&'static str, String, String, Ink) {
    let fleet = || "fleet".to_owned();
    if let EventBody::RequestMade { request, parameters, asked } = body {
        let servers: Vec<&str> = asked.servers.iter().map(|s| s.as_str()).collect();
        let text = format!("{} asks for {request}{parameters} on {}", asked.by, servers.join(", "));
        return ("request_made", request.clone(), text, Ink::Cyan);
    }
    if let EventBody::StepBegun { incident, step, servers } = body {
        let servers: Vec<&str> = servers.iter().map(|s| s.as_str()).collect();
        let text = format!("step {} is for {}", step + 1, servers.join(", "));
        return ("step_begun", incident.to_string(), text, Ink::Plain);
    }
    if let EventBody::StepApproved { incident, step, by, comment, until, .. } = body {
        let text = format!("step {} is approved by {by} until {}", step + 1, to_the_second(*until));
        return ("step_approved", incident.to_string(), with(&text, comment), Ink::Green);
    }
    if let EventBody::SilenceAdded { silence } = body {
        let text = format!("{} silences notices until {}", silence.by, to_the_second(silence.until));
        return ("silence_added", silence.id.clone(), with(&text, &silence.comment), Ink::Yellow);
    }
    if let EventBody::SilenceExpired { id, by } = body {
        return ("silence_expired", id.clone(), format!("ended by {by}"), Ink::Plain);
    }
    if let EventBody::MaintenanceStarted { maintenance } = body {
        let text = format!("{} works there until {}", maintenance.by, to_the_second(maintenance.until));
        return ("maintenance_started", maintenance.id.clone(), with(&text, &maintenance.comment), Ink::Yellow);
    }
    if let EventBody::MaintenanceEnded { id, by } = body {
        return ("maintenance_ended", id.clone(), format!("ended by {by}"), Ink::Plain);
    }
    if let EventBody::BreakerOpened { reason } = body {
        return ("breaker_opened", fleet(), format!("automation pauses: {reason}"), Ink::Red);
    }
    if let EventBody::CommonCauseFound { scenario, cluster, reason } = body {
        let text = format!("{scenario} is no longer acted on there: {reason}");
        return ("common_cause_found", format!("cluster {cluster}"), text, Ink::Red);
    }
    if let EventBody::RolloutStarted { version, by, waves, .. } = body {
        let sizes: Vec<String> = waves.iter().map(|wave| wave.len().to_string()).collect();
        let text = format!("{by} rolls it out to {} servers in waves of {}", waves.concat().len(), sizes.join(", "));
        return ("rollout_started", format!("policy v{version}"), text, Ink::Cyan);
    }
    if let EventBody::WaveStarted { version, wave, .. } = body {
        return ("wave_started", format!("policy v{version}"), format!("wave {} begins", wave + 1), Ink::Cyan);
    }
    if let EventBody::RolloutPaused { version, paused, by } = body {
        let text = if *paused { "waits" } else { "goes on" };
        return ("rollout_paused", format!("policy v{version}"), format!("the rollout {text}, says {by}"), Ink::Yellow);
    }
    if let EventBody::RolloutEnded { version, rolled_back, reason, by } = body {
        let (what, ink) = match rolled_back {
            true => ("goes back to the last good version", Ink::Red),
            false => ("is on the whole fleet", Ink::Green),
        };
        let text = with(&format!("{what}, says {by}"), reason);
        return ("rollout_ended", format!("policy v{version}"), text, ink);
    }
    ("event", fleet(), String::new(), Ink::Plain)
}
