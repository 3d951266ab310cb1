//! Relay rules that change while the process runs: all of a batch or nothing.

use serde_json::json;

use crate::common::asking::Controlled;
use crate::common::switched_off;

const RELAY: &str = "[relay]\n[[relay.rule]]\nname = \"a\"\ninput = \"239.9.1.1:1@absent\"\n";

fn names(process: &Controlled) -> Vec<String> {
    let rules = process.ctl_json("rules list");
    let rules = rules["rules"].as_array().unwrap().iter();
    rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn rules_come_change_and_go() {
    let process = Controlled::start(RELAY);
    let shown = process.ctl_text(
        "rules add --name b --input 239.9.1.2:2@absent --source 10.0.0.1 --output \
         239.9.2.2:2@absent --ttl keep --dscp 34",
    );
    assert!(shown.contains("239.9.2.2:2@absent (ttl keep, dscp 34)"), "{shown}");
    assert!(shown.contains("10.0.0.1"), "{shown}");
    assert_eq!(names(&process), ["a", "b"]);
    process.ctl_text("rules add --input 239.9.1.3:3@absent");
    assert_eq!(names(&process), ["a", "b", "rule-1"]);
    process.ctl_text("rules replace --name b --input 239.9.1.4:4@absent");
    assert!(process.ctl_text("rules list").contains("239.9.1.4:4@absent"));
    process.ctl_text("rules remove a rule-1");
    assert_eq!(names(&process), ["b"]);
    let stats = process.ctl_json("stats");
    assert_eq!(stats["relay"]["rules"][0]["receiving"], false);
    assert_eq!(stats["relay"]["rules"][0]["down"], "there is no such interface yet");
    assert!(process.ctl_text("stats").contains("239.9.1.4:4@absent (down: there is no such"));
    std::fs::write(process.path("new.toml"), RELAY.replace("\"a\"", "\"c\"")).unwrap();
    process.ctl_text(&format!("rules set --file {}", process.path("new.toml").display()));
    assert_eq!(names(&process), ["c"]);
    // A reload goes back to what the file says.
    process.ctl_text("config reload");
    assert_eq!(names(&process), ["a"]);
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let process = Controlled::start(RELAY);
    let good = json!({ "name": "b", "input": "239.9.1.2:2@absent" });
    for (changes, status, part) in [
        (json!({ "add": [good, { "input": "239.9.1.1:1@absent" }] }), 422, "same input"),
        (json!({ "add": [good, { "input": "nonsense" }] }), 422, "interface is missing"),
        (json!({ "add": [good], "remove": ["x"] }), 409, "no rule \\\"x\\\""),
        (json!({ "add": [good, good] }), 409, "already"),
        (json!({ "remove": ["a"], "replace": [{ "name": "a", "input": "i" }] }), 409, "no rule"),
        (
            json!({ "add": [{ "input": "239.9.1.2:2@x", "outputs": [{ "to": "0.0.0.0:1@y" }] }] }),
            422,
            "unspecified",
        ),
    ] {
        let (answered, body) = process.ask("PATCH", "/api/v1/rules", &changes.to_string());
        assert_eq!(answered, status, "{changes}: {body}");
        assert!(body.contains(part), "{changes}: {body}");
        assert_eq!(names(&process), ["a"], "{changes}");
    }
    let all = json!({ "remove": ["a"], "add": [good] });
    assert_eq!(process.ask("PATCH", "/api/v1/rules", &all.to_string()).0, 200);
    assert_eq!(names(&process), ["b"]);
    assert_eq!(process.ctl("rules add --input nonsense").status.code(), Some(2));
    assert_eq!(process.ctl("rules add --name x").status.code(), Some(2));
}

#[test]
fn what_does_not_work_yet_is_told_by_whoever_adds_it() {
    let process = Controlled::start(RELAY);
    let add = |name: &str, input: &str| {
        format!("rules add --name {name} --input {input} --output 239.9.2.2:2@missing")
    };
    let shown = process.ctl_text(&add("b", "239.9.1.2:2@absent"));
    let warnings: Vec<_> = shown.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "warning: rule \"b\" does not receive from 239.9.1.2:2@absent: there is no such \
             interface yet",
            "warning: rule \"b\" does not send to 239.9.2.2:2@missing: interface missing is \
             missing or down",
        ]
    );
    let more = "input = \"239.9.1.1:1@absent\"\noutputs = [{ to = \"239.9.2.9:9@missing\" }]\n";
    let text = process.read("r.toml").replace("input = \"239.9.1.1:1@absent\"\n", more);
    std::fs::write(process.path("r.toml"), text).unwrap();
    let outcome = process.ctl_json("config reload");
    assert_eq!(outcome["applied"], json!(["relay.rule: 1 in force"]));
    // The rule is there already, its output is not.
    let why = "rule \"a\" does not send to 239.9.2.9:9@missing: interface missing is missing or \
               down";
    assert_eq!(outcome["warnings"], json!([why]));
}

#[test]
fn more_sockets_than_a_loop_serves_are_refused() {
    let process = Controlled::start(RELAY);
    let outputs = |rule: usize, count: usize| {
        let output = |n| json!({ "to": format!("239.9.{rule}.{n}:1@absent") });
        (1..=count).map(output).collect::<Vec<_>>()
    };
    let rules = |last: usize| {
        let mut rules: Vec<_> = (0..15)
            .map(
                |n| json!({ "input": format!("239.8.1.1:{}@a", n + 1), "outputs": outputs(n, 60) }),
            )
            .collect();
        rules.push(json!({ "input": "239.8.1.1:99@b", "outputs": outputs(99, last) }));
        json!({ "rules": rules }).to_string()
    };
    // With 900 outputs, two interfaces and one address to listen on there is room for 57.
    let (status, value) = process.ask_json("PUT", "/api/v1/rules", &rules(58));
    let error = value["error"].as_str().unwrap();
    assert_eq!(status, 422, "{error}");
    assert!(error.starts_with("a worker serves up to 960 sockets; these would be 961"), "{error}");
    assert_eq!(names(&process), ["a"]);
    let (status, value) = process.ask_json("PUT", "/api/v1/rules", &rules(57));
    assert_eq!(status, 200, "{value}");
    assert_eq!(names(&process).len(), 16);
}

#[test]
fn without_a_relay_there_are_no_rules() {
    let process = Controlled::start("");
    for command in ["rules list", "rules remove a", "rules add --input 239.9.1.1:1@x"] {
        let error = process.ctl_fails(command, 1);
        assert!(error.contains("runs no relay") && error.contains("[relay]"), "{error}");
    }
}

/// On the loopback interface, which is there everywhere.
#[test]
fn figures_tell_which_outputs_are_down() {
    if switched_off() {
        return;
    }
    let process = Controlled::start(
        "[relay]\n[[relay.rule]]\ninput = \"239.9.1.1:1@lo\"\n\
         outputs = [{ to = \"127.0.0.1:1@lo\" }, { to = \"239.9.1.2:1@absent\" }]\n",
    );
    let rule = process.ctl_json("stats")["relay"]["rules"][0].clone();
    assert_eq!(rule["receiving"], true);
    assert_eq!(rule["outputs"][0]["down"], json!(null));
    let why = rule["outputs"][1]["down"].as_str().unwrap();
    assert!(why.contains("absent is missing"), "{why}");
    let (_, metrics) = process.get("/metrics");
    let up = |endpoint: &str, up: u8| {
        let labels = format!("rule=\"rule-1\",direction=\"out\",endpoint=\"{endpoint}\"");
        format!("ringtide_relay_output_up{{{labels}}} {up}\n")
    };
    assert!(metrics.contains(&up("127.0.0.1:1@lo", 1)), "{metrics}");
    assert!(metrics.contains(&up("239.9.1.2:1@absent", 0)), "{metrics}");
    // What is counted is there before its first drop, so that a rate sees that one.
    for (rule, direction, endpoint, reason) in [
        ("rule-1", "in", "239.9.1.1:1@lo", "looped"),
        ("rule-1", "out", "127.0.0.1:1@lo", "send_error"),
        ("", "in", "", "no_buffer"),
    ] {
        let row = format!(
            "ringtide_relay_drops_total{{rule=\"{rule}\",direction=\"{direction}\",\
             endpoint=\"{endpoint}\",reason=\"{reason}\"}} 0\n"
        );
        assert!(metrics.contains(&row), "{row}: {metrics}");
    }
}
