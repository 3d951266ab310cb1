//! Workers on real sockets that serve a handler of a benchmark's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringtide::io::clock::Clock;
use ringtide::io::socket_table::SocketTable;
use ringtide::io::{Dispatch, ServiceId};
use ringtide::io::{Engine, EngineChoice, LoopSizes, RingFeatures, WorkerControl, WorkerPlan};
use ringtide::sys::socket::{SocketOptions, bind_group};
use ringtide::telemetry::Counters;
use ringtide::workers::Workers;

/// Running workers and what they counted.
pub(crate) struct Served {
    pub(crate) workers: Workers,
    #[allow(dead_code)] // One of two programs reads them.
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) address: SocketAddr,
}

/// Starts one worker for each of `cores`; `None` leaves it to the system.
pub(crate) fn serve<H: Dispatch>(
    listen: &str,
    engine: Engine,
    cores: &[Option<usize>],
    make: impl Fn(usize) -> H + Send + Sync + 'static,
) -> Served {
    let options = SocketOptions { receive_buffer_bytes: 8 << 20, send_buffer_bytes: 4 << 20 };
    let listen = listen.parse().expect("an address and a port");
    let group = bind_group(listen, cores.len(), options, None).expect("a free port");
    let address = group.sockets[0].address();
    let counters: Vec<_> = cores.iter().map(|_| Arc::new(Counters::default())).collect();
    let plans = group
        .sockets
        .into_iter()
        .enumerate()
        .map(|(index, socket)| WorkerPlan {
            index,
            core: cores[index],
            table: Arc::new(SocketTable::new(ServiceId::Tracker, [Arc::new(socket) as _])),
            counters: Arc::clone(&counters[index]),
            control: Arc::new(WorkerControl::new(Duration::from_secs(1)).expect("an eventfd")),
            features: RingFeatures::ALL,
            sizes: LoopSizes::TRACKER,
        })
        .collect();
    let choice = EngineChoice::Only(engine);
    let workers = Workers::start(choice, plans, Clock::start(), make).expect("an engine");
    Served { workers, counters, address }
}
