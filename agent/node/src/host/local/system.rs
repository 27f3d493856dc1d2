//! What this machine runs on, by sysinfo.

use super::LocalHost;
use crate::host::System;

/// See [`crate::host::Host::system`]. A fixture tree stands for a machine that is not known.
pub(super) fn of(host: &LocalHost) -> System {
    if host.root != std::path::Path::new("/") {
        return System::default();
    }
    let memory = sysinfo::MemoryRefreshKind::nothing().with_ram();
    let memory = sysinfo::RefreshKind::nothing().with_memory(memory);
    System {
        os: sysinfo::System::long_os_version().unwrap_or_default(),
        kernel: sysinfo::System::kernel_version().unwrap_or_default(),
        arch: sysinfo::System::cpu_arch(),
        cpus: std::thread::available_parallelism().map_or(0, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: sysinfo::System::new_with_specifics(memory).map_or(0, |system| system.total_memory()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_kernel_says() {
        let system = of(&LocalHost::new());
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(system.kernel, release.trim());
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
        assert_eq!(system.memory_bytes, kib * 1024);
        assert!(!system.os.is_empty() && !system.arch.is_empty() && system.cpus > 0, "{system:?}");
        assert_eq!(of(&LocalHost::with_root("/nowhere".into())), System::default());
    }
}
