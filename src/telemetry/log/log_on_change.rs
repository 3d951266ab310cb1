//! Lines about what fails again and again.

/// A fault that is said once, however often it is met, and again when it comes back.
///
/// ```
/// # use ringtide::telemetry::log::LogOnChange;
/// let mut told = LogOnChange::default();
/// assert!(told.is_news("no space left"));
/// assert!(!told.is_news("no space left"));
/// assert!(told.is_news("not permitted"), "another reason");
/// assert!(told.is_over());
/// assert!(!told.is_over());
/// assert!(told.is_news("not permitted"));
/// ```
#[derive(Debug, Default)]
pub struct LogOnChange(Option<String>);

impl LogOnChange {
    /// Whether this reason is another one than the last, or the first.
    pub fn is_news(&mut self, reason: &str) -> bool {
        let is_news = self.0.as_deref() != Some(reason);
        self.0 = Some(reason.to_owned());
        is_news
    }

    /// What was said last, while it is not over.
    pub fn reason(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Notes that nothing is wrong any more. Returns whether something was.
    pub fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}
