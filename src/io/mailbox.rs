//! One bounded queue of messages into a worker, from any other thread.
//!
//! A message is an event, which has to be handled once. State that a worker only needs the newest
//! of is published instead, as a restarted worker has to find it: see
//! [`AppliedVersion`](super::AppliedVersion).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::WorkerControl;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};

/// The worker's end of the queue. It outlives restarts of the worker: what waits when a loop ends
/// is delivered by the next one. When it is dropped, senders are told that it is closed.
pub struct Mailbox<M>(Arc<Shared<M>>);

/// The other end of the queue: any number of clones on any threads.
pub struct MailboxSender<M> {
    shared: Arc<Shared<M>>,
    control: Arc<WorkerControl>,
}

/// Why a message was not taken. It is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<M> {
    /// As many messages wait as the queue has room for.
    #[error("the worker's mailbox is full")]
    Full(M),
    /// The worker has ended for good.
    #[error("the worker takes no messages any more")]
    Closed(M),
}

struct Shared<M> {
    /// Locked for the move of one message, never while one is handled.
    queue: Mutex<Queue<M>>,
    /// How many messages wait; written under the lock, and read without it by the worker, which
    /// looks in every iteration.
    waiting: AtomicUsize,
}

struct Queue<M> {
    /// Allocated once; never longer than `messages_max`.
    messages: VecDeque<M>,
    messages_max: usize,
    closed: bool,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        // A push or a pop leaves nothing half-done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Mailbox<M> {
    /// An empty queue of at most `messages_max` messages, and its other end, which wakes the worker
    /// of `control`.
    pub fn new(messages_max: usize, control: Arc<WorkerControl>) -> (Self, MailboxSender<M>) {
        let messages = VecDeque::with_capacity(messages_max);
        let queue = Mutex::new(Queue { messages, messages_max, closed: false });
        let shared = Arc::new(Shared { queue, waiting: AtomicUsize::new(0) });
        (Self(Arc::clone(&shared)), MailboxSender { shared, control })
    }

    /// Whether messages wait. A loop asks before it sleeps: senders wake it only for the first.
    #[inline]
    pub fn has_messages(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// Hands the messages that wait to `on_message`, the oldest first, at most
    /// [`MESSAGES_PER_ITERATION_MAX`] of them. Should it panic, the others are still there.
    #[inline]
    pub fn deliver(&self, mut on_message: impl FnMut(M)) {
        if !self.has_messages() {
            return;
        }
        for _ in 0..MESSAGES_PER_ITERATION_MAX {
            let Some(message) = self.pop() else { return };
            on_message(message);
        }
    }

    pub(crate) fn pop(&self) -> Option<M> {
        let mut queue = self.0.lock();
        let message = queue.messages.pop_front();
        self.0.waiting.store(queue.messages.len(), Ordering::Release);
        message
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.closed = true;
        let undelivered = std::mem::take(&mut queue.messages);
        self.0.waiting.store(0, Ordering::Release);
        drop(queue);
        drop(undelivered);
    }
}

impl<M> MailboxSender<M> {
    /// Puts a message into the queue, and wakes the worker if it may be asleep: it is awake, or
    /// about to be, while others wait.
    ///
    /// # Errors
    /// When the queue is full or closed, with the message.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(TrySendError::Closed(message));
        }
        if queue.messages.len() == queue.messages_max {
            return Err(TrySendError::Full(message));
        }
        queue.messages.push_back(message);
        let waiting = queue.messages.len();
        self.shared.waiting.store(waiting, Ordering::Release);
        drop(queue);
        if waiting == 1 {
            self.control.wake();
        }
        Ok(())
    }
}

impl<M> Clone for MailboxSender<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), control: Arc::clone(&self.control) }
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for MailboxSender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxSender").finish_non_exhaustive()
    }
}

/// Part of a message that has to be acknowledged: the acknowledgement is that it is dropped, by
/// whoever handled the message or could not. Clones go to several workers.
#[derive(Clone, Debug)]
pub struct Acknowledgement(#[expect(dead_code, reason = "its end is the message")] Sender<Never>);

/// Waits for every clone of an [`Acknowledgement`].
#[derive(Debug)]
pub struct Acknowledged(Receiver<Never>);

type Never = Infallible;

/// An acknowledgement to send, and what waits for it.
pub fn acknowledgement() -> (Acknowledgement, Acknowledged) {
    let (sender, receiver) = mpsc::channel();
    (Acknowledgement(sender), Acknowledged(receiver))
}

impl Acknowledged {
    /// Sleeps until all have acknowledged, at most for `timeout`. Returns whether they have.
    pub fn wait(self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

/// The most messages delivered in an iteration, so that packets do not wait for all that a flood
/// of messages left.
pub const MESSAGES_PER_ITERATION_MAX: usize = 64;

#[cfg(test)]
#[cfg(not(ringtide_loom))]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn mailbox(messages_max: usize) -> (Mailbox<u32>, MailboxSender<u32>, Arc<WorkerControl>) {
        let control = Arc::new(WorkerControl::new(Duration::ZERO).unwrap());
        let (mailbox, sender) = Mailbox::new(messages_max, Arc::clone(&control));
        (mailbox, sender, control)
    }

    fn delivered(mailbox: &Mailbox<u32>) -> Vec<u32> {
        let mut messages = Vec::new();
        mailbox.deliver(|message| messages.push(message));
        messages
    }

    /// Whether the worker was woken since the last time.
    fn was_woken(control: &WorkerControl) -> bool {
        let mut descriptors = [PollFd::new(control.wake_descriptor(), PollFlags::POLLIN)];
        let woken = poll(&mut descriptors, PollTimeout::ZERO).unwrap() > 0;
        if woken {
            control.clear_wake();
        }
        woken
    }

    #[test]
    fn messages_arrive_in_order_and_a_full_queue_gives_them_back() {
        let (mailbox, sender, _) = mailbox(2);
        assert!(!mailbox.has_messages());
        assert!(delivered(&mailbox).is_empty());
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.clone().try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
        assert!(mailbox.has_messages());
        assert_eq!(delivered(&mailbox), [1, 2]);
        assert!(!mailbox.has_messages());
        assert_eq!(sender.try_send(4), Ok(()));
        assert_eq!(delivered(&mailbox), [4]);
    }

    #[test]
    fn only_the_first_message_wakes_the_worker() {
        let (mailbox, sender, control) = mailbox(4);
        sender.try_send(1).unwrap();
        assert!(was_woken(&control));
        sender.try_send(2).unwrap();
        assert!(!was_woken(&control), "it has not looked yet");
        delivered(&mailbox);
        sender.try_send(3).unwrap();
        assert!(was_woken(&control));
    }

    #[test]
    fn a_delivery_is_bounded_and_a_panic_costs_one_message() {
        let count = MESSAGES_PER_ITERATION_MAX as u32 + 2;
        let (mailbox, sender, _) = mailbox(count as usize);
        (0..count).for_each(|number| sender.try_send(number).unwrap());
        assert_eq!(delivered(&mailbox).len(), MESSAGES_PER_ITERATION_MAX);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            mailbox.deliver(|_| panic!("as this test wants"));
        }));
        assert!(panicked.is_err());
        assert_eq!(delivered(&mailbox), [count - 1]);
    }

    #[test]
    fn a_closed_mailbox_takes_nothing_and_drops_what_waits() {
        let control = Arc::new(WorkerControl::new(Duration::ZERO).unwrap());
        let (mailbox, sender) = Mailbox::new(2, control);
        let waiting = Arc::new(());
        sender.try_send(Arc::clone(&waiting)).unwrap();
        drop(mailbox);
        assert_eq!(Arc::strong_count(&waiting), 1);
        assert_eq!(sender.try_send(waiting), Err(TrySendError::Closed(Arc::new(()))));
    }

    #[test]
    fn an_acknowledgement_is_complete_when_every_clone_is_dropped() {
        let (first, acknowledged) = acknowledgement();
        let second = first.clone();
        drop(first);
        let late = std::thread::spawn(move || drop(second));
        assert!(acknowledged.wait(Duration::from_secs(60)));
        late.join().unwrap();
        let (_kept, acknowledged) = acknowledgement();
        assert!(!acknowledged.wait(Duration::from_millis(1)));
    }
}
