//! Filling `${label}` into typed parameters, and `{{ }}` into text for people.

use core::net::IpAddr;

use super::{ParamText, Policy, Scenario, Step, select, template};
use crate::catalogue::ActionSpec;
use crate::incident::Subject;
use crate::series::Labels;
use crate::value::{ParamKind, ParamSpec, Params, Value};

/// Why a step's parameters cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{param}` of {action}: {message}")]
pub struct RenderError {
    /// The action.
    pub action: String,
    /// The parameter.
    pub param: String,
    /// What is wrong.
    pub message: String,
}

impl Step {
    /// The step's parameters for an instance: `${label}` filled in, the result parsed strictly by the action's schema,
    /// defaults added.
    ///
    /// # Errors
    /// [`RenderError`] when a label is missing or the filled text is not of the parameter's kind.
    pub fn render(&self, labels: &Labels) -> Result<Params, RenderError> {
        let mut params = Params::new();
        for spec in self.action.params {
            let value = match self.with.get(spec.name) {
                Some(text) => render_one(text, spec.kind, labels).map(Some),
                None => default_of(spec),
            };
            let fail =
                |message| RenderError { action: self.action.name.to_owned(), param: spec.name.to_owned(), message };
            if let Some(value) = value.map_err(fail)? {
                params.insert(spec.name.to_owned(), value);
            }
        }
        Ok(params)
    }
}

fn render_one(text: &ParamText, kind: ParamKind, labels: &Labels) -> Result<Value, String> {
    let inner = if let ParamKind::List(inner) = kind { *inner } else { kind };
    match text {
        ParamText::Literal(value) => Ok(value.clone()),
        ParamText::Template(text) => kind.parse(&template::fill(text, labels, kind)?),
        ParamText::Templates(items) => {
            let one = |item: &String| inner.parse(&template::fill(item, labels, inner)?);
            items.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::List)
        }
    }
}

/// The value of a parameter that was not given: its default, nothing, or an error if it is required. The default of a
/// list is written with spaces between its items.
pub(super) fn default_of(spec: &ParamSpec) -> Result<Option<Value>, String> {
    match (spec.default, spec.kind) {
        (Some(default), ParamKind::List(inner)) => {
            let items: Result<Vec<_>, _> = default.split_whitespace().map(|item| inner.parse(item)).collect();
            items.map(|items| Some(Value::List(items)))
        }
        (Some(default), kind) => kind.parse(default).map(Some),
        (None, _) if spec.required => Err(format!("it is required ({})", spec.kind)),
        (None, _) => Ok(None),
    }
}

impl Policy {
    /// The name of the `never:` document that refuses these parameters, if one does: any one of its values is enough.
    /// One without `with` refuses the action altogether.
    #[must_use]
    pub fn refused_by(&self, action: &ActionSpec, params: &Params) -> Option<&str> {
        let unit = |name: &str| action.params.iter().any(|p| p.name == name && p.kind == ParamKind::Unit);
        let refuses = |never: &super::Never| {
            let hit = |(name, refused): (&String, &Vec<String>)| {
                let Some(value) = params.get(name) else { return false };
                let other = value.as_text().filter(|_| unit(name)).map(|text| Value::Text(other_name(text)));
                refused.iter().any(|r| is_refused(r, value) || other.as_ref().is_some_and(|other| is_refused(r, other)))
            };
            never.actions.iter().any(|a| a == action.name) && (never.with.is_empty() || never.with.iter().any(hit))
        };
        self.nevers.iter().find(|(_, never)| refuses(never)).map(|(name, _)| name.as_str())
    }

    /// Checks that labels are the parameters of a request as policy declares them: these and no others, each of its kind
    /// and written as the kind writes it. Whoever passes a request on could otherwise fill in what nobody may ask for.
    ///
    /// # Errors
    /// A sentence that names the parameter.
    pub fn check_asked(&self, request: &str, labels: &Labels) -> Result<(), String> {
        let declared = self.requests.get(request).ok_or_else(|| format!("there is no request `{request}`"))?;
        if let Some((name, _)) = labels.iter().find(|(name, _)| !declared.parameters.contains_key(*name)) {
            return Err(format!("the request `{request}` has no parameter `{name}`"));
        }
        for (name, kind) in &declared.parameters {
            let text = labels.get(name).ok_or_else(|| format!("the request `{request}` needs `{name}` ({kind})"))?;
            let value = kind.parse(text).map_err(|error| format!("parameter `{name}` of `{request}`: {error}"))?;
            if value.to_string() != text {
                return Err(format!("parameter `{name}` of `{request}` is written as `{text}`, not as `{value}`"));
            }
        }
        Ok(())
    }
}

/// The other name of a unit: to systemd `ssh` and `ssh.service` are one.
fn other_name(unit: &str) -> String {
    unit.strip_suffix(".service").map_or_else(|| format!("{unit}.service"), str::to_owned)
}

fn is_refused(refused: &str, value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(|item| is_refused(refused, item)),
        Value::Text(text) => {
            let address = text.parse::<IpAddr>().ok().zip(Network::parse(refused));
            address.is_some_and(|(ip, network)| network.contains(ip)) || select::fits(refused, text)
        }
        Value::Bool(_) | Value::Int(_) | Value::Duration(_) => select::fits(refused, &value.to_string()),
    }
}

/// An address and the length of its network's prefix.
pub(super) struct Network {
    ip: IpAddr,
    bits: u32,
}

impl Network {
    /// From `10.0.0.0/8`, `192.0.2.1` or `2001:db8::/32`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { ip, bits })
    }

    /// Whether the address is within. An IPv4 address is the same when it is written as IPv6 (`::ffff:10.0.0.1`).
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let (net, length) = match (self.ip, self.ip.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if self.bits >= 96 => (IpAddr::V4(v4), self.bits - 96),
            (own, _) => (own, self.bits),
        };
        match (net, ip.to_canonical(), ip) {
            (IpAddr::V4(net), IpAddr::V4(ip), _) => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(net), _, IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_), _) | (IpAddr::V6(_), _, IpAddr::V4(_)) => false,
        }
    }
}

impl Scenario {
    /// The summary for people: `{{ server }}` (outside scope `server` the name of the cluster, fleet or request), each
    /// label by name, and `{{ value }}`. A template that fails falls back on scenario, subject and labels.
    #[must_use]
    pub fn summarize(&self, subject: &Subject, labels: &Labels, value: Option<f64>) -> String {
        let about = subject.name();
        let rendered = self
            .summary
            .as_deref()
            .and_then(|template| template::expand(template, self.name.as_str(), about, labels, value));
        rendered.filter(|text| !text.is_empty()).unwrap_or_else(|| {
            let space = if labels.is_empty() { "" } else { " " };
            template::one_line(&format!("{} on {subject}{space}{labels}", self.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Idempotence, Risk};
    use crate::policy::{Never, Request};
    use crate::time::Span;

    #[test]
    fn networks_contain_their_addresses_in_either_notation() {
        for (network, ip, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            assert_eq!(Network::parse(network).unwrap().contains(ip.parse().unwrap()), expected, "{network} {ip}");
        }
        for bad in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/-1"] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn never_refuses_by_network_by_glob_and_altogether() {
        let with = |name: &str, refused: &[&str]| {
            (name.to_owned(), refused.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>())
        };
        let never = |actions: &[&str], with: Vec<(String, Vec<String>)>| Never {
            actions: actions.iter().map(|a| (*a).to_owned()).collect(),
            with: with.into_iter().collect(),
        };
        let mut policy = Policy::default();
        policy.nevers.insert("nets".into(), never(&["firewall.block"], vec![with("ip", &["10.0.0.0/8", "192.0.2.1"])]));
        policy.nevers.insert("etc".into(), never(&["files.delete"], vec![with("path", &["/etc/*"])]));
        policy.nevers.insert("no-stop".into(), never(&["service.stop"], vec![]));
        let params = |name: &str, value: Value| Params::from([(name.to_owned(), value)]);
        let text = |t: &str| Value::Text(t.to_owned());
        let unit = &[ParamSpec { name: "unit", kind: ParamKind::Unit, required: true, default: None, help: "" }];
        let action = |name: &'static str| ActionSpec {
            name,
            help: "",
            params: unit,
            risk: Risk::Reversible,
            idempotence: Idempotence::Declarative,
            deadline: Span::seconds(30),
            inverse: None,
        };
        assert_eq!(policy.refused_by(&action("firewall.block"), &params("ip", text("10.9.8.7"))), Some("nets"));
        assert_eq!(policy.refused_by(&action("firewall.block"), &params("ip", text("203.0.113.7"))), None);
        assert_eq!(policy.refused_by(&action("files.delete"), &params("path", text("/etc/a/b"))), Some("etc"));
        assert_eq!(
            policy.refused_by(&action("files.delete"), &params("path", Value::List(vec![text("/etc/x")]))),
            Some("etc")
        );
        assert_eq!(policy.refused_by(&action("files.delete"), &params("path", text("/var/x"))), None);
        assert_eq!(policy.refused_by(&action("service.stop"), &Params::new()), Some("no-stop"));
        assert_eq!(policy.refused_by(&action("service.start"), &Params::new()), None);
        // One unit has two names; a path that looks like one has not.
        let units = never(&["service.start"], vec![with("unit", &["sshd", "nginx.service"]), with("path", &["/x"])]);
        policy.nevers.insert("units".into(), units);
        for unit in ["sshd", "sshd.service", "nginx", "nginx.service"] {
            let params = params("unit", text(unit));
            assert_eq!(policy.refused_by(&action("service.start"), &params), Some("units"), "{unit}");
        }
        for (name, value) in [("unit", "sshd.socket"), ("unit", "ssh"), ("path", "/x.service")] {
            assert_eq!(policy.refused_by(&action("service.start"), &params(name, text(value))), None, "{value}");
        }
    }

    #[test]
    fn a_request_is_filled_in_as_it_is_declared_and_no_other_way() {
        let parameters = [("days", ParamKind::Int { min: 1, max: 30 }), ("host", ParamKind::Ip)];
        let parameters = parameters.map(|(name, kind)| (name.to_owned(), kind)).into();
        let mut policy = Policy::default();
        policy.requests.insert("clean".into(), Request { parameters, phrases: Vec::new() });
        let check = |labels: &[(&str, &str)]| policy.check_asked("clean", &Labels::new(labels.iter().copied()));
        assert_eq!(check(&[("days", "30"), ("host", "192.0.2.1")]), Ok(()));
        for (labels, words) in [
            (&[("days", "31"), ("host", "192.0.2.1")][..], "number from 1 to 30"),
            (&[("days", "3; reboot"), ("host", "192.0.2.1")], "number from 1 to 30"),
            (&[("days", "+3"), ("host", "192.0.2.1")], "is written as `+3`, not as `3`"),
            (&[("days", "3")], "needs `host`"),
            (&[("days", "3"), ("host", "192.0.2.1"), ("path", "/")], "has no parameter `path`"),
        ] {
            let error = check(labels).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(policy.check_asked("other", &Labels::default()).is_err());
    }
}
