//! The thread that saves and exports while workers serve, and the last save.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::export::export_and_say;
use super::sizes::{self, SharedSizes};
use super::slices::WalkOptions;
use super::swarms::save_and_say;
use crate::io::clock::Clock;
use crate::telemetry::log::LogOnChange;
use crate::tracker::store::Shards;

/// What is written, where, and how often.
#[derive(Clone, Debug, Default)]
pub struct PersistConfig {
    /// Swarms are saved here in the end.
    pub swarms: Option<PathBuf>,
    /// How often swarms are saved before that; `None` is never.
    pub save_interval: Option<Duration>,
    /// The list of torrents goes here.
    pub export: Option<PathBuf>,
    /// How often the list is written.
    pub export_interval: Duration,
    /// Torrents are counted by their peers into this.
    pub sizes: SharedSizes,
    /// How often they are counted; `None` is never.
    pub sizes_interval: Option<Duration>,
}

/// Saves and exports while workers serve.
pub struct Persister {
    keeps: PersistConfig,
    shards: Arc<Shards>,
    clock: Clock,
    thread: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: Arc<AtomicBool>,
    /// Dropped to wake the thread.
    wake: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Persister {
    /// Starts the thread if there is anything to do from time to time.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(keeps: PersistConfig, shards: Arc<Shards>, clock: Clock) -> io::Result<Self> {
        let mut chores = Vec::new();
        if let (Some(path), Some(every)) = (&keeps.swarms, keeps.save_interval) {
            chores.push(Chore::new(every, Work::Save(path.clone())));
        }
        if let Some(path) = &keeps.export {
            chores.push(Chore::new(keeps.export_interval, Work::Export(path.clone())));
        }
        if let Some(every) = keeps.sizes_interval {
            chores.push(Chore::new(every, Work::CountSizes(Arc::clone(&keeps.sizes))));
        }
        let thread = match chores.is_empty() {
            true => None,
            false => Some(Running::start(chores, Arc::clone(&shards), clock)?),
        };
        Ok(Self { keeps, shards, clock, thread })
    }

    /// Ends the thread, whatever it is at, and saves the swarms: workers must not run any more.
    pub fn finish(self) {
        if let Some(Running { stop, wake, thread }) = self.thread {
            stop.store(true, Ordering::Relaxed);
            drop(wake);
            // A panic was logged where it happened.
            let _ = thread.join();
        }
        if let Some(path) = &self.keeps.swarms {
            save_and_say(
                path,
                &self.shards,
                &self.clock,
                WalkOptions::ALONE,
                &mut LogOnChange::default(),
            );
        }
    }
}

impl Running {
    fn start(mut chores: Vec<Chore>, shards: Arc<Shards>, clock: Clock) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = mpsc::channel();
        let stopping = Arc::clone(&stop);
        let keep = move || {
            loop {
                let Some(chore) = chores.iter_mut().min_by_key(|chore| chore.due) else { return };
                let wait = chore.due.saturating_duration_since(Instant::now());
                if woken.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let manner = WalkOptions::beside_workers(&stopping);
                let told = &mut chore.told;
                match &chore.work {
                    Work::Save(path) => save_and_say(path, &shards, &clock, manner, told),
                    Work::Export(path) => export_and_say(path, &shards, manner, told),
                    // It fails only when it is interrupted.
                    Work::CountSizes(to) => drop(sizes::count(&shards, manner, to)),
                }
                chore.due = Instant::now() + chore.every;
            }
        };
        let thread = std::thread::Builder::new().name("persister".into()).spawn(keep)?;
        Ok(Self { stop, wake, thread })
    }
}

/// Something to do again and again. Intervals count from the end of one time to the next.
#[derive(Debug)]
struct Chore {
    every: Duration,
    due: Instant,
    work: Work,
    told: LogOnChange,
}

#[derive(Debug)]
enum Work {
    Save(PathBuf),
    Export(PathBuf),
    CountSizes(SharedSizes),
}

impl Chore {
    fn new(every: Duration, work: Work) -> Self {
        Self { every, due: Instant::now() + every, work, told: LogOnChange::default() }
    }
}
