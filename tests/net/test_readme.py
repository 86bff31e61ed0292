"""The README's way from nothing to a bonded download: its own commands, word for word, on a VPS and
a router that have never seen bondway."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import List

from bonded import ROOT, Host, Lab, Process, find_program, interception, wait_for
from traffic import Background, offer, pair, take

# /etc and /run as a machine of its own has them; what is written there goes with it.
PRIVATE = """mkdir -p "$1/etc" "$1/work" && mount -t tmpfs none "$1" && mkdir "$1/etc" "$1/work" &&
mount -t overlay -o lowerdir=/etc,upperdir="$1/etc",workdir="$1/work" none /etc &&
mount -t tmpfs none /run && echo ready && exec sleep 600"""


def commands() -> List[List[str]]:
    """Of each block in "Set it up" that begins with a prompt."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("\n## Set it up\n"):]
    section = section[:section.index("\n## ", 1)]
    blocks = re.findall(r"^```\n(# .*?)^```$", section, re.M | re.S)
    return [[line[2:] for line in block.splitlines()] for block in blocks]


class Machine:
    """A host of the lab with an /etc and a /run of its own, and bondway installed."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        (directory / "bin").mkdir(parents=True)
        shutil.copy(find_program(), directory / "bin" / "bondway")
        directory.chmod(0o755)
        self.path = directory / "bin"
        self.holder = host.popen(["unshare", "--mount", "sh", "-c", PRIVATE, "sh",
                                  directory / "state"], log="holder")
        wait_for(lambda: "ready" in self.holder.output(), 10, "its own /etc")

    def _enter(self, line: str) -> List[str]:
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "sh", "-c",
                f"PATH={self.path}:/usr/sbin:$PATH; {line}"]

    def run(self, line: str, **options: str) -> str:
        """What it prints; it must say nothing wrong."""
        return self.host.run(self._enter(line), **options).stdout

    def start(self, line: str) -> Process:
        return self.host.popen(self._enter(f"exec {line}"), log=line.split()[-1])

    def end(self) -> None:
        self.holder.terminate()
        self.holder.wait(10)


def stop(*daemons: Process) -> None:
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        assert daemon.wait(30) == 0, daemon.output()


def test_from_nothing_to_a_download():
    """At most three commands on each side; then a client's download uses both uplinks."""
    on_vps, on_router = commands()
    assert 0 < len(on_vps) <= 3 and 0 < len(on_router) <= 3
    with Lab() as lab:
        vps = Machine(lab.vps, lab.directory / "vps")
        router = Machine(lab.router, lab.directory / "router")
        link = "".join(vps.run(line) for line in on_vps[:-1])
        concentrator = vps.start(on_vps[-1])
        wait_for(lambda: "started" in concentrator.output(), 20, "the concentrator")
        found = "".join(router.run(line, input=link) for line in on_router[:-1])
        assert re.search(r"^ok    vps    .* accepts our key, by 2 of 2 uplinks$", found, re.M)
        gateway = router.start(on_router[-1])
        wait_for(lambda: interception(lab.router), 20, "the gateway")

        client, server = pair(lab.client, lab.destinations[0])
        assert server.getpeername()[0] == lab.vps.address
        sent = Background(offer, server, 5_000_000)
        assert take(client, 5_000_000) == sent.result()
        flows = router.run("bondway flows")
        assert "dsl" in flows and "lte" in flows, flows
        assert router.run("bondway").startswith("gateway: up\n")
        client.close()
        server.close()
        stop(gateway, concentrator)
        vps.end()
        router.end()
