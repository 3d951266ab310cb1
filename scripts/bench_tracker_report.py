"""Sums up what bench_tracker.sh measured: tables, JSON and an SVG chart.

bench_tracker_report.py RUNS DIRECTORY table|markdown COMMAND
bench_tracker_report.py --figure NAME FILE     one whole number from a load tester's JSON

RUNS is a directory with JSON lines in `runs` (kind, tracker, workers, clients, the tracker's
processor time in ns, and what the load tester wrote) and in `memory`, and plain lines in `versions`
and `missing`.
"""

import json
import sys
from pathlib import Path
from statistics import median

import figures

NAMES = {"ringtide": "ringtide, io_uring", "ringtide-epoll": "ringtide, epoll",
         "echo": "bare echo", "aquatic-uring": "aquatic_udp, io_uring",
         "aquatic-mio": "aquatic_udp, mio", "opentracker": "opentracker"}
LOAD_HEADS = ("tracker", "workers", "clients", "responses/s", "of echo", "ringtide to it",
              "CPU/response", "CPU share", "failed", "peers/answer", "load's CPU")
LATENCY_HEADS = ("tracker", "workers", "clients", "responses/s", "p50", "p99", "p99.9", "failed")
AQUATIC_HEADS = ("tracker", "responses/s", "ringtide to it", "CPU/response", "errors/s")
MEMORY_HEADS = ("tracker", "torrents", "peers each", "bytes/peer", "less its start", "start")
NOTES = """\
Medians. The tracker has a core of its own as long as there are enough; the load has the first \
core. *Load*: as fast as answers come. *CPU/response* is processor time of all the tracker's \
threads; over loopback the sender's core also does the receiver's share of the kernel's work, \
the same for all. *Latency*: announces at half of the rate that this tracker reached, counted \
from when the schedule wanted them sent. *Memory*: resident bytes of the whole process. The echo \
stores and checks nothing: it is what the loop and the kernel leave a tracker to reach, with \
announce responses as long as ringtide's."""


def main():
    if sys.argv[1] == "--figure":
        return print(round(loaded(json.loads(Path(sys.argv[3]).read_text()))[sys.argv[2]]))
    source, directory, form, command = sys.argv[1:]
    source, directory = Path(source), Path(directory)
    report = {
        "command": command, **figures.machine(),
        "versions": lines(source / "versions"), "missing": lines(source / "missing"),
        "load": summed(source, "load"), "latency": summed(source, "latency"),
        "aquatic_load_test": summed(source, "aquatic"),
        "memory": [filled(json.loads(line)) for line in lines(source / "memory")],
    }
    (directory / "tracker.json").write_text(json.dumps(report, indent=1) + "\n")
    (directory / "tracker.svg").write_text(chart(report["load"]))
    print(markdown(report) if form == "markdown" else plain(report))


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def summed(source, kind):
    """The medians of each case, in the order in which they were measured."""
    cases = {}
    for run in map(json.loads, lines(source / "runs")):
        if run["kind"] == kind:
            case = run["workers"], run["clients"], run["tracker"]
            cases.setdefault(case, []).append({**loaded(run["result"]), "cpu_ns": run["cpu_ns"]})
    rows = []
    for (workers, clients, tracker), group in cases.items():
        row = {"tracker": tracker, "workers": workers, "clients": clients, "rounds": len(group)}
        for name in group[0]:
            row[name] = median(one[name] for one in group)
        row["cpu_ns_per_response"] = median(one["cpu_ns"] / max(one["responses"], 1)
                                            for one in group)
        row["cpu_share"] = median(one["cpu_ns"] / 1e9 / one["seconds"] for one in group)
        rows.append(row)
    return rows


def loaded(result):
    """What counts of a load tester's JSON, whichever it is."""
    if "aquatic" in result:
        rate = result["aquatic"]["responses_per_s"]
        return {"responses_per_s": rate, "seconds": AQUATIC_SECONDS,
                "responses": rate * AQUATIC_SECONDS,
                "errors_per_s": result["aquatic"]["errors_per_s"]}
    latency = result["operations"]["announce"]["latency_ns"]
    return {
        "responses_per_s": result["responses_per_second"],
        "seconds": result["seconds"],
        "responses": result["total"]["succeeded"],
        "failed": result["total"]["failed"],
        "unsent": result["unsent"],
        "peers_per_answer": result["peers_per_answer"],
        "generator_percent": result["generator"]["busiest_cpu_percent"],
        "p50_us": latency["p50"] / 1000, "p99_us": latency["p99"] / 1000,
        "p999_us": latency["p99.9"] / 1000,
    }


def filled(line):
    return {**line, "bytes_per_peer": line["after"] / line["stored"],
            "bytes_per_peer_less_start": (line["after"] - line["before"]) / line["stored"]}


def tables(report, form):
    """Title and table of each kind that was measured."""
    rows = report["load"]
    if rows:
        yield "Load", form(LOAD_HEADS, [load_cells(row, rows) for row in rows], LEFT)
    if report["latency"]:
        yield "Latency", form(LATENCY_HEADS, list(map(latency_cells, report["latency"])), LEFT)
    rows = report["aquatic_load_test"]
    if rows:
        yield ("Load by aquatic_udp_load_test",
               form(AQUATIC_HEADS, [aquatic_cells(row, rows) for row in rows], LEFT))
    if report["memory"]:
        yield "Memory", form(MEMORY_HEADS, list(map(memory_cells, report["memory"])), LEFT)


def load_cells(row, rows):
    echo, ringtide = same_case(row, rows, "echo"), same_case(row, rows, "ringtide")
    return (NAMES[row["tracker"]], str(row["workers"]), f"{row['clients']:,}",
            thousands(row["responses_per_s"]), ratio(row, echo), ratio(ringtide, row),
            f"{row['cpu_ns_per_response']:,.0f} ns", f"{100 * row['cpu_share']:.0f} %",
            f"{row['failed']:,.0f}", f"{row['peers_per_answer']:.1f}",
            f"{row['generator_percent']:.0f} %")


def latency_cells(row):
    return (NAMES[row["tracker"]], str(row["workers"]), f"{row['clients']:,}",
            thousands(row["responses_per_s"]), f"{row['p50_us']:,.0f} us",
            f"{row['p99_us']:,.0f} us", f"{row['p999_us']:,.0f} us", f"{row['failed']:,.0f}")


def aquatic_cells(row, rows):
    return (NAMES[row["tracker"]], thousands(row["responses_per_s"]),
            ratio(same_case(row, rows, "ringtide"), row),
            f"{row['cpu_ns_per_response']:,.0f} ns", f"{row['errors_per_s']:,.0f}")


def memory_cells(row):
    return (NAMES[row["tracker"]], f"{row['torrents']:,}", f"{row['peers']:,}",
            f"{row['bytes_per_peer']:.1f}", f"{row['bytes_per_peer_less_start']:.1f}",
            f"{row['before'] / 2**20:.1f} MiB")


def same_case(row, rows, tracker):
    return next((other for other in rows if other["tracker"] == tracker
                 and (other["workers"], other["clients"]) == (row["workers"], row["clients"])),
                None)


def ratio(row, base):
    if not row or not base or not base["responses_per_s"]:
        return "-"
    return f"{row['responses_per_s'] / base['responses_per_s']:.2f}"


def thousands(value):
    return f"{value / 1000:,.1f} k"


def plain(report):
    parts = [f"{title}\n{body}" for title, body in tables(report, figures.table)]
    return "\n\n".join([*parts, *(f"WITHOUT {line}" for line in report["missing"])])


def markdown(report):
    parts = ["## The tracker beside others", figures.measured(report),
             "Programs: " + "; ".join(report["versions"]) + ".", NOTES]
    for title, body in tables(report, figures.markdown):
        parts.extend([f"### {title}", body])
    parts.extend(f"Left out: {line}" for line in report["missing"])
    return "\n\n".join(parts)


def chart(rows):
    bars = []
    for row in rows:
        case = f"{row['clients']:,} clients, {row['workers']} workers"
        colour = figures.COLOURS[list(NAMES).index(row["tracker"])]
        bars.append((case, NAMES[row["tracker"]], row["responses_per_s"],
                     f"{row['responses_per_s'] / 1000:,.0f} k/s, "
                     f"{row['cpu_ns_per_response']:,.0f} ns each", colour))
    return figures.chart("Tracker responses per second, as fast as answers come", bars, 170)


# The one column of words.
LEFT = (0,)
AQUATIC_SECONDS = 5


if __name__ == "__main__":
    main()
