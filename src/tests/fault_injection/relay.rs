//! Frames and what the relay makes of them. They come in over a Unix socket, which nobody needs
//! privileges for, and leave by two outputs.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ERRNOS, count, eventually, everything, run_under, seeds};
use crate::io::fault_injection::{FaultPlan, Operation};
use crate::io::mailbox::Mailbox;
use crate::io::socket_table::{LoopSocket, SocketKind, SocketTable};
use crate::io::testing::plan;
use crate::io::{Engine, LoopSizes, WorkerControl, WorkerPlan};
use crate::io::{ServiceId, SocketId};
use crate::relay::Offload;
use crate::relay::golden::{IPV4, IPV4_PLAIN, plain};
use crate::relay::handler::Relay;
use crate::relay::stats::{FlowCounters, FlowSnapshot, RelayDrop};
use crate::relay::table::{InputKey, OutputState, RelayTable, SharedTable, TableOutput, TableRule};
use crate::server::services::Services;

#[derive(Debug)]
struct Frames(UnixDatagram);

impl AsRawFd for Frames {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl LoopSocket for Frames {
    fn kind(&self) -> SocketKind {
        SocketKind::Frames
    }
}

#[derive(Debug)]
struct Way(UdpSocket);

impl AsRawFd for Way {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl LoopSocket for Way {
    fn kind(&self) -> SocketKind {
        SocketKind::SendOnly
    }
}

/// A relay of one rule with two outputs, and both its ends.
pub(super) struct Bench {
    pub(super) source: UnixDatagram,
    sinks: Vec<UdpSocket>,
    input: Arc<FlowCounters>,
    outputs: Vec<Arc<OutputState>>,
    pub(super) shared: Arc<SharedTable>,
    pub(super) control: Arc<WorkerControl>,
}

impl Bench {
    pub(super) fn new() -> (Self, WorkerPlan) {
        let (source, end) = UnixDatagram::pair().unwrap();
        let mut lent: Vec<Arc<dyn LoopSocket>> = vec![Arc::new(Frames(end))];
        let (mut sinks, mut outputs, mut in_table) = (Vec::new(), Vec::new(), Vec::new());
        for tag in 1..=2 {
            let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
            sink.set_nonblocking(true).unwrap();
            let state = Arc::new(OutputState { tag, ..OutputState::default() });
            in_table.push(TableOutput {
                socket: Some(SocketId(lent.len() as u16)),
                to: sink.local_addr().ok(),
                ipv6: false,
                segment_max: 1472,
                payload_max: 65_507,
                keep_ttl: false,
                keep_dscp: false,
                state: Arc::clone(&state),
            });
            lent.push(Arc::new(Way(UdpSocket::bind("127.0.0.1:0").unwrap())));
            sinks.push(sink);
            outputs.push(state);
        }
        let input: Arc<FlowCounters> = Arc::default();
        let rule = TableRule {
            sources: Box::default(),
            keeps_ttl: false,
            keeps_dscp: false,
            counters: Arc::clone(&input),
            outputs: in_table,
        };
        let key = InputKey::new(SocketId(0), "239.1.1.1:5001".parse().unwrap());
        let shared = Arc::new(SharedTable::default());
        shared.publish(RelayTable {
            generation: 1,
            offload: Offload::Auto,
            inputs: [(key, vec![0])].into(),
            rules: vec![rule],
            ..RelayTable::default()
        });
        let sizes = LoopSizes { frame_buffers: 256, forwards: true, ..LoopSizes::TRACKER };
        let (mut plan, _) = plan(sizes);
        plan.table = Arc::new(SocketTable::new(ServiceId::Relay, lent));
        let control = Arc::clone(&plan.control);
        (Self { source, sinks, input, outputs, shared, control }, plan)
    }

    pub(super) fn ended(&self, output: usize) -> FlowSnapshot {
        self.outputs[output].counters.snapshot()
    }

    /// Sends so many datagrams, ten at a time, and waits until each was sent or dropped by each
    /// output. Returns what the sinks got, and how long the first ten took.
    pub(super) fn pass(&self, datagrams: u64) -> ([u64; 2], Duration) {
        let frame = plain(IPV4, IPV4_PLAIN);
        let before = self.input.snapshot().packets;
        let (mut got, mut first, began) = ([0; 2], None, Instant::now());
        for sent in 1..=datagrams {
            self.source.send(&frame).unwrap();
            if sent % 10 == 0 || sent == datagrams {
                eventually("frames to end", &self.control, || {
                    (0..2).all(|output| {
                        let ended = self.ended(output);
                        ended.packets + ended.dropped_total() == before + sent
                    })
                });
                first.get_or_insert(began.elapsed());
                for (sink, got) in self.sinks.iter().zip(&mut got) {
                    while sink.recv(&mut [0; 16]).is_ok() {
                        *got += 1;
                    }
                }
            }
        }
        (got, first.unwrap_or_default())
    }
}

/// Relays under a plan, and then without faults. Returns what each output dropped, and why.
fn relay(engine: Engine, faults: &FaultPlan, datagrams: u64) -> Relayed {
    let (bench, plan) = Bench::new();
    let shared = Arc::clone(&bench.shared);
    let meanwhile = || {
        let passed = bench.pass(datagrams);
        bench.control.stop();
        passed
    };
    let (mailbox, _) = Mailbox::new(1, Arc::clone(&bench.control));
    let mailbox = Arc::new(mailbox);
    let make = || Services { tracker: None, relay: Some(Relay::new(shared)), mailbox };
    let (refused, (got, first)) = run_under(engine, faults, plan, make, meanwhile);
    assert_eq!(bench.input.snapshot().packets, datagrams);
    assert_eq!(bench.shared.unmatched.snapshot(), FlowSnapshot::default());
    let ended = [bench.ended(0), bench.ended(1)];
    for (ended, got) in ended.iter().zip(got) {
        assert_eq!(ended.packets, got, "what was counted as sent arrived");
        assert_eq!(ended.packets + ended.dropped_total(), datagrams);
    }
    Relayed { ended, refused, first }
}

struct Relayed {
    ended: [FlowSnapshot; 2],
    refused: Vec<(Operation, i32)>,
    first: Duration,
}

#[test]
fn every_error_of_a_forward_is_got_over() {
    for engine in Engine::ALL {
        for (name, errno) in ERRNOS {
            let faults = FaultPlan::first(Operation::Send, errno, 6);
            let Relayed { ended, refused, first } = relay(engine, &faults, 100);
            assert_eq!(count(&refused, Operation::Send), 6);
            let reason = match errno {
                libc::EAGAIN | libc::ENOBUFS => RelayDrop::SocketFull,
                libc::EMSGSIZE => RelayDrop::Oversized,
                libc::ENETDOWN | libc::ENETUNREACH => RelayDrop::OutputDown,
                _ => RelayDrop::SendError,
            };
            let dropped = ended[0].plus(ended[1]);
            assert_eq!(dropped.dropped(reason), dropped.dropped_total(), "{name}");
            // These are tried again, singly or once more.
            let again = [libc::ECONNREFUSED, libc::EINVAL, libc::EIO, libc::EMSGSIZE];
            assert!(again.contains(&errno) || dropped.dropped_total() > 0, "{name}");
            println!(
                "{}: 6 forwards end with {name}: {} dropped, the rest relayed in {first:?}",
                engine.name(),
                dropped.dropped_total()
            );
        }
    }
}

#[test]
fn every_error_of_a_receive_of_frames_is_got_over() {
    for engine in Engine::ALL {
        for (name, errno) in ERRNOS {
            let faults = FaultPlan::first(Operation::Receive, errno, 3);
            let Relayed { ended, refused, first } = relay(engine, &faults, 100);
            assert_eq!(count(&refused, Operation::Receive), 3);
            assert_eq!(ended[0].plus(ended[1]).dropped_total(), 0, "{name} costs no frame");
            println!("{}: 3 receives end with {name}: relayed in {first:?}", engine.name());
        }
    }
}

#[test]
fn random_faults_leave_every_datagram_accounted_for() {
    for seed in seeds() {
        println!("RINGTIDE_SEED={seed}");
        for engine in Engine::ALL {
            let mut faults = everything(seed, 80, 200);
            if engine == Engine::Epoll {
                faults.faults.retain(|(operation, ..)| *operation != Operation::Wait);
                faults.faults.push((Operation::Wait, vec![libc::EINTR], 200));
            }
            let Relayed { ended, refused, .. } = relay(engine, &faults, 2000);
            let dropped = ended[0].plus(ended[1]).dropped_total();
            println!("{}: {} refused, {dropped} dropped", engine.name(), refused.len());
        }
    }
}
