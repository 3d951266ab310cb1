//! Formats of figures shared by the reports of all tools.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latency in nanoseconds, to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The minimum.
    pub min: u64,
    /// The average.
    pub avg: u64,
    /// The median.
    pub p50: u64,
    /// The 95th percentile.
    pub p95: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p99_9: u64,
    /// The maximum.
    pub max: u64,
}

impl Latency {
    /// All of them: minimum, average, then the percentiles in order.
    pub fn all(&self) -> [u64; 7] {
        let Self { min, avg, p50, p95, p99, p99_9, max } = *self;
        [min, avg, p50, p95, p99, p99_9, max]
    }

    /// Summarises a histogram of nanoseconds; `None` when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Some(Self {
            min: histogram.min(),
            avg: histogram.mean() as u64,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        })
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, avg, p50, p95, p99, p99_9, max } = *self;
        let named = [
            ("min", min),
            ("avg", avg),
            ("p50", p50),
            ("p95", p95),
            ("p99", p99),
            ("p99.9", p99_9),
        ];
        for (name, ns) in named {
            write!(f, "{name} {:.1}, ", ns as f64 / 1000.0)?;
        }
        write!(f, "max {:.1} us", max as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_in_nanoseconds_to_scripts_and_microseconds_to_people() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Latency::of(&histogram), None);
        for value in 1..=1000 {
            histogram.record(value).unwrap();
        }
        let latency = Latency::of(&histogram).unwrap();
        assert_eq!((latency.min, latency.avg, latency.max), (1, 500, 1000));
        assert_eq!((latency.p50, latency.p95, latency.p99, latency.p99_9), (500, 950, 990, 999));
        let json = serde_json::to_value(latency).unwrap();
        assert_eq!(json["p99.9"], 999);
        assert!(latency.to_string().ends_with("p99.9 1.0, max 1.0 us"), "{latency}");
    }
}
