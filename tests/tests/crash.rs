//! Power cuts: `kill -9` of either side at the worst moments. Effects are counted where they happen, not in logs.

use std::time::Duration;

use skynet_controller::demo::{STORIES, Story};
use skynet_model::command::Status;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State;
use skynet_tests::{SERVER, Stage, stage};

const PATIENCE: Duration = Duration::from_secs(30);

async fn up() -> Stage {
    let mut stage = stage(&[SERVER]).await;
    stage.start_controller().await.unwrap();
    stage.push_policy().await.unwrap();
    stage.faults.start_worker().unwrap();
    stage.start_agent(SERVER).unwrap();
    stage.wait_until_watched(SERVER).await.unwrap();
    stage
}

fn opened(event: &Event, scenario: &str) -> Option<skynet_model::name::IncidentId> {
    match &event.body {
        EventBody::IncidentOpened { incident } if incident.scenario.as_str() == scenario => Some(incident.id.clone()),
        _ => None,
    }
}

/// One story, with the controller killed as soon as step 1 has run and its proof is awaited.
async fn story_with_a_power_cut(story: Story) {
    let mut stage = up().await;
    let after = stage.events().await.unwrap().last().map_or(0, |e| e.seq);
    let mut log = stage.follow(after).await.unwrap();
    story.strike(&mut stage).unwrap();
    let id = log.until("incident", PATIENCE, |e| opened(e, story.scenario())).await.unwrap();
    let first = log
        .until("outcome of step 1", PATIENCE, |e| match &e.body {
            EventBody::CommandEnded { incident, outcome } if *incident == id => Some(outcome.clone()),
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(first.status, Status::Done, "{}", first.message);

    stage.kill_controller();
    stage.start_controller().await.unwrap();

    let mut log = stage.follow(0).await.unwrap();
    let wanted = if story == Story::NoCure { State::Escalated } else { State::Contained };
    log.until("end of the incident", PATIENCE, |e| match &e.body {
        EventBody::IncidentChanged { incident, state, .. } if *incident == id && *state == wanted => Some(()),
        _ => None,
    })
    .await
    .unwrap();
    if story == Story::NoCure {
        log.until("delivery of the notice", PATIENCE, |e| {
            matches!(e.body, EventBody::NoticeDelivered { .. }).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(stage.calls().len(), 1, "the duty officer is told once");
    }
    story.inspect(&mut stage).unwrap();

    let events = stage.events().await.unwrap();
    let count = |pick: &dyn Fn(&EventBody) -> bool| events.iter().filter(|e| pick(&e.body)).count();
    let incidents = count(
        &|b| matches!(b, EventBody::IncidentOpened { incident } if incident.scenario.as_str() == story.scenario()),
    );
    assert_eq!(incidents, 1, "the incident goes on; no second one opens");
    let starts = count(&|b| matches!(b, EventBody::ControllerStarted { .. }));
    assert_eq!(starts, 2, "the controller was really restarted");
    assert!(events.windows(2).all(|w| w[1].seq == w[0].seq + 1), "event numbers have no gap");

    let effects = stage.faults.effects();
    let effects = |word: &str| effects.iter().filter(|e| e.starts_with(word)).count();
    match story {
        Story::Runaway => assert_eq!(effects("term"), 1, "TERM arrived once"),
        Story::ServiceDies => assert_eq!(effects("started"), 2, "once by us, once by Skynet"),
        Story::ScratchFills => {
            let commands = count(&|b| matches!(b, EventBody::CommandIssued { command, .. } if command.incident == id));
            assert_eq!(commands, 1);
            assert!(first.message.contains("24"), "one effect deleted all: {}", first.message);
        }
        Story::NoCure => assert_eq!(effects("ran "), 1, "the cure ran once"),
    }
    stage.strike().await;
}

#[tokio::test]
async fn a_killed_controller_goes_on_with_the_runaway_process() {
    story_with_a_power_cut(STORIES[0]).await;
}

#[tokio::test]
async fn a_killed_controller_goes_on_with_the_dead_service() {
    story_with_a_power_cut(STORIES[1]).await;
}

#[tokio::test]
async fn a_killed_controller_goes_on_with_the_full_folder() {
    story_with_a_power_cut(STORIES[2]).await;
}

#[tokio::test]
async fn a_killed_controller_goes_on_with_the_fault_without_a_cure() {
    story_with_a_power_cut(STORIES[3]).await;
}
