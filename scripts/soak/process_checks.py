"""What is checked of the processes: nothing grows, all comes home, the log has no surprise."""

import re
from statistics import median

from .record import lines, starved, within
from .tracker import PROBE_HASHES

# What is left of growth when nothing grows: tables of different fill, the kernel's rounding.
GROWTH_BYTES_MAX = 2 << 20
GROWTH_SHARE_MAX = 0.03
# A process has a few more descriptors while it answers, saves or opens a socket anew.
DESCRIPTORS_MORE_MAX = 2
SAMPLES_OF_A_QUARTER_MIN = 10
# Samples may fail while one process takes over from another, and for this long around it.
TAKEOVER_S_MAX = 5.0
# Warnings that disturbances cause. Everything else is a finding.
EXPECTED_WARNINGS = (
    r"the output is down: ",
    r"there is no such interface yet; its rules wait for it",
    r"the interface cannot be received from yet",
    r"not all groups could be joined again",
    r"a group cannot be joined",
    r"(receives|sends) fail, the last with: (Network is (down|unreachable)|No such device)",
    # Of the outputs by the interface that comes and goes.
    r"the kernel refuses what is sent: there is no route, .*`ip route get 239\.2\.(2\.8|3\.9)`",
)
# Where a worker got no core for some seconds.
STARVED_WARNINGS = (r"a worker takes long to ",)
EXPECTED_ERRORS = (r"reload failed, everything in force stays: ",)


def ended_well(record):
    """All processes ended in good order when they were told to."""
    problems = [f"a process ended with {code}" for code in record["exit_codes"] if code != 0]
    summaries = len(lines(record, "summary"))
    if summaries != len(record["exit_codes"]):
        problems.append(f"{summaries} summaries of {len(record['exit_codes'])} processes")
    return problems, f"{summaries} processes"


def disturbances(record):
    problems = [f"{event['kind']} at {event['t']:.0f} s: {event['detail']}"
                for event in record["events"] if not event["ok"]]
    if not record["events"]:
        problems.append("there were none")
    return problems, f"{len(record['events'])} disturbances had the effect that they must have"


def sampled(record):
    """The figures could be read each time, except while the process changed."""
    windows = [(event["t"] - TAKEOVER_S_MAX, event["end"] + TAKEOVER_S_MAX)
               for event in record["events"] if event["kind"] == "takeover"]
    problems = [f"no figures at {failed['t']:.0f} s: {failed['error']}"
                for failed in record["samples_failed"]
                if not any(start <= failed["t"] <= end for start, end in windows)]
    if len(record["samples"]) < 4 * SAMPLES_OF_A_QUARTER_MIN:
        problems.append(f"only {len(record['samples'])} samples")
    return problems, f"{len(record['samples'])} samples"


def quarters(record, read):
    """Medians of the second and of the last quarter of the load."""
    start, end = record["load_start"], record["load_end"]
    length = (end - start) / 4
    parts = []
    for begin in (start + length, end - length):
        values = [read(sample) for sample in record["samples"]
                  if begin <= sample["t"] < begin + length]
        parts.append([value for value in values if value is not None])
    return parts


def grows(record, name, allowed):
    """Whether a figure of a process is higher in the last quarter than in the second one."""
    problems, told = [], []
    for process in ("main", "broker"):
        early, late = quarters(
            record, lambda sample, process=process:
            sample["processes"][process][name] if process in sample["processes"] else None)
        if min(len(early), len(late)) < SAMPLES_OF_A_QUARTER_MIN:
            problems.append(f"{process}: too few samples")
            continue
        before, after = median(early), median(late)
        if after - before > allowed(before):
            problems.append(f"{process}: {before:,.0f}, then {after:,.0f}")
        told.append(f"{process} {before:,.0f}, then {after:,.0f}")
    return problems, "; ".join(told)


def memory(record):
    """Beside the pools, which are mapped at the start and become resident as they are used."""
    return grows(record, "beside_pools_bytes",
                 lambda before: max(GROWTH_BYTES_MAX, GROWTH_SHARE_MAX * before))


def descriptors(record):
    return grows(record, "descriptors", lambda _: DESCRIPTORS_MORE_MAX)


def threads(record):
    return grows(record, "threads", lambda _: 0)


def rest(record):
    """Without load, all is as it was at the start."""
    start, end, problems = record["at_start"], record["at_end"], []
    for index, pools in start["pools"].items():
        for pool, free in pools.items():
            now = end["pools"][index][pool]
            if now != free:
                problems.append(f"worker {index}, {pool}: {free}, then {now}")
    for process, figures in start["processes"].items():
        now = end["processes"].get(process, {"descriptors": -1, "threads": -1})
        problems.extend(f"{process}, {name}: {figures[name]}, then {now[name]}"
                        for name in ("descriptors", "threads") if now[name] != figures[name])
    held = end["holdings"]
    if held["peers_ipv6"] or held["peers_ipv4"] > len(PROBE_HASHES):
        problems.append(f"peers are left: {held}")
    return problems, "buffers, slots, descriptors and threads are home, peers expired"


def health(record):
    """No worker fell silent, restarted, or had its completion queue overflow."""
    problems, balance, windows = [], [], starved(record)
    for sample in record["samples"]:
        problems.extend(f"a worker was silent at {sample['t']:.0f} s"
                        for worker in sample["workers"]
                        if not worker["healthy"] and not within(windows, sample["t"], sample["t"]))
    for line in lines(record, "summary"):
        problems.extend(f"process {line['process']}: {name} {line[name]}"
                        for name in ("worker_restarts", "queue_overflows") if line[name])
    for worker in record["samples"][-1]["workers"]:
        balance.append(sum(worker["counters"][f"announces_{family}"]
                           for family in ("ipv4", "ipv6")))
    share = 100 * max(balance) / max(sum(balance), 1)
    told = f"the busiest of {len(balance)} workers had {share:.0f} % of the announces"
    seconds = sum(end - start for start, end in windows)
    return problems, told + (f"; one got no core for {seconds:.0f} s" if windows else "")


def log(record):
    """Nothing is in the log above level info but what disturbances explain."""
    problems, expected, errors = [], 0, 0
    warnings = EXPECTED_WARNINGS + (STARVED_WARNINGS if starved(record) else ())
    for line in record["log"]:
        if line["level"] == "WARN" and matches(warnings, line):
            expected += 1
        elif line["level"] == "ERROR" and matches(EXPECTED_ERRORS, line):
            errors += 1
        elif line["level"] in ("WARN", "ERROR"):
            problems.append(f"{line['level']} {line['message'][:200]}")
    if errors != record["expected_errors"]:
        problems.append(f"{errors} reloads failed instead of {record['expected_errors']}")
    return problems, f"{expected} expected warnings, {errors} expected errors, nothing else"


def matches(patterns, line):
    return any(re.match(pattern, line["message"]) for pattern in patterns)
