//! As much understanding of Rust as the rules need: code apart from comments and literals,
//! words, and the paths of imports.

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

/// Where a word stands in a text, not as a part of a longer word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].ends_with(is_word_character)
            && !text[at + word.len()..].starts_with(is_word_character)
    })
}

/// What a path or a tree of imports names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The whole path; of a star, the path before it.
    pub(crate) path: String,
    /// The name under which it is known where it is imported.
    pub(crate) name: String,
}

/// Adds what a tree such as `a::{b, c::d as e}` names to `found`, and returns what follows the
/// tree.
pub(crate) fn expand<'a>(parent: &str, tree: &'a str, found: &mut Vec<Leaf>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut branches) = tree.strip_prefix('{') {
        loop {
            branches = expand(parent, branches, found).trim_start();
            match branches.strip_prefix(',') {
                Some(next) => branches = next,
                None => return branches.strip_prefix('}').unwrap_or(branches),
            }
        }
    }
    let length = tree.find(|c| !is_word_character(c)).unwrap_or(tree.len());
    let (segment, rest) = tree.split_at(length);
    if segment.is_empty() {
        // A star, the types of a call, or the end of a group after its last comma.
        let is_path = tree.starts_with(['*', '<']) && !parent.is_empty();
        if is_path {
            found.push(Leaf { path: parent.to_owned(), name: "*".to_owned() });
        }
        return tree.strip_prefix('*').unwrap_or(tree);
    }
    let path = match (parent, segment) {
        ("", _) => segment.to_owned(),
        (_, "self") => parent.to_owned(),
        _ => format!("{parent}::{segment}"),
    };
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(&path, deeper, found);
    }
    let own_name = path.rsplit("::").next().unwrap_or("").to_owned();
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        let renamed = renamed.trim_start();
        let end = renamed.find(|c| !is_word_character(c)).unwrap_or(renamed.len());
        found.push(Leaf { path, name: renamed[..end].to_owned() });
        return &renamed[end..];
    }
    found.push(Leaf { path, name: own_name });
    rest
}

pub(crate) fn is_word_character(character: char) -> bool {
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
    fn words_are_whole() {
        assert_eq!(words("unsafe_code, unsafe{ an_unsafe", "unsafe").collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn paths_are_taken_out_of_groups() {
        let mut leaves = Vec::new();
        let rest = expand("", "crate::{a::B, c::{self, d::*, e as f,}, g}; h", &mut leaves);
        let leaves: Vec<_> =
            leaves.iter().map(|leaf| (leaf.path.as_str(), leaf.name.as_str())).collect();
        assert_eq!(
            leaves,
            [
                ("crate::a::B", "B"),
                ("crate::c", "c"),
                ("crate::c::d", "*"),
                ("crate::c::e", "f"),
                ("crate::g", "g")
            ]
        );
        assert_eq!(rest, "; h");
    }
}
