//! What a process costs, as the kernel counts it: CPU seconds and resident memory, its children with it.
//!
//! What must never enter: wall time as a measure of work. A shared machine stretches it.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

/// A process and what it started, by number.
#[derive(Clone, Debug)]
pub struct Gauge {
    pid: u32,
}

impl Gauge {
    /// The process `pid` with its descendants.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    fn tree(&self) -> Vec<u32> {
        let (mut all, mut at) = (vec![self.pid], 0);
        while let Some(pid) = all.get(at).copied() {
            at += 1;
            for task in tasks(pid) {
                let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                all.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        all
    }

    /// CPU seconds so far, in user mode and in the kernel. By the scheduler's nanoseconds where threads live on, else by
    /// `utime + stime` of /proc/PID/stat, which counts ended threads and whole ticks.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for pid in self.tree() {
            let ticks = match ticks(pid) {
                // A child may end at any moment; the process itself may not.
                Err(_) if pid != self.pid => continue,
                ticks => ticks?,
            };
            let nanoseconds = |task: &PathBuf| {
                let text = fs::read_to_string(task.join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<f64>().ok()
            };
            let threads: f64 = tasks(pid).iter().filter_map(nanoseconds).sum();
            sum += (threads / 1e9).max(ticks);
        }
        Ok(sum)
    }

    /// Proportional set size: resident memory, with pages that others share counted in part.
    ///
    /// # Errors
    /// When the process is gone or another user's.
    pub fn pss_bytes(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for pid in self.tree() {
            let text = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
                Err(_) if pid != self.pid => continue,
                text => text.with_context(|| format!("reading the memory of process {pid}"))?,
            };
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
            sum += line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0;
        }
        Ok(sum)
    }
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn ticks(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    // The name, in brackets, may hold anything; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("a short /proc/PID/stat");
    Ok((field(11)? + field(12)?) / rustix::param::clock_ticks_per_second() as f64)
}

/// CPU seconds of this very process.
#[must_use]
pub fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// When a process began, in clock ticks since boot: with its number it names just that process.
///
/// # Errors
/// When it is gone.
pub fn start_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_ascii_whitespace().nth(19).and_then(|text| text.parse().ok()).context("a short /proc/PID/stat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work_and_one_that_holds_memory_to_hold_it() {
        let own = Gauge::new(std::process::id());
        let (before, began) = (own.cpu_seconds().unwrap(), own_cpu_seconds());
        let mut held: Vec<u64> = Vec::new();
        while own_cpu_seconds() - began < 0.2 {
            held.extend(0..10_000);
            held.truncate(4 << 20);
        }
        let seen = own.cpu_seconds().unwrap() - before;
        let real = own_cpu_seconds() - began;
        assert!((seen - real).abs() < 0.1, "{seen} {real}");
        let bytes = own.pss_bytes().unwrap();
        assert!(bytes > held.len() as f64 * 8.0, "{bytes}");
    }

    #[test]
    fn children_count() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; read wait"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut line).unwrap();
        let tree = Gauge::new(std::process::id()).tree();
        assert!(tree.contains(&child.id()));
        assert!(Gauge::new(child.id()).cpu_seconds().unwrap() > 0.0);
        assert!(start_ticks(child.id()).unwrap() >= start_ticks(std::process::id()).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Gauge::new(child.id()).cpu_seconds().is_err());
    }
}
