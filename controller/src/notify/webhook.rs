//! Webhooks in Alertmanager's format (version 4): one POST of one alert.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use skynet_model::incident::{Notice, NoticeKind};
use skynet_model::policy::Contact;

use super::NotifyError;
use crate::config::Credential;

/// Largest file a URL is read from, in bytes.
const MAX_URL: u64 = 4096;

/// Posts notices to the URLs that credentials hold.
#[derive(Debug)]
pub struct Webhook {
    client: reqwest::Client,
    credentials: BTreeMap<String, Credential>,
}

impl Webhook {
    /// A webhook notifier.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(credentials: BTreeMap<String, Credential>, timeout: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .user_agent(concat!("skynet/", env!("CARGO_PKG_VERSION")))
            // What a person is told does not go where an environment variable says.
            .no_proxy()
            .build()
            .map_err(|e| format!("no HTTP client for webhooks: {e}"))?;
        Ok(Self { client, credentials })
    }

    fn url(&self, contact: &Contact) -> Result<String, NotifyError> {
        let name = &contact.credential;
        let credential = self.credentials.get(name).ok_or_else(|| {
            // It may be added, and the controller restarted, while this is retried.
            NotifyError::Permanent(format!(
                "no credential `{name}`: add {name} = {{ file = \"...\" }} to [credentials]"
            ))
        })?;
        let Some(file) = &credential.file else {
            return credential
                .url
                .clone()
                .ok_or_else(|| NotifyError::Permanent(format!("credential `{name}` is empty")));
        };
        let place = file.display();
        let size = std::fs::metadata(file).map_err(|e| NotifyError::Retry(format!("cannot read {place}: {e}")))?.len();
        if size > MAX_URL {
            return Err(NotifyError::Permanent(format!("{place} has {size} bytes; a URL is needed")));
        }
        let text =
            std::fs::read_to_string(file).map_err(|e| NotifyError::Retry(format!("cannot read {place}: {e}")))?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// One attempt.
    ///
    /// # Errors
    /// Permanent for what the receiver will refuse again (4xx but 408, 425 and 429), else worth a retry. The URL, which is
    /// a secret, is in no message.
    pub(super) async fn tell(&self, notice: &Notice, contact: &Contact) -> Result<(), NotifyError> {
        let url = self.url(contact)?;
        let hide = |e: reqwest::Error| {
            let e = e.without_url();
            let mut text = e.to_string();
            let mut cause = std::error::Error::source(&e);
            while let Some(next) = cause {
                text.push_str(&format!(": {next}"));
                cause = next.source();
            }
            text
        };
        let body = body(notice).to_string();
        let request = self.client.post(url).header("content-type", "application/json").body(body).build();
        let request = request.map_err(|e| {
            NotifyError::Permanent(format!("credential `{}` holds no usable URL: {}", contact.credential, hide(e)))
        })?;
        let answer = self.client.execute(request).await.map_err(|e| NotifyError::Retry(hide(e)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = format!("the webhook of credential `{}` answered {status}", contact.credential);
        if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            Err(NotifyError::Retry(text))
        } else {
            Err(NotifyError::Permanent(text))
        }
    }
}

/// Alertmanager's JSON. The group is the incident, so that `resolved` closes what `firing` opened.
fn body(notice: &Notice) -> Value {
    let status = match notice.kind {
        NoticeKind::Escalated | NoticeKind::Skynet => "firing",
        NoticeKind::Resolved => "resolved",
    };
    let name = notice.scenario.as_ref().map_or("skynet", |s| s.as_str());
    let mut labels: BTreeMap<&str, &str> = notice.labels.iter().collect();
    labels.insert("alertname", name);
    labels.insert("severity", notice.severity.as_str());
    if let Some(server) = &notice.server {
        labels.insert("instance", server.as_str());
    }
    let key = notice.incident.as_ref().map_or_else(|| notice.id.as_str(), |i| i.as_str());
    let annotations = json!({ "summary": notice.title, "description": notice.story });
    let ends = if status == "resolved" { notice.at.to_string() } else { "0001-01-01T00:00:00Z".to_owned() };
    json!({
        "version": "4",
        "groupKey": format!("skynet/{key}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": notice.route,
        "groupLabels": { "alertname": name },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": notice.since.to_string(),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": key,
        }],
    })
}
