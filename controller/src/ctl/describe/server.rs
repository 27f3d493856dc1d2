//! One server: is it there, what does it run, what does it read.

use skynet_model::catalogue::Unit;
use skynet_model::time::Timestamp;

use super::super::age::instant;
use super::super::documents::{Latest, Server};
use super::super::figure::{figure, unit_of};
use super::super::get::{CONTROLLER_UNSIGNED, ago, connection, labels, or_dash, policy_of};
use super::super::page::{Ink, Page, Table};

/// The page.
pub(super) fn page(server: &Server, now: Timestamp) -> Page {
    let mut page = Page::new();
    page.field("Server", [Ink::Bold.on(&server.name)]);
    page.field("Labels", [or_dash(Some(&labels(server.labels.iter())))]);
    let since = server.since.map(|t| format!(" since {}", instant(t, now))).unwrap_or_default();
    page.field("Connection", [connection(server), since.into()]);
    page.field("Agent", [or_dash(server.version.as_deref())]);
    let system = &server.system;
    if !system.kernel.is_empty() {
        page.field("System", [system.os.as_str().into(), format!(", kernel {} {}", system.kernel, system.arch).into()]);
        let memory = figure(system.memory_bytes as f64, Unit::Bytes);
        page.field("", [format!("{} cores, {memory} of memory", system.cpus).into()]);
    }
    page.field("Boot", [or_dash(server.boot.as_deref())]);
    let digest: String = server.policy_digest.iter().flat_map(|d| d.chars()).take(12).collect();
    let digest = if digest.is_empty() { digest } else { format!(" (digest {digest})") };
    page.field("Policy", [policy_of(server), digest.into()]);
    if let Some(error) = server.policy_error.as_ref().filter(|e| !e.is_empty()) {
        page.field("", [Ink::Red.on(error)]);
    }
    if server.insecure_unsigned {
        page.field("", [Ink::Red.on("INSECURE: the agent takes policy that nobody signed (insecure_unsigned)")]);
    }
    if server.controller_insecure_unsigned {
        page.field("", [Ink::Red.on(CONTROLLER_UNSIGNED)]);
    }
    page.field("Series", [server.series.to_string().into()]);
    page.field("Last read", [server.last_reading.map_or_else(|| "never".into(), |t| instant(t, now).into())]);
    if server.lost_readings > 0 {
        page.field("Lost", [Ink::Yellow.on(format!("{} readings", server.lost_readings))]);
    }

    page.heading("SENSORS");
    let mut sensors = Table::new(&["SENSOR", "STATE", "EVERY", "SWEPT", "MESSAGE"]).indent(2);
    for sensor in &server.sensors {
        sensors.row([
            Ink::Cyan.on(&sensor.id),
            if sensor.healthy { Ink::Green.on("ok") } else { Ink::Red.on("failing") },
            or_dash(sensor.every.as_deref()),
            ago(sensor.last_sweep, now),
            sensor.message.as_deref().unwrap_or("").into(),
        ]);
    }
    if server.sensors.is_empty() {
        page.paragraph("none: no profile matches its labels, or its agent has not reported yet", 2);
    } else {
        page.table(sensors);
    }

    page.heading("LATEST VALUES");
    let latest = server.latest.as_deref().unwrap_or_default();
    if latest.is_empty() {
        page.paragraph("none", 2);
    } else {
        let mut table = Table::new(&["SERIES", "VALUE", "AGE"]).indent(2);
        for one in latest {
            table.row([Ink::Cyan.on(&one.series), figure(one.value, unit(one)).into(), ago(Some(one.time), now)]);
        }
        page.table(table);
    }
    page
}

/// The unit of a value: as the controller says, else by the series' name.
pub(super) fn unit(latest: &Latest) -> Unit {
    let name = latest.series.split('{').next().unwrap_or_default();
    let units = [
        Unit::Ratio,
        Unit::Bytes,
        Unit::Seconds,
        Unit::PerSecond,
        Unit::BytesPerSecond,
        Unit::Count,
        Unit::Bool,
        Unit::State,
        Unit::Any,
    ];
    let said = latest.unit.as_deref().and_then(|text| units.into_iter().find(|unit| unit.as_str() == text));
    said.unwrap_or_else(|| unit_of(name, None))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;

    #[test]
    fn a_server_is_described_with_the_health_of_its_sensors() {
        let server = serde_json::from_str(fixture::SERVER).unwrap();
        assert_eq!(
            page(&server, fixture::NOW).render(false),
            "\
Server      web1
Labels      cluster=shop-1,role=web
Connection  connected since 2026-11-01T00:09:15Z (3h5m ago)
Agent       0.1.0
System      Debian GNU/Linux 12 (bookworm), kernel 6.1.0-28-amd64 x86_64
            8 cores, 32.0 GiB of memory
Boot        b-1
Policy      v3 (digest 0123456789ab)
Series      42
Last read   2026-11-01T03:14:14Z (1s ago)

SENSORS
  SENSOR      STATE    EVERY  SWEPT  MESSAGE
  cpu         ok       1s     1s
  exec:queue  failing  1m     60s    timed out after 10s

LATEST VALUES
  SERIES                         VALUE   AGE
  cpu.busy_ratio                 25.0 %  1s
  disk.used_ratio{mount=\"/var\"}  74.0 %  12s
"
        );
    }

    #[test]
    fn who_takes_unsigned_policy_is_told_loudly() {
        let insecure = Server { insecure_unsigned: true, controller_insecure_unsigned: true, ..Server::default() };
        let text = page(&insecure, fixture::NOW).render(false);
        assert!(
            text.contains("INSECURE: the agent takes") && text.contains("INSECURE: the controller takes"),
            "{text}"
        );
        let text = page(&Server::default(), fixture::NOW).render(false);
        assert!(!text.contains("INSECURE"), "{text}");
    }

    #[test]
    fn a_server_that_is_away_says_so_and_why_it_refused_policy() {
        let server = serde_json::from_str(fixture::SERVER_AWAY).unwrap();
        let text = page(&server, fixture::NOW).render(false);
        assert!(text.contains("Connection  away since 2026-11-01T03:11:03Z (3m12s ago)\n"), "{text}");
        assert!(text.contains("Policy      v2, refused newer (digest fe)\n            signature is not by"), "{text}");
    }
}
