"""packet_scheduler: what the kernel offers is chosen, and put back at the end. The kernel's sysctls are played by files, since most kernels offer one scheduler alone."""

from __future__ import annotations

import pytest

from bonded import Bonded, Lab
from test_messages import MOUNTS

DAEMONS = pytest.mark.parametrize("daemon", ["gateway", "concentrator"])


def bonded(lab: Lab, daemon: str, name: str) -> Bonded:
    return Bonded(lab, start=False, **{daemon: f'packet_scheduler = "{name}";\n'})


@DAEMONS
def test_one_of_several(daemon):
    """Of names as long as each other, since a file keeps what a sysctl would not."""
    with Lab() as lab:
        bond = bonded(lab, daemon, "blest__")
        chosen = bond.write("chosen", "default\n")
        offered = bond.write("offered", "default blest__\n")
        wrapper = [*MOUNTS, f"mount --bind {chosen} /proc/sys/net/mptcp/scheduler && "
                   f"mount --bind {offered} /proc/sys/net/mptcp/available_schedulers"]
        with bond:
            bond.start_concentrator(wrapper if daemon == "concentrator" else ())
            bond.start_gateway(wrapper=wrapper if daemon == "gateway" else ())
            assert chosen.read_text() == "blest__\n"
            bond.stop_gateway()
            bond.stop_concentrator()
            assert chosen.read_text() == "default\n"


def test_the_kernels_own():
    """Naming it changes nothing."""
    with Lab() as lab, Bonded(lab, 'packet_scheduler = "default";\n',
                              'packet_scheduler = "default";\n'):
        for host in (lab.router, lab.vps):
            assert host.run(["sysctl", "-n", "net.mptcp.scheduler"]).stdout == "default\n"
