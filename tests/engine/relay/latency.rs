//! How long datagrams take, where that is measured.

use std::path::Path;

use serde_json::Value;

use crate::common::{eventually, switched_off};
use crate::relay::control::{ctl_text, get, stats};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{pass, payloads, receiver, sender};

#[test]
fn each_send_is_timed_once_where_that_is_wanted() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let hop = Hop::with_file(line.hop(1), configuration(&socket, "latency = true"));
    let from = sender(line.source(), "right", "239.1.1.1:5001");
    let to =
        [receiver(line.sink(), "left", "239.2.2.2:5002"), receiver(line.sink(), "left", OTHER)];
    pass(&from, &[&to[0], &to[1]], &payloads(300, 1000), None);
    let rule = eventually("the end of all sends", || {
        let rule = rule(&socket);
        let outputs = rule["outputs"].as_array().unwrap();
        let all = outputs.iter().all(|output| output["packets"] == 300 && is_timed(output));
        (all && counted(&rule) == outputs.iter().map(counted).sum::<u64>()).then_some(rule)
    });
    assert!(counted(&rule) > 0, "{rule}");
    let metrics = get(&socket, "/metrics");
    let labels = "rule=\"rule-1\",direction=\"out\",endpoint=\"239.2.2.2:5002@right\"";
    let count = counted(&rule["outputs"][0]);
    let line = format!("ringtide_relay_latency_seconds_count{{{labels}}} {count}");
    assert!(metrics.lines().any(|present| present == line), "{line}: {metrics}");
    let text = ctl_text(&socket, &["stats"]);
    assert!(text.contains("p99 us") && text.contains('≤'), "{text}");
    drop(hop);
}

#[test]
fn nothing_is_timed_unless_told() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let _hop = Hop::with_file(line.hop(1), configuration(&socket, ""));
    let rule = rule(&socket);
    assert_eq!(
        (&rule["latency_us"], &rule["outputs"][0]["latency_us"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!get(&socket, "/metrics").contains("latency"));
    assert!(!ctl_text(&socket, &["stats"]).contains("p99"));
}

fn configuration(socket: &Path, more: &str) -> String {
    format!(
        "workers = 1\n[control]\nsocket = \"{}\"\n[relay]\n{more}\n[[relay.rule]]\n\
         input = \"239.1.1.1:5001@left\"\n\
         outputs = [{{ to = \"239.2.2.2:5002@right\" }}, {{ to = \"{OTHER}@right\" }}]\n",
        socket.display()
    )
}

fn rule(socket: &Path) -> Value {
    stats(socket)["relay"]["rules"][0].clone()
}

/// Whether every send was timed.
fn is_timed(output: &Value) -> bool {
    output["sends"].as_u64() == Some(counted(output))
}

fn counted(of: &Value) -> u64 {
    let buckets = of["latency_us"]["buckets"].as_array().unwrap();
    buckets.iter().map(|count| count.as_u64().unwrap()).sum()
}

const OTHER: &str = "239.2.2.3:5002";
