//! What Linux tells of the machine and its processes; nothing elsewhere, and nothing of processes on other machines.

use std::fs;
use std::time::Duration;

/// How long one tick of the times in `/proc` is: `USER_HZ` is 100 wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// How busy the machine was in the last minute, where it tells.
pub(crate) fn load() -> Option<f64> {
    let line = fs::read_to_string("/proc/loadavg").ok()?;
    line.split_whitespace().next()?.parse().ok()
}

/// The most memory that a process has had since its mark was set back, in KiB.
pub(crate) fn memory_peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sets that mark back to what the process has now.
pub(crate) fn reset_memory_peak(pid: u32) {
    // Where that is not allowed, the peak is the one of its whole life.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The time that a process has spent on cores.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let times = Times::of(pid)?;
    Some(TICK * times.own)
}

/// The time that a process and all its children have spent on cores, those that ended included.
pub(crate) fn cpu_of_family(pid: u32) -> Option<Duration> {
    let mother = Times::of(pid)?;
    let mut ticks = mother.own + mother.ended_children;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let child = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(times) = child.and_then(Times::of)
            && times.parent == pid
        {
            ticks += times.own;
        }
    }
    Some(TICK * ticks)
}

/// The process that started one.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    Some(Times::of(pid)?.parent)
}

/// Ticks of a process.
struct Times {
    parent: u32,
    own: u32,
    ended_children: u32,
}

impl Times {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Its name stands in parentheses and may hold anything; the state follows, and then numbers alone.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(Self {
            parent: number(1)?,
            own: number(11)? + number(12)?,
            ended_children: number(13)? + number(14)?,
        })
    }
}
