use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;

use skynet_model::incident::NoticeKind;
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Contact, Severity};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn notice(kind: NoticeKind, to: Vec<Target>) -> Notice {
    Notice {
        id: NoticeId::new("n-1").unwrap(),
        kind,
        incident: Some(IncidentId::new("i-7").unwrap()),
        scenario: Some(ScenarioName::new("disk-filling").unwrap()),
        server: Some(ServerId::new("web1").unwrap()),
        labels: Labels::new([("mount", "/var")]),
        severity: Severity::Critical,
        route: "oncall".to_owned(),
        to,
        title: "disk-filling on web1 is not contained".to_owned(),
        story: "first\nsecond \u{1b}[2J".to_owned(),
        at: Timestamp(2_000),
        since: Timestamp(1_000),
    }
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// An HTTP server that answers with these codes in turn, then 200; gives the bodies it got.
async fn receiver(codes: &[u16]) -> (String, mpsc::Receiver<serde_json::Value>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts?token=secret", listener.local_addr().unwrap());
    let mut codes: VecDeque<u16> = codes.iter().copied().collect();
    let (bodies, received) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let body = loop {
                stream.read_buf(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let head = head.to_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
                if body.len() >= length {
                    assert!(head.starts_with("post /alerts?token=secret ") && head.contains("application/json"));
                    break serde_json::from_str(body).unwrap();
                }
            };
            let code = codes.pop_front().unwrap_or(200);
            let answer =
                format!("HTTP/1.1 {code} X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            bodies.send(body).await.unwrap();
        }
    });
    (url, received)
}

/// Tells one notice with a contact `pager` at `url`, and gives what became of it and what the console shows.
async fn tell(url: &str, notice: Notice, left: Option<HashSet<String>>, count: usize) -> (Vec<Told>, String) {
    let contact = Contact { format: "alertmanager".to_owned(), credential: "pager-url".to_owned() };
    let mut policy = Policy::default();
    policy.contacts.insert("pager".to_owned(), contact);
    let (_policy, policy_now) = watch::channel(Some(Arc::new(policy)));
    let (told, mut results) = mpsc::channel(16);
    let paper = Paper::default();
    let credential = Credential { file: None, url: Some(url.to_owned()) };
    let credentials = BTreeMap::from([("pager-url".to_owned(), credential)]);
    let patience = Patience {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        attempts: 4,
        timeout: LIMIT / 10,
    };
    let console = Console::new(Box::new(paper.clone()));
    let runner = Runner::new(console, credentials, policy_now, patience, told).unwrap();
    let (notices, coming) = mpsc::channel(4);
    tokio::spawn(runner.run(coming));
    notices.send((notice, left)).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(tokio::time::timeout(LIMIT, results.recv()).await.unwrap().unwrap());
    }
    (all, paper.text())
}

fn pager() -> Vec<Target> {
    vec![Target::Contact("pager".to_owned())]
}

#[tokio::test]
async fn a_webhook_gets_alertmanagers_json_and_is_tried_again_after_a_failure() {
    let (url, mut received) = receiver(&[503, 429]).await;
    let (told, console) = tell(&url, notice(NoticeKind::Escalated, pager()), None, 1).await;
    assert_eq!(told[0].result, Ok(()));
    assert_eq!(told[0].target, "contact:pager");
    assert_eq!(console, "");
    let bodies = [received.recv().await.unwrap(), received.recv().await.unwrap(), received.recv().await.unwrap()];
    assert_eq!(bodies[0], bodies[2]);
    let body = &bodies[2];
    assert_eq!(
        (&body["version"], &body["status"], &body["receiver"]),
        (&"4".into(), &"firing".into(), &"oncall".into())
    );
    let alert = &body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "disk-filling");
    assert_eq!(alert["labels"]["instance"], "web1");
    assert_eq!(alert["labels"]["mount"], "/var");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["startsAt"], "1970-01-01T00:00:01.000Z");
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert!(alert["annotations"]["description"].as_str().unwrap().contains("second"));

    let (url, mut received) = receiver(&[]).await;
    tell(&url, notice(NoticeKind::Resolved, pager()), None, 1).await;
    let resolved = received.recv().await.unwrap();
    assert_eq!((&resolved["status"], &resolved["groupKey"]), (&"resolved".into(), &body["groupKey"]));
    assert_eq!(resolved["alerts"][0]["endsAt"], "1970-01-01T00:00:02.000Z");
}

#[tokio::test]
async fn what_a_webhook_refuses_is_on_the_console_and_the_url_is_nowhere() {
    for (codes, calls) in [(vec![400], 1), (vec![302], 1), (vec![500; 9], 4)] {
        let (url, mut received) = receiver(&codes).await;
        let (told, console) = tell(&url, notice(NoticeKind::Escalated, pager()), None, 1).await;
        let error = told[0].result.clone().unwrap_err();
        assert!(error.contains(&codes[0].to_string()), "{error}");
        assert!(error.contains("pager-url") && !error.contains("secret"), "{error}");
        assert!(console.contains("did not reach contact:pager") && console.contains("not contained"), "{console}");
        for _ in 0..calls {
            received.recv().await.unwrap();
        }
        assert!(received.try_recv().is_err(), "{codes:?} is tried {calls} times");
    }
    let (told, _) = tell("http://127.0.0.1:1/?token=secret", notice(NoticeKind::Escalated, pager()), None, 1).await;
    let error = told[0].result.clone().unwrap_err();
    assert!(error.contains("given up after 4") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn targets_without_a_notifier_are_told_on_the_console_with_a_line_that_says_so() {
    let to = vec![Target::Mail("ops@example.net".to_owned()), Target::Console, Target::Contact("nobody".to_owned())];
    let (mut told, console) = tell("http://127.0.0.1:1/", notice(NoticeKind::Escalated, to), None, 3).await;
    told.sort_by(|a, b| a.target.cmp(&b.target));
    assert_eq!(told[0].target, "console");
    assert!(told[0].result.is_ok());
    assert!(told[1].result.clone().unwrap_err().contains("contact: nobody"));
    assert!(told[2].result.clone().unwrap_err().contains("mail"));
    assert_eq!(console.matches("A PERSON IS NEEDED").count(), 3);
    assert!(console.contains("did not reach mail:ops@example.net: this release has no mail notifier"), "{console}");
}

#[tokio::test]
async fn the_console_shows_the_story_and_no_control_characters() {
    let (told, console) = tell("http://127.0.0.1:1/", notice(NoticeKind::Escalated, vec![]), None, 1).await;
    assert_eq!(told[0].target, "console");
    assert!(console.contains("    first\n    second \\u{1b}[2J\n"), "{console:?}");
    assert!(!console.contains('\u{1b}'));
}

#[tokio::test]
async fn after_a_restart_only_targets_that_are_left_are_told() {
    let (url, mut received) = receiver(&[]).await;
    let mut to = pager();
    to.push(Target::Console);
    let left = HashSet::from(["contact:pager".to_owned()]);
    let (told, console) = tell(&url, notice(NoticeKind::Escalated, to), Some(left), 1).await;
    assert_eq!(told[0].target, "contact:pager");
    assert_eq!(console, "");
    received.recv().await.unwrap();
}
