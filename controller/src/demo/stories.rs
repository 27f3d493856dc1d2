//! The four stories: break something, follow the event log, tell it, and check what the machine says.

use std::time::Duration;

use serde::Serialize;
use skynet_model::command::Status;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State;
use skynet_model::name::IncidentId;

use super::stage::{SERVER, Stage, now};
use super::tell::Teller;

/// How long one story may take.
const STORY: Duration = Duration::from_secs(25);

/// One fault, by the scenario that sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A process that ignores SIGTERM burns a core.
    Runaway,
    /// A service dies.
    ServiceDies,
    /// A scratch folder fills.
    ScratchFills,
    /// A fault whose cure does not work.
    NoCure,
}

/// In the order they are told.
pub const STORIES: [Story; 4] = [Story::Runaway, Story::ServiceDies, Story::ScratchFills, Story::NoCure];

/// How it went: the demo's JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// One for each story.
    pub incidents: Vec<IncidentResult>,
    /// What a person was told.
    pub notices: Vec<NoticeResult>,
}

/// How one story went.
#[derive(Clone, Debug, Serialize)]
pub struct IncidentResult {
    /// The scenario's name.
    pub scenario: String,
    /// The server.
    pub server: String,
    /// The incident's state at the end of the story.
    pub state: State,
    /// Steps in order.
    pub steps: Vec<StepResult>,
    /// From the fault to the incident, milliseconds.
    pub detect_ms: i64,
    /// From the fault to containment (or to the notice), milliseconds.
    pub contain_ms: i64,
}

/// How one step went.
#[derive(Clone, Debug, Serialize)]
pub struct StepResult {
    /// The action.
    pub action: String,
    /// How the command ended.
    pub outcome: Option<Status>,
    /// Whether the readings proved it.
    pub verified: Option<bool>,
}

/// One notice.
#[derive(Clone, Debug, Serialize)]
pub struct NoticeResult {
    /// The scenario's name.
    pub scenario: String,
    /// One line.
    pub title: String,
    /// The whole story.
    pub story: String,
    /// Whether the duty officer's webhook received it.
    pub delivered: bool,
}

impl Told {
    fn count(&self, state: State) -> usize {
        self.incidents.iter().filter(|i| i.state == state).count()
    }

    /// Whether all four came true: three contained, one told.
    #[must_use]
    pub fn came_true(&self) -> bool {
        self.incidents.len() == STORIES.len()
            && self.count(State::Contained) == 3
            && self.count(State::Escalated) == 1
            && self.notices.len() == 1
            && self.notices.iter().all(|n| n.delivered)
    }

    /// `3 contained, 1 told`.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{} contained, {} told", self.count(State::Contained), self.notices.len())
    }
}

impl Story {
    /// The scenario that sees it.
    #[must_use]
    pub fn scenario(self) -> &'static str {
        match self {
            Self::Runaway => "runaway-process",
            Self::ServiceDies => "service-dead",
            Self::ScratchFills => "scratch-filling",
            Self::NoCure => "mirror-stale",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Runaway => "1. A runaway process that ignores SIGTERM",
            Self::ServiceDies => "2. A service that dies",
            Self::ScratchFills => "3. A scratch folder that fills",
            Self::NoCure => "4. A fault whose cure does not work",
        }
    }

    /// Breaks the thing; says in words what was done.
    ///
    /// # Errors
    /// When it cannot be broken.
    pub fn strike(self, stage: &mut Stage) -> anyhow::Result<String> {
        Ok(match self {
            Self::Runaway => {
                let pid = stage.faults.start_runaway()?;
                format!("fault: process {pid} (demo-runaway) burns a core and ignores SIGTERM")
            }
            Self::ServiceDies => {
                let pid = stage.faults.kill_worker()?;
                format!("fault: the service demo-worker (process {pid}) is killed")
            }
            Self::ScratchFills => {
                stage.faults.fill_scratch(24)?;
                "fault: 24 files of 1 MB fill the scratch folder".to_owned()
            }
            Self::NoCure => {
                stage.faults.break_mirror()?;
                "fault: the mirror goes stale".to_owned()
            }
        })
    }

    /// What the machine itself says afterwards, without asking Skynet.
    ///
    /// # Errors
    /// When it is not as it should be.
    pub fn inspect(self, stage: &mut Stage) -> anyhow::Result<String> {
        match self {
            Self::Runaway => {
                let signal = stage.faults.runaway_ended_by();
                anyhow::ensure!(signal == Some(9), "demo-runaway should have ended by SIGKILL, but: {signal:?}");
                Ok("the kernel says: the process ended by SIGKILL".to_owned())
            }
            Self::ServiceDies => {
                let pid = stage.faults.worker_pid();
                anyhow::ensure!(pid.is_some(), "demo-worker does not run");
                Ok(format!("the kernel says: demo-worker runs again as process {}", pid.unwrap_or_default()))
            }
            Self::ScratchFills => {
                let left = stage.faults.scratch();
                anyhow::ensure!(left == ["keep.txt"], "the scratch folder holds {left:?}");
                Ok("the folder says: the 24 files are gone, keep.txt is still there".to_owned())
            }
            Self::NoCure => {
                let runs = stage.faults.effects().iter().filter(|line| line.starts_with("ran ")).count();
                anyhow::ensure!(runs == 1, "the cure ran {runs} times");
                Ok("the cure ran once, and no more".to_owned())
            }
        }
    }
}

/// Plays one story to its end and adds it to `told`.
pub(super) async fn play(story: Story, stage: &mut Stage, teller: &Teller, told: &mut Told) -> anyhow::Result<()> {
    teller.line("");
    teller.title(story.title());
    let after = stage.events().await?.last().map_or(0, |e| e.seq);
    let mut log = stage.follow(after).await?;
    let fault = now();
    let words = story.strike(stage)?;
    teller.beat(0, &words);

    let mut result: Option<(IncidentId, IncidentResult)> = None;
    let mut notice = None;
    let ended = log
        .until("end of the story", STORY, |event| {
            let ms = event.time.since(fault).0;
            if let EventBody::IncidentOpened { incident } = &event.body
                && incident.scenario.as_str() == story.scenario()
                && result.is_none()
            {
                let fresh = IncidentResult {
                    scenario: incident.scenario.to_string(),
                    server: incident.subject.to_string(),
                    state: incident.state,
                    steps: Vec::new(),
                    detect_ms: ms,
                    contain_ms: 0,
                };
                result = Some((incident.id.clone(), fresh));
            }
            let (id, record) = result.as_mut()?;
            if event.body.incident() != Some(&*id) {
                return None;
            }
            if let Some(words) = words_of(event) {
                teller.beat(ms, &words);
            }
            note(event, record);
            if let EventBody::NoticeRaised { notice: raised } = &event.body {
                notice = Some(raised.clone());
            }
            let over = record.state == State::Contained || (record.state == State::Escalated && notice.is_some());
            over.then_some(ms)
        })
        .await?;
    let Some((id, mut record)) = result else { anyhow::bail!("{} did not open an incident", story.scenario()) };
    record.contain_ms = ended;
    teller.beat(ended, &story.inspect(stage)?);
    told.incidents.push(record);
    if let Some(notice) = notice {
        let delivered = wait_for_call(stage, &id).await;
        teller.beat(now().since(fault).0, "the duty officer's pager rings. It says:");
        teller.line("");
        for line in notice.story.lines() {
            teller.line(&format!("      | {line}"));
        }
        told.notices.push(NoticeResult {
            scenario: story.scenario().to_owned(),
            title: notice.title.clone(),
            story: notice.story.clone(),
            delivered,
        });
    }
    Ok(())
}

async fn wait_for_call(stage: &Stage, id: &IncidentId) -> bool {
    let key = format!("skynet/{id}");
    let patience = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < patience {
        if stage.calls().iter().any(|call| call["groupKey"] == key.as_str()) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the story tells of some events only")]
fn note(event: &Event, record: &mut IncidentResult) {
    match &event.body {
        EventBody::CommandIssued { command, .. } => {
            record.steps.push(StepResult { action: command.action.clone(), outcome: None, verified: None });
        }
        EventBody::CommandEnded { outcome, .. } => {
            if let Some(step) = record.steps.last_mut() {
                step.outcome = Some(outcome.status);
            }
        }
        EventBody::StepEnded { verified, .. } => {
            if let Some(step) = record.steps.last_mut() {
                step.verified = Some(*verified);
            }
        }
        EventBody::IncidentChanged { state, .. } => record.state = *state,
        _ => {}
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the story tells of some events only")]
fn words_of(event: &Event) -> Option<String> {
    Some(match &event.body {
        EventBody::IncidentOpened { incident } => {
            format!("seen: {} on {SERVER} (incident {})", incident.summary, incident.id)
        }
        EventBody::IncidentHeld { hold, .. } => format!("held back by {}: {}", hold.rail.as_str(), hold.why),
        EventBody::CommandIssued { command, .. } => {
            let params: Vec<String> = command.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("step {}: {} {}", command.step + 1, command.action, params.join(" "))
        }
        EventBody::CommandEnded { outcome, .. } => {
            format!("the agent: {} ({}, {} ms)", outcome.status.as_str(), outcome.message.trim(), outcome.took_ms)
        }
        EventBody::StepEnded { verified: true, reason, .. } => format!("the readings prove it: {reason}"),
        EventBody::StepEnded { verified: false, reason, .. } => format!("the readings do not prove it: {reason}"),
        EventBody::IncidentChanged { state, .. } => format!("{}.", state.as_str().to_uppercase()),
        _ => return None,
    })
}
