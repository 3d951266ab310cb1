//! The thread `persister`, which saves and exports while workers serve, and the last save.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::export::export_and_log;
use super::sizes::{self, SharedSizes};
use super::slices::WalkOptions;
use super::swarms::save_and_log;
use crate::io::clock::Clock;
use crate::telemetry::log::LogOnChange;
use crate::tracker::store::Shards;

/// What is written, where, and how often.
#[derive(Clone, Debug, Default)]
pub struct PersistConfig {
    /// Swarms are saved here at the end.
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

impl PersistConfig {
    fn chores(&self) -> Vec<Chore> {
        let mut chores = Vec::new();
        if let (Some(path), Some(every)) = (&self.swarms, self.save_interval) {
            chores.push(Chore::new(every, Work::Save(path.clone())));
        }
        if let Some(path) = &self.export {
            chores.push(Chore::new(self.export_interval, Work::Export(path.clone())));
        }
        if let Some(every) = self.sizes_interval {
            chores.push(Chore::new(every, Work::CountSizes(Arc::clone(&self.sizes))));
        }
        chores
    }
}

/// Saves and exports while workers serve.
pub struct Persister {
    config: PersistConfig,
    shards: Arc<Shards>,
    clock: Clock,
    /// `None` while there is nothing to do from time to time, and once finished.
    thread: Option<PersisterThread>,
}

#[derive(Debug)]
struct PersisterThread {
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
    pub fn start(config: PersistConfig, shards: Arc<Shards>, clock: Clock) -> io::Result<Self> {
        let mut persister = Self { config, shards, clock, thread: None };
        persister.restart()?;
        Ok(persister)
    }

    /// Starts the thread again after [`Self::finish`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn restart(&mut self) -> io::Result<()> {
        let chores = self.config.chores();
        if !chores.is_empty() {
            let shards = Arc::clone(&self.shards);
            self.thread = Some(PersisterThread::start(chores, shards, self.clock)?);
        }
        Ok(())
    }

    /// Ends the thread, whatever it is doing, and saves the swarms: workers must not run any more.
    pub fn finish(&mut self) {
        if let Some(PersisterThread { stop, wake, thread }) = self.thread.take() {
            stop.store(true, Ordering::Relaxed);
            drop(wake);
            // A panic was logged where it happened.
            let _ = thread.join();
        }
        if let Some(path) = &self.config.swarms {
            save_and_log(
                path,
                &self.shards,
                &self.clock,
                WalkOptions::ALONE,
                &mut LogOnChange::default(),
            );
        }
    }
}

impl PersisterThread {
    fn start(mut chores: Vec<Chore>, shards: Arc<Shards>, clock: Clock) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = mpsc::channel();
        let stopping = Arc::clone(&stop);
        let run = move || {
            loop {
                let Some(chore) = chores.iter_mut().min_by_key(|chore| chore.due) else { return };
                let wait = chore.due.saturating_duration_since(Instant::now());
                if woken.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let options = WalkOptions::beside_workers(&stopping);
                match &chore.work {
                    Work::Save(path) => {
                        save_and_log(path, &shards, &clock, options, &mut chore.failure)
                    }
                    Work::Export(path) => {
                        export_and_log(path, &shards, options, &mut chore.failure)
                    }
                    // It fails only when it is interrupted.
                    Work::CountSizes(to) => drop(sizes::count(&shards, options, to)),
                }
                chore.due = Instant::now() + chore.every;
            }
        };
        let thread = std::thread::Builder::new().name("persister".into()).spawn(run)?;
        Ok(Self { stop, wake, thread })
    }
}

/// Something to do again and again. Intervals count from the end of one time to the next.
#[derive(Debug)]
struct Chore {
    every: Duration,
    due: Instant,
    work: Work,
    /// Why it last failed, as it was logged.
    failure: LogOnChange,
}

#[derive(Debug)]
enum Work {
    Save(PathBuf),
    Export(PathBuf),
    CountSizes(SharedSizes),
}

impl Chore {
    fn new(every: Duration, work: Work) -> Self {
        Self { every, due: Instant::now() + every, work, failure: LogOnChange::default() }
    }
}
