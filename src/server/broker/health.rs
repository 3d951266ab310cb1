//! How the broker is, for other threads to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::server::sandbox::BrokerState;

/// The last that is known of the broker. Clones see the same.
#[derive(Clone, Debug)]
pub struct BrokerHealth(Arc<AtomicU8>);

impl BrokerHealth {
    /// Of one that answers.
    pub(crate) fn up() -> Self {
        Self(Arc::new(AtomicU8::new(code(BrokerState::Up))))
    }

    /// How it is. Not [`BrokerState::None`].
    pub fn state(&self) -> BrokerState {
        match self.0.load(Ordering::Relaxed) {
            ENDED => BrokerState::Ended,
            SILENT => BrokerState::Silent,
            _ => BrokerState::Up,
        }
    }

    /// Notes how it is, and returns how it was.
    pub(crate) fn set(&self, state: BrokerState) -> BrokerState {
        let before = self.state();
        self.0.store(code(state), Ordering::Relaxed);
        before
    }
}

fn code(state: BrokerState) -> u8 {
    match state {
        BrokerState::None | BrokerState::Up => UP,
        BrokerState::Silent => SILENT,
        BrokerState::Ended => ENDED,
    }
}

const UP: u8 = 0;
const SILENT: u8 = 1;
const ENDED: u8 = 2;
