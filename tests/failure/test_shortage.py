"""A daemon whose memory is short answers a reload, whichever part of it finds none: libconfig does
not look at what malloc() returns."""

from __future__ import annotations

import re
import resource
import signal
from pathlib import Path
from typing import List

import pytest

from session import Bonded, Lab, Process, Uplink, wait_for

DAEMONS = ["gateway", "concentrator"]
# What may still come, in steps: from nothing to more than a reload takes.
STEP = 32 * 1024
STEPS = 300
NETWORKS = 2000


def size(process: Process) -> int:
    """Of its address space, in bytes."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def reload_with(process: Process, spare: int) -> str:
    """Its last word about a reload, for which it has so much memory more than it has now."""
    def words() -> List[str]:
        return re.findall(r" reload: (nothing has changed|done)", process.output())

    before = len(words())
    resource.prlimit(process.pid, resource.RLIMIT_AS, (size(process) + spare, -1))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: process.poll() is not None or len(words()) > before, 20, "a word about it")
    assert process.poll() is None, f"exit code {process.poll()} with {spare} bytes to spare"
    return words()[-1]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_reload_survives_a_shortage_of_memory(daemon: str) -> None:
    many = ", ".join(f'"100.{64 + i // 65536}.{i // 256 % 256}.{i % 256}"' for i in range(NETWORKS))
    with Lab(uplinks=[Uplink("dsl", delay=2)]) as lab, \
            Bonded(lab, f"bypass = [{many}];\n", f"deny_destinations = [{many}];\n",
                   fast=True) as bond:
        process = getattr(bond, daemon)
        words = [reload_with(process, n * STEP) for n in range(STEPS)]
        assert "done" not in words[:4] and words[-1] == "done", words
        resource.prlimit(process.pid, resource.RLIMIT_AS, (-1, -1))
        bond.wait_until_up()
