use super::*;

fn command() -> Command {
    Command {
        id: CommandId::new("c0ffee").unwrap(),
        incident: IncidentId::new("i-7f3a9c").unwrap(),
        scenario: ScenarioName::new("disk-filling").unwrap(),
        step: 1,
        attempt: 2,
        server: ServerId::new("web1").unwrap(),
        action: "files.delete".to_owned(),
        labels: Labels::new([("mount", "/var"), ("a", "")]),
        params: Params::from([
            ("t".to_owned(), Value::Text("x".to_owned())),
            ("b".to_owned(), Value::Bool(true)),
            ("n".to_owned(), Value::Int(-5)),
            ("d".to_owned(), Value::Duration(Span::minutes(5))),
            ("l".to_owned(), Value::List(vec![Value::Text("y".to_owned()), Value::Int(i64::MAX)])),
        ]),
        policy: 7,
        epoch: 3,
        ttl: Span::seconds(60),
    }
}

fn outcome(status: Status) -> Outcome {
    Outcome {
        command: CommandId::new("c0ffee").unwrap(),
        status,
        message: "freed 3 GiB".to_owned(),
        finished: Timestamp(1_700_000_000_123),
        finished_boot_ms: 99,
        took_ms: 12,
    }
}

#[test]
fn commands_outcomes_and_inventories_come_back_as_they_went() {
    let wire = command_to_wire(&command(), 41);
    assert_eq!(command_from_wire(wire).unwrap(), (command(), 41));
    let all = [Status::Done, Status::Failed, Status::Refused, Status::Expired, Status::Indeterminate];
    for status in all {
        assert_eq!(outcome_from_wire(outcome_to_wire(&outcome(status))).unwrap(), outcome(status));
    }
    let entries = vec![
        LedgerEntry { command: CommandId::new("c0ffee").unwrap(), outcome: Some(outcome(Status::Done)) },
        LedgerEntry { command: CommandId::new("d").unwrap(), outcome: None },
    ];
    assert_eq!(inventory_from_wire(inventory_to_wire(&entries)).unwrap(), entries);
}

#[test]
fn each_bad_command_is_refused_with_a_sentence() {
    let good = command_to_wire(&command(), 1);
    let change = |f: &dyn Fn(&mut v1::Command)| {
        let mut bad = good.clone();
        f(&mut bad);
        command_from_wire(bad).unwrap_err()
    };
    assert!(change(&|c| c.id = "no good".to_owned()).message.contains("command id"));
    assert!(change(&|c| c.server = String::new()).message.contains("server"));
    assert!(change(&|c| c.action = "x".repeat(300)).message.contains("action"));
    assert!(change(&|c| c.labels.push("odd".to_owned())).message.contains("without a value"));
    assert!(change(&|c| c.labels.extend(["a".to_owned(), "1".to_owned()])).message.contains("twice"));
    assert!(change(&|c| c.ttl_ms = u64::MAX).message.contains("time to live"));
    let none = v1::Value { kind: None };
    assert!(change(&|c| drop(c.params.insert("n".to_owned(), none.clone()))).message.contains("parameter n"));
    let list = |items| v1::Value { kind: Some(v1::value::Kind::List(v1::ValueList { items })) };
    let nested = list(vec![list(vec![])]);
    assert!(change(&|c| drop(c.params.insert("n".to_owned(), nested.clone()))).message.contains("within"));
    let long = value_to_wire(&Value::Text("x".repeat(MAX_PARAM_TEXT + 1)));
    assert_eq!(change(&|c| drop(c.params.insert("n".to_owned(), long.clone()))).code, Code::TooLarge);
    let back = value_to_wire(&Value::Duration(Span(-1)));
    assert!(change(&|c| drop(c.params.insert("n".to_owned(), back.clone()))).message.contains("-1 ms"));
    let many = list(vec![value_to_wire(&Value::Int(1)); MAX_LIST + 1]);
    assert_eq!(change(&|c| drop(c.params.insert("n".to_owned(), many.clone()))).code, Code::TooLarge);
    let crowd = |c: &mut v1::Command| {
        c.params.extend((0..=MAX_PARAMS).map(|i| (i.to_string(), value_to_wire(&Value::Int(1)))));
    };
    assert_eq!(change(&crowd).code, Code::TooLarge);
    let crowd = |c: &mut v1::Command| {
        c.labels = (0..=MAX_WIRE_LABELS).flat_map(|i| [format!("l{i}"), String::new()]).collect();
    };
    assert_eq!(change(&crowd).code, Code::TooLarge);
}

#[test]
fn bad_outcomes_and_inventories_are_refused_and_long_messages_cut() {
    let mut wire = outcome_to_wire(&outcome(Status::Done));
    wire.message = "\u{e9}".repeat(MAX_OUTCOME_TEXT);
    assert_eq!(outcome_from_wire(wire.clone()).unwrap().message.len(), MAX_OUTCOME_TEXT);
    let entry = v1::LedgerEntry { command_id: "other".to_owned(), outcome: Some(wire.clone()) };
    assert!(inventory_from_wire(v1::Inventory { entries: vec![entry] }).is_err());
    for status in [0, 77] {
        wire.status = status;
        assert!(outcome_from_wire(wire.clone()).is_err());
    }
    let entry = v1::LedgerEntry { command_id: "a".to_owned(), outcome: None };
    let entries = vec![entry; MAX_INVENTORY + 1];
    assert_eq!(inventory_from_wire(v1::Inventory { entries }).unwrap_err().code, Code::TooLarge);
}
