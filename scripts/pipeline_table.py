"""Prints what veth_pipeline.sh measured: a table for people, or one JSON object.

pipeline_table.py DIRECTORY HOPS table|json

The directory holds what each part wrote. Exit code 1 when not everything arrived intact.
"""

import json
import sys
from pathlib import Path


def main():
    directory, hops, form = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sent = json.loads((directory / "generator.out").read_text())
    received = json.loads((directory / "receiver.out").read_text())
    relays = [relay(directory / f"hop{hop}.err") for hop in range(1, hops + 1)]
    before, after = (int((directory / f"softnet.{when}").read_text())
                     for when in ("before", "after"))
    figures = {
        "intact": received["intact"] and received["distinct"] == sent["packets"],
        "generator": sent,
        "hops": relays,
        "receiver": received,
        "lost": sent["packets"] - received["distinct"],
        "backlog_drops": after - before,
    }
    print(json.dumps(figures) if form == "json" else table(figures))
    return 0 if figures["intact"] else 1


def relay(path):
    """The figures of one relay, from the lines of its log."""
    hop = {"in": {}, "out": {}, "drops": {}, "peak_in": 0.0, "peak_out": 0.0, "warnings": []}
    for line in path.read_text().splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            hop["warnings"].append(line)
            continue
        message = fields["message"]
        if message in ("relay in", "relay out"):
            peak = "peak_" + message.split()[1]
            hop[peak] = max(hop[peak], fields["packets_per_s"])
        elif message in ("relay in summary", "relay out summary"):
            side = message.split()[1]
            hop[side] = {name: fields[name] for name in ("packets", "bytes", "sends")}
            count(hop["drops"], fields["drops"])
        elif message == "relay summary":
            count(hop["drops"], fields["drops"])
            count(hop["drops"], f"kernel={fields['kernel_drops']}")
        elif fields["level"] in ("WARN", "ERROR"):
            hop["warnings"].append(message)
    if not hop["in"] or not hop["out"]:
        sys.exit(f"{path.stem} ended without a summary:\n{path.read_text()}")
    return hop


def count(drops, text):
    """Adds `corrupt=3 no_rule=1` to what was counted before."""
    for part in text.split():
        name, _, value = part.partition("=")
        if value and int(value) > 0:
            drops[name] = drops.get(name, 0) + int(value)


def table(figures):
    sent, received = figures["generator"], figures["receiver"]
    rows = [("", "in packets", "in peak/s", "out packets", "out peak/s", "per send", "drops")]
    rows.append(("generator", "", "", grouped(sent["packets"]), grouped(sent["packets_per_second"]),
                 per_send(sent), "0"))
    for number, hop in enumerate(figures["hops"], 1):
        reasons = " ".join(f"{name}={value}" for name, value in hop["drops"].items())
        rows.append((f"hop {number}", grouped(hop["in"]["packets"]), grouped(hop["peak_in"]),
                     grouped(hop["out"]["packets"]), grouped(hop["peak_out"]), per_send(hop["out"]),
                     reasons or "0"))
    rows.append(("receiver", grouped(received["packets"]), grouped(received["packets_per_second"]),
                 "", "", "", f"kernel={received['kernel_drops']}"
                 if received["kernel_drops"] else "0"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1])]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells, row[-1]]).rstrip())
    lines.extend(["", *ends(figures)])
    return "\n".join(lines)


def ends(figures):
    """What counts in the end, line by line."""
    sent, received = figures["generator"], figures["receiver"]
    seconds = max(sent["seconds"], received["seconds"])
    share = 100 * figures["lost"] / max(sent["packets"], 1)
    yield (f"end to end  {grouped(received['distinct'] / seconds if seconds else 0)} packets/s, "
           f"{received['mbit_per_second']:,.0f} Mbit/s of payload, {seconds:.2f} s")
    yield (f"lost        {grouped(figures['lost'])} ({share:.3f} %), "
           f"{received['duplicated']} duplicated, {received['reordered']} reordered, "
           f"{received['corrupt']} corrupt")
    if figures["backlog_drops"]:
        yield (f"backlog     {grouped(figures['backlog_drops'])} frames dropped between cables: "
               "net.core.netdev_max_backlog is too small (scripts/tune_kernel.sh)")
    if figures["lost"] and sent["behind_us_max"] is None:
        yield "hint        the generator outran the chain: slow it down with --rate"
    latency = received["latency_ns"]
    if latency:
        yield "latency     " + ", ".join(
            f"{name} {value / 1000:,.0f}" for name, value in latency.items()) + " us"
    for number, hop in enumerate(figures["hops"], 1):
        for warning in hop["warnings"]:
            yield f"hop {number}       {warning}"
    yield "result      " + ("INTACT" if figures["intact"] else "NOT INTACT")


def grouped(value):
    return f"{round(value):,}"


def per_send(side):
    return f"{side['packets'] / side['sends']:.1f}" if side["sends"] else "-"


if __name__ == "__main__":
    sys.exit(main())
