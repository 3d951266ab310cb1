"""What several checks read of the record of a soak."""

# A worker that waits for its core for this share of a time has been kept from it by other programs;
# from this many seconds on, that explains its silence and what clients gave up meanwhile.
STARVED_SHARE = 0.8
STARVED_S_MIN = 3.0


def lines(record, message):
    return [line for line in record["log"] if line["message"] == message]


def named(text):
    """`corrupt=3 no_rule=1`, as a dictionary."""
    if text == "0":
        return {}
    return {name: int(count) for name, count in (pair.split("=") for pair in text.split())}


def starved(record):
    """The stretches in which a worker waited for its core, because of other programs."""
    windows = []
    for before, after in zip(record["samples"], record["samples"][1:]):
        seconds = after["t"] - before["t"]
        waited = max((times["waited_s"] - before["scheduled"][name]["waited_s"]
                      for name, times in after["scheduled"].items()
                      if name.startswith("worker") and name in before["scheduled"]), default=0)
        if before["pid"] != after["pid"] or waited < STARVED_SHARE * seconds:
            continue
        if windows and windows[-1][1] == before["t"]:
            windows[-1][1] = after["t"]
        else:
            windows.append([before["t"], after["t"]])
    return [(start, end) for start, end in windows if end - start >= STARVED_S_MIN]


def within(windows, start, end):
    """Whether one of the windows overlaps a stretch of time."""
    return any(begins <= end and ends >= start for begins, ends in windows)
