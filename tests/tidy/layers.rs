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
    ("src/tools/", &["uring", "epoll", "process", "app"]),
    ("src/tools/traffic/", &["engine", "worker"]),
    (
        "src/tracker/",
        &[
            "uring",
            "epoll",
            "engine",
            "net::socket",
            "worker",
            "control",
            "state",
            "process",
            "app",
            "tools",
            "relay",
        ],
    ),
    (
        "src/relay/",
        &[
            "uring",
            "epoll",
            "engine",
            "net::socket",
            "worker",
            "control",
            "state",
            "process",
            "app",
            "tools",
            "tracker",
        ],
    ),
    (
        "src/state/",
        &["uring", "epoll", "engine", "worker", "control", "process", "app", "tools", "relay"],
    ),
    (
        "src/privileges/",
        &[
            "uring", "epoll", "engine", "handler", "net", "worker", "config", "broker", "control",
            "process", "app", "tools", "relay", "tracker",
        ],
    ),
    (
        "src/broker/",
        &[
            "uring", "epoll", "engine", "worker", "control", "process", "app", "tools", "relay",
            "tracker",
        ],
    ),
    // The engines stand side by side.
    (
        "src/uring/",
        &["epoll", "worker", "control", "state", "process", "app", "tools", "relay", "tracker"],
    ),
    (
        "src/epoll/",
        &["uring", "worker", "control", "state", "process", "app", "tools", "relay", "tracker"],
    ),
    (
        "src/engine/",
        &[
            "uring", "epoll", "worker", "control", "state", "process", "app", "tools", "relay",
            "tracker",
        ],
    ),
    (
        "src/handler.rs",
        &[
            "uring", "epoll", "engine", "worker", "control", "state", "process", "app", "tools",
            "relay", "tracker",
        ],
    ),
    (
        "src/telemetry/",
        &[
            "uring", "epoll", "engine", "handler", "worker", "control", "state", "process", "app",
            "tools", "relay", "tracker",
        ],
    ),
    (
        "src/net/",
        &[
            "uring",
            "epoll",
            "engine",
            "handler",
            "telemetry",
            "worker",
            "control",
            "state",
            "process",
            "app",
            "tools",
            "relay",
            "tracker",
        ],
    ),
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
            ("src/engine/plan.rs", "use crate::uring::Ring;", false),
            ("src/uring/ring.rs", "use crate::epoll::EpollLoop;", false),
            ("src/net/lent.rs", "use crate::handler::SocketId;", false),
            ("src/telemetry/mod.rs", "use crate::tracker::handler;", false),
            ("src/uring/ring.rs", "use crate::engine::WorkerPlan;", true),
            ("src/tracker/swarm.rs", "use crate::net::address::A;", true),
            ("src/tracker/swarm.rs", "use crate::uring_like; // crate::uring", true),
            ("src/worker.rs", "use crate::uring::Ring;", true),
        ] {
            assert_eq!(findings(&File::new(path, text)).is_empty(), allowed, "{path}: {text}");
        }
    }
}
