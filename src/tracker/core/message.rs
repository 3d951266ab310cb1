//! What other threads tell a worker's tracker.

use crate::io::mailbox::Acknowledgement;

/// A message to the tracker of one worker, for every protocol that it serves.
#[derive(Debug)]
pub enum TrackerMessage {
    /// There is another policy: the worker takes it up now, lets go of the earlier one, and only
    /// then acknowledges.
    PolicyReplaced(Acknowledgement),
}
