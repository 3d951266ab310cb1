//! A sender that never rests, whatever happens to its interface.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::relay::line::Line;

/// Datagrams of the same size to one destination, one a millisecond, until this is dropped.
pub(crate) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Sends from the line's source, by `interface`. A socket that fails is opened anew.
    pub(crate) fn start(line: &Arc<Line>, interface: &'static str, to: &str, bytes: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (line, stopping, to) = (Arc::clone(line), Arc::clone(&stop), to.parse().unwrap());
        let send = move || {
            let payload = vec![7; bytes];
            let mut socket = None;
            while !stopping.load(Ordering::Relaxed) {
                let opened = match socket.take() {
                    Some(socket) => Ok(socket),
                    None => open(interface, to),
                };
                let sent = opened.and_then(|socket| socket.send(&payload).map(|_| socket));
                socket = sent.ok();
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let thread = Some(std::thread::spawn(move || line.source().run(send)));
        Self { stop, thread }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(interface: &str, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}
