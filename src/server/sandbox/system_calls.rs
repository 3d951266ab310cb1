//! The system calls that a process may still make (seccomp(2)).
//!
//! Three filters; the strictest answer counts. The first kills the process for calls that it never
//! makes and an intruder would make first. The second hides `clone3`, whose arguments no filter can
//! see, so that the C library uses `clone`. The third allows what is needed and lets the rest fail
//! with EPERM, so that a forgotten call is an error and not a crash. Most calls are allowed or
//! denied whatever their arguments are; for those the kernel caches the answer and does not run the
//! filters again.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Which process the filters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// The serving process.
    Serve,
    /// The broker.
    Broker,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters in all threads. Sets no_new_privs, which this requires.
pub(super) fn restrict(allowed: Allowed) -> Result<(), Error> {
    for program in programs(allowed)? {
        apply_filter_all_threads(&program)?;
    }
    Ok(())
}

/// The filters, in the order of installation: the last forbids installing more.
fn programs(allowed: Allowed) -> Result<[BpfProgram; 3], BackendError> {
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let forbidden = SeccompAction::Errno(libc::EPERM as u32);
    let program = |rules, otherwise, matched| {
        SeccompFilter::new(rules, otherwise, matched, ARCHITECTURE)?.try_into()
    };
    Ok([
        program(unchecked(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        program(unchecked(ABSENT), SeccompAction::Allow, absent)?,
        program(rules(allowed)?, forbidden, SeccompAction::Allow)?,
    ])
}

/// The names of the calls that are allowed, in order.
pub fn allowed_names(allowed: Allowed) -> Vec<&'static str> {
    let plain = plain(allowed).iter().flat_map(|list| list.iter().map(|(name, _)| *name));
    let threads = (allowed == Allowed::Serve).then_some("SYS_clone");
    let checked = CHECKED.iter().map(|(name, ..)| *name).chain(threads);
    let mut names: Vec<_> = plain.chain(checked).collect();
    names.sort_unstable();
    names
}

fn plain(allowed: Allowed) -> &'static [&'static [Call]] {
    match allowed {
        Allowed::Serve => &[BASIC, LEGACY_BASIC, SERVE, LEGACY_SERVE],
        Allowed::Broker => &[BASIC, LEGACY_BASIC, BROKER],
    }
}

/// Rules for calls with any arguments.
fn unchecked(calls: &[Call]) -> Rules {
    calls.iter().map(|(_, number)| (*number, Vec::new())).collect()
}

fn rules(allowed: Allowed) -> Result<Rules, BackendError> {
    let mut rules = unchecked(ABSENT);
    plain(allowed).iter().for_each(|list| rules.extend(unchecked(list)));
    if allowed == Allowed::Serve {
        rules.insert(libc::SYS_clone, vec![thread_only()?]);
    }
    for (_, number, argument, values) in CHECKED {
        let families: &[i32] = match (*number, allowed) {
            (libc::SYS_socket, Allowed::Broker) => &BROKER_FAMILIES,
            _ => values,
        };
        let equal = |value: &i32| {
            // The kernel looks at these arguments as 32 bits, whatever stands above.
            let (length, value) = (SeccompCmpArgLen::Dword, u64::from(*value as u32));
            let condition = SeccompCondition::new(*argument, length, SeccompCmpOp::Eq, value)?;
            SeccompRule::new(vec![condition])
        };
        let of_call: Result<Vec<_>, _> = families.iter().map(equal).collect();
        rules.insert(*number, of_call?);
    }
    Ok(rules)
}

/// Permits `clone` for threads of this process only: no new process, and no new namespace, in which
/// it would have every capability. The flags are the first argument on all three architectures.
fn thread_only() -> Result<SeccompRule, BackendError> {
    let flags = |mask: i32, value: i32| {
        let (mask, value) = (u64::from(mask as u32), u64::from(value as u32));
        let length = SeccompCmpArgLen::Dword;
        SeccompCondition::new(0, length, SeccompCmpOp::MaskedEq(mask), value)
    };
    let thread = flags(libc::CLONE_THREAD, libc::CLONE_THREAD)?;
    SeccompRule::new(vec![thread, flags(NAMESPACES, 0)?])
}

/// A call's name and number.
type Call = (&'static str, i64);

macro_rules! calls {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), libc::$name)),*]
    };
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: TargetArch = TargetArch::riscv64;

/// Memory, time, reading and writing, open sockets, exit.
const BASIC: &[Call] = calls![
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_read,
    SYS_readv,
    SYS_write,
    SYS_writev,
    SYS_close,
    SYS_lseek,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_openat,
    SYS_fcntl,
    SYS_ppoll,
    SYS_sendto,
    SYS_sendmsg,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_bind,
    SYS_connect,
    SYS_getsockname,
    SYS_getpeername,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_shutdown,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_gettid,
    SYS_getpid,
    SYS_tgkill,
    SYS_getrandom,
    SYS_uname,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_capget,
    SYS_sched_yield,
    SYS_rseq,
    SYS_set_robust_list,
    SYS_readlinkat,
    SYS_getcwd,
    SYS_prlimit64,
];

/// Threads, both engines, files of its own, servers.
const SERVE: &[Call] = calls![
    SYS_kill,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_membarrier,
    SYS_getcpu,
    SYS_get_robust_list,
    SYS_set_tid_address,
    SYS_mlock,
    SYS_munlock,
    SYS_mincore,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_recvmmsg,
    SYS_sendmmsg,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_signalfd4,
    SYS_pipe2,
    SYS_pselect6,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_socketpair,
    SYS_dup,
    SYS_dup3,
    SYS_pread64,
    SYS_preadv,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_getdents64,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_statfs,
    SYS_fstatfs,
    SYS_renameat,
    SYS_renameat2,
    SYS_unlinkat,
    SYS_mkdirat,
    SYS_linkat,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_flock,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_umask,
    SYS_utimensat,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_close_range,
    SYS_getppid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_times,
    SYS_wait4,
    SYS_waitid,
    SYS_getgroups,
];

/// Nothing besides: its sockets are below, with the families it may open.
const BROKER: &[Call] = calls![];

/// What newer architectures do without.
#[cfg(target_arch = "x86_64")]
const LEGACY_BASIC: &[Call] = calls![SYS_open, SYS_stat, SYS_poll, SYS_readlink, SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY_BASIC: &[Call] = &[];
#[cfg(target_arch = "x86_64")]
const LEGACY_SERVE: &[Call] = calls![
    SYS_lstat,
    SYS_access,
    SYS_epoll_wait,
    SYS_epoll_create,
    SYS_select,
    SYS_dup2,
    SYS_pipe,
    SYS_rename,
    SYS_unlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_link,
    SYS_chmod,
    SYS_chown,
    SYS_getdents,
    SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY_SERVE: &[Call] = &[];

/// Calls of which one argument has to be one of a few values: which argument, and the values.
const CHECKED: &[(&str, i64, u8, &[i32])] = &[
    ("SYS_socket", libc::SYS_socket, 0, &SERVE_FAMILIES),
    ("SYS_ioctl", libc::SYS_ioctl, 1, &IOCTLS),
    ("SYS_prctl", libc::SYS_prctl, 0, &PRCTLS),
];

const SERVE_FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
const BROKER_FAMILIES: [i32; 4] =
    [libc::AF_PACKET, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Terminals, and what std sets on descriptors.
const IOCTLS: [i32; 5] = [
    libc::FIONBIO as i32,
    libc::FIOCLEX as i32,
    libc::TCGETS as i32,
    libc::TIOCGWINSZ as i32,
    TCGETS2,
];
const TCGETS2: i32 = 0x802c_542a_u32 as i32;

/// Names of threads, and of memory.
const PRCTLS: [i32; 6] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_CAPBSET_READ,
];

/// What this kernel seems not to have: its arguments are in memory, out of a filter's sight.
const ABSENT: &[Call] = calls![SYS_clone3];

/// Namespaces that a new thread or process could begin.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// What kills: other programs, other processes, the kernel itself.
const DEADLY: &[Call] = calls![
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_bpf,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_open_by_handle_at,
    SYS_acct,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_userfaultfd,
    SYS_perf_event_open,
];

#[cfg(test)]
mod tests;
