//! Approvals, silences, maintenance over the socket.

use super::*;

#[tokio::test]
async fn silences_and_maintenance_are_set_listed_and_ended_and_approvals_refused_with_a_reason() {
    let mut office = Office::open().await;
    office.push(1, POLICY, true).await.unwrap();
    let mut agent = office.agent().await;
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let silence = v1::AddSilenceRequest {
        matches: pairs(&[("scenario", "hope*"), ("server", "web1")]),
        lasts_ms: 3_600_000,
        comment: "known".to_owned(),
    };
    let added = office.client.add_silence(silence.clone()).await.unwrap().into_inner().json;
    let added: Value = serde_json::from_str(&added).unwrap();
    agent.read(500.0).await;
    office.rig.until("escalation", |b| matches!(b, skynet_model::event::EventBody::IncidentChanged { .. })).await;
    let listed = office.list("silences").await;
    assert_eq!((&listed[0]["id"], &listed[0]["comment"]), (&added["id"], &"known".into()));
    let id = listed[0]["incidents"][0].as_str().unwrap().to_owned();
    assert!(office.list("notices").await.is_empty());
    let told = office.describe("incident", &id).await.unwrap();
    let words = told["explanation"].as_str().unwrap();
    assert!(words.contains("nobody has been told yet") && words.contains("Silenced until"), "{words}");
    let refused = office.client.approve(v1::ApproveRequest { incident: id.clone(), comment: String::new() }).await;
    let refused = refused.unwrap_err();
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("does not wait"), "{refused}");
    let none = v1::ApproveRequest { incident: "i-none".to_owned(), comment: String::new() };
    assert_eq!(office.client.approve(none).await.unwrap_err().code(), Code::NotFound);
    let forever = v1::AddSilenceRequest { lasts_ms: i64::MAX, ..silence.clone() };
    let empty = v1::AddSilenceRequest { matches: pairs(&[]), ..silence };
    for (wrong, word) in [(forever, "always ends"), (empty, "would silence everything")] {
        let refused = office.client.add_silence(wrong).await.unwrap_err();
        assert!(refused.message().contains(word), "{refused}");
    }
    let expire = v1::ExpireSilenceRequest { id: added["id"].as_str().unwrap().to_owned() };
    office.client.expire_silence(expire.clone()).await.unwrap();
    office.rig.until("notice", |b| matches!(b, skynet_model::event::EventBody::NoticeRaised { .. })).await;
    assert_eq!(office.client.expire_silence(expire).await.unwrap_err().code(), Code::NotFound);

    let start = v1::StartMaintenanceRequest {
        servers: vec![],
        matches: pairs(&[("role", "web")]),
        lasts_ms: 3_600_000,
        comment: "ram".to_owned(),
    };
    let begun = office.client.start_maintenance(start.clone()).await.unwrap().into_inner().json;
    let begun: Value = serde_json::from_str(&begun).unwrap();
    assert_eq!(begun["now"], serde_json::json!(["web1"]));
    assert_eq!(office.list("maintenance").await[0]["now"], serde_json::json!(["web1"]));
    agent.read(50.0).await;
    office.rig.until("hold", |b| matches!(b, skynet_model::event::EventBody::IncidentHeld { .. })).await;
    let waiting = office.list("incidents").await.into_iter().find(|i| i["state"] == "waiting").unwrap();
    let told = office.describe("incident", waiting["id"].as_str().unwrap()).await.unwrap();
    let words = told["explanation"].as_str().unwrap();
    assert!(words.starts_with("waiting: maintenance, web1 is in maintenance m-"), "{words}");
    let nobody = v1::StartMaintenanceRequest { matches: pairs(&[("role", "db")]), ..start };
    assert_eq!(office.client.start_maintenance(nobody).await.unwrap_err().code(), Code::FailedPrecondition);
    let end = v1::EndMaintenanceRequest { id: begun["id"].as_str().unwrap().to_owned() };
    office.client.end_maintenance(end.clone()).await.unwrap();
    agent.command().await;
    assert_eq!(office.client.end_maintenance(end).await.unwrap_err().code(), Code::NotFound);
    assert!(office.list("approvals").await.is_empty());
}
