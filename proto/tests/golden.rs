//! The wire's memory: bytes that were once sent must decode for ever, to the same message, and encode to the same bytes.
//!
//! `UPDATE_GOLDEN=1` writes files that are missing and never changes one that is there. A wire change adds a sample; it
//! does not edit one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Debug;
use std::fmt::Write as _;
use std::path::Path;

use prost::Message;
use skynet_proto::v1;

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn golden<M: Message + Default + PartialEq + Debug>(name: &str, sample: &M) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.hex"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, hex(&sample.encode_to_vec())).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = unhex(&text);
    assert_eq!(&M::decode(bytes.as_slice()).unwrap(), sample, "{name} decodes to what was sent");
    assert_eq!(sample.encode_to_vec(), bytes, "{name} encodes to the bytes it had");
    // Field 1000 of each wire type (varint, 64 bit, bytes, 32 bit): from a newer peer.
    for (kind, body) in [(0_u32, vec![5]), (1, vec![1; 8]), (2, vec![3, 9, 9, 9]), (5, vec![7; 4])] {
        prost::encoding::encode_varint(u64::from((1000 << 3) | kind), &mut bytes);
        bytes.extend(body);
    }
    assert_eq!(&M::decode(bytes.as_slice()).unwrap(), sample, "{name} tolerates unknown fields");
}

fn up(name: &str, body: v1::agent_message::Body) {
    golden(&format!("agent_{name}"), &v1::AgentMessage { body: Some(body) });
}

fn down(name: &str, body: v1::controller_message::Body) {
    golden(&format!("controller_{name}"), &v1::ControllerMessage { body: Some(body) });
}

fn text(t: &str) -> String {
    t.to_owned()
}

fn outcome(status: v1::Status) -> v1::Outcome {
    v1::Outcome {
        command_id: text("c0ffee"),
        status: status.into(),
        message: text("freed 3 GiB"),
        finished_ms: 1_793_500_000_123,
        finished_boot_ms: 456_789,
        took_ms: 42,
    }
}

#[test]
fn what_agents_send_reads_for_ever() {
    use v1::agent_message::Body;
    up(
        "hello",
        Body::Hello(v1::Hello {
            version: text("0.1.0"),
            boot_id: text("8f14e45f-ceea-467f-a0e6-2f1d0c1e7a11"),
            session: 3,
            epoch: 9,
            policy_version: 12,
            policy_digest: text("ab12"),
            wall_ms: 1_793_500_000_000,
            boot_ms: 456_000,
            system: None,
            ..v1::Hello::default()
        }),
    );
    up(
        "hello_of_a_system",
        Body::Hello(v1::Hello {
            version: text("0.1.0"),
            system: Some(v1::System {
                os: text("Debian GNU/Linux 12 (bookworm)"),
                kernel: text("6.1.0-28-amd64"),
                arch: text("x86_64"),
                cpus: 8,
                memory_bytes: 34_359_738_368,
            }),
            ..v1::Hello::default()
        }),
    );
    let entries = vec![
        v1::LedgerEntry { command_id: text("c0ffee"), outcome: Some(outcome(v1::Status::Indeterminate)) },
        v1::LedgerEntry { command_id: text("decade"), outcome: None },
    ];
    up("inventory", Body::Inventory(v1::Inventory { entries }));
    up(
        "readings",
        Body::Readings(v1::ReadingBatch {
            seq: 300,
            base_ms: 1_793_500_000_000,
            announce: vec![
                v1::SeriesAnnounce { id: 1, name: text("load.1m"), labels: vec![] },
                v1::SeriesAnnounce { id: 2, name: text("disk.used_ratio"), labels: vec![text("mount"), text("/var")] },
            ],
            retire: vec![7, 9],
            sweeps: vec![
                v1::Sweep {
                    sensor: text("load"),
                    offset_ms: -5,
                    boot_ms: 455_995,
                    series: vec![2, -1],
                    values: vec![0.25, 1e300],
                    complete: true,
                    error: String::new(),
                    every_ms: 1000,
                },
                v1::Sweep { sensor: text("exec:queue"), error: text("timed out"), ..v1::Sweep::default() },
            ],
            late: true,
            boot_id: text("another"),
        }),
    );
    up("outcome", Body::Outcome(outcome(v1::Status::Done)));
    let policy = v1::PolicyStatus { version: 12, digest: text("ab12"), error: text("fleet `x` is not ours") };
    up("policy", Body::Policy(policy));
    up("pong", Body::Pong(v1::Pong { number: 8, wall_ms: 1_793_500_000_000, boot_ms: 456_000 }));
    up(
        "gap",
        Body::Gap(v1::Gap {
            boot_id: text("8f14"),
            first_seq: 4,
            last_seq: 9,
            readings: 1234,
            reason: text("the spool was full"),
        }),
    );
    up("goodbye", Body::Goodbye(v1::Goodbye { reason: text("SIGTERM") }));
    let sensor = v1::SensorStatus { sensor: text("disk"), healthy: true, message: text("fine again") };
    up("sensor", Body::Sensor(sensor));
}

#[test]
fn what_controllers_send_reads_for_ever() {
    use v1::controller_message::Body;
    let labels = vec![text("cluster"), text("shop-1"), text("role"), text("web")];
    let welcome = v1::Welcome { epoch: 9, labels: labels.clone(), halted: true, ping_every_ms: 5000 };
    down("welcome", Body::Welcome(welcome));
    down("ack", Body::Ack(v1::Ack { seq: 300, boot_id: text("8f14") }));
    use v1::value::Kind;
    let value = |kind| v1::Value { kind: Some(kind) };
    let params = [
        ("paths", value(Kind::List(v1::ValueList { items: vec![value(Kind::Text(text("/a")))] }))),
        ("older_than", value(Kind::SpanMs(86_400_000))),
        ("count", value(Kind::Number(-3))),
        ("force", value(Kind::Truth(true))),
    ];
    down(
        "command",
        Body::Command(v1::Command {
            id: text("c0ffee"),
            incident: text("i-7f3a9c"),
            scenario: text("disk-filling"),
            step: 1,
            attempt: 2,
            server: text("web1"),
            action: text("files.delete"),
            labels: vec![text("mount"), text("/var")],
            params: params.into_iter().map(|(n, v)| (text(n), v)).collect(),
            policy_version: 12,
            epoch: 9,
            ping: 8,
            ttl_ms: 60_000,
        }),
    );
    let push = v1::PolicyPush { bundle: b"{\"format\":1}".to_vec(), signatures: vec![vec![1, 2], vec![]], labels };
    down("policy", Body::Policy(push));
    down("ping", Body::Ping(v1::Ping { number: 8 }));
    down("halt", Body::Halt(v1::Halt { halted: true }));
    down("outcome_ack", Body::OutcomeAck(v1::OutcomeAck { command_ids: vec![text("c0ffee"), text("decade")] }));
    let refusal = v1::Refusal { code: text("not_finite"), message: text("series id 4 has the value NaN") };
    down("refusal", Body::Refusal(refusal));
    down("inventory_ack", Body::InventoryAck(v1::InventoryAck {}));
    let emergency = v1::Emergency { document: b"{\"format\":1}".to_vec(), signatures: vec![vec![1, 2], vec![]] };
    down("emergency", Body::Emergency(emergency));
}

#[test]
fn enrolment_and_the_operators_api_read_for_ever() {
    golden("enroll_request", &v1::EnrollRequest { token: text("t0ken"), csr_der: vec![0x30, 0] });
    golden("renew_request", &v1::RenewRequest { csr_der: vec![0x30, 0] });
    let response =
        v1::EnrollResponse { certificates_der: vec![vec![0x30, 1], vec![]], allowed_signers: b"a b".to_vec() };
    golden("enroll_response", &response);
    golden("document", &v1::Document { json: text("{}") });
    golden("documents", &v1::Documents { json: vec![text("{}"), text("[]")] });
    let (series, servers) = (text("disk.used_ratio{mount=\"/\"}"), vec![text("web*"), text("db1")]);
    golden("query_request", &v1::QueryRequest { series, servers, from_ms: 1, until_ms: 2, step_ms: 300_000 });
    let series = v1::PastSeries {
        server: text("web1"),
        series: text("load.one"),
        time_ms: vec![1_793_502_855_926, 10_000],
        avg: vec![1.5, 2.0],
        min: vec![1.0, 2.0],
        max: vec![2.0, 2.0],
        count: vec![2, 1],
    };
    golden("query_answer", &v1::QueryAnswer { series: vec![series], holes: vec![text("a: b")], cut: true });
    golden("list_request", &v1::ListRequest { kind: text("incidents"), all: true, limit: 5 });
    golden("describe_request", &v1::DescribeRequest { kind: text("server"), name: text("web1") });
    golden("logs_request", &v1::LogsRequest { follow: true, after: 7, tail: 20 });
    let push = v1::PushPolicyRequest { bundle: vec![1], signatures: vec![vec![2]], insecure_unsigned: true };
    golden("push_policy_request", &push);
    let acknowledge = v1::AcknowledgeRequest { incident: text("i-7f3a9c"), comment: text("on it") };
    golden("acknowledge_request", &acknowledge);
    golden("halt_request", &v1::HaltRequest { reason: text("drill") });
    golden("resume_request", &v1::ResumeRequest {});
}

#[test]
fn every_golden_file_has_a_sample() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let source = include_str!("golden.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let bare = name.trim_start_matches("agent_").trim_start_matches("controller_");
        assert!(source.contains(&format!("\"{bare}\"")), "{name}.hex has lost its sample");
    }
}
