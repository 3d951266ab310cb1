//! Resources used by the generator's threads and the tracker's process (proc(5)).

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// CPU time at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    at: Instant,
    /// Of each worker.
    workers: Vec<Duration>,
    /// Of the tracker, where it can be seen.
    tracker: Option<Duration>,
}

/// CPU time between two samples, as shares of one core.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shares {
    pub(super) busiest: f64,
    pub(super) total: f64,
    pub(super) tracker: Option<f64>,
}

impl Sample {
    /// Looks now, at the threads named `worker-0` and so on, and at process `pid`.
    pub(super) fn take(workers: usize, pid: Option<u32>) -> Self {
        let mut of_workers = vec![Duration::ZERO; workers];
        for task in tasks(Path::new("/proc/self")) {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            let index = name.trim().strip_prefix("worker-").and_then(|index| index.parse().ok());
            if let Some(time) = index.and_then(|index: usize| of_workers.get_mut(index)) {
                *time = cpu_time(&task);
            }
        }
        let tracker = pid
            .map(|pid| tasks(Path::new(&format!("/proc/{pid}"))).map(|task| cpu_time(&task)).sum());
        Self { at: Instant::now(), workers: of_workers, tracker }
    }

    /// CPU time used since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Shares {
        let elapsed = (self.at - earlier.at).as_secs_f64().max(1e-3);
        let share =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / elapsed;
        let workers: Vec<f64> = self
            .workers
            .iter()
            .zip(&earlier.workers)
            .map(|(now, then)| share(*now, *then))
            .collect();
        Shares {
            busiest: workers.iter().copied().fold(0.0, f64::max),
            total: workers.iter().sum(),
            tracker: self.tracker.zip(earlier.tracker).map(|(now, then)| share(now, then)),
        }
    }
}

/// Current and maximum resident memory of a process, in bytes.
pub(super) fn memory(pid: u32) -> io::Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib = line.trim_start_matches(':').trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    // A process that has ended but was not waited for has no memory any more.
    Ok((of("VmRSS").unwrap_or(0), of("VmHWM").unwrap_or(0)))
}

fn tasks(process: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let tasks = fs::read_dir(process.join("task")).into_iter().flatten();
    tasks.flatten().map(|task| task.path())
}

/// Zero for a thread that has just ended.
fn cpu_time(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let ns = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other test names a thread like this.
    const INDEX: usize = 1000;

    /// The process is another one: of this one, threads of other tests end at any time.
    #[test]
    fn a_busy_worker_and_a_busy_process_are_seen() {
        let mut process =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let pid = Some(process.id());
        let busy = move || {
            let (before, started) = (Sample::take(INDEX + 1, pid), Instant::now());
            loop {
                std::hint::spin_loop();
                let shares = Sample::take(INDEX + 1, pid).since(&before);
                let both = shares.busiest > 0.0 && shares.tracker > Some(0.0);
                if both || started.elapsed() > Duration::from_secs(30) {
                    return shares;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("worker-{INDEX}"));
        let shares = thread.spawn(busy).unwrap().join().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(shares.busiest > 0.0 && shares.total >= shares.busiest, "{shares:?}");
        assert!(shares.tracker > Some(0.0), "{shares:?}");
    }

    #[test]
    fn memory_of_a_process_is_seen() {
        let (resident, most) = memory(std::process::id()).unwrap();
        assert!(resident > 0 && most >= resident);
        assert!(memory(0).is_err());
    }
}
