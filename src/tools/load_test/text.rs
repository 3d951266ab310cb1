//! The report for people.

use std::fmt::Write as _;

use super::summary::{OperationSummary, Summary, percent};
use crate::values::units::grouped;

/// The report as text.
pub(super) fn text(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(summary, &mut text);
    text
}

fn write(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let Summary { setup, total, .. } = summary;
    let load = match setup.rate {
        Some(rate) => format!("open loop, {rate:.1} requests/s"),
        None => format!("closed loop, {} requests in flight each", setup.in_flight),
    };
    writeln!(out, "target      {}", setup.target)?;
    writeln!(
        out,
        "load        {} clients, {load}, {:.1} s, {} workers, seed {}",
        grouped(setup.clients as u64),
        summary.seconds,
        setup.workers,
        setup.seed
    )?;
    writeln!(
        out,
        "content     {} torrents ({}), {} peers",
        grouped(setup.torrents.into()),
        setup.popularity,
        grouped(setup.peers as u64)
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "requests    {} sent, {} of them retries",
        grouped(total.sent),
        grouped(total.retries)
    )?;
    let share = |count| percent(count, total.sent + summary.unsent);
    let succeeded = summary.success_percent;
    writeln!(out, "successful  {} ({succeeded:.3} %)", grouped(total.succeeded))?;
    writeln!(out, "failed      {} ({:.3} %)", grouped(total.failed), share(total.failed))?;
    for (reason, count) in &summary.failures {
        writeln!(out, "            {} {reason}", grouped(*count))?;
    }
    for message in &summary.error_messages {
        writeln!(out, "            the tracker said: {message:?}")?;
    }
    if summary.unsent > 0 {
        let unsent = grouped(summary.unsent);
        writeln!(out, "unsent      {unsent} ({:.3} %)", share(summary.unsent))?;
    }
    for (reason, count) in &summary.strays {
        writeln!(out, "stray       {} {reason}", grouped(*count))?;
    }
    let rate = grouped(summary.responses_per_second.round() as u64);
    writeln!(out, "rate        {rate} responses/s")?;
    writeln!(
        out,
        "bytes       {} sent, {} received, {:.1} peers in an answer",
        grouped(total.bytes_sent),
        grouped(total.bytes_received),
        summary.peers_per_answer
    )?;
    writeln!(out)?;
    table(summary, out)?;
    writeln!(out)?;
    usage(summary, out)?;
    writeln!(out, "verdict     {}", summary.verdict)?;
    if setup.rate.is_none() {
        writeln!(out, "            (closed loop: latency is that of a full queue)")?;
    }
    Ok(())
}

fn table(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{:10}{:>13}{:>13}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "latency ms",
        "sent",
        "successful",
        "failed",
        "min",
        "avg",
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max"
    )?;
    for name in ["connect", "announce", "scrape"] {
        if let Some(operation) = summary.operations.get(name) {
            row(name, operation, out)?;
        }
    }
    row("all", &summary.total, out)
}

fn row(name: &str, operation: &OperationSummary, out: &mut String) -> std::fmt::Result {
    let OperationSummary { sent, succeeded, failed, .. } = operation;
    let counts = [grouped(*sent), grouped(*succeeded), grouped(*failed)];
    let [sent, succeeded, failed] = counts;
    write!(out, "{name:10}{sent:>13}{succeeded:>13}{failed:>9}")?;
    if let Some(latency) = operation.latency_ns {
        for ns in latency.all() {
            write!(out, " {:>8.3}", ns as f64 / 1e6)?;
        }
    }
    writeln!(out)
}

fn usage(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let generator = &summary.generator;
    writeln!(
        out,
        "generator   {:.0} % of a core, its busiest thread {:.0} %",
        generator.cpu_percent, generator.busiest_cpu_percent
    )?;
    if let Some(tracker) = &summary.tracker {
        writeln!(
            out,
            "tracker     {:.0} % of a core, {:.0} ns per response, {:.1} MiB resident \
             (at most {:.1})",
            tracker.cpu_percent,
            tracker.cpu_ns_per_response,
            mib(tracker.rss_bytes),
            mib(tracker.rss_bytes_max)
        )?;
    }
    match &generator.limits[..] {
        [] => writeln!(out, "limit       not the generator"),
        limits => {
            writeln!(out, "limit       THE GENERATOR MAY BE THE LIMIT, not the tracker:")?;
            limits.iter().try_for_each(|limit| writeln!(out, "            {limit}"))
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::load_test::summary::tests::sample;

    #[test]
    fn the_reports_are_the_golden_ones() {
        assert_eq!(text(&sample(None)), include_str!("golden/closed.txt"));
        assert_eq!(text(&sample(Some(125.0))), include_str!("golden/open.txt"));
    }
}
