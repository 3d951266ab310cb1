"""The report of a soak: a page with plots, and a summary in text."""

from statistics import median

import figures

from .plots import escape, plot
from .record import lines, named
from .relay_checks import arrivals, relay_kernel_drops

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ringtide: soak</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; width: 100%; margin: 1em 0; }}
td, th {{ text-align: left; padding: .25em .6em; border-bottom: 1px solid #8b949e55; }}
.pass {{ color: #2da44e; }} .fail {{ color: #f85149; font-weight: bold; }}
svg {{ width: 100%; display: block; margin: .6em 0; }}
</style>
<h1>Soak: {verdict}</h1>
<p>{about}</p>
<table><tr><th>check</th><th></th><th></th></tr>{checks}</table>
<h2>Figures</h2>
<p>Dashed lines: interfaces go, or another process takes over.</p>
{plots}
<h2>Load</h2>
<table><tr><th>what</th><th>figure</th></tr>{summary}</table>
<h2>Disturbances</h2>
<table><tr><th>s</th><th>what</th><th>took</th><th>detail</th></tr>{events}</table>
</html>
"""


def page(record, checks):
    passed = all(check["passed"] for check in checks)
    return PAGE.format(
        verdict="passed" if passed else "FAILED",
        about=escape(f"{figures.measured(record['meta'])} Seed {record['meta']['seed']}."),
        checks="".join(row(check["name"], *outcome(check), check["detail"]) for check in checks),
        plots="\n".join(plots(record)),
        summary="".join(cells(name, value) for name, value in summary(record)),
        events="".join(cells(f"{event['t']:.1f}", event["kind"],
                             f"{event['end'] - event['t']:.1f} s", event.get("detail", ""))
                       for event in record["events"]))


def outcome(check):
    return ("pass", "PASS") if check["passed"] else ("fail", "FAIL")


def row(name, style, word, detail):
    return (f'<tr><td>{escape(name)}</td><td class="{style}">{word}</td>'
            f"<td>{escape(detail)}</td></tr>")


def cells(*values):
    return "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"


def plots(record):
    """Each plot as SVG."""
    samples, probe = record["samples"], record["probe"]["series"]
    marks = [event["t"] for event in record["events"]
             if event["touches"] or event["kind"] == "takeover"]
    seconds = samples[-1]["t"]

    def over(read):
        return [(sample["t"], value) for sample in samples
                if (value := read(sample)) is not None]

    def of(process, name):
        return over(lambda sample: sample["processes"].get(process, {}).get(name))

    for title, name in (("Resident bytes", "rss_bytes"),
                        ("Resident bytes beside pools", "beside_pools_bytes"),
                        ("Descriptors", "descriptors"),
                        ("Threads", "threads")):
        yield plot(title, {process: of(process, name) for process in ("main", "broker")}, marks,
                   seconds)
    for title, pool in (("Receive buffers free", "receive_buffers_free"),
                        ("Frame buffers free", "frame_buffers_free"),
                        ("Send slots free", "send_slots_free")):
        yield plot(title, {f"worker {index}": over(
            lambda sample, index=index, pool=pool: sample["workers"][index]["pools"][pool])
            for index in range(len(samples[-1]["workers"]))}, marks, seconds)
    yield plot("Latency of announces at a probe, us",
               {name: [(point["t"], point[key]) for point in probe]
                for name, key in (("p50", "p50_us"), ("p99", "p99_us"))}, marks, seconds)
    yield plot("Datagrams per second", rates(samples), marks, seconds)
    yield plot("Peers stored", {
        "IPv4": over(lambda sample: sample["tracker"]["holdings"]["peers_ipv4"]),
        "IPv6": over(lambda sample: sample["tracker"]["holdings"]["peers_ipv6"])}, marks, seconds)
    yield plot("Peers of each worker's shard", {f"worker {index}": over(
        lambda sample, index=index: sum(sample["workers"][index]["shard"][f"peers_{family}"]
                                        for family in ("ipv4", "ipv6")))
        for index in range(len(samples[-1]["workers"]))}, marks, seconds)
    yield plot("Datagrams lost, by flow", losses(record), marks, seconds)
    yield plot("Latency of flows, p99 of each round, us", flow_latency(record), marks, seconds)


def rates(samples):
    """Differences of neighbours; another process begins at 0."""
    series = {"requests": [], "responses": [], "relayed": [], "dropped": []}
    for before, after in zip(samples, samples[1:]):
        if before["pid"] != after["pid"]:
            continue
        seconds = after["t"] - before["t"]
        totals = [counted(sample) for sample in (before, after)]
        for name, points in series.items():
            points.append((after["t"], (totals[1][name] - totals[0][name]) / seconds))
    return series


def counted(sample):
    counters = [worker["counters"] for worker in sample["workers"]]
    outputs = [output for rule in sample["relay"]["rules"] for output in rule["outputs"]]
    return {"requests": sum(one["packets_received"] for one in counters),
            "responses": sum(one["announce_responses"] + one["connect_responses"]
                             + one["scrape_responses"] for one in counters),
            "relayed": sum(output["packets"] for output in outputs),
            "dropped": sum(sum(worker["drops"].values()) for worker in sample["workers"])}


def losses(record):
    series = {}
    for flow, output, account, missing, _ in arrivals(record):
        series.setdefault(flow.name, []).append((account["start"], missing))
    return {name: sorted(points) for name, points in series.items()}


def flow_latency(record):
    series = {}
    for account in record["rounds"]:
        points = series.setdefault(account["flow"], [])
        points.append((account["start"], max(one["p99_us"] for one in account["outputs"])))
    return {name: sorted(points) for name, points in series.items()}


def summary(record):
    """What the load came to."""
    loads, probe = record["loads"], record["probe"]["series"]
    drops = {}
    for line in lines(record, "summary"):
        for reason, count in named(line["drops"]).items():
            drops[reason] = drops.get(reason, 0) + count
    seconds = record["load_end"] - record["load_start"]
    yield "load", f"{seconds:.0f} s"
    yield "tracker requests sent", f"{sum(load['sent'] for load in loads):,}"
    yield "answered correctly per second", (
        f"{sum(load['succeeded'] for load in loads) / seconds:,.0f}")
    yield "tracker drops by reason", ", ".join(f"{reason} {count:,}" for reason, count
                                               in sorted(drops.items())) or "none"
    yield "dropped by the kernel at UDP sockets", f"{record['socket_drops']:,}"
    yield "probe, median of p50 and p99 over seconds", (
        f"{median(point['p50_us'] for point in probe):,.0f} us, "
        f"{median(point['p99_us'] for point in probe):,.0f} us")
    yield "datagrams sent to the relay", f"{sum(one['sent'] for one in record['rounds']):,}"
    arrived = list(arrivals(record))
    for name, chosen in (("untouched", [one for one in arrived if one[4] == 0]),
                         ("touched", [one for one in arrived if one[4] > 0])):
        yield f"lost of {name} flows", (f"{sum(one[3] for one in chosen):,} of "
                                        f"{sum(one[2]['sent'] for one in chosen):,}")
    yield "dropped by the kernel for the relay", f"{relay_kernel_drops(record):,}"
    kinds = {}
    for event in record["events"]:
        kinds[event["kind"]] = kinds.get(event["kind"], 0) + 1
    yield "disturbances", ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


def text(record, checks):
    rows = [(check["name"], outcome(check)[1], check["detail"]) for check in checks]
    failed = sum(not check["passed"] for check in checks)
    end = (f"FAILED: {failed} of {len(checks)} checks" if failed
           else f"all {len(checks)} checks passed")
    return "\n".join([
        figures.table(("figure", ""), list(summary(record)), (0, 1)), "",
        figures.table(("check", "", ""), rows, (0, 1, 2)), "",
        f"soak: {end} (seed {record['meta']['seed']})"])
