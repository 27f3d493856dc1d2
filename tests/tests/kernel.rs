//! Readings agree with the kernel: `skynet-agent readings --once` against /proc and `df`, on the running machine.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use skynet_tests::programs;

struct Readings(Vec<(String, BTreeMap<String, String>, f64)>);

impl Readings {
    fn take() -> Self {
        let output =
            Command::new(programs().join("skynet-agent")).args(["readings", "--once", "-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let parse = |line: &str| {
            let v: Value = serde_json::from_str(line).unwrap();
            assert!(v["unit"].is_string() && v["time"].as_str().unwrap().ends_with('Z'), "{line}");
            let labels = v["labels"].as_object().unwrap().iter();
            let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
            (v["series"].as_str().unwrap().to_owned(), labels, v["value"].as_f64().unwrap())
        };
        Self(text.lines().map(parse).collect())
    }

    fn get(&self, series: &str) -> f64 {
        self.find(series, &[]).unwrap_or_else(|| panic!("no reading of {series}"))
    }

    fn find(&self, series: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |l: &BTreeMap<String, String>| labels.iter().all(|(k, v)| l.get(*k).is_some_and(|x| x == v));
        self.0.iter().find(|(s, l, _)| s == series && fits(l)).map(|(_, _, v)| *v)
    }
}

fn near(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    assert!(
        (ours - theirs).abs() <= tolerance,
        "{what}: we say {ours}, the kernel says {theirs} (tolerance {tolerance})"
    );
}

fn meminfo() -> BTreeMap<String, f64> {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = |l: &str| {
        let (name, rest) = l.split_once(':')?;
        Some((name.to_owned(), rest.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn memory_and_load_agree_with_proc() {
    let before = meminfo();
    let readings = Readings::take();
    let after = meminfo();
    near("memory.total_bytes", readings.get("memory.total_bytes"), before["MemTotal"], 0.0);
    // Others use memory meanwhile: within what the two looks around ours saw, and 5 %.
    let slack = before["MemTotal"] * 0.05 + (before["MemAvailable"] - after["MemAvailable"]).abs();
    near("memory.available_bytes", readings.get("memory.available_bytes"), before["MemAvailable"], slack);
    let ratio = 1.0 - readings.get("memory.available_bytes") / readings.get("memory.total_bytes");
    near("memory.used_ratio", readings.get("memory.used_ratio"), ratio, 1e-9);
    near("swap.total_bytes", readings.get("swap.total_bytes"), before["SwapTotal"], 0.0);

    let load: Vec<f64> =
        fs::read_to_string("/proc/loadavg").unwrap().split(' ').take(3).map(|n| n.parse().unwrap()).collect();
    for (name, kernel) in ["load.one", "load.five", "load.fifteen"].into_iter().zip(load) {
        near(name, readings.get(name), kernel, 0.5);
    }
}

#[test]
fn cpu_agrees_with_proc_stat() {
    fn busy_and_all() -> (f64, f64) {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let n: Vec<f64> = text.lines().next().unwrap().split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        let all: f64 = n[..8].iter().sum();
        (all - n[3] - n[4], all)
    }
    let (busy, all) = busy_and_all();
    let readings = Readings::take();
    let (busy_after, all_after) = busy_and_all();
    // Their window is a part of ours, so the busy time they saw fits into what we saw around it.
    let ours = readings.get("cpu.busy_ratio");
    assert!((0.0..=1.0).contains(&ours), "{ours}");
    let cpus = readings.get("cpu.count");
    let theirs = (busy_after - busy) / (all_after - all);
    near("cpu.busy_ratio", ours, theirs, 0.35);
    let expected = fs::read_to_string("/proc/stat")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "))
        .count();
    near("cpu.count", cpus, expected as f64, 0.0);
}

#[test]
fn a_busy_core_is_seen_as_one() {
    // A core kept busy by us: the reading cannot be a constant or an average since boot.
    let mut burner = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let readings = Readings::take();
    let pid = burner.id().to_string();
    burner.kill().unwrap();
    burner.wait().unwrap();
    let share = 1.0 / readings.get("cpu.count");
    assert!(readings.get("cpu.busy_ratio") > share * 0.5, "{} of {share}", readings.get("cpu.busy_ratio"));
    let process = readings.find("process.cpu_ratio", &[("pid", &pid)]).expect("the busiest process is read");
    assert!((0.3..=1.1).contains(&process), "{process}");
}

#[test]
fn disks_agree_with_df() {
    let readings = Readings::take();
    let df = Command::new("df").args(["-B1", "--output=target,size,avail,pcent"]).output().unwrap();
    let text = String::from_utf8(df.stdout).unwrap();
    let mut compared = 0;
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [mount, size, available, percent] = fields[..] else { continue };
        let Some(total) = readings.find("disk.total_bytes", &[("mount", mount)]) else { continue };
        near(&format!("disk.total_bytes of {mount}"), total, size.parse().unwrap(), 0.0);
        let free = readings.find("disk.free_bytes", &[("mount", mount)]).unwrap();
        near(&format!("disk.free_bytes of {mount}"), free, available.parse().unwrap(), total * 0.02 + 64e6);
        let used = readings.find("disk.used_ratio", &[("mount", mount)]).unwrap();
        // df rounds up to whole per cents.
        near(
            &format!("disk.used_ratio of {mount}"),
            used,
            percent.trim_end_matches('%').parse::<f64>().unwrap() / 100.0,
            0.021,
        );
        compared += 1;
    }
    assert!(compared > 0, "no mount of df was read:\n{text}");
    assert!(readings.find("disk.used_ratio", &[("mount", "/proc")]).is_none(), "pseudo file systems are left out");
}

#[test]
fn network_counters_agree_with_proc_net_dev() {
    fn counters() -> BTreeMap<String, (f64, f64)> {
        let text = fs::read_to_string("/proc/net/dev").unwrap();
        let line = |l: &str| {
            let (name, rest) = l.split_once(':')?;
            let n: Vec<f64> = rest.split_whitespace().map(|n| n.parse().unwrap()).collect();
            Some((name.trim().to_owned(), (n[0], n[8])))
        };
        text.lines().filter_map(line).collect()
    }
    let before = counters();
    let readings = Readings::take();
    let after = counters();
    let mut compared = 0;
    for (interface, (received, sent)) in before {
        let labels = [("interface", interface.as_str())];
        let Some(ours) = readings.find("network.receive_bytes_total", &labels) else { continue };
        let (received_after, sent_after) = after[&interface];
        assert!(
            (received..=received_after).contains(&ours),
            "{interface}: {ours} is not within {received}..{received_after}"
        );
        let ours = readings.find("network.transmit_bytes_total", &labels).unwrap();
        assert!((sent..=sent_after).contains(&ours), "{interface}: {ours} is not within {sent}..{sent_after}");
        compared += 1;
    }
    let interfaces = fs::read_to_string("/proc/net/dev")
        .unwrap()
        .lines()
        .skip(2)
        .filter(|l| !l.trim_start().starts_with("lo:"))
        .count();
    assert!(compared > 0 || interfaces == 0, "no interface was read");
}

#[test]
fn processes_are_counted_as_proc_counts_them() {
    let readings = Readings::take();
    let count = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok())
        .count();
    near("process.count", readings.get("process.count"), count as f64, 60.0);
}
