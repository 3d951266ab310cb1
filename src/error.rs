//! How errors reach the operator: what failed, why, and what to do about it.

use std::error::Error;
use std::fmt::Write as _;

/// An error that may know what the operator can do about it.
pub trait Remedy: Error {
    /// One line of advice, without a full stop.
    fn remedy(&self) -> Option<String>;
}

/// The text for standard error: the message, the chain of its causes, the remedy.
pub fn describe(error: &(impl Remedy + ?Sized)) -> String {
    let mut text = format!("ringtide: error: {error}");
    for cause in causes(error.source()) {
        let _ = write!(text, "\n  caused by: {cause}");
    }
    if let Some(remedy) = error.remedy() {
        let _ = write!(text, "\n  remedy: {remedy}");
    }
    text
}

/// An error and what is behind it, outermost first.
fn causes<'a>(
    first: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(first, |&error| error.source()).take(CAUSES_MAX)
}

/// An error with what is behind it, for a line of the log.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = causes(Some(error)).map(ToString::to_string).collect();
    causes.join(": ")
}

/// Chains are short; the bound only keeps an error that is its own source from hanging us.
const CAUSES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the door")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the lock is stuck")]
    struct Middle(#[source] std::io::Error);

    impl Remedy for Outer {
        fn remedy(&self) -> Option<String> {
            Some("oil the lock".to_owned())
        }
    }

    #[test]
    fn the_whole_chain_is_told() {
        let error = Outer(Middle(std::io::Error::other("rust")));
        assert_eq!(one_line(&error), "cannot open the door: the lock is stuck: rust");
        assert_eq!(
            describe(&error),
            "ringtide: error: cannot open the door\n  caused by: the lock is stuck\
             \n  caused by: rust\n  remedy: oil the lock"
        );
    }
}
