//! Figures for people: totals, and rates since the figures before.

mod peers;

use std::time::Duration;

use super::table::{Table, bytes, number};
use crate::server::api::stats::{
    Counts, FlowStats, Histogram, RelayStats, Stats, TrackerStats, WorkerStats,
};

/// Figures before, and how long ago they were taken.
pub(super) type Before<'a> = Option<(&'a Stats, Duration)>;

/// All figures as tables.
pub(super) fn render(stats: &Stats, before: Before<'_>) -> String {
    let mut text = process_line(stats, before);
    text.push_str(&workers(&stats.workers, before));
    if let Some(tracker) = &stats.tracker {
        text.push_str(&render_tracker(tracker, before));
    }
    if let Some(relay) = &stats.relay {
        text.push_str(&render_relay(relay, before));
    }
    text
}

fn process_line(stats: &Stats, before: Before<'_>) -> String {
    let process = &stats.process;
    let uptime = humantime::format_duration(Duration::from_secs(process.uptime_s));
    let cpu = match before {
        Some((before, elapsed)) => {
            let used = process.cpu_s - before.process.cpu_s;
            format!("{:.0} % CPU", used / elapsed.as_secs_f64().max(0.001) * 100.0)
        }
        None => format!("{:.1} s CPU", process.cpu_s),
    };
    let draining = if process.draining { ", about to stop" } else { "" };
    let features = match &process.io_uring_features[..] {
        [] => String::new(),
        features => format!(" ({})", features.join(", ")),
    };
    format!(
        "ringtide {} on {}{features}, pid {}, up {uptime}, {cpu}, {} resident{draining}\n{}\n",
        process.version,
        process.engine,
        process.pid,
        bytes(process.rss_bytes),
        process.privileges,
    )
}

fn workers(workers: &[WorkerStats], before: Before<'_>) -> String {
    let mut table = Table::new(
        2,
        &[
            "worker",
            "state",
            "core",
            "received",
            "sent",
            "frames",
            "drops",
            "iterations",
            "torrents",
        ],
    );
    let count = |worker: &WorkerStats, name: &str| {
        let earlier = before.and_then(|(stats, elapsed)| {
            Some((*stats.workers.get(worker.index)?.counters.get(name)?, elapsed))
        });
        amount(worker.counters.get(name).copied().unwrap_or(0), earlier)
    };
    for worker in workers {
        let state = match worker.healthy {
            true => "alive".to_owned(),
            false => format!("silent for {} s", worker.heartbeat_age_s),
        };
        let earlier = before.and_then(|(stats, elapsed)| {
            Some((total(&stats.workers.get(worker.index)?.drops), elapsed))
        });
        table.row(vec![
            worker.index.to_string(),
            state,
            worker.core.map_or_else(|| "any".to_owned(), |core| core.to_string()),
            count(worker, "packets_received"),
            count(worker, "packets_sent"),
            count(worker, "frames_received"),
            amount(total(&worker.drops), earlier),
            count(worker, "iterations"),
            number(worker.shard.torrents()),
        ]);
    }
    let title = if before.is_some() { "workers, per second" } else { "workers" };
    format!("\n{title}\n{}", table.render())
}

fn render_tracker(tracker: &TrackerStats, before: Before<'_>) -> String {
    let before = before
        .and_then(|(stats, elapsed)| stats.tracker.as_ref().map(|tracker| (tracker, elapsed)));
    let holdings = tracker.holdings;
    let mut text = format!(
        "\ntracker on {}, steering {}, access list {} ({})\n  {} torrents, {} peers ({} IPv4, {} \
         IPv6) in {} of {}, {} dropped by the kernel\n",
        tracker.listen.join(", "),
        tracker.steering,
        tracker.access_mode,
        number(tracker.access_hashes),
        number(holdings.torrents()),
        number(holdings.peers()),
        number(holdings.peers_ipv4),
        number(holdings.peers_ipv6),
        bytes(holdings.memory_bytes),
        bytes(tracker.memory_limit_bytes),
        number(tracker.kernel_drops),
    );
    let mut table = Table::new(1, &["requests", "total", "per second"]);
    for (name, parts) in REQUESTS {
        let sum = |counters: &Counts| parts.iter().filter_map(|part| counters.get(*part)).sum();
        let now = sum(&tracker.counters);
        let earlier = before.map(|(before, elapsed)| (sum(&before.counters), elapsed));
        table.row(vec![name.to_string(), number(now), rate(now, earlier)]);
    }
    text.push_str(&table.render());
    text.push_str(&drops(&tracker.drops, before.map(|(before, elapsed)| (&before.drops, elapsed))));
    text.push_str(&peers::clients(tracker));
    text.push_str(&peers::torrent_sizes(tracker));
    text
}

fn render_relay(relay: &RelayStats, before: Before<'_>) -> String {
    let before =
        before.and_then(|(stats, elapsed)| stats.relay.as_ref().map(|relay| (relay, elapsed)));
    let mut header =
        vec!["rule", "", "endpoint", "packets", "bytes", "drops", "packets/s", "Mbit/s"];
    if relay.rules.iter().any(|rule| rule.latency_us.is_some()) {
        header.extend(["p50 us", "p99 us"]);
    }
    let mut table = Table::new(3, &header);
    for rule in &relay.rules {
        let earlier = before.and_then(|(before, elapsed)| {
            before
                .rules
                .iter()
                .find(|earlier| earlier.name == rule.name)
                .map(|rule| (rule, elapsed))
        });
        let flow = earlier.map(|(rule, elapsed)| (&rule.flow, elapsed));
        let endpoint = format!("{}{}", rule.input, why_down(rule.down.as_ref()));
        let mut cells = vec![rule.name.clone(), "in".to_owned(), endpoint];
        cells.extend(flow_cells(&rule.flow, flow));
        let before = earlier.and_then(|(rule, _)| rule.latency_us.as_ref());
        cells.extend(latency_cells(rule.latency_us.as_ref(), before));
        table.row(cells);
        for output in &rule.outputs {
            let earlier = earlier.and_then(|(rule, elapsed)| {
                let earlier = rule.outputs.iter().find(|earlier| earlier.to == output.to)?;
                Some((earlier, elapsed))
            });
            let flow = earlier.map(|(output, elapsed)| (&output.flow, elapsed));
            let endpoint = format!("{}{}", output.to, why_down(output.down.as_ref()));
            let mut cells = vec![String::new(), "out".to_owned(), endpoint];
            cells.extend(flow_cells(&output.flow, flow));
            let before = earlier.and_then(|(output, _)| output.latency_us.as_ref());
            cells.extend(latency_cells(output.latency_us.as_ref(), before));
            table.row(cells);
        }
    }
    let mut text = format!(
        "\nrelay, {} rules, {} dropped by the kernel\n",
        relay.rules.len(),
        number(relay.kernel_drops)
    );
    if !table.is_empty() {
        text.push_str(&table.render());
    }
    let unmatched = before.map(|(before, elapsed)| (&before.unmatched, elapsed));
    text.push_str(&drops(&relay.unmatched, unmatched));
    text
}

fn why_down(reason: Option<&String>) -> String {
    reason.map_or_else(String::new, |why| format!(" (down: {why})"))
}

fn flow_cells(flow: &FlowStats, before: Option<(&FlowStats, Duration)>) -> Vec<String> {
    let megabits = before.map_or_else(String::new, |(before, elapsed)| {
        let bits = flow.bytes.saturating_sub(before.bytes) as f64 * 8.0;
        format!("{:.1}", bits / 1e6 / elapsed.as_secs_f64().max(0.001))
    });
    vec![
        number(flow.packets),
        bytes(flow.bytes),
        number(total(&flow.drops)),
        rate(flow.packets, before.map(|(before, elapsed)| (before.packets, elapsed))),
        megabits,
    ]
}

/// The median and the 99th percentile of the latency since the previous figures. Empty where it is
/// not measured.
fn latency_cells(latency: Option<&Histogram>, before: Option<&Histogram>) -> Vec<String> {
    let Some(latency) = latency else { return Vec::new() };
    let latency = before.map_or_else(|| latency.clone(), |before| latency.since(before));
    let show = |share| match latency.quantile(share) {
        Some(us) => format!("≤ {}", number(us)),
        None if latency.count() == 0 => String::new(),
        None => "over 1 s".to_owned(),
    };
    vec![show(0.5), show(0.99)]
}

/// The reasons with at least one drop.
fn drops(counts: &Counts, before: Option<(&Counts, Duration)>) -> String {
    let mut table = Table::new(1, &["drops", "total", "per second"]);
    for (reason, count) in counts.iter().filter(|(_, count)| **count > 0) {
        let earlier =
            before.map(|(before, elapsed)| (before.get(reason).copied().unwrap_or(0), elapsed));
        table.row(vec![reason.clone(), number(*count), rate(*count, earlier)]);
    }
    if table.is_empty() { "  no drops\n".to_owned() } else { table.render() }
}

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// The rate if there is an earlier figure, else the total.
fn amount(now: u64, before: Option<(u64, Duration)>) -> String {
    if before.is_some() { rate(now, before) } else { number(now) }
}

/// Per second; empty without an earlier figure. Never negative when figures start from 0 again.
fn rate(now: u64, before: Option<(u64, Duration)>) -> String {
    before.map_or_else(String::new, |(before, elapsed)| {
        let rate = now.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001);
        number(rate.round() as u64)
    })
}

/// The rows of the tracker's table, each a sum of counters.
const REQUESTS: &[(&str, &[&str])] = &[
    ("connects", &["connects_ipv4", "connects_ipv6"]),
    ("announces", &["announces_ipv4", "announces_ipv6"]),
    ("scrapes", &["scrapes_ipv4", "scrapes_ipv6"]),
    ("errors", &["error_responses"]),
    ("denied", &["announces_denied"]),
    ("evicted", &["torrents_evicted"]),
    ("not stored", UNSTORED),
    ("completed", &["completed"]),
];

/// Announces answered without storing the peer.
const UNSTORED: &[&str] = &[
    "unstored_port_zero",
    "unstored_torrent_cap",
    "unstored_peer_cap",
    "unstored_swarm_cap",
    "unstored_memory_limit",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Counter;

    #[test]
    fn what_is_shown_is_counted() {
        for name in REQUESTS.iter().flat_map(|(_, parts)| *parts) {
            assert!(Counter::ALL.iter().any(|counter| counter.name() == *name), "{name}");
        }
    }

    #[test]
    fn rates_are_per_second_and_never_negative() {
        let two = Duration::from_secs(2);
        assert_eq!(rate(10, Some((0, two))), "5");
        assert_eq!(rate(0, Some((10, two))), "0");
        assert_eq!(rate(10, None), "");
        assert_eq!(amount(10, None), "10");
    }
}
