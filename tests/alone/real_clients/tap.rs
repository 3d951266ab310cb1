//! A relay between one client and the tracker that remembers what the client announced.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running relay. It speaks to the tracker from the client's own address, which the tracker
/// gives to other peers.
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    announces: Arc<Mutex<Vec<Announce>>>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// The fields of an announce (BEP 15) that scenarios look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announce {
    pub(crate) left: u64,
    pub(crate) event: u32,
    /// What follows the fixed fields (BEP 41).
    pub(crate) options: Vec<u8>,
}

impl Tap {
    /// Relays between the tracker and a client that has the address `client`.
    pub(crate) fn start(tracker: SocketAddr, client: IpAddr) -> Self {
        let below = listening_socket(SocketAddr::new(tracker.ip(), 0));
        let above = listening_socket(SocketAddr::new(client, 0));
        above.connect(tracker).unwrap();
        let address = below.local_addr().unwrap();
        let announces = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let latest_client = Arc::new(Mutex::new(None));

        let upward = {
            let (below, above) = (below.try_clone().unwrap(), above.try_clone().unwrap());
            let (announces, latest_client) = (Arc::clone(&announces), Arc::clone(&latest_client));
            relay(&stopping, move |buffer| {
                let Ok((length, from)) = below.recv_from(buffer) else { return };
                *latest_client.lock().unwrap() = Some(from);
                announces.lock().unwrap().extend(Announce::parse(&buffer[..length]));
                above.send(&buffer[..length]).unwrap();
            })
        };
        let downward = relay(&stopping, move |buffer| {
            let Ok(length) = above.recv(buffer) else { return };
            let client = latest_client.lock().unwrap().unwrap();
            below.send_to(&buffer[..length], client).unwrap();
        });
        Self { address, announces, stopping, threads: vec![upward, downward] }
    }

    /// The announces that went through so far.
    pub(crate) fn announces(&self) -> Vec<Announce> {
        self.announces.lock().unwrap().clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so, and this may run in the middle of a panic.
            let _ = thread.join();
        }
    }
}

impl Announce {
    fn parse(datagram: &[u8]) -> Option<Self> {
        let is_announce = datagram.len() >= ANNOUNCE_BYTES && datagram[8..12] == [0, 0, 0, 1];
        is_announce.then(|| Self {
            left: u64::from_be_bytes(datagram[64..72].try_into().unwrap()),
            event: u32::from_be_bytes(datagram[80..84].try_into().unwrap()),
            options: datagram[ANNOUNCE_BYTES..].to_vec(),
        })
    }
}

/// Repeats `step` on a thread until the relay stops. A step waits [`STEP`] at most.
fn relay(
    stopping: &Arc<AtomicBool>,
    mut step: impl FnMut(&mut [u8]) + Send + 'static,
) -> JoinHandle<()> {
    let stopping = Arc::clone(stopping);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while !stopping.load(Ordering::Relaxed) {
            step(&mut buffer);
        }
    })
}

fn listening_socket(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(STEP)).unwrap();
    socket
}

const ANNOUNCE_BYTES: usize = 98;
const STEP: Duration = Duration::from_millis(50);
