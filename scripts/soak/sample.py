"""Reads the figures of the program, of its processes and of the kernel each second."""

import json
import os
import threading
import time
from array import array
from pathlib import Path

from . import program

INTERVAL_S = 1.0
FETCH_S = 30
# A worker that has not ticked for this long is looked at.
SILENT_S = 2
POOL_BYTES_MIN = 1 << 20
PAGEMAP_ENTRY_BYTES, PRESENT_BIT = 8, 63
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Process ID -> the ranges of its pools, as they were when it was first looked at.
pools = {}


class Sampler(threading.Thread):
    """Takes samples until it is stopped."""

    def __init__(self, tested, since):
        super().__init__(name="sampler", daemon=True)
        self.tested, self.since = tested, since
        self.samples, self.failed = [], []
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            due = time.monotonic()
            while not self.over.wait(max(0.0, due - time.monotonic())):
                due = max(due + INTERVAL_S, time.monotonic())
                at = time.monotonic() - self.since
                try:
                    self.samples.append({"t": at, **take(self.tested)})
                except (OSError, ValueError, IndexError) as error:
                    self.failed.append({"t": at, "error": f"{type(error).__name__}: {error}"})
        except Exception as error:  # The main thread tells.
            self.failure = f"{type(error).__name__}: {error}"


def take(tested):
    """One sample; /metrics is read for its own sake."""
    metrics, _ = program.fetch("/metrics", FETCH_S)
    status, body = program.fetch("/stats.json", FETCH_S)
    if (metrics, status) != (200, 200):
        raise ValueError(f"status {metrics}, {status}")
    stats = json.loads(body)
    pid = stats["process"]["pid"]
    processes = {"main": process(pid)}
    broker = tested.broker()
    if broker:
        processes["broker"] = process(broker)
    taken = {"pid": pid, "processes": processes, "kernel": kernel_drops(),
             "scheduled": scheduled(pid), **reduced(stats)}
    if any(worker["heartbeat_age_s"] >= SILENT_S for worker in stats["workers"]):
        taken["stacks"] = stacks(pid)
    return taken


def stacks(pid):
    """Where each thread is in the kernel, for whoever wonders why a worker is silent."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[task.name] = {name: (task / name).read_text().strip()
                                for name in ("comm", "stat", "wchan", "syscall", "stack")}
        except OSError as error:
            found[task.name] = {"error": str(error)}
    return found


def scheduled(pid):
    """Seconds that each thread ran, and that it could have run but had no core, so far."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        ran_ns, waited_ns, _ = (task / "schedstat").read_text().split()
        name = (task / "comm").read_text().strip()
        times[name] = {"ran_s": int(ran_ns) / 1e9, "waited_s": int(waited_ns) / 1e9}
    return times


def reduced(stats):
    """What counts of stats.json."""
    workers = [{"counters": worker["counters"], "drops": worker["drops"],
                "pools": worker["pools"], "shard": worker["shard"], "healthy": worker["healthy"],
                "heartbeat_age_s": worker["heartbeat_age_s"]} for worker in stats["workers"]]
    return {"cpu_s": stats["process"]["cpu_s"], "workers": workers, "tracker": stats["tracker"],
            "relay": stats["relay"]}


def process(pid):
    """Memory, descriptors and threads, as procfs tells them (proc(5))."""
    directory = Path(f"/proc/{pid}")
    resident = int((directory / "statm").read_text().split()[1]) * PAGE_BYTES
    if pid not in pools:
        pools[pid] = mapped_pools(directory)
    return {"pid": pid, "rss_bytes": resident,
            "beside_pools_bytes": resident - present_bytes(directory, pools[pid]),
            "descriptors": len(os.listdir(directory / "fd")),
            "threads": len(os.listdir(directory / "task"))}


def mapped_pools(directory):
    """The address ranges of the pools: large anonymous mappings that are there from the start.

    Pools have a fixed size and become resident as they are used. What grows beside them is what
    a leak would be.
    """
    ranges = []
    for line in (directory / "maps").read_text().splitlines():
        fields = line.split()
        start, end = (int(address, 16) for address in fields[0].split("-"))
        if len(fields) == 5 and fields[1] == "rw-p" and end - start >= POOL_BYTES_MIN:
            ranges.append((start, end))
    return ranges


def present_bytes(directory, ranges):
    """How much of these ranges is resident, page by page (the kernel's pagemap)."""
    present = 0
    with (directory / "pagemap").open("rb") as pagemap:
        for start, end in ranges:
            pagemap.seek(start // PAGE_BYTES * PAGEMAP_ENTRY_BYTES)
            entries = array("Q", pagemap.read((end - start) // PAGE_BYTES * PAGEMAP_ENTRY_BYTES))
            present += sum(entry >> PRESENT_BIT for entry in entries)
    return present * PAGE_BYTES


def kernel_drops():
    """Datagrams that did not fit into the receive buffer of a UDP socket of this namespace."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    heads, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
    ipv4 = int(dict(zip(heads, values))["RcvbufErrors"])
    ipv6 = 0
    for line in Path("/proc/net/snmp6").read_text().splitlines():
        name, value = line.split()
        ipv6 += int(value) if name == "Udp6RcvbufErrors" else 0
    return ipv4 + ipv6
