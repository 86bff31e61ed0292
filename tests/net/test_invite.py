"""bondway invite and bondway remove, on the VPS: keys, the configuration, the running concentrator,
the link. Most of it needs no network: the files are looked at. What invite refuses, and in what
words, is in test_messages.py."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import pwd
import re
import stat
import struct
import subprocess
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Tuple

import pytest

from bonded import Bonded, Lab, find_program, wait_for

LINK = r"bondway1://{host}/[A-Za-z0-9_-]{{54}}#{name}\n"
MINE = """# My own words (and a bracket.
listen = [ "127.0.0.1:7171" ];   # where
workers = 1;
gateways = (
    # the first of all
    {{ name = "cabin"; key_file = "{key}"; max_flows = 99; }}   # far away
);
deny_destinations = ["9.9.9.9"];
"""


def bondway(*words, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([find_program(), *map(str, words)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          **kwargs)


def invite(conf: Path, name: str, *words, address: str = "203.0.113.10") -> str:
    """The link, without its newline."""
    result = bondway("invite", name, "-c", conf, "--address", address, *words)
    assert result.returncode == 0, result.stderr
    host = address if re.search(r"\d:\d+$", address) else f"{address}:7171"
    assert re.fullmatch(LINK.format(host=re.escape(host), name=name), result.stdout)
    key = result.stdout.split("/")[3].split("#")[0]
    assert key not in result.stderr and key[12:] not in result.stderr
    return result.stdout.rstrip("\n")


def key_of(link: str) -> str:
    return "bondway1:" + re.search(r"/([A-Za-z0-9_-]{54})#", link)[1]


@pytest.fixture
def conf(tmp_path) -> Path:
    """A configuration as a person has written it, with one gateway."""
    key = tmp_path / "cabin.key"
    key.touch(mode=0o600)
    key.write_text(bondway("keygen").stdout)
    path = tmp_path / "concentrator.conf"
    path.write_text(MINE.format(key=key))
    return path


def test_the_first_gateway_on_a_fresh_vps(tmp_path):
    """There is nothing yet, not even the directory."""
    conf = tmp_path / "etc" / "concentrator.conf"
    link = invite(conf, "home")
    key = conf.parent / "home.key"
    assert key.read_text() == key_of(link) + "\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(conf.stat().st_mode) == 0o644
    assert bondway("concentrator", "--check", "-c", conf).returncode == 0
    assert sorted(os.listdir(conf.parent)) == ["concentrator.conf", "home.key"]


def test_every_byte_of_my_own_stays(conf):
    before = conf.read_text()
    conf.chmod(0o640)
    invite(conf, "home")
    key = conf.parent / "home.key"
    assert conf.read_text() == before.replace(
        "max_flows = 99; }   # far away",
        f'max_flows = 99; }},   # far away\n    {{ name = "home"; key_file = "{key}"; }}')
    assert stat.S_IMODE(conf.stat().st_mode) == 0o640
    assert bondway("remove", "home", "-c", conf).returncode == 0
    assert conf.read_text() == before
    assert not key.exists() and (conf.parent / "cabin.key").exists()


def test_a_configuration_behind_a_link(conf, tmp_path):
    """/etc/bondway/concentrator.conf may lead elsewhere: there it is changed, and the link stays."""
    link = tmp_path / "there" / "concentrator.conf"
    link.parent.mkdir()
    link.symlink_to(conf)
    invite(link, "home")
    assert link.is_symlink() and '"home"' in conf.read_text()


def test_the_same_link_again(conf):
    """It was lost. Nothing changes, until a new one is asked for; then the old one ends."""
    first, text = invite(conf, "home"), conf.read_text()
    assert invite(conf, "home") == first
    assert conf.read_text() == text
    second = invite(conf, "home", "--force")
    assert key_of(second) != key_of(first)
    assert (conf.parent / "home.key").read_text() == key_of(second) + "\n"
    assert conf.read_text() == text


def test_a_new_key_beside_the_old_one(conf):
    """The old one stays good until it is retired: not before the gateway has used the new one."""
    key = conf.parent / "home.key"
    old = invite(conf, "home")
    new = invite(conf, "home", "--rotate")
    assert key_of(new) != key_of(old)
    both = f"{key_of(old)}\n{key_of(new)}\n"
    assert key.read_text() == both and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert bondway("concentrator", "--check", "-c", conf).returncode == 0
    for words in [], ["--rotate"]:
        assert invite(conf, "home", *words) == new
    assert bondway("invite", "home", "-c", conf, "--retire").returncode == 1
    assert key.read_text() == both
    alone = invite(conf, "home", "--force")
    assert key.read_text() == key_of(alone) + "\n"
    result = bondway("invite", "home", "-c", conf, "--retire")
    assert (result.returncode, result.stdout, result.stderr) == (
        0, "", 'Gateway "home" has one key: there is no old one.\n')


def test_a_key_that_is_there_already(conf):
    """An invitation that was broken off has left it."""
    key = conf.parent / "home.key"
    key.touch(mode=0o600)
    key.write_text(bondway("keygen").stdout)
    assert key_of(invite(conf, "home")) + "\n" == key.read_text()


def test_a_key_that_another_gateway_has(conf):
    """Renamed by hand, but for its key file: by no means does it lose it."""
    conf.write_text(conf.read_text().replace('name = "cabin"', 'name = "office"'))
    before = (conf.read_text(), (conf.parent / "cabin.key").read_text())
    for words in [], ["--force"]:
        result = bondway("invite", "cabin", "-c", conf, "--address", "203.0.113.10", *words)
        assert result.returncode == 1
        assert f'{conf.parent / "cabin.key"} is the key of gateway "office"' in result.stderr
        assert (conf.read_text(), (conf.parent / "cabin.key").read_text()) == before
    assert bondway("concentrator", "--check", "-c", conf).returncode == 0


def test_a_configuration_without_gateways(tmp_path):
    """What else it says holds already."""
    path = tmp_path / "concentrator.conf"
    path.write_text('listen = ["0.0.0.0:443", "[::]:443"];\nuser = "nobody";\n')
    result = bondway("invite", "home", "-c", path, "--address", "vps.example.org")
    assert re.fullmatch(LINK.format(host="vps.example.org:443", name="home"), result.stdout)
    assert (tmp_path / "home.key").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize("address,host", [
    ("203.0.113.10:443", "203.0.113.10:443"), ("2001:db8::1", "[2001:db8::1]:7171"),
    ("[2001:db8::1]:99", "[2001:db8::1]:99"), ("vps.example.org", "vps.example.org:7171")])
def test_addresses(conf, address, host):
    result = bondway("invite", "home", "-c", conf, "--address", address)
    assert re.fullmatch(LINK.format(host=re.escape(host), name="home"), result.stdout)


def test_many_at_once(conf):
    """Whoever comes first: none is lost."""
    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(lambda n: invite(conf, f"g{n}"), range(8)))
    assert len({key_of(link) for link in links}) == 8
    assert bondway("concentrator", "--check", "-c", conf).returncode == 0
    assert set(re.findall(r'name = "(\w+)"', conf.read_text())) == {"cabin", *(
        f"g{n}" for n in range(8))}


def test_remove_one_whose_key_is_gone(conf):
    """By hand: then the configuration is broken, and remove mends it."""
    invite(conf, "home")
    (conf.parent / "home.key").unlink()
    result = bondway("remove", "home", "-c", conf)
    assert (result.returncode, result.stderr) == (
        0, f'Removed "home" from {conf}, and its key.\n')


# ---- the QR code ----

def on_a_terminal(columns: int, lines: int, *words, **environment: str) -> Tuple[str, str]:
    """invite on a terminal of that size: what stands there then, and its complaints."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    with subprocess.Popen(
            [find_program(), "invite", "home", *map(str, words)], stdin=subprocess.DEVNULL,
            stdout=theirs, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment}) as program:
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # its end
            while True:
                output += os.read(ours, 4096)
        os.close(ours)
        complaints = program.stderr.read()
    assert program.returncode == 0, complaints
    return output.decode().replace("\r\n", "\n"), complaints


def picture_of(code: str) -> bytes:
    """As a camera sees it, each module as 4 by 4 pixels. Each line is dark on light, to its end."""
    rows = []
    for line in code.splitlines():
        characters = re.fullmatch("\033\\[30;47m([ ▄▀█]+)\033\\[0m", line)[1]
        for dark in "▀█", "▄█":
            row = b"".join((b"\0" if each in dark else b"\xff") * 4 for each in characters)
            rows += [row] * 4
    return b"P5 %d %d 255\n" % (len(rows[0]), len(rows)) + b"".join(rows)


def test_the_link_as_a_qr_code(conf, tmp_path):
    """A phone reads from an 80 by 24 terminal what the line above says, and all of it is in sight."""
    shown, _ = on_a_terminal(80, 24, "-c", conf, "--address", "vps.some-provider.example")
    link, code = shown.split("\n", 1)
    assert re.fullmatch(LINK.format(host="vps[.]some-provider[.]example:7171", name="home"), f"{link}\n")
    assert len(code.splitlines()) < 24
    picture = tmp_path / "code.pgm"
    picture.write_bytes(picture_of(code))
    read = subprocess.run(["zbarimg", "--quiet", "--raw", picture], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=True)
    assert read.stdout == f"{link}\n"


def test_no_room_for_a_qr_code(conf):
    """It says how much it takes; and prints none where it could not be seen as one."""
    size = "this link's takes 45 columns and 24 lines, and this terminal has"
    for columns, lines in (44, 24), (80, 23):
        shown, complaints = on_a_terminal(columns, lines, "-c", conf, "--address", "a" * 35)
        assert shown.count("\n") == 1
        assert complaints.endswith(f"\nNo QR code: {size} {columns} and {lines}.\n")
    assert on_a_terminal(45, 24, "-c", conf, "--address", "a" * 35)[0].count("\n") == 1 + 23
    for environment in {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}:
        shown, complaints = on_a_terminal(80, 24, "-c", conf, "--address", "::1", **environment)
        assert shown.count("\n") == 1 and "QR" not in complaints


def test_a_running_concentrator():
    """It takes a new gateway over at once, and a removed one out; the address is its public one."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        conf = bond.concentrator_conf

        def run(*words):
            return lab.vps.run([bond.program, *words, "-c", conf], check=False)

        def names():
            return [gateway["name"] for gateway in bond.concentrator_status()["gateways"]]

        result = run("invite", "cabin")
        assert result.returncode == 0, result.stderr
        assert re.fullmatch(LINK.format(host=f"{re.escape(lab.vps.address)}:7171", name="cabin"),
                            result.stdout)
        interface, = re.findall(rf"^Gateways reach this host at {lab.vps.address} \(of (\S+)\); if "
                                r"not, say --address HOST\.$", result.stderr, re.M)
        assert interface in lab.vps.run(["ip", "-br", "address"]).stdout
        assert "The running concentrator has taken it over.\n" in result.stderr
        assert names() == ["home", "cabin"]

        assert run("remove", "cabin").returncode == 0
        assert names() == ["home"]

        conf.write_text(conf.read_text() + 'listen_to_me = 1;\n')
        assert run("remove", "home").returncode == 2
        assert names() == ["home"]


def test_a_concentrator_of_another_configuration():
    """-c names a file that is not the running one's: it must not look as if all were well."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        other = bond.write("other.conf", bond.concentrator_conf.read_text())
        result = lab.vps.run([bond.program, "invite", "cabin", "-c", other], check=False)
        assert result.returncode == 1
        assert ("bondway invite: the running concentrator has read its configuration anew, but that "
                f"is not {other}: name the right one with -c\n") in result.stderr


def test_a_key_for_the_user_that_the_concentrator_runs_as():
    """It must be able to read it."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        user = 65534
        for path in bond.directory, bond.key_file, bond.concentrator_conf:
            os.chown(path, user, user)
        bond.start_concentrator(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"])
        result = lab.vps.run([bond.program, "invite", "cabin", "-c", bond.concentrator_conf],
                             check=False)
        assert result.returncode == 0, result.stderr
        key = (bond.directory / "cabin.key").stat()
        assert (key.st_uid, stat.S_IMODE(key.st_mode)) == (user, 0o600)
        wait_for(lambda: len(bond.concentrator_status()["gateways"]) == 2, 5, "the new gateway")
