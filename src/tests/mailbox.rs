//! Messages into running workers, on both engines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::io::clock::Clock;
use crate::io::mailbox::{MESSAGES_PER_ITERATION_MAX, Mailbox, MailboxSender};
use crate::io::testing::{ask_in_turn, plan};
use crate::io::{Dispatch, Engine, EngineChoice, LoopSizes, Now, Packet, ServiceId, Transmit};
use crate::workers::Workers;

/// What a worker reports.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Message(u32),
    Ticked,
}

/// Echoes datagrams and reports messages. It panics at [`PANIC`].
struct Echo {
    mailbox: Arc<Mailbox<u32>>,
    events: Sender<Event>,
    /// Delivered since the last flush.
    delivered: usize,
}

const PANIC: u32 = u32::MAX;

impl Dispatch for Echo {
    fn on_datagram<T: Transmit>(&mut self, _: ServiceId, _: Now, packet: &Packet<'_>, tx: &mut T) {
        let _ = tx.reply(packet.path, |out| {
            out[..packet.payload.len()].copy_from_slice(packet.payload);
            packet.payload.len()
        });
    }

    fn has_messages(&self) -> bool {
        self.mailbox.has_messages()
    }

    fn deliver_messages<T: Transmit>(&mut self, _: Now, _: &mut T) {
        let Self { mailbox, events, delivered } = self;
        mailbox.deliver(|message| {
            assert_ne!(message, PANIC, "as the test wants");
            *delivered += 1;
            // Nobody listens any more when the test has ended.
            let _ = events.send(Event::Message(message));
        });
    }

    fn on_flush<T: Transmit>(&mut self, _: Now, _: &mut T) {
        assert!(self.delivered <= MESSAGES_PER_ITERATION_MAX);
        self.delivered = 0;
    }

    fn on_tick<T: Transmit>(&mut self, _: Now, _: &mut T) {
        let _ = self.events.send(Event::Ticked);
    }
}

struct Running {
    workers: Workers,
    address: SocketAddr,
    sender: MailboxSender<u32>,
    events: Receiver<Event>,
}

fn start(engine: Engine) -> Running {
    let (plan, address) = plan(LoopSizes::TRACKER);
    let (mailbox, sender) = Mailbox::new(1024, Arc::clone(&plan.control));
    let mailbox = Arc::new(mailbox);
    let (to_test, events) = mpsc::channel();
    let make =
        move |_| Echo { mailbox: Arc::clone(&mailbox), events: to_test.clone(), delivered: 0 };
    let workers =
        Workers::start(EngineChoice::Only(engine), vec![plan], Clock::start(), make).unwrap();
    Running { workers, address, sender, events }
}

impl Running {
    /// Waits for a message to arrive. Returns how many ticks passed meanwhile.
    fn ticks_until(&self, message: u32) -> usize {
        let mut ticks = 0;
        loop {
            match self.events.recv_timeout(Duration::from_secs(60)).unwrap() {
                Event::Ticked => ticks += 1,
                Event::Message(arrived) => {
                    assert_eq!(arrived, message);
                    return ticks;
                }
            }
        }
    }
}

#[test]
fn a_message_from_another_thread_wakes_an_idle_loop() {
    for engine in Engine::ALL {
        let running = start(engine);
        let mut ticks = 0;
        for message in 0..100 {
            running.sender.try_send(message).unwrap();
            ticks += running.ticks_until(message);
        }
        // Without a wake-up each would have waited for a tick.
        assert!(ticks < 50, "{}: {ticks} ticks for 100 messages", engine.name());
        running.workers.stop();
    }
}

#[test]
fn a_flood_of_messages_leaves_datagrams_their_share() {
    for engine in Engine::ALL {
        let running = start(engine);
        let stop = Arc::new(AtomicBool::new(false));
        let flood = {
            let (stop, sender) = (Arc::clone(&stop), running.sender.clone());
            std::thread::spawn(move || {
                let mut taken = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    match sender.try_send(0) {
                        Ok(()) => taken += 1,
                        Err(_) => std::thread::yield_now(),
                    }
                }
                taken
            })
        };
        running.ticks_until(0);
        ask_in_turn(200, running.address);
        stop.store(true, Ordering::Relaxed);
        let taken = flood.join().unwrap();
        assert!(taken > 200 * MESSAGES_PER_ITERATION_MAX as u64 / 8, "{taken} are no flood");
        running.workers.stop();
    }
}

#[test]
fn messages_that_wait_outlive_a_panic() {
    for engine in Engine::ALL {
        let running = start(engine);
        for message in [PANIC, 1, 2] {
            running.sender.try_send(message).unwrap();
        }
        running.ticks_until(1);
        running.ticks_until(2);
        running.workers.stop();
        // The test's closure was the last to have it.
        assert!(running.sender.try_send(3).is_err());
    }
}
