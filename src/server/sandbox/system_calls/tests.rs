use super::*;

#[test]
fn no_call_is_both_deadly_and_allowed() {
    for allowed in [Allowed::Serve, Allowed::Broker] {
        let names = allowed_names(allowed);
        assert!(DEADLY.iter().all(|(name, _)| !names.contains(name)));
        let mut once = names.clone();
        once.dedup();
        assert_eq!(once, names);
        assert!(ABSENT.iter().all(|(name, _)| !names.contains(name)));
        assert_eq!(rules(allowed).unwrap().len(), names.len() + ABSENT.len());
    }
}

#[test]
fn what_gains_privileges_is_not_allowed() {
    for name in ["SYS_setuid", "SYS_setresuid", "SYS_capset", "SYS_unshare", "SYS_setns"] {
        assert!(!allowed_names(Allowed::Serve).contains(&name), "{name}");
        assert!(!allowed_names(Allowed::Broker).contains(&name), "{name}");
    }
}

/// The strictest answer of all filters to a call with this first argument (seccomp(2)).
fn answer(allowed: Allowed, number: i64, argument: u64) -> u32 {
    let programs = programs(allowed).unwrap();
    // A lower number, with its sign, is stricter; of one kind, the last installed counts.
    let kind = |answer: &u32| (*answer & libc::SECCOMP_RET_ACTION_FULL) as i32;
    programs.iter().rev().map(|program| run(program, number, argument)).min_by_key(kind).unwrap()
}

/// What one filter, a classic BPF program, answers.
fn run(program: &BpfProgram, number: i64, argument: u64) -> u32 {
    let [low, high] = [argument as u32, (argument >> 32) as u32];
    let architecture = program[1].k;
    let (mut at, mut held) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { step.jt } else { step.jf });
        match u32::from(step.code) {
            0x20 => {
                held = match step.k {
                    0 => number as u32,
                    4 => architecture,
                    16 => low,
                    20 => high,
                    _ => 0,
                };
            }
            0x05 => at += step.k as usize,
            0x15 => jump(held == step.k),
            0x25 => jump(held > step.k),
            0x35 => jump(held >= step.k),
            0x54 => held &= step.k,
            0x06 => return step.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

const PERMITTED: u32 = libc::SECCOMP_RET_ALLOW;
const FORBIDDEN: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

#[test]
fn calls_are_answered_as_listed() {
    for allowed in [Allowed::Serve, Allowed::Broker] {
        assert_eq!(answer(allowed, libc::SYS_read, 0), PERMITTED);
        assert_eq!(answer(allowed, libc::SYS_setresuid, 0), FORBIDDEN);
        assert_eq!(answer(allowed, libc::SYS_execve, 0), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(answer(allowed, libc::SYS_socket, libc::AF_INET as u64), PERMITTED);
    }
    assert_eq!(answer(Allowed::Serve, libc::SYS_socket, libc::AF_PACKET as u64), FORBIDDEN);
    assert_eq!(answer(Allowed::Broker, libc::SYS_socket, libc::AF_PACKET as u64), PERMITTED);
}

/// In a user namespace of its own, a process has every capability there is.
#[test]
fn threads_may_begin_and_neither_processes_nor_namespaces() {
    let thread = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    let clone = |flags: i32| answer(Allowed::Serve, libc::SYS_clone, u64::from(flags as u32));
    assert_eq!(clone(thread), PERMITTED, "as glibc and musl start one");
    for namespace in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        assert_eq!(clone(thread | namespace), FORBIDDEN, "{namespace:x}");
        assert_eq!(clone(namespace | libc::SIGCHLD), FORBIDDEN, "{namespace:x}");
    }
    assert_eq!(clone(libc::SIGCHLD), FORBIDDEN, "fork");
    assert_eq!(clone(libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD), FORBIDDEN, "spawn");
    assert_eq!(answer(Allowed::Serve, libc::SYS_clone3, 0), MISSING);
    assert_eq!(answer(Allowed::Broker, libc::SYS_clone, thread as u64), FORBIDDEN);
}
