//! What a phase came to, and what its repeats have in common.

use serde_json::{Value, json};

/// One phase. Counted from when the tracker's queue is as long as it gets.
#[derive(Default)]
pub(crate) struct Figures {
    /// Announces sent per second.
    pub(crate) offered: f64,
    /// Announces answered per second, whenever they were sent.
    pub(crate) answered: f64,
    /// Announces that were never answered.
    pub(crate) unanswered: usize,
    /// Times from an announce to its answer.
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) max_us: u32,
    /// The processor time that the tracker got, per second; 0 if nobody asked.
    pub(crate) server_cpu: f64,
}

impl Figures {
    pub(crate) fn json(&self) -> Value {
        let Self { offered, answered, unanswered, p50_us, p99_us, max_us, server_cpu } = *self;
        json!({
            "offered_per_s": offered.round(), "answered_per_s": answered.round(),
            "unanswered": unanswered, "p50_us": p50_us, "p99_us": p99_us, "max_us": max_us,
            "server_cpu": server_cpu,
        })
    }
}

/// Repeats of a phase.
#[derive(Default)]
pub(crate) struct Rounds(Vec<Figures>);

impl Rounds {
    pub(crate) fn push(&mut self, figures: Figures) {
        self.0.push(figures);
    }

    /// Announces answered per second: the median.
    pub(crate) fn answered(&self) -> f64 {
        self.median(|figures| figures.answered)
    }

    /// Medians, but for the longest time, which is the longest of all; and each round by itself.
    pub(crate) fn json(&self) -> Value {
        let mut all = Figures {
            offered: self.median(|figures| figures.offered),
            answered: self.answered(),
            unanswered: self.0.iter().map(|figures| figures.unanswered).sum(),
            p50_us: self.median(|figures| f64::from(figures.p50_us)) as u32,
            p99_us: self.median(|figures| f64::from(figures.p99_us)) as u32,
            max_us: self.0.iter().map(|figures| figures.max_us).max().unwrap_or(0),
            server_cpu: self.median(|figures| figures.server_cpu),
        }
        .json();
        all["rounds"] = self.0.iter().map(Figures::json).collect();
        all
    }

    fn median(&self, of: fn(&Figures) -> f64) -> f64 {
        let mut sorted: Vec<f64> = self.0.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }
}
