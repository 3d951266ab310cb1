//! The report as one page: no scripts, nothing from the network, light and dark.

use std::fmt::Write as _;

use super::chart::{Chart, Line, Scale};
use super::summary::{OperationSummary, Point, Summary};
use super::text;
use crate::values::units::grouped;

/// The whole page.
pub(super) fn html(summary: &Summary) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(summary, &mut page);
    page
}

fn write(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let target = escaped(&summary.setup.target);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>Load test of {target}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>"
    )?;
    writeln!(out, "<h1>Load test of {target}</h1>")?;
    let grade = format!("{:?}", summary.verdict.grade).to_lowercase();
    writeln!(out, "<p class=\"verdict {grade}\">{}</p>", escaped(&summary.verdict.to_string()))?;
    tiles(summary, out)?;
    for limit in &summary.generator.limits {
        let limit = escaped(limit);
        writeln!(out, "<p class=\"verdict fair\">The generator may be the limit: {limit}</p>")?;
    }
    charts(summary).iter().for_each(|chart| out.push_str(&chart.svg()));
    table(summary, out)?;
    writeln!(out, "<h2>Full report</h2>\n<pre>{}</pre>", escaped(&text::text(summary)))?;
    writeln!(out, "</main>\n</body>\n</html>")
}

fn tiles(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let latency = summary.total.latency_ns;
    let ms = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| format!("{:.2} ms", ns as f64 / 1e6));
    writeln!(out, "<dl>")?;
    for (name, value) in [
        ("responses per second", grouped(summary.responses_per_second.round() as u64)),
        ("successful", format!("{:.3} %", summary.success_percent)),
        ("P50", ms(latency.map(|latency| latency.p50))),
        ("P99", ms(latency.map(|latency| latency.p99))),
        ("generator's CPU", format!("{:.0} %", summary.generator.cpu_percent)),
    ] {
        writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    writeln!(out, "</dl>")
}

fn charts(summary: &Summary) -> [Chart; 3] {
    let line = |name, class, value: fn(&Point) -> f64| {
        let points = summary.series.iter().map(|point| (point.at_s, value(point)));
        Line { name, class, points: points.collect() }
    };
    let distribution =
        summary.distribution.iter().map(|step| (step.percentile, ms(step.latency_ns))).collect();
    [
        Chart {
            title: "Throughput over time",
            x: ("seconds", Scale::Time),
            y: ("per second", Scale::Linear),
            lines: vec![
                line("correct answers", "a", |point| point.responses_per_second),
                line("failures", "d", |point| point.failures_per_second),
            ],
        },
        Chart {
            title: "Latency over time",
            x: ("seconds", Scale::Time),
            y: ("ms", Scale::Logarithmic),
            lines: vec![
                line("P50", "a", |point| ms(point.p50)),
                line("P99", "b", |point| ms(point.p99)),
                line("max", "c", |point| ms(point.max)),
            ],
        },
        Chart {
            title: "Distribution of latency",
            x: ("percentile of answers", Scale::Nines),
            y: ("ms", Scale::Logarithmic),
            lines: vec![Line { name: "all operations", class: "a", points: distribution }],
        },
    ]
}

fn table(summary: &Summary, out: &mut String) -> std::fmt::Result {
    writeln!(out, "<h2>By operation</h2>\n<div class=\"wide\"><table><thead><tr>")?;
    let columns = ["", "sent", "successful", "failed", "retries"];
    let latencies = ["min ms", "avg ms", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms"];
    for column in columns.into_iter().chain(latencies) {
        write!(out, "<th>{column}</th>")?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for name in ["connect", "announce", "scrape"] {
        if let Some(operation) = summary.operations.get(name) {
            row(name, operation, out)?;
        }
    }
    row("all", &summary.total, out)?;
    writeln!(out, "</tbody></table></div>")
}

fn row(name: &str, operation: &OperationSummary, out: &mut String) -> std::fmt::Result {
    write!(out, "<tr><th>{name}</th>")?;
    let OperationSummary { sent, succeeded, failed, retries, .. } = operation;
    for count in [sent, succeeded, failed, retries] {
        write!(out, "<td>{}</td>", grouped(*count))?;
    }
    for ns in operation.latency_ns.iter().flat_map(|latency| latency.all()) {
        write!(out, "<td>{:.3}</td>", ms(ns))?;
    }
    writeln!(out, "</tr>")
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Escapes text that comes from a tracker or a user.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #fff; --ink: #1d232b; --soft: #5c6670;
  --rule: #dfe3e6; --a: #0b6bcb; --b: #b45309; --c: #8a4fbf; --d: #c62828;
  --excellent: #1b7f3b; --good: #2f6fb0; --fair: #a65f00; --poor: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --card: #1c2228; --ink: #e6e9ec;
  --soft: #a0abb5; --rule: #333c45; --a: #6cb2ff; --b: #f0a64b; --c: #c79bf2; --d: #ff7b72;
  --excellent: #56d27e; --good: #7cb8f5; --fair: #f0a64b; --poor: #ff7b72; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 24px; margin: 0 0 12px; } h2 { font-size: 18px; margin: 28px 0 8px; }
.verdict { border-left: 5px solid; background: var(--card); padding: 8px 14px; margin: 8px 0; }
.excellent { border-color: var(--excellent); } .good { border-color: var(--good); }
.fair { border-color: var(--fair); } .poor { border-color: var(--poor); }
dl { display: flex; flex-wrap: wrap; gap: 10px; margin: 14px 0; }
dl div { flex: 1 1 150px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 8px 14px; }
dt { color: var(--soft); font-size: 13px; } dd { margin: 0; font-size: 22px; }
figure { margin: 16px 0; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 12px; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 24px; font-weight: 600; }
.legend { display: flex; gap: 16px; font-weight: 400; font-size: 14px; }
span.a { color: var(--a); } span.b { color: var(--b); } span.c { color: var(--c); }
span.d { color: var(--d); }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: var(--rule); }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.a { stroke: var(--a); } polyline.b { stroke: var(--b); }
polyline.c { stroke: var(--c); } polyline.d { stroke: var(--d); }
circle.a { fill: var(--a); } circle.b { fill: var(--b); }
circle.c { fill: var(--c); } circle.d { fill: var(--d); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: 14px; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 500; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 12px;
  overflow-x: auto; font-size: 13px; }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::load_test::summary::tests::sample;

    #[test]
    fn the_page_is_whole_and_asks_nobody_for_anything() {
        let page = html(&sample(None));
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert_eq!(page.matches("<svg").count(), 3);
        for (open, close) in [("<figure", "</figure>"), ("<tr", "</tr>"), ("<div", "</div>")] {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
        }
        for foreign in ["http:", "https:", "<script", "url(", "@import", "NaN", "inf"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("&lt;denied&gt;") && !page.contains("<denied>"));
    }
}
