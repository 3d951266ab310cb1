//! What requests are answered from.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::top::Top;
use crate::server::api::commands::CommandSender;
use crate::server::api::view::View;

/// The state of the running process as requests see it, and the way to change it.
#[derive(Clone)]
pub struct Api {
    pub(super) view: Arc<View>,
    pub(super) commands: CommandSender,
    /// The last list of top torrents for everybody, and when it was made.
    pub(super) top: Arc<Mutex<Option<(Instant, Top)>>>,
}

impl Api {
    /// Answers from `view`, and sends changes to `main` through `commands`.
    pub fn new(view: Arc<View>, commands: CommandSender) -> Self {
        Self { view, commands, top: Arc::default() }
    }
}
