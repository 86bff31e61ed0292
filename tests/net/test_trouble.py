"""What may be wrong around bondway. Each time: one clear message, and the sensible thing done."""

from __future__ import annotations

import re

import pytest

from bonded import PORT, Bonded, Lab, Process, interception, kernel_state, wait_for
from traffic import (Background, Server, connect, offer_all, pair, take, tell_where_from,
                     time_to_reset, wait_for_reset, way_of)

# Runs a command in a mount namespace of its own, after the first argument, a shell command.
MOUNTS = ["unshare", "--mount", "sh", "-c", 'eval "$1" && shift && exec "$@"', "sh"]


def assert_refuses(process: Process, code: int, message: str) -> None:
    """It ends with that exit code, and one line of complaint, which is this, to its end."""
    assert process.wait(30) == code, process.output()
    complaints = [line for line in process.output().splitlines() if not re.search(" info ", line)]
    assert len(complaints) == 1 and complaints[0].endswith(message), process.output()


# --- The concentrator is not there ----------------------------------------------------------------


def test_the_concentrator_is_down_and_comes_back():
    """The VPS is restarted. Until it is back, the LAN takes the router's own way; then the bond
    again, without a hand being moved. Also when it is down before the gateway starts."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_gateway(until_up=False)
        bond.wait_for_log(f"warning vps: down: {lab.vps.address}:{PORT} refuses connections: "
                          "is the concentrator running there")
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
    """The key was copied badly. The message says which file to look at; the LAN is not cut off."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        wrong = bond.write("wrong.key", bond.new_key())
        bond.configure_gateway(key_file=wrong)
        bond.start_gateway(until_up=False)
        bond.wait_for_log(f"warning vps: down: it does not accept our key: .*{wrong}", 30)
        assert not bond.status()["intercepting"]
        assert way_of(lab) == "direct"
        assert bond.new_key() not in bond.gateway.output()
        assert wrong.read_text().strip() not in bond.gateway.output()
        wait_for(lambda: bond.concentrator_status()["refused"]["hello"] > 0, 20, "its refusal")


# --- The uplinks are not there --------------------------------------------------------------------


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


def test_a_lan_interface_that_does_not_exist():
    """A misspelt bridge would mean that nothing is ever intercepted, in silence."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        text = bond.gateway_conf.read_text().replace(lab.lan_interface, "br-lam")
        bond.gateway_conf.write_text(text)
        bond.start_gateway(until_up=False)
        bond.wait_for_log(r"warning gateway: there is no interface br-lam \(lan_interfaces\) now: is it "
                          r"the right name\?")


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


def test_mptcp_is_switched_off_under_the_gateway():
    """Somebody else does it, while bondway runs: new flows travel by plain TCP."""
    with Lab() as lab, Bonded(lab) as bond:
        bond.stop_concentrator()
        wait_for(lambda: not bond.status()["intercepting"], 30, "an end of the interception")
        lab.router.sysctl("net.mptcp.enabled", 0)
        bond.start_concentrator()
        bond.wait_until_up(60)
        transfer_over_tcp(lab, bond)


def test_mptcp_is_off_on_the_vps():
    """The concentrator says what to do about it, and serves as well as it can."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.sysctl("net.mptcp.enabled", 0)
        bond.start_concentrator()
        bond.wait_for_concentrator_log("warning kernel: MPTCP is switched off.*"
                                       "sysctl -w net.mptcp.enabled=1")
        bond.start_gateway()
        transfer_over_tcp(lab, bond)


def test_mptcp_is_stripped_on_every_uplink():
    """Carriers' middleboxes do that. Status says so, and flows still work, on one uplink."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for uplink in lab.uplinks:
            uplink.set(strip_mptcp=True)
        bond.start_concentrator()
        bond.start_gateway()
        transfer_over_tcp(lab, bond)
        assert "stripped" in {uplink["mptcp"] for uplink in bond.status()["uplinks"]}


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


# --- What the kernel does not have or allow ---------------------------------------------------------


def test_a_kernel_without_mptcp():
    """As OpenWrt before 24.10 has: nothing is begun."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        empty = bond.directory / "empty"
        empty.mkdir()
        before = kernel_state(lab.router)
        process = bond.launch_gateway([*MOUNTS, f"mount --bind {empty} /proc/sys/net/mptcp"])
        assert_refuses(process, 1, "error gateway: this kernel cannot bond: it has no MPTCP with a userspace "
                       "path manager (Linux 5.19 or later with CONFIG_MPTCP)")
        assert kernel_state(lab.router) == before
        bond.gateway = None


def test_no_nft_program():
    with Lab() as lab, Bonded(lab, start=False) as bond:
        process = bond.launch_gateway(
            [*MOUNTS, 'for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do '
                      '[ ! -e $nft ] || mount --bind /dev/null $nft; done'])
        assert_refuses(process, 1, "no nft program; install nftables")
        bond.gateway = None


def test_no_right_to_change_the_network():
    """Not run as root. The message names the capability."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        before = kernel_state(lab.router)
        process = bond.launch_gateway(["setpriv", "--bounding-set", "-net_admin",
                                       "--inh-caps", "-net_admin"])
        assert_refuses(process, 1, "error gateway: no right to change the network (CAP_NET_ADMIN); run "
                       "as root")
        assert kernel_state(lab.router) == before
        bond.gateway = None


def test_a_concentrator_without_rights():
    """It needs none to serve; what it cannot raise, it says."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator(["setpriv", "--bounding-set", "-net_admin",
                                 "--inh-caps", "-net_admin"])
        bond.wait_for_concentrator_log("warning kernel: may not raise the MPTCP limits.*"
                                       "CAP_NET_ADMIN")
        bond.start_gateway()
        assert way_of(lab) == "bond"


@pytest.mark.parametrize("key", ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"])
def test_a_bridge_that_hides_what_is_intercepted(key):
    """br_netfilter, as Docker switches it on: with it, every connection of the LAN would time out.
    The gateway does not start, and says what to set."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl(f"net.bridge.{key}", 1)
        assert_refuses(bond.launch_gateway(), 1, 
                       f"error gateway: net/bridge/{key} is 1: with it, connections from a bridge "
                       "cannot be intercepted; set it to 0 (in /etc/sysctl.conf, and now by sysctl "
                       "-w)")
        assert not interception(lab.router)
        bond.gateway = None


# --- Ports, files -----------------------------------------------------------------------------------


def test_the_gateways_port_is_taken():
    with Lab() as lab, Bonded(lab, start=False) as bond:
        with lab.router.socket() as other:
            other.bind(("127.0.0.1", 7170))
            other.listen()
            before = kernel_state(lab.router)
            assert_refuses(bond.launch_gateway(), 1,
                           "cannot listen on 127.0.0.1:7170: Address already in use; "
                           "set another listen_port")
            assert kernel_state(lab.router) == before
            bond.gateway = None


def test_the_concentrators_port_is_taken():
    with Lab() as lab, Bonded(lab, start=False) as bond:
        with lab.vps.socket() as other:
            other.bind(("0.0.0.0", PORT))
            other.listen()
            before = kernel_state(lab.vps)
            process = bond.launch_concentrator()
            assert_refuses(process, 1, f"error concentrator: cannot listen on 0.0.0.0:{PORT}: Address "
                           "already in use; another program has this port: stop it, or change listen")
            assert kernel_state(lab.vps) == before
            bond.concentrator = None


@pytest.mark.parametrize("daemon,wrong,right", [("gateway", "listen_prot", "listen_port"),
                                                ("concentrator", "worker", "workers")])
def test_a_broken_configuration(daemon, wrong, right):
    """Nothing starts half-configured: file, line and remedy, and exit code 2."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        conf = bond.gateway_conf if daemon == "gateway" else bond.concentrator_conf
        conf.write_text(conf.read_text() + f"\n{wrong} = 1;\n")
        line = conf.read_text().count("\n")
        before = kernel_state(lab.router)
        process = bond.launch_gateway() if daemon == "gateway" else bond.launch_concentrator()
        assert_refuses(process, 2, f'{conf}:{line}: unknown key "{wrong}"; did you mean "{right}"?')
        assert kernel_state(lab.router) == before
        bond.gateway = bond.concentrator = None


def test_a_key_that_others_may_read():
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.key_file.chmod(0o644)
        assert_refuses(bond.launch_gateway(), 2,
                       f'key file "{bond.key_file}": others than its owner may read it (mode 0644): '
                       f"chmod 600 {bond.key_file}")
        bond.gateway = None
