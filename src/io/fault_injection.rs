//! Where tests have the kernel refuse what it would have done. In the program nothing is refused,
//! and the compiler leaves the questions out.

/// What can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A receive, when it is started.
    Receive,
    /// A send.
    Send,
    /// The read that other threads wake a worker through.
    Wake,
    /// The cancellation of another operation.
    Cancel,
    /// A wait for completions or readiness.
    Wait,
    /// The set-up of a ring.
    SetUp,
}

/// Whether anything is ever refused.
pub(crate) const POSSIBLE: bool = cfg!(test);

/// The error number to refuse the next operation of a kind with.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn refusal(_: Operation) -> Option<i32> {
    None
}

/// How many of `count` messages that are about to be sent may go, and what to refuse the first
/// with when it is none.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn sends_until_refusal(count: usize) -> (usize, Option<i32>) {
    (count, None)
}

#[cfg(test)]
pub(crate) use planned::{FaultPlan, Faults, refusal, sends_until_refusal};

#[cfg(test)]
mod planned {
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex};

    use fastrand::Rng;

    use super::Operation;

    const OPERATIONS: usize = 6;

    /// What a thread's operations are refused with.
    #[derive(Clone, Debug)]
    pub(crate) struct FaultPlan {
        /// Each kind has random numbers of its own: what becomes of the tenth send depends on
        /// nothing else.
        pub(crate) seed: u64,
        /// How many of a thousand operations are refused.
        pub(crate) per_mille: u32,
        /// The kinds that are refused, the error numbers, and at most how often.
        pub(crate) faults: Vec<(Operation, Vec<i32>, usize)>,
    }

    struct Kind {
        random: Rng,
        errnos: Vec<i32>,
        left: usize,
    }

    /// The plan of a thread, for as long as this lives.
    #[derive(Debug)]
    pub(crate) struct Faults(Arc<Mutex<Vec<(Operation, i32)>>>);

    struct Planned {
        per_mille: u32,
        kinds: [Option<Kind>; OPERATIONS],
        /// What the first message behind those just sent is refused with.
        next_send: Option<i32>,
        refused: Arc<Mutex<Vec<(Operation, i32)>>>,
    }

    thread_local! {
        static PLANNED: RefCell<Option<Planned>> = const { RefCell::new(None) };
    }

    impl FaultPlan {
        /// The first `count` operations of one kind fail with `errno`.
        pub(crate) fn first(operation: Operation, errno: i32, count: usize) -> Self {
            Self { seed: 0, per_mille: 1000, faults: vec![(operation, vec![errno], count)] }
        }

        /// Puts the plan in force on this thread.
        pub(crate) fn install(&self) -> Faults {
            let mut kinds = [const { None }; OPERATIONS];
            for (operation, errnos, left) in &self.faults {
                let kind = *operation as usize;
                let random = Rng::with_seed(self.seed.wrapping_mul(31) + kind as u64);
                kinds[kind] = Some(Kind { random, errnos: errnos.clone(), left: *left });
            }
            let refused = Arc::default();
            let planned = Planned {
                per_mille: self.per_mille,
                kinds,
                next_send: None,
                refused: Arc::clone(&refused),
            };
            PLANNED.set(Some(planned));
            Faults(refused)
        }
    }

    impl Faults {
        /// What was refused so far.
        pub(crate) fn refused(&self) -> Vec<(Operation, i32)> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Drop for Faults {
        fn drop(&mut self) {
            PLANNED.set(None);
        }
    }

    pub(crate) fn refusal(operation: Operation) -> Option<i32> {
        PLANNED.with_borrow_mut(|planned| {
            let planned = planned.as_mut()?;
            let kind = planned.kinds[operation as usize].as_mut()?;
            let errno = *kind.random.choice(&kind.errnos)?;
            if kind.random.u32(..1000) >= planned.per_mille || kind.left == 0 {
                return None;
            }
            kind.left -= 1;
            planned.refused.lock().unwrap().push((operation, errno));
            Some(errno)
        })
    }

    pub(crate) fn sends_until_refusal(count: usize) -> (usize, Option<i32>) {
        let take = |planned: &mut Option<Planned>| planned.as_mut()?.next_send.take();
        if let Some(errno) = PLANNED.with_borrow_mut(take) {
            return (0, Some(errno));
        }
        for index in 0..count {
            let Some(errno) = refusal(Operation::Send) else { continue };
            if index == 0 {
                return (0, Some(errno));
            }
            PLANNED.with_borrow_mut(|planned| {
                if let Some(planned) = planned {
                    planned.next_send = Some(errno);
                }
            });
            return (index, None);
        }
        (count, None)
    }
}
