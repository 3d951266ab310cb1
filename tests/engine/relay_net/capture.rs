//! Frames as a loop's handler gets them from packet sockets, and senders to make them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use ringtide::io::clock::Clock;
use ringtide::io::socket_table::{LoopSocket, SocketTable};
use ringtide::io::{Dispatch, Frame, FrameMeta, Now, ServiceId, SocketId, Transmit};
use ringtide::io::{EngineChoice, LoopSizes, WorkerControl, WorkerPlan};
use ringtide::sys::egress::{EgressOptions, EgressSocket};
use ringtide::sys::filter::{FrameFilter, Wanted, compile};
use ringtide::sys::packet_socket::{PacketGroup, PacketSocket, open_group};
use ringtide::telemetry::Counters;
use ringtide::workers::Workers;

use crate::common::{DEADLINE, Namespace, engine, features};

/// What arrived.
#[derive(Clone)]
pub struct Captured {
    pub socket: SocketId,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
    pub meta: FrameMeta,
}

impl Captured {
    pub fn is_ipv6(&self) -> bool {
        self.frame[12..14] == [0x86, 0xdd]
    }

    pub fn ttl(&self) -> u8 {
        self.frame[if self.is_ipv6() { 21 } else { 22 }]
    }

    pub fn dscp(&self) -> u8 {
        let traffic_class = u16::from_be_bytes([self.frame[14], self.frame[15]]) >> 4;
        if self.is_ipv6() { traffic_class as u8 >> 2 } else { self.frame[15] >> 2 }
    }

    pub fn source(&self) -> SocketAddr {
        self.address(26, 22, 0)
    }

    pub fn destination(&self) -> SocketAddr {
        self.address(30, 38, 2)
    }

    pub fn payload(&self) -> &[u8] {
        &self.frame[self.udp() + 8..]
    }

    fn udp(&self) -> usize {
        if self.is_ipv6() { 54 } else { 14 + 4 * usize::from(self.frame[14] & 15) }
    }

    fn address(&self, v4: usize, v6: usize, port: usize) -> SocketAddr {
        let ip = if self.is_ipv6() {
            IpAddr::from(<[u8; 16]>::try_from(&self.frame[v6..v6 + 16]).unwrap())
        } else {
            IpAddr::from(<[u8; 4]>::try_from(&self.frame[v4..v4 + 4]).unwrap())
        };
        let port = self.udp() + port;
        SocketAddr::new(ip, u16::from_be_bytes([self.frame[port], self.frame[port + 1]]))
    }
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { socket, frame, meta } = self;
        let start = &frame[..frame.len().min(64)];
        write!(f, "socket {} {meta:?} {} bytes {start:02x?}", socket.0, frame.len())
    }
}

struct Collector(mpsc::Sender<Captured>);

impl Dispatch for Collector {
    fn on_frame<T: Transmit>(&mut self, _: ServiceId, _: Now, frame: &Frame<'_>, _: &mut T) {
        // The test may have ended already.
        let _ = self.0.send(Captured {
            socket: frame.socket,
            frame: frame.bytes.to_vec(),
            meta: frame.meta,
        });
    }
}

/// A worker that serves packet sockets.
pub struct Capture {
    pub sockets: Vec<Arc<PacketSocket>>,
    frames: mpsc::Receiver<Captured>,
    workers: Option<Workers>,
}

impl Capture {
    /// Takes what `wanted` names from an interface of a namespace, on `count` sockets.
    pub fn start(namespace: &Namespace, interface: &str, count: usize, wanted: &[&str]) -> Self {
        Self::of(open(namespace, interface, count, wanted))
    }

    pub fn of(group: PacketGroup) -> Self {
        let sockets: Vec<_> = group.sockets.into_iter().map(Arc::new).collect();
        let plan = plan(&sockets);
        let (sender, frames) = mpsc::channel();
        let make = move |_| Collector(sender.clone());
        let workers = Some(
            Workers::start(EngineChoice::Only(engine()), vec![plan], Clock::start(), make).unwrap(),
        );
        Self { sockets, frames, workers }
    }

    /// The next frame.
    pub fn next(&self) -> Captured {
        self.frames.recv_timeout(DEADLINE).expect("a frame in time")
    }

    /// All frames up to the one that ends with `last`, and that one.
    pub fn until(&self, last: &[u8]) -> Vec<Captured> {
        let mut all = vec![self.next()];
        while !all.last().is_some_and(|frame| frame.frame.ends_with(last)) {
            all.push(self.next());
        }
        all
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

/// A worker that is lent these sockets, with 64 buffers for frames.
pub fn plan(sockets: &[Arc<PacketSocket>]) -> WorkerPlan {
    let lent = sockets.iter().map(|socket| Arc::clone(socket) as Arc<dyn LoopSocket>);
    WorkerPlan {
        index: 0,
        core: None,
        table: Arc::new(SocketTable::new(ServiceId::Relay, lent)),
        counters: Arc::new(Counters::default()),
        control: Arc::new(WorkerControl::new(Duration::from_secs(2)).unwrap()),
        features: features(),
        sizes: LoopSizes { frame_buffers: 64, ..LoopSizes::TRACKER },
    }
}

/// Packet sockets that nobody serves yet.
pub fn open(ns: &Namespace, interface: &str, count: usize, wanted: &[&str]) -> PacketGroup {
    let interface = ns.interface(interface);
    let group = ns.run(|| open_group(&interface, count, 8 << 20, &filter(wanted))).unwrap();
    assert_eq!(group.receive_buffer_short, None, "root is granted what it asks for");
    group
}

pub fn filter(wanted: &[&str]) -> FrameFilter {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|text| {
            let address: SocketAddr = text.parse().unwrap();
            Wanted { address: address.ip(), port: address.port() }
        })
        .collect();
    compile(&wanted)
}

/// How an output is opened in most tests.
pub fn output(to: &str) -> EgressOptions {
    let to = to.parse().unwrap();
    EgressOptions { to, source: None, ttl: None, dscp: 0, send_buffer_bytes: 4 << 20 }
}

/// Something to send with.
pub struct Sender(pub EgressSocket);

impl Sender {
    pub fn new(namespace: &Namespace, interface: &str, to: &str) -> Self {
        Self::with(namespace, interface, &output(to))
    }

    pub fn with(namespace: &Namespace, interface: &str, options: &EgressOptions) -> Self {
        let interface = namespace.interface(interface);
        Self(namespace.run(|| EgressSocket::open(&interface, options)).unwrap())
    }

    pub fn send(&self, payload: &[u8]) {
        assert_eq!(self.send_with(payload, &[]), Ok(payload.len()));
    }

    /// Sends datagrams of `segment` bytes in one trip.
    pub fn send_segmented(&self, payload: &[u8], segment: usize) -> nix::Result<usize> {
        let segment = u16::try_from(segment).unwrap();
        self.send_with(payload, &[ControlMessage::UdpGsoSegments(&segment)])
    }

    fn send_with(&self, payload: &[u8], control: &[ControlMessage<'_>]) -> nix::Result<usize> {
        let parts = [std::io::IoSlice::new(payload)];
        let to = self.0.to().map(SockaddrStorage::from);
        sendmsg(self.0.as_raw_fd(), &parts, control, MsgFlags::empty(), to.as_ref())
    }
}
