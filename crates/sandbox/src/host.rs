//! What this host has to give, and how it stands towards others.

pub mod firewall;
pub mod listeners;
pub mod rights;

use std::fs;

/// How much memory programs may still take before the host swaps or kills, in MiB: `MemAvailable` of
/// `/proc/meminfo` (`man 5 proc`). `None`: this host does not tell.
pub fn available_memory_mib() -> Option<u64> {
    parse(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_are_read() {
        let meminfo = "MemTotal:       24683016 kB\nMemFree:         8336528 kB\nMemAvailable:   24086936 kB\n";
        assert_eq!(parse(meminfo), Some(23_522));
        assert_eq!(parse("MemTotal: 1 kB\n"), None);
        assert!(available_memory_mib().is_some_and(|mib| mib > 0));
    }
}
