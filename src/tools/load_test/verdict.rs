//! A grade for the tracker, by published guidance for trackers' response times.

use serde::Serialize;

use crate::tools::figures::Latency;

/// How well a tracker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// P50 below 1 ms, P95 below 2 ms, P99 below 5 ms; more than 99.9 % answered.
    Excellent,
    /// P50 below 5 ms, P95 below 10 ms, P99 below 20 ms; more than 99.9 % answered.
    Good,
    /// P50 below 20 ms, P95 below 50 ms, P99 below 100 ms; more than 99 % answered.
    Fair,
    /// Anything else.
    Poor,
}

/// The grade with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The grade.
    pub grade: Grade,
    /// What keeps it from a better one; empty for the best.
    pub reasons: Vec<String>,
}

/// The requirements of a grade: latency in milliseconds at three percentiles, and the share of
/// correct answers in percent.
struct Limits {
    grade: Grade,
    latency_ms: [u64; 3],
    success_percent: f64,
}

const GRADES: [Limits; 3] = [
    Limits { grade: Grade::Excellent, latency_ms: [1, 2, 5], success_percent: 99.9 },
    Limits { grade: Grade::Good, latency_ms: [5, 10, 20], success_percent: 99.9 },
    Limits { grade: Grade::Fair, latency_ms: [20, 50, 100], success_percent: 99.0 },
];

/// The minimum share of correct answers, in percent, for a run to succeed.
pub(super) const SUCCESS_PERCENT_MIN: f64 = 99.9;

impl Verdict {
    /// The best grade whose limits are all kept.
    pub fn of(latency: Option<Latency>, success_percent: f64) -> Self {
        let Some(latency) = latency else {
            return Self { grade: Grade::Poor, reasons: vec!["nothing was answered".to_owned()] };
        };
        let mut reasons = Vec::new();
        for limits in &GRADES {
            let missed = limits.missed(latency, success_percent);
            if missed.is_empty() {
                return Self { grade: limits.grade, reasons };
            }
            reasons = missed;
        }
        Self { grade: Grade::Poor, reasons }
    }
}

impl Limits {
    fn missed(&self, latency: Latency, success_percent: f64) -> Vec<String> {
        let percentiles = [("P50", latency.p50), ("P95", latency.p95), ("P99", latency.p99)];
        let slow = percentiles.into_iter().zip(self.latency_ms);
        let slow = slow.filter(|((_, ns), limit_ms)| *ns >= limit_ms * 1_000_000);
        let slow = slow.map(|((name, ns), limit_ms)| {
            format!("{name} is {:.2} ms, not below {limit_ms} ms", ns as f64 / 1e6)
        });
        let lossy = (success_percent <= self.success_percent).then(|| {
            format!(
                "{success_percent:.3} % answered correctly, not more than {} %",
                self.success_percent
            )
        });
        slow.chain(lossy).collect()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grade = match self.grade {
            Grade::Excellent => "excellent",
            Grade::Good => "good",
            Grade::Fair => "fair",
            Grade::Poor => "poor",
        };
        f.write_str(grade)?;
        match &self.reasons[..] {
            [] => f.write_str(": P50 < 1 ms, P95 < 2 ms, P99 < 5 ms, more than 99.9 % answered"),
            reasons => write!(f, ": {}", reasons.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(p50_us: u64, p95_us: u64, p99_us: u64) -> Option<Latency> {
        let [p50, p95, p99] = [p50_us, p95_us, p99_us].map(|us| us * 1000);
        Some(Latency { min: 1, avg: p50, p50, p95, p99, p99_9: p99, max: p99 })
    }

    #[test]
    fn each_grade_has_its_limits() {
        for (latency, success, grade) in [
            (latency(999, 1999, 4999), 100.0, Grade::Excellent),
            (latency(1000, 1999, 4999), 100.0, Grade::Good),
            (latency(100, 2000, 4999), 100.0, Grade::Good),
            (latency(100, 200, 5000), 100.0, Grade::Good),
            (latency(100, 200, 300), 99.9, Grade::Fair),
            (latency(4999, 9999, 20_000), 100.0, Grade::Fair),
            (latency(20_000, 30_000, 40_000), 100.0, Grade::Poor),
            (latency(100, 200, 300), 99.0, Grade::Poor),
            (None, 0.0, Grade::Poor),
        ] {
            assert_eq!(Verdict::of(latency, success).grade, grade, "{latency:?} {success}");
        }
    }

    #[test]
    fn the_reason_is_what_the_next_better_grade_lacks() {
        let verdict = Verdict::of(latency(100, 2500, 3000), 100.0);
        assert_eq!(verdict.to_string(), "good: P95 is 2.50 ms, not below 2 ms");
        let verdict = Verdict::of(latency(100, 200, 300), 95.5);
        assert_eq!(verdict.to_string(), "poor: 95.500 % answered correctly, not more than 99 %");
        let verdict = Verdict::of(latency(100, 200, 300), 100.0);
        assert!(verdict.to_string().starts_with("excellent: P50 < 1 ms"), "{verdict}");
    }
}
