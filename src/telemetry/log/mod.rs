//! What is logged and how: filters, formats, and the set-up of `tracing`.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::error::Remedy;
use crate::values::suggest::did_you_mean;

mod log_on_change;
mod rate_limited;

pub use log_on_change::LogOnChange;
pub use rate_limited::{Admitted, RateLimited};

/// The environment variable that sets the filter, between flag and file in precedence.
pub const FILTER_VARIABLE: &str = "RINGTIDE_LOG";

/// Which events are logged: a level, or directives for modules (`info,ringtide::tracker=debug`).
/// The text of it is known to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Reads a filter in the syntax of [`Targets`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        // `Targets` takes any word for the name of a module: "inof" would silence everything else.
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        directives.iter().try_for_each(|directive| check_directive(directive))?;
        let filter = Self(directives.join(","));
        match filter.compile() {
            Ok(_) => Ok(filter),
            Err(error) => Err(FilterError::Malformed(error.to_string())),
        }
    }

    fn compile(&self) -> Result<Targets, tracing_subscriber::filter::ParseError> {
        self.0.parse()
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// Why a text is no [`LogFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is nothing in it.
    #[error("must be a level: {LEVELS_TEXT}")]
    Empty,
    /// A word that is no level and no module of ours.
    #[error(
        "\"{word}\" is no level ({LEVELS_TEXT}) and no module of ringtide{}",
        did_you_mean(word, LEVELS)
    )]
    UnknownWord {
        /// The word.
        word: String,
    },
    /// A directive that does not parse.
    #[error("{0}; a filter is a level ({LEVELS_TEXT}) or like \"info,ringtide::tracker=debug\"")]
    Malformed(String),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The formats by the names that file and flags use.
    pub const NAMES: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// What is logged and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Which events are logged.
    pub filter: LogFilter,
    /// Text or JSON lines.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: LogFilter::default(), format: LogFormat::Text }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The environment variable holds no valid filter.
    #[error("the environment variable {FILTER_VARIABLE} is not a log filter")]
    Variable(#[source] FilterError),
    /// The subscriber refused the filter, or there is one already.
    #[error("cannot set up logging")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Remedy for LogError {
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Variable(_) => Some(format!("unset {FILTER_VARIABLE}, or set it to \"info\"")),
            Self::Setup(_) => None,
        }
    }
}

impl LogSettings {
    /// Applies what goes before the file: the flag, or else the environment variable. Returns its
    /// name, if there was any.
    pub fn override_filter(
        &mut self,
        flag: Option<LogFilter>,
        variable: Option<&str>,
    ) -> Result<Option<&'static str>, LogError> {
        let variable = variable.filter(|text| !text.trim().is_empty());
        match (flag, variable) {
            (Some(filter), _) => {
                self.filter = filter;
                Ok(Some("--log-level"))
            }
            (None, Some(text)) => {
                self.filter = LogFilter::parse(text).map_err(LogError::Variable)?;
                Ok(Some(FILTER_VARIABLE))
            }
            (None, None) => Ok(None),
        }
    }
}

/// Changes what is logged while the process runs.
pub struct LogControl {
    active_targets: reload::Handle<Targets, Registry>,
    in_force: RefCell<LogFilter>,
    /// The flag or variable that goes before the file's filter, if there is one.
    pub overridden_by: Option<&'static str>,
}

impl LogControl {
    /// Puts another filter in force.
    ///
    /// # Errors
    /// When the subscriber refuses it; the one in force stays.
    pub fn set(&self, filter: &LogFilter) -> Result<(), LogError> {
        let targets = filter.compile().map_err(|error| LogError::Setup(error.into()))?;
        self.active_targets.reload(targets).map_err(|error| LogError::Setup(error.into()))?;
        self.in_force.replace(filter.clone());
        Ok(())
    }

    /// The filter in force.
    pub fn filter(&self) -> LogFilter {
        self.in_force.borrow().clone()
    }
}

/// Starts logging to standard error, for the rest of the process.
///
/// Timestamps are UTC in RFC 3339. Text is coloured on a terminal unless `NO_COLOR` is set. A
/// line that cannot be written is lost without a further word: there is nowhere left to say it.
///
/// `overridden_by` is what [`LogSettings::override_filter`] returned.
pub fn start(
    settings: &LogSettings,
    overridden_by: Option<&'static str>,
) -> Result<LogControl, LogError> {
    let targets = settings.filter.compile().map_err(|error| LogError::Setup(error.into()))?;
    let (filter, active_targets) = reload::Layer::new(targets);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        .log_internal_errors(false);
    let lines = match settings.format {
        LogFormat::Text => lines.compact().boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| LogError::Setup(error.into()))?;
    let in_force = RefCell::new(settings.filter.clone());
    Ok(LogControl { active_targets, in_force, overridden_by })
}

fn check_directive(directive: &str) -> Result<(), FilterError> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (target, Some(level)),
        None => (directive, None),
    };
    // Without a level, the module alone would be logged, and all of it.
    if directive.is_empty() || level.is_some_and(|level| level.trim().is_empty()) {
        return Err(FilterError::Malformed(format!("\"{directive}\" names no level")));
    }
    if directive.contains(['[', ']', '{', '}']) {
        let message = format!("\"{directive}\": filters by span or field are not supported");
        return Err(FilterError::Malformed(message));
    }
    let is_level = directive.parse::<LevelFilter>().is_ok();
    let is_ours = target.split("::").next() == Some(env!("CARGO_PKG_NAME"));
    if level.is_none() && !is_level && !is_ours {
        return Err(FilterError::UnknownWord { word: directive.to_owned() });
    }
    Ok(())
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const LEVELS_TEXT: &str = "error, warn, info, debug, trace, off";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_and_directives_are_filters() {
        for text in [
            "info",
            "WARN",
            "off",
            "info,ringtide::tracker=debug",
            "ringtide::uring",
            "warn,hyper=off",
        ] {
            assert_eq!(LogFilter::parse(text).map(|filter| filter.0), Ok(text.to_owned()));
        }
        assert_eq!(LogFilter::parse(" warn, hyper=off "), LogFilter::parse("warn,hyper=off"));
    }

    #[test]
    fn a_misspelled_level_is_no_module() {
        let error = LogFilter::parse("inof").unwrap_err().to_string();
        assert!(error.contains("did you mean \"info\"?"), "{error}");
        assert!(LogFilter::parse("info,trcae").is_err());
        for incomplete in [",", "info,", "debug=", "info,ringtide::tracker= "] {
            let error = LogFilter::parse(incomplete).unwrap_err().to_string();
            assert!(error.contains("names no level"), "{error}");
        }
        assert!(LogFilter::parse("ringtideous").is_err());
    }

    #[test]
    fn a_malformed_filter_says_what_one_looks_like() {
        for text in ["ringtide=inof", "ringtide==debug", "ringtide[span{field=1}]=trace"] {
            let error = LogFilter::parse(text).unwrap_err().to_string();
            assert!(error.contains("info,ringtide::tracker=debug"), "{text}: {error}");
        }
        assert_eq!(LogFilter::parse(" "), Err(FilterError::Empty));
    }

    #[test]
    fn flag_goes_before_variable_before_file() {
        let filter_after = |flag: Option<&str>, variable: Option<&str>| {
            let mut log = LogSettings::default();
            let flag = flag.map(|text| LogFilter::parse(text).unwrap());
            log.override_filter(flag, variable).map(|by| (log.filter.0, by))
        };
        let after = |flag, variable| filter_after(flag, variable).unwrap();
        assert_eq!(after(None, None), ("info".to_owned(), None));
        assert_eq!(after(None, Some("")), ("info".to_owned(), None));
        assert_eq!(after(None, Some("debug")), ("debug".to_owned(), Some("RINGTIDE_LOG")));
        assert_eq!(after(Some("trace"), Some("debug")), ("trace".to_owned(), Some("--log-level")));
        assert!(matches!(filter_after(None, Some("loud")), Err(LogError::Variable(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z=,:\\[\\]{} 0-9\"]{0,30}|\\PC*") {
            let _ = LogFilter::parse(&text);
        }
    }
}
