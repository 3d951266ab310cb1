"""The relay's flows: what is sent, by which rule it goes on, and what arrives.

Traffic goes in rounds, each a generator with a receiver for every output: so each round has its
own account, and a disturbance touches some rounds and not others.
"""

import json
import subprocess
import threading
import time
from dataclasses import dataclass

from .lab import stop

ROUND_S = 12
# Two, so that flows of one rule are told apart.
FLOWS_OF_A_SENDER = 2
# Longer than the relay or a receiver may get no core on a busy machine.
IDLE_S = 20
READY_S = 60
# The relay's interfaces, and those at the far ends of their cables.
FAR_ENDS = {"feed": "feed", "flapin": "fin", "out": "out", "flapout": "fout"}


@dataclass(frozen=True)
class Flow:
    name: str
    input: str
    outputs: tuple
    rate: int = 1000
    size: int = 1400
    super_packets: bool = False

    @property
    def interfaces(self):
        """Those of the relay that its datagrams pass."""
        return {endpoint.rpartition("@")[2] for endpoint in (self.input, *self.outputs)}

    def rule(self):
        """The rule as a table of the configuration file."""
        outputs = ", ".join(f'{{ to = "{output}" }}' for output in self.outputs)
        return (f'[[relay.rule]]\nname = "{self.name}"\ninput = "{self.input}"\n'
                f"outputs = [{outputs}]\n")


STEADY = (
    Flow("plain", "239.1.1.1:5001@feed", ("239.2.2.1:5001@out",), rate=2000),
    Flow("super", "239.1.1.2:5002@feed", ("239.2.2.2:5002@out",), rate=8000, super_packets=True),
    Flow("ipv6", "[ff15::3]:5003@feed", ("[ff15::103]:5003@out",)),
    Flow("ipv6-super", "[ff15::4]:5004@feed", ("[fd00:2::2]:5004@out",), rate=4000,
         super_packets=True),
    Flow("fan", "239.1.1.5:5005@feed",
         ("239.2.2.5:5005@out", "10.0.2.2:5005@out", "[ff15::105]:5005@out"), size=700),
    Flow("to-host", "239.1.1.6:5006@feed", ("10.0.2.2:5006@out",), size=200),
)
FLAPPING = (
    Flow("flap-in", "239.1.1.7:5007@flapin", ("239.2.2.7:5007@out",)),
    Flow("flap-out", "239.1.1.8:5008@feed", ("239.2.2.8:5008@flapout",)),
    # The output that stays must lose nothing while the other one is away.
    Flow("flap-fan", "239.1.1.9:5009@feed", ("239.2.2.9:5009@out", "239.2.3.9:5009@flapout")),
)
# A rule of the file whose traffic comes in bursts, as fast as it goes.
BURST = Flow("burst", "239.1.1.10:5010@feed", ("239.2.2.10:5010@out",), super_packets=True)
# Added and removed while it runs.
DYNAMIC = Flow("dynamic", "239.1.1.11:5011@feed", ("239.2.2.11:5011@out",), rate=2000)
OF_THE_FILE = (*STEADY, *FLAPPING, BURST)


def run_round(lab, flow, count, since, rate=None):
    """Sends `count` datagrams through a flow. Returns the account, times counted from `since`."""
    receivers = [_receiver(lab, output, count) for output in flow.outputs]
    sender = None
    try:
        for receiver in receivers:
            _wait_for_ready(receiver)
        group, _, interface = flow.input.rpartition("@")
        began = time.monotonic()
        rate_flags = ("--rate", rate) if rate else ()
        sender = lab.ringtide(
            "source", "traffic", "send", "--group", group, "--interface", FAR_ENDS[interface],
            "--count", count, "--size", flow.size, "--flows", FLOWS_OF_A_SENDER,
            "--segment", "on" if flow.super_packets else "off", *rate_flags, "--json",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = sender.communicate(timeout=READY_S + 4 * ROUND_S)
        sent_by = time.monotonic()
        if sender.returncode != 0:
            raise RuntimeError(f"the generator of {flow.name} failed: {err.decode()}")
        sent = json.loads(out)
        outputs = [_outcome(receiver, output)
                   for receiver, output in zip(receivers, flow.outputs)]
    finally:
        for process in (*receivers, *([sender] if sender else [])):
            stop(process)
    return {"flow": flow.name, "start": began - since, "sent_by": sent_by - since,
            "sent": sent["packets"], "seconds": sent["seconds"], "outputs": outputs}


def _receiver(lab, output, count):
    group, _, interface = output.rpartition("@")
    return lab.ringtide(
        "sink", "traffic", "receive", "--group", group, "--interface", FAR_ENDS[interface],
        "--expect", count, "--idle", f"{IDLE_S}s", "--for", f"{READY_S + 5 * ROUND_S}s", "--json",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _wait_for_ready(receiver):
    for line in receiver.stderr:
        if line.startswith(b"ready"):
            return
    raise RuntimeError("a receiver did not start")


def _outcome(receiver, output):
    """What arrived; when nothing did, no silence ends the receiver."""
    try:
        out, _ = receiver.communicate(timeout=2 * IDLE_S)
    except subprocess.TimeoutExpired:
        receiver.terminate()
        out, _ = receiver.communicate(timeout=READY_S)
    seen = json.loads(out)
    latency = seen["latency_ns"] or {}
    return {"to": output, "p50_us": latency.get("p50", 0) / 1000,
            "p99_us": latency.get("p99", 0) / 1000,
            **{name: seen[name] for name in ("distinct", "duplicated", "reordered", "late",
                                             "corrupt", "foreign", "kernel_drops")}}


class Rounds(threading.Thread):
    """Sends one flow's rounds, one after the other, until it is stopped."""

    def __init__(self, lab, flow, since, rounds):
        super().__init__(name=flow.name, daemon=True)
        self.lab, self.flow, self.since, self.rounds = lab, flow, since, rounds
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.over.is_set():
                count = self.flow.rate * ROUND_S
                self.rounds.append(
                    run_round(self.lab, self.flow, count, self.since, self.flow.rate))
        except Exception as error:  # The main thread tells.
            self.failure = f"{type(error).__name__}: {error}"
