"""Says of the record of a soak what passed and what did not. Plain functions of the record.

Nothing is judged by rates or latency, which depend on what else the machine does: what was sent is
compared with what arrived and with what was counted as dropped, and the second quarter of the run
with the last one.
"""

import re
from statistics import median

from . import flows
from .program import PEERS_MAX, TORRENTS_MAX
from .tracker import PROBE_HASHES

# What is left of growth when nothing grows: tables of different fill, the kernel's rounding.
GROWTH_BYTES_MAX = 1 << 20
GROWTH_SHARE_MAX = 0.03
# A process has a few more descriptors while it answers, saves or opens a socket anew.
DESCRIPTORS_MORE_MAX = 2
SAMPLES_OF_A_QUARTER_MIN = 10
# From the moment an interface is back until its flows are, on a machine that others keep busy.
RECOVERY_S_MAX = 5.0
# Datagrams in one super-packet, which the kernel drops as one and counts once.
SEGMENTS_MAX = 64
# Samples may fail while one process takes over from another, and for this long around it.
TAKEOVER_S_MAX = 5.0
SHOWN_MAX = 5
# A worker that waits for its core for this share of a time has been kept from it by other programs;
# from this many seconds on, that explains its silence and what clients gave up meanwhile.
STARVED_SHARE = 0.8
STARVED_S_MIN = 3.0
# Warnings that disturbances cause. Everything else is a finding.
EXPECTED_WARNINGS = (
    r"the output is down: ",
    r"there is no such interface yet; its rules wait for it",
    r"the interface cannot be received from yet",
    r"not all groups could be joined again",
    r"a group cannot be joined",
)
EXPECTED_ERRORS = (r"reload failed, everything in force stays: ",)


def checks(record):
    """Every check: name, whether it passed, and a line that says why."""
    return [{"name": name, "passed": not problems,
             "detail": "; ".join(problems[:SHOWN_MAX]) or good}
            for name, (problems, good) in ((name, check(record)) for name, check in CHECKS)]


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


# Relay.

def windows_of(record, interfaces):
    """When one of these interfaces was away, with the time that recovery may take."""
    return [(event["t"], event["end"] + RECOVERY_S_MAX) for event in record["events"]
            if set(event["touches"]) & set(interfaces)]


def touched_s(record, interfaces, start, end):
    """Seconds of a stretch in which one of the interfaces was away."""
    overlaps = sorted((max(start, begins), min(end, ends))
                      for begins, ends in windows_of(record, interfaces)
                      if begins < end and ends > start)
    seconds, last = 0.0, start
    for begins, ends in overlaps:
        seconds += max(0.0, ends - max(begins, last))
        last = max(last, ends)
    return seconds


def arrivals(record):
    """Each output of each round: flow, output, round, lost, and how much of it was touched."""
    known = {flow.name: flow for flow in (*flows.OF_THE_FILE, flows.DYNAMIC)}
    for account in record["rounds"]:
        flow = known[account["flow"]]
        for output in account["outputs"]:
            interfaces = [endpoint.rpartition("@")[2] for endpoint in (flow.input, output["to"])]
            touched = touched_s(record, interfaces, account["start"],
                                account["sent_by"] + RECOVERY_S_MAX)
            yield flow, output, account, account["sent"] - output["distinct"], touched


def untouched_flows(record):
    """Nothing is lost while all interfaces of a flow are there, but what was counted."""
    lost, datagrams, problems = {}, 0, []
    for flow, output, account, missing, touched in arrivals(record):
        if touched == 0:
            datagrams += account["sent"]
            key = flow.name, output["to"]
            lost[key] = lost.get(key, 0) + missing
    counted = counted_drops(record)
    if sum(lost.values()) > counted:
        problems = [f"{name} to {to}: {missing} lost" for (name, to), missing in lost.items()
                    if missing]
        problems.append(f"at most {counted} are explained by counted drops")
    return problems, (f"{sum(lost.values())} of {datagrams:,} datagrams lost, "
                      f"at most {counted} counted as dropped")


def counted_drops(record):
    """The most datagrams that drops account for that were counted, outside of what was touched:
    by the relay, by the kernel for its packet sockets, on cables, at receivers."""
    kernel = relay_kernel_drops(record) + sum(record["interface_drops"].values())
    kernel += sum(output["kernel_drops"] for account in record["rounds"]
                  for output in account["outputs"])
    relay = 0
    for line in lines(record, "relay in summary") + lines(record, "relay out summary"):
        relay += sum(count for reason, count in named(line["drops"]).items()
                     if reason not in ("output_down", "shutdown"))
    return kernel * SEGMENTS_MAX + relay


def relay_kernel_drops(record):
    """What packet sockets dropped; those that are opened anew begin again at 0."""
    drops, last = 0, 0
    for sample in record["samples"]:
        now = sample["relay"]["kernel_drops"]
        drops += now - last if now >= last else now
        last = now
    return drops


def touched_flows(record):
    """What is lost is no more than what came while an interface was away."""
    problems, lost, datagrams = [], 0, 0
    counted = counted_drops(record)
    for flow, output, account, missing, touched in arrivals(record):
        if touched == 0:
            continue
        lost += missing
        datagrams += account["sent"]
        rate = account["sent"] / max(account["seconds"], 0.001)
        if missing > rate * touched + counted:
            problems.append(f"{flow.name} to {output['to']} at {account['start']:.0f} s: {missing} "
                            f"lost in {touched:.1f} s")
    return problems, f"{lost:,} of {datagrams:,} datagrams lost while interfaces were away"


def intact(record):
    """Nothing arrives twice, out of order or changed."""
    problems, datagrams = [], 0
    for flow, output, account, _, touched in arrivals(record):
        datagrams += output["distinct"]
        faults = {name: output[name] for name in ("corrupt", "foreign")}
        if touched == 0:
            faults |= {name: output[name] for name in ("duplicated", "reordered", "late")}
        problems.extend(f"{flow.name} to {output['to']} at {account['start']:.0f} s: {count} {name}"
                        for name, count in faults.items() if count)
    return problems, f"{datagrams:,} datagrams"


def rules_add_up(record):
    """What a rule took is what each of its outputs sent and dropped."""
    problems, taken = [], 0
    fixed = {flow.name for flow in flows.OF_THE_FILE}
    inputs = {(line["process"], line["rule"]): line["packets"]
              for line in lines(record, "relay in summary") if line["rule"] in fixed}
    outputs = [line for line in lines(record, "relay out summary") if line["rule"] in fixed]
    if len(inputs) != len(fixed) * len(record["exit_codes"]):
        problems.append(f"{len(inputs)} summaries of {len(fixed)} rules")
    for line in outputs:
        came = inputs.get((line["process"], line["rule"]), 0)
        went = line["packets"] + sum(named(line["drops"]).values())
        if came != went:
            problems.append(f"{line['rule']} to {line['output']}: took {came}, accounts for {went}")
    taken = sum(inputs.values())
    return problems, f"{taken:,} datagrams taken by {len(outputs)} outputs, all accounted for"


# Tracker.

def tracker_adds_up(record):
    """Received is answered and dropped, to the datagram, in each process."""
    problems, received = [], 0
    for line in lines(record, "summary"):
        received += line["received"]
        ends = line["sent"] + sum(named(line["drops"]).values())
        if line["received"] != ends:
            problems.append(f"process {line['process']} received {line['received']}, accounts for "
                            f"{ends}")
    return problems, f"{received:,} datagrams"


def requests_arrive(record):
    """What clients sent is what the tracker received and what the kernel dropped for it."""
    sent = (sum(load["sent"] for load in record["loads"]) + sum(record["hostile"].values())
            + record["sent_by_clients"])
    received = sum(line["received"] for line in lines(record, "summary"))
    missing, dropped = sent - received, record["socket_drops"]
    problems = []
    if not 0 <= missing <= dropped:
        problems.append(f"sent {sent}, received {received}, the kernel dropped {dropped}")
    return problems, f"{sent:,} sent, {missing} dropped by the kernel and counted"


def requests_answered(record):
    """Every request is answered rightly, but those whose loss was counted, and those that timed out
    because the machine left a worker no time."""
    unanswered, late, wrong = record["probe"]["unanswered"], 0, {}
    for load in record["loads"]:
        is_starved = within(starved(record), load["start"], load["end"])
        for reason, count in load["failures"].items():
            if reason == "timeout" and is_starved:
                late += count
            elif reason == "timeout":
                unanswered += count
            else:
                wrong[reason] = wrong.get(reason, 0) + count
    if record["probe"]["wrong"]:
        wrong["probe"] = record["probe"]["wrong"]
    problems = [f"{count} answers: {reason}" for reason, count in wrong.items()]
    counted = record["socket_drops"] + sum(
        count for line in lines(record, "summary")
        for reason, count in named(line["drops"]).items() if reason not in record["hostile"])
    if unanswered > counted:
        problems.append(f"{unanswered} unanswered, {counted} counted as dropped")
    answered = sum(load["succeeded"] for load in record["loads"])
    told = f"{answered:,} answered rightly, {unanswered} unanswered, {counted} counted as dropped"
    return problems, told + (f"; {late} timed out while a worker got no core" if late else "")


def hostile_dropped(record):
    """What must be dropped is dropped, for its reason."""
    problems, dropped = [], {}
    for line in lines(record, "summary"):
        for reason, count in named(line["drops"]).items():
            dropped[reason] = dropped.get(reason, 0) + count
    for reason, sent in record["hostile"].items():
        seen = dropped.get(reason, 0)
        if not sent - record["socket_drops"] <= seen <= sent:
            problems.append(f"{reason}: {sent} sent, {seen} dropped")
    return problems, ", ".join(f"{reason} {count:,}" for reason, count in record["hostile"].items())


def bounded(record):
    """Caps hold and are reached, and peers expire."""
    most = {"torrents_ipv4": 0, "torrents_ipv6": 0, "peers_ipv4": 0, "peers_ipv6": 0}
    for sample in record["samples"]:
        for name in most:
            most[name] = max(most[name], sample["tracker"]["holdings"][name])
    problems = [f"{name}: {count}" for name, count in most.items()
                if count > (TORRENTS_MAX if name.startswith("torrents") else PEERS_MAX)]
    last = record["samples"][-1]["tracker"]["counters"]
    refused = sum(count for name, count in last.items()
                  if name.startswith("unstored") or "evicted" in name)
    if not refused:
        problems.append("no cap was reached: it was not tested")
    if not last["peers_expired"]:
        problems.append("no peer expired: it was not tested")
    return problems, (f"at most {most['torrents_ipv4']:,} torrents and {most['peers_ipv4']:,} "
                      f"peers over IPv4, {refused:,} refused, {last['peers_expired']:,} expired")


# The process.

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
    return grows(record, "rss_bytes",
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


def starved(record):
    """The stretches in which a worker waited for its core, because of other programs."""
    windows = []
    for before, after in zip(record["samples"], record["samples"][1:]):
        seconds = after["t"] - before["t"]
        waited = max((times["waited_s"] - before["scheduled"][name]["waited_s"]
                      for name, times in after["scheduled"].items()
                      if name.startswith("worker") and name in before["scheduled"]), default=0)
        if before["pid"] != after["pid"] or waited < STARVED_SHARE * seconds:
            continue
        if windows and windows[-1][1] == before["t"]:
            windows[-1][1] = after["t"]
        else:
            windows.append([before["t"], after["t"]])
    return [(start, end) for start, end in windows if end - start >= STARVED_S_MIN]


def within(windows, start, end):
    """Whether one of the windows overlaps a stretch of time."""
    return any(begins <= end and ends >= start for begins, ends in windows)


def log(record):
    """Nothing is in the log above level info but what disturbances explain."""
    problems, expected, errors = [], 0, 0
    for line in record["log"]:
        if line["level"] == "WARN" and matches(EXPECTED_WARNINGS, line):
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


def lines(record, message):
    return [line for line in record["log"] if line["message"] == message]


def named(text):
    """`corrupt=3 no_rule=1`, as a dictionary."""
    if text == "0":
        return {}
    return {name: int(count) for name, count in (pair.split("=") for pair in text.split())}


CHECKS = (
    ("processes end in good order", ended_well),
    ("disturbances take effect", disturbances),
    ("figures can be read", sampled),
    ("untouched flows lose nothing uncounted", untouched_flows),
    ("touched flows lose only while away", touched_flows),
    ("datagrams arrive once, in order, intact", intact),
    ("rules: taken = sent + dropped", rules_add_up),
    ("tracker: received = sent + dropped", tracker_adds_up),
    ("requests arrive or are counted", requests_arrive),
    ("requests are answered", requests_answered),
    ("hostile datagrams are dropped by reason", hostile_dropped),
    ("caps hold, peers expire", bounded),
    ("memory does not grow", memory),
    ("descriptors do not grow", descriptors),
    ("threads do not grow", threads),
    ("all comes home", rest),
    ("workers stay healthy", health),
    ("the log has nothing unexpected", log),
)
