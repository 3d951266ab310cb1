//! Arrows between modules point down only.

use crate::scanner::crate_paths;
use crate::tree::File;

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    for (below, above) in LAYERS {
        if !file.path.starts_with(below) {
            continue;
        }
        for (at, path) in crate_paths(&file.code) {
            if above.iter().any(|module| is_within(&path, module)) {
                let place = file.place(at);
                findings.push(format!("{place}: {below} must not know crate::{path}"));
            }
        }
    }
    findings
}

fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What each part of the tree must not know.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "src/tracker/",
        &["uring", "epoll", "net::socket", "worker", "control", "process", "app", "tools", "relay"],
    ),
    ("src/tools/", &["uring", "epoll", "worker", "process", "app"]),
    (
        "src/relay/",
        &[
            "uring",
            "epoll",
            "net::socket",
            "worker",
            "control",
            "process",
            "app",
            "tools",
            "tracker",
        ],
    ),
    (
        "src/handler.rs",
        &["uring", "epoll", "worker", "control", "process", "app", "tools", "relay", "tracker"],
    ),
    (
        "src/telemetry/",
        &["uring", "epoll", "worker", "control", "process", "app", "tools", "relay", "tracker"],
    ),
    ("src/uring/", &["epoll", "control", "process", "app", "tools", "relay", "tracker"]),
    ("src/epoll/", &["uring", "control", "process", "app", "tools", "relay", "tracker"]),
    ("src/net/", &["uring", "epoll", "worker", "control", "process", "app", "tools", "tracker"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_that_point_up_are_found() {
        for (path, text, allowed) in [
            ("src/tracker/swarm.rs", "use crate::uring::Ring;", false),
            ("src/tracker/swarm.rs", "use crate::{handler::Now, net::socket};", false),
            ("src/tracker/swarm.rs", "use crate::net::{address::A, socket::B};", false),
            ("src/tracker/swarm.rs", "fn a() { crate::control::report(); }", false),
            ("src/relay/rule.rs", "use crate::tracker;", false),
            ("src/handler.rs", "use crate::worker::Workers;", false),
            ("src/telemetry/mod.rs", "use crate::tracker::handler;", false),
            ("src/tracker/swarm.rs", "use crate::net::address::A;", true),
            ("src/tracker/swarm.rs", "use crate::uring_like; // crate::uring", true),
            ("src/worker.rs", "use crate::uring::Ring;", true),
        ] {
            assert_eq!(findings(&File::new(path, text)).is_empty(), allowed, "{path}: {text}");
        }
    }
}
