//! How much memory this process may use: what the machine has, and what control groups
//! (cgroups(7)) and resource limits (getrlimit(2)) leave of it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use tracing::{info, warn};

use super::config::TrackerConfig;
use crate::tracker::store::SHARE_BYTES_MIN;
use crate::values::units::format_size;

/// The most memory that swarms may take, in bytes: as configured, or half of what the process may
/// use.
pub(crate) fn of_swarms(tracker: &TrackerConfig, workers: usize) -> usize {
    let automatic = automatic().map(|bytes| bytes as usize);
    let least = workers * SHARE_BYTES_MIN;
    let Some(bytes) = tracker.memory_limit_bytes else {
        let bytes = automatic.unwrap_or(MEMORY_BYTES_UNKNOWN).max(least);
        info!("swarms may take {}", format_size(bytes as u64 >> 20 << 20));
        return bytes;
    };
    if bytes < least {
        let least = format_size(least as u64);
        warn!("memory_limit is too low for {workers} workers: swarms may take {least}");
    }
    if automatic.is_some_and(|half| bytes / 2 > half) {
        warn!(
            "memory_limit is more than the machine, its control groups or resource limits allow \
             this process: the kernel may kill it first"
        );
    }
    bytes
}

/// What `memory_limit = "auto"` gives the swarms: half of what the process may use. `None` if
/// that cannot be found out.
pub fn automatic() -> Option<u64> {
    available(Path::new("/")).map(|bytes| bytes / AUTO_SHARE)
}

/// What this process may use, in bytes: the least of everything that bounds it. Files are read
/// below `root`.
fn available(root: &Path) -> Option<u64> {
    let limits = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].into_iter().filter_map(|resource| {
        let (soft, _) = getrlimit(resource).ok()?;
        (soft != RLIM_INFINITY).then_some(soft)
    });
    physical(root).into_iter().chain(limits).chain(control_groups(root)).min()
}

/// The machine's memory (proc_meminfo(5)).
fn physical(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The limits of this process's control groups and of all above them, both versions.
fn control_groups(root: &Path) -> Vec<u64> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (mounts, groups) = (read("proc/self/mountinfo"), read("proc/self/cgroup"));
    let mut limits = Vec::new();
    for group in groups.lines() {
        let mut fields = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let files: &[&str] = match controllers {
            "" => &["memory.max", "memory.high"],
            _ if controllers.split(',').any(|name| name == "memory") => &["memory.limit_in_bytes"],
            _ => continue,
        };
        let Some(Mount { within, at }) = mounts.lines().find_map(|line| mount(line, controllers))
        else {
            continue;
        };
        // A group that the mount does not show is above it: then its limits are those of the top.
        let below = Path::new(path).strip_prefix(within).unwrap_or(Path::new(""));
        let top = root.join(at.strip_prefix("/").unwrap_or(&at));
        for directory in top.join(below).ancestors().take_while(|path| path.starts_with(&top)) {
            let values = files.iter().filter_map(|file| {
                fs::read_to_string(directory.join(file)).ok()?.trim().parse::<u64>().ok()
            });
            limits.extend(values);
        }
    }
    limits
}

/// A mounted hierarchy of control groups.
struct Mount {
    /// The group that the mount point shows.
    within: PathBuf,
    at: PathBuf,
}

/// The mount of a line of mountinfo (proc_pid_mountinfo(5)), if it is that of the memory
/// controller; of version 2 if there are no `controllers`.
fn mount(line: &str, controllers: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let wanted = match kind.next()? {
        "cgroup2" => controllers.is_empty(),
        "cgroup" => {
            let options = kind.nth(1)?;
            !controllers.is_empty() && options.split(',').any(|option| option == "memory")
        }
        _ => false,
    };
    let mut place = place.split(' ').skip(3);
    let (within, at) = (place.next()?, place.next()?);
    wanted.then(|| Mount { within: within.into(), at: at.into() })
}

/// One in so many bytes: the rest is for the kernel's socket buffers, workers, a saved file that
/// is written, and everything else on the machine.
const AUTO_SHARE: u64 = 2;

/// What swarms may take where nobody tells how much there is.
const MEMORY_BYTES_UNKNOWN: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:         123 kB\n");
    const MOUNT_V2: (&str, &str) = (
        "proc/self/mountinfo",
        "24 1 0:22 / /proc rw - proc proc rw\n35 24 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - \
         cgroup2 cgroup2 rw,nsdelegate\n",
    );

    #[test]
    fn without_control_groups_it_is_the_machines() {
        assert_eq!(available(tree(&[MEMINFO]).path()), Some(16_384_000 << 10));
        assert_eq!(available(tree(&[("a", "")]).path()), None);
        assert!(automatic().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let own = ("proc/self/cgroup", "0::/system.slice/ringtide.service\n");
        let at = |directory: &str| format!("sys/fs/cgroup/{directory}memory.max");
        let (top, slice) = (at(""), at("system.slice/"));
        let service = at("system.slice/ringtide.service/");
        let other = at("system.slice/other.service/");
        let limit = |top_text, slice_text, service_text| {
            let files = [
                MEMINFO,
                MOUNT_V2,
                own,
                (&*top, top_text),
                (&*slice, slice_text),
                (&*service, service_text),
                (&*other, "5\n"),
            ];
            available(tree(&files).path())
        };
        assert_eq!(limit("max\n", "max\n", "max\n"), Some(16_384_000 << 10));
        assert_eq!(limit("max\n", "max\n", "1073741824\n"), Some(1 << 30));
        assert_eq!(limit("max\n", "536870912\n", "1073741824\n"), Some(512 << 20));
        assert_eq!(limit("4096\n", "536870912\n", "max\n"), Some(4096));
    }

    #[test]
    fn a_soft_limit_counts_as_well() {
        let files = [
            MEMINFO,
            MOUNT_V2,
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.high", "1048576\n"),
        ];
        assert_eq!(available(tree(&files).path()), Some(1 << 20));
    }

    #[test]
    fn version_1_and_mounts_of_a_part_are_understood() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let limit = |group: &str| {
            let files = [
                MEMINFO,
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", group),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n"),
                ("sys/fs/cgroup/memory/part/memory.limit_in_bytes", "1048576\n"),
            ];
            available(tree(&files).path())
        };
        assert_eq!(limit("4:memory:/docker/abc\n1:cpu:/\n"), Some(2 << 20));
        assert_eq!(limit("4:memory:/docker/abc/part\n0::/\n"), Some(1 << 20));
        assert_eq!(limit("4:memory:/elsewhere\n"), Some(2 << 20));
        assert_eq!(limit("1:cpu:/docker/abc\n"), Some(16_384_000 << 10));
    }
}
