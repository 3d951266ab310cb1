//! Nothing unfinished goes in.

use crate::scanner::words;
use crate::tree::File;

pub(crate) fn findings(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    for (word, masked) in UNFINISHED {
        let text = if *masked { &file.code } else { &file.text };
        for at in words(text, word) {
            if !masked || text[at + word.len()..].starts_with('!') {
                findings.push(format!("{}: {word}", file.place(at)));
            }
        }
    }
    findings
}

/// Words, and whether they count only as macros. Put together here, for this file is read too.
const UNFINISHED: &[(&str, bool)] = &[
    ("todo", true),
    ("unimplemented", true),
    (concat!("FIX", "ME"), false),
    (concat!("X", "XX"), false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_macros_are_found() {
        for text in ["// FIX_ME: later", "let a = to_do!();", "un_implemented!(\"a\")", "# X_XX"] {
            let unfinished = text.replace('_', "");
            assert_eq!(findings(&File::new("a.rs", &unfinished)).len(), 1, "{unfinished}");
            assert_eq!(findings(&File::new("a.rs", text)), [""; 0], "{text}");
        }
        let innocent = "mktemp a.XXXXXX; let todo = 1; // unimplemented on old kernels";
        assert_eq!(findings(&File::new("a.rs", innocent)), [""; 0]);
    }
}
