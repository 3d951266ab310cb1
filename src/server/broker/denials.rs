//! Logging requests that are denied.

use std::collections::BTreeSet;

use tracing::warn;

/// Denials that were logged. The same request is repeated every second as long as its rule exists.
#[derive(Debug, Default)]
pub(super) struct Denials(BTreeSet<String>);

impl Denials {
    /// Logs a reason once.
    pub(crate) fn report(&mut self, reason: &str) {
        if self.is_news(reason) {
            warn!("the socket broker denies a request: {reason}");
            if self.0.len() == TOLD_MAX {
                warn!("the socket broker logs no more denials until its rules change");
            }
        }
    }

    /// Forgets what was logged, when rules have changed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn is_news(&mut self, reason: &str) -> bool {
        self.0.len() < TOLD_MAX && self.0.insert(reason.to_owned())
    }
}

/// Requests contain names of the other process's choice, so there may be any number of reasons.
const TOLD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_and_only_so_many_are() {
        let mut denials = Denials::default();
        assert!(denials.is_news("a") && denials.is_news("b"));
        assert!(!denials.is_news("a") && !denials.is_news("b"));
        let news = (0..1000).filter(|number| denials.is_news(&number.to_string())).count();
        assert_eq!(news, TOLD_MAX - 2);
        denials.forget();
        assert!(denials.is_news("a"));
    }
}
