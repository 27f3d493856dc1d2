//! Calls in short, for the journal: what was asked for, whether or not anything comes of it.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use skynet_model::time::Span;
use skynet_proto::v1;

/// Most names that are said of many.
const FEW: usize = 5;

fn few<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(FEW);
    let said: Vec<&str> = names.take(FEW).map(String::as_str).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", said.join(" "))
}

fn pairs(pairs: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    few(words.iter())
}

fn joined<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

pub(super) fn about(what: &str, comment: &str) -> String {
    joined([what.to_owned(), comment.to_owned()])
}

pub(super) fn push(request: &v1::PushPolicyRequest) -> String {
    let digest = digest::digest(&digest::SHA256, &request.bundle);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let signed = match (request.signatures.len(), request.insecure_unsigned) {
        (0, true) => "not signed, which was asked for".to_owned(),
        (signatures, _) => format!("signatures: {signatures}"),
    };
    format!("a bundle of {} bytes, digest {digest}; {signed}", request.bundle.len())
}

pub(super) fn pause(request: &v1::PauseRolloutRequest) -> String {
    if request.paused { "pause" } else { "go on" }.to_owned()
}

pub(super) fn label(request: &v1::LabelServerRequest) -> String {
    let (set, remove) = (few(request.set.iter()), few(request.remove.iter()));
    let remove = if remove.is_empty() { remove } else { format!("remove {remove}") };
    joined([request.server.clone(), set, remove])
}

pub(super) fn request(request: &v1::RequestRequest) -> String {
    let customer = if request.customer.is_empty() { String::new() } else { format!("for {}", request.customer) };
    let (parameters, selector) = (pairs(&request.parameters), pairs(&request.selector));
    joined([request.request.clone(), parameters, few(request.servers.iter()), selector, customer])
}

pub(super) fn silence(request: &v1::AddSilenceRequest) -> String {
    joined([pairs(&request.matches), format!("for {}", Span(request.lasts_ms)), request.comment.clone()])
}

pub(super) fn maintenance(request: &v1::StartMaintenanceRequest) -> String {
    let lasts = format!("for {}", Span(request.lasts_ms));
    joined([few(request.servers.iter()), pairs(&request.matches), lasts, request.comment.clone()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_said_as_a_few_and_a_number() {
        let servers = (1..=7).map(|i| format!("web{i}")).collect();
        let start =
            v1::StartMaintenanceRequest { servers, lasts_ms: 60_000, comment: "disks".into(), ..Default::default() };
        assert_eq!(maintenance(&start), "web1 web2 web3 web4 web5 and 2 more; for 1m; disks");
        let push_of = v1::PushPolicyRequest { bundle: b"abc".to_vec(), ..Default::default() };
        assert!(push(&push_of).starts_with("a bundle of 3 bytes, digest ba7816bf"), "{}", push(&push_of));
        let odd = v1::AddSilenceRequest { lasts_ms: i64::MIN, ..Default::default() };
        assert!(silence(&odd).starts_with("for "), "an odd duration is not checked yet");
    }
}
