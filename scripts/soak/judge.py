"""Says of the record of a soak what passed and what did not. Plain functions of the record.

Nothing is judged by rates or latency, which depend on what else the machine does: what was sent is
compared with what arrived and with what was counted as dropped, and the second quarter of the run
with the last one.
"""

from . import process_checks, relay_checks, tracker_checks

SHOWN_MAX = 5


def checks(record):
    """Every check: name, whether it passed, and a line that says why."""
    return [{"name": name, "passed": not problems,
             "detail": "; ".join(problems[:SHOWN_MAX]) or good}
            for name, (problems, good) in ((name, check(record)) for name, check in CHECKS)]


CHECKS = (
    ("processes end in good order", process_checks.ended_well),
    ("disturbances take effect", process_checks.disturbances),
    ("figures can be read", process_checks.sampled),
    ("untouched flows lose nothing uncounted", relay_checks.untouched_flows),
    ("touched flows lose only while away", relay_checks.touched_flows),
    ("datagrams arrive once, in order, intact", relay_checks.intact),
    ("rules: taken = sent + dropped", relay_checks.rules_add_up),
    ("tracker: received = sent + dropped", tracker_checks.tracker_adds_up),
    ("requests arrive or are counted", tracker_checks.requests_arrive),
    ("requests are answered", tracker_checks.requests_answered),
    ("hostile datagrams are dropped by reason", tracker_checks.hostile_dropped),
    ("caps hold, peers expire", tracker_checks.bounded),
    ("memory does not grow", process_checks.memory),
    ("descriptors do not grow", process_checks.descriptors),
    ("threads do not grow", process_checks.threads),
    ("all comes home", process_checks.rest),
    ("workers stay healthy", process_checks.health),
    ("the log has nothing unexpected", process_checks.log),
)
