"""What the daemons may still do once they run. The concentrator: the rights of an ordinary user, and
CAP_NET_ADMIN, which its sandbox leaves nothing to do but widen send buffers. The gateway and its
guard: of root's capabilities that one alone, in a sandbox of their own."""
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from alone import PROGRAM, Concentrator, accept, destination, port_of, recv_exactly, wait_for
from bonded import Bonded, Lab

NOBODY = pwd.getpwnam("nobody")
CAP_NET_ADMIN = 1 << 12


def give_to_nobody(concentrator, *files):
    for file in files or concentrator.directory.glob("*.key"):
        os.chown(file, NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.fixture
def nobodys(namespace):
    """Configured to become nobody; its files can be reached by everyone, its keys are nobody's."""
    directory = Path(tempfile.mkdtemp(prefix="bondway-rights-"))
    directory.chmod(0o755)
    c = Concentrator(directory)
    c.options["user"] = "nobody"
    c.options["control_socket"] = str(directory / "run" / "control.sock")
    c.socket = directory / "run" / "control.sock"
    c.write()
    give_to_nobody(c)
    try:
        yield c
        if c.process and c.process.poll() is None:
            assert c.end() == 0, c.log()
        assert "Sanitizer" not in c.log() and "runtime error" not in c.log(), c.log()
    finally:
        if c.process and c.process.poll() is None:
            c.process.kill()
            c.process.wait()
        shutil.rmtree(directory)


def status_of(path):
    return dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", path.read_text(), re.M))


def threads_of(process):
    return [status_of(task / "status") for task in Path(f"/proc/{process.pid}/task").iterdir()]


def assert_carries(concentrator):
    with destination() as listening, concentrator.welcomed() as gateway:
        assert gateway.open("127.0.0.1", port_of(listening)) == 0
        with accept(listening) as server:
            gateway.send_data(b"bytes")
            assert recv_exactly(server, 5) == b"bytes"


def test_every_thread_is_an_ordinary_users(nobodys):
    conc = nobodys.start()
    assert_carries(conc)
    threads = threads_of(conc.process)
    assert len(threads) == 3  # two workers
    for thread in threads:
        assert thread["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert thread["Gid"].split() == [str(NOBODY.pw_gid)] * 4
        assert thread["Groups"] == ""
        for name in "CapPrm", "CapEff", "CapBnd":
            assert int(thread[name], 16) == CAP_NET_ADMIN
        for name in "CapInh", "CapAmb":
            assert int(thread[name], 16) == 0
        assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2")
    # Not to be dumped: what is under /proc is root's, then.
    assert os.stat(f"/proc/{conc.process.pid}/environ").st_uid == 0
    assert "runs as root" not in conc.log()


def test_the_socket_is_the_users(nobodys):
    conc = nobodys.start()
    for path in conc.socket, conc.socket.parent:
        assert path.stat().st_uid == NOBODY.pw_uid
    assert conc.ask()["role"] == "concentrator"
    assert conc.end() == 0
    assert not conc.socket.exists()


def test_a_reload_reads_the_keys(nobodys):
    conc = nobodys.start()
    conc.add("office")
    conc.write()
    give_to_nobody(conc)
    conc.reload()
    with conc.welcomed("office"):
        pass


def test_a_handover(nobodys):
    """Root starts the next one, too."""
    conc = nobodys.start()
    old = conc.take_over()
    assert_carries(conc)
    assert old.wait(5) == 0
    assert conc.socket.stat().st_uid == NOBODY.pw_uid


def test_an_heir_that_gets_no_threads(nobodys):
    """The old one goes on: that shows before it has let go."""
    old = nobodys.start().process
    nobodys.wrapper = ["env", "ASAN_OPTIONS=detect_leaks=0", "prlimit", "--nproc=1"]
    nobodys.launch("--take-over")
    assert nobodys.process.wait(5) == 1
    assert "cannot start a thread: Resource temporarily unavailable" in nobodys.log()
    nobodys.process = old
    wait_for(lambda: "did not take over" in nobodys.log(), "it is in the log")
    assert_carries(nobodys)


def limits():
    return subprocess.run(["ip", "mptcp", "limits"], check=True, capture_output=True,
                          text=True).stdout.split()


def test_the_kernel_is_put_back(nobodys):
    stale = Path("/proc/sys/net/mptcp/stale_loss_cnt")
    before = limits(), stale.read_text()
    conc = nobodys.start()
    assert (limits(), stale.read_text()) != before
    assert conc.end() == 0
    assert (limits(), stale.read_text()) == before


def test_keys_that_the_user_may_not_read(nobodys):
    """Said at the start, not by a reload in a year."""
    key = nobodys.directory / "home.key"
    give_to_nobody(nobodys)
    os.chown(key, 0, 0)
    nobodys.launch()
    assert nobodys.process.wait(5) == 1
    assert f"user {NOBODY.pw_uid} may not read {key}" in nobodys.log()
    assert f"chown {NOBODY.pw_uid} {key}" in nobodys.log()


def test_no_such_user(nobodys):
    nobodys.options["user"] = "nobody-at-all"
    nobodys.launch()
    assert nobodys.process.wait(5) == 1
    assert "there is no user nobody-at-all: make it (useradd --system nobody-at-all)" \
        in nobodys.log()


def run_as_nobody(conc):
    conc.write()
    give_to_nobody(conc)
    (conc.directory / "run").mkdir(exist_ok=True)
    give_to_nobody(conc, conc.directory / "run")
    with open(conc.log_file, "ab") as log:
        conc.process = subprocess.Popen(
            ["setpriv", "--reuid", "nobody", "--regid", str(NOBODY.pw_gid), "--clear-groups",
             PROGRAM, "concentrator", "-c", str(conc.config)], stderr=log,
            stdin=subprocess.DEVNULL)


def test_a_user_cannot_become_another(nobodys):
    nobodys.options["user"] = "daemon"
    run_as_nobody(nobodys)
    assert nobodys.process.wait(5) == 1
    assert "cannot become user daemon" in nobodys.log()
    assert "start it as root, or as that user" in nobodys.log()


def test_started_by_the_user(nobodys):
    """As a service manager does it: there is nothing to become, and no capability to keep."""
    run_as_nobody(nobodys)
    wait_for(lambda: "started version=" in nobodys.log() or nobodys.process.poll() is not None,
             "it runs")
    assert_carries(nobodys)
    for thread in threads_of(nobodys.process):
        assert int(thread["CapEff"], 16) == 0 and thread["Seccomp"] == "2"
    assert "may not raise the MPTCP limits" in nobodys.log()


def test_root_without_a_user_keeps_one_capability(conc):
    assert "runs as root: give it a user of its own" in conc.log()
    for thread in threads_of(conc.process):
        assert int(thread["CapEff"], 16) == CAP_NET_ADMIN
        assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2")


def test_own_addresses_are_found_in_the_sandbox(nobodys):
    conc = nobodys.start()
    with conc.welcomed() as gateway:
        assert gateway.open("10.88.0.1", 80) == 4
    assert "egress: denied" in conc.log()


# ---- the gateway ----

def test_the_gateway_and_its_guard_keep_one_capability():
    """Also a guard that is started later, and runs nft."""
    with Lab() as lab, Bonded(lab) as bond:
        guard = guard_of(bond.gateway)
        os.kill(guard, signal.SIGKILL)
        bond.wait_for_log("the guard died: starting another")
        assert guard_of(bond.gateway) != guard
        bond.stop_concentrator()  # interception goes: the new guard runs nft
        bond.wait_for_log("not intercepting")
        for pid in bond.gateway.pid, guard_of(bond.gateway):
            status = status_of(Path(f"/proc/{pid}/status"))
            for name in "CapPrm", "CapEff", "CapBnd":
                assert int(status[name], 16) == CAP_NET_ADMIN
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def guard_of(gateway):
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
    return int(wait_for(lambda: children.read_text().split(), "the gateway has a guard")[0])
