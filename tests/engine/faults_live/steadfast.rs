//! A client of the tracker that announces all the time, and notices the first answer that is
//! missing or wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{Ask, Client, eventually, hash};

pub(crate) struct Steadfast {
    over: Arc<AtomicBool>,
    announced: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Steadfast {
    /// Announces to a torrent of its own, under a connection ID for a minute at a time.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let (over, announced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, count) = (Arc::clone(&over), Arc::clone(&announced));
        let announce = move || {
            let client = Client::new(server);
            let mut connected: Option<Instant> = None;
            while !stopping.load(Ordering::Relaxed) {
                // A connection ID is good for two minutes.
                if connected.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                    client.connect();
                    connected = Some(Instant::now());
                }
                assert_eq!(client.announce(&Ask::leecher(hash(4711), 1)).counts(), (0, 1));
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { over, announced, thread: Some(std::thread::spawn(announce)) }
    }

    /// Waits until many more announces are answered.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let goal = self.announced.load(Ordering::Relaxed) + 200;
        eventually("announces", || {
            let thread = self.thread.as_ref().unwrap();
            assert!(!thread.is_finished(), "an announce was not answered");
            (self.announced.load(Ordering::Relaxed) > goal).then_some(())
        });
    }

    pub(crate) fn end(mut self) {
        self.goes_on();
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

impl Drop for Steadfast {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
