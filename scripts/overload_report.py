"""The table of overload.sh: what was offered, what came of it, and if that is as it must be."""

import json
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
    peak = flood["peak"]["answered_per_s"]
    report.verdict("tracker: peak", f"{number(peak)}/s answered, {latency(flood['peak'])}")
    for times in ("1x", "2x", "3x"):
        figures = flood[times]
        share = figures["answered_per_s"] / peak
        offered = figures["offered_per_s"] / peak
        good = share >= GOODPUT_MIN and offered >= OFFERED_MIN * int(times[0])
        report.verdict(f"tracker: offered {times}", f"{number(figures['offered_per_s'])}/s "
                       f"({offered:.2f}x), {number(figures['answered_per_s'])}/s answered, "
                       f"{share:.0%} of the peak", good)
        report.verdict(f"tracker: latency at {times}", latency(figures),
                       figures["max_us"] <= LATENCY_US_MAX)
    report.verdict("tracker: recovery", f"{flood['recovery_ms']:,.0f} ms until every announce was "
                   "answered within 20 ms", flood["recovery_ms"] <= 1000)
    total = report.summary("tracker", "summary")
    received, lost = total["received"], total["kernel_drops"]
    report.verdict("tracker: kernel drops", number(lost), lost > 0)
    report.verdict("tracker: the sum", f"sent {number(flood['sent'])} = received "
                   f"{number(received)} + kernel drops {number(lost)}",
                   flood["sent"] == received + lost)
    report.verdict("tracker: its end", f"received {number(received)} = answered "
                   f"{number(total['sent'])} + dropped {dropped(total['drops'])}",
                   received == total["sent"] + dropped(total["drops"]))


def relay(report):
    flooded, quiet = report.load("flooded-sent.out"), report.load("quiet-sent.out")
    arrived, unharmed = report.load("flooded-received.out"), report.load("quiet-received.out")
    before, after = [[int(line) for line in (report.directory / f"cables.{when}").read_text()
                      .split()] for when in ("before", "after")]
    cables = [end - start for start, end in zip(before, after)]
    capacity = int((report.directory / "capacity").read_text())
    report.verdict("relay: offered", f"{number(flooded['packets_per_second'])}/s, "
                   f"{flooded['packets_per_second'] / capacity:.2f}x of what goes through",
                   flooded["packets_per_second"] >= 3 * OFFERED_MIN * capacity)
    through = arrived["packets"] / flooded["seconds"]
    report.verdict("relay: goodput", f"{number(through)}/s, {through / capacity:.0%} of the most",
                   through >= GOODPUT_MIN * capacity)
    total = report.summary("relay", "relay summary")
    taken = [report.summary("relay", "relay in summary", rule) for rule in ("flooded", "quiet")]
    sent = [report.summary("relay", "relay out summary", rule) for rule in ("flooded", "quiet")]
    offered = flooded["packets"] + quiet["packets"]
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
    received = arrived["packets"] + unharmed["packets"]
    missed = arrived["kernel_drops"] + unharmed["kernel_drops"]
    report.verdict("relay: sent on to received", f"sent on = cable {cables[2]} + receivers' "
                   f"buffers {missed} + received {number(received)}",
                   kept == cables[2] + missed + received)
    fair(report, "relay flooded", quiet, unharmed)
    announces = report.load("beside-relay.json")
    report.verdict("relay flooded: tracker", f"{announces['unanswered']} unanswered, "
                   f"{latency(announces)}",
                   announces["unanswered"] == 0 and announces["max_us"] <= LATENCY_US_MAX)


def fair(report, when, sent, received):
    lost = sent["packets"] - received["distinct"]
    late = (received["latency_ns"] or {}).get("p99", 0) / 1e6
    report.verdict(f"{when}: quiet flow", f"{number(sent['packets'])} sent, {lost} lost, "
                   f"p99 {late:.1f} ms", lost == 0)


def main():
    report = Report(sys.argv[1])
    tracker(report)
    relay(report)
    fair(report, "tracker flooded", report.load("beside-sent.out"),
         report.load("beside-received.out"))
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
