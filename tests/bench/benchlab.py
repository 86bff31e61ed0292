"""The benchmark's laboratory: netlab's, but with uplinks that are veth pairs shaped by the kernel's
own tbf. They carry far more than the link emulator; unshaped they would carry so much that the
kernel's MPTCP stalls, which measures nothing of what runs on top of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "netlab"))

from netlab import Lab, LabError, LabUplink, Uplink  # noqa: E402

BURST = 256 << 10  # several of the largest packets that segmentation offload makes
QUEUE_MS = 10
WINDOW = 8 << 20


def halves() -> Tuple[Set[int], Set[int]]:
    """The processors, as those of two machines: the LAN and its router, the VPS and what is behind
    it. So neither side's work moves the other's about."""
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    return (set(processors[:half] or processors), set(processors[half:]))


def pin(pid: int, processors: Set[int]) -> None:
    """All threads of a process, and those that they start later."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), processors)


class ShapedUplink(LabUplink):
    """An uplink without an emulator: shape() puts a tbf on each end."""

    def shape(self) -> None:
        for host, interface, rate in ((self.lab.router, self.interface, self.spec.up),
                                      (self.lab.internet, self.far_interface, self.spec.down)):
            host.run(["tc", "qdisc", "replace", "dev", interface, "root", "tbf",
                      "rate", f"{rate}mbit", "burst", BURST,
                      "limit", int(rate * 1e6 / 8 * QUEUE_MS / 1e3) + BURST])


class BenchLab(Lab):
    """rate: of each of the two uplinks, Mb/s."""

    def __init__(self, rate: float) -> None:
        super().__init__([Uplink(name, down=rate, up=rate) for name in ("wan1", "wan2")],
                         destinations=[0])
        self.uplinks: List[LabUplink] = [ShapedUplink(self, spec, number + 1)
                                         for number, spec in enumerate(self._specs)]
        self.destination = self.destinations[0]

    def _sysctls(self, host: Any) -> Dict[str, Any]:
        """Receive windows are wide from the start. Where the kernel widens them by itself, luck
        decides whether window or congestion control holds a sender back, and with it at which end
        the kernel does its work."""
        return {**super()._sysctls(host), "net.ipv4.tcp_rmem": f"4096 {WINDOW} {2 * WINDOW}"}

    def _start_links(self) -> None:
        for uplink in self.uplinks:
            command = ["ip", "link", "add", uplink.interface, "netns", self.router.namespace,
                       "type", "veth", "peer", "name", uplink.far_interface,
                       "netns", self.internet.namespace]
            done = subprocess.run(command, text=True, capture_output=True)
            if done.returncode != 0:
                raise LabError(f"{' '.join(command)}: {done.stderr}")
