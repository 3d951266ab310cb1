//! How far the run is: a bar on a terminal, a line every five seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::values::units::grouped;

/// Shows how far the run is, on standard error.
pub(super) struct Meter {
    bar: Option<ProgressBar>,
    duration: Duration,
    started: Instant,
    shown: Instant,
    answered: u64,
}

impl Meter {
    pub(super) fn new(duration: Duration) -> Self {
        let now = Instant::now();
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(duration.as_millis() as u64);
            let style = ProgressStyle::with_template("[{bar:40}] {percent:>3} % {msg}");
            // The template is a constant; the default style would do as well.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, duration, started: now, shown: now, answered: 0 }
    }

    /// Shows the counts so far, when it is time to.
    pub(super) fn show(&mut self, answered: u64, failed: u64) {
        let interval = if self.bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
        let since = self.shown.elapsed();
        if since < interval {
            return;
        }
        let elapsed = self.started.elapsed();
        let rate = (answered - self.answered) as f64 / since.as_secs_f64();
        let rate = grouped(rate.round() as u64);
        (self.shown, self.answered) = (Instant::now(), answered);
        let (answered, failed) = (grouped(answered), grouped(failed));
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.min(self.duration).as_millis() as u64);
                bar.set_message(format!("{answered} answered, {rate}/s, {failed} failed"));
            }
            None => {
                // Progress that nobody can read is no reason to end the measurement.
                let _ = writeln!(
                    io::stderr(),
                    "{:.0} s: {answered} answered, {rate}/s, {failed} failed",
                    elapsed.as_secs_f64()
                );
            }
        }
    }

    /// Leaves the cursor at the beginning of an empty line.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

const BAR_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(5);
