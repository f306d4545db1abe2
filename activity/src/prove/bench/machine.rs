//! What the system tells of a process and of itself, under `/proc`. Linux only; elsewhere it is an error, not a guess.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What a process has used in its life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// User and system time, to a hundredth of a second.
    pub(super) cpu: Duration,
    /// The most memory that was resident at a time, in bytes.
    pub(super) peak: u64,
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
pub(super) fn usage(pid: u32) -> Result<Usage> {
    let read = |file| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .with_context(|| format!("/proc/{pid}/{file} cannot be read: the benchmark needs Linux"))
    };
    let stat = read("stat")?;
    // The name, in brackets, may hold anything; user and system time are the 14th and 15th field, the name being the 2nd.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = read("status")?;
    let peak = kibibytes(&status, "VmHWM:").context("no VmHWM in the process's status")?;
    Ok(Usage { cpu: Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64), peak: peak * 1024 })
}

/// Cores, processor, memory, system, and how busy it is, in a line.
pub(super) fn description() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let cpuinfo = read("/proc/cpuinfo");
    let model = value(&cpuinfo, "model name").unwrap_or("unknown processor");
    let memory = kibibytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) as f64 / 1_048_576.0;
    let release = read("/etc/os-release");
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map_or("unknown system", |name| name.trim_matches('"'));
    let kernel = read("/proc/sys/kernel/osrelease");
    let loads = read("/proc/loadavg");
    let load = loads.split_whitespace().next().unwrap_or("unknown");
    format!("Measured on {cores} cores of {model}, {memory:.1} GiB of memory, {system}, Linux {}, load {load} before", kernel.trim())
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process() -> Result<()> {
        let usage = usage(std::process::id())?;
        assert!(usage.peak > 1024 * 1024, "{usage:?}");
        assert!(description().contains("GiB"));
        Ok(())
    }
}
