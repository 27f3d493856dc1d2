//! Memory that never goes to swap, into a core image or to a child, and is wiped when it is given back.

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

use super::VaultError;

/// Whole pages of it, zeros at first.
pub(super) struct Locked(MmapMut);

impl Locked {
    /// # Errors
    /// [`VaultError::Memory`]: the limit on locked memory, mostly.
    pub(super) fn new(bytes: usize) -> Result<Self, VaultError> {
        let refused = |e: std::io::Error| VaultError::Memory(e.to_string());
        let map = MmapMut::map_anon(bytes).map_err(refused)?;
        map.advise(Advice::DontDump).map_err(refused)?;
        map.advise(Advice::DontFork).map_err(refused)?;
        map.lock().map_err(refused)?;
        Ok(Self(map))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping that holds `address`, as proc_pid_smaps(5) has them.
    fn flags(address: usize) -> Vec<String> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut within = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((from, to)) = range.and_then(|(from, to)| Some((number(from)?, number(to)?))) {
                within = (from..to).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| within) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("no mapping holds {address:#x}");
    }

    #[test]
    fn the_kernel_says_that_it_is_locked_left_out_of_core_images_and_not_inherited() {
        let memory = Locked::new(10_000).unwrap();
        let flags = flags(memory.bytes().as_ptr() as usize);
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.iter().any(|f| f == flag), "{flag} is not in {flags:?}");
        }
        assert!(!format!("{memory:?}").contains('0'));
    }
}
