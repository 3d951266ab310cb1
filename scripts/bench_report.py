"""Sums up what bench_relay.sh measured: a table, JSON and an SVG chart.

bench_report.py RUNS DIRECTORY table|markdown COMMAND

Each line of RUNS: relay, size, input, fan-out, datagrams that left by the first output, processor
time in ns of the relay, of the kernel's interrupt threads and of the receiver, the generator's in
seconds of user and system, and the JSON objects of generator and receiver.
"""

import json
import sys
from pathlib import Path
from statistics import median

import figures

NAMES = {"auto": "ringtide, auto", "off": "ringtide, off", "kernel": "kernel routing",
         "socat": "socat", "auto-timed": "ringtide, auto, timed",
         "off-timed": "ringtide, off, timed"}
HEADS = ("payload", "input", "outputs", "relay", "forwarded/s", "sent/s", "lost",
         "overrun", "CPU of relay", "CPU of hop", "CPU of receiver")
# Columns of words.
LEFT = (1, 3)
NOTES = """\
Medians. *Forwarded* is what left by the first output, *sent* what left by all, both per second of \
the run; *lost* is the share that the relay did not forward at that load, which is all that the \
generator makes; *overrun* is the share of what was forwarded that came too fast for the receiver, \
which shares its core with the generator. *CPU of relay* is processor time of the relay's process \
per forwarded datagram. *CPU of hop* adds what the generator and the kernel's interrupt threads \
spend above their cost without any relay: over veth the sender's core does the first part of \
receiving, and all of the kernel's routing. *CPU of receiver* is processor time of the receiver \
per datagram that reached it, which depends on what the relay sends: super-packets or single \
ones."""


def main():
    runs, directory, form, command = sys.argv[1:]
    rows = summed(Path(runs))
    about = {"command": command, **figures.machine()}
    directory = Path(directory)
    (directory / "relay.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    (directory / "relay.svg").write_text(chart(rows))
    print(markdown(rows, about) if form == "markdown" else
          figures.table(HEADS, list(map(cells, rows)), LEFT))


def summed(path):
    runs = [run(line) for line in path.read_text().splitlines()]
    alone = {}
    for one in runs:
        if one["relay"] == "none":
            alone.setdefault(shape(one), []).append(one["feed_ns"] / one["sent"])
    cases = {}
    for one in runs:
        if one["relay"] != "none":
            cases.setdefault((shape(one), one["relay"]), []).append(one)
    rows = []
    for (case, relay), group in cases.items():
        size, source, fanout = case
        base = median(alone[case])
        rows.append({
            "size": size, "input": source, "outputs": fanout, "relay": relay,
            "rounds": len(group),
            "forwarded_per_s": median(one["rate"] for one in group),
            "sent_per_s": median(one["rate"] * fanout for one in group),
            "lost": median(1 - one["forwarded"] / one["sent"] for one in group),
            "overrun": median(1 - one["received"] / max(one["forwarded"], 1)
                              for one in group),
            "relay_ns": median(each(one, one["relay_ns"]) for one in group),
            "hop_ns": median(
                each(one, one["relay_ns"] + one["feed_ns"] - base * one["sent"])
                for one in group),
            "receiver_ns": median(one["receiver_ns"] / max(one["received"], 1)
                                  for one in group),
        })
    return rows


def run(line):
    (relay, size, source, fanout, forwarded, relay_ns, softirq_ns, receiver_ns, user, system,
     rest) = line.split(" ", 10)
    sent, end = json.JSONDecoder().raw_decode(rest)
    received = json.loads(rest[end:])
    return {
        "relay": relay, "size": int(size), "input": source, "outputs": int(fanout),
        "relay_ns": int(relay_ns), "receiver_ns": int(receiver_ns),
        "feed_ns": (float(user) + float(system)) * 1e9 + int(softirq_ns),
        "sent": sent["packets"], "forwarded": int(forwarded), "received": received["distinct"],
        "rate": int(forwarded) / max(sent["seconds"], received["seconds"]),
    }


def shape(one):
    return one["size"], one["input"], one["outputs"]


def each(one, nanoseconds):
    return nanoseconds / max(one["forwarded"], 1)


def cells(row):
    relay_cpu = "-" if row["relay"] == "kernel" else f"{row['relay_ns']:,.0f} ns"
    return (str(row["size"]), row["input"], str(row["outputs"]), NAMES[row["relay"]],
            f"{row['forwarded_per_s'] / 1000:,.0f} k", f"{row['sent_per_s'] / 1000:,.0f} k",
            f"{100 * row['lost']:.1f} %",
            f"{100 * row['overrun']:.1f} %", relay_cpu, f"{row['hop_ns']:,.0f} ns",
            f"{row['receiver_ns']:,.0f} ns")


def markdown(rows, about):
    return "\n".join(["## One relay hop", "", figures.measured(about), "", NOTES, "",
                      figures.markdown(HEADS, map(cells, rows), LEFT)])


def chart(rows):
    bars = []
    for row in rows:
        label = f"{row['forwarded_per_s'] / 1000:,.0f} k/s"
        if row["lost"] > 0.0005:
            label += f", {100 * row['lost']:.0f} % lost"
        case = f"{row['size']} bytes, {row['input']}, {row['outputs']} outputs"
        colour = figures.COLOURS[list(NAMES).index(row["relay"])]
        bars.append((case, NAMES[row["relay"]], row["forwarded_per_s"], label, colour))
    return figures.chart("One relay hop: datagrams forwarded per second", bars)


if __name__ == "__main__":
    main()
