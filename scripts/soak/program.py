"""The ringtide that is tested: its configuration, its processes, its control socket and its log."""

import http.client
import json
import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

from . import flows
from .lab import stop

HTTP_ADDRESS = ("127.0.0.1", 9100)
TRACKER_PORT = 6969
TORRENTS_MAX = 12000
PEERS_MAX = 16000
PEERS_PER_TORRENT_MAX = 20
PEER_TIMEOUT_S = 15
START_S = 60
ASK_S = 30


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Program:
    """One configuration, and the processes that serve it one after the other."""

    def __init__(self, lab, engine, workers):
        self.lab, self.engine, self.workers = lab, engine, workers
        self.directory = Path(lab.directory)
        self.file = self.directory / "conf" / "ringtide.toml"
        self.access_file = self.directory / "conf" / "access.txt"
        self.export_file = self.directory / "export" / "torrents.csv"
        self.socket = self.directory / "run" / "control.sock"
        self.changes = {"announce_interval": "10s", "extra_rules": ""}
        self.process = None
        # Those that ended are kept with their exit codes.
        self.ended = []
        self.count = 0
        for name in ("conf", "export", "run"):
            (self.directory / name).mkdir()
        os.chmod(self.directory, 0o755)
        user = _user()
        os.chown(self.export_file.parent, user.pw_uid, user.pw_gid)
        self.access_file.write_text("# Torrents that are not served.\n")
        self.write()

    def write(self, text=None):
        """Puts a configuration file in place, as editors do."""
        aside = self.file.with_suffix(".new")
        aside.write_text(self.text() if text is None else text)
        aside.rename(self.file)

    def text(self):
        rules = "\n".join(flow.rule() for flow in flows.OF_THE_FILE)
        return f"""workers = {self.workers}
engine = "{self.engine}"
[log]
format = "json"
[control]
socket = "{self.socket}"
[http]
listen = "{HTTP_ADDRESS[0]}:{HTTP_ADDRESS[1]}"
[privileges]
interfaces = ["feed", "out"]
[state]
directory = "{self.directory}/state"
save_interval = "20s"
takeover = true
[export]
file = "{self.export_file}"
interval = "30s"
[tracker]
listen = ["0.0.0.0:{TRACKER_PORT}", "[::]:{TRACKER_PORT}"]
announce_interval = "{self.changes['announce_interval']}"
announce_jitter = "2s"
peer_timeout = "{PEER_TIMEOUT_S}s"
torrents_max = {TORRENTS_MAX}
peers_max = {PEERS_MAX}
peers_per_torrent_max = {PEERS_PER_TORRENT_MAX}
access_mode = "deny"
access_file = "{self.access_file}"
[relay]
{rules}
{self.changes['extra_rules']}
"""

    def start(self):
        """Starts the program beside the one that runs, if there is one, which then ends."""
        before = self.process
        self.count += 1
        self.log = self.directory / f"ringtide-{self.count}.log"
        self.lines = Lines(self.log)
        with self.log.open("w") as log:
            self.process = self.lab.ringtide("hop", "run", "-c", self.file, stderr=log,
                                             stdout=subprocess.DEVNULL)
        self.wait_for(lambda: self.logged("serving"), START_S, "the program to serve")
        if before:
            self.ended.append(before.wait(START_S))

    def logged(self, message, level=None):
        """How often a message that begins like this is in the log of the process that runs."""
        return sum(line["message"].startswith(message) and level in (None, line["level"])
                   for line in self.lines.all())

    def wait_for(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"ringtide ended ({self.process.returncode}):\n"
                                   f"{self.log.read_text()[-4000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited in vain for {what}")
            time.sleep(0.02)

    def broker(self):
        """The process ID of the socket broker, or None."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            children = Path(path).read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def ctl(self, *arguments, expect=0):
        """Runs `ringtide ctl` and returns what it printed."""
        command = [str(self.lab.program), "ctl", *map(str, arguments), "--socket",
                   str(self.socket)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S)
        if done.returncode != expect:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: "
                               f"{done.stdout}{done.stderr}")
        return done.stdout

    def ask(self, path):
        """Asks the control socket."""
        connection = Unix(self.socket, ASK_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self):
        if self.process:
            self.ended.append(stop(self.process))
            self.process = None

    def logs(self):
        """Every line of all processes, with the number of the process."""
        lines = []
        for number in range(1, self.count + 1):
            for line in Lines(self.directory / f"ringtide-{number}.log").all():
                lines.append({"process": number, **line})
        return lines


class Lines:
    """The lines of a log that grows; one that is no JSON is an error by itself."""

    def __init__(self, path):
        self._path, self._offset, self._lines = path, 0, []

    def all(self):
        with self._path.open("rb") as file:
            file.seek(self._offset)
            # The last line may not be whole yet.
            text, end, _ = file.read().rpartition(b"\n")
        self._offset += len(text) + len(end)
        for line in text.decode(errors="replace").split("\n") if end else ():
            try:
                self._lines.append(json.loads(line))
            except ValueError:
                self._lines.append({"level": "ERROR", "message": f"not JSON: {line}"})
        return self._lines


def fetch(path, timeout=ASK_S):
    """Reads from the address for metrics. Returns status and body."""
    connection = http.client.HTTPConnection(*HTTP_ADDRESS, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _user():
    """Whom ringtide becomes."""
    try:
        return pwd.getpwnam("ringtide")
    except KeyError:
        return pwd.getpwnam("nobody")
