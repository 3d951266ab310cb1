"""Drives one soak.

python3 -m soak NAME DIRECTORY PROGRAM OUTPUT MINUTES SEED ENGINE WORKERS COMMAND_LINE

Runs in the relay's namespace of a laboratory that soak.sh made. Exit code 0 when all checks passed,
1 when one failed, 143 after SIGTERM.
"""

import json
import random
import signal
import sys
import time
from pathlib import Path

import figures

from . import disturb, flows, judge, report, sample, tracker
from .lab import Lab
from .program import PEER_TIMEOUT_S, Program

# What starting and the way back to rest take of the time that is asked for.
SETTLE_S = 40
DISTURB_EVERY_S = 4.0
# Early, so that the second and the last quarter are of one process.
TAKEOVERS = (0.06, 0.15)
REST_S = 60
REST_PROBES = 60
STOP_S = 120


def main():
    name, directory, program, output, minutes, seed, engine, workers, command = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab(name, Path(directory), Path(program))
    tested = Program(lab, engine, int(workers))
    record = {"meta": {"command": command, **figures.machine(), "seed": int(seed),
                       "minutes": int(minutes), "workers": int(workers), "ended_early": False},
              "events": [], "rounds": [], "loads": [], "expected_errors": 0}
    try:
        run(lab, tested, record, int(seed), 60 * int(minutes) - SETTLE_S)
    finally:
        tested.stop()
    record["log"] = [line for line in tested.logs() if keeps(line)]
    record["exit_codes"] = tested.ended
    return conclude(record, Path(output))


def run(lab, tested, record, seed, seconds):
    since = time.monotonic()
    for interface in ("flapin", "flapout"):
        lab.plug(interface)
    before = lab.interface_drops(), sample.kernel_drops()
    tested.start()
    client = tracker.Client()
    record["at_start"] = at_rest(client, tested)
    sampler = sample.Sampler(tested, since)
    probe = tracker.Probe(since)
    hostile = tracker.Hostile(seed)
    loads = [tracker.Loads(lab, name, flags, seed + place, since, record["loads"])
             for place, (name, flags) in enumerate(tracker.LOADS.items())]
    rounds = [flows.Rounds(lab, flow, since, record["rounds"])
              for flow in (*flows.STEADY, *flows.FLAPPING)]
    threads = [sampler, probe, hostile, *loads, *rounds]
    disturber = disturb.Disturber(lab, tested, seed, since, record)
    try:
        record["load_start"] = time.monotonic() - since
        for thread in threads:
            thread.start()
        disturb_until(disturber, since, seconds, threads, random.Random(seed))
        record["load_end"] = time.monotonic() - since
        end(threads[1:])
        disturber.let_go()
        record["at_end"] = wait_for_rest(client, tested, record["at_start"])
        end(threads[:1])
    finally:
        for thread in threads:
            thread.over.set()
        disturber.let_go()
    for thread in threads:
        if thread.failure:
            raise RuntimeError(f"{thread.name}: {thread.failure}")
    record["samples"], record["samples_failed"] = sampler.samples, sampler.failed
    record["probe"] = {"asked": probe.asked, "unanswered": probe.unanswered, "wrong": probe.wrong,
                       "series": probe.series()}
    record["hostile"] = hostile.sent
    clients = (client, probe.client, disturber.client)
    record["sent_by_clients"] = sum(one.sent for one in clients)
    drops = lab.interface_drops()
    record["interface_drops"] = {name: drops[name] - before[0][name] for name in drops}
    record["socket_drops"] = sample.kernel_drops() - before[1]


def disturb_until(disturber, since, seconds, threads, source):
    """Disturbances at random times, until the time is over."""
    takeovers = [share * seconds for share in TAKEOVERS]
    due = time.monotonic() - since + DISTURB_EVERY_S
    while (now := time.monotonic() - since) < seconds:
        for thread in threads:
            if not thread.is_alive():
                raise RuntimeError(f"{thread.name}: {thread.failure}")
        if takeovers and now >= takeovers[0]:
            takeovers.pop(0)
            disturber.do("takeover")
        elif now >= due:
            disturber.next()
            due = time.monotonic() - since + source.expovariate(1 / DISTURB_EVERY_S)
        time.sleep(0.1)
    print(f"{now:7.1f} s  the load ends", flush=True)


def end(threads):
    for thread in threads:
        thread.over.set()
    for thread in threads:
        thread.join(STOP_S)
        if thread.is_alive():
            raise RuntimeError(f"{thread.name} does not end")


def at_rest(client, tested):
    """What the program has at hand when one request comes at a time."""
    best, processes = {}, {}
    for number in range(REST_PROBES):
        client.announce(tracker.PROBE_HASHES[number % len(tracker.PROBE_HASHES)], event=3)
        taken = sample.take(tested)
        for index, worker in enumerate(taken["workers"]):
            pools = best.setdefault(str(index), dict(worker["pools"]))
            for pool, free in worker["pools"].items():
                better = min if pool == "frames_waiting" else max
                pools[pool] = better(pools[pool], free)
        for process, now in taken["processes"].items():
            kept = processes.setdefault(process, now)
            kept.update({key: min(kept[key], value) for key, value in now.items()})
    return {"pools": best, "processes": processes,
            "holdings": taken["tracker"]["holdings"], "tracker": taken["tracker"],
            "relay": taken["relay"]}


def wait_for_rest(client, tested, start):
    """Peers expire, buffers and slots come home; what is not home after that has leaked."""
    deadline = time.monotonic() + PEER_TIMEOUT_S + REST_S
    while True:
        taken = at_rest(client, tested)
        held = taken["holdings"]
        home = (taken["pools"] == start["pools"] and not held["peers_ipv6"]
                and held["peers_ipv4"] <= len(tracker.PROBE_HASHES))
        if home or time.monotonic() > deadline:
            return taken
        time.sleep(1)


def keeps(line):
    """Whether a line of the log matters to the judge."""
    return line["level"] in ("WARN", "ERROR") or "summary" in line["message"]


def conclude(record, output):
    checks = judge.checks(record)
    (output / "soak.json").write_text(json.dumps({"checks": checks, **record}) + "\n")
    (output / "soak.html").write_text(report.page(record, checks))
    text = report.text(record, checks)
    (output / "soak.txt").write_text(text + "\n")
    print(text)
    print(f"\nThe report: {output / 'soak.html'}")
    return 0 if all(check["passed"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
