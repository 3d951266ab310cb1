//! The ends of a relayed path: plain sockets, and traffic that is compared byte by byte.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

use crate::common::{DEADLINE, Namespace, uninterrupted};

/// A socket that sends by an interface to `to`.
pub(crate) fn sender(space: &Namespace, interface: &str, to: &str) -> UdpSocket {
    sender_from(space, interface, None, to)
}

/// A socket that sends by an interface from an address to `to`.
pub(crate) fn sender_from(
    space: &Namespace,
    interface: &str,
    from: Option<&str>,
    to: &str,
) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    space.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None).unwrap();
        socket.bind_device(Some(interface.as_bytes())).unwrap();
        if let Some(from) = from {
            let from: IpAddr = from.parse().unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        }
        socket.connect(&to.into()).unwrap();
        setsockopt(&socket, sockopt::SndBuf, &(4 << 20)).unwrap();
        socket.into()
    })
}

/// A socket that receives what comes in on an interface for `address`, a group or a host.
pub(crate) fn receiver(space: &Namespace, interface: &str, address: &str) -> UdpSocket {
    let address: SocketAddr = address.parse().unwrap();
    let index = space.interface(interface).index;
    space.run(|| {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        match address.ip() {
            IpAddr::V4(group) if group.is_multicast() => {
                let interface = InterfaceIndexOrAddress::Index(index);
                socket.join_multicast_v4_n(&group, &interface).unwrap();
            }
            IpAddr::V6(group) if group.is_multicast() => {
                socket.join_multicast_v6(&group, index).unwrap();
            }
            _ => {}
        }
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    })
}

/// Sends each of `sends`, cut into datagrams of `segment_bytes` where that is given, and insists
/// that every receiver gets the same datagrams in the same order. Only so much is under way that
/// no queue of the kernel overflows.
#[track_caller]
pub(crate) fn pass(
    from: &UdpSocket,
    to: &[&UdpSocket],
    sends: &[Vec<u8>],
    segment_bytes: Option<u16>,
) {
    let segment = segment_bytes.map_or(0, i32::from);
    setsockopt(from, sockopt::UdpGsoSegment, &segment).unwrap();
    let mut sent = 0;
    for (done, expected) in sends.iter().enumerate() {
        // One at first, so that neighbours are known before there is a queue for them.
        let window = (2 * done + 1).min(SENDS_UNDER_WAY_MAX);
        while sent < sends.len() && sent < done + window {
            let bytes = from.send(&sends[sent]).unwrap_or_else(|e| panic!("send {sent}: {e}"));
            assert_eq!(bytes, sends[sent].len());
            sent += 1;
        }
        for datagram in datagrams_of(expected, segment_bytes) {
            for (index, receiver) in to.iter().enumerate() {
                let received = receive(receiver);
                let same = received == datagram;
                assert!(same, "send {done} at receiver {index}: {}", differ(&received, datagram));
            }
        }
    }
}

/// Sends flows in turns to where one receiver gets them all, and insists that each arrives whole
/// and in order. The first byte of a payload is made the number of its flow.
#[track_caller]
pub(crate) fn pass_flows(from: &[UdpSocket], to: &UdpSocket, mut flows: Vec<Vec<Vec<u8>>>) {
    for (number, flow) in flows.iter_mut().enumerate() {
        flow.iter_mut().for_each(|payload| payload[0] = number as u8);
    }
    let longest = flows.iter().map(Vec::len).max().unwrap();
    let mut received = vec![0; flows.len()];
    for turn in 0..longest {
        for (socket, flow) in from.iter().zip(&flows) {
            if let Some(payload) = flow.get(turn) {
                assert_eq!(socket.send(payload).unwrap(), payload.len());
            }
        }
        // One turn at first, so that neighbours are known; then several are under way.
        let last = turn + 1 == longest;
        if turn > 0 && !last && (turn + 1) % TURNS_UNDER_WAY > 0 {
            continue;
        }
        let sent: usize = flows.iter().map(|flow| flow.len().min(turn + 1)).sum();
        while received.iter().sum::<usize>() < sent {
            let datagram = receive(to);
            let flow = usize::from(datagram[0]);
            let expected = &flows[flow][received[flow]];
            assert!(datagram == *expected, "flow {flow}: {}", differ(&datagram, expected));
            received[flow] += 1;
        }
    }
}

const TURNS_UNDER_WAY: usize = 8;

/// The datagrams that one send becomes.
fn datagrams_of(send: &[u8], segment_bytes: Option<u16>) -> impl Iterator<Item = &[u8]> {
    let size = segment_bytes.map_or(send.len(), usize::from).max(1);
    send.chunks(size).chain(send.is_empty().then_some(send))
}

fn differ(received: &[u8], expected: &[u8]) -> String {
    let start = |bytes: &[u8]| bytes[..bytes.len().min(16)].to_vec();
    let (got, wanted) = (start(received), start(expected));
    format!("{} bytes {got:?} instead of {} bytes {wanted:?}", received.len(), expected.len())
}

/// The next datagram.
#[track_caller]
pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut datagram = vec![0; 65536];
    let received = uninterrupted(|| socket.recv(&mut datagram));
    let length = received.unwrap_or_else(|error| panic!("nothing came: {error}"));
    datagram.truncate(length);
    datagram
}

/// Insists that nothing more has come.
#[track_caller]
pub(crate) fn assert_empty(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    let received = socket.recv(&mut [0; 16]);
    socket.set_nonblocking(false).unwrap();
    let kind = received.as_ref().map_err(std::io::Error::kind);
    assert_eq!(kind, Err(ErrorKind::WouldBlock), "more than expected");
}

/// `count` payloads of `size` bytes, all different, of bytes that look random.
pub(crate) fn payloads(count: usize, size: usize) -> Vec<Vec<u8>> {
    let payload = |number| {
        let mut payload = vec![0; size];
        fastrand::Rng::with_seed((size * 1_000_003 + number) as u64).fill(&mut payload);
        payload
    };
    (0..count).map(payload).collect()
}

/// How many sends are on their way at a time: fewer than a backlog of the kernel holds.
const SENDS_UNDER_WAY_MAX: usize = 64;

const RECEIVE_BUFFER_BYTES: usize = 64 << 20;
