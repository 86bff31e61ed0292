"""The OpenWrt package at work: its scripts render what a router's owner has written, and the real
gateway runs by it in the lab, as procd would have it; networks go and come, settings change."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "net"))

from bonded import PORT, Bonded, Lab, wait_for  # noqa: E402
from router import Procd, Router  # noqa: E402


def configuration(lab, **extra):
    text = ("config globals 'globals'\n\toption enabled '1'\n\tlist lan 'lan'\n"
            "\nconfig concentrator 'vps'\n"
            f"\toption address '{lab.vps.address}'\n\toption port '{PORT}'\n")
    for name in ("dsl", "lte"):
        text += f"\nconfig uplink '{name}'\n\toption network 'wan_{name}'\n"
        text += "".join(f"\toption {key} '{value}'\n" for key, value in extra.get(name, {}).items())
    return text


@pytest.fixture
def at_home():
    """(lab, bond, router, procd); the gateway runs, and intercepts."""
    with Lab() as lab, Bonded(lab, start=False) as bond, Router(bond.program) as router:
        bond.start_concentrator()
        router.config("bondway", configuration(lab))
        router.key("vps.key", bond.key_file.read_text())
        router.network_up("lan", lab.lan_interface)
        for name in ("dsl", "lte"):
            router.network_up(f"wan_{name}", name)
        procd = Procd(router, lambda command: lab.router.popen(
            [word for word in command if word != "--syslog"], log="procd"))
        bond.gateway_socket = router.root / "run/bondway/gateway.sock"
        router.init("start")
        procd.follow()
        bond.gateway = procd.process
        wait_for(bond.gateway_socket.exists, 20, "the gateway")
        bond.wait_until_up()
        yield lab, bond, router, procd
        bond.gateway = None
        router.init("stop")
        procd.follow()


def table(lab):
    return "table inet bondway" in lab.router.run(["nft", "list", "tables"]).stdout


# Of nftables' expressions, those that need no more than kmod-nft-core.
CORE = {"bitwise", "byteorder", "cmp", "counter", "ct", "immediate", "lookup", "meta", "payload",
        "reject"}


def test_what_the_table_needs_of_the_kernel_comes_with_the_package(at_home):
    lab = at_home[0]
    code = lab.router.run(["nft", "--debug=netlink", "list", "table", "inet", "bondway"]).stdout
    needed = set(re.findall(r"^ +\[ (\w+) ", code, re.M)) - CORE
    assert needed == {"tproxy", "socket", "fib"}
    makefile = (ROOT / "openwrt/bondway/Makefile").read_text()
    for each in needed:
        assert f"+kmod-nft-{each}" in makefile


def test_it_runs_follows_and_leaves(at_home):
    lab, bond, router, procd = at_home
    pid = procd.process.pid
    assert {u["name"]: u["interface"] for u in bond.status()["uplinks"]} == {"dsl": "dsl",
                                                                            "lte": "lte"}
    assert table(lab)

    # A network goes, and comes back: the gateway sees it by itself, procd does nothing.
    lab.uplink("dsl").carrier(False)
    router.network_down("wan_dsl")
    router.init("reload")
    procd.follow()
    wait_for(lambda: bond.uplink("dsl")["state"] == "down", 20, "dsl down")
    lab.uplink("dsl").carrier(True)
    router.network_up("wan_dsl", "dsl")
    router.init("reload")
    procd.follow()
    wait_for(lambda: bond.uplink("dsl")["state"] != "down", 20, "dsl back")
    assert procd.signals == 0

    # The firewall restarts: fw4 empties the whole ruleset before it loads its own.
    lab.router.run(["nft", "delete table inet bondway"])
    wait_for(lambda: table(lab), 10, "interception again")

    # A setting changes: the same process is told to read it.
    router.config("bondway", configuration(lab, lte={"cost": "7"}))
    router.init("reload")
    procd.follow()
    assert procd.signals == 1 and procd.process.pid == pid

    # So is a key, which the configuration only names: the concentrator's new one.
    bond.key_file.write_text(bond.new_key())
    bond.concentrator.send_signal(signal.SIGHUP)
    router.key("vps.key", bond.key_file.read_text())
    router.init("reload")
    procd.follow()
    assert procd.signals == 2 and procd.process.pid == pid
    wait_for(lambda: bond.station("vps")["state"] == "up", 20, "the concentrator, by its new key")

    # LuCI's door: what it shows, and what it says when nothing runs.
    answer = router.run("/busybox/sh", "/usr/libexec/rpcd/bondway", "call", "status").stdout
    assert '"uplinks"' in answer and answer.startswith('{ "status": {')

    router.init("stop")
    procd.follow()
    bond.gateway = None
    assert procd.process is None and not table(lab)
    assert re.search(r'"error": "bondway status: no bondway runs here', router.run(
        "/busybox/sh", "/usr/libexec/rpcd/bondway", "call", "status").stdout)


def test_killed_it_leaves_no_interception(at_home):
    """As when procd gives up: nothing restarts it."""
    lab, bond, router, procd = at_home
    procd.process.kill()
    procd.process.wait()
    procd.process = bond.gateway = None
    wait_for(lambda: not table(lab), 10, "an end of interception")


if os.geteuid() != 0 or subprocess.run(["which", "busybox"], capture_output=True).returncode != 0:
    pytest.skip("root and busybox are needed", allow_module_level=True)
