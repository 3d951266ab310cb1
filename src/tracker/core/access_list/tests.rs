//! Tests of the access list: what operators write, what goes wrong, and generated files.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::wire::bep15::golden::{HASH_A, HASH_B};

const OTHER: InfoHash = InfoHash([7; 20]);

fn problem(text: impl AsRef<[u8]>) -> (usize, LineProblem) {
    match AccessList::parse(text, AccessMode::Allow).unwrap_err().problem {
        AccessListProblem::Line { line, reason } => (line, reason),
        other => panic!("expected a bad line, got {other:?}"),
    }
}

#[test]
fn what_the_modes_mean() {
    let text = format!("{HASH_A}\n{HASH_B}\n");
    let permitted = |mode| {
        let list = AccessList::parse(&text, mode).unwrap();
        assert_eq!(list.mode(), mode);
        [HASH_A, HASH_B, OTHER].map(|hash| list.permits(&hash))
    };
    assert_eq!(permitted(AccessMode::Off), [true, true, true]);
    assert_eq!(permitted(AccessMode::Allow), [true, true, false]);
    assert_eq!(permitted(AccessMode::Deny), [false, false, true]);
}

#[test]
fn an_empty_list() {
    for text in ["", "\n", "# nothing\r\n\r\n", "\u{feff}"] {
        let permits = |mode| {
            let list = AccessList::parse(text, mode).unwrap();
            assert!(list.is_empty());
            list.permits(&OTHER)
        };
        assert!(permits(AccessMode::Off));
        assert!(!permits(AccessMode::Allow));
        assert!(permits(AccessMode::Deny));
    }
    assert!(AccessList::default().permits(&OTHER));
}

#[test]
fn what_editors_and_operators_write() {
    let text = "\u{feff}6161616161616161616161616161616161616141\r\n\
        \r\n\
        # a comment, ümlaut included\r\n\
        \t 6262626262626262626262626262626262626242  # a v1 hash # again\r\n\
        6161616161616161616161616161616161616141\n\
        07070707070707070707070707070707070707070123456789ABCDEFabcdef01#v2";
    let list = AccessList::parse(text, AccessMode::Allow).unwrap();
    assert_eq!(list.len(), 3, "one of the four lines repeats another");
    assert!([HASH_A, HASH_B, OTHER].iter().all(|hash| list.permits(hash)));
}

#[test]
fn bad_lines_are_named() {
    assert_eq!(problem("xyz"), (1, LineProblem::Hash(InfoHashError::Length(3))));
    let two = format!("{HASH_A} {HASH_B}");
    assert_eq!(problem(two), (1, LineProblem::Hash(InfoHashError::Length(81))));
    let wrong = format!("# list\r\n\r\n{HASH_A}\r\n{}\r\n", "0".repeat(39) + "o");
    let digit = InfoHashError::Digit { position: 40, character: 'o' };
    assert_eq!(problem(wrong), (4, LineProblem::Hash(digit)));
    // A byte order mark is one at the start only.
    assert_eq!(problem(format!("\n\u{feff}{HASH_A}")).0, 2);
}

#[test]
fn what_is_not_utf8() {
    let latin1 = [format!("{HASH_A}\n").as_bytes(), b"# caf\xe9\n"].concat();
    assert_eq!(problem(latin1), (2, LineProblem::NotUtf8));
    let utf16: Vec<u8> =
        format!("\u{feff}{HASH_A}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(problem(utf16), (1, LineProblem::NotUtf8));
    assert_eq!(problem([0xff, 0x0a, 0xff]), (1, LineProblem::NotUtf8));
}

#[test]
fn files_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("allow.txt");
    fs::write(&path, format!("{HASH_A}\n")).unwrap();
    let list = AccessList::load(&path, AccessMode::Deny).unwrap();
    assert!(!list.permits(&HASH_A) && list.permits(&HASH_B));

    fs::write(&path, format!("{HASH_A}\n{HASH_B}\n123\n")).unwrap();
    let error = AccessList::load(&path, AccessMode::Deny).unwrap_err();
    let expected = format!(
        "access list {}: line 3: an info hash has 40 hex digits (64 for v2), not 3 characters",
        path.display()
    );
    assert_eq!(error.to_string(), expected);

    let missing = AccessList::load(Path::new("/nonexistent/list"), AccessMode::Deny).unwrap_err();
    assert!(missing.to_string().starts_with("access list /nonexistent/list: cannot be read: No"));
    let unnamed = AccessList::parse("1", AccessMode::Allow).unwrap_err().to_string();
    assert!(unnamed.starts_with("access list: line 1: "), "{unnamed}");
}

#[test]
fn the_first_and_the_last_prefix() {
    let hashes = [[0; 20], [0xff; 20]].map(InfoHash);
    let list =
        AccessList::parse(format!("{}\n{}", hashes[1], hashes[0]), AccessMode::Allow).unwrap();
    assert!(hashes.iter().all(|hash| list.permits(hash)));
    let mut near = [0xff; 20];
    near[19] = 0xfe;
    assert!(!list.permits(&InfoHash(near)));
}

/// One line of a generated file.
#[derive(Clone, Debug)]
enum Line {
    V1(InfoHash, bool),
    V2(InfoHash, [u8; 12]),
    Commented(InfoHash, String),
    Comment(String),
    Blank(String),
}

impl Line {
    fn hash(&self) -> Option<InfoHash> {
        match self {
            Self::V1(hash, _) | Self::V2(hash, _) | Self::Commented(hash, _) => Some(*hash),
            Self::Comment(_) | Self::Blank(_) => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::V1(hash, true) => hash.to_string().to_uppercase(),
            Self::V1(hash, false) => hash.to_string(),
            Self::V2(hash, rest) => {
                let rest: String = rest.iter().map(|byte| format!("{byte:02X}")).collect();
                format!("{hash}{rest}")
            }
            Self::Commented(hash, comment) => format!("{hash} # {comment}"),
            Self::Comment(comment) => format!("#{comment}"),
            Self::Blank(space) => space.clone(),
        }
    }
}

/// Mostly spread, as real hashes are, and sometimes crowded into one prefix.
fn hashes() -> impl Strategy<Value = InfoHash> {
    let crowded = any::<u8>().prop_map(|last| {
        let mut bytes = [3; 20];
        bytes[19] = last;
        InfoHash(bytes)
    });
    prop_oneof![3 => any::<[u8; 20]>().prop_map(InfoHash), 1 => crowded]
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let comment = "[ -~é→\t]{0,30}";
    let line = prop_oneof![
        (hashes(), any::<bool>()).prop_map(|(hash, upper)| Line::V1(hash, upper)),
        (hashes(), any::<[u8; 12]>()).prop_map(|(hash, rest)| Line::V2(hash, rest)),
        (hashes(), comment).prop_map(|(hash, comment)| Line::Commented(hash, comment)),
        comment.prop_map(Line::Comment),
        "[ \t]{0,4}".prop_map(Line::Blank),
    ];
    prop::collection::vec(line, 0..60)
}

fn join(lines: &[Line], line_end: &str) -> String {
    lines.iter().map(Line::text).collect::<Vec<_>>().join(line_end)
}

proptest! {
    #[test]
    fn generated_lists_round_trip(
        lines in lines(),
        crlf: bool,
        mark: bool,
        others in prop::collection::vec(hashes(), 0..20),
    ) {
        let mark = if mark { "\u{feff}" } else { "" };
        let text = format!("{mark}{}", join(&lines, if crlf { "\r\n" } else { "\n" }));
        let list = AccessList::parse(text, AccessMode::Allow).expect("a good list");
        let expected: BTreeSet<InfoHash> = lines.iter().filter_map(Line::hash).collect();
        prop_assert_eq!(list.len(), expected.len());
        for hash in expected.iter().chain(&others) {
            prop_assert_eq!(list.permits(hash), expected.contains(hash));
        }
    }

    #[test]
    fn the_first_bad_line_is_the_one_named(
        good in lines(),
        bad in "[0-9a-f]{39}|[0-9a-f]{41}|[g-z]{40}|[0-9a-f]{40}[.][0-9a-f]{23}",
        after in lines(),
        crlf: bool,
    ) {
        let line_end = if crlf { "\r\n" } else { "\n" };
        let before = good.iter().map(|line| line.text() + line_end).collect::<String>();
        let text = format!("{before}{bad}{line_end}{}", join(&after, line_end));
        let (line, reason) = problem(text);
        prop_assert_eq!(line, good.len() + 1);
        prop_assert!(matches!(reason, LineProblem::Hash(_)));
    }

    #[test]
    fn arbitrary_input_never_panics(
        text in any::<String>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        near in "([0-9a-f]{40}|#|é|\r|\n|\u{feff}| ){0,12}",
    ) {
        let _ = AccessList::parse(text, AccessMode::Deny);
        let _ = AccessList::parse(bytes, AccessMode::Deny);
        let _ = AccessList::parse(near, AccessMode::Deny);
    }
}

#[test]
fn the_generator_reaches_every_variant() {
    let mut runner = TestRunner::deterministic();
    let generator = lines();
    let mut reached = [false; 6];
    for _ in 0..50 {
        for line in generator.new_tree(&mut runner).expect("lines").current() {
            let variant = match line {
                Line::V1(_, false) => 0,
                Line::V1(_, true) => 1,
                Line::V2(..) => 2,
                Line::Commented(..) => 3,
                Line::Comment(_) => 4,
                Line::Blank(_) => 5,
            };
            reached[variant] = true;
        }
    }
    assert_eq!(reached, [true; 6]);
}
