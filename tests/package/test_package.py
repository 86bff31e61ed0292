"""The Debian package: built, checked, and installed on a machine that is booted for it, where both
services run as their units let them; an upgrade and a purge, which leaves nothing."""

import os
import re
import socket
import subprocess
import sys

import pytest

from machine import ROOT, Machine, make_base, wait_for

sys.path.insert(0, str(ROOT / "tests/net"))
import protocol  # noqa: E402

CONCENTRATOR = "bondway-concentrator.service"
GATEWAY = "bondway-gateway.service"

CONCENTRATOR_CONF = """
listen = ["0.0.0.0:7171", "[::]:7171"];
gateways = ( { name = "home"; key_file = "/etc/bondway/home.key"; } );
"""
GATEWAY_CONF = """
lan_interfaces = ["lan0"];
when_unreachable = "refuse";
concentrators = ( { name = "vps"; address = "192.0.2.1"; key_file = "/etc/bondway/vps.key"; } );
uplinks = ( { name = "dsl"; interface = "wan0"; } );
"""


@pytest.fixture
def machine(package, tmp_path):
    with Machine(make_base(package), tmp_path / "layer") as it:
        yield it


def install(machine, package):
    machine.run("dpkg", "-i", machine.give(package))


def state(machine, unit):
    return machine.say("systemctl", "show", "-P", "ActiveState", unit)


def main_pid(machine, unit):
    return machine.say("systemctl", "show", "-P", "MainPID", unit)


def start(machine, unit):
    done = machine.run("systemctl", "start", unit, check=False)
    assert done.returncode == 0, machine.say("journalctl", "-u", unit)


def set_up_concentrator(machine, lines=""):
    machine.write("/etc/bondway/home.key", machine.run("bondway", "keygen").stdout.split("\n")[0],
                  "bondway", "600")
    machine.write("/etc/bondway/concentrator.conf", CONCENTRATOR_CONF + lines)
    start(machine, CONCENTRATOR)


def set_up_gateway(machine):
    for words in ("ip link add lan0 type veth peer lan1", "ip link add wan0 type veth peer wan1",
                  "ip addr add 192.168.1.1/24 dev lan0", "ip addr add 198.51.100.2/24 dev wan0",
                  "ip link set lan0 up", "ip link set wan0 up", "ip link set lan1 up",
                  "ip link set wan1 up",
                  "ip route add default via 198.51.100.1 dev wan0",
                  # Where the host has br_netfilter: the gateway would refuse to start.
                  "sysctl -e -w net.bridge.bridge-nf-call-iptables=0",
                  "sysctl -e -w net.bridge.bridge-nf-call-ip6tables=0"):
        machine.run(*words.split())
    machine.write("/etc/bondway/vps.key", machine.run("bondway", "keygen").stdout.split("\n")[0],
                  "root", "600")
    machine.write("/etc/bondway/gateway.conf", GATEWAY_CONF)
    start(machine, GATEWAY)


def has_table(machine):
    return "table inet bondway" in machine.say("nft", "list", "tables")


def settings(machine):
    """Of the kernel: what the daemons change, and give back."""
    return (machine.say("sysctl", "-a", "-r", r"^net\.mptcp\."), machine.say("ip", "rule"),
            machine.say("ip", "-6", "rule"), machine.say("nft", "list", "ruleset"))


def inventory(machine):
    """Every file that is not a log, a cache or the package manager's own, and what the users are."""
    listed = machine.say(
        "find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/tmp",
        "-o", "-path", "/opt", "-o", "-path", "/var/lib/dpkg", "-o", "-path", "/var/log", "-o",
        "-path", "/var/cache", "-o", "-name", "*-", "-path", "/etc/*", ")", "-prune", "-o",
        "-printf", "%y %m %u %g %p %l\\n").splitlines()
    runtime = machine.say("find", "/run", "-name", "*bondway*").splitlines()
    users = [machine.say("sort", f"/etc/{name}") for name in ("passwd", "group", "shadow")]
    return sorted(listed), runtime, users


def test_lintian_finds_nothing(package):
    changes = next(package.parent.glob("*.changes"))
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", changes],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("unit, exposure", [(CONCENTRATOR, 2.0), (GATEWAY, 2.3)])
def test_a_unit_is_confined(package, tmp_path, unit, exposure):
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    path = next(tmp_path.glob(f"**/{unit}"))
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert float(re.search(r"exposure level .*: ([\d.]+)", done.stdout)[1]) <= exposure


def test_installed_it_waits_for_a_configuration(machine, package):
    before = settings(machine)
    install(machine, package)
    for unit in (CONCENTRATOR, GATEWAY):
        assert state(machine, unit) == "inactive"
        assert machine.say("systemctl", "is-enabled", unit) == "enabled"
        assert machine.say("systemd-analyze", "verify", "--man=no", unit, check=False) == ""
    assert settings(machine) == before
    assert machine.say("bondway", "--version") == f"bondway {version()}"


def version():
    return re.search(r"project\(bondway VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]


def test_the_concentrator_runs_confined(machine, package):
    before = settings(machine)
    install(machine, package)
    set_up_concentrator(machine)
    # Started, it serves: there is nothing to wait for.
    assert machine.say("bondway", "status").startswith("concentrator: up")
    pid = main_pid(machine, CONCENTRATOR)
    assert machine.say("ps", "-o", "user=", "-p", pid) == "bondway"
    log = machine.say("journalctl", "-u", CONCENTRATOR)
    assert not re.search(r"may not|cannot|denied", log), log
    # What it sets, it may set, although /proc/sys is out of reach.
    assert "net.mptcp.stale_loss_cnt = 2" in settings(machine)[0]

    machine.run("systemctl", "reload", CONCENTRATOR)
    machine.write("/etc/bondway/concentrator.conf", "listen = 1;\n")
    assert machine.run("systemctl", "reload", CONCENTRATOR, check=False).returncode != 0
    assert main_pid(machine, CONCENTRATOR) == pid

    machine.write("/etc/bondway/concentrator.conf", CONCENTRATOR_CONF)
    machine.run("kill", "-KILL", pid)
    wait_for("another concentrator", lambda: state(machine, CONCENTRATOR) == "active"
             and main_pid(machine, CONCENTRATOR) not in ("0", pid))
    machine.run("systemctl", "stop", CONCENTRATOR)
    # What one that is killed had set, nobody puts back.
    assert settings(machine)[1:] == before[1:]


def test_one_command_sets_the_concentrator_up(machine, package):
    """The service's user can read what root's command has written."""
    install(machine, package)
    link = machine.say("bondway", "invite", "home", "--address", "203.0.113.10")
    assert re.search(r"^bondway1://203\.0\.113\.10:7171/\S+#home$", link, re.M)
    start(machine, CONCENTRATOR)
    assert re.search(r"^ +home ", machine.say("bondway", "status"), re.M)
    machine.run("bondway", "invite", "branch", "--address", "203.0.113.10")
    assert re.search(r"^ +branch ", machine.say("bondway", "status"), re.M)


def test_the_gateway_runs_confined(machine, package):
    install(machine, package)
    before = settings(machine)
    set_up_gateway(machine)
    assert has_table(machine)
    assert machine.say("systemctl", "show", "-P", "CapabilityBoundingSet",
                       GATEWAY) == "cap_net_bind_service cap_net_admin"
    log = machine.say("journalctl", "-u", GATEWAY)
    assert not re.search(r"may not|cannot|denied", log), log
    pid = main_pid(machine, GATEWAY)
    machine.run("kill", "-KILL", pid)
    wait_for("another gateway", lambda: main_pid(machine, GATEWAY) not in ("0", pid)
             and has_table(machine))
    machine.run("systemctl", "stop", GATEWAY)
    assert settings(machine) == before


def test_a_mistake_is_not_tried_again(machine, package):
    install(machine, package)
    machine.write("/etc/bondway/concentrator.conf", "listen = 1;\n")
    assert machine.run("systemctl", "start", CONCENTRATOR, check=False).returncode != 0
    assert state(machine, CONCENTRATOR) == "failed"
    assert machine.say("systemctl", "show", "-P", "NRestarts", CONCENTRATOR) == "0"
    assert "concentrator.conf:1: listen is 1; write a list" in machine.say(
        "journalctl", "-u", CONCENTRATOR)


def carries(gateway, server, text):
    gateway.send_data(text)
    assert server.recv(64) == text
    server.sendall(text)
    assert gateway.read_data(len(text)) == text


def test_an_upgrade_cuts_no_flow(machine, package):
    """The new program takes over, and is the service from then on; the old one carries the flow to
    its end. Where the new one cannot start, the old one stays the service."""
    install(machine, package)
    set_up_concentrator(machine, 'allow_destinations = ["127.0.0.0/8"];')
    key = protocol.Key.parse(machine.say("cat", "/etc/bondway/home.key"))
    before = main_pid(machine, CONCENTRATOR)
    with machine.inside():
        listening = socket.create_server(("127.0.0.1", 0))
        gateway = protocol.Gateway(("127.0.0.1", 7171), key)
        assert gateway.welcome().type == protocol.WELCOME
    with listening, gateway:
        assert gateway.open("127.0.0.1", listening.getsockname()[1]) == 0
        server, _ = listening.accept()
        with server:
            carries(gateway, server, b"before")
            machine.write("/etc/bondway/concentrator.conf", "listen = 1;\n")
            install(machine, package)
            assert main_pid(machine, CONCENTRATOR) == before
            machine.write("/etc/bondway/concentrator.conf", CONCENTRATOR_CONF)
            machine.run("systemctl", "reload", CONCENTRATOR)
            heir = main_pid(machine, CONCENTRATOR)
            assert heir not in ("0", before)
            assert machine.say("bondway", "status").startswith("concentrator: up")
            machine.run("systemctl", "reload", CONCENTRATOR)
            assert main_pid(machine, CONCENTRATOR) == heir
            carries(gateway, server, b"after")
    wait_for("the old one to end", lambda: not machine.say("ps", "-o", "pid=", "-p", before,
                                                           check=False))
    machine.run("kill", "-KILL", heir)
    wait_for("another concentrator", lambda: state(machine, CONCENTRATOR) == "active"
             and main_pid(machine, CONCENTRATOR) not in ("0", heir))


def test_a_purge_leaves_nothing(machine, package):
    files, network = inventory(machine), settings(machine)
    install(machine, package)
    set_up_concentrator(machine)
    machine.run("systemctl", "stop", CONCENTRATOR)
    set_up_gateway(machine)
    assert has_table(machine)
    machine.run("dpkg", "--purge", "bondway")
    assert inventory(machine) == files
    assert settings(machine) == network


def test_the_package_tests_itself(machine, package):
    """debian/tests, as autopkgtest would."""
    install(machine, package)
    done = machine.run(machine.give(ROOT / "deploy/debian/tests/concentrator"))
    assert "concentrator: up" in done.stdout


if os.geteuid() != 0:
    pytest.skip("only root can boot a machine", allow_module_level=True)
