//! The whole tracker in this process: [`Serving`] on ports that the kernel chose.

use std::net::SocketAddr;
use std::sync::Arc;

use ringtide::io::{EngineChoice, RingFeatures};
use ringtide::server::api::view::View;
use ringtide::server::config::Settings;
use ringtide::server::serve::Serving;
use ringtide::telemetry::{Counter, DropReason, Snapshot};

use super::{Client, engine, features};

/// A running tracker; stopped in the end, in whatever way that comes.
pub struct Running {
    /// `None` once stopped.
    serving: Option<Serving>,
    view: Arc<View>,
    pub settings: Settings,
}

impl Running {
    /// One worker on 127.0.0.1, or whatever else `change` makes of the settings.
    pub fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_workers(1, change)
    }

    /// As [`Self::start`], with this many workers.
    pub fn with_workers(workers: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let engine = EngineChoice::Only(engine());
        let io_uring_without = RingFeatures::ALL.but(features());
        let mut settings = Settings { engine, io_uring_without, ..Settings::default() };
        settings.tracker.as_mut().unwrap().listen = vec!["127.0.0.1:0".parse().unwrap()];
        change(&mut settings);
        let usable: Vec<usize> =
            core_affinity::get_core_ids().unwrap().iter().map(|core| core.id).collect();
        let cores: Vec<usize> = usable.iter().copied().cycle().take(workers).collect();
        let serving = Serving::start(&settings, &cores).unwrap();
        let view = Arc::clone(serving.view());
        Self { serving: Some(serving), view, settings }
    }

    pub fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    /// What it counts and stores, also once it is stopped.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The address that stands at `index` in `listen`, with its port.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.view.addresses().nth(index).unwrap()
    }

    /// A client of the first listen address.
    pub fn client(&self) -> Client {
        Client::new(self.address(0))
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.view.counted().get(counter)
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.view.counted().dropped(reason)
    }

    /// Torrents and peers that are stored.
    pub fn holdings(&self) -> (u64, u64) {
        let holdings = self.view.holdings();
        (holdings.torrents, holdings.peers)
    }

    fn end(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.stop();
        }
    }

    /// Stops the workers and checks that every datagram was accounted for.
    pub fn stop(mut self) -> Snapshot {
        self.end();
        let total = self.view.counted();
        let accounted = total.get(Counter::PacketsSent) + total.dropped_total();
        assert_eq!(total.get(Counter::PacketsReceived), accounted, "{total:?}");
        assert_eq!(total.get(Counter::WorkerRestarts), 0, "a worker panicked");
        assert_eq!(total.get(Counter::CompletionQueueOverflows), 0);
        total
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
