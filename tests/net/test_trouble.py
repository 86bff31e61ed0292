"""What may be wrong around bondway: each time the sensible thing is done. What is said of it, to its
last word, is in test_messages.py."""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from bonded import PORT, Bonded, Host, Lab, kernel_state, wait_for
from traffic import (Background, Server, Transfer, connect, offer_all, pair, speak_ssh, take,
                     tell_where_from, time_to_reset, wait_for_reset, way_of)


# --- The concentrator is not there ----------------------------------------------------------------


def test_the_concentrator_is_down_and_comes_back():
    """The VPS is restarted. Until it is back, the LAN takes the router's own way; then the bond
    again, without a hand being moved. Also when it is down before the gateway starts."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_gateway(until_up=False)
        bond.wait_for_log(f"warning vps: down: {lab.vps.address}:{PORT} refuses")
        assert way_of(lab) == "direct"
        for _ in range(2):
            bond.start_concentrator()
            bond.wait_until_up(60)
            assert way_of(lab) == "bond"
            bond.kill_concentrator()
            wait_for(lambda: not bond.status()["intercepting"], 20, "an end of the interception")
            assert way_of(lab) == "direct"
            # A dial under way when it dies sees it hang up; the next one is refused.
            wait_for(lambda: "refuses" in bond.status()["concentrators"][0]["reason"], 20,
                     "a refusal")
            assert bond.status()["concentrators"][0]["state"] == "down"


def test_the_vps_vanishes():
    """Nothing answers there any more, not even with a refusal: the same, only a little later."""
    with Lab() as lab, Bonded(lab, 'dial_timeout = "2s";\n') as bond:
        assert way_of(lab) == "bond"
        lab.vps.run(["nft", "add table inet silent; add chain inet silent input "
                     "{ type filter hook input priority 0; policy drop; }"])
        client = connect(lab.client, lab.destinations[0].address, 80)
        wait_for(lambda: not bond.status()["intercepting"], 90, "an end of the interception")
        bond.wait_for_log(r"warning vps: down: .*does not answer")
        client.close()
        assert way_of(lab) == "direct"
        lab.vps.run(["nft", "delete table inet silent"])
        bond.wait_until_up(60)
        assert way_of(lab) == "bond"


def test_running_flows_when_the_concentrator_dies():
    """They cannot go on; the client learns it by a reset, not by silence or an orderly end."""
    with Lab() as lab, Bonded(lab) as bond:
        client, _server = pair(lab.client, lab.destinations[0])
        wait_for(lambda: bond.flow()["state"] == "relaying", 5, "OPENED")
        bond.kill_concentrator()
        wait_for_reset(client)
        bond.wait_for_log("closed why=(far-reset|truncated)")


def test_refuse_instead_of_direct():
    """For those who must never be seen with their own address: no concentrator, no connection."""
    with Lab() as lab, Bonded(lab, 'when_unreachable = "refuse";\n', start=False) as bond:
        bond.start_gateway()
        bond.wait_for_log("vps: down:")
        with Server(lab.destinations[0], tell_where_from) as server:
            time_to_reset(lab.client, lab.destinations[0].address, server.port)
            assert server.peers == []
        bond.wait_for_log("closed why=no-concentrator")
        bond.start_concentrator()
        wait_for(lambda: bond.status()["concentrators"][0]["state"] == "up", 60, "the way up")
        assert way_of(lab) == "bond"


def test_a_wrong_key():
    """The key was copied badly. The LAN is not cut off; neither key is in the log."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        wrong = bond.write("wrong.key", bond.new_key())
        bond.configure_gateway(key_file=wrong)
        bond.start_gateway(until_up=False)
        bond.wait_for_log("warning vps: down: it does not accept our key", 30)
        assert not bond.status()["intercepting"]
        assert way_of(lab) == "direct"
        assert bond.new_key() not in bond.gateway.output()
        assert wrong.read_text().strip() not in bond.gateway.output()
        wait_for(lambda: bond.concentrator_status()["refused"]["hello"] > 0, 20, "its refusal")


def test_another_program_has_the_port():
    """It answers with less than a concentrator does, and hangs up. It is asked again, but less and less
    often: each time costs data."""
    asked: List[float] = []

    def answer(connection: socket.socket) -> None:
        if speak_ssh(connection):
            asked.append(time.monotonic())

    with Lab() as lab, Bonded(lab, start=False) as bond, Server(lab.vps, answer, port=PORT):
        bond.start_gateway(until_up=False)
        wait_for(lambda: bond.station("vps")["state"] == "down", 20, "notice of it")
        wait_for(lambda: len(asked) >= 4, 30, "four questions")
        assert asked[3] - asked[0] > 3
        assert way_of(lab) == "direct"


NFT_THAT_FAILS = """#!/bin/sh
if [ -e {fails} ]; then
    {then}
    echo "Error: for once" >&2
    exit 1
fi
exec /usr/sbin/nft "$@"
"""


@contextlib.contextmanager
def refusing_nftables(then):
    """From the moment when the gateway would intercept. Yields a lab, its bond, and the file that
    makes nft fail; it does then what `then` says of it."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        fails = bond.directory / "fails"
        nft = bond.write("nft", NFT_THAT_FAILS.format(fails=fails, then=then.format(fails=fails)))
        nft.chmod(0o700)
        bond.start_gateway(until_up=False, wrapper=["env", f"PATH={nft.parent}:/usr/sbin:/usr/bin:/bin"])
        bond.wait_for_log("vps: down:")
        fails.touch()
        bond.start_concentrator()
        bond.wait_for_log("nftables refused our table: Error: for once")
        yield lab, bond, fails


def test_nftables_refuses_for_good():
    """It is tried again and again, and not told each time. When it works, it is intercepted."""
    with refusing_nftables("echo >> {fails}") as (lab, bond, fails):
        wait_for(lambda: fails.stat().st_size > 6, 40, "attempts")
        assert bond.gateway.output().count("nftables refused") < 6
        fails.unlink()
        wait_for(lambda: bond.status()["intercepting"], 20, "another attempt")


def test_nftables_refuses_once():
    """As when a firewall restarts at the same moment. The LAN does not stay without the bond for
    that."""
    with refusing_nftables("rm {fails}") as (lab, bond, _):
        wait_for(lambda: bond.status()["intercepting"], 20, "another attempt")
        assert way_of(lab) == "bond"


# As systemd-networkd does with what it has not made, whenever it starts.
REMOVE_FOREIGN = r"""
for v in 4 6; do
    ip -N -$v rule | sed -n '/proto 171/s/:.*//p' |
        while read -r priority; do ip -$v rule del priority "$priority"; done
    ip -$v route flush table all proto 171
done
"""


def ways(host: Host) -> List[List[str]]:
    """Its rules and routes, without what the lab has added to them (Lab.congestion)."""
    state = kernel_state(host)
    return [[re.sub(r" congctl \w+| onlink", "", line).strip() for line in state[each]]
            for each in ("rules", "rules6", "routes", "routes6")]


def test_another_program_removes_routes_and_rules():
    """All is there again without a hand being moved, and a flow that runs goes on."""
    with Lab() as lab, Bonded(lab, "route_unproxied = true;\n") as bond:
        transfer = Transfer(lab, "down")
        transfer.wait_for(1_000_000)
        wait_for(lambda: len(bond.flow()["subflows"]) == 2, 20, "both paths")
        before = ways(lab.router)
        for _ in range(2):
            lab.router.run(["sh", "-e", "-c", REMOVE_FOREIGN])
            wait_for(lambda: ways(lab.router) == before, 10, "all of them")
            assert way_of(lab) == "bond"
            transfer.wait_for(2_000_000)
        sent, received = transfer.finish()
        assert sent == received
        bond.wait_for_log("warning gateway: another program has removed routes or rules of ours")


# As wg-quick does with `AllowedIPs = 0.0.0.0/0`. Rules without a priority come before all others; and
# what it removes at the end, in a loop, are also some of ours.
TAKE_EVERYTHING = """
ip link add wg0 type bridge && ip link set wg0 up && ip addr add 10.99.0.2/32 dev wg0
ip route add default dev wg0 table 51820
ip rule add not fwmark 51820 table 51820
ip rule add table main suppress_prefixlength 0
"""
LEAVE_EVERYTHING = """
ip rule del table 51820
while ip rule | grep -q "from all lookup main suppress_prefixlength 0"; do
    ip rule del table main suppress_prefixlength 0
done
ip link del wg0
"""


def test_a_tunnel_takes_everything():
    """All of the router's own traffic, that is. The LAN's connections stay with us; and when it is gone,
    all is as before."""
    with Lab() as lab, Bonded(lab) as bond:
        before = ways(lab.router)
        for _ in range(2):
            lab.router.run(["sh", "-e", "-c", TAKE_EVERYTHING])
            assert way_of(lab) == "bond"
            lab.router.run(["sh", "-e", "-c", LEAVE_EVERYTHING])
            wait_for(lambda: ways(lab.router) == before, 10, "all as before")
            assert way_of(lab) == "bond"
        assert bond.status()["flows"]["failed"] == 0


# `ifup -a` of OpenWrt, as far as its loopback network is concerned.
RESTART_LOOPBACK = """
ip addr flush dev lo; ip link set lo down; ip link set lo up
"""


def test_the_loopback_interface_is_restarted():
    """TPROXY's packets are led there."""
    with Lab() as lab, Bonded(lab) as bond:
        before = ways(lab.router)
        lab.router.run(["sh", "-e", "-c", RESTART_LOOPBACK])
        wait_for(lambda: ways(lab.router) == before, 10, "all as before")
        assert bond.status()["intercepting"]
        assert way_of(lab) == "bond"


# What hand-written firewalls for several uplinks begin with.
RESTORE_MARKS = ("table inet other { chain c { type filter hook prerouting priority mangle; "
                 "meta mark set ct mark; }; }")


@pytest.mark.parametrize("earlier", [True, False], ids=["before us", "after us"])
def test_a_firewall_that_restores_marks(earlier):
    """Of a new connection there is none: what we have marked would not be ours any more."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        if earlier:
            lab.router.run(["nft", RESTORE_MARKS])
        bond.start_concentrator()
        bond.start_gateway()
        if not earlier:
            lab.router.run(["nft", RESTORE_MARKS])
        assert way_of(lab) == "bond"


# The rule that README.md names.
KEEP_OUT = """table inet other { chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    meta mark & 0x10000000 == 0x10000000 meta l4proto tcp accept
}; }"""


def test_a_firewall_that_drops_what_comes_in():
    """All but what it must not."""
    with Lab() as lab, Bonded(lab) as bond:
        lab.router.run(["nft", "-f", "-"], input=KEEP_OUT)
        for family in socket.AF_INET, socket.AF_INET6:
            client, server = pair(lab.client, lab.destinations[0], family)
            assert bond.flow()["state"] in ("greeting", "opening", "relaying")
            client.close()
            server.close()
            bond.wait_until_over()


FILTERED_BRIDGES = pytest.mark.parametrize(
    "key", ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"])


@FILTERED_BRIDGES
def test_bridges_are_filtered(key):
    """Docker has started. What is new goes direct, what runs goes on; and when it is as before, all
    is."""
    with Lab() as lab, Bonded(lab) as bond:
        transfer = Transfer(lab, "down")
        transfer.wait_for(1_000_000)
        lab.router.sysctl(key, 1)
        wait_for(lambda: not bond.status()["intercepting"], 20, "an end of the interception")
        bond.wait_for_log(f"error gateway: {key.replace('.', '/')} is not 0: with it, connections from a "
                          "bridge cannot be intercepted; set it to 0")
        assert way_of(lab) == "direct"
        assert bond.status()["hindrance"] == key.replace(".", "/")
        transfer.wait_for(2_000_000)
        lab.router.sysctl(key, 0)
        bond.wait_until_up()
        assert way_of(lab) == "bond" and "hindrance" not in bond.status()
        sent, received = transfer.finish()
        assert sent == received


@FILTERED_BRIDGES
def test_bridges_are_filtered_from_the_start(key):
    """It waits for the end of that."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl(key, 1)
        bond.start_concentrator()
        bond.start_gateway(until_up=False)
        bond.wait_for_log("info vps: up")
        assert way_of(lab) == "direct"
        lab.router.sysctl(key, 0)
        bond.wait_until_up()
        assert way_of(lab) == "bond"


def test_bridges_are_filtered_but_none_is_ours():
    """The LAN is a card."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl("net.bridge.bridge-nf-call-iptables", 1)
        lab.router.ip("link set lan1 nomaster", f"link del {lab.lan_interface}",
                      "link set lan1 down", f"link set lan1 name {lab.lan_interface}",
                      f"link set {lab.lan_interface} up",
                      f"addr add {lab.router.address}/24 dev {lab.lan_interface}")
        bond.start_concentrator()
        bond.start_gateway()
        assert way_of(lab) == "bond"


def set_all(lab: Lab, values: Dict[str, Any]) -> None:
    for key, value in values.items():
        lab.router.sysctl(key, value)


def is_bonded(lab: Lab, bond: Bonded) -> bool:
    """A new flow; it takes a moment, where it has to be joined yet."""
    client, server = pair(lab.client, lab.destinations[0])
    with client, server, contextlib.suppress(TimeoutError):
        wait_for(lambda: len(bond.flow()["subflows"]) == 2, 2)
        return True
    bond.wait_until_over()
    return False


def test_another_program_sets_what_we_have_set():
    """`sysctl --system`: a package has been installed. Flows have all uplinks again; and at the end
    everything is as others want it."""
    bank = 'rules = ({ name = "bank"; ports = [7]; action = "direct"; uplinks = ["lte"]; });\n'
    with Lab() as lab, Bonded(lab, bank, start=False) as bond:
        set_all(lab, {f"net.ipv4.conf.{scope}.rp_filter": 1 for scope in ("all", "lte")})
        before = kernel_state(lab.router)
        first = before["sysctls"]
        bond.start_concentrator()
        bond.start_gateway()
        ours = kernel_state(lab.router)["sysctls"]
        assert ours != first
        set_all(lab, dict(line.split(" = ") for line in set(first) - set(ours)))
        lab.router.sysctl("net.mptcp.enabled", 0)
        wait_for(lambda: kernel_state(lab.router)["sysctls"] == ours, 20, "what we have set")
        bond.wait_for_log("warning gateway: another program has set net/mptcp/enabled to 0: "
                          "setting it to 1 again")
        wait_for(lambda: is_bonded(lab, bond), 60, "a new flow on both uplinks")
        bond.stop_gateway()
        lab.router.sysctl("net.mptcp.enabled", 1)
        assert kernel_state(lab.router) == before


def test_another_program_does_so_again_and_again():
    """Each time it is put right, but the log does not tell each time. (Every kernel has these two.)"""
    theirs = {"net.mptcp.enabled": 0, "net.mptcp.stale_loss_cnt": 4}
    with Lab() as lab, Bonded(lab) as bond:
        ours = kernel_state(lab.router)["sysctls"]
        for _ in range(6):
            set_all(lab, theirs)
            wait_for(lambda: kernel_state(lab.router)["sysctls"] == ours, 20, "what we have set")
        assert bond.gateway.output().count("another program has set") == 10


# --- The uplinks are not there --------------------------------------------------------------------


def test_a_router_without_ipv6():
    """Its kernel has none, or was told at its start to do without."""
    without_ipv6 = [sys.executable, Path(__file__).with_name("without_ipv6.py")]
    with Lab() as lab, Bonded(lab, start=False) as bond:
        told = lab.router.run([*without_ipv6, sys.executable, "-c", "import socket; "
                               "socket.socket(socket.AF_INET6)"], check=False).stderr
        assert "Address family not supported" in told
        bond.start_concentrator()
        bond.start_gateway(wrapper=without_ipv6)
        assert way_of(lab) == "bond"


def test_no_uplink():
    """The router has started before its modems: bondway waits for them."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for uplink in lab.uplinks:
            uplink.carrier(False)
        bond.start_concentrator()
        bond.start_gateway(until_up=False)
        bond.wait_for_log(r"warning dsl: .*no carrier")
        bond.wait_for_log(r"warning vps: down: no uplink is up")
        lab.uplink("lte").carrier(True)
        bond.wait_until_up(60)
        assert way_of(lab) == "bond"


# --- MPTCP is not there ---------------------------------------------------------------------------


def test_mptcp_is_off_on_the_router():
    """net.mptcp.enabled was 0: switched on while bondway runs, and put back."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl("net.mptcp.enabled", 0)
        before = kernel_state(lab.router)
        bond.start_concentrator()
        bond.start_gateway()
        bond.wait_for_log("warning gateway: net.mptcp.enabled was 0")
        client, server = pair(lab.client, lab.destinations[0])
        assert bond.flow()["mptcp"] is True
        client.close()
        server.close()
        bond.stop_gateway()
        assert kernel_state(lab.router) == before


def transfer_over_tcp(lab: Lab, bond: Bonded) -> None:
    """A flow still works, on one uplink."""
    client, server = pair(lab.client, lab.destinations[0])
    for source, sink in (client, server), (server, client):
        sent = Background(offer_all, source, 1_000_000)
        assert take(sink) == sent.result()
    client.close()
    server.close()
    bond.wait_until_over()
    flows = bond.status()["flows"]
    assert flows["tcp_fallback"] == 1 and flows["failed"] == 0


def test_mptcp_cannot_be_switched_on():
    """Whatever the gateway writes there: flows travel by plain TCP."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl("net.mptcp.enabled", 0)
        switch = bond.write("enabled", "1\n")
        bond.start_concentrator()
        bond.start_gateway(wrapper=["unshare", "--mount", "sh", "-ec",
                                    f"mount --bind {switch} /proc/sys/net/mptcp/enabled; exec \"$@\"",
                                    "sh"])
        transfer_over_tcp(lab, bond)


def test_mptcp_is_off_on_the_vps():
    """The concentrator serves as well as it can."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.sysctl("net.mptcp.enabled", 0)
        bond.start_concentrator()
        bond.start_gateway()
        transfer_over_tcp(lab, bond)


def test_mptcp_is_stripped_on_one_uplink():
    """The nearer one. Flows begin on the other, where bonding is possible at all."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.uplink("dsl").set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        wait_for(lambda: bond.uplink("dsl")["mptcp"] == "stripped", 20, "notice of it")
        for _ in range(20):
            client, server = pair(lab.client, lab.destinations[0])
            is_mptcp = bond.flow()["mptcp"]
            client.close()
            server.close()
            bond.wait_until_over()
            if is_mptcp:
                return
        raise AssertionError("flows go on beginning where MPTCP is stripped")


def test_a_concentrator_without_rights():
    """It needs none to serve."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator(["setpriv", "--bounding-set", "-net_admin",
                                 "--inh-caps", "-net_admin"])
        bond.start_gateway()
        assert way_of(lab) == "bond"
