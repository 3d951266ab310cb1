//! What the relay sends: closed batches by the outputs of their rule, and what becomes of them.

use std::sync::atomic::Ordering;

use super::coalesce::Split;
use super::datagram::count_datagrams;
use super::in_flight::{InFlight, Owner};
use super::latency::LatencySamples;
use super::stats::RelayDrop;
use super::table::{RelayTable, TableOutput};
use crate::io::{BufferSlice, Forward, Now, SendCompletion, SendOptions};
use crate::io::{Transmit, TransmitError, is_socket_full};

/// Sends closed batches by the outputs of their rule.
pub(super) struct Sender<'a, T> {
    pub(super) table: &'a RelayTable,
    pub(super) in_flight: &'a mut InFlight,
    pub(super) latency: &'a mut LatencySamples,
    pub(super) tx: &'a mut T,
}

impl<T: Transmit> Sender<'_, T> {
    /// Sends a closed batch by all outputs of its rule.
    pub(super) fn send(&mut self, rule: usize, slices: &[BufferSlice], options: SendOptions) {
        let table = self.table;
        for output in &table.rules[rule].outputs {
            let options = SendOptions {
                segment_bytes: options.segment_bytes,
                ttl: options.ttl.filter(|_| output.keep_ttl),
                tos: options.tos.filter(|_| output.keep_dscp),
            };
            let whole = match options.segment_bytes {
                None => true,
                Some(size) => {
                    usize::from(size) <= output.segment_max
                        && !output.state.refuses_segments.load(Ordering::Relaxed)
                }
            };
            if whole {
                self.send_whole(output, slices, options, 0);
            } else {
                self.send_singly(output, slices, options, 0);
            }
        }
    }

    /// One datagram after the other, each in a send of its own.
    fn send_singly(
        &mut self,
        output: &TableOutput,
        slices: &[BufferSlice],
        options: SendOptions,
        flag: u32,
    ) {
        let single = SendOptions { segment_bytes: None, ..options };
        for slice in Split::new(slices, options.segment_bytes) {
            self.send_whole(output, &[slice], single, flag);
        }
    }

    /// One send, of one datagram or of as many as the segment size makes.
    fn send_whole(
        &mut self,
        output: &TableOutput,
        slices: &[BufferSlice],
        options: SendOptions,
        flag: u32,
    ) {
        let state = &output.state;
        let bytes = slices.iter().map(|slice| slice.range.len()).sum::<usize>();
        let dropped = |reason| {
            state.counters.dropped(reason, count_datagrams(bytes, options.segment_bytes) as u64);
        };
        let Some(socket) = output.socket else { return dropped(RelayDrop::OutputDown) };
        if options.segment_bytes.is_none() && bytes > output.payload_max {
            return dropped(RelayDrop::Oversized);
        }
        let (rule, index) = match self.in_flight.room(state.tag, slices.len()) {
            Ok(position) => position,
            Err(reason) => return dropped(reason),
        };
        let &TableOutput { to, ipv6, .. } = output;
        let forward = Forward { socket, to, ipv6, slices, options, tag: state.tag | flag };
        match self.tx.forward(forward) {
            Ok(()) => {
                self.in_flight.begin(state.tag, slices.len());
                if flag == 0 {
                    self.latency.begin(rule, index);
                }
            }
            Err(TransmitError::Full) => dropped(RelayDrop::NoBuffer),
            Err(TransmitError::NoSocket) => dropped(RelayDrop::SendError),
        }
    }

    /// Counts how a send ended, and sends its datagrams again where that may help. Returns whether
    /// its output refuses segments from now on.
    pub(super) fn completed(&mut self, now: Now, forwarded: &SendCompletion<'_>) -> bool {
        let SendCompletion { tag, result, slices, options } = *forwarded;
        let Some(owner) = self.in_flight.end(tag & !RETRY, slices.len()) else {
            return false;
        };
        let table = self.table;
        let (output, state) = match &owner {
            Owner::Stays(rule, output) => {
                let output = &table.rules[*rule].outputs[*output];
                (Some(output), &output.state)
            }
            Owner::Left(state) => (None, state),
        };
        let bytes = slices.iter().map(|slice| slice.range.len()).sum::<usize>();
        let datagrams = count_datagrams(bytes, options.segment_bytes) as u64;
        let counters = &state.counters;
        let error = match result {
            Ok(_) => {
                counters.passed(datagrams, bytes as u64);
                counters.sent();
                counters.seen(now.seconds());
                return false;
            }
            Err(error) => error,
        };
        match (output, error) {
            // The device or its MTU does not allow it: from now on datagrams go singly here.
            (Some(output), libc::EINVAL | libc::EIO | libc::EMSGSIZE)
                if options.segment_bytes.is_some() =>
            {
                output.state.refuses_segments.store(true, Ordering::Relaxed);
                self.send_again(output, slices, options);
                return true;
            }
            // The error of an earlier datagram, reported instead of sending this one.
            (Some(output), libc::ECONNREFUSED) if tag & RETRY == 0 => {
                self.send_again(output, slices, options);
            }
            // One that is no longer in the table has no socket to try again by.
            _ => counters.dropped(reason_for(error), datagrams),
        }
        false
    }

    /// Sends the datagrams of a send that failed, singly.
    fn send_again(&mut self, output: &TableOutput, slices: &[BufferSlice], options: SendOptions) {
        match options.segment_bytes {
            Some(_) => self.send_singly(output, slices, options, RETRY),
            // One datagram, though it may lie in several slices.
            None => self.send_whole(output, slices, options, RETRY),
        }
    }
}

fn reason_for(error: i32) -> RelayDrop {
    match error {
        _ if is_socket_full(error) => RelayDrop::SocketFull,
        libc::EMSGSIZE => RelayDrop::Oversized,
        libc::ENETDOWN | libc::ENETUNREACH | libc::ENODEV | libc::ENXIO => RelayDrop::OutputDown,
        _ => RelayDrop::SendError,
    }
}

/// Set in the tag of a send that is made for the second time.
const RETRY: u32 = 1 << 31;
