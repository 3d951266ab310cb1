//! Sockets that come and go while the kernel refuses to let go of them.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use super::{ERRNOS, eventually, run_under};
use crate::io::fault_injection::{FaultPlan, Operation};
use crate::io::testing::{EchoUntil, ask_in_turn, plan};
use crate::io::{Engine, LoopSizes};
use crate::io::{ServiceId, SocketId};
use crate::sys::socket::{SocketOptions, bind_group};

#[test]
fn a_cancellation_that_fails_is_made_again() {
    for (name, errno) in ERRNOS {
        let faults = FaultPlan::first(Operation::Cancel, errno, 2);
        let (plan, address) = plan(LoopSizes::TRACKER);
        let (table, control) = (Arc::clone(&plan.table), Arc::clone(&plan.control));
        let make = || EchoUntil { left: u32::MAX, control: Arc::clone(&control) };
        let (refused, ()) = run_under(Engine::IoUring, &faults, plan, make, || {
            ask_in_turn(10, address);
            table.deregister(SocketId(0));
            let settled = || table.applied() >= table.version();
            let took = eventually("the socket to be let go", &control, settled);
            println!("a cancellation ends with {name}: the socket was let go after {took:?}");
            // The loop has let go of the port.
            eventually("the port to be free", &control, || UdpSocket::bind(address).is_ok());
            let bytes = 1 << 20;
            let options = SocketOptions { receive_buffer_bytes: bytes, send_buffer_bytes: bytes };
            let group = bind_group(address, 1, options, None).unwrap();
            let socket = group.sockets.into_iter().next().unwrap();
            let registered = table.register(ServiceId::Tracker, Arc::new(socket));
            assert_eq!(registered, Some(SocketId(0)));
            control.wake();
            ask_in_turn(10, address);
            control.stop();
        });
        assert_eq!(refused, vec![(Operation::Cancel, errno); 2]);
    }
}

#[test]
fn cancellations_that_fail_do_not_hold_up_the_end() {
    let faults = FaultPlan::first(Operation::Cancel, libc::EIO, 3);
    let (mut plan, address) = plan(LoopSizes::TRACKER);
    // Should they hold it up, this ends too late for what the loop has taken to be back.
    plan.control = Arc::new(crate::io::WorkerControl::new(Duration::from_secs(20)).unwrap());
    let control = Arc::clone(&plan.control);
    let make = || EchoUntil { left: 10, control };
    let (refused, ()) =
        run_under(Engine::IoUring, &faults, plan, make, || ask_in_turn(10, address));
    assert_eq!(refused.len(), 3);
}
