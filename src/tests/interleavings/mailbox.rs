//! Messages into a worker that may be about to fall asleep, to restart or to end.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::explore;
use crate::io::WorkerControl;
use crate::io::mailbox::{Mailbox, TrySendError};

fn control() -> Arc<WorkerControl> {
    Arc::new(WorkerControl::new(Duration::ZERO).unwrap())
}

#[test]
fn a_worker_never_sleeps_beside_a_message() {
    explore("messages and sleep", || {
        let control = control();
        let (mailbox, sender) = Mailbox::new(2, Arc::clone(&control));
        let worker = thread::spawn(move || {
            let mut received = Vec::new();
            // As both engines do: what is left over from an iteration forbids to sleep.
            while received.len() < 2 {
                if !mailbox.has_messages() {
                    control.clear_wake();
                }
                received.extend(mailbox.pop());
            }
            received
        });
        let other = {
            let sender = sender.clone();
            thread::spawn(move || sender.try_send(1).unwrap())
        };
        sender.try_send(2).unwrap();
        other.join().unwrap();
        let mut received = worker.join().unwrap();
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
    });
}

#[test]
fn a_message_is_delivered_or_given_back() {
    explore("messages and a full mailbox", || {
        let (mailbox, sender) = Mailbox::new(1, control());
        let worker = thread::spawn(move || {
            let received = mailbox.pop();
            (mailbox, received)
        });
        let mut taken = 0;
        for message in 0..2 {
            match sender.try_send(message) {
                Ok(()) => taken += 1,
                Err(error) => assert_eq!(error, TrySendError::Full(message)),
            }
        }
        let (mailbox, received) = worker.join().unwrap();
        let waiting = mailbox.pop();
        let delivered = received.iter().chain(&waiting).count();
        assert_eq!(delivered, taken);
        assert!(taken > 0 && mailbox.pop().is_none());
    });
}

#[test]
fn nothing_is_left_in_a_mailbox_that_closes() {
    explore("messages and the end", || {
        let (mailbox, sender) = Mailbox::new(1, control());
        let message = Arc::new(());
        let sent = Arc::clone(&message);
        let other = thread::spawn(move || sender.try_send(sent).is_ok());
        drop(mailbox);
        // Whether it was taken or given back, nobody has it any more.
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&message), 1);
    });
}
