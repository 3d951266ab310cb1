//! Tests of rules: each thing that can be wrong, and generated rules against a plain definition.

use proptest::prelude::*;

use super::*;
use crate::relay::{Dscp, Ttl};

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect(text)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn output(to: &str) -> Output {
    Output { endpoint: endpoint(to), ttl: Ttl::Usual, dscp: Dscp::Usual, source: None }
}

fn from(source: &str, to: &str) -> Output {
    Output { source: Some(ip(source)), ..output(to) }
}

fn rule(input: &str, sources: &[&str], outputs: Vec<Output>) -> RuleDraft {
    RuleDraft {
        name: None,
        input: Some(Input {
            endpoint: endpoint(input),
            sources: sources.iter().map(|source| ip(source)).collect(),
        }),
        outputs: outputs.into_iter().map(Some).collect(),
    }
}

fn named(name: &str, draft: RuleDraft) -> RuleDraft {
    RuleDraft { name: Some(name.to_owned()), ..draft }
}

/// The problems of some rules: of which rule, where, and what.
fn problems(drafts: &[RuleDraft]) -> Vec<(usize, RulePart, String)> {
    let problems = check_rules(drafts.to_vec()).problems;
    problems.into_iter().map(|p| (p.rule, p.part, p.message)).collect()
}

/// Asserts that there is one problem, where it is, and that it names its rule.
fn assert_problem(drafts: &[RuleDraft], rule: usize, part: RulePart, hint: &str) {
    let found = problems(drafts);
    assert_eq!(found.len(), 1, "{hint}: {found:?}");
    assert_eq!((found[0].0, found[0].1), (rule, part), "{found:?}");
    let prefix = format!("rule \"rule-{}\"", rule + 1);
    assert!(found[0].2.starts_with(&prefix), "{found:?}");
    assert!(found[0].2.contains(hint), "{hint}: {found:?}");
}

const A: &str = "239.1.1.1:5001@veth0";
const B: &str = "239.2.2.2:5002@veth1";
const SIX: &str = "[ff15::1]:5001@veth0";

#[test]
fn rules_that_differ_in_one_thing_go_together() {
    let drafts = vec![
        rule(A, &[], vec![output(B), output("10.0.0.1:5001@veth0"), output("[ff15::9]:1@veth1")]),
        named("sink", rule("239.1.1.1:5002@veth0", &[], vec![])),
        rule("239.1.1.1:5001@veth1", &["10.0.0.1", "10.0.0.2"], vec![output(B)]),
        rule("239.1.1.1:5001@veth1", &["10.0.0.3"], vec![from("10.0.0.9", B)]),
        rule("10.0.0.7:5001@veth0", &["10.0.0.1"], vec![from("fe80::1", "[fe80::2]:1@veth1")]),
        rule("[ff02::1]:9@veth0", &[], vec![output("[ff01::1]:9@veth0")]),
    ];
    let checked = check_rules(drafts);
    assert_eq!(checked.problems, []);
    assert_eq!(checked.warnings, Vec::<String>::new());
    let names: Vec<&str> = checked.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["rule-1", "sink", "rule-3", "rule-4", "rule-5", "rule-6"]);
    assert_eq!(checked.rules[0].outputs.len(), 3);
}

#[test]
fn names_are_unique_and_printable() {
    let other =
        |name: &str, port: u16| named(name, rule(&format!("239.1.1.1:{port}@veth0"), &[], vec![]));
    let found = problems(&[other("a", 1), other("a", 2), other("a", 3)]);
    let places: Vec<_> = found.iter().map(|(rule, part, _)| (*rule, *part)).collect();
    assert_eq!(places, [(1, RulePart::Name), (2, RulePart::Name)]);
    assert_eq!(found[0].2, "rule \"a\": rule 1 of the list has the same name");
    // A rule without a name has one by its position, which another may have taken.
    let unnamed = rule("239.1.1.1:9@veth0", &[], vec![]);
    let found = problems(&[other("rule-2", 1), unnamed]);
    assert_eq!((found.len(), found[0].0, found[0].1), (1, 1, RulePart::Rule));
    for name in ["", " ", "a b", "a\u{1b}", "\u{fc}", "a/b", &"x".repeat(65)] {
        assert_problem(&[other(name, 1)], 0, RulePart::Name, "1 to 64 letters");
    }
    assert_eq!(problems(&[other(&"x".repeat(NAME_BYTES_MAX), 1), other("A-9_.", 2)]), []);
}

#[test]
fn two_rules_cannot_take_the_same() {
    for sources in [[&[][..], &[]], [&["10.0.0.1"], &[]], [&[], &["10.0.0.1"]]] {
        let drafts = sources.map(|sources| rule(A, sources, vec![]));
        assert_problem(&drafts, 1, RulePart::Input, "rule \"rule-1\" has the same input 239.1.1.1");
    }
    let drafts = [
        rule(A, &["10.0.0.1", "10.0.0.2"], vec![]),
        rule(A, &["10.0.0.3"], vec![]),
        rule(A, &["10.0.0.4", "10.0.0.2"], vec![]),
    ];
    let hint = "rule \"rule-1\" takes from 10.0.0.2 at the same input 239.1.1.1:5001@veth0";
    assert_problem(&drafts, 2, RulePart::Source(1), hint);
}

#[test]
fn an_output_that_feeds_an_input_is_refused() {
    let part = RulePart::Output(1);
    let own = [rule(A, &[], vec![output(B), output(A)])];
    assert_problem(&own, 0, part, "output 2: 239.1.1.1:5001@veth0 is the input of this rule");
    let other = [rule(B, &[], vec![]), rule(A, &[], vec![output("239.9.9.9:9@veth0"), output(B)])];
    assert_problem(&other, 1, part, "is the input of rule \"rule-1\"");
    // A cycle through two rules is two outputs that each feed an input.
    let two = [rule(A, &[], vec![output(B)]), rule(B, &[], vec![output(A)])];
    assert_eq!(problems(&two).len(), 2);
    let unicast = "10.0.0.5:5001@veth0";
    assert_problem(&[rule(unicast, &[], vec![output(unicast)])], 0, RulePart::Output(0), "circles");
}

#[test]
fn an_output_that_an_input_does_not_take_feeds_nothing() {
    for to in ["239.1.1.1:5001@veth1", "239.1.1.1:5002@veth0", "239.1.1.2:5001@veth0"] {
        assert_eq!(problems(&[rule(A, &[], vec![output(to)])]), [], "{to}");
    }
    let takes = ["10.0.0.1", "10.0.0.2"];
    assert_eq!(problems(&[rule(A, &takes, vec![from("10.0.0.3", A)])]), []);
    for fed in [output(A), from("10.0.0.2", A)] {
        assert_problem(&[rule(A, &takes, vec![fed])], 0, RulePart::Output(0), "circles");
    }
}

#[test]
fn sources_are_hosts_of_the_family_they_belong_to() {
    for (to, source, hint) in [
        (A, "fe80::1", "it is IPv6, but the endpoint is IPv4"),
        (SIX, "10.0.0.1", "it is IPv4, but the endpoint is IPv6"),
        (A, "239.1.1.1", "a group is no source"),
        (SIX, "ff15::1", "a group is no source"),
        (A, "0.0.0.0", "unspecified"),
        (SIX, "::", "unspecified"),
        (A, "255.255.255.255", "broadcast"),
    ] {
        assert_problem(&[rule(to, &[source], vec![])], 0, RulePart::Source(0), hint);
        let sending = [rule("239.3.3.3:3@veth3", &[], vec![from(source, to)])];
        assert_problem(&sending, 0, RulePart::OutputSource(0), hint);
    }
    let twice = [rule(A, &["10.0.0.1", "10.0.0.1"], vec![])];
    assert_problem(&twice, 0, RulePart::Source(1), "source 10.0.0.1 is listed twice");
}

#[test]
fn destinations_are_groups_or_hosts() {
    for (to, hint) in [
        ("0.0.0.0:1@veth2", "unspecified"),
        ("[::]:1@veth2", "unspecified"),
        ("255.255.255.255:1@veth2", "broadcast"),
    ] {
        assert_problem(&[rule(to, &[], vec![])], 0, RulePart::Input, hint);
        assert_problem(&[rule(A, &[], vec![output(to)])], 0, RulePart::Output(0), hint);
    }
}

#[test]
fn lists_have_their_bounds() {
    let numbered = |count: usize| -> Vec<Output> {
        (1..=count).map(|port| output(&format!("239.9.9.9:{port}@veth1"))).collect()
    };
    assert_eq!(problems(&[rule(A, &[], numbered(OUTPUTS_MAX))]), []);
    let many = [rule(A, &[], numbered(OUTPUTS_MAX + 1))];
    assert_problem(&many, 0, RulePart::Outputs, "up to 64 outputs, not 65");

    let sources: Vec<String> = (0..=SOURCES_MAX).map(|host| format!("10.0.0.{host}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    assert_eq!(problems(&[rule(A, &sources[1..], vec![])]), []);
    let many = [rule(A, &sources, vec![])];
    assert_problem(&many, 0, RulePart::Sources, "up to 64 sources, not 65");

    let sink = |port| rule(&format!("239.1.1.1:{port}@veth0"), &[], vec![]);
    let rules: Vec<RuleDraft> = (1..=RULES_MAX + 1).map(sink).collect();
    assert_eq!(problems(&rules[..RULES_MAX]), []);
    assert_problem(&rules, RULES_MAX, RulePart::Rule, "up to 1024 rules, not 1025");
}

#[test]
fn an_output_listed_twice_is_refused() {
    let drafts = [rule(A, &[], vec![output(B), output("239.3.3.3:3@x"), from("10.0.0.1", B)])];
    assert_problem(&drafts, 0, RulePart::Output(2), "239.2.2.2:5002@veth1 is the same as output 1");
}

#[test]
fn what_may_not_fit_is_a_warning() {
    let warnings = |drafts: &[RuleDraft]| check_rules(drafts.to_vec()).warnings;
    let across = [named("six", rule(SIX, &[], vec![output(B), output("239.3.3.3:3@x")]))];
    assert_eq!(
        warnings(&across),
        ["rule \"six\": datagrams of 65508 to 65527 bytes over IPv6 do not fit its IPv4 \
             outputs, which drop them as \"oversized\""]
    );
    assert_eq!(warnings(&[rule(A, &[], vec![output(SIX)])]), Vec::<String>::new());
    assert_eq!(warnings(&[]), ["the relay has no rule and forwards nothing"]);
}

#[test]
fn all_problems_come_in_one_go_and_unread_parts_do_not_hide_others() {
    let unread = RuleDraft {
        name: Some("a b".to_owned()),
        input: None,
        outputs: vec![None, Some(output("0.0.0.0:1@x")), None, Some(output(A))],
    };
    let found = problems(&[unread, rule(A, &["::1"], vec![output(B), output(B)])]);
    let places: Vec<_> = found.iter().map(|(rule, part, _)| (*rule, *part)).collect();
    let expected = [
        (0, RulePart::Name),
        (0, RulePart::Output(1)),
        (0, RulePart::Output(3)),
        (1, RulePart::Source(0)),
        (1, RulePart::Output(1)),
    ];
    assert_eq!(places, expected, "{found:?}");
}

/// Endpoints from a pool small enough for rules to meet.
fn endpoints() -> impl Strategy<Value = Endpoint> {
    let address = prop::sample::select(vec!["239.0.0.1", "10.0.0.1", "[ff15::1]", "0.0.0.0"]);
    (address, 1..=2_u16, "[ab]")
        .prop_map(|(address, port, interface)| endpoint(&format!("{address}:{port}@{interface}")))
}

fn hosts() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "fe80::1", "239.0.0.1"]).prop_map(ip)
}

fn drafts() -> impl Strategy<Value = RuleDraft> {
    let output = (endpoints(), prop::option::of(hosts())).prop_map(|(endpoint, source)| Output {
        endpoint,
        ttl: Ttl::Usual,
        dscp: Dscp::Usual,
        source,
    });
    let input = (endpoints(), prop::collection::vec(hosts(), 0..3));
    let input = input.prop_map(|(endpoint, sources)| Input { endpoint, sources });
    (prop::option::of("[a ]|rule-[12]"), input, prop::collection::vec(output, 0..3)).prop_map(
        |(name, input, outputs)| RuleDraft {
            name,
            input: Some(input),
            outputs: outputs.into_iter().map(Some).collect(),
        },
    )
}

fn source_fits(source: &IpAddr, endpoint: &Endpoint) -> bool {
    source.is_ipv4() == endpoint.address.is_ipv4() && !source.is_multicast()
}

fn is_fed(output: &Output, input: &Input) -> bool {
    let may_come = |listed: &IpAddr| output.source.is_none_or(|source| source == *listed);
    output.endpoint == input.endpoint
        && (input.sources.is_empty() || input.sources.iter().any(may_come))
}

/// What makes one rule valid, as plainly as it can be said.
fn is_valid_alone(rule: &Rule) -> bool {
    let all_differ = |endpoints: &[&Endpoint]| {
        endpoints.iter().enumerate().all(|(index, one)| !endpoints[..index].contains(one))
    };
    let Input { endpoint, sources } = &rule.input;
    let outputs: Vec<&Endpoint> = rule.outputs.iter().map(|output| &output.endpoint).collect();
    outputs.iter().chain([&endpoint]).all(|to| !to.address.ip().is_unspecified())
        && all_differ(&outputs)
        && sources.iter().all(|source| source_fits(source, endpoint))
        && (1..sources.len()).all(|index| !sources[..index].contains(&sources[index]))
        && rule
            .outputs
            .iter()
            .all(|output| output.source.is_none_or(|source| source_fits(&source, &output.endpoint)))
}

/// What makes two rules go together.
fn go_together(a: &Rule, b: &Rule) -> bool {
    let (one, other) = (&a.input.sources, &b.input.sources);
    let overlap =
        one.is_empty() || other.is_empty() || one.iter().any(|source| other.contains(source));
    a.name != b.name && !(a.input.endpoint == b.input.endpoint && overlap)
}

proptest! {
    #[test]
    fn generated_rules_are_judged_as_the_definition_says(
        drafts in prop::collection::vec(drafts(), 0..4),
    ) {
        let named = drafts.iter().all(|draft| draft.name.as_deref().is_none_or(|n| n != " "));
        let checked = check_rules(drafts);
        let rules = &checked.rules;
        let mut pairs = (0..rules.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let fed = rules.iter().flat_map(|rule| &rule.outputs)
            .any(|output| rules.iter().any(|rule| is_fed(output, &rule.input)));
        let valid = named
            && rules.iter().all(is_valid_alone)
            && pairs.all(|(a, b)| go_together(&rules[a], &rules[b]))
            && !fed;
        prop_assert_eq!(checked.problems.is_empty(), valid, "{:?}", checked.problems);
    }
}
