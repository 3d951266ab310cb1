//! Tests of the relay's part of a file: what arrives, and each mistake with its line.

use std::path::Path;

use proptest::prelude::*;

use crate::relay::{Offload, RelaySettings};
use crate::server::config::{ConfigError, Settings, parse};

fn parsed(text: &str) -> Settings {
    parse(text, Path::new("r.toml")).map_err(|error| error.to_string()).unwrap()
}

/// The problems with a file, as `LINE:COLUMN: message`.
fn problems(text: &str) -> Vec<String> {
    match parse(text, Path::new("r")) {
        Err(ConfigError::Invalid { problems, .. }) => {
            problems.iter().map(|problem| problem.to_string()[2..].to_owned()).collect()
        }
        other => panic!("{text}: {other:?}"),
    }
}

/// The single problem with a file.
fn problem(text: &str) -> String {
    let mut problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    problems.remove(0)
}

#[test]
fn values_arrive_where_they_belong() {
    let settings = parsed(
        r#"
        [relay]
        offload = "off"
        receive_buffer = "1MiB"
        send_buffer = "64KiB"
        frame_buffers = 0x100
        [[relay.rule]]
        name = "feed-a"
        input = "239.1.1.1:5001@veth0"
        source = ["10.0.0.1", "10.0.0.2"]
        outputs = [
            { to = "239.2.2.2:5002@veth1", ttl = 8, dscp = 34 },
            { to = "[ff15::1]:5002@veth1", ttl = "keep", dscp = "keep", source = "fe80::1" },
        ]
        [[relay.rule]]
        input = "[ff15::1]:5001@veth0"
        [[relay.rule.outputs]]
        to = "[fd00::7]:9@veth2"
        "#,
    );
    assert_eq!(settings.tracker, None);
    let relay = settings.relay.unwrap();
    assert_eq!(relay.offload, Offload::Off);
    assert_eq!((relay.receive_buffer_bytes, relay.send_buffer_bytes), (1 << 20, 64 << 10));
    assert_eq!(relay.frame_buffers, Some(256));
    let rules: Vec<String> = relay.rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        rules,
        [
            "feed-a: 239.1.1.1:5001@veth0 from 10.0.0.1, 10.0.0.2 to 239.2.2.2:5002@veth1 (ttl 8, \
             dscp 34), [ff15::1]:5002@veth1 (ttl keep, dscp keep, source fe80::1)",
            "rule-2: [ff15::1]:5001@veth0 to [fd00::7]:9@veth2",
        ]
    );
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn a_section_that_is_there_is_a_job_that_runs() {
    const RULE: &str = "[[relay.rule]]\ninput = \"239.1.1.1:1@a\"\n";
    for (text, services) in [
        ("", (true, false)),
        ("workers = 2", (true, false)),
        ("[tracker]", (true, false)),
        (RULE, (false, true)),
        ("[relay]", (false, true)),
        (&format!("[tracker]\n{RULE}"), (true, true)),
    ] {
        let settings = parsed(text);
        assert_eq!((settings.tracker.is_some(), settings.relay.is_some()), services, "{text}");
    }
    let idle = parsed("[relay]");
    assert_eq!(idle.relay, Some(RelaySettings::default()));
    assert_eq!(idle.warnings, ["the relay has no rule and forwards nothing"]);
    let doubtful = "[tracker]\npeer_timeout = \"1m\"\n[[relay.rule]]\ninput = \"[ff15::1]:1@a\"\n\
                    outputs = [{ to = \"239.1.1.1:1@a\" }]";
    assert_eq!(parsed(doubtful).warnings.len(), 2, "those of both services");
}

#[test]
fn each_wrong_value_of_the_section_has_its_line() {
    for (line, start, hint) in [
        ("offload = \"aut\"", "2:11: relay.offload = \"aut\": ", "did you mean \"auto\"?"),
        ("offload = true", "2:11: relay.offload = true: ", "string"),
        ("receive_buffer = 64", "2:18: relay.receive_buffer = 64: ", "4KiB to 512MiB"),
        ("send_buffer = \"1GiB\"", "2:15: relay.send_buffer = ", "allowed is 4KiB to 512MiB"),
        ("frame_buffers = 8", "2:17: relay.frame_buffers = 8: ", "power of two from 16"),
        ("frame_buffers = 100", "2:17: relay.frame_buffers = 100: ", "power of two"),
        ("frame_buffers = 65536", "2:17: relay.frame_buffers = 65536: ", "0 to 32768"),
        ("ofload = \"off\"", "2:1: unknown key \"ofload\" in [relay]", "did you mean \"offload\"?"),
        ("rules = []", "2:1: unknown key \"rules\" in [relay]", "did you mean \"rule\"?"),
        ("input = \"a\"", "2:1: unknown key \"input\"", "it belongs in [[relay.rule]]"),
        ("rule = 1", "2:8: relay.rule: must be a list of tables", "[[relay.rule]]"),
        ("rule = [1]", "2:9: relay.rule: must be a list of tables", "not of type integer"),
        ("rule = [[]]", "2:9: relay.rule: must be a list of tables", "not of type array"),
        ("[relay.rule]\nname = \"a\"", "2:", "must be a list of tables, as in [[relay.rule]]"),
    ] {
        let problem = problem(&format!("[relay]\n{line}\n"));
        assert!(problem.starts_with(start), "{line}: {problem}");
        assert!(problem.contains(hint), "{line}: {problem}");
    }
    assert!(problem("relay = 1").starts_with("1:9: relay must be a section: write [relay] once"));
    assert!(problem("[[relay]]\n").contains("relay must be a section"));
    let quoted = "[relay]\n\"rule.name\" = \"a\"\n";
    assert!(problem(quoted).starts_with("2:1: unknown key \"rule.name\" in [relay]"));
    let stray = problem("[tracker]\noffload = \"off\"\n");
    assert!(stray.ends_with("\"offload\" in [tracker]; it belongs in [relay]"), "{stray}");
    let stray = problem("[relay]\nttl = 8\n");
    assert!(stray.ends_with("it belongs in an output of [[relay.rule]]"), "{stray}");
}

#[test]
fn each_wrong_value_of_a_rule_has_its_line_and_names_the_rule() {
    for (lines, start, hint) in [
        ("", "5:1: ", "rule \"b\": input: is missing"),
        ("input = \"239.1.1.1:5001\"", "7:9: ", "rule \"b\": input = \"239.1.1.1:5001\": the int"),
        ("input = 5", "7:9: ", "rule \"b\": input = 5: must be a string"),
        ("inptu = \"x\"\ninput = \"10.0.0.1:1@x\"", "7:1: ", "did you mean \"input\"?"),
        ("input = \"239.9.9.9:1@a\"", "7:9: ", "rule \"b\": rule \"a\" has the same input"),
        ("input = \"10.0.0.1:1@x\"\nsource = \"10.0.0.2\"", "8:10: ", "a list in [ ]"),
        (
            "input = \"10.0.0.1:1@x\"\nsource = [\"a:1\"]",
            "8:11: ",
            "rule \"b\": source = \"a:1\": ",
        ),
        ("input = \"10.0.0.1:1@x\"\nsource = [\"10.0.0.3\",\n\"::1\"]", "9:1: ", "it is IPv6"),
        ("input = \"10.0.0.1:1@x\"\nsource = [\"::ffff:10.0.0.3\"]", "8:11: ", ": 10.0.0.3"),
        ("input = \"10.0.0.1:1@x\"\nttl = 8", "8:1: ", "it belongs in an output of [[relay.rule]]"),
        (
            "input = \"10.0.0.1:1@x\"\noutputs = \"x\"",
            "8:11: ",
            "rule \"b\": outputs: must be a list",
        ),
        ("input = \"10.0.0.1:1@x\"\noutputs = [\n\"x\"]", "9:1: ", "as in [{ to = \"239.2.2.2"),
        ("input = \"10.0.0.1:1@x\"\noutputs = {}", "8:11: ", "not of type table"),
    ] {
        let text = format!(
            "[relay]\n[[relay.rule]]\nname = \"a\"\ninput = \"239.9.9.9:1@a\"\n[[relay.rule]]\n\
             name = \"b\"\n{lines}\n"
        );
        let problem = problem(&text);
        assert!(problem.starts_with(start), "{lines}: {problem}");
        assert!(problem.contains(hint), "{lines}: {problem}");
    }
}

#[test]
fn each_wrong_value_of_an_output_has_its_line_and_names_rule_and_output() {
    const TO: &str = "to = \"10.0.0.2:1@y\"";
    for (output, hint) in [
        ("", "rule \"rule-1\", output 2: to: is missing"),
        ("to = \"10.0.0.2:1\"", "rule \"rule-1\", output 2: to = \"10.0.0.2:1\": the interface is"),
        ("to = \"10.0.0.1:1@x\"", "output 2: 10.0.0.1:1@x is the input of this rule"),
        ("to = \"10.0.0.9:1@y\"", "output 2: 10.0.0.9:1@y is the same as output 1"),
        ("to = \"0.0.0.0:1@y\"", "output 2: an unspecified address"),
        (&format!("{TO}, ttl = 0"), "rule \"rule-1\", output 2: ttl = 0: allowed is 1 to 255, bec"),
        (&format!("{TO}, ttl = 256"), "output 2: ttl = 256: allowed is 1 to 255"),
        (&format!("{TO}, ttl = 256"), "; \"keep\" is allowed, too"),
        (&format!("{TO}, ttl = \"kep\""), "must be a whole number, not of type string"),
        (&format!("{TO}, ttl = -1"), "allowed is 1 to 255"),
        (&format!("{TO}, dscp = 64"), "output 2: dscp = 64: allowed is 0 to 63, because"),
        (&format!("{TO}, dscp = 1.5"), "dscp = 1.5: must be a whole number, not of type float"),
        (&format!("{TO}, source = \"10.0.0.1:9\""), "must be an IP address without port"),
        (&format!("{TO}, source = \"fe80::1\""), "output 2: source: it is IPv6"),
        (&format!("{TO}, source = \"239.0.0.1\""), "output 2: source: a group is no source"),
        (&format!("{TO}, tll = 1"), "unknown key \"tll\" in an output of [[relay.rule]]; did you"),
        (&format!("{TO}, name = \"a\""), "it belongs in [[relay.rule]]"),
    ] {
        let text = format!(
            "[[relay.rule]]\ninput = \"10.0.0.1:1@x\"\noutputs = [{{ to = \"10.0.0.9:1@y\" }},\n\
             {{ {output} }}]\n"
        );
        let problem = problem(&text);
        assert!(problem.starts_with("4:"), "{output}: {problem}");
        assert!(problem.contains(hint), "{output}: {problem}");
    }
}

#[test]
fn lists_that_are_too_long_are_told_where_they_begin() {
    let outputs: Vec<String> =
        (1..=65).map(|port| format!("{{ to = \"10.0.0.1:{port}@y\" }}")).collect();
    let text =
        format!("[[relay.rule]]\ninput = \"10.0.0.1:1@x\"\noutputs = [{}]", outputs.join(","));
    assert!(problem(&text).starts_with("3:11: rule \"rule-1\": allowed are up to 64 outputs"));
    let sources: Vec<String> = (0..65).map(|host| format!("\"10.0.1.{host}\"")).collect();
    let text =
        format!("[[relay.rule]]\ninput = \"10.0.0.1:1@x\"\nsource = [{}]", sources.join(","));
    assert!(problem(&text).starts_with("3:10: rule \"rule-1\": allowed are up to 64 sources"));
}

#[test]
fn every_problem_of_every_rule_is_found_in_one_go() {
    let found = problems(
        "[relay]\noffload = 1\n[[relay.rule]]\nname = \"a b\"\ninput = \"239.1.1.1@x\"\n\
         outputs = [{ to = \"10.0.0.1:1@y\", ttl = 0 },\n{ to = \"10.0.0.1:1@y\", dscp = 99 }]\n\
         [[relay.rule]]\nsource = [\"x\"]\noutputs = [{},\n{ to = \"0.0.0.0:1@y\" }]\n",
    );
    let places: Vec<&str> =
        found.iter().map(|problem| problem.split_once(": ").unwrap().0).collect();
    let expected = ["2:11", "4:8", "5:9", "6:41", "7:8", "7:31", "8:1", "9:11", "10:12", "11:8"];
    assert_eq!(places, expected, "{found:#?}");
}

/// Lines that are right or nearly so, to be put together in any order.
const LINES: [&str; 14] = [
    "[relay]",
    "[[relay.rule]]",
    "[relay.rule]",
    "[[relay.rule.outputs]]",
    "rule = [{}, 1]",
    "name = \"a\"",
    "input = \"239.1.1.1:1@a\"",
    "input = \"239.1.1.1:1\"",
    "source = [\"10.0.0.1\", \"x\"]",
    "outputs = [{ to = \"239.1.1.1:1@a\" }, 2, {}]",
    "outputs = []",
    "to = \"239.1.1.1:2@a\"",
    "ttl = \"keep\"",
    "dscp = [[{}]]",
];

proptest! {
    #[test]
    fn any_lines_are_answered(lines in prop::collection::vec(0..LINES.len(), 0..12)) {
        let lines: Vec<&str> = lines.into_iter().map(|line| LINES[line]).collect();
        let text = lines.join("\n");
        match parse(&text, Path::new("r.toml")) {
            Ok(_) => {}
            Err(ConfigError::Invalid { problems, .. }) => prop_assert!(!problems.is_empty()),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn more_sockets_than_a_worker_serves_are_a_problem_of_the_rules() {
    let output = |rule, n| format!("{{ to = \"239.2.{rule}.{n}:5@b\" }}");
    let rule = |rule: usize| {
        let outputs: Vec<_> = (1..=64).map(|n| output(rule, n)).collect();
        let outputs = outputs.join(", ");
        format!("[[relay.rule]]\ninput = \"239.1.1.{rule}:1@a\"\noutputs = [{outputs}]\n")
    };
    let rules = |count: usize| (1..=count).map(rule).collect::<String>();
    let tracker = |addresses: usize| {
        let listen: Vec<_> = (1..=addresses).map(|n| format!("\"127.0.0.1:{n}\"")).collect();
        format!("[tracker]\nlisten = [{}]\n", listen.join(", "))
    };
    // 14 rules have 896 outputs, and one interface to take from.
    parsed(&(tracker(63) + &rules(14)));
    let found = problem(&(tracker(64) + &rules(14)));
    assert!(found.contains("these would be 961: 896 outputs, 1 interfaces"), "{found}");
    assert!(problem(&rules(15)).contains("these would be 961"));
}
