"""What is checked of the relay: every datagram that a generator sent arrived or was counted."""

import math

from . import flows
from .record import lines, named

# From the moment an interface is back until its flows are, on a machine that others keep busy.
RECOVERY_S_MAX = 5.0
# The most that a super-packet of the generator holds.
SEGMENTS_MAX = 64
SUPER_PACKET_BYTES_MAX = 65_000
# The output that is down from time to time, at which sends fail then.
COMES_AND_GOES = "@flapout"


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
    lost, frames, datagrams, problems = {}, 0, 0, []
    for flow, output, account, missing, touched in arrivals(record):
        if touched == 0:
            datagrams += account["sent"]
            key = flow.name, output["to"]
            lost[key] = lost.get(key, 0) + missing
            frames += math.ceil(missing / segments(flow))
    counted = counted_drops(record)
    if frames > counted:
        problems = [f"{name} to {to}: {missing} lost" for (name, to), missing in lost.items()
                    if missing]
        problems.append(f"in {frames} frames or more, and {counted} drops were counted")
    return problems, (f"{sum(lost.values())} of {datagrams:,} datagrams lost, "
                      f"{counted} drops counted")


def segments(flow):
    """The most datagrams in one frame, which the kernel drops as one and counts once."""
    return min(SEGMENTS_MAX, SUPER_PACKET_BYTES_MAX // flow.size) if flow.super_packets else 1


def counted_drops(record):
    """Drops that were counted, those for the absence of an interface left out: by the relay for the
    outputs that stay, by the kernel for its packet sockets, on cables, at receivers."""
    drops = relay_kernel_drops(record) + sum(record["interface_drops"].values())
    drops += sum(output["kernel_drops"] for account in record["rounds"]
                 for output in account["outputs"])
    for line in lines(record, "relay in summary") + lines(record, "relay out summary"):
        if not line.get("output", "").endswith(COMES_AND_GOES):
            drops += sum(count for reason, count in named(line["drops"]).items()
                         if reason not in ("output_down", "shutdown"))
    return drops


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
        if missing > rate * touched + counted * segments(flow):
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
