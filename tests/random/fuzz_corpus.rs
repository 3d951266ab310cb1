//! Gives every seed of every fuzz target to that target, and what mutation in the plainest way
//! makes of it: each seed cut short and with bytes changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// Seeds stay readable in a dump; libFuzzer makes the long ones.
const SEED_BYTES_MAX: u64 = 4096;
const MUTATIONS: usize = 200;

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The seeds of one target, by path.
fn seeds_of(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(seeds().join(target)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    let read = |path: PathBuf| {
        assert!(fs::metadata(&path).unwrap().len() <= SEED_BYTES_MAX, "{}", path.display());
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_seed_passes_its_target() {
    for (target, run) in crate::fuzz::TARGETS {
        for (path, bytes) in seeds_of(target) {
            println!("{}", path.display());
            run(&bytes);
        }
    }
}

#[test]
fn cut_and_changed_seeds_pass_too() {
    for (target, run) in crate::fuzz::TARGETS {
        let mut rng = Rng::with_seed(1);
        for (path, bytes) in seeds_of(target) {
            println!("{}", path.display());
            for _ in 0..MUTATIONS {
                let mut changed = bytes.clone();
                changed.truncate(rng.usize(..=bytes.len()));
                for _ in 0..rng.usize(..4).min(changed.len()) {
                    let at = rng.usize(..changed.len());
                    changed[at] = rng.u8(..);
                }
                run(&changed);
            }
        }
    }
}

/// Otherwise libFuzzer would miss a target, or its seeds.
#[test]
fn targets_binaries_and_seeds_belong_together() {
    let names: BTreeSet<String> =
        crate::fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(stems(seeds()), names);
    assert_eq!(stems(seeds().with_file_name("fuzz_targets")), names);
    let manifest = fs::read_to_string(seeds().with_file_name("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
