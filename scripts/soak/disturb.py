"""What happens to the program while it serves, at times and in an order that a seed decides.

Each disturbance checks that it had the effect it must have, and returns what it did. Those that
take something away name the interfaces that were away.
"""

import csv
import json
import os
import random
import signal
import socket
import time

from . import flows, program, tracker
from .lab import Lab

# How long the driver waits for an effect, on a machine that others keep busy.
EFFECT_S = 30
AWAY_S = (0.3, 1.5)
HANGING_MAX = 6
EVERYTHING = ("feed", "out", "flapin", "flapout")


class Disturber:
    """Does one disturbance after the other; the calling thread is the parent of what it starts."""

    def __init__(self, lab: Lab, tested, seed, since, record):
        self.lab, self.tested, self.since, self.record = lab, tested, since, record
        self.random = random.Random(seed)
        self.client = tracker.Client()
        self.hanging = []
        self._bag = []

    def next(self):
        """Does the next one of a shuffled bag, so that all have their turn."""
        if not self._bag:
            self._bag = sorted(DISTURBANCES)
            self.random.shuffle(self._bag)
        self.do(self._bag.pop())

    def do(self, kind):
        began = time.monotonic() - self.since
        event = {"kind": kind, "t": began, "touches": [], "ok": True}
        try:
            event.update(DISTURBANCES.get(kind, ONCE.get(kind))(self) or {})
        except Exception as error:  # A failed effect is a finding, and the run goes on.
            event.update(ok=False, detail=f"{type(error).__name__}: {error}")
        event["end"] = time.monotonic() - self.since
        self.record["events"].append(event)
        print(f"{event['t']:7.1f} s  {kind}: {event.get('detail', '')}"
              f"{'' if event['ok'] else '  FAILED'}", flush=True)

    def let_go(self):
        """Ends the clients that hang."""
        while self.hanging:
            self.hanging.pop().close()

    def effect(self, condition, what):
        self.tested.wait_for(condition, EFFECT_S, what)

    def settings(self):
        return self.tested.ctl("config", "show")

    def rules(self):
        return [rule["name"] for rule in json.loads(self.tested.ask("/api/v1/rules")[1])["rules"]]


def hangup(do):
    """SIGHUP, with nothing changed."""
    before = do.tested.logged("configuration reloaded")
    os.kill(do.tested.process.pid, signal.SIGHUP)
    do.effect(lambda: do.tested.logged("configuration reloaded") > before, "the reload")


def reload_interval(do):
    """Another announce interval, then a reload over the control socket."""
    changes = do.tested.changes
    changes["announce_interval"] = "11s" if changes["announce_interval"] == "10s" else "10s"
    do.tested.write()
    do.tested.ctl("config", "reload")
    wanted = f'announce_interval = "{changes["announce_interval"]}"'
    assert wanted in do.settings(), "the interval is not in force"
    return {"detail": wanted}


def reload_rules(do):
    """A rule more in the file, then one less."""
    extra = flows.Flow("filed", "239.1.1.12:5012@feed", ("239.2.2.12:5012@out",))
    for rules in (extra.rule(), ""):
        do.tested.changes["extra_rules"] = rules
        do.tested.write()
        do.tested.ctl("config", "reload")
        assert (extra.name in do.rules()) == bool(rules), "the rules are not in force"


def reload_wrong(do):
    """A file with a mistake changes nothing, and says so once."""
    before, errors = do.settings(), do.tested.logged("reload failed", "ERROR")
    do.tested.write(do.tested.text().replace("[tracker]", "[traker]"))
    try:
        do.tested.ctl("config", "reload", expect=1)
    finally:
        do.tested.write()
    assert do.tested.logged("reload failed", "ERROR") == errors + 1, "it was not said once"
    assert do.settings() == before, "a wrong file changed what is in force"
    do.record["expected_errors"] += 1


def dynamic_rule(do):
    """A rule that comes, carries traffic without loss, is replaced, carries again, and goes."""
    flow, ctl = flows.DYNAMIC, do.tested.ctl
    ctl("rules", "add", "--name", flow.name, "--input", flow.input, "--output", flow.outputs[0])
    for ttl in (8, None):
        count = flow.rate * do.random.randint(1, 2)
        do.record["rounds"].append(flows.run_round(do.lab, flow, count, do.since, flow.rate))
        if ttl:
            ctl("rules", "replace", "--name", flow.name, "--input", flow.input, "--output",
                flow.outputs[0], "--ttl", ttl)
    ctl("rules", "remove", flow.name)
    assert flow.name not in do.rules(), "the rule is still there"


def access_list(do):
    """A torrent is put on the list and taken off."""
    denied = do.random.randbytes(20)
    expected = [tracker.ANNOUNCE, tracker.ERROR, tracker.ANNOUNCE]
    seen = [do.client.announce(denied)[0]]
    do.tested.ctl("access", "add", denied.hex())
    seen.append(do.client.announce(denied)[0])
    do.tested.ctl("access", "remove", denied.hex())
    seen.append(do.client.announce(denied)[0])
    assert seen == expected, f"actions {seen}"


def access_file(do):
    """A longer list in the file, read again."""
    denied = [do.random.randbytes(20) for _ in range(do.random.randint(1, 2000))]
    do.tested.access_file.write_text("".join(f"{one.hex()}\n" for one in denied))
    do.tested.ctl("access", "reload")
    action, _ = do.client.announce(denied[-1])
    assert action == tracker.ERROR, "the list is not in force"
    return {"detail": f"{len(denied)} torrents"}


def log_level(do):
    """More in the log for a moment."""
    do.tested.ctl("log-level", "debug")
    do.tested.ctl("log-level", "info")


def looks(do):
    """An operator looks at everything."""
    for path in ("/", "/metrics", "/healthz", "/top.json"):
        status, _ = program.fetch(path, EFFECT_S)
        assert status == 200, f"{path}: {status}"
    top = json.loads(do.tested.ctl("top", "-n", "5", "--json"))
    hashes = [torrent["info_hash"] for torrent in top["torrents"]]
    for info_hash in hashes:
        status, body = do.tested.ask(f"/api/v1/torrents/{info_hash}")
        # It may have expired meanwhile.
        assert status in (200, 404), body
    do.tested.ctl("stats")
    do.tested.ctl("health")
    return {"detail": f"{len(hashes)} torrents looked up"}


def export(do):
    """The list of torrents is a whole one whenever it is read."""
    if not do.tested.export_file.exists():
        return {"detail": "not yet"}
    with do.tested.export_file.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["family"] in ("ipv4", "ipv6") and len(row["info_hash"]) == 40, row
        assert all(int(row[name]) >= 0 for name in ("seeders", "leechers", "completed")), row
    return {"detail": f"{len(rows)} lines"}


def flap(interface, anew):
    def do_flap(do):
        away_s = do.random.uniform(*AWAY_S)
        if anew:
            do.lab.unplug(interface)
        else:
            do.lab.ip("hop", "link", "set", "dev", interface, "down")
        time.sleep(away_s)
        if anew:
            do.lab.plug(interface)
        else:
            do.lab.ip("hop", "link", "set", "dev", interface, "up")
        do.effect(lambda: is_back(do, interface), f"{interface} to be in use again")
        return {"touches": [interface], "detail": f"away for {away_s:.1f} s"}
    do_flap.__doc__ = "An interface goes and comes back."
    return do_flap


def is_back(do, interface):
    """Whether all rules with this interface receive and send again."""
    rules = json.loads(do.tested.ask("/api/v1/stats")[1])["relay"]["rules"]
    inputs = all(rule["receiving"] for rule in rules if rule["input"].endswith("@" + interface))
    outputs = [output for rule in rules for output in rule["outputs"]
               if output["to"].endswith("@" + interface)]
    return inputs and all(output["down"] is None for output in outputs)


def hanging_client(do):
    """Control clients that stop in the middle of a request, and one that talks nonsense."""
    while len(do.hanging) >= HANGING_MAX:
        do.hanging.pop(0).close()
    head = b"PUT /api/v1/rules HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    for text in (head[:-20], head, do.random.randbytes(500)):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(do.tested.socket))
        try:
            client.sendall(text)
        except OSError:
            pass
        do.hanging.append(client)
    do.tested.ctl("version")


def tracker_burst(do):
    """As many requests as are answered, for a moment."""
    load = tracker.run_load(do.lab, "burst", tracker.BURST, do.random.getrandbits(32), do.since)
    do.record["loads"].append(load)
    return {"detail": f"{load['responses_per_s']:,.0f} responses/s"}


def relay_burst(do):
    """As many datagrams as go, for a moment."""
    flow = flows.BURST
    account = flows.run_round(do.lab, flow, do.random.randint(10, 30) * 1000, do.since)
    do.record["rounds"].append(account)
    return {"detail": f"{account['sent']:,} datagrams in {account['seconds']:.2f} s"}


def takeover(do):
    """Another process takes over, as in an upgrade: no flow may notice."""
    do.let_go()
    do.tested.start()
    assert do.tested.ended[-1] == 0, f"the old process ended with {do.tested.ended[-1]}"
    do.effect(lambda: all(is_back(do, name) for name in EVERYTHING), "the relay")
    status, _ = program.fetch("/healthz")
    assert status == 200, status
    return {"detail": f"process {do.tested.process.pid}"}


DISTURBANCES = {
    "SIGHUP": hangup,
    "reload, other interval": reload_interval,
    "reload, other rules": reload_rules,
    "reload, wrong file": reload_wrong,
    "rule added and removed": dynamic_rule,
    "access list": access_list,
    "access file": access_file,
    "log level": log_level,
    "looks": looks,
    "export": export,
    "flapin down and up": flap("flapin", False),
    "flapout down and up": flap("flapout", False),
    "flapin made anew": flap("flapin", True),
    "flapout made anew": flap("flapout", True),
    "hanging control client": hanging_client,
    "tracker burst": tracker_burst,
    "relay burst": relay_burst,
}
# At times of their own.
ONCE = {"takeover": takeover}
