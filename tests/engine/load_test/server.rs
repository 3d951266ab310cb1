//! A tracker of the tests' own, which answers rightly unless it is told otherwise.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ringtide::wire::bep15::response::{AnnounceHeader, ScrapeEntry, ScrapeWriter, emit_connect};
use ringtide::wire::bep15::{ConnectionId, Request};

/// Runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `react` gets the number of each announce, from 0 on, and the right answer to it, and says
    /// which datagrams to send.
    pub fn start(mut react: impl FnMut(u64, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let mut announces = 0;
        Self::seeing(move |_, right| {
            announces += 1;
            react(announces - 1, right)
        })
    }

    /// As [`Self::start`], but `react` gets each announce as it is.
    pub fn seeing(mut react: impl FnMut(&[u8], Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut request = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut request) else { continue };
                let (right, is_announce) = answer(&request[..length]);
                let answers =
                    if is_announce { react(&request[..length], right) } else { vec![right] };
                for answer in answers {
                    socket.send_to(&answer, client).unwrap();
                }
            }
        });
        Self { address, over, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The right answer to a request, and whether that is an announce.
fn answer(request: &[u8]) -> (Vec<u8>, bool) {
    let mut out = [0; 2048];
    let (length, is_announce) = match Request::parse(request).unwrap() {
        Request::Connect(connect) => {
            (emit_connect(&mut out, connect.transaction, ConnectionId(1)), false)
        }
        Request::Announce(announce) => {
            let transaction = announce.transaction();
            let header = AnnounceHeader { transaction, interval_s: 1800, leechers: 1, seeders: 2 };
            (header.emit(&mut out), true)
        }
        Request::Scrape(scrape) => {
            let mut writer = ScrapeWriter::new(&mut out, scrape.transaction);
            scrape.hashes().for_each(|_| writer.push(ScrapeEntry::default()).unwrap());
            (writer.finish(), false)
        }
    };
    (out[..length].to_vec(), is_announce)
}
