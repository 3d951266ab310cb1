"""What is checked of the tracker: every request was answered, or its loss was counted."""

from .program import PEERS_MAX, TORRENTS_MAX
from .record import lines, named, starved, within


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
    """Every request is answered correctly, but those whose loss was counted, and those that timed
    out because the machine left a worker no time."""
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
    told = f"{answered:,} answered correctly, {unanswered} unanswered, {counted} counted as dropped"
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
