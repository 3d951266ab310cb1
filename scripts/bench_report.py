"""Sums up what bench_relay.sh measured: a table, JSON and an SVG chart.

bench_report.py RUNS DIRECTORY table|markdown COMMAND

Each line of RUNS: relay, size, input, fan-out, datagrams that left by the first output, processor
time in ns of the relay, of the kernel's interrupt threads and of the receiver, the generator's in
seconds of user and system, and the JSON objects of generator and receiver.
"""

import json
import os
import platform
import sys
from pathlib import Path
from statistics import median

NAMES = {"auto": "ringtide, auto", "off": "ringtide, off", "kernel": "kernel routing",
         "socat": "socat"}
HEADS = ("payload", "input", "outputs", "relay", "forwarded/s", "sent/s", "lost",
         "overrun", "CPU of relay", "CPU of hop", "CPU of receiver")
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
    about = {"command": command, "kernel": platform.release(), "cores": os.cpu_count(),
             "processor": processor()}
    directory = Path(directory)
    (directory / "relay.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    (directory / "relay.svg").write_text(chart(rows))
    print(markdown(rows, about) if form == "markdown" else table(rows))


def summed(path):
    runs = [run(line) for line in path.read_text().splitlines()]
    alone = {}
    for figures in runs:
        if figures["relay"] == "none":
            alone.setdefault(shape(figures), []).append(figures["feed_ns"] / figures["sent"])
    cases = {}
    for figures in runs:
        if figures["relay"] != "none":
            cases.setdefault((shape(figures), figures["relay"]), []).append(figures)
    rows = []
    for (case, relay), group in cases.items():
        size, source, fanout = case
        base = median(alone[case])
        rows.append({
            "size": size, "input": source, "outputs": fanout, "relay": relay,
            "rounds": len(group),
            "forwarded_per_s": median(figures["rate"] for figures in group),
            "sent_per_s": median(figures["rate"] * fanout for figures in group),
            "lost": median(1 - figures["forwarded"] / figures["sent"] for figures in group),
            "overrun": median(1 - figures["received"] / max(figures["forwarded"], 1)
                              for figures in group),
            "relay_ns": median(each(figures, figures["relay_ns"]) for figures in group),
            "hop_ns": median(
                each(figures, figures["relay_ns"] + figures["feed_ns"] - base * figures["sent"])
                for figures in group),
            "receiver_ns": median(figures["receiver_ns"] / max(figures["received"], 1)
                                  for figures in group),
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


def shape(figures):
    return figures["size"], figures["input"], figures["outputs"]


def each(figures, nanoseconds):
    return nanoseconds / max(figures["forwarded"], 1)


def cells(row):
    relay_cpu = "-" if row["relay"] == "kernel" else f"{row['relay_ns']:,.0f} ns"
    return (str(row["size"]), row["input"], str(row["outputs"]), NAMES[row["relay"]],
            f"{row['forwarded_per_s'] / 1000:,.0f} k", f"{row['sent_per_s'] / 1000:,.0f} k",
            f"{100 * row['lost']:.1f} %",
            f"{100 * row['overrun']:.1f} %", relay_cpu, f"{row['hop_ns']:,.0f} ns",
            f"{row['receiver_ns']:,.0f} ns")


def table(rows):
    lines = [HEADS, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join("  ".join(
        cell.ljust(width) if column in (1, 3) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def markdown(rows, about):
    lines = [
        "## One relay hop", "",
        f"Measured with `{about['command']}` on {about['processor']}, {about['cores']} cores, "
        f"Linux {about['kernel']}.", "", NOTES, "",
        "| " + " | ".join(HEADS) + " |",
        "|" + "|".join("---" if column in (1, 3) else "--:" for column in range(len(HEADS))) + "|",
    ]
    lines.extend("| " + " | ".join(cells(row)) + " |" for row in rows)
    return "\n".join(lines)


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def chart(rows):
    """Bars of forwarded datagrams per second. The colours are read on white and on black."""
    colours = {"auto": "#2f81f7", "off": "#8b949e", "kernel": "#d29922", "socat": "#bf5af2"}
    top = max(row["forwarded_per_s"] for row in rows) or 1
    parts, y, last = [], 44, None
    for row in rows:
        case = f"{row['size']} bytes, {row['input']}, {row['outputs']} outputs"
        if case != last:
            y += 24
            parts.append(text(10, y - 6, case, "bold"))
            last = case
        width = max(440 * row["forwarded_per_s"] / top, 1)
        parts.append(text(10, y + 12, NAMES[row["relay"]]))
        parts.append(f'<rect x="130" y="{y}" width="{width:.0f}" height="15" rx="2" '
                     f'fill="{colours[row["relay"]]}"/>')
        label = f"{row['forwarded_per_s'] / 1000:,.0f} k/s"
        if row["lost"] > 0.0005:
            label += f", {100 * row['lost']:.0f} % lost"
        parts.append(text(136 + width, y + 12, label))
        y += 19
    head = text(10, 24, "One relay hop: datagrams forwarded per second", "bold")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {y + 12}" '
            'font-family="system-ui, sans-serif" font-size="12">\n'
            "<style>text{fill:#1f2328}@media(prefers-color-scheme:dark)"
            "{text{fill:#e6edf3}}</style>\n"
            + "\n".join([head, *parts]) + "\n</svg>\n")


def text(x, y, content, weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}">{content}</text>'


if __name__ == "__main__":
    main()
