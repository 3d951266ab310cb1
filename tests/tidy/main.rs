//! The rules of the house that can be checked: the width of lines, where `unsafe` stands, which
//! room may use which, words that are gone, what is left behind.
#![allow(clippy::unwrap_used)]

mod arrows;
mod documents;
mod leftovers;
mod lengths;
mod modules;
mod scanner;
mod tree;
mod unsafety;
mod words;

use tree::File;

#[test]
fn lines_are_short() {
    assert_none(lengths::findings);
}

#[test]
fn unsafe_code_stands_where_it_may_and_is_explained() {
    assert_none(unsafety::findings);
}

#[test]
fn rooms_use_only_what_the_table_lists() {
    assert_empty(arrows::findings(&tree::files()));
}

#[test]
fn files_use_each_other_in_no_circle_that_is_not_explained() {
    assert_empty(arrows::circles(&tree::files()));
}

#[test]
fn the_architecture_shows_the_table_of_arrows() {
    assert_none(arrows::document_findings);
}

#[test]
fn product_code_uses_the_words_of_the_field() {
    assert_none(words::findings);
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
    assert_empty(files.iter().flat_map(rule).collect());
}

fn assert_empty(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
