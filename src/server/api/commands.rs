//! What the running process can be asked to change, and how other threads ask for it.
//!
//! Only the main thread changes anything, one thing at a time. Others hand it commands and wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::error::Remedy;
use crate::server::config::rule_spec::{RuleChanges, RuleSpec, RuleSpecError};
use crate::tracker::core::InfoHash;

/// Everything that can be changed while the process runs.
pub trait AdminOps {
    /// The rules in force.
    fn rules(&self) -> Result<Vec<RuleSpec>, ApiError>;
    /// Puts other rules in force, all of them or none. Returns those in force then, and warnings.
    fn replace_rules(&mut self, rules: &[RuleSpec]) -> Result<Vec<String>, ApiError>;
    /// Adds, replaces and removes rules, all of it or nothing. Returns warnings.
    fn change_rules(&mut self, changes: RuleChanges) -> Result<Vec<String>, ApiError>;
    /// Adds torrents to the access list and takes others off it. Returns how many there are then.
    fn change_access(&mut self, add: &[InfoHash], remove: &[InfoHash]) -> Result<usize, ApiError>;
    /// Reads the access list's file again. Returns how many torrents are on it.
    fn reload_access(&mut self) -> Result<usize, ApiError>;
    /// What is in force, as the text of a configuration file, and the file it came from.
    fn configuration(&self) -> (String, Option<String>);
    /// Reads the configuration file again and puts in force what can change.
    fn reload(&mut self) -> Result<ReloadOutcome, ApiError>;
    /// Writes what was changed at run time to the files it belongs to. Returns what was written.
    fn save(&mut self) -> Result<Vec<String>, ApiError>;
    /// The log filter in force.
    fn log_level(&self) -> String;
    /// Puts another log filter in force.
    fn set_log_level(&mut self, filter: &str) -> Result<(), ApiError>;
    /// Has the process stop in good order after `wait`, in which it tells that it will.
    fn drain(&mut self, wait: Duration);
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Whose fault it is.
    pub kind: ApiErrorKind,
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub advice: String,
}

/// Whose fault a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// What was asked for makes no sense.
    Invalid,
    /// It cannot be done as things stand.
    Conflict,
    /// It should have worked.
    Failed,
    /// Too much is being asked at once, or the process is about to stop.
    Busy,
}

impl ApiError {
    /// What was asked for makes no sense.
    pub fn invalid(error: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind: ApiErrorKind::Invalid, error: error.into(), advice: advice.into() }
    }

    /// It cannot be done as things stand.
    pub fn conflict(error: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind: ApiErrorKind::Conflict, error: error.into(), advice: advice.into() }
    }

    /// It should have worked.
    pub fn failed(error: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind: ApiErrorKind::Failed, error: error.into(), advice: advice.into() }
    }
}

impl From<RuleSpecError> for ApiError {
    fn from(error: RuleSpecError) -> Self {
        let kind = match error {
            RuleSpecError::TooMany(_) | RuleSpecError::Invalid(_) => ApiErrorKind::Invalid,
            RuleSpecError::NoSuchRule(_)
            | RuleSpecError::NameTaken(_)
            | RuleSpecError::NameMissing => ApiErrorKind::Conflict,
        };
        let advice = error.remedy().unwrap_or_default();
        Self { kind, error: error.to_string(), advice }
    }
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadOutcome {
    /// What was put in force, by key, with what is to be said about it.
    pub applied: Vec<String>,
    /// Keys whose change needs a restart.
    pub needs_restart: Vec<String>,
    /// What is allowed but probably not meant, and what could not be put in force.
    pub warnings: Vec<String>,
}

/// Something to do on the main thread.
pub type Command = Box<dyn FnOnce(&mut dyn AdminOps) + Send>;

/// Where commands are handed in.
#[derive(Clone)]
pub struct CommandSender {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
}

/// Where the main thread takes commands from.
pub struct CommandQueue {
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
}

/// A bounded queue of commands: its sending and its receiving end.
///
/// # Errors
/// When the system gives no eventfd.
pub fn command_channel() -> io::Result<(CommandSender, CommandQueue)> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
    let (sender, receiver) = sync_channel(COMMANDS_MAX);
    Ok((
        CommandSender { commands: sender, wake: Arc::clone(&wake) },
        CommandQueue { commands: receiver, wake },
    ))
}

impl CommandSender {
    /// Has `command` done on the main thread and waits for what it returns.
    ///
    /// # Errors
    /// When too many wait already, or the process is about to stop.
    pub async fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut dyn AdminOps) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |process| {
            // Whoever asked may have gone away.
            let _ = answer.send(command(process));
        });
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => busy("too many changes wait already", "try again later"),
            TrySendError::Disconnected(_) => stopping(),
        })?;
        // A write fails only when the counter would overflow; then the main thread wakes anyway.
        let _ = self.wake.write(1);
        answered.await.map_err(|_| stopping())
    }
}

impl CommandQueue {
    /// The next command, if one waits.
    pub fn next(&self) -> Option<Command> {
        // Emptied first: what is handed in from now on wakes again.
        let _ = self.wake.read();
        self.commands.try_recv().ok()
    }
}

impl AsFd for CommandQueue {
    /// Readable when an command may wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn stopping() -> ApiError {
    busy("ringtide is stopping", "start it again")
}

fn busy(error: &str, advice: &str) -> ApiError {
    ApiError { kind: ApiErrorKind::Busy, error: error.to_owned(), advice: advice.to_owned() }
}

/// Changes that may wait for the main thread; more are refused.
const COMMANDS_MAX: usize = 16;
