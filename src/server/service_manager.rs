//! What a service manager is told: that the process is ready, reloads, stops, and is alive
//! (sd_notify(3)). Without one that listens, nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::debug;

/// The service manager, as long as the process runs.
#[derive(Debug)]
pub struct ServiceManager {
    /// How often it wants to hear that all is well; `None` when it does not.
    interval: Option<Duration>,
    due: Instant,
    /// When each worker's loop last ticked, as of the last word.
    beats: Vec<u64>,
}

impl ServiceManager {
    /// Tells that the process serves.
    pub fn ready() -> Self {
        tell(&[NotifyState::Ready]);
        // Half the time, as sd_watchdog_enabled(3) advises; a beat has seconds.
        let interval = sd_notify::watchdog_enabled().map(|time| time / 2);
        let interval = interval.map(|time| time.max(INTERVAL_MIN));
        Self { interval, due: Instant::now(), beats: Vec::new() }
    }

    /// Tells that the configuration is being read again, until the result is dropped.
    pub fn reloading() -> Reloading {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!(%error, "the service manager is not told of the reload"),
        }
        Reloading
    }

    /// Tells that the process stops in good order.
    pub fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// How long until [`Self::watch`] has something to tell.
    pub fn due(&self) -> Option<Duration> {
        self.interval.map(|_| self.due.saturating_duration_since(Instant::now()))
    }

    /// Tells that all is well, when it is time and every worker's loop ticked since the last
    /// time: `beats` are the seconds of their last ticks, one for each worker. Otherwise the
    /// service manager is left to conclude what it must.
    pub fn watch(&mut self, beats: impl Iterator<Item = u64>) {
        let Some(interval) = self.interval else { return };
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + interval;
        let beats: Vec<u64> = beats.collect();
        if have_advanced(&self.beats, &beats) {
            tell(&[NotifyState::Watchdog]);
            self.beats = beats;
        }
    }
}

/// A reload that goes on.
#[derive(Debug)]
pub struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        tell(&[NotifyState::Ready]);
    }
}

fn have_advanced(before: &[u64], now: &[u64]) -> bool {
    before.iter().zip(now).all(|(before, now)| now > before)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager cannot be told");
    }
}

/// Beats are whole seconds: between two words each has to be another one.
const INTERVAL_MIN: Duration = Duration::from_millis(1100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_to_have_ticked() {
        assert!(have_advanced(&[], &[5, 6]));
        assert!(have_advanced(&[5, 6], &[6, 7]));
        assert!(!have_advanced(&[5, 6], &[6, 6]));
        assert!(!have_advanced(&[5, 6], &[5, 7]));
    }

    #[test]
    fn nothing_is_due_where_nobody_watches() {
        let mut manager = ServiceManager { interval: None, due: Instant::now(), beats: vec![] };
        assert_eq!(manager.due(), None);
        manager.watch([1].into_iter());
        assert!(manager.beats.is_empty());
        manager.interval = Some(Duration::from_secs(60));
        manager.watch([1].into_iter());
        assert_eq!(manager.beats, [1]);
        manager.watch([9].into_iter());
        assert_eq!(manager.beats, [1], "it is not time yet");
        assert!(manager.due().is_some_and(|due| due > Duration::from_secs(30)));
    }
}
