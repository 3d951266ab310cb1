//! Lines that fit beside another file. How long a file or a function is, is a matter of judgement.

use crate::tree::File;

pub(crate) fn findings(file: &File) -> Vec<String> {
    if !SOURCES.iter().any(|ending| file.path.ends_with(ending)) {
        return Vec::new();
    }
    let lines = file.text.lines().map(|line| line.chars().count()).enumerate();
    let long = lines.filter(|(_, characters)| *characters > LINE_CHARACTERS_MAX);
    long.map(|(index, characters)| {
        let place = format!("{}:{}", file.path, index + 1);
        format!("{place}: {characters} characters, at most {LINE_CHARACTERS_MAX}")
    })
    .collect()
}

const SOURCES: &[&str] = &[".rs", ".sh", ".py", ".ci/run"];
const LINE_CHARACTERS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_the_limit_passes_and_a_longer_one_is_named() {
        let line = |characters: usize| format!("//{}\n", "é".repeat(characters - 2));
        assert_eq!(findings(&File::new("a.rs", &line(100))), [""; 0]);
        let finding = "a.rs:1: 101 characters, at most 100";
        assert_eq!(findings(&File::new("a.rs", &line(101))), [finding]);
        assert_eq!(findings(&File::new("a.lock", &line(101))), [""; 0]);
    }
}
