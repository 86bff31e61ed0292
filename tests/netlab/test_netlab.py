"""Every test of the project trusts the lab's links; this one does not. What was asked of a link is
held against what packets meet on it, by netlab-probe and by TCP."""
import contextlib
import json
import math
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import netlab  # noqa: E402
from netlab import Lab, LabError, Uplink, wait_for  # noqa: E402

HERE = Path(__file__).resolve().parent
MAX_PAYLOAD = 1472
EXACT = 0.02  # of a rate
# A measurement that another load on this machine has spoilt says nothing about the emulator.
TRIES = 3

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


# --- Tools ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """The path of netlab-probe: $NETLAB_PROBE, the build tree's, or compiled here."""
    built = HERE.parents[1] / "build/tests/netlab/netlab-probe"
    given = os.environ.get("NETLAB_PROBE") or (str(built) if built.exists() else "")
    if given:
        return given
    program = str(tmp_path_factory.mktemp("probe") / "netlab-probe")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", program,
                    HERE / "probe.c"], check=True)
    return program


@pytest.fixture(scope="module")
def lab():
    with Lab([Uplink("wire"), Uplink("ppp", ppp=True)]) as raised:
        yield raised


@pytest.fixture
def link(lab):
    """An uplink in its pristine state: no limits, no delay, nothing broken."""
    return pristine(lab.uplink("wire"))


def pristine(uplink):
    uplink.set(rate=0, delay=0, jitter=0, loss=0, queue_ms=100, strip_mptcp=False)
    uplink.drop(None)
    uplink.carrier(True)
    return uplink


def wire_bytes(payload, address):
    return payload + 8 + (40 if ":" in address else 20) + 14


def ends(uplink, direction, v6=False):
    """(from host, to host, its address) of packets that cross the uplink in that direction."""
    lab = uplink.lab
    if direction == "down":
        return lab.internet, lab.router, uplink.address6 if v6 else uplink.address
    return lab.router, lab.internet, uplink.gateway6 if v6 else uplink.gateway


def start_probe(probe, uplink, direction, mbps=0.0, per_second=0.0, seconds=1.0,
                payload=MAX_PAYLOAD, v6=False):
    """Sends at mbps on the wire, or so many packets per second."""
    sender, receiver, address = ends(uplink, direction, v6)
    per_second = per_second or mbps * 1e6 / 8 / wire_bytes(payload, address)
    process = subprocess.Popen([probe, sender.namespace, receiver.namespace, address,
                                str(per_second), str(seconds), str(payload)],
                               stdout=subprocess.PIPE, text=True)

    def finish():
        output, _ = process.communicate(timeout=60)
        result = json.loads(output)
        bits = (result["received"] - 1) * wire_bytes(payload, address) * 8
        result["mbps"] = bits / result["seconds"] / 1e6 if result["seconds"] else 0
        return result

    return finish


def run_probe(*args, **options):
    return start_probe(*args, **options)()


def again_if_spoilt(measure, is_exact):
    for _ in range(TRIES):
        result = measure()
        if is_exact(result):
            break
    return result


@contextlib.contextmanager
def tcp_pair(client, server, address, protocol=0, port=0):
    """A connection from the client to the server's address: (client's end, server's end)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.socket(family, socket.SOCK_STREAM, protocol) as listener, \
            client.socket(family, socket.SOCK_STREAM, protocol) as near:
        listener.bind((address, port))
        listener.listen()
        listener.settimeout(10)
        near.settimeout(10)
        near.connect(listener.getsockname()[:2])
        far, _ = listener.accept()
        with far:
            far.settimeout(10)
            yield near, far


def tcp_rate(sender, receiver, settle=1.0, seconds=1.5):
    """What arrives, in Mb/s of payload, once the sender has found its speed."""
    stop = threading.Event()

    def send():
        block = bytes(1 << 20)
        with contextlib.suppress(OSError):
            while not stop.is_set():
                sender.send(block)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        buffer = bytearray(1 << 20)
        start = time.monotonic()
        begin, got = 0.0, 0
        while True:
            count = receiver.recv_into(buffer)
            now = time.monotonic()
            if begin:
                got += count
                if now > begin + seconds:
                    return got * 8 / (now - begin) / 1e6
            elif now > start + settle:
                begin = now
    finally:
        stop.set()
        receiver.close()
        thread.join()


def send_datagrams(uplink, direction, count=5, v6=False):
    """Sends them across, and returns the socket where they should arrive."""
    sender, receiver, address = ends(uplink, direction, v6)
    family = socket.AF_INET6 if v6 else socket.AF_INET
    inbox = receiver.socket(family, socket.SOCK_DGRAM)
    inbox.bind((address, 0))
    with sender.socket(family, socket.SOCK_DGRAM) as outbox:
        for number in range(count):
            outbox.sendto(bytes([number]), inbox.getsockname()[:2])
    return inbox


def arrive(inbox, count=5):
    with inbox:
        inbox.settimeout(5)
        return [inbox.recv(16)[0] for _ in range(count)] == list(range(count))


def nothing_arrived(inbox):
    with inbox:
        return not select.select([inbox], [], [], 0)[0]


def dropped(uplink, direction, cause):
    return uplink.stats()[direction]["dropped"][cause]


def is_running(pid):
    """Zombies have ended: whether their parent has noticed is not our affair."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# --- Rates, delays, losses --------------------------------------------------------------------


@pytest.mark.parametrize("mbps", [20, 100, 500])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_rate_is_what_was_asked(probe, link, mbps, direction):
    link.set(**{f"rate_{direction}": mbps})
    result = again_if_spoilt(lambda: run_probe(probe, link, direction, mbps=mbps * 1.1),
                             lambda r: r["mbps"] == pytest.approx(mbps, rel=EXACT))
    assert result["mbps"] == pytest.approx(mbps, rel=EXACT)
    assert result["reordered"] == 0


def test_both_ways_at_once(probe, link):
    """Five busy processes: twice 500 Mb/s are about what two processors of 2026 can do with them."""
    link.set(rate=150, delay=10)

    def measure():
        both = [start_probe(probe, link, direction, mbps=165) for direction in ("up", "down")]
        return [finish()["mbps"] for finish in both]

    rates = again_if_spoilt(measure, lambda r: r == pytest.approx([150, 150], rel=EXACT))
    assert rates == pytest.approx([150, 150], rel=EXACT)


@pytest.mark.parametrize("mbps", [20, 100, 500])
def test_tcp_gets_the_rate_less_its_headers(lab, link, mbps):
    link.set(rate=mbps, delay=5)

    def measure():
        with tcp_pair(lab.router, lab.internet, link.gateway) as (near, far):
            return tcp_rate(far, near) * 1514 / 1448

    assert again_if_spoilt(measure, lambda r: r == pytest.approx(mbps, rel=EXACT)) == \
        pytest.approx(mbps, rel=EXACT)


def test_small_packets_are_counted_with_their_headers(probe, link):
    link.set(rate_down=4)
    result = run_probe(probe, link, "down", mbps=4.4, payload=100)
    assert result["mbps"] == pytest.approx(4, rel=EXACT)


def test_rate_changes_in_mid_run(probe, link):
    """What is queued from then on leaves at the new rate; nothing is lost or stands still."""
    link.set(rate_down=20, queue_ms=50)
    finish = start_probe(probe, link, "down", mbps=22, seconds=2)
    before = link.stats()["down"]["packets"]
    wait_for(lambda: link.stats()["down"]["packets"] > before + 1650, 10, "a second's packets")
    link.set(rate_down=5)
    slots = finish()["slots"]
    full, slow = 20e6 / 8 / 1514 / 10, 5e6 / 8 / 1514 / 10
    assert sum(slots[:8]) / 8 == pytest.approx(full, rel=0.03)
    assert sum(slots[-6:-1]) / 5 == pytest.approx(slow, rel=0.05)


@pytest.mark.parametrize("ms", [0, 10, 75])
def test_delay_is_what_was_asked(probe, link, ms):
    link.set(delay_up=ms, delay_down=5)
    up = run_probe(probe, link, "up", per_second=200, seconds=0.5, payload=64)["delay_ms"]
    assert ms <= up["min"]
    assert up["median"] == pytest.approx(ms, abs=0.5)


def test_jitter_stays_in_its_bounds_and_in_order(probe, link):
    link.set(delay=20, jitter=10)
    result = again_if_spoilt(
        lambda: run_probe(probe, link, "down", per_second=2000, seconds=2, payload=64),
        lambda r: r["delay_ms"]["p99"] <= 30.5)
    delay = result["delay_ms"]
    assert result["received"] == result["sent"] and result["reordered"] == 0
    assert 20 <= delay["min"] <= 22 and 28 <= delay["p99"] <= 30.5
    assert 23 < delay["mean"] < 27


@pytest.mark.parametrize("percent", [0.5, 20])
def test_loss_is_random_and_as_frequent_as_asked(probe, link, percent):
    link.set(loss_down=percent)
    before = dropped(link, "down", "loss")
    result = run_probe(probe, link, "down", per_second=20000, seconds=1, payload=64)
    lost, sent = result["sent"] - result["received"], result["sent"]
    share = percent / 100
    assert abs(lost - sent * share) <= 3.9 * math.sqrt(sent * share * (1 - share))
    assert dropped(link, "down", "loss") - before == lost
    assert arrive(send_datagrams(link, "up", 50), 50), "the other direction loses nothing"


def survivors(link, direction, seed, count=64):
    """Which of so many datagrams arrive; None where a packet of somebody else's was among them."""
    link.seed(seed)
    before = link.stats()[direction]
    inbox = send_datagrams(link, direction, count)

    def drawn():
        now = link.stats()[direction]
        passed = now["packets"] - before["packets"]
        return (passed, passed + now["dropped"]["loss"] - before["dropped"]["loss"])

    passed, all_of_them = wait_for(lambda: drawn()[1] >= count and drawn())
    with inbox:
        inbox.settimeout(5)
        return [inbox.recv(16)[0] for _ in range(passed)] if all_of_them == count else None


@pytest.mark.parametrize("direction", ["up", "down"])
def test_the_same_seed_loses_the_same(link, direction):
    link.set(loss=50)
    first, again, other = (wait_for(lambda seed=seed: survivors(link, direction, seed))
                           for seed in (7, 7, 8))
    assert first == again != other


def test_queue_limit_in_time_is_the_delay_under_load(probe, link):
    link.set(rate_down=10, delay=5, queue_ms=60)
    result = run_probe(probe, link, "down", mbps=15)
    assert result["delay_ms"]["median"] == pytest.approx(5 + 60, abs=2.5)
    assert result["received"] < result["sent"]


def test_queue_limit_in_bytes(probe, link):
    link.set(rate_down=10, queue_bytes=50000)
    result = run_probe(probe, link, "down", mbps=15)
    assert result["delay_ms"]["median"] == pytest.approx(40, abs=2.5)
    assert link.stats()["down"]["queue_bytes"] == 50000


# --- Failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["up", "down", "both"])
def test_silent_drop(link, which):
    """Nothing passes, and neither end is told."""
    link.drop(which)
    for direction in ("up", "down"):
        before = dropped(link, direction, "silent")
        inbox = send_datagrams(link, direction)
        if which in (direction, "both"):
            wait_for(lambda: dropped(link, direction, "silent") >= before + 5)
            assert nothing_arrived(inbox)
        else:
            assert arrive(inbox)
    assert operstate(link) == "UNKNOWN" or operstate(link) == "UP"
    link.drop(None)
    assert arrive(send_datagrams(link, "up")) and arrive(send_datagrams(link, "down"))


def operstate(uplink):
    shown = uplink.lab.router.run(["ip", "-json", "link", "show", uplink.interface]).stdout
    return json.loads(shown)[0]["operstate"]


@pytest.mark.parametrize("name", ["wire", "ppp"])
def test_carrier(lab, name):
    """The router sees the cable go; what was on its way is lost; all is well once it is back."""
    link = pristine(lab.uplink(name))
    link.set(delay=1000)
    inbox = send_datagrams(link, "down")
    before = dropped(link, "down", "carrier")
    wait_for(lambda: link.stats()["down"]["backlog_bytes"] == 0)
    link.carrier(False)
    assert operstate(link) == "DOWN"
    assert dropped(link, "down", "carrier") >= before + 5
    lost = send_datagrams(link, "down")
    wait_for(lambda: dropped(link, "down", "carrier") >= before + 10)
    link.set(delay=0)
    link.carrier(True)
    assert operstate(link) != "DOWN"
    assert arrive(send_datagrams(link, "up")) and arrive(send_datagrams(link, "down"))
    assert nothing_arrived(inbox) and nothing_arrived(lost)


def test_mptcp_options_can_be_stripped(lab, link):
    """Such a middlebox leaves a working plain TCP connection, over IPv4 and IPv6."""
    tcp_is_mptcp, mptcp = 43, 262
    for address in (link.gateway, link.gateway6):
        for strip in (False, True):
            link.set(strip_mptcp=strip)
            with tcp_pair(lab.router, lab.internet, address, mptcp) as (near, far):
                near.sendall(b"hello")
                assert far.recv(16) == b"hello"
                assert near.getsockopt(socket.IPPROTO_TCP, tcp_is_mptcp) == (not strip)


# --- The topology -----------------------------------------------------------------------------


def test_every_host_is_reached_from_the_lan(lab, link):
    """Un-proxied traffic of the LAN leaves by the first uplink, masqueraded, as at home."""
    hosts = [lab.vps, *lab.destinations]
    for host in hosts:
        with tcp_pair(lab.client, host, host.address) as (_, far):
            assert far.getpeername()[0] == link.address
        with tcp_pair(lab.client, host, host.address6) as (_, far):
            assert far.getpeername()[0] == link.address6
    assert len({host.address for host in hosts}) == 3


@pytest.mark.parametrize("v6", [False, True])
def test_point_to_point_uplink(lab, probe, v6):
    uplink = pristine(lab.uplink("ppp"))
    uplink.set(rate_down=50, delay=10)
    result = run_probe(probe, uplink, "down", mbps=55, seconds=0.5, payload=1200, v6=v6)
    assert result["mbps"] == pytest.approx(50, rel=EXACT)
    assert result["delay_ms"]["min"] >= 10
    routes = lab.router.run(["ip", "-json", "route", "show", "default", "dev", "ppp"]).stdout
    assert "gateway" not in json.loads(routes)[0]
    assert "POINTOPOINT" in lab.router.run(["ip", "link", "show", "ppp"]).stdout


def test_ipv6_is_shaped_too(probe, link):
    link.set(rate_up=30, delay=10)
    result = run_probe(probe, link, "up", mbps=33, seconds=0.5, payload=1400, v6=True)
    assert result["mbps"] == pytest.approx(30, rel=EXACT)


@pytest.mark.parametrize("name, addresses", [
    ("wire", ["21.0.1.77", "21.0.99.5/24", "21.0.1.2/24"]), ("ppp", ["21.0.2.77", "21.0.2.2"])])
def test_address_changes_while_running(lab, name, addresses):
    """The new address works at once, the old one is gone, and the default route is the uplink's
    own as before."""
    uplink = pristine(lab.uplink(name))
    uplink.set_address(None)
    assert name not in lab.router.run(["ip", "-4", "route"]).stdout
    for address in addresses:
        uplink.set_address(address)
        assert uplink.address == address.partition("/")[0]
        with tcp_pair(lab.internet, lab.router, uplink.address):
            pass
        shown = lab.router.run(["ip", "-4", "-json", "addr", "show", "dev", name]).stdout
        assert [each["local"] for each in json.loads(shown)[0]["addr_info"]] == [uplink.address]
        assert f"dev {name}" in lab.router.run(["ip", "-4", "route", "show", "default"]).stdout


def test_provider_refuses_a_foreign_source_address(lab, link):
    """Source routing that is wrong must not work by accident."""
    other = lab.uplink("ppp")
    with lab.internet.socket(kind=socket.SOCK_DGRAM) as inbox, \
            lab.router.socket(kind=socket.SOCK_DGRAM) as outbox:
        inbox.bind((link.gateway, 0))
        outbox.bind((other.address, 0))
        before = link.stats()["up"]["packets"]
        outbox.sendto(b"spoofed", inbox.getsockname())
        wait_for(lambda: link.stats()["up"]["packets"] > before)
        assert arrive(send_datagrams(link, "up"))
        assert not select.select([inbox], [], [], 0)[0]


def test_congestion_control_is_the_one_asked_for():
    for name in ("cubic", "reno"):
        with Lab([Uplink("one")], congestion=name) as raised, \
                tcp_pair(raised.client, raised.vps, raised.vps.address) as both:
            for end in both:
                used = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                assert used.rstrip(b"\0").decode() == name


def test_destinations_can_be_far_away():
    with Lab([Uplink("one", delay=5)], destinations=(0, 30)) as raised:
        for host, expected in zip(raised.destinations, (10, 70)):
            with tcp_pair(raised.client, host, host.address) as (near, far):
                near.sendall(b"ping")
                start = time.monotonic()
                far.sendall(far.recv(16))
                near.recv(16)
                near.sendall(b"ping")
                far.recv(16)
                took = (time.monotonic() - start) * 1000
            assert took >= expected + expected / 2 - 1


def test_two_labs_at_once(lab, link):
    """The same addresses, and nothing in common."""
    with Lab([Uplink("wire")]) as second:
        assert second.uplink("wire").address == link.address
        second.uplink("wire").drop("both")
        assert arrive(send_datagrams(link, "up"))
        second.uplink("wire").drop(None)
        before = link.stats()["up"]["packets"]
        with tcp_pair(second.client, second.vps, second.vps.address) as (near, far):
            near.sendall(b"x")
            assert far.recv(1) == b"x"
        assert link.stats()["up"]["packets"] == before
        assert {second.name, lab.name} <= set(netlab.running_labs())
    with tcp_pair(lab.client, lab.vps, lab.vps.address):
        pass


def test_nothing_of_the_lab_shows_outside(lab):
    shown = subprocess.run(["ip", "-json", "addr"], check=True, capture_output=True, text=True)
    names = {device["ifname"] for device in json.loads(shown.stdout)}
    assert not names & {"wire", "ppp", "up-wire", "up-ppp", "br-lan", "lan1", "vps"}
    assert lab.vps.address not in shown.stdout


def test_settings_that_make_no_sense_change_nothing(link):
    before = link.stats()
    for line in ("set up rate=fast", "set down loss=101", "set sideways rate=1", "set up delay=1",
                 "set up rate=7 nonsense=1", "carrier maybe", "seed", "seed 7x", "hello", ""):
        with pytest.raises(LabError):
            link.command(line)
    with pytest.raises(LabError):
        link.set(speed=3)
    after = link.stats()
    assert {k: v for k, v in after["up"].items() if k.endswith(("_ms", "_bps", "_percent"))} == \
        {k: v for k, v in before["up"].items() if k.endswith(("_ms", "_bps", "_percent"))}


# --- Taking it down ---------------------------------------------------------------------------


OWNER = """
import sys
sys.path.insert(0, {here!r})
from netlab import Lab, Uplink
with Lab([Uplink("one"), Uplink("two")], name={name!r}) as lab:
    stubborn = lab.router.popen(["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 9; done"])
    print(lab.name, stubborn.pid, *[process.pid for process in lab._processes], flush=True)
    {then}
"""


def start_owner(then):
    script = OWNER.format(here=str(HERE), name=f"bw-{secrets.token_hex(4)}", then=then)
    owner = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    name, *pids = owner.stdout.readline().split()
    assert name in netlab.running_labs() and all(map(is_running, pids)) and len(pids) >= 4
    return owner, name, pids


def nothing_is_left(name, pids):
    return not (any(map(is_running, pids)) or name in netlab.running_labs()
                or netlab._directory_of(name).exists()
                or any(name.encode() in line for line in command_lines()))


def command_lines():
    lines = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                lines.append(Path(entry.path, "cmdline").read_bytes())
    return lines


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_everything_goes_when_the_owner_is_killed(number):
    owner, name, pids = start_owner("sys.stdin.read()")
    with owner:
        owner.send_signal(number)
        owner.wait(20)
        wait_for(lambda: nothing_is_left(name, pids), 10, "the keeper's work")


def test_everything_goes_after_an_exception():
    owner, name, pids = start_owner("sys.stdin.read(); 1 / 0")
    with owner:
        owner.stdin.close()
        assert owner.wait(20) == 1
        assert nothing_is_left(name, pids)


@pytest.mark.parametrize("hosts", [1, 4])
def test_owner_killed_while_raising_leaves_nothing(hosts):
    name = f"bw-{secrets.token_hex(4)}"
    script = OWNER.format(here=str(HERE), name=name, then="pass")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as owner:
        wait_for(lambda: len(netlab._namespaces(name)) >= hosts, 10)
        owner.kill()
    wait_for(lambda: nothing_is_left(name, []), 10, "the keeper's work")


def test_command_line():
    """A lab outlives `netlab up`, is changed from outside, and ends with `netlab down`."""
    def run(*words):
        done = subprocess.run([sys.executable, HERE / "netlab", *words], text=True,
                              capture_output=True, check=True, timeout=30)
        return done.stdout

    name = run("up", "--uplink", "dsl,down=50,up=10,delay=10", "--uplink", "lte,ppp=on").split()[0]
    try:
        assert name in run("list").split()
        run("set", name, "dsl", "rate_down=7", "loss_up=1.5", "carrier=off", "address=21.0.1.9")
        status = run("status", name)
        assert "7 Mb/s" in status and "loss 1.5 %" in status and "cable pulled" in status
        assert "21.0.1.9" in run("exec", name, "router", "ip", "addr", "show", "dsl")
    finally:
        run("down", name)
    assert name not in run("list").split()
    assert not netlab._directory_of(name).exists()
