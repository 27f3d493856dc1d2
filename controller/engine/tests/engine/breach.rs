//! A server that refuses what no signature stands behind: a person hears of the controller itself, once.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::NoticeKind;
use skynet_model::policy::Severity;
use skynet_model::sign::not_authorised;

use crate::steps::{P7, RUNAWAY};
use crate::world::{World, server};

fn status(w: &mut World, name: &str, version: u64, error: Option<&str>) {
    let error = error.map(str::to_owned);
    w.input(Input::PolicyStatus { server: server(name), version, error });
}

fn remarks(w: &World, of: &str) -> Vec<String> {
    let remark = |body: &EventBody| match body {
        EventBody::Remark { server: Some(server), topic, message } if topic == of => {
            Some(format!("{server}: {message}"))
        }
        _ => None,
    };
    w.events.iter().filter_map(|event| remark(&event.body)).collect()
}

#[test]
fn a_policy_that_servers_refuse_for_want_of_signatures_is_told_once_for_each_version_and_reason() {
    let mut w = World::new(RUNAWAY);
    w.add("web2");
    let reason = not_authorised("the policy's signatures: 0 of 1 needed signatures are good");
    for name in ["web1", "web2", "web1"] {
        status(&mut w, name, 2, Some(&reason));
    }
    let topic = "policy_refused_by_agent";
    assert_eq!(
        remarks(&w, topic),
        ["web1", "web2"].map(|name| format!("{name}: it refused policy 2: {reason}")),
        "every server is in the log, and only once"
    );
    let notices = w.notices();
    assert_eq!(notices.len(), 1);
    let notice = &notices[0];
    assert_eq!((notice.kind, notice.severity), (NoticeKind::Skynet, Severity::Critical));
    assert!(notice.title.contains("the controller itself: web1 refused policy 2"), "{}", notice.title);
    assert!(notice.story.contains("0 of 1 needed") && notice.story.contains(topic), "{}", notice.story);
    w.restart();
    w.connect("web1");
    status(&mut w, "web1", 1, None);
    status(&mut w, "web1", 2, Some(&reason));
    assert_eq!(w.notices().len(), 1, "a restart forgets nothing");
    status(&mut w, "web1", 3, Some(&reason));
    assert_eq!(w.notices().len(), 2);
    // What has other causes is no breach.
    for benign in ["policy version 4 expired at 2026-01-01T00:00:00.000Z", "policy does not load here: x", "disk full"]
    {
        status(&mut w, "web1", 4, Some(benign));
    }
    assert_eq!((w.notices().len(), remarks(&w, topic).len()), (2, 4));
}

#[test]
fn an_agent_cannot_flood_people_with_reasons_of_its_own() {
    let mut w = World::new(RUNAWAY);
    for n in 0..100 {
        status(&mut w, "web1", 2, Some(&not_authorised(n)));
    }
    assert_eq!(w.notices().len(), 10);
    assert_eq!(remarks(&w, "policy_refused_by_agent").len(), 100, "the log has them all");
    w.pass(3601);
    status(&mut w, "web1", 2, Some(&not_authorised("later")));
    assert_eq!(w.notices().len(), 11);
}

#[test]
fn a_command_that_is_refused_as_not_signed_is_told_and_one_that_comes_at_a_bad_time_is_not() {
    let refusing = |message: &str| {
        let mut w = World::new(RUNAWAY);
        w.ends("web1", "process.signal", Status::Refused, None);
        w.set("web1", P7, 0.99);
        w.run(3);
        let command = w.last().steps[0].command.clone();
        let outcome = skynet_model::command::Outcome {
            command: command.id,
            status: Status::Refused,
            message: message.to_owned(),
            finished: skynet_model::time::Timestamp(w.now),
            finished_boot_ms: 0,
            took_ms: 0,
        };
        w.input(Input::Outcome { server: server("web1"), outcome });
        let about_skynet = w.notices().iter().filter(|n| n.kind == NoticeKind::Skynet).count();
        (remarks(&w, "command_refused").len(), about_skynet)
    };
    assert_eq!(refusing(&not_authorised("the command's parameters are not those of step 0")), (1, 1));
    assert_eq!(refusing("local rate: 31 actions within the last hour, 30 allowed"), (0, 0));
    assert_eq!(refusing("actions are halted; `skynetctl resume` lets them go on"), (0, 0));
}
