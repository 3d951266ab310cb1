//! Figures as log lines show them.

use std::time::Duration;

/// A rate over `elapsed`, to a tenth.
pub(crate) fn per_second(amount: f64, elapsed: Duration) -> f64 {
    tenth(amount / elapsed.as_secs_f64().max(0.001))
}

/// As many digits as a log line needs.
pub(crate) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The counts above zero, `corrupt=3 no_rule=1`, or `0` when there are none.
pub(crate) fn named_counts(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let named =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}={count}"));
    let text = named.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "0".into() } else { text }
}
