//! What settings amount to, in a few lines for people.

use super::{AccessConfig, AccessMode, Settings, WorkerCount};

impl Settings {
    /// What will run, one line each, for `config check` and the log at start.
    pub fn summary(&self) -> Vec<String> {
        let tracker = &self.tracker;
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
        vec![format!("tracker on {}, serving {torrents}", listen.join(", ")), self.workers_line()]
    }

    fn workers_line(&self) -> String {
        let count = match self.workers {
            WorkerCount::OnePerCore => "one worker per core".to_owned(),
            WorkerCount::Exactly(count) if count.get() == 1 => "1 worker".to_owned(),
            WorkerCount::Exactly(count) => format!("{count} workers"),
        };
        if self.cores.is_empty() {
            return format!("{count}, on the cores this process may use");
        }
        let cores: Vec<String> = self.cores.iter().map(ToString::to_string).collect();
        format!("{count}, on cores {}", cores.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut settings = Settings { workers: 2.into(), cores: vec![4, 6], ..Settings::default() };
        settings.tracker.listen.truncate(1);
        settings.tracker.access =
            Some(AccessConfig { mode: AccessMode::Deny, file: "/etc/bad.txt".into() });
        assert_eq!(
            settings.summary(),
            [
                "tracker on 0.0.0.0:6969, serving all torrents but those in /etc/bad.txt",
                "2 workers, on cores 4, 6"
            ]
        );
    }
}
