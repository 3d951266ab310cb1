//! How many workers there are and which core each is pinned to.

use std::num::NonZeroUsize;

use super::limits::CORE;
use crate::error::Remedy;

/// How many workers to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerCount {
    /// One for each listed core or, without a list, for each core this process may use.
    OnePerCore,
    /// This many.
    Exactly(NonZeroUsize),
}

impl From<usize> for WorkerCount {
    /// Zero is [`WorkerCount::OnePerCore`], as in the file.
    fn from(count: usize) -> Self {
        NonZeroUsize::new(count).map_or(Self::OnePerCore, Self::Exactly)
    }
}

/// Why workers cannot be spread over cores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// The list names a core outside this process's affinity mask.
    #[error("core {core} is listed in `cores`, but this process may use only {usable:?}")]
    NotUsable {
        /// The listed core.
        core: usize,
        /// The cores of the affinity mask.
        usable: Vec<usize>,
    },
    /// The affinity mask could not be read or is empty.
    #[error("cannot tell which cores this process may use")]
    NoneKnown,
}

impl Remedy for CoreError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::NotUsable { .. } => {
                "list other cores, or widen the mask (taskset, cpuset, CPUAffinity=)".to_owned()
            }
            Self::NoneKnown => "list the cores to use in `cores`".to_owned(),
        })
    }
}

impl WorkerCount {
    /// The core of each worker: of those `listed`, or without a list of those `usable`, which may
    /// be fewer than there are workers and are then shared in turn.
    pub(super) fn cores(self, listed: &[usize], usable: &[usize]) -> Result<Vec<usize>, CoreError> {
        if let Some(core) = listed.iter().find(|core| !usable.contains(core)) {
            return Err(CoreError::NotUsable { core: *core, usable: usable.to_vec() });
        }
        let cores = if listed.is_empty() { usable } else { listed };
        if cores.is_empty() {
            return Err(CoreError::NoneKnown);
        }
        let count = match self {
            Self::OnePerCore => cores.len(),
            Self::Exactly(count) => count.get(),
        };
        Ok(cores.iter().copied().cycle().take(count).collect())
    }
}

/// Reads core numbers and ranges as `taskset` takes them: `0,2,4-7`.
pub fn parse_core_list(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (core_number(first)?, core_number(last)?);
        if first > last {
            return Err(format!("\"{part}\" runs backwards"));
        }
        // Refused at the first repetition, the list never outgrows the number of cores.
        for core in first..=last {
            if cores.contains(&core) {
                return Err(format!("core {core} is listed twice"));
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

fn core_number(text: &str) -> Result<usize, String> {
    CORE.parse(text.trim()).map_err(|reason| format!("core \"{text}\": {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Settings;
    use proptest::prelude::*;

    fn settings(workers: usize, cores: &[usize]) -> Settings {
        let workers = WorkerCount::from(workers);
        Settings { workers, cores: cores.to_vec(), ..Settings::default() }
    }

    #[test]
    fn one_worker_per_core_by_default() {
        assert_eq!(settings(0, &[]).worker_cores(&[1, 3]), Ok(vec![1, 3]));
        assert_eq!(settings(0, &[3]).worker_cores(&[1, 3]), Ok(vec![3]));
    }

    #[test]
    fn an_explicit_count_takes_cores_in_order_and_then_shares_them() {
        assert_eq!(settings(1, &[]).worker_cores(&[1, 3]), Ok(vec![1]));
        assert_eq!(settings(1, &[3, 1]).worker_cores(&[1, 3]), Ok(vec![3]));
        assert_eq!(settings(3, &[]).worker_cores(&[1, 3]), Ok(vec![1, 3, 1]));
    }

    #[test]
    fn a_core_outside_the_mask_is_refused() {
        let error = settings(0, &[1, 2]).worker_cores(&[1, 3]).unwrap_err();
        assert_eq!(error, CoreError::NotUsable { core: 2, usable: vec![1, 3] });
        assert_eq!(settings(4, &[]).worker_cores(&[]), Err(CoreError::NoneKnown));
    }

    #[test]
    fn core_lists_read_as_taskset_takes_them() {
        assert_eq!(parse_core_list("0,2,4-7"), Ok(vec![0, 2, 4, 5, 6, 7]));
        assert_eq!(parse_core_list("3"), Ok(vec![3]));
        assert_eq!(parse_core_list("1023"), Ok(vec![1023]));
        for text in ["", "a", "1,,2", "7-4", "1,0-2", "1024", "0-99999999999", "-1", "1-"] {
            assert!(parse_core_list(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[0-9,\\- a]{0,40}") {
            if let Ok(cores) = parse_core_list(&text) {
                prop_assert!(cores.len() <= 1024);
            }
        }
    }
}
