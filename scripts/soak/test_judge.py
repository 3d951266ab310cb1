"""That the judge fails what it must: made-up records, each with one thing wrong."""

import copy
import time
import unittest
from unittest import mock

from . import disturb, flows, judge, plots, program, relay_checks, report
from .record import starved

SECONDS = 200
WORKER = {"counters": {"announces_ipv4": 10, "announces_ipv6": 5, "packets_received": 20,
                       "announce_responses": 15, "connect_responses": 3, "scrape_responses": 2},
          "drops": {}, "pools": {"receive_buffers_free": 1024, "send_slots_free": 4095,
                                 "frame_buffers_free": 256, "frames_waiting": 0},
          "shard": {"peers_ipv4": 3, "peers_ipv6": 3}, "healthy": True, "heartbeat_age_s": 0}
HOLDINGS = {"torrents_ipv4": 5, "torrents_ipv6": 5, "peers_ipv4": 9, "peers_ipv6": 0}


def sample(at):
    process = {"pid": 1, "rss_bytes": 90_000_000 + 100_000 * at, "descriptors": 40, "threads": 6,
               "beside_pools_bytes": 50_000_000 + 1000 * (at % 7)}
    processes = {name: dict(process) for name in ("main", "broker")}
    counters = {"unstored_torrent_cap": 7, "peers_expired": 9}
    scheduled = {"worker-0": {"ran_s": 0.1 * at, "waited_s": 0.2 * at},
                 "control": {"ran_s": 0.0, "waited_s": 0.9 * at}}
    return {"t": at, "pid": 1, "processes": processes, "workers": [WORKER, WORKER],
            "scheduled": scheduled,
            "tracker": {"holdings": HOLDINGS, "counters": counters},
            "relay": {"kernel_drops": 0, "rules": []}}


def account(flow, start=20.0):
    outputs = [{"to": output, "distinct": 12000, "duplicated": 0, "reordered": 0, "late": 0,
                "corrupt": 0, "foreign": 0, "kernel_drops": 0, "p50_us": 10, "p99_us": 90}
               for output in flow.outputs]
    return {"flow": flow.name, "start": start, "sent_by": start + 12, "sent": 12000,
            "seconds": 12.0, "outputs": outputs}


def line(message, level="INFO", **fields):
    return {"process": 1, "level": level, "message": message, **fields}


def good():
    """The record of a run in which nothing is wrong."""
    log = [line("summary", received=1100, sent=1000, drops="bad_magic=100", worker_restarts=0,
                queue_overflows=0)]
    for flow in flows.OF_THE_FILE:
        log.append(line("relay in summary", rule=flow.name, packets=12000, drops="0"))
        log.extend(line("relay out summary", rule=flow.name, output=output, packets=12000,
                        drops="0") for output in flow.outputs)
    return copy.deepcopy({
        "meta": {"command": "scripts/soak.sh", "seed": 1, "processor": "made up", "cores": 2,
                 "kernel": "6.18"},
        "samples": [sample(at) for at in range(SECONDS)], "samples_failed": [],
        "events": [{"kind": "flapin made anew", "t": 100.0, "end": 101.0, "ok": True,
                    "touches": ["flapin"], "detail": ""}],
        "rounds": [account(flow) for flow in flows.OF_THE_FILE],
        "loads": [{"start": 0.0, "end": 20.0, "sent": 990, "succeeded": 990, "failures": {}}],
        "probe": {"asked": 10, "unanswered": 0, "wrong": 0,
                  "series": [{"t": 1, "p50_us": 50, "p99_us": 80}]},
        "hostile": {"bad_magic": 100}, "sent_by_clients": 10, "socket_drops": 0,
        "interface_drops": {"hop feed": 0}, "expected_errors": 0, "exit_codes": [0],
        "load_start": 0.0, "load_end": 180.0, "at_start": rest(), "at_end": rest(), "log": log})


def rest():
    pools = {place: dict(WORKER["pools"]) for place in ("0", "1")}
    return {"pools": pools, "holdings": HOLDINGS,
            "processes": {"main": {"descriptors": 40, "threads": 6}}}


def summary(record):
    return record["log"][0]


def output(record, flow, place=0):
    return next(one for one in record["rounds"] if one["flow"] == flow)["outputs"][place]


class Judge(unittest.TestCase):
    def failed(self, record):
        return [check["name"] for check in judge.checks(record) if not check["passed"]]

    def assert_fails(self, check, record, *others):
        self.assertEqual(self.failed(record), sorted((check, *others), key=self.place))

    def place(self, name):
        return [check for check, _ in judge.CHECKS].index(name)

    def test_a_good_run_passes(self):
        self.assertEqual(self.failed(good()), [])

    def test_memory_that_grows_fails(self):
        for process in ("main", "broker"):
            record = good()
            for one in record["samples"]:
                one["processes"][process]["beside_pools_bytes"] += 30_000 * one["t"]
            self.assert_fails("memory does not grow", record)

    def test_memory_that_is_noisy_passes(self):
        record = good()
        for one in record["samples"]:
            peak = 30_000_000 if one["t"] % 10 == 0 else 0
            one["processes"]["main"]["beside_pools_bytes"] += peak + 300_000 * (one["t"] % 3)
        self.assertEqual(self.failed(record), [])

    def test_descriptors_and_threads_that_grow_fail(self):
        for name, each in (("descriptors", 20), ("threads", 100)):
            record = good()
            for one in record["samples"]:
                one["processes"]["main"][name] += one["t"] // each
            self.assert_fails(f"{name} do not grow", record)

    def test_too_few_samples_fail(self):
        record = good()
        record["samples"] = record["samples"][:20]
        self.assertIn("memory does not grow", self.failed(record))
        self.assertIn("figures can be read", self.failed(record))

    def test_one_lost_datagram_fails(self):
        record = good()
        output(record, "plain")["distinct"] -= 1
        self.assert_fails("untouched flows lose nothing uncounted", record)

    def test_loss_that_was_counted_passes(self):
        record = good()
        output(record, "plain")["distinct"] -= 1
        record["interface_drops"]["hop feed"] = 1
        self.assertEqual(self.failed(record), [])
        record = good()
        output(record, "super")["distinct"] -= 46
        output(record, "super")["kernel_drops"] = 1
        self.assertEqual(self.failed(record), [])
        output(record, "super")["distinct"] -= 1
        self.assert_fails("untouched flows lose nothing uncounted", record)
        record = good()
        output(record, "plain")["distinct"] -= 2
        record["interface_drops"]["hop feed"] = 1
        self.assert_fails("untouched flows lose nothing uncounted", record)

    def test_what_packet_sockets_dropped_counts_over_reopening(self):
        record = good()
        for one in record["samples"]:
            one["relay"]["kernel_drops"] = 5 if one["t"] < 50 else 2
        self.assertEqual(relay_checks.relay_kernel_drops(record), 7)

    def test_the_other_output_of_a_fan_must_not_lose(self):
        record = good()
        record["events"][0].update(t=25.0, end=26.0, touches=["flapout"])
        gone = next(one for one in record["log"] if "flapout" in one.get("output", ""))
        gone.update(packets=11000, drops="output_down=900 send_error=100")
        output(record, "flap-fan", 1)["distinct"] -= 1000
        self.assertEqual(self.failed(record), [])
        output(record, "flap-fan", 0)["distinct"] -= 1
        self.assert_fails("untouched flows lose nothing uncounted", record)

    def test_touched_flows_may_lose_for_as_long_as_the_interface_was_away(self):
        record = good()
        record["events"][0].update(t=25.0, end=26.0)
        output(record, "flap-in")["distinct"] -= 6000
        self.assertEqual(self.failed(record), [])
        output(record, "flap-in")["distinct"] -= 1
        self.assert_fails("touched flows lose only while away", record)

    def test_a_takeover_excuses_no_loss_and_no_copy(self):
        for figure, change, check in (
                ("distinct", -1, "untouched flows lose nothing uncounted"),
                ("duplicated", 1, "datagrams arrive once, in order, intact")):
            record = good()
            took = disturb.Disturber.__new__(disturb.Disturber)
            took.tested, took.record, took.hanging = mock.MagicMock(ended=[0]), record, []
            took.since = time.monotonic() - 25
            with mock.patch.object(program, "fetch", lambda *_: (200, b"")):
                took.do("takeover")
            self.assertTrue(record["events"][-1]["ok"], record["events"][-1])
            self.assertEqual(self.failed(record), [])
            output(record, "plain")[figure] += change
            self.assert_fails(check, record)

    def test_datagrams_that_come_twice_late_or_changed_fail(self):
        for fault in ("duplicated", "reordered", "late", "corrupt", "foreign"):
            record = good()
            output(record, "ipv6")[fault] = 1
            self.assert_fails("datagrams arrive once, in order, intact", record)

    def test_sums_that_do_not_add_up_fail(self):
        record = good()
        summary(record)["sent"] -= 1
        self.assert_fails("tracker: received = sent + dropped", record)
        record = good()
        record["log"][2]["packets"] -= 1
        self.assert_fails("rules: taken = sent + dropped", record)
        record["log"][2]["drops"] = "socket_full=1"
        self.assertEqual(self.failed(record), [])

    def test_requests_that_vanish_fail(self):
        record = good()
        record["loads"][0]["sent"] += 1
        self.assert_fails("requests arrive or are counted", record)
        record["socket_drops"] = 1
        self.assertEqual(self.failed(record), [])

    def test_requests_without_an_answer_fail(self):
        record = good()
        record["probe"]["unanswered"] = 1
        self.assert_fails("requests are answered", record)
        record = good()
        record["loads"][0]["failures"] = {"bad_counts": 1}
        self.assert_fails("requests are answered", record)

    def test_a_hostile_datagram_that_is_not_dropped_fails(self):
        record = good()
        summary(record).update(drops="bad_magic=99", sent=1001)
        self.assert_fails("hostile datagrams are dropped by reason", record)

    def test_caps_that_do_not_hold_or_are_not_reached_fail(self):
        record = good()
        record["samples"][5]["tracker"]["holdings"] = {**HOLDINGS, "torrents_ipv4": 10**6}
        self.assert_fails("caps hold, peers expire", record)
        record = good()
        record["samples"][-1]["tracker"]["counters"] = {"peers_expired": 1}
        self.assert_fails("caps hold, peers expire", record)

    def test_a_buffer_that_does_not_come_home_fails(self):
        record = good()
        record["at_end"]["pools"]["1"]["frame_buffers_free"] -= 1
        self.assert_fails("all comes home", record)
        record = good()
        record["at_end"]["processes"]["main"]["descriptors"] += 1
        self.assert_fails("all comes home", record)

    def test_a_silent_worker_fails(self):
        record = good()
        record["samples"][9]["workers"] = [WORKER, {**WORKER, "healthy": False}]
        self.assert_fails("workers stay healthy", record)
        record = good()
        summary(record)["queue_overflows"] = 1
        self.assert_fails("workers stay healthy", record)

    def test_a_worker_without_a_core_is_no_fault_of_the_program(self):
        record = good()
        record["samples"][9]["workers"] = [{**WORKER, "healthy": False}, WORKER]
        record["loads"][0]["failures"] = {"timeout": 5}
        record["log"].append(line("a worker takes long to take up the rules", "WARN"))
        self.assert_fails("requests are answered", record, "workers stay healthy",
                          "the log has nothing unexpected")
        for one in record["samples"]:
            one["scheduled"]["worker-0"]["waited_s"] += min(4, max(0, one["t"] - 6))
        self.assertEqual(starved(record), [(6, 10)])
        self.assertEqual(self.failed(record), [])

    def test_a_line_that_nobody_expects_fails(self):
        for level in ("WARN", "ERROR"):
            record = good()
            record["log"].append(line("something odd", level))
            self.assert_fails("the log has nothing unexpected", record)
        record = good()
        record["log"].append(line("the output is down: why", "WARN"))
        self.assertEqual(self.failed(record), [])
        record["expected_errors"] = 1
        self.assert_fails("the log has nothing unexpected", record)

    def test_a_disturbance_without_effect_fails(self):
        record = good()
        record["events"][0].update(ok=False, detail="nothing happened")
        self.assert_fails("disturbances take effect", record)

    def test_a_process_that_ends_badly_fails(self):
        record = good()
        record["exit_codes"] = [-9]
        self.assert_fails("processes end in good order", record)

    def test_figures_that_cannot_be_read_fail(self):
        record = good()
        record["samples_failed"] = [{"t": 150.0, "error": "TimeoutError"}]
        self.assert_fails("figures can be read", record)
        record["events"].append({**record["events"][0], "kind": "takeover", "touches": [],
                                 "t": 149.0, "end": 150.0})
        self.assertEqual(self.failed(record), [])


class Report(unittest.TestCase):
    def test_the_page_stands_alone(self):
        record = good()
        page = report.page(record, judge.checks(record))
        self.assertIn("Soak: passed", page)
        self.assertNotIn("http://", page.replace("http://www.w3.org/2000/svg", ""))
        self.assertIn("prefers-color-scheme:dark", page)
        output(record, "plain")["distinct"] = 0
        checks = judge.checks(record)
        self.assertIn("Soak: FAILED", report.page(record, checks))
        self.assertIn("FAILED: 1 of", report.text(record, checks))

    def test_no_peak_is_lost_in_a_plot(self):
        points = [(at, 1000 if at == 777 else 1) for at in range(10_000)]
        thin = plots.thinned(points)
        self.assertLessEqual(len(thin), plots.POINTS_MAX)
        self.assertIn((777, 1000), thin)
        self.assertEqual(plots.thinned([]), [])


if __name__ == "__main__":
    unittest.main()
