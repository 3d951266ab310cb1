//! The lines that tell what rules and outputs do while they run, and at the end.

use std::time::SystemTime;

use serde_json::Value;

use crate::common::{eventually, switched_off};
use crate::relay::hop::Hop;
use crate::relay::line::Line;
use crate::relay::ports::{pass, payloads, receiver, sender};

#[test]
fn reports_and_summary_have_every_figure() {
    if switched_off() {
        return;
    }
    let line = Line::new(1);
    let flags = "--report-interval 1s --input 239.1.1.1:5001@left \
                 --output 239.2.2.2:5002@right --output 239.3.3.3:5003@missing";
    // Earlier than any time that the process can know.
    let before = unix_seconds(SystemTime::now());
    let hop = Hop::relay(line.hop(1), flags);
    let report = |message: &str, output: &str, fits: fn(&Value) -> bool| {
        eventually("a report", || {
            let events = hop.events_of(message).into_iter();
            events.filter(|event| event["output"] == output).find(&fits)
        })
    };
    let quiet = report("relay out", OUT, |report| report["last_seen"] == "never");
    assert_eq!((&quiet["packets"], &quiet["drops"]), (&0.into(), &"0".into()));

    let from = sender(line.source(), "right", "239.1.1.1:5001");
    let to = receiver(line.sink(), "left", "239.2.2.2:5002");
    pass(&from, &[&to], &payloads(100, 1000), None);
    for (message, output) in [("relay in", ""), ("relay out", OUT)] {
        let busy = report(message, output, |report| report["packets"].as_u64() > Some(0));
        for field in ["bytes", "packets_per_s", "mbit_per_s"] {
            assert!(busy[field].as_f64() > Some(0.0), "no {field}: {busy}");
        }
        assert_eq!((&busy["rule"], &busy["drops"]), (&"rule-1".into(), &"0".into()));
        let seen = time_of(&busy["last_seen"]);
        assert!((before..=unix_seconds(SystemTime::now()) + 1).contains(&seen), "{busy}");
    }
    let down = report("relay out", DOWN, |report| report["drops"] != "0");
    assert!(down["drops"].as_str().unwrap().starts_with("output_down="), "{down}");
    assert_eq!((&down["packets"], &down["last_seen"]), (&0.into(), &"never".into()));

    let summary = hop.stop();
    assert_eq!(summary.outputs("rule-1")[1].drops, "output_down=100");
    for event in summary.lines("relay in summary").iter().chain(&summary.lines("relay out summary"))
    {
        let never = event["output"] == DOWN;
        assert_eq!(event["last_seen"] == "never", never, "{event}");
        assert!(never || time_of(&event["last_seen"]) >= before, "{event}");
    }
}

fn time_of(text: &Value) -> u64 {
    unix_seconds(humantime::parse_rfc3339(text.as_str().unwrap()).unwrap())
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

const OUT: &str = "239.2.2.2:5002@right";
const DOWN: &str = "239.3.3.3:5003@missing";
