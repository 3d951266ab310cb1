//! The configuration file as the broker uses it after the start.
//!
//! The serving process has the same user and may have been compromised: rules that it could have
//! written itself are worth nothing. So the file is read again only if that user can change neither
//! the file nor any directory on the way to it.

use std::path::{Path, PathBuf};

use super::trust::{Distrust, Stamp, unalterable};
use crate::server::config::{self, Settings};

/// The file, and its last known content.
#[derive(Debug, Default)]
pub(super) struct RuleFile {
    /// `None` without a file.
    path: Option<PathBuf>,
    /// Its version when it was last read.
    seen: Option<Stamp>,
    /// What was wrong with it.
    wrong: Option<String>,
}

impl RuleFile {
    /// Must be called before access to the directory is dropped.
    pub(super) fn new(path: Option<&Path>) -> Self {
        let path = path.and_then(|path| std::path::absolute(path).ok());
        Self { path, seen: None, wrong: None }
    }

    /// The file's settings, if it can be trusted and has changed since the last call.
    pub(super) fn news(&mut self, user: u32) -> Result<Option<Settings>, Distrust> {
        let Some(path) = &self.path else { return Ok(None) };
        let file = unalterable(path, user)?;
        if self.seen == Some(file.stamp) {
            return Ok(None);
        }
        self.seen = Some(file.stamp);
        let read = config::load(&file.path);
        self.wrong = read.as_ref().err().map(ToString::to_string);
        Ok(read.ok())
    }

    /// What an operator can do about a rule that is not in the file, after [`Self::news`].
    pub(super) fn remedy(&self, distrust: Option<&Distrust>) -> String {
        let Some(path) = self.path.as_ref().map(|path| path.display()) else {
            return "start ringtide with a configuration file that has the rule, or its interface \
                    in privileges.interfaces"
                .to_owned();
        };
        match (distrust, &self.wrong) {
            (Some(distrust), _) => format!(
                "{distrust}, so {path} counts as it was at the start; add the rule to it, or its \
                 interface to privileges.interfaces, and restart ringtide"
            ),
            (None, Some(wrong)) => format!("correct the file ({wrong}), and have the rule in it"),
            (None, None) => format!(
                "add the rule to {path}, or its interface to privileges.interfaces, which takes a \
                 restart"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_file_is_read_once_for_each_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
        fs::write(&path, "[relay]\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let other = fs::metadata(&path).unwrap().uid() + 1;
        let mut file = RuleFile::new(Some(&path));
        assert!(file.news(other).unwrap().is_some());
        assert!(file.news(other).unwrap().is_none());
        fs::write(&path, "nonsense").unwrap();
        assert!(file.news(other).unwrap().is_none());
        assert!(file.remedy(None).contains("correct the file"), "{}", file.remedy(None));
        fs::write(&path, "[relay]\n# again\n").unwrap();
        assert!(file.news(other).unwrap().is_some());
        assert!(file.remedy(None).contains("add the rule to"));
        assert!(file.news(other - 1).is_err());
    }

    #[test]
    fn without_a_file_there_is_no_news() {
        let mut file = RuleFile::new(None);
        assert!(file.news(0).unwrap().is_none());
        assert!(file.remedy(None).contains("with a configuration file"));
    }
}
