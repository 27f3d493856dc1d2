//! `condition_evaluations_per_cpu_second`: the lowered condition alone.

use std::hint::black_box;

use skynet_model::condition::Condition;

use super::Bench;
use crate::gauge::own_cpu_seconds;

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let source = "disk.used_ratio > 0.8 && disk.free_bytes < 5000000000 || disk.inodes_used_ratio > 0.95";
    let condition =
        Condition::compile(source, skynet_node::catalogue()).map_err(|e| anyhow::anyhow!("{source}: {e:?}"))?;
    let rounds = bench.pick(5_000_000_u32, 50_000_000);
    let begun = own_cpu_seconds();
    for n in 0..rounds {
        let values = [f64::from(n % 100) / 100.0, 4e9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0];
        black_box(condition.eval(black_box(&values[..condition.slots().len()])));
    }
    let per_second = f64::from(rounds) / (own_cpu_seconds() - begun);
    bench.figure("condition_evaluations_per_cpu_second", per_second, "1/s", "three series, three comparisons");
    Ok(())
}
