#!/usr/bin/python3
"""One libtorrent session with one torrent, which learns of peers from its tracker alone.

It says what happens on standard output, one event a line, and takes commands on standard input:
`scrape`, `reannounce`. The end of standard input ends the session, which tells the tracker.
"""

import argparse
import sys
import threading
import time

import libtorrent as lt


def main():
    options = parse_arguments()
    session = lt.session(settings(options.listen), flags=0)
    # Flags 0 leaves the default plugins out, peer exchange among them. A magnet link needs one.
    session.add_extension("ut_metadata")
    handle = session.add_torrent(torrent_parameters(options))
    commands = threading.Thread(target=obey, args=(handle,), daemon=True)
    commands.start()
    while commands.is_alive():
        session.wait_for_alert(ALERT_WAIT_MS)
        for alert in session.pop_alerts():
            report(alert)
    leave(session, handle)


def parse_arguments():
    arguments = argparse.ArgumentParser(description=__doc__)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--torrent", help="torrent file")
    source.add_argument("--magnet", help="magnet link")
    arguments.add_argument("--directory", required=True, help="where the content is or goes")
    arguments.add_argument("--listen", required=True, help="ADDRESS:PORT for peers")
    arguments.add_argument("--tracker", help="announce URL to use instead of the torrent's")
    arguments.add_argument("--only-file", help="leave all files but the one of this name out")
    return arguments.parse_args()


def settings(listen):
    return {
        "alert_mask": lt.alert.category_t.status_notification
        | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.error_notification
        | lt.alert.category_t.connect_notification,
        "listen_interfaces": listen,
        # Connections and requests leave from the same address as the session listens on.
        "outgoing_interfaces": listen.rsplit(":", 1)[0].strip("[]"),
        "enable_dht": False,
        "enable_lsd": False,
        "enable_natpmp": False,
        "enable_upnp": False,
        "allow_multiple_connections_per_ip": True,
        "min_announce_interval": 1,
        "min_reconnect_time": 1,
        "stop_tracker_timeout": 10,
        "auto_scrape_interval": 3600,
    }


def torrent_parameters(options):
    if options.magnet:
        parameters = lt.parse_magnet_uri(options.magnet)
    else:
        parameters = lt.add_torrent_params()
        parameters.ti = lt.torrent_info(options.torrent)
    parameters.save_path = options.directory
    parameters.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    parameters.flags |= lt.torrent_flags.disable_pex
    if options.tracker:
        parameters.trackers = [options.tracker]
        parameters.flags |= lt.torrent_flags.override_trackers
    if options.only_file is not None:
        files = parameters.ti.files()
        names = [files.file_name(index) for index in range(files.num_files())]
        parameters.file_priorities = [int(name == options.only_file) for name in names]
    return parameters


def obey(handle):
    for line in sys.stdin:
        if line.strip() == "scrape":
            handle.scrape_tracker()
        elif line.strip() == "reannounce":
            handle.force_reannounce(0, -1, lt.reannounce_flags_t.ignore_min_interval)
        else:
            sys.exit(f"unknown command: {line!r}")


def report(alert):
    if isinstance(alert, lt.tracker_reply_alert):
        say(f"announced peers={alert.num_peers} url={alert.url}")
    elif isinstance(alert, lt.scrape_reply_alert):
        # The alert itself lacks the completed count, and a client of one tracker has one entry.
        completed = alert.handle.trackers()[0]["scrape_downloaded"]
        counts = (alert.complete, completed, alert.incomplete)
        say("scraped seeders={} completed={} leechers={}".format(*counts))
    elif isinstance(alert, lt.torrent_finished_alert):
        say("finished")
    elif isinstance(alert, lt.listen_succeeded_alert):
        say(f"listening {alert.message()}")
    else:
        say(f"# {alert.what()}: {alert.message()}")


def leave(session, handle):
    """Stops the torrent and gives the tracker a moment to answer that it knows."""
    handle.pause()
    deadline = time.monotonic() + LEAVE_SECONDS
    while time.monotonic() < deadline:
        session.wait_for_alert(ALERT_WAIT_MS)
        for alert in session.pop_alerts():
            report(alert)
            if isinstance(alert, (lt.tracker_reply_alert, lt.tracker_error_alert)):
                return


def say(event):
    print(f"{time.monotonic():.3f} {event}", flush=True)


ALERT_WAIT_MS = 100
LEAVE_SECONDS = 20

if __name__ == "__main__":
    main()
