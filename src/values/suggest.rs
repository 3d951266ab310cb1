//! "Did you mean": the nearest valid name to one that is not.

/// The candidate most like `name`, if one is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = normalized(name);
    // A third of the letters wrong is a typing mistake; more is another word.
    let distance_max = name.chars().count() / 3;
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of an error message: `; did you mean "info"?`, or nothing.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    nearest(name, candidates)
        .map(|candidate| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

/// Comparing costs time in the product of both lengths, so that a long name is cut: none of
/// ours comes near this length.
fn normalized(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect::<String>().to_lowercase().replace('-', "_")
}

const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["announce_interval", "announce_jitter", "listen", "workers"];

    #[test]
    fn typing_mistakes_find_their_name() {
        for (name, expected) in [
            ("anounce_interval", "announce_interval"),
            ("announce-interval", "announce_interval"),
            ("AnnounceJitter", "announce_jitter"),
            ("lisetn", "listen"),
            ("worker", "workers"),
        ] {
            assert_eq!(nearest(name, NAMES), Some(expected), "{name}");
        }
    }

    #[test]
    fn another_word_finds_nothing() {
        for name in ["", "relay", "interval", "x"] {
            assert_eq!(nearest(name, NAMES), None, "{name}");
        }
        assert_eq!(nearest(&"announce_interval".repeat(10_000), NAMES), None);
        assert_eq!(did_you_mean("relay", NAMES), "");
    }
}
