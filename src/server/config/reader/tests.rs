//! Tests of the reader: what is read, what is refused, and where.

use super::*;

fn reader(text: &str) -> Reader<'_> {
    Reader::new(text, Path::new("r.toml")).map_err(|p| format!("{p:?}")).unwrap()
}

/// Keys, and sections in brackets.
fn known(keys: &[&'static str]) -> Vec<Known> {
    let known = |key: &&'static str| Known {
        key: key.trim_matches(['[', ']']),
        title: key.starts_with('[').then_some(*key),
    };
    keys.iter().map(known).collect()
}

fn lines(problems: Vec<ConfigProblem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_there_is_read_and_what_is_not_is_none() {
    let mut file = reader("a = 5\n[s]\nb = true\nc = [\"x\", \"y\"]\np = \"k\"");
    let limit = Limit { min: 0_u32, max: 9, because: "" };
    assert_eq!(file.quantity("a", &limit), Some(5));
    file.section("s");
    assert_eq!(file.boolean("s.b"), Some(true));
    assert_eq!(file.strings("s.c", |t| Ok(t.len())), Some(vec![1, 1]));
    assert_eq!(file.path("s.p"), Some(PathBuf::from("k")));
    assert_eq!(file.boolean("s.absent"), None);
    assert!(file.has("s.b") && !file.has("s.absent") && !file.has("t.b"));
    assert!(file.finish(&known(&["a", "[s]", "s.b", "s.c", "s.p"])).is_empty());
}

#[test]
fn problems_come_in_the_order_of_the_file_with_their_places() {
    let mut file = reader("e = 1\n\"ü\" = \"ü\"\nb = \"ü\"\n[s]\n  x = 1\n");
    file.section("s");
    let limit = Limit { min: 2_u32, max: 9, because: "of this" };
    file.boolean("b");
    file.quantity("e", &limit);
    assert_eq!(
        lines(file.finish(&known(&["e", "b", "[s]"]))),
        [
            "r.toml:1:5: e = 1: allowed is 2 to 9, because of this",
            "r.toml:2:1: unknown key \"ü\"",
            "r.toml:3:5: b = \"ü\": must be true or false, not of type string",
            "r.toml:5:3: unknown key \"x\" in [s]",
        ]
    );
}

#[test]
fn every_syntax_error_is_told() {
    let problems = Reader::new("a = \nb = 1\nc = =\nb = 2", Path::new("r.toml")).err();
    let lines = lines(problems.unwrap());
    for line in ["r.toml:1:", "r.toml:3:", "r.toml:4:"] {
        assert!(lines.iter().any(|problem| problem.starts_with(line)), "{line} {lines:?}");
    }
    assert!(lines.iter().all(|problem| problem.contains(": invalid TOML: ")), "{lines:?}");
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    let mut file = reader("b = true\n[s]\na = true\n");
    file.section("s");
    file.boolean("a");
    file.boolean("s.b");
    let lines = lines(file.finish(&known(&["[s]", "a", "s.b"])));
    assert!(lines[0].ends_with("unknown key \"b\"; it belongs in [s]"), "{lines:?}");
    assert!(lines[1].ends_with("in [s]; it belongs before the first section"), "{lines:?}");
}

const RULES: Tables = Tables { key: "s.r", noun: "rule", written: "[[s.r]]" };
const TABLES: &[&str] = &["[s]", "[s.r]", "s.r.n", "[s.r.p]", "s.r.p.x"];
const PARTS: Tables = Tables { key: "s.r.p", noun: "part", written: "[{}]" };

#[test]
fn arrays_of_tables_are_read_table_by_table() {
    let mut file = reader(
        "[[s.r]]\nn = \"a\"\np = [{ x = 1 }, { x = 2 }]\n[[s.r]]\n[[s.r]]\n[[s.r.p]]\nx = 3\n",
    );
    file.section("s");
    let limit = Limit { min: 0_u32, max: 9, because: "" };
    let rules = file.each(RULES, |file, index| {
        let name = file.string("s.r.n", |text| Ok(text.to_owned()));
        (index, name, file.each(PARTS, |file, _| file.quantity("s.r.p.x", &limit)))
    });
    let expected = [
        (0, Some("a".to_owned()), vec![Some(1), Some(2)]),
        (1, None, vec![]),
        (2, None, vec![Some(3)]),
    ];
    assert_eq!(rules, expected);
    assert_eq!(lines(file.finish(&known(TABLES))), [] as [&str; 0]);
}

#[test]
fn problems_in_arrays_of_tables_name_their_tables() {
    let mut file =
        reader("[[s.r]]\nn = 1\n[[s.r]]\np = [5, { x = 1 },\n{ x = \"w\", y = 1 }, {}]\n");
    file.section("s");
    let limit = Limit { min: 2_u32, max: 9, because: "of this" };
    file.each(RULES, |file, index| {
        file.label(format!("R{index}"));
        file.boolean("s.r.n");
        file.each(PARTS, |file, _| {
            let read = file.quantity_or_word("s.r.p.x", &limit, "w");
            if read.is_none() {
                file.problem("s.r.p.x", "is not there");
            }
        })
    });
    file.problem_at("s.r.n", &[1], "nowhere".to_owned());
    file.problem_at("s.r.p.x", &[1, 2], "here".to_owned());
    assert_eq!(
        lines(file.finish(&known(TABLES))),
        [
            "r.toml:2:5: R0: n = 1: must be true or false, not of type integer",
            "r.toml:3:1: nowhere",
            "r.toml:4:6: R1: p: must be a list of tables, as in [{}], not of type integer",
            "r.toml:4:15: R1, part 2: x = 1: allowed is 2 to 9, because of this; \"w\" is allowed, \
             too",
            "r.toml:4:15: R1, part 2: x: is not there",
            "r.toml:5:7: here",
            "r.toml:5:12: unknown key \"y\" in [s.r.p]",
            "r.toml:5:21: R1, part 4: x: is not there",
        ]
    );
}
