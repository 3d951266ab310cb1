"""What the tracker gets: load in rounds, a probe that takes its latency, and hostile datagrams.

The messages are those of BEP 15.
"""

import json
import random
import socket
import struct
import subprocess
import threading
import time

from .program import TRACKER_PORT

LOAD_ROUND_S = 20
# Of BEP 15; a request that takes so long has not just met a busy machine.
TIMEOUT_S = 15
MAGIC = 0x41727101980
CONNECT, ANNOUNCE, ERROR = 0, 1, 3
PROBE_INTERVAL_S = 0.04
PROBE_HASHES = [bytes([number]) * 20 for number in range(1, 17)]
# The ID is asked for anew before it is two minutes old.
ID_AGE_S_MAX = 60
HOSTILE_INTERVAL_S = 0.5
HOSTILE_OF_EACH_KIND = 10


class Loads(threading.Thread):
    """Load of one address family, in rounds, each with torrents and peers of its own."""

    def __init__(self, lab, name, flags, seed, since, loads):
        super().__init__(name=name, daemon=True)
        self.lab, self.flags, self.since, self.loads = lab, flags, since, loads
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.over.is_set():
                flags = ("--duration", f"{LOAD_ROUND_S}s", *self.flags)
                self.loads.append(run_load(self.lab, self.name, flags, self.random.getrandbits(32),
                                           self.since))
        except Exception as error:  # The main thread tells.
            self.failure = f"{type(error).__name__}: {error}"


def run_load(lab, name, flags, seed, since):
    """One run of the load tester. Returns what it counted."""
    path = lab.directory / f"load-{name}.json"
    path.unlink(missing_ok=True)
    began = time.monotonic()
    # It exits with 1 when requests failed, which is for the judge to explain.
    with open(lab.directory / f"load-{name}.err", "wb") as err:
        done = lab.ringtide("hop", "load-test", *flags, "--timeout", f"{TIMEOUT_S}s", "--coalesce",
                            "off", "--seed", seed, "--json", path, stdout=subprocess.DEVNULL,
                            stderr=err)
        done.wait()
    if not path.exists():
        raise RuntimeError(f"the load tester failed: "
                           f"{(lab.directory / f'load-{name}.err').read_text()}")
    run = json.loads(path.read_text())
    latency = run["total"]["latency_ns"] or {}
    return {"name": name, "start": began - since, "end": time.monotonic() - since,
            "sent": run["total"]["sent"], "succeeded": run["total"]["succeeded"],
            "failures": run["failures"], "strays": run["strays"], "unsent": run["unsent"],
            "kernel_drops": run["generator"]["kernel_drops"],
            "responses_per_s": run["responses_per_second"],
            "p50_us": latency.get("p50", 0) / 1000, "p99_us": latency.get("p99", 0) / 1000}


# A client's requests per second, and torrents and peers that are more than the caps allow while
# those of the round before have not expired.
LOADS = {
    "ipv4": ("--target", f"127.0.0.1:{TRACKER_PORT}", "--concurrency", 50, "--rate", 300,
             "--torrents", 10000, "--hashes", 300, "--popularity", "zipf", "--churn", 0.1),
    "ipv6": ("--target", f"[::1]:{TRACKER_PORT}", "--concurrency", 25, "--rate", 200,
             "--torrents", 5000, "--hashes", 200, "--churn", 0.1),
}
BURST = ("--target", f"127.0.0.1:{TRACKER_PORT}", "--concurrency", 40, "--in-flight", 4,
         "--duration", "1500ms", "--hashes", 20)


class Client:
    """A client that asks one thing at a time, over IPv4."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", TRACKER_PORT))
        self.socket.settimeout(TIMEOUT_S)
        self.sent = 0
        self._transaction = random.getrandbits(31)
        self._id, self._id_since = None, 0.0

    def ask(self, action, connection_id, body=b""):
        """Sends one request. Returns the action and the body of its answer."""
        self._transaction = (self._transaction + 1) & 0x7fffffff
        self.sent += 1
        self.socket.send(struct.pack(">QII", connection_id, action, self._transaction) + body)
        while True:
            answer = self.socket.recv(4096)
            answered, transaction = struct.unpack_from(">II", answer)
            if transaction == self._transaction:
                return answered, answer[8:]

    def announce(self, info_hash, event=0):
        now = time.monotonic()
        if self._id is None or now - self._id_since > ID_AGE_S_MAX:
            _, body = self.ask(CONNECT, MAGIC)
            (self._id,), self._id_since = struct.unpack(">Q", body), now
        return self.ask(ANNOUNCE, self._id, announce_body(info_hash, event))


def announce_body(info_hash, event=0):
    return info_hash + b"-SK0001-" + b"0" * 12 + struct.pack(
        ">QQQIIIiH", 0, 1000, 0, event, 0, 0, 20, TRACKER_PORT)


class Probe(threading.Thread):
    """Announces now and then, and notes how long each answer took."""

    def __init__(self, since):
        super().__init__(name="probe", daemon=True)
        self.since = since
        self.client = Client()
        self.asked, self.unanswered, self.wrong = 0, 0, 0
        # Second -> microseconds of each answer.
        self.latencies = {}
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.over.wait(PROBE_INTERVAL_S):
                self._probe()
        except Exception as error:  # The main thread tells.
            self.failure = f"{type(error).__name__}: {error}"

    def _probe(self):
        info_hash = PROBE_HASHES[self.asked % len(PROBE_HASHES)]
        self.asked += 1
        began = time.perf_counter_ns()
        try:
            action, _ = self.client.announce(info_hash)
        except TimeoutError:
            self.unanswered += 1
            return
        took_us = (time.perf_counter_ns() - began) / 1000
        self.wrong += action != ANNOUNCE
        second = int(time.monotonic() - self.since)
        self.latencies.setdefault(second, []).append(took_us)

    def series(self):
        """Per second: time, count, p50 and p99."""
        rows = []
        for second, values in sorted(self.latencies.items()):
            values = sorted(values)
            rows.append({"t": second, "count": len(values), "p50_us": values[len(values) // 2],
                         "p99_us": values[min(len(values) - 1, len(values) * 99 // 100)]})
        return rows


class Hostile(threading.Thread):
    """Sends what must be dropped, and counts it by the reason that it must be dropped for."""

    def __init__(self, seed):
        super().__init__(name="hostile", daemon=True)
        self.random = random.Random(seed)
        self.sent = {}
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                while not self.over.wait(HOSTILE_INTERVAL_S):
                    for _ in range(HOSTILE_OF_EACH_KIND):
                        for reason, datagram in hostile(self.random):
                            out.sendto(datagram, ("127.0.0.1", TRACKER_PORT))
                            self.sent[reason] = self.sent.get(reason, 0) + 1
        except Exception as error:  # The main thread tells.
            self.failure = f"{type(error).__name__}: {error}"


def hostile(source):
    """Datagrams, each with the reason that it is dropped for."""
    number = source.getrandbits(32)
    forged = source.getrandbits(64)
    body = announce_body(source.randbytes(20))
    return (
        ("too_short", source.randbytes(source.randrange(16))),
        ("too_short", struct.pack(">QII", forged, ANNOUNCE, number) + body[:40]),
        ("bad_magic", struct.pack(">QII", forged | 1 << 63, CONNECT, number)),
        ("unknown_action", struct.pack(">QII", forged, 7 + number % 1000, number)),
        ("bad_connection_id", struct.pack(">QII", forged, ANNOUNCE, number) + body),
        ("bad_connection_id", struct.pack(">QII", forged, 2, number) + body[:20]),
        ("truncated", source.randbytes(source.randrange(4000, 9000))),
    )
