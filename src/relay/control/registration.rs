//! Sockets that every worker has one of, and how they are registered.

use std::sync::Arc;

use super::context::RelayWorker;
use crate::io::socket_table::LoopSocket;
use crate::io::{ServiceId, SocketId};

/// Sockets of one input interface or output, by worker, with what each loop calls its own.
pub(crate) type Registration<S> = Vec<(SocketId, Arc<S>)>;

/// Registers one socket with each worker, or none with any: an index in the list is always the
/// worker's.
///
/// # Errors
/// The sockets, when some worker's loop has no room. Where others are about to be deregistered,
/// there is room afterwards.
pub(crate) fn register_with_all<S: LoopSocket + 'static>(
    workers: &[RelayWorker],
    sockets: Vec<Arc<S>>,
) -> Result<Registration<S>, Vec<Arc<S>>> {
    let mut registered = Vec::with_capacity(sockets.len());
    for (worker, socket) in workers.iter().zip(&sockets) {
        match worker.sockets.register(ServiceId::Relay, Arc::clone(socket) as _) {
            Some(id) => registered.push(id),
            None => {
                let ids = registered.into_iter().zip(workers);
                ids.for_each(|(id, worker)| worker.sockets.deregister(id));
                return Err(sockets);
            }
        }
    }
    Ok(registered.into_iter().zip(sockets).collect())
}

/// Why something is not open although it could be opened.
pub(super) const NO_ROOM: &str =
    "a worker's loop serves no more sockets; use fewer outputs or interfaces";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::WorkerControl;
    use crate::io::socket_table::{Nowhere, SOCKETS_MAX, SocketKind, SocketTable};

    fn worker() -> RelayWorker {
        RelayWorker {
            sockets: Arc::new(SocketTable::new(ServiceId::Tracker, [])),
            control: Arc::new(WorkerControl::new(std::time::Duration::ZERO).unwrap()),
            shared: Arc::default(),
            counters: Arc::default(),
        }
    }

    fn two() -> Vec<Arc<Nowhere>> {
        vec![Arc::new(Nowhere(SocketKind::SendOnly)), Arc::new(Nowhere(SocketKind::SendOnly))]
    }

    /// What only the second worker would get must not pass for the first one's.
    #[test]
    fn all_workers_get_theirs_or_none_does() {
        let workers = [worker(), worker()];
        let fill = |worker: &RelayWorker| {
            let socket = || Arc::new(Nowhere(SocketKind::SendOnly)) as _;
            std::iter::from_fn(|| worker.sockets.register(ServiceId::Relay, socket()))
                .last()
                .unwrap()
        };
        let last = fill(&workers[0]);
        assert_eq!(usize::from(last.0), SOCKETS_MAX - 1);
        assert_eq!(register_with_all(&workers, two()).unwrap_err().len(), 2);
        workers[0].sockets.deregister(last);
        let registered = register_with_all(&workers, two()).unwrap();
        let ids: Vec<_> = registered.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [last, SocketId(0)], "nothing was left at the second one before");
        fill(&workers[1]);
        workers[0].sockets.deregister(last);
        assert_eq!(register_with_all(&workers, two()).unwrap_err().len(), 2);
        assert_eq!(fill(&workers[0]), last, "it was deregistered from the first one");
    }
}
