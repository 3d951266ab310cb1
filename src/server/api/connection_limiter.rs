//! Limits the number of connections served at a time, and chooses which to close for a new one.
//!
//! Clients that are idle, slow, or do not read must not keep others out, however many there are: a
//! new connection does not wait for one of them but replaces it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    slots: Arc<Semaphore>,
    connections: Mutex<Vec<Connection>>,
    /// Notified when a connection that was busy is not any more.
    became_idle: Arc<Notify>,
}

#[derive(Debug)]
struct Connection {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

/// What a connection is doing, and since when.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Whether a request is being answered. Its header is complete then; its body may not be.
    busy: bool,
    since: Instant,
}

/// Held by a connection while it is served.
pub(crate) struct Permit {
    state: Arc<Mutex<State>>,
    became_idle: Arc<Notify>,
    _slot: OwnedSemaphorePermit,
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            connections: Mutex::default(),
            became_idle: Arc::default(),
        }
    }
}

impl ConnectionLimiter {
    /// Serves another connection, in a task that runs `attend`. When no slot is free, the
    /// connection that has been idle longest is closed; when all are busy, the first whose request
    /// takes longer than [`BUSY_MAX`].
    pub(super) async fn admit<F>(&self, attend: impl FnOnce(Permit) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // There is none only when the semaphore is closed, which never happens.
        let Some(slot) = self.slot().await else { return };
        let state = Arc::new(Mutex::new(State { busy: false, since: Instant::now() }));
        let became_idle = Arc::clone(&self.became_idle);
        let permit = Permit { state: Arc::clone(&state), became_idle, _slot: slot };
        let task = tokio::spawn(attend(permit)).abort_handle();
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.task.is_finished());
        connections.push(Connection { state, task });
    }

    /// Waits for a slot, and closes a connection for it as soon as one may be closed.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let mut slot = pin!(Arc::clone(&self.slots).acquire_owned());
        while self.slots.available_permits() == 0 {
            let Err(busy_until) = self.evict_idle() else { break };
            tokio::select! {
                slot = &mut slot => return slot.ok(),
                () = self.became_idle.notified() => {}
                () = sleep_until(busy_until) => {}
            }
        }
        slot.await.ok()
    }

    /// Waits until all connections have ended.
    pub(crate) async fn wait_until_idle(&self) {
        let _ = self.slots.acquire_many(CONNECTIONS_MAX as u32).await;
    }

    /// Closes one connection, if one may be closed. Its slot is free a moment later. Otherwise
    /// returns until when all of them are protected, if they stay busy.
    fn evict_idle(&self) -> Result<(), Instant> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.task.is_finished());
        let states = connections.iter().map(|connection| *lock(&connection.state)).enumerate();
        let Some((first, state)) = states.min_by_key(|(_, state)| (state.busy, state.since)) else {
            // All have ended; their slots are free a moment later.
            return Err(Instant::now() + BUSY_MAX);
        };
        let busy_until = state.since + BUSY_MAX;
        if state.busy && Instant::now() < busy_until {
            return Err(busy_until);
        }
        connections.swap_remove(first).task.abort();
        Ok(())
    }
}

impl Permit {
    /// Marks the connection as busy while `answer` runs.
    pub(super) fn request<T, F: Future<Output = T>>(
        &self,
        answer: F,
    ) -> impl Future<Output = T> + use<T, F> {
        let (state, became_idle) = (Arc::clone(&self.state), Arc::clone(&self.became_idle));
        *lock(&state) = State { busy: true, since: Instant::now() };
        async move {
            let answer = answer.await;
            *lock(&state) = State { busy: false, since: Instant::now() };
            became_idle.notify_one();
            answer
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The maximum number of connections per listener.
pub(super) const CONNECTIONS_MAX: usize = 32;

/// How long a request protects its connection from being closed for another one.
const BUSY_MAX: Duration = Duration::from_secs(5);
