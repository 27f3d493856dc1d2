//! Fixed documents for tests.

use skynet_model::time::Timestamp;

/// 2026-11-01T03:14:15.926Z.
pub(super) const NOW: Timestamp = Timestamp(1_793_502_855_926);

pub(super) const SERVER: &str = r#"{"name":"web1","labels":{"cluster":"shop-1","role":"web"},"connected":true,
    "since":1793491755926,"boot":"b-1","version":"0.1.0",
    "system":{"os":"Debian GNU/Linux 12 (bookworm)","kernel":"6.1.0-28-amd64","arch":"x86_64","cpus":8,
    "memory_bytes":34359738368},"policy_version":3,"policy_digest":"0123456789abcdef",
    "policy_error":null,"series":42,"last_reading":1793502854926,"sensors":[
    {"id":"cpu","healthy":true,"message":"","every":"1s","last_sweep":1793502854926},
    {"id":"exec:queue","healthy":false,"message":"timed out after 10s","every":"1m","last_sweep":1793502795926}],
    "latest":[{"series":"cpu.busy_ratio","value":0.25,"time":1793502854926,"unit":"ratio"},
    {"series":"disk.used_ratio{mount=\"/var\"}","value":0.74,"time":1793502843926,"unit":"ratio"}]}"#;

pub(super) const SERVER_AWAY: &str = r#"{"name":"db1","labels":{},"connected":false,"since":1793502663926,"boot":"b-2",
    "version":"0.1.0","policy_version":2,"policy_digest":"fe","policy_error":"signature is not by a known signer",
    "series":0,"last_reading":1793502663926,"sensors":[]}"#;

pub(super) const INCIDENT: &str = r#"{"id":"i-7f3a9c","scenario":"disk-filling","policy":3,"digest":"aa","server":"web1",
    "labels":{"mount":"/var"},"severity":"warning","mode":"enforce","state":"verifying",
    "summary":"web1 /var is 93 % full\n\u001b[31m","since":1793502543926,"opened":1793502663926,"closed":null,
    "reason":null,
    "readings":[{"series":"disk.used_ratio{mount=\"/var\"}","value":0.93,"time":1793502663926}],
    "last_readings":[{"series":"disk.used_ratio{mount=\"/var\"}","value":0.94,"time":1793502723926}],
    "steps":[{"command":{"id":"0123456789abcdef0123456789abcdef","incident":"i-7f3a9c","scenario":"disk-filling",
      "step":0,"attempt":1,"server":"web1","action":"journal.vacuum","labels":{"mount":"/var"},
      "params":{"keep":{"int":200000000}},"policy":3,"epoch":1,"ttl":"1m"},
      "risk":"destructive","issued":1793502664926,
      "outcome":{"command":"0123456789abcdef0123456789abcdef","status":"done","message":"freed 1.2 GB\u001b[2J",
        "finished":1793502666926,"finished_boot_ms":5,"took_ms":1250},
      "outcome_at":1793502666926,"verified":null,"reason":null,"ended":null}],
    "hold":null,"held":[{"rail":"cooldown","why":"acted 2 min ago; next at 03:12","since":1793502663926}],
    "acknowledged":null,"route":"oncall",
    "explanation":"step 1 of 2 must be proved by 03:16:06; else step 2, files.delete"}"#;

pub(super) const NOTICE: &str = r#"{"id":"n-1","kind":"escalated","incident":"i-7f3a9c","scenario":"disk-filling",
    "server":"web1","labels":{"mount":"/var"},"severity":"warning","route":"oncall",
    "to":[{"mail":"ops@example.net"},{"contact":"pager"}],"title":"disk-filling on web1 is not contained",
    "story":"first line\nsecond line","at":1793502795926,"since":1793502543926,"delivered":["console"]}"#;
