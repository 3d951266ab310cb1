//! The configuration file. Input: its text.

use std::path::Path;

use ringtide::server::config::{ConfigError, LISTEN_MAX, parse};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let settings = match parse(text, Path::new("fuzz.toml")) {
        Ok(settings) => settings,
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(problem.place.starts_with("fuzz.toml"), "{problem:?}");
                assert!(!problem.message.is_empty(), "{problem:?}");
            }
            return;
        }
        Err(error) => panic!("nothing is read: {error}"),
    };
    assert!(settings.tracker.is_some() || settings.relay.is_some(), "nothing to do");
    if let Some(tracker) = settings.tracker {
        assert!((1..=LISTEN_MAX).contains(&tracker.listen.len()));
        assert!(tracker.settings.numwant_default <= tracker.settings.numwant_max);
        assert!(tracker.settings.peer_timeout_s <= 3 * 3600);
    }
    if let Some(relay) = settings.relay {
        let names: std::collections::HashSet<_> = relay.rules.iter().map(|r| &r.name).collect();
        assert_eq!(names.len(), relay.rules.len(), "two rules of one name");
    }
}
