//! The document of `store status`.

use serde_json::{Value, json};
use skynet_model::time::Timestamp;

use super::Board;
use super::board::Shown;

impl Board {
    /// The state as a JSON object.
    #[must_use]
    pub fn document(&self, now: Timestamp) -> Value {
        let shown = self.show(now);
        let troubles: Vec<Value> = shown
            .troubles
            .iter()
            .map(|told| json!({ "part": told.part, "kind": told.word, "since": told.since, "message": told.message }))
            .collect();
        json!({
            "redis": shown.redis,
            "state": state(&shown),
            "connected": shown.connected,
            "sealed": shown.sealed,
            "mirrored": shown.mirrored,
            "journal": shown.journal,
            "behind": shown.journal.saturating_sub(shown.mirrored),
            "outbox": {
                "bytes": shown.waiting_bytes,
                "bytes_max": self.settings.bounds.bytes,
                "age": shown.waiting_age,
                "age_max": self.settings.bounds.age,
                "left": shown.left,
            },
            "sent": shown.sent,
            "stream": shown.stream,
            "latest": { "sent": shown.latest, "time": shown.latest_time },
            "chunks": { "sent": shown.chunks, "bytes": shown.chunk_bytes, "samples": shown.samples, "to": shown.chunks_to },
            "troubles": troubles,
        })
    }
}

/// One word for it.
fn state(shown: &Shown) -> &'static str {
    if !shown.connected {
        return shown.troubles.first().map_or("connecting", |told| told.word);
    }
    if shown.journal > shown.mirrored + BEHIND { "draining" } else { "copied" }
}

/// So many events are on their way at any time.
const BEHIND: u64 = 1000;
