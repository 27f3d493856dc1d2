//! Requests, customers, routes and contacts.

use skynet_model::policy::{Contact, Customer, Policy, Request, Route, Target};

use super::changes::{Change, Facts, plain};
use super::reach::{Servers, listed, matchers};

/// Requests.
pub(super) fn requests(from: &Policy, to: &Policy) -> Vec<Change> {
    plain("request", &from.requests, &to.requests, |request: &Request| -> Facts {
        let parameters: Vec<String> =
            request.parameters.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        vec![("parameters".to_owned(), parameters.join(", ")), ("phrases".to_owned(), request.phrases.join(" | "))]
    })
}

/// Customers: who may ask for more than before is told loudly.
pub(super) fn customers(from: &Policy, to: &Policy, servers: &Servers) -> Vec<Change> {
    let mut changes = plain("customer", &from.customers, &to.customers, |customer: &Customer| -> Facts {
        vec![
            ("servers".to_owned(), matchers(&customer.servers)),
            ("from".to_owned(), customer.from.join(", ")),
            ("may".to_owned(), customer.may.join(", ")),
            ("challenge".to_owned(), customer.challenge.as_ref().map_or_else(|| "none".to_owned(), target)),
        ]
    });
    for change in &mut changes {
        let (was, is) = (from.customers.get(&change.name), to.customers.get(&change.name));
        let Some(is) = is else { continue };
        change.servers = servers.that(|labels| is.servers.fits(labels)).map(|names| listed(&names));
        let before = was.map(|customer| customer.may.as_slice()).unwrap_or_default();
        let more: Vec<&str> = is.may.iter().filter(|one| !before.contains(one)).map(String::as_str).collect();
        if !more.is_empty() {
            change.alarms.push(format!("customer {} may now ask for {}", change.name, more.join(", ")));
        }
        if was.is_some_and(|was| was.challenge.is_some()) && is.challenge.is_none() {
            change.alarms.push(format!("customer {}: requests are no longer confirmed", change.name));
        }
    }
    changes
}

/// Routes.
pub(super) fn routes(from: &Policy, to: &Policy) -> Vec<Change> {
    plain("route", &from.routes, &to.routes, |route: &Route| -> Facts {
        let mut facts = Facts::new();
        for (number, tier) in (1..).zip(&route.tiers) {
            let to: Vec<String> = tier.to.iter().map(target).collect();
            facts.push((format!("tier {number}"), format!("after {}: {}", tier.after, to.join(", "))));
        }
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let quiet = route
            .quiet
            .as_ref()
            .map(|quiet| format!("{} to {}, below {}", time(quiet.from), time(quiet.until), quiet.only_below.as_str()));
        facts.push(("quiet".to_owned(), quiet.unwrap_or_else(|| "never".to_owned())));
        facts
    })
}

/// Contacts.
pub(super) fn contacts(from: &Policy, to: &Policy) -> Vec<Change> {
    plain("contact", &from.contacts, &to.contacts, |contact: &Contact| -> Facts {
        vec![("webhook".to_owned(), format!("{} to {}", contact.format, contact.credential))]
    })
}

fn target(target: &Target) -> String {
    match target {
        Target::Mail(address) => format!("mail {address}"),
        Target::Sms(number) => format!("sms {number}"),
        Target::Contact(name) => format!("contact {name}"),
        Target::Console => "console".to_owned(),
    }
}
