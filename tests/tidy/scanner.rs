//! As much understanding of Rust as the rules need: code apart from comments and literals,
//! functions, words, and the paths that begin with `crate`.

use std::ops::Range;

/// Replaces comments and the insides of literals by spaces; every line and byte keeps its place.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let end = at + hidden_length(text, at);
        for byte in masked[at..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end.max(at + 1);
    }
    // Whole characters were replaced, so this is still UTF-8.
    String::from_utf8(masked).unwrap()
}

/// The length of the comment or literal that begins here, 0 if none does.
fn hidden_length(text: &str, at: usize) -> usize {
    if !text.is_char_boundary(at) {
        return 0;
    }
    let rest = &text[at..];
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, b'"');
    }
    if rest.starts_with('\'') && is_char_literal(rest) {
        return quoted_length(rest, b'\'');
    }
    let after_word = text[..at].ends_with(is_word_character);
    if after_word { 0 } else { raw_string_length(rest).unwrap_or(0) }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a literal that ends with the quote with which it begins.
fn quoted_length(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether a single quote begins a literal and not a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    let (first, second) = (characters.next(), characters.next());
    first == Some('\\') || second == Some('\'')
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix.len() + hashes;
    if !rest[open..].starts_with('"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let inside = rest[open + 1..].find(&close);
    Some(inside.map_or(rest.len(), |length| open + 1 + length + close.len()))
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// From the word `fn` to the closing brace, in bytes.
    pub(crate) range: Range<usize>,
}

/// The functions in masked code. Those within others come after them.
pub(crate) fn functions(code: &str) -> Vec<Function<'_>> {
    words(code, "fn").filter_map(|at| function_at(code, at)).collect()
}

fn function_at(code: &str, at: usize) -> Option<Function<'_>> {
    let named = code[at + 2..].trim_start();
    // A type such as `fn(u8)` has no name.
    let name = &named[..named.find(|c| !is_word_character(c)).unwrap_or(named.len())];
    if name.is_empty() {
        return None;
    }
    let mut parentheses = 0;
    let mut braces = 0;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => parentheses += 1,
            b')' | b']' => parentheses -= 1,
            // A declaration without a body; not the semicolon of an array's type.
            b';' if parentheses == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            _ => continue,
        }
        if byte == b'}' && braces == 0 && parentheses == 0 {
            return Some(Function { name, range: at..at + offset + 1 });
        }
    }
    None
}

/// Where a word stands in a text, not as a part of a longer word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].ends_with(is_word_character)
            && !text[at + word.len()..].starts_with(is_word_character)
    })
}

/// The paths below `crate` that masked code names, groups such as `crate::{a, b::c}` taken apart,
/// each with where it stands.
pub(crate) fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for at in words(code, "crate") {
        if let Some(tree) = code[at + "crate".len()..].strip_prefix("::") {
            let mut found = Vec::new();
            expand("", tree, &mut found);
            paths.extend(found.into_iter().map(|path| (at, path)));
        }
    }
    paths
}

/// Adds the paths of a tree of imports to `found` and returns what follows the tree.
fn expand<'a>(parent: &str, tree: &'a str, found: &mut Vec<String>) -> &'a str {
    let mut rest = tree.trim_start();
    if let Some(mut branches) = rest.strip_prefix('{') {
        loop {
            branches = expand(parent, branches, found).trim_start();
            match branches.strip_prefix(',') {
                Some(next) => branches = next,
                None => return branches.strip_prefix('}').unwrap_or(branches),
            }
        }
    }
    let length = rest.find(|c| !is_word_character(c)).unwrap_or(rest.len());
    let (segment, after) = rest.split_at(length);
    if segment.is_empty() {
        // A star, or the end of a group after its last comma.
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    let path = if parent.is_empty() { segment.into() } else { format!("{parent}::{segment}") };
    rest = after;
    match rest.strip_prefix("::") {
        Some(deeper) => expand(&path, deeper, found),
        None => {
            found.push(path);
            // An import under another name.
            rest.find([',', '}', ';']).map_or(rest, |end| match rest[..end].trim_start() {
                renamed if renamed.starts_with("as ") => &rest[end..],
                _ => rest,
            })
        }
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_spaces() {
        for (text, hidden) in [
            ("a // b\nc", &["// b"][..]),
            ("a /* b /* c */ d */ e", &["/* b /* c */ d */"]),
            ("f(\"x\\\"{y\", z)", &["\"x\\\"{y\""]),
            ("f(r#\"x\"{\"#, z)", &["r#\"x\"{\"#"]),
            ("f(br\"\\\", z)", &["br\"\\\""]),
            ("['{', '\\'', '\\u{7f}']", &["'{'", "'\\''", "'\\u{7f}'"]),
            ("fn f<'a>(b: &'a str)", &[]),
            ("r#type = for\"x\"", &["\"x\""]),
            ("'é' \"é\"", &["'é'", "\"é\""]),
            ("\"unfinished", &["\"unfinished"]),
        ] {
            let masked = hidden.iter().fold(text.to_owned(), |rest, part| {
                assert!(rest.contains(part), "{part} in {rest}");
                rest.replacen(part, &" ".repeat(part.len()), 1)
            });
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn functions_have_names_and_bodies() {
        let code = "trait T { fn declared(a: [u8; 4]) -> u8; }\n\
                    fn first(f: fn(u8) -> u8) { if a { b } }\n\
                    impl U { async fn second<const N: usize>() where [u8; N]: V {\n} }";
        let functions = functions(code);
        let names: Vec<_> = functions.iter().map(|function| function.name).collect();
        assert_eq!(names, ["first", "second"]);
        assert!(code[functions[0].range.clone()].ends_with("{ if a { b } }"));
        assert!(code[functions[1].range.clone()].ends_with("{\n}"));
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("unsafe_code, unsafe{ an_unsafe", "unsafe").collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn paths_are_taken_out_of_groups() {
        let code = "use crate::{a::B, c::{self, d::*, e as f,}, g}; crate::h::i(); pub(crate) x";
        let paths: Vec<_> = crate_paths(code).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["a::B", "c::self", "c::e", "g", "h::i"]);
    }
}
