//! How many connections are served at a time, and which one goes when another comes.
//!
//! Clients that are silent, slow, or do not read must not keep others out, however many they are:
//! a newcomer never waits for one of them, but takes its place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    places: Arc<Semaphore>,
    guests: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

/// What a connection does, and since when.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Whether a request of it is being answered. Its head is complete then; its body may not be.
    busy: bool,
    since: Instant,
}

/// A connection as long as it is served.
pub(crate) struct Permit {
    state: Arc<Mutex<State>>,
    _place: OwnedSemaphorePermit,
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), guests: Mutex::default() }
    }
}

impl ConnectionLimiter {
    /// Serves another connection, by the task that `attend` makes. When there is no place left, the
    /// one that has had no request for the longest time is closed; when all have one, the first
    /// whose request takes longer than [`BUSY_MAX`].
    pub(crate) async fn admit<F>(&self, attend: impl FnOnce(Permit) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.places.available_permits() == 0 && !self.evict_idle() {
            tokio::time::sleep(TURN_OUT_REST).await;
        }
        // It fails only when the semaphore is closed, which nobody does.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
        let state = Arc::new(Mutex::new(State { busy: false, since: Instant::now() }));
        let visit = Permit { state: Arc::clone(&state), _place: place };
        let task = tokio::spawn(attend(visit)).abort_handle();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|guest| !guest.task.is_finished());
        guests.push(Connection { state, task });
    }

    /// Waits until nobody is served any more.
    pub(crate) async fn empty(&self) {
        let _ = self.places.acquire_many(CONNECTIONS_MAX as u32).await;
    }

    /// Closes one connection, if there is one to close. Its place is free a moment later.
    fn evict_idle(&self) -> bool {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|guest| !guest.task.is_finished());
        let states = guests.iter().map(|guest| *lock(&guest.state)).enumerate();
        let may_go = states.filter(|(_, state)| !state.busy || state.since.elapsed() > BUSY_MAX);
        let Some((first, _)) = may_go.min_by_key(|(_, state)| (state.busy, state.since)) else {
            return false;
        };
        guests.swap_remove(first).task.abort();
        true
    }
}

impl Permit {
    /// Answers a request.
    pub(crate) fn request<T, F: Future<Output = T>>(
        &self,
        answer: F,
    ) -> impl Future<Output = T> + use<T, F> {
        let state = Arc::clone(&self.state);
        *lock(&state) = State { busy: true, since: Instant::now() };
        async move {
            let answer = answer.await;
            *lock(&state) = State { busy: false, since: Instant::now() };
            answer
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections to each listener at a time.
pub(crate) const CONNECTIONS_MAX: usize = 32;

/// How long a request keeps its connection from being closed for another one.
const BUSY_MAX: Duration = Duration::from_secs(5);

const TURN_OUT_REST: Duration = Duration::from_millis(20);
