//! All servers' latest values, and how the controller is, as Prometheus' text.
//!
//! `disk.used_ratio{mount="/"}` of web1 is `skynet_disk_used_ratio{server="web1",mount="/"}`. A value older than five
//! minutes is left out, as Prometheus itself would do with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use hyper::body::Bytes;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::core::View;
use crate::history::History;

/// Longest text, in bytes.
pub(super) const MOST: usize = 64 << 20;
/// Values older than this are left out.
const STALE: Span = Span::minutes(5);

/// What the core says of itself.
#[derive(Debug, Default)]
pub(super) struct Controller {
    /// Each server, and whether it is connected.
    servers: Vec<(String, bool)>,
    incidents: usize,
    halted: bool,
}

impl Controller {
    pub(super) fn of(view: &View<'_>) -> Self {
        let servers = view.servers.iter().map(|(id, server)| (id.to_string(), server.connected())).collect();
        let incidents = view.engine.incidents().into_iter().filter(|incident| !incident.state.is_end()).count();
        let halted = view.engine.halted().is_some() || view.engine.signed_halt().is_some();
        Self { servers, incidents, halted }
    }
}

/// A text.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) text: Bytes,
    /// Not everything is in it.
    pub(super) cut: bool,
}

/// Lines of one name.
#[derive(Default)]
struct Family {
    /// The series' name: another one may become the same name.
    name: Arc<str>,
    lines: String,
}

#[derive(Default)]
struct Page {
    families: BTreeMap<String, Family>,
    size: usize,
    cut: bool,
    line: String,
}

impl Page {
    fn value(&mut self, name: &Arc<str>, server: &str, labels: &Labels, value: f64) {
        let metric = metric(name);
        if !self.families.contains_key(&metric) {
            self.families.insert(metric.clone(), Family { name: Arc::clone(name), lines: String::new() });
        }
        let Some(family) = self.families.get_mut(&metric) else { return };
        let line = &mut self.line;
        line.clear();
        line.push_str(&metric);
        line.push_str("{server=\"");
        escape(server, line);
        line.push('"');
        let mut known: Vec<String> = vec!["server".to_owned()];
        if family.name != *name {
            let _ = write!(line, ",skynet_series=\"{name}\"");
            known.push("skynet_series".to_owned());
        }
        for (name, value) in labels.iter() {
            let mut label = label(name);
            while known.contains(&label) {
                label.push('_');
            }
            let _ = write!(line, ",{label}=\"");
            escape(value, line);
            line.push('"');
            known.push(label);
        }
        // `{:?}` is the shortest text that is this value, with an exponent where digits would be many.
        let _ = writeln!(line, "}} {value:?}");
        if self.size + line.len() > MOST {
            self.cut = true;
            return;
        }
        self.size += line.len();
        family.lines.push_str(line);
    }
}

/// Renders everything; `room` is how long the text will be, about.
pub(super) fn render(history: &History, controller: Option<&Controller>, now: Timestamp, room: usize) -> Rendered {
    let mut page = Page::default();
    for server in history.servers() {
        history.each_latest(&server, |key, value, time| {
            if now.since(time) <= STALE {
                page.value(&key.name, server.as_str(), &key.labels, value);
            }
        });
    }
    let mut text = String::with_capacity(room.min(MOST) + 4096);
    own(&mut text, history, controller, page.cut);
    for (metric, family) in &page.families {
        let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE {metric} {kind}");
        text.push_str(&family.lines);
    }
    Rendered { text: text.into(), cut: page.cut }
}

/// The controller's own figures.
fn own(text: &mut String, history: &History, controller: Option<&Controller>, cut: bool) {
    let mut gauge = |name: &str, help: &str, value: f64| {
        let name = format!("skynet_controller_{name}");
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value:?}");
    };
    let health = history.health();
    gauge("history_servers", "Servers whose readings are in memory.", health.servers as f64);
    gauge("history_series", "Series that have a place in memory.", health.series as f64);
    gauge("history_memory_bytes", "Readings in memory, packed.", health.memory_bytes as f64);
    gauge("history_log_bytes", "The write-ahead log's present segment.", health.log_bytes as f64);
    gauge("history_disk_bytes", "Packed readings on disk.", health.disk_bytes as f64);
    gauge("history_files", "Files of packed readings.", health.files as f64);
    let troubled = history.is_troubled();
    gauge("history_troubled", "1 while readings cannot be stored.", f64::from(u8::from(troubled)));
    gauge("metrics_cut", "1 when not all series are in this text.", f64::from(u8::from(cut)));
    let Some(controller) = controller else { return };
    gauge("incidents_open", "Incidents that are not over.", controller.incidents as f64);
    gauge("halted", "1 while a halt stands, an operator's or a signed one.", f64::from(u8::from(controller.halted)));
    let name = "skynet_controller_server_connected";
    let _ = writeln!(text, "# HELP {name} 1 while the server's agent is connected.\n# TYPE {name} gauge");
    for (server, connected) in &controller.servers {
        let _ = writeln!(text, "{name}{{server=\"{server}\"}} {}", u8::from(*connected));
    }
}

/// A series' name as Prometheus takes it.
fn metric(name: &str) -> String {
    let mut metric = String::with_capacity(name.len() + 7);
    metric.push_str("skynet_");
    metric.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }));
    metric
}

/// A label's name as Prometheus takes it. Two underscores at the beginning are its own.
fn label(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let odd = name.starts_with("__") || name.starts_with(|c: char| c.is_ascii_digit());
    if name == "server" || odd { format!("exported_{name}") } else { name }
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
