//! Something was asked of a server that no signature stands behind, and the server refused. An honest controller never asks
//! it: what a person is told is about the controller itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use skynet_model::event::EventBody;
use skynet_model::incident::{Notice, NoticeKind};
use skynet_model::name::{NoticeId, ServerId};
use skynet_model::policy::Severity;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::{Engine, Output};

/// How the notices' ids begin.
const PREFIX: &str = "n-breach-";
/// Notices remembered: none of them is told again.
const REMEMBERED: usize = 64;
/// Most notices in [`WITHIN`]: an agent chooses its words, and must not flood people with them. The log has them all.
const AT_MOST: usize = 10;
const WITHIN: Span = Span::hours(1);

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To take a policy.
    Policy,
    /// To carry out a command.
    Command,
}

impl Asked {
    fn topic(self) -> &'static str {
        match self {
            Self::Policy => "policy_refused_by_agent",
            Self::Command => "command_refused",
        }
    }

    fn thing(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Command => "a command of policy",
        }
    }
}

/// The newest notices of this kind, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Breaches(VecDeque<(Timestamp, NoticeId)>);

impl Breaches {
    /// A notice was raised; others than this kind are passed over.
    pub(super) fn told(&mut self, time: Timestamp, id: &NoticeId) {
        if id.as_str().starts_with(PREFIX) {
            if self.0.len() >= REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back((time, id.clone()));
        }
    }

    fn may_tell(&self, now: Timestamp, id: &NoticeId) -> bool {
        let lately = self.0.iter().filter(|(at, _)| now.since(*at) < WITHIN).count();
        lately < AT_MOST && self.0.iter().all(|(_, told)| told != id)
    }
}

impl Engine {
    /// Notes a refusal for want of a signature, and tells a person once for each version and reason.
    pub(crate) fn breach(
        &mut self,
        now: Timestamp,
        asked: Asked,
        server: &ServerId,
        version: u64,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        let version = if version == 0 { self.version } else { version };
        let what = format!("{} {version}", asked.thing());
        let message = format!("it refused {what}: {reason}");
        self.remark(now, Some(server.clone()), asked.topic(), message, out);
        // FNV-1a: only to tell reasons apart.
        let key = format!("{}\0{version}\0{reason}", asked.topic());
        let hash =
            key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let Ok(id) = NoticeId::new(&format!("{PREFIX}{hash:016x}")) else { return };
        if !self.book.breaches.may_tell(now, &id) {
            return;
        }
        let route = self.policy.as_deref().and_then(|policy| policy.routes.get("default"));
        let story = format!(
            "{server} was asked for {what} and refused, because no signature it trusts stands behind it.\n\
             It said: {reason:?}.\n\
             An honest controller checks the same before it asks. Either this controller has been tampered with, or the \
             signers file of the server is not the one the policy was signed for.\n\
             Nothing was done on the server, and the policy it had goes on. Compare /etc/skynet/allowed_signers there with \
             yours, run `skynetctl policy verify` on a machine you trust, and look for `{}` in `skynetctl logs`. The same \
             from other servers is in the log and is not told again.\n",
            asked.topic()
        );
        let notice = Notice {
            id,
            kind: NoticeKind::Skynet,
            incident: None,
            scenario: None,
            server: Some(server.clone()),
            labels: Labels::default(),
            severity: Severity::Critical,
            route: if route.is_some() { "default".to_owned() } else { "console".to_owned() },
            to: route.and_then(|r| r.tiers.first()).map(|tier| tier.to.clone()).unwrap_or_default(),
            title: format!("the controller itself: {server} refused {what}, which no signature stands behind"),
            story,
            at: now,
            since: now,
        };
        self.emit(now, EventBody::NoticeRaised { notice: Box::new(notice) }, out);
    }
}
