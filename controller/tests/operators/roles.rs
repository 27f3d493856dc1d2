//! `skynetctl` run by other users of the machine. Only root can be somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::rig::{Controller, NOBODY};

/// A group with no entry anywhere.
const SOME_GROUP: u32 = 64_123;

#[allow(clippy::print_stderr, reason = "what is skipped is said")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can run skynetctl as somebody else");
    }
    root
}

#[test]
fn a_viewer_may_look_an_operator_act_and_only_an_admin_change_what_skynet_does() {
    if !is_root() {
        return;
    }
    let (viewer, operator, stranger) = ((NOBODY, NOBODY), (64_200, SOME_GROUP), (64_201, 64_201));
    let names = format!("[operators]\nviewers = [\"nobody\"]\noperators = [\"group:{SOME_GROUP}\"]");
    let controller = Controller::start(&names, &[]);
    let (halt, label) = (["halt", "-m", "drill"], ["server", "label", "web1", "role=web"]);

    let (fine, text) = controller.run(viewer, &["get", "servers"]);
    assert!(fine, "{text}");
    let (fine, text) = controller.run(viewer, &halt);
    assert!(!fine && text.contains("Halt needs the role operator; nobody is viewer"), "{text}");
    let (fine, text) = controller.run(operator, &halt);
    assert!(fine, "{text}");
    let (fine, text) = controller.run(operator, &label);
    assert!(!fine && text.contains("needs the role admin; uid 64200 is operator"), "{text}");
    let (fine, text) = controller.run(stranger, &["get", "servers"]);
    assert!(!fine && text.contains("needs the role viewer; uid 64201 has no role"), "{text}");
    let (fine, text) = controller.run((0, 0), &["resume"]);
    assert!(fine, "{text}");

    let (_, log) = controller.run(viewer, &["logs", "-o", "json"]);
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("operator_called")).collect();
    assert_eq!(calls.len(), 2, "what is denied is in the log of the process only: {log}");
    assert!(calls[0].contains("uid 64200") && calls[0].contains("\"Halt\"") && calls[0].contains("drill"), "{log}");
    assert!(
        calls[1].contains("\"root\"") && calls[1].contains("\"admin\"") && calls[1].contains("\"Resume\""),
        "{log}"
    );
}

#[test]
fn without_a_configuration_others_cannot_even_reach_the_socket() {
    if !is_root() {
        return;
    }
    let controller = Controller::start("", &[]);
    let (fine, text) = controller.run((NOBODY, NOBODY), &["get", "servers"]);
    assert!(!fine && text.contains("no permission to use"), "{text}");
    // Even if somebody opens it.
    fs::set_permissions(controller.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let (fine, text) = controller.run((NOBODY, NOBODY), &["get", "servers"]);
    assert!(!fine && text.contains("needs the role viewer; nobody has no role"), "{text}");
}
