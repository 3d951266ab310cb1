//! What settings amount to, in a few lines for people.

use super::{AccessConfig, AccessMode, Settings, TrackerConfig, WorkerCount};
use crate::io::{EngineChoice, RingFeatures};
use crate::values::units::format_duration;

impl Settings {
    /// What will run, one line each, for `config check` and the log at start.
    pub fn summary(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.tracker.as_ref().map(tracker_line).into_iter().collect();
        if let Some(relay) = &self.relay {
            let (count, plural) =
                (relay.rules.len(), if relay.rules.len() == 1 { "" } else { "s" });
            lines.push(format!("relay of {count} rule{plural}, offload {}", relay.offload.name()));
            lines.extend(relay.rules.iter().map(|rule| format!("rule {rule}")));
        }
        lines.extend(self.state_line());
        lines.push(self.workers_line());
        lines
    }

    fn state_line(&self) -> Option<String> {
        let directory = self.used_state_directory()?;
        if self.tracker.is_none() {
            return Some(format!("takeovers by way of {}", directory.display()));
        }
        let kept = match (self.state.swarms, self.state.save_interval) {
            (false, _) => "without swarms".to_owned(),
            (true, None) => "swarms saved at the end".to_owned(),
            (true, Some(interval)) => {
                format!("swarms saved every {} and at the end", format_duration(interval))
            }
        };
        Some(format!("state in {}, {kept}", directory.display()))
    }

    fn workers_line(&self) -> String {
        let count = match self.workers {
            WorkerCount::OnePerCore => "one worker per core".to_owned(),
            WorkerCount::Exactly(count) if count.get() == 1 => "1 worker".to_owned(),
            WorkerCount::Exactly(count) => format!("{count} workers"),
        };
        let cores: Vec<String> = self.cores.iter().map(ToString::to_string).collect();
        let cores = match cores.is_empty() {
            true => "on the cores this process may use".to_owned(),
            false => format!("on cores {}", cores.join(", ")),
        };
        let line = match self.engine {
            EngineChoice::Auto => format!("{count}, {cores}"),
            EngineChoice::Only(engine) => format!("{count}, {cores}, engine {}", engine.name()),
        };
        match self.io_uring_without {
            RingFeatures::NONE => line,
            without => format!("{line}, io_uring without {without}"),
        }
    }
}

fn tracker_line(tracker: &TrackerConfig) -> String {
    let listen: Vec<String> = tracker.listen.iter().map(ToString::to_string).collect();
    let torrents = match &tracker.access {
        Some(AccessConfig { mode: AccessMode::Allow, file }) => {
            format!("only the torrents in {}", file.display())
        }
        Some(AccessConfig { mode: AccessMode::Deny, file }) => {
            format!("all torrents but those in {}", file.display())
        }
        Some(AccessConfig { mode: AccessMode::Off, .. }) | None => "all torrents".to_owned(),
    };
    format!("tracker on {}, serving {torrents}", listen.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Engine;
    use crate::relay::{Input, RelaySettings, Rule};

    #[test]
    fn the_default_is_summed_up() {
        assert_eq!(
            Settings::default().summary(),
            [
                "tracker on 0.0.0.0:6969, [::]:6969, serving all torrents",
                "one worker per core, on the cores this process may use"
            ]
        );
    }

    #[test]
    fn choices_show() {
        let engine = EngineChoice::Only(Engine::Epoll);
        let (workers, cores) = (2.into(), vec![4, 6]);
        let mut settings = Settings { workers, engine, cores, ..Settings::default() };
        let tracker = settings.tracker.as_mut().unwrap();
        tracker.listen.truncate(1);
        tracker.access = Some(AccessConfig { mode: AccessMode::Deny, file: "/etc/bad.txt".into() });
        assert_eq!(
            settings.summary(),
            [
                "tracker on 0.0.0.0:6969, serving all torrents but those in /etc/bad.txt",
                "2 workers, on cores 4, 6, engine epoll"
            ]
        );
    }

    #[test]
    fn what_is_kept_shows() {
        let mut settings = Settings::default();
        settings.state.directory = Some("/var/lib/ringtide".into());
        let line = |settings: &Settings| settings.summary().swap_remove(1);
        assert_eq!(line(&settings), "state in /var/lib/ringtide, swarms saved at the end");
        settings.state.save_interval = Some(std::time::Duration::from_secs(600));
        assert!(line(&settings).ends_with(", swarms saved every 10m and at the end"));
        settings.state.swarms = false;
        assert!(line(&settings).ends_with("ringtide, without swarms"));
        settings.tracker = None;
        assert_eq!(settings.summary().len(), 1);
        settings.state.takeover = true;
        assert_eq!(settings.summary()[0], "takeovers by way of /var/lib/ringtide");
    }

    #[test]
    fn rules_show_one_a_line() {
        let input = Input { endpoint: "239.1.1.1:1@a".parse().unwrap(), sources: Vec::new() };
        let rule = Rule { name: "sink".to_owned(), input, outputs: Vec::new() };
        let relay = RelaySettings { rules: vec![rule.clone(), rule], ..RelaySettings::default() };
        let settings = Settings { tracker: None, relay: Some(relay), ..Settings::default() };
        assert_eq!(
            settings.summary(),
            [
                "relay of 2 rules, offload auto",
                "rule sink: 239.1.1.1:1@a is only counted",
                "rule sink: 239.1.1.1:1@a is only counted",
                "one worker per core, on the cores this process may use"
            ]
        );
    }
}
