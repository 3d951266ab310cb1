//! `ringtide ctl`, command by command.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::asking::{Controlled, ctl};
use crate::common::{Ask, Binary, Client, RINGTIDE, eventually, hash, ringtide_of_nobody};

#[test]
fn it_shows_what_runs() {
    let process = Controlled::start("");
    let version = env!("CARGO_PKG_VERSION");
    let text = process.ctl_text("version");
    assert_eq!(text, format!("ringtide {version}, interface version 1\n"));
    assert_eq!(process.ctl_json("version"), json!({ "ringtide": version, "api": 1 }));
    assert_eq!(process.ctl_text("health"), "healthy\n");
    let client = Client::new(process.binary.serving());
    client.announce(&Ask::leecher(hash(1), 1001));
    let stats = process.ctl_text("stats");
    for part in [
        "workers\n",
        "alive",
        "no_new_privs on, seccomp on, landlock",
        "tracker on 127.0.0.1:",
        "1 torrents, 1 peers",
        "announces",
    ] {
        assert!(stats.contains(part), "{part}: {stats}");
    }
    assert!(!stats.contains("relay"), "{stats}");
    let stats = process.ctl_json("stats");
    assert_eq!(stats["tracker"]["counters"]["announces_ipv4"], 1);
    assert_eq!(stats["tracker"]["holdings"]["peers_ipv4"], 1);
    assert_eq!(stats["workers"][0]["iteration_packets"]["sum"], 2);
    assert_eq!(stats["process"]["pid"], process.binary.pid());
    let privileges = &stats["process"]["privileges"];
    assert_eq!((&privileges["seccomp"], &privileges["capabilities"]), (&true.into(), &json!([])));
}

#[test]
fn watching_shows_rates_again_and_again() {
    let process = Controlled::start("");
    let mut watch = Command::new(RINGTIDE)
        .args(["ctl", "stats", "--watch", "100ms", "--socket"])
        .arg(process.path("control.sock"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let views = lines.filter(|line| line.contains("workers, per second")).take(3).count();
    assert_eq!(views, 3);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn torrents_are_found_by_size_and_by_name() {
    let process = Controlled::start("");
    let client = Client::new(process.binary.serving());
    for (torrent, peers) in [(1, 2), (2, 3), (3, 1)] {
        for port in 0..peers {
            client.announce(&Ask::leecher(hash(torrent), 1000 + port));
        }
    }
    let top = process.ctl_json("top -n 2");
    let name = |at: usize| top["torrents"][at]["info_hash"].as_str().unwrap().to_owned();
    assert_eq!((name(0), name(1)), (hash(2).to_string(), hash(1).to_string()));
    assert_eq!(top["torrents"][0]["leechers"], 3);
    assert_eq!(top["torrents"].as_array().unwrap().len(), 2);
    let swarm = process.ctl_json(&format!("swarm {}", hash(2)));
    assert_eq!(swarm["ipv4"], json!({ "seeders": 0, "leechers": 3, "completed": 0 }));
    assert_eq!(swarm["ipv6"], json!(null));
    assert!(process.ctl_text("top").contains(&hash(2).to_string()));
    assert!(process.ctl_text(&format!("swarm {}", hash(9))).contains("no such torrent"));
    assert_eq!(process.ctl("swarm 12").status.code(), Some(2));
    assert_eq!(process.ctl("top -n 0").status.code(), Some(2));
}

#[test]
fn the_access_list_changes_while_it_runs() {
    let process = Controlled::start("access_mode = \"deny\"\naccess_file = \"/dev/null\"\n");
    let client = Client::new(process.binary.serving());
    let ask = Ask::leecher(hash(1), 1001);
    assert_eq!(client.announce(&ask).counts(), (0, 1));
    let text = process.ctl_text(&format!("access add {} {}", hash(1), hash(2)));
    assert_eq!(text, "access list deny, 2 torrents\n");
    client.announce_refused(&ask);
    process.ctl_text(&format!("access remove {}", hash(1)));
    assert_eq!(client.announce(&ask).counts(), (0, 1));
    let error = process.ctl_fails("access add 12", 1);
    assert!(error.contains("40 hex digits"), "{error}");
    assert_eq!(process.ctl_json("access show"), json!({ "mode": "deny", "hashes": 1 }));
    assert_eq!(process.ctl_json("access reload"), json!({ "mode": "deny", "hashes": 0 }));
    assert_eq!(client.announce(&Ask::leecher(hash(2), 1001)).counts(), (0, 1));
    let none = Controlled::start("");
    assert!(none.ctl_fails("access reload", 1).contains("there is no access list"));
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let process = Controlled::start("");
    assert_eq!(process.ctl_text("log-level"), "info\n");
    assert_eq!(process.ctl_text("log-level off"), "off\n");
    assert_eq!(process.ctl_text("log-level warn,ringtide=info"), "warn,ringtide=info\n");
    process.binary.event("log level changed");
    assert!(process.ctl_fails("log-level inof", 1).contains("did you mean \"info\"?"));
}

#[test]
fn a_reload_applies_limits_and_names_what_needs_a_restart() {
    let process = Controlled::start("announce_jitter = \"0s\"\n");
    let client = Client::new(process.binary.serving());
    let ask = Ask::leecher(hash(1), 1001);
    assert_eq!(client.announce(&ask).interval_s, 1800);
    let file = process.read("r.toml");
    let changed = format!("{file}announce_interval = \"1m\"\nsteering = false\n");
    std::fs::write(process.path("r.toml"), changed.replace("workers = 1", "workers = 2")).unwrap();
    let outcome = process.ctl_json("config reload");
    assert_eq!(outcome["needs_restart"], json!(["workers", "tracker.steering"]));
    assert_eq!(outcome["applied"], json!(["tracker.announce_interval"]));
    assert_eq!(client.announce(&ask).interval_s, 60);
    let shown = process.ctl_text("config show");
    assert!(shown.contains("announce_interval = \"1m\""), "{shown}");
    // A wrong file, or a wrong list that it names, changes nothing.
    for (line, reason) in [
        ("numwant_max = -1", "numwant_max"),
        ("access_mode = \"deny\"\naccess_file = \"none\"", "cannot be read"),
    ] {
        let wrong = changed.replace("\"1m\"", "\"2m\"");
        std::fs::write(process.path("r.toml"), format!("{wrong}{line}\n")).unwrap();
        let error = process.ctl_fails("config reload", 1);
        assert!(error.contains(reason), "{error}");
        process.binary.event("reload failed, everything in force stays");
        assert_eq!(client.announce(&ask).interval_s, 60);
    }
}

#[test]
fn configurations_are_checked_by_the_process() {
    let process = Controlled::start("");
    assert!(process.ctl_text("config check").starts_with("valid\n  tracker on 127.0.0.1:0"));
    std::fs::write(process.path("bad.toml"), "worker = 1").unwrap();
    let bad = process.path("bad.toml");
    let error = process.ctl_fails(&format!("config check {}", bad.display()), 1);
    assert!(error.contains("did you mean \"workers\"?"), "{error}");
    assert_eq!(process.ctl("config check /none").status.code(), Some(2));
}

#[test]
fn draining_tells_first_and_then_ends() {
    let mut process = Controlled::start("");
    let client = Client::new(process.binary.serving());
    let ask = Ask::leecher(hash(1), 1);
    client.announce(&ask);
    assert_eq!(process.ctl_text("drain --wait 1h --detach"), "ringtide stops after 1h\n");
    let output = process.ctl("health");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("about to stop"));
    assert_eq!(process.get("/healthz").0, 503);
    assert!(process.ctl_fails("drain --wait 2h", 1).contains("1h"));
    // Who has a connection ID is served; who asks for one is not.
    assert_eq!(client.announce(&ask).counts(), (0, 1));
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    other.send_to(&CONNECT, process.binary.serving()).unwrap();
    eventually("the connect to be dropped", || {
        let stats = process.ctl_json("stats");
        (stats["tracker"]["drops"]["draining"] == 1).then_some(())
    });
    // It returns when the process has ended, which the one that started it need not have noticed.
    let text = process.ctl_text("drain");
    assert!(text.starts_with("ringtide stops\n") && text.contains("stopped after"), "{text}");
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.binary.pid()));
    assert!(status.as_ref().map_or(true, |status| status.contains(") Z ")), "{status:?}");
    assert_eq!(process.binary.exit().code(), Some(0));
    process.binary.event("summary");
    assert!(!process.path("control.sock").exists());
    let error = process.ctl_fails("version", 3);
    assert!(error.contains("no ringtide answers") && error.contains("remedy"), "{error}");
}

#[test]
fn a_user_without_the_right_is_told_so() {
    let process = Controlled::start("");
    let path = process.path("control.sock");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(process.directory.path(), mode).unwrap();
    let (_copy, mut nobody) = ringtide_of_nobody();
    let output = nobody.args(["ctl", "version", "--socket"]).arg(&path).output().unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("may not use") && text.contains("control.group"), "{text}");
    }
    assert_eq!(ctl(&path, &["nonsense"]).status.code(), Some(2));
}

#[test]
fn the_variable_names_the_usual_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/c.sock");
    let mut command = Command::new(RINGTIDE);
    command.args(["tracker", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("RINGTIDE_CONTROL_SOCKET", &path);
    let binary = Binary::spawn(command);
    binary.event("serving");
    let output = Command::new(RINGTIDE)
        .args(["ctl", "health"])
        .env("RINGTIDE_CONTROL_SOCKET", &path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A connect request of BEP 15 with transaction ID 7.
const CONNECT: [u8; 16] = [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 0, 0, 0, 7];
