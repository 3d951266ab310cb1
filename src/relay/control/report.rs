//! What the relay did: figures of rules and outputs, and the lines that say them.

use std::time::{Duration, UNIX_EPOCH};

use tracing::info;

use super::view::RelayView;
use crate::relay::stats::{FlowSnapshot, RelayDrop};
use crate::telemetry::rates::{named_counts, per_second, tenth};

/// Figures of everything.
#[derive(Clone, Debug, Default)]
pub struct RelayFigures {
    /// In the order of the rules.
    pub rules: Vec<RuleFigures>,
    /// What belongs to no rule.
    pub unmatched: FlowSnapshot,
    /// Frames that the kernel dropped because a packet socket's buffer was full.
    pub kernel_drops: u64,
}

/// Figures of one rule, all workers together.
#[derive(Clone, Debug)]
pub struct RuleFigures {
    /// The rule's name.
    pub name: String,
    /// What it took.
    pub input: FlowSnapshot,
    /// What each output sent, by its endpoint as text.
    pub outputs: Vec<(String, FlowSnapshot)>,
}

impl RelayView {
    /// The figures as they are now.
    pub fn figures(&self) -> RelayFigures {
        let rules = self.rules.iter().map(|rule| RuleFigures {
            name: rule.rule.name.clone(),
            input: rule.figures(),
            outputs: rule
                .outputs
                .iter()
                .map(|output| (output.output.endpoint.to_string(), output.figures()))
                .collect(),
        });
        RelayFigures {
            rules: rules.collect(),
            unmatched: self.unmatched(),
            kernel_drops: self.kernel_drops(),
        }
    }
}

/// Remembers the last report, so that the next one tells rates.
#[derive(Debug, Default)]
pub struct RelayReporter {
    last: RelayFigures,
}

impl RelayReporter {
    /// Writes a line for each rule and output, with rates over `elapsed` since the last report.
    pub fn report(&mut self, figures: RelayFigures, elapsed: Duration) {
        for rule in &figures.rules {
            let earlier = self.last.rules.iter().find(|earlier| earlier.name == rule.name);
            let input = earlier.map(|earlier| earlier.input).unwrap_or_default();
            log_rates("relay in", &rule.name, "", (&rule.input, &input), elapsed);
            for (endpoint, sent) in &rule.outputs {
                let before = earlier
                    .and_then(|earlier| earlier.outputs.iter().find(|(name, _)| name == endpoint))
                    .map(|(_, before)| *before)
                    .unwrap_or_default();
                log_rates("relay out", &rule.name, endpoint, (sent, &before), elapsed);
            }
        }
        let unmatched = drops(&figures.unmatched, &self.last.unmatched);
        let kernel_drops = figures.kernel_drops.saturating_sub(self.last.kernel_drops);
        if unmatched != "0" || kernel_drops > 0 {
            info!(drops = unmatched, kernel_drops, "relay");
        }
        self.last = figures;
    }
}

impl RelayFigures {
    /// Writes the totals to the log.
    pub fn log_totals(&self) {
        for rule in &self.rules {
            log_total("relay in summary", &rule.name, "", &rule.input);
            for (endpoint, sent) in &rule.outputs {
                log_total("relay out summary", &rule.name, endpoint, sent);
            }
        }
        let none = FlowSnapshot::default();
        info!(
            drops = drops(&self.unmatched, &none),
            kernel_drops = self.kernel_drops,
            "relay summary"
        );
    }
}

fn log_rates(
    line: &str,
    rule: &str,
    output: &str,
    (now, before): (&FlowSnapshot, &FlowSnapshot),
    elapsed: Duration,
) {
    let packets = now.packets.saturating_sub(before.packets);
    let bytes = now.bytes.saturating_sub(before.bytes);
    let sends = now.sends.saturating_sub(before.sends).max(1);
    info!(
        rule,
        output,
        packets,
        bytes,
        packets_per_s = per_second(packets as f64, elapsed),
        mbit_per_s = per_second(bytes as f64 * 8.0 / 1e6, elapsed),
        packets_per_send = tenth(packets as f64 / sends as f64),
        drops = drops(now, before),
        last_seen = last_seen(now),
        "{line}"
    );
}

fn log_total(line: &str, rule: &str, output: &str, total: &FlowSnapshot) {
    let none = FlowSnapshot::default();
    info!(
        rule,
        output,
        packets = total.packets,
        bytes = total.bytes,
        sends = total.sends,
        drops = drops(total, &none),
        last_seen = last_seen(total),
        "{line}"
    );
}

/// When a datagram last went through, in UTC (RFC 3339).
fn last_seen(flow: &FlowSnapshot) -> String {
    match flow.last_seen_s {
        0 => "never".to_owned(),
        seconds => {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            humantime::format_rfc3339_seconds(time).to_string()
        }
    }
}

/// What was dropped since, by reason: `corrupt=3 no_rule=1`, or `0`.
fn drops(now: &FlowSnapshot, before: &FlowSnapshot) -> String {
    named_counts(RelayDrop::ALL.iter().map(|reason| {
        (reason.name(), now.dropped(*reason).saturating_sub(before.dropped(*reason)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::stats::FlowCounters;

    #[test]
    fn the_last_datagram_has_a_time_of_day() {
        let counters = FlowCounters::default();
        assert_eq!(last_seen(&counters.snapshot()), "never");
        counters.seen(1_700_000_000);
        assert_eq!(last_seen(&counters.snapshot()), "2023-11-14T22:13:20Z");
    }

    /// A rule can leave and another can come under its name between two reports.
    #[test]
    fn figures_that_start_anew_are_no_negative_rates() {
        let counters = FlowCounters::default();
        counters.passed(5, 500);
        counters.dropped(RelayDrop::Oversized, 3);
        let used = counters.snapshot();
        assert_eq!(drops(&used, &FlowSnapshot::default()), "oversized=3");
        assert_eq!(drops(&FlowSnapshot::default(), &used), "0");
        let rule = |flow| RuleFigures {
            name: "rule-1".to_owned(),
            input: flow,
            outputs: vec![("239.1.1.1:1@a".to_owned(), flow)],
        };
        let mut reporter = RelayReporter::default();
        for flow in [used, FlowSnapshot::default()] {
            let figures = RelayFigures { rules: vec![rule(flow)], ..RelayFigures::default() };
            reporter.report(figures, Duration::from_secs(1));
        }
    }
}
