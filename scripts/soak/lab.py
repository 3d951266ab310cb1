"""Processes in the network namespaces of a laboratory, and the interfaces that come and go there.

The namespaces and the cables that stay are made and removed by soak.sh.
"""

import json
import subprocess

# Far longer than it takes, even on a machine that others keep busy.
IP_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class Lab:
    """Namespaces `NAME-source`, `NAME-hop`, `NAME-sink` and `NAME-switch`."""

    def __init__(self, name, directory, program):
        self.name = name
        self.directory = directory
        self.program = program
        self._next_index = 2000

    def start(self, namespace, *command, **options):
        """Starts a process that dies with the thread that calls this."""
        inside = ("setpriv", "--pdeathsig", "KILL",
                  "ip", "netns", "exec", f"{self.name}-{namespace}")
        return subprocess.Popen([*inside, *map(str, command)], stdin=subprocess.DEVNULL, **options)

    def ringtide(self, namespace, *arguments, **options):
        return self.start(namespace, self.program, *arguments, **options)

    def ip(self, namespace, *arguments):
        command = ["ip", "-n", f"{self.name}-{namespace}", *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True,
                              timeout=IP_TIMEOUT_S).stdout

    def plug(self, interface):
        """Makes an interface of the relay, with a cable to the bridge of that name."""
        self._next_index += 2
        index = self._next_index
        self.ip("hop", "link", "add", "name", interface, "index", index, "type", "veth", "peer",
                "name", interface, "index", index + 1, "netns", f"{self.name}-switch")
        self.ip("hop", "addr", "add", f"{HOP_ADDRESSES[interface]}/24", "dev", interface)
        self.ip("switch", "link", "set", "dev", interface, "master", f"br-{interface}", "up")
        self.ip("hop", "link", "set", "dev", interface, "txqueuelen", 10000, "up")

    def unplug(self, interface):
        self.ip("hop", "link", "del", "dev", interface)

    def interface_drops(self):
        """What the kernel dropped at each end of the cables that stay, so far."""
        drops = {}
        for namespace, interface in (("source", "feed"), ("hop", "feed"), ("hop", "out"),
                                     ("sink", "out"), ("source", "fin"), ("sink", "fout")):
            shown = json.loads(self.ip(namespace, "-s", "-j", "link", "show", "dev", interface))
            counts = shown[0]["stats64"]
            drops[f"{namespace} {interface}"] = counts["rx"]["dropped"] + counts["tx"]["dropped"]
        return drops


def stop(process):
    """Ends a process in good order, or else by force. Returns its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


# The relay's ends of the cables to the switch; the other ends are soak.sh's.
HOP_ADDRESSES = {"flapin": "10.77.1.2", "flapout": "10.77.2.1"}
