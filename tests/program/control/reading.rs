//! Metrics, figures and the description of the interface.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::asking::Controlled;
use crate::common::{Ask, Client, eventually, hash};
use crate::fuzz::description::{check, description};

#[test]
fn metrics_are_what_was_counted() {
    let process = Controlled::start("[relay]\n[[relay.rule]]\ninput = \"239.9.1.1:1@absent\"\n");
    let client = Client::new(process.binary.serving());
    client.announce(&Ask::leecher(hash(1), 1001));
    let metrics = eventually("the announce in the metrics", || {
        let (status, text) = process.get("/metrics");
        assert_eq!(status, 200);
        text.contains("ringtide_announces_ipv4_total{worker=\"0\"} 1").then_some(text)
    });
    for line in [
        "ringtide_drops_total{worker=\"0\",reason=\"bad_magic\"} 0",
        "ringtide_torrents{family=\"ipv4\"} 1",
        "ringtide_peers{family=\"ipv6\"} 0",
        "ringtide_worker_healthy{worker=\"0\"} 1",
        "ringtide_iteration_packets_bucket{le=\"+Inf\",worker=\"0\"} 2",
        "ringtide_kernel_drops_total 0",
        "ringtide_relay_packets_total{rule=\"rule-1\",direction=\"in\",\
         endpoint=\"239.9.1.1:1@absent\"} 0",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|present| present == line), "{line}: {metrics}");
    }
    let mut names = BTreeSet::new();
    for line in metrics.lines().filter(|line| !line.is_empty() && *line != "# EOF") {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        assert!(name.starts_with("ringtide_"), "{line}");
        if line.starts_with("# HELP ") {
            let (name, help) = name.split_once(' ').unwrap();
            assert!(names.insert(name) && help.ends_with('.'), "{line}");
        }
    }
    // Pools are told once there was a turn.
    let slots = metrics.lines().find(|line| line.starts_with("ringtide_send_slots_free")).unwrap();
    assert!(!slots.ends_with(" 0"), "{slots}");
    let cpu = metrics.lines().find(|line| line.starts_with("ringtide_cpu_seconds_total")).unwrap();
    assert!(cpu.split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 0.0);
}

/// What Grafana and the alerts ask for has to be there.
#[test]
fn dashboards_and_alerts_use_metrics_that_exist() {
    let process = Controlled::start(
        "client_statistics = true\ntorrent_sizes_interval = \"1s\"\n[relay]\nlatency = true\n\
         [[relay.rule]]\ninput = \"239.9.1.1:1@absent\"\n",
    );
    let metrics = eventually("torrents to be counted", || {
        let (_, metrics) = process.get("/metrics");
        metrics.contains("ringtide_torrent_peers_count").then_some(metrics)
    });
    let known: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        .collect();
    let root = env!("CARGO_MANIFEST_DIR");
    for file in ["grafana.json", "prometheus-alerts.yml"] {
        let text = std::fs::read_to_string(format!("{root}/contrib/{file}")).unwrap();
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("ringtide_"));
        for word in words {
            let ends = ["_total", "_bucket", "_sum", "_count"];
            let bare = ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            assert!(known.contains(bare), "{file}: {word}");
        }
    }
    let text = std::fs::read_to_string(format!("{root}/contrib/grafana.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value["panels"].as_array().unwrap().len() >= 10);
}

/// Every path and method of the description answers, no other method does, and what it says of
/// answers is so.
#[test]
fn the_description_is_the_interface() {
    let process = Controlled::start(
        "access_mode = \"deny\"\naccess_file = \"/dev/null\"\nclient_statistics = true\n\
         torrent_sizes_interval = \"1s\"\n[relay]\nlatency = true\n[[relay.rule]]\n\
         input = \"239.9.1.1:1@absent\"\noutputs = [{ to = \"239.9.1.2:1@absent\" }]\n",
    );
    eventually("torrents to be counted", || {
        let stats = process.ctl_json("stats");
        stats["tracker"]["torrent_sizes"].is_object().then_some(())
    });
    let root = env!("CARGO_MANIFEST_DIR");
    let description = description();
    let routes = std::fs::read_to_string(format!("{root}/src/server/api/router.rs")).unwrap();
    let paths = description["paths"].as_object().unwrap();
    for route in routes.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let nested = format!("/api/v1{route}");
        assert!(paths.contains_key(route) || paths.contains_key(&nested), "{route}");
    }
    for (path, operations) in paths {
        let operations = operations.as_object().unwrap();
        let concrete = path.replace("{info_hash}", &hash(1).to_string());
        for method in ["get", "put", "post", "patch", "delete"] {
            let Some(operation) = operations.get(method) else {
                let (status, _) = process.ask(&method.to_uppercase(), &concrete, "{}");
                assert_eq!(status, 405, "{method} {path}");
                continue;
            };
            if path == "/api/v1/drain" {
                continue;
            }
            let body = match path.as_str() {
                "/api/v1/log-level" => r#"{"filter":"info"}"#,
                "/api/v1/rules" if method == "put" => r#"{"rules":[]}"#,
                _ => "{}",
            };
            let (status, body) = process.ask(&method.to_uppercase(), &concrete, body);
            assert_eq!(status, 200, "{method} {path}: {body}");
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            if let Some(json) = content.get("application/json") {
                let value: Value = serde_json::from_str(&body).unwrap();
                check(&description, &json["schema"], &value, path);
            }
        }
    }
    let (status, _) = process.ask("POST", "/api/v1/drain", "{}");
    assert_eq!(status, 200);
}

#[test]
fn a_worker_that_hangs_is_unhealthy() {
    let process = Controlled::start("");
    let thread = std::fs::read_dir(format!("/proc/{}/task", process.binary.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_to_string(path.join("comm")).unwrap() == "worker-0\n")
        .unwrap();
    assert_eq!(process.get("/healthz").0, 200);
    // A debugger that attaches to one thread stops only that one.
    let id: i32 = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let held = Command::new("python3")
        .args(["-c", HOLD, &id.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = Held(held);
    let (status, body) = eventually("a failing health check", || {
        Some(process.get("/healthz")).filter(|(status, _)| *status == 503)
    });
    assert_eq!(status, 503);
    assert!(body.contains("worker 0 has been silent for"), "{body}");
    held.release();
    eventually("health", || (process.get("/healthz").0 == 200).then_some(()));
}

/// Attaches to a thread and lets it go when standard input ends (ptrace(2)).
const HOLD: &str = "\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])
if libc.ptrace(16, thread, None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000)
sys.stdin.read()
libc.ptrace(17, thread, None, None)
";

struct Held(Child);

impl Held {
    fn release(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Both fail only when it has gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
