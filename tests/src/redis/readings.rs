//! Readings as hosts have them, written into a history: what Redis needs for a sample is measured on them.

use std::sync::Arc;

use skynet_controller::history::History;
use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};

use crate::load::host::Layout;

/// Writes `sweeps` sweeps a second apart of `series` series of each of `servers` servers `web1`, `web2`, ... into a history.
///
/// # Panics
/// When the history takes no more series.
pub fn write(history: &Arc<History>, servers: usize, series: usize, from: Timestamp, sweeps: u16) {
    for n in 1..=servers {
        write_one(history, &format!("web{n}"), series, from, sweeps, Span::seconds(1));
    }
}

/// The same for one server, `step` apart.
///
/// # Panics
/// When the history takes no more series.
pub fn write_one(history: &Arc<History>, name: &str, series: usize, from: Timestamp, sweeps: u16, step: Span) {
    let id = ServerId::new(name).expect("a name");
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let (writer, mut host) = (history.writer(&id), Layout::new(series).host(seed));
    let slots: Vec<_> = host.keys.iter().map(|key| writer.slot(key).expect("a slot")).collect();
    for sweep in 0..sweeps {
        host.step();
        let time = from.plus(Span(step.0 * i64::from(sweep)));
        let mut batch = writer.batch("boot", u64::from(sweep) + 1).expect("a new batch");
        for group in &host.groups {
            let range = group.from..group.to;
            batch.write(time, slots[range.clone()].iter().copied().zip(host.values[range].iter().copied()));
        }
        let _ = batch.commit();
    }
}
