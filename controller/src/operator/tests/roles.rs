//! Every method has a role, and every call that changes something is in the journal before what it led to.

use std::collections::BTreeSet;

use skynet_model::event::EventBody;
use tonic::codegen::http::uri::PathAndQuery;

use super::*;
use crate::operator::roles::METHODS;

/// The contract's methods: a new one that the table does not have fails here.
fn contract() -> BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let files = protox::compile(["skynet/v1/operator.proto"], [root]).unwrap();
    let services = files.file.iter().flat_map(|file| &file.service);
    let methods = services.filter(|s| s.name() == "OperatorService").flat_map(|s| &s.method);
    methods.map(|method| method.name().to_owned()).collect()
}

#[test]
fn the_table_has_every_method_of_the_contract_once_and_no_other() {
    let table: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).collect();
    assert_eq!(table, contract());
    assert_eq!(table.len(), METHODS.len());
}

#[tokio::test]
async fn every_call_that_changes_something_is_an_event_even_if_nothing_comes_of_it() {
    let office = Office::open().await;
    let connector = office.folder.path().join("operator.sock");
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let path = connector.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://operator");
    let mut raw = tonic::client::Grpc::new(endpoint.connect_with_connector(connector).await.unwrap());
    for method in METHODS.iter().filter(|method| method.changes) {
        raw.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/skynet.v1.OperatorService/{}", method.name)).unwrap();
        // An empty message is one of each type.
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let _ = raw.unary(Request::new(()), path, codec).await;
        let found = |body: &EventBody| {
            matches!(body, EventBody::OperatorCalled { by, role, method: called, .. }
                if *by == myself() && role == "admin" && called == method.name)
        };
        office.rig.until(method.name, found).await;
    }
    raw.ready().await.unwrap();
    let path = PathAndQuery::from_static("/skynet.v1.OperatorService/Nosuch");
    let none = raw.unary(Request::new(()), path, tonic_prost::ProstCodec::<(), ()>::default()).await;
    assert_eq!(none.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_call_is_in_the_journal_before_its_effect() {
    let mut office = Office::open().await;
    let reason = format!("drill {}", "x".repeat(MAX_SUMMARY));
    office.client.halt(v1::HaltRequest { reason }).await.unwrap();
    let all = v1::LogsRequest { follow: false, after: 0, tail: 100 };
    let lines: Vec<_> = office.client.logs(all).await.unwrap().into_inner().collect().await;
    let events: Vec<Value> = lines.iter().map(|l| serde_json::from_str(&l.as_ref().unwrap().json).unwrap()).collect();
    let at = events.iter().position(|e| e["event"] == "operator_called").unwrap();
    assert_eq!((&events[at]["method"], &events[at]["by"]), (&"Halt".into(), &myself().into()));
    assert_eq!(events[at]["summary"].as_str().unwrap().len(), MAX_SUMMARY);
    assert_eq!(events[at + 1]["event"], "halted");
    let reads = events.iter().filter(|e| e["event"] == "operator_called").count();
    assert_eq!(reads, 1, "looking is no event");
}
