//! Opening a ring with as much as the kernel has of what is wanted.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::ring::{RingError, kernel_release};
use crate::io::fault_injection::{Operation, refusal};
use crate::io::{RingFeature, RingFeatures};

/// Builds a ring and says what of `wanted` it has.
///
/// With [`RingFeature::SingleIssuer`] only the thread that builds the ring may submit to it.
pub(super) fn open(
    entries: u32,
    completion_entries: u32,
    wanted: RingFeatures,
) -> Result<(IoUring, RingFeatures), RingError> {
    if let Some(feature) = RingFeatures::ALL.but(wanted).iter().find(|off| off.is_needed()) {
        return Err(RingError::NeededFeatureOff { feature });
    }
    let build = |features| set_up(entries, completion_entries, features);
    let (ring, features) = build_with_most(wanted, build).map_err(RingError::explain)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(RingError::explain)?;
    // Multishot recvmsg has no opcode of its own to probe for; SEND_ZC came with the same kernel.
    if !probe.is_supported(opcode::SendZc::CODE) || !ring.params().is_feature_ext_arg() {
        return Err(RingError::KernelTooOld { release: kernel_release() });
    }
    // Nor has a send with an address; SENDMSG_ZC came with the same kernel.
    let has_send_to = probe.is_supported(opcode::SendMsgZc::CODE);
    let features = if has_send_to { features } else { features.without(RingFeature::SendTo) };
    Ok((ring, features))
}

/// Builds with all of `wanted`, or with less: the newest feature goes first.
fn build_with_most<R>(
    wanted: RingFeatures,
    build: impl Fn(RingFeatures) -> io::Result<R>,
) -> io::Result<(R, RingFeatures)> {
    let mut features = wanted;
    for give_up in SET_UP_WITH {
        let candidates = consistent(features);
        match build(candidates) {
            // EINVAL means a flag that this kernel does not know.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                features = features.without(give_up);
            }
            other => return other.map(|ring| (ring, candidates)),
        }
    }
    build(features).map(|ring| (ring, features))
}

/// What goes together.
fn consistent(features: RingFeatures) -> RingFeatures {
    use RingFeature::{CoopTaskrun, DeferTaskrun, SingleIssuer};
    match features.has(DeferTaskrun) && features.has(SingleIssuer) {
        // Completions that wait for the worker interrupt nobody anyway.
        true => features.without(CoopTaskrun),
        false => features.without(DeferTaskrun),
    }
}

fn set_up(entries: u32, completion_entries: u32, features: RingFeatures) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completion_entries);
    if features.has(RingFeature::SubmitAll) {
        builder.setup_submit_all();
    }
    if features.has(RingFeature::SingleIssuer) {
        builder.setup_single_issuer();
    }
    if features.has(RingFeature::DeferTaskrun) {
        builder.setup_defer_taskrun();
    }
    if features.has(RingFeature::CoopTaskrun) {
        builder.setup_coop_taskrun();
    }
    match refusal(Operation::SetUp) {
        None => builder.build(entries),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The features that flags of io_uring_setup(2) ask for, the newest first.
const SET_UP_WITH: [RingFeature; 4] = [
    RingFeature::DeferTaskrun,
    RingFeature::SingleIssuer,
    RingFeature::CoopTaskrun,
    RingFeature::SubmitAll,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What is built where the kernel knows only `known`.
    fn built(wanted: RingFeatures, known: RingFeatures) -> io::Result<RingFeatures> {
        let build = |features: RingFeatures| {
            let is_unknown = |flag: &RingFeature| features.has(*flag) && !known.has(*flag);
            match SET_UP_WITH.iter().any(is_unknown) {
                false => Ok(()),
                true => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            }
        };
        build_with_most(wanted, build).map(|((), features)| features)
    }

    #[test]
    fn each_kernel_gives_what_it_has() {
        use RingFeature::{CoopTaskrun, DeferTaskrun, SingleIssuer, SubmitAll};
        let all = RingFeatures::ALL;
        let newest = all.without(CoopTaskrun);
        assert_eq!(built(all, all).unwrap(), newest);
        // 6.0, 5.19, 5.18 and before.
        let mut known = all.without(DeferTaskrun);
        assert_eq!(built(all, known).unwrap(), known);
        for lost in [SingleIssuer, CoopTaskrun, SubmitAll] {
            known = known.without(lost);
            assert_eq!(built(all, known).unwrap(), known);
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_asked_for() {
        use RingFeature::{CoopTaskrun, DeferTaskrun, SingleIssuer};
        let all = RingFeatures::ALL;
        let without = |feature| built(all.without(feature), all).unwrap();
        assert_eq!(without(DeferTaskrun), all.without(DeferTaskrun));
        // The one needs the other.
        let neither = all.without(SingleIssuer).without(DeferTaskrun);
        assert_eq!(without(SingleIssuer), neither);
        assert_eq!(without(CoopTaskrun), all.without(CoopTaskrun));
    }

    #[test]
    fn another_error_is_told_at_once() {
        let refused = |_| Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM));
        let error = build_with_most(RingFeatures::ALL, refused).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn each_feature_can_be_left_out_here() {
        for feature in RingFeature::ALL {
            let opened = open(8, 16, RingFeatures::ALL.without(feature));
            match opened {
                Ok((ring, features)) => {
                    assert!(!features.has(feature) && !feature.is_needed());
                    assert_eq!(ring.params().cq_entries(), 16);
                }
                Err(error) => {
                    assert!(feature.is_needed(), "{error}");
                    let text = error.to_string();
                    assert!(text.contains(feature.name()) && text.contains("io_uring_without"));
                }
            }
        }
    }
}
