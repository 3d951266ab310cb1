//! The rules of the house that can be checked: lengths, where `unsafe` stands, which module may
//! know which, what is left behind.
#![allow(clippy::unwrap_used)]

mod documents;
mod layers;
mod leftovers;
mod lengths;
mod scanner;
mod tree;
mod unsafety;

use tree::File;

#[test]
fn files_functions_and_lines_are_short() {
    assert_none(lengths::findings);
}

#[test]
fn unsafe_code_stands_where_it_may_and_is_explained() {
    assert_none(unsafety::findings);
}

#[test]
fn modules_know_only_what_is_below_them() {
    assert_none(layers::findings);
}

#[test]
fn nothing_unfinished_is_left() {
    assert_none(leftovers::findings);
}

#[test]
fn documents_describe_the_present_and_name_scripts_that_run() {
    assert_none(documents::findings);
}

/// Applies a rule to every file and fails with all that it finds.
fn assert_none(rule: impl Fn(&File) -> Vec<String>) {
    let files = tree::files();
    assert!(files.len() > 50, "only {} files found", files.len());
    let findings: Vec<_> = files.iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
