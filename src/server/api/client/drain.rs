//! `ringtide ctl drain`: asks the process to stop, and waits until it has.

use std::time::{Duration, Instant};

use hyper::Method;

use super::CtlError;
use super::commands::Session;
use super::table::number;
use crate::server::api::Drain;
use crate::server::api::stats::Stats;
use crate::sys::process::PidFd;
use crate::values::units;

impl Session<'_> {
    /// Stops the process after `wait`. Returns when it has ended, or at once if `detach` is set.
    pub(super) fn drain(&mut self, wait: Option<&str>, detach: bool) -> Result<(), CtlError> {
        let stats = self.stats()?;
        let drain = Drain { wait: wait.map(ToOwned::to_owned) };
        self.post("/drain", &drain, |drain: Drain| match drain.wait {
            Some(wait) => format!("ringtide stops after {wait}\n"),
            None => "ringtide stops\n".to_owned(),
        })?;
        if detach {
            return Ok(());
        }
        // The process accepted it, so it parses.
        let wait = wait.and_then(|text| units::parse_duration(text).ok()).unwrap_or_default();
        self.follow(stats, wait)
    }

    fn follow(&mut self, mut before: Stats, wait: Duration) -> Result<(), CtlError> {
        let began = Instant::now();
        let pid = before.process.pid;
        // `None` if it is not visible here, for example from another container.
        let process = PidFd::open(pid).ok();
        let mut reported = began;
        // At first it goes on serving, which is shown; then it saves and no longer answers.
        while let Ok(stats) = self.stats() {
            if stats.process.pid != pid {
                return self.say(format!("stopped; process {} serves now\n", stats.process.pid));
            }
            if began.elapsed() > wait + END_TIME_MAX {
                return Err(still_there(pid, began));
            }
            if reported.elapsed() >= PROGRESS_INTERVAL {
                let left = wait.saturating_sub(began.elapsed());
                self.say(progress(&before, &stats, reported.elapsed(), left))?;
                before = stats;
                reported = Instant::now();
            }
            let ended = process.as_ref().map(|process| process.wait(PROGRESS_INTERVAL));
            if ended != Some(false) {
                // Only its answers show its end: what has ended may be another process that has
                // the same ID here.
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        // If it is not visible, the end of its answers has to do.
        let left = (wait + END_TIME_MAX).saturating_sub(began.elapsed());
        if process.is_some_and(|process| !process.wait(left)) {
            return Err(still_there(pid, began));
        }
        self.say(format!("stopped after {}\n", seconds(began.elapsed())))
    }

    fn stats(&self) -> Result<Stats, CtlError> {
        self.read(self.client.ask(Method::GET, "/stats", None::<&()>)?)
    }

    /// Prints nothing with JSON, where only the response to the request is printed.
    fn say(&mut self, text: String) -> Result<(), CtlError> {
        if self.json { Ok(()) } else { (self.print)(&text).map_err(CtlError::Output) }
    }
}

/// What has been served since the previous line, and how many connects were refused.
fn progress(before: &Stats, now: &Stats, elapsed: Duration, left: Duration) -> String {
    let replies = |stats: &Stats| -> u64 {
        let each = |name| stats.tracker.as_ref().and_then(|tracker| tracker.counters.get(name));
        ["announce_responses", "scrape_responses"].into_iter().filter_map(each).sum()
    };
    let refused = |stats: &Stats| -> u64 {
        let tracker = stats.tracker.as_ref();
        tracker.and_then(|tracker| tracker.drops.get("draining")).copied().unwrap_or(0)
    };
    let served = replies(now).saturating_sub(replies(before)) as f64 / elapsed.as_secs_f64();
    format!(
        "{} left, {} announces and scrapes per second, {} connects refused so far\n",
        seconds(left),
        number(served.round() as u64),
        number(refused(now)),
    )
}

fn still_there(pid: u32, began: Instant) -> CtlError {
    CtlError::StillThere { pid, waited: seconds(began.elapsed()) }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The longest `shutdown_timeout`, and the same again for saving the swarms.
const END_TIME_MAX: Duration = Duration::from_secs(120);
