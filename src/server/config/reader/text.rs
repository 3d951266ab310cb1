//! Places in the file's text, and excerpts of it.

/// Turns ascending offsets into lines and columns in one pass over the text.
pub(super) struct LineCounter<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> LineCounter<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1, column: 1 }
    }

    pub(super) fn advance(&mut self, offset: usize) -> (usize, usize) {
        for character in self.text.get(self.offset..offset).unwrap_or_default().chars() {
            match character {
                '\n' => (self.line, self.column) = (self.line + 1, 1),
                _ => self.column += 1,
            }
            self.offset += character.len_utf8();
        }
        (self.line, self.column)
    }
}

/// File contents as they may go to a terminal: one line, bounded, without control characters.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(EXCERPT_CHARS_MAX) {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

const EXCERPT_CHARS_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_safe_for_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable(&"x".repeat(61)), format!("{}…", "x".repeat(60)));
    }
}
