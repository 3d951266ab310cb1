"""The table of overload.sh: what was offered, what came of it, and if that is as it must be."""

import json
import statistics
import sys
from pathlib import Path

from figures import table


class Report:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.lines = []
        self.good = True

    def load(self, name):
        return json.loads((self.directory / name).read_text())

    def summary(self, name, message, rule=None):
        for line in (self.directory / f"{name}.err").read_text().splitlines():
            event = json.loads(line)
            if event["message"] == message and event.get("rule") == rule:
                return event
        raise SystemExit(f"{name} ended without the line {message}")

    def verdict(self, what, figures, good=None):
        self.good &= good is not False
        word = {None: "", True: "good", False: "BAD"}[good]
        self.lines.append([what, figures, word])


def number(value):
    return f"{value:,.0f}"


def latency(figures):
    return (f"p50 {figures['p50_us'] / 1e3:,.1f} ms, p99 {figures['p99_us'] / 1e3:,.1f} ms, "
            f"max {figures['max_us'] / 1e3:,.1f} ms")


def dropped(drops):
    """The sum of what a line of the log names by reason."""
    return 0 if drops == "0" else sum(int(part.split("=")[1]) for part in drops.split())


def tracker(report):
    flood = report.load("flood.json")
    found, loads = flood["peak"], [flood[times] for times in ("1x", "2x", "3x")]
    peak = max(figures["answered_per_s"] for figures in [found, *loads])
    report.verdict("tracker: peak", f"{number(peak)}/s; the search found {answered(found)}, "
                   f"{latency(found)}")
    for times, figures in enumerate(loads, 1):
        share = figures["answered_per_s"] / peak
        offered = figures["offered_per_s"] / peak
        report.verdict(f"tracker: offered {times}x", f"{number(figures['offered_per_s'])}/s "
                       f"({offered:.2f}x), {answered(figures)}, {share:.0%} of the peak",
                       share >= GOODPUT_MIN and offered >= OFFERED_MIN * times)
        report.verdict(f"tracker: worker at {times}x", worker(figures))
        report.verdict(f"tracker: latency at {times}x", latency(figures),
                       figures["max_us"] <= LATENCY_US_MAX)
    recoveries = sorted(flood["recovery_ms"])
    report.verdict("tracker: recovery", f"{', '.join(map(number, recoveries))} ms until every "
                   "announce was answered within 20 ms", recoveries[-1] <= 1000)
    total = report.summary("tracker", "summary")
    received, lost = total["received"], total["kernel_drops"]
    report.verdict("tracker: kernel drops", number(lost), lost > 0)
    report.verdict("tracker: the sum", f"sent {number(flood['sent'])} = received "
                   f"{number(received)} + kernel drops {number(lost)}",
                   flood["sent"] == received + lost)
    report.verdict("tracker: its end", f"received {number(received)} = answered "
                   f"{number(total['sent'])} + dropped {dropped(total['drops'])}",
                   received == total["sent"] + dropped(total["drops"]))


def answered(figures):
    """The median, and what the rounds were."""
    rounds = [line["answered_per_s"] for line in figures["rounds"]]
    return f"{number(figures['answered_per_s'])}/s answered ({spread(rounds)})"


def worker(figures):
    """What the tracker got of its core, and what an answer took of that."""
    got = [100 * line["server_cpu"] for line in figures["rounds"]]
    took = [line["server_cpu"] * 1e9 / line["answered_per_s"] for line in figures["rounds"]]
    return (f"{number(statistics.median(got))} % of its core ({spread(got)}), "
            f"{number(statistics.median(took))} ns of it for an answer ({spread(took)})")


def spread(rounds):
    return f"{len(rounds)} rounds, {number(min(rounds))} to {number(max(rounds))}"


class Flow:
    """What was sent into a rule of the relay and what arrived, in the rounds of a pattern."""

    def __init__(self, report, name, rounds="*"):
        files = sorted(report.directory.glob(f"{name}-sent.{rounds}.out"))
        self.sent = [json.loads(file.read_text()) for file in files]
        self.arrived = [report.load(file.name.replace("-sent", "-received")) for file in files]

    def rates(self):
        """Datagrams per second: the median of what was sent, each of what arrived."""
        sent, arrived = [[line["packets_per_second"] for line in lines]
                         for lines in (self.sent, self.arrived)]
        return statistics.median(sent), arrived

    def total(self):
        return sum(line["packets"] for line in self.sent)

    def arrivals(self, figure):
        return sum(line[figure] for line in self.arrived)


def relay(report):
    rates = {times: Flow(report, "flooded", f"{times}.*").rates() for times in (1, 3)}
    capacity = int((report.directory / "capacity").read_text())
    peak = max(capacity, *(statistics.median(through) for _, through in rates.values()))
    report.verdict("relay: peak", f"{number(peak)}/s; the search found {number(capacity)}/s")
    for times, (offered, through) in rates.items():
        share = statistics.median(through) / peak
        report.verdict(f"relay: offered {times}x", f"{number(offered)}/s ({offered / peak:.2f}x), "
                       f"{number(statistics.median(through))}/s arrived ({spread(through)}), "
                       f"{share:.0%} of the peak",
                       share >= GOODPUT_MIN and offered >= OFFERED_MIN * times * peak)
    relay_sums(report, Flow(report, "flooded"), Flow(report, "quiet"))
    fair(report, "relay flooded", Flow(report, "quiet", "3.*"))
    for times in (1, 3):
        rounds = [json.loads(file.read_text())
                  for file in report.directory.glob(f"beside-relay.{times}.*.json")]
        unanswered = sum(line["unanswered"] for line in rounds)
        worst = max(line["max_us"] for line in rounds)
        report.verdict(f"relay at {times}x: tracker", f"{unanswered} unanswered, p99 "
                       f"{max(line['p99_us'] for line in rounds) / 1e3:,.1f} ms, max "
                       f"{worst / 1e3:,.1f} ms", unanswered == 0 and worst <= LATENCY_US_MAX)


def relay_sums(report, flooded, quiet):
    before, after = [[int(line) for line in (report.directory / f"cables.{when}").read_text()
                      .split()] for when in ("before", "after")]
    cables = [end - start for start, end in zip(before, after)]
    total = report.summary("relay", "relay summary")
    taken = [report.summary("relay", "relay in summary", rule) for rule in ("flooded", "quiet")]
    sent = [report.summary("relay", "relay out summary", rule) for rule in ("flooded", "quiet")]
    offered = flooded.total() + quiet.total()
    ended = (cables[0] + cables[1] + total["kernel_drops"] + dropped(total["drops"])
             + sum(line["packets"] for line in taken))
    report.verdict("relay: sent to taken", f"sent {number(offered)} = cables "
                   f"{number(cables[0] + cables[1])} + kernel drops "
                   f"{number(total['kernel_drops'])} + refused {dropped(total['drops'])} + taken "
                   f"{number(sum(line['packets'] for line in taken))}", offered == ended)
    kept = sum(line["packets"] for line in sent)
    lost = sum(dropped(line["drops"]) for line in sent)
    report.verdict("relay: taken to sent on", f"taken = sent on {number(kept)} + dropped {lost}",
                   sum(line["packets"] for line in taken) == kept + lost)
    received = flooded.arrivals("packets") + quiet.arrivals("packets")
    missed = flooded.arrivals("kernel_drops") + quiet.arrivals("kernel_drops")
    report.verdict("relay: sent on to received", f"sent on = cable {cables[2]} + receivers' "
                   f"buffers {missed} + received {number(received)}",
                   kept == cables[2] + missed + received)


def fair(report, when, quiet):
    lost = quiet.total() - quiet.arrivals("distinct")
    late = max((line["latency_ns"] or {}).get("p99", 0) for line in quiet.arrived) / 1e6
    report.verdict(f"{when}: quiet flow", f"{number(quiet.total())} sent, {lost} lost, "
                   f"p99 {late:.1f} ms", lost == 0)


def main():
    report = Report(sys.argv[1])
    if (report.directory / "flood.json").exists():
        tracker(report)
    if (report.directory / "capacity").exists():
        relay(report)
        fair(report, "tracker flooded", Flow(report, "beside"))
        flood = report.load("beside-tracker.json")
        report.verdict("tracker flooded: offered", f"{number(flood['offered_per_s'])}/s, "
                       f"{number(flood['answered_per_s'])}/s answered, {latency(flood)}")
    print(table(["what", "figures", "verdict"], report.lines, left=(0, 1, 2)))
    return 0 if report.good else 1


# Of the peak, under overload.
GOODPUT_MIN = 0.9
# Of the multiple that is to be offered.
OFFERED_MIN = 0.9
# What a full receive buffer may take to be answered.
LATENCY_US_MAX = 1_000_000

if __name__ == "__main__":
    sys.exit(main())
