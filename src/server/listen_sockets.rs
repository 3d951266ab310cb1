//! The tracker's sockets: bound, or of the process before this one, and dealt out to the workers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tracing::warn;

use super::config::TrackerConfig;
use crate::sys::fd_bundle::Inherited;
use crate::sys::socket::{
    BindError, BoundSocket, SocketGroup, SocketOptions, adopt_group, bind_group,
};
use crate::sys::steering::{SteeringConstants, SteeringProgram};
use crate::tracker::store::Shards;

/// The groups of sockets, one for each address: those of another process, or new ones.
pub(crate) fn adopt_or_bind(
    tracker: &TrackerConfig,
    shards: &Shards,
    inherited: Option<&mut Inherited>,
) -> Result<Vec<SocketGroup>, BindError> {
    match inherited {
        Some(inherited) => adopt(tracker, shards, inherited.take_listening()),
        None => bind(tracker, shards),
    }
}

/// Makes groups of another process's sockets: all of one worker, then all of the next.
fn adopt(
    tracker: &TrackerConfig,
    shards: &Shards,
    sockets: Vec<OwnedFd>,
) -> Result<Vec<SocketGroup>, BindError> {
    let (options, program) = socket_setup(tracker, shards);
    // The other one may have gone without IPv6.
    let groups = sockets.len() / shards.len();
    let mut dealt: Vec<Vec<OwnedFd>> = (0..groups).map(|_| Vec::new()).collect();
    for (index, socket) in sockets.into_iter().enumerate().take(groups * shards.len()) {
        dealt[index % groups].push(socket);
    }
    let adopt_one = |(address, sockets): (&SocketAddr, Vec<OwnedFd>)| {
        adopt_group(*address, sockets, options, program.as_ref())
    };
    tracker.listen.iter().zip(dealt).map(adopt_one).collect()
}

fn socket_setup(
    tracker: &TrackerConfig,
    shards: &Shards,
) -> (SocketOptions, Option<SteeringProgram>) {
    let options = SocketOptions {
        receive_buffer_bytes: tracker.receive_buffer_bytes,
        send_buffer_bytes: tracker.send_buffer_bytes,
    };
    let steering = shards.steering();
    let constants =
        SteeringConstants { addend: steering.addend(), multipliers: steering.multipliers() };
    let program = SteeringProgram::new(constants, shards.len() as u32);
    (options, tracker.steering.then_some(program))
}

/// Binds a group for each address, of one socket for each worker.
fn bind(tracker: &TrackerConfig, shards: &Shards) -> Result<Vec<SocketGroup>, BindError> {
    let (options, program) = socket_setup(tracker, shards);
    // Nobody asked for IPv6 by name where the addresses are the default ones.
    let optional = tracker.listen == TrackerConfig::default().listen;
    let mut groups = Vec::with_capacity(tracker.listen.len());
    for address in &tracker.listen {
        match bind_group(*address, shards.len(), options, program.as_ref()) {
            Ok(group) => groups.push(group),
            Err(error @ BindError::NoIpv6 { .. }) if optional && !groups.is_empty() => {
                warn!("serving IPv4 only: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(groups)
}

/// Deals each group's sockets out: one to each worker, in order.
pub(crate) fn distribute(groups: Vec<SocketGroup>, workers: usize) -> Vec<Vec<Arc<BoundSocket>>> {
    let mut per_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for group in groups {
        per_worker
            .iter_mut()
            .zip(group.sockets)
            .for_each(|(hand, socket)| hand.push(Arc::new(socket)));
    }
    per_worker
}

/// One warning for each kind of buffer, with the sysctl that allows more.
pub(crate) fn warn_of_small_buffers(groups: &[SocketGroup], tracker: &TrackerConfig) {
    let least = |short: fn(&SocketGroup) -> Option<usize>| groups.iter().filter_map(short).min();
    for (kind, granted, wanted, sysctl) in [
        (
            "receive",
            least(|group| group.receive_buffer_short),
            tracker.receive_buffer_bytes,
            "net.core.rmem_max",
        ),
        (
            "send",
            least(|group| group.send_buffer_short),
            tracker.send_buffer_bytes,
            "net.core.wmem_max",
        ),
    ] {
        if let Some(granted) = granted {
            warn!(
                "the kernel grants {kind} buffers of {granted} bytes instead of {wanted}; \
                 bursts may be lost; allow more with `sysctl -w {sysctl}={wanted}`"
            );
        }
    }
}
