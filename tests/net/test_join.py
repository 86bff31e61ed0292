"""bondway join and bondway remove on the router: the link, however it is pasted; the key; the
configuration, new or a person's own; and whether it works, looked at by every uplink. What it says
to a link or a router that is no good is in test_messages.py."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import stat
import subprocess
from pathlib import Path
from typing import Dict

import pytest

from bonded import PORT, Bonded, Lab, find_program, wait_for
from traffic import pair, read, wait_for_reset

MINE = """# My router (1.
lan_interfaces = ["br-lan"];
uplinks = ( { name = "dsl"; interface = "ppp0"; }, { name = "lte"; interface = "wwan0"; } );
concentrators = (
  { name = "old"; address = "203.0.113.99"; port = 443; key_file = "%s"; }  # the old one
);
"""


def bondway(*words, link: str = "", **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([find_program(), *map(str, words)], input=link, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, **kwargs)


def new_link(tmp_path: Path, name: str = "home", address: str = "203.0.113.10:7171") -> str:
    conf = tmp_path / "vps" / "concentrator.conf"
    return bondway("invite", name, "-c", conf, "--address", address, "--force").stdout


def key_of(link: str) -> str:
    return "bondway1:" + re.search(r"/([\w-]{54})#", link)[1]


def join(conf: Path, link: str, *words, **kwargs) -> subprocess.CompletedProcess:
    """What it says must not hold the key."""
    result = bondway("join", "-c", conf, "--no-check", *words, link=link, **kwargs)
    found = re.search(r"/([\w-]{54})#", link)
    assert not found or found[1][12:] not in result.stdout + result.stderr
    return result


@pytest.fixture
def conf(tmp_path) -> Path:
    """As a person has written it, with another concentrator."""
    key = tmp_path / "old.key"
    key.touch(mode=0o600)
    key.write_text(bondway("keygen").stdout)
    path = tmp_path / "gateway.conf"
    path.write_text(MINE % key)
    return path


def entry(conf: Path, name: str = "vps", at: str = "203.0.113.10", port: int = 7171) -> str:
    return (f'{{ name = "{name}"; address = "{at}"; port = {port}; '
            f'key_file = "{conf.parent / name}.key"; }}')


# --- Files ----------------------------------------------------------------------------------------


def test_a_second_concentrator_in_my_own_configuration(conf, tmp_path):
    """Every byte of my own stays; and stays when it is removed again."""
    before, link = conf.read_text(), new_link(tmp_path)
    result = join(conf, link)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == (
        f'Joined as "home": concentrator "vps" at 203.0.113.10:7171 is in {conf}, its key in '
        f"{tmp_path / 'vps.key'}.\nNo gateway runs here now: start it with `bondway gateway`.\n")
    key = tmp_path / "vps.key"
    assert key.read_text() == key_of(link) + "\n"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert conf.read_text() == before.replace("; }  # the old one",
                                              f"; }},  # the old one\n  {entry(conf)}")
    assert bondway("gateway", "--check", "-c", conf).returncode == 0

    result = bondway("remove", "vps", "-c", conf)
    assert (result.returncode, result.stderr) == (0, f'Removed "vps" from {conf}, and its key.\n')
    assert conf.read_text() == before and not key.exists()


def test_the_same_link_again(conf, tmp_path):
    link = new_link(tmp_path)
    assert join(conf, link).returncode == 0
    text = conf.read_text()
    for words in [], ["--name", "another"], ["--force"]:
        result = join(conf, link, *words)
        assert (result.returncode, result.stderr) == (
            0, f'{conf} has this concentrator already, as "vps", with this key.\n')
    assert conf.read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["gateway.conf", "old.key", "vps", "vps.key"]


def test_what_differs_is_replaced_by_force_alone(conf, tmp_path):
    first = new_link(tmp_path)
    join(conf, first)
    text = conf.read_text()
    second = new_link(tmp_path)  # the VPS has made a new key
    assert join(conf, second).returncode == 1
    assert (tmp_path / "vps.key").read_text() == key_of(first) + "\n"
    assert join(conf, second, "--force").returncode == 0
    assert conf.read_text() == text
    assert (tmp_path / "vps.key").read_text() == key_of(second) + "\n"


def test_a_name_that_another_one_has(conf, tmp_path):
    before, link = conf.read_text(), new_link(tmp_path)
    assert join(conf, link, "--name", "old").returncode == 1
    assert conf.read_text() == before
    assert join(conf, link, "--name", "old", "--force").returncode == 0
    assert entry(conf, "old") in conf.read_text() and "203.0.113.99" not in conf.read_text()


# --- Links, however they are pasted -----------------------------------------------------------------


def two(conf: Path, tmp_path: Path) -> None:
    """Of whom the second has another name than usual."""
    assert join(conf, new_link(tmp_path, "one", "203.0.113.11:7171")).returncode == 0
    assert join(conf, new_link(tmp_path, "two", "203.0.113.12:7171"), "--name", "vps2").returncode == 0


def contents(conf: Path) -> Dict[str, str]:
    return {path.name: path.read_text() for path in conf.parent.iterdir() if path.is_file()}


def test_a_new_key_of_one_that_has_another_name(conf, tmp_path):
    """The address tells which one is meant; the others keep their keys."""
    two(conf, tmp_path)
    before = contents(conf)
    link = new_link(tmp_path, "two", "203.0.113.12:7171")
    assert "as \"vps2\", with another key" in join(conf, link).stderr
    assert contents(conf) == before
    assert join(conf, link, "--force").returncode == 0
    assert contents(conf) == {**before, "vps2.key": key_of(link) + "\n"}
    result = join(conf, link)
    assert (result.returncode, result.stderr) == (
        0, f'{conf} has this concentrator already, as "vps2", with this key.\n')


def test_a_name_and_an_address_that_belong_to_two(conf, tmp_path):
    two(conf, tmp_path)
    before = contents(conf)
    result = join(conf, new_link(tmp_path, "two", "203.0.113.12:7171"), "--name", "old", "--force")
    assert (result.returncode, contents(conf)) == (1, before)
    assert 'concentrator "vps2" has the address and port of "old"' in result.stderr


def test_a_key_file_that_another_one_has(conf, tmp_path):
    """Renamed by hand, but for its key file."""
    assert join(conf, new_link(tmp_path)).returncode == 0
    conf.write_text(conf.read_text().replace('name = "vps"', 'name = "berlin"'))
    before = contents(conf)
    link = new_link(tmp_path, "two", "203.0.113.12:7171")
    for words in [], ["--force"]:
        result = join(conf, link, *words)
        assert (result.returncode, contents(conf)) == (1, before)
        assert f'{tmp_path / "vps.key"} is the key of "berlin"' in result.stderr
    assert join(conf, link, "--name", "paris").returncode == 0


def with_little_room() -> None:
    """For a key, but for no configuration."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))


def test_a_configuration_that_cannot_be_written(conf, tmp_path):
    """Then the key is what it was."""
    assert join(conf, new_link(tmp_path)).returncode == 0
    before = contents(conf)
    result = join(conf, new_link(tmp_path), "--force", preexec_fn=with_little_room)
    assert (result.returncode, contents(conf)) == (1, before)
    assert f"{conf}: cannot be written: File too large" in result.stderr


def test_a_key_that_others_may_read(conf, tmp_path):
    """The new one is nobody else's."""
    (tmp_path / "vps.key").write_text(bondway("keygen").stdout)
    (tmp_path / "vps.key").chmod(0o644)
    assert join(conf, new_link(tmp_path), "--force").returncode == 0
    assert stat.S_IMODE((tmp_path / "vps.key").stat().st_mode) == 0o600


def test_a_key_of_two_is_not_removed(conf, tmp_path):
    link = new_link(tmp_path)
    assert join(conf, link).returncode == 0
    conf.write_text(conf.read_text().replace(
        entry(conf), entry(conf) + ",\n  " + entry(conf, at="203.0.113.12").replace(
            'name = "vps"', 'name = "vps2"')))
    result = bondway("remove", "vps2", "-c", conf)
    assert (result.returncode, result.stderr) == (
        0, f'Removed "vps2" from {conf}; its key stays: "vps" has it, too.\n')
    assert bondway("gateway", "--check", "-c", conf).returncode == 0
    assert bondway("remove", "vps", "-c", conf).returncode == 0
    assert not (tmp_path / "vps.key").exists()


def test_broken_into_lines(conf, tmp_path):
    """As mail programs do it: nothing is lost by that."""
    link = new_link(tmp_path)
    assert join(conf, f"  {link[:30]}\r\n{link[30:64]} \n {link[64:]}\n").returncode == 0
    assert (tmp_path / "vps.key").read_text() == key_of(link) + "\n"


def test_on_a_terminal(conf, tmp_path):
    """It says what it wants, and waits for the end of a link that comes in several lines."""
    link = new_link(tmp_path)
    ours, theirs = pty.openpty()
    program = subprocess.Popen([find_program(), "join", "--no-check", "-c", conf], stdin=theirs,
                               stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert program.stderr.readline() == ("Paste the join link that `bondway invite` has printed on "
                                         "the VPS:\n")
    for line in "", link[:40], link[40:].strip():
        os.write(ours, f"{line}\n".encode())
    assert "Joined as" in program.stderr.read()
    assert program.wait(10) == 0
    os.close(ours)
    assert (tmp_path / "vps.key").read_text() == key_of(link) + "\n"


@pytest.mark.parametrize("pasted, code", [
    ("{}\nand more\n", 0), ("The link:\n{}\nand more\n", 0), ("No link,\nnowhere\n", 2),
    ("bondway2://x\n{}\n", 2)])
def test_what_else_is_pasted_is_not_left_to_the_shell(conf, tmp_path, pasted, code):
    ours, theirs = pty.openpty()
    os.write(ours, pasted.format(new_link(tmp_path).strip()).encode())
    program = subprocess.Popen([find_program(), "join", "--no-check", "-c", conf], stdin=theirs,
                               stderr=subprocess.PIPE, text=True)
    assert program.wait(10) == code, program.stderr.read()
    os.set_blocking(theirs, False)
    with pytest.raises(BlockingIOError):
        os.read(theirs, 1000)
    os.close(theirs)
    os.close(ours)


def test_a_host_name(conf, tmp_path):
    result = join(conf, new_link(tmp_path, address="localhost"))
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("localhost is 127.0.0.1 now; that address is written down.\n")
    assert entry(conf, at="127.0.0.1") in conf.read_text()


# --- On a router ----------------------------------------------------------------------------------


def test_a_new_router():
    """From nothing: uplinks from the default routes, the LAN by its looks; then it is looked at by
    every uplink. The link is gone from the argument list while that lasts."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        link = lab.vps.run([bond.program, "invite", "home", "-c", bond.concentrator_conf]).stdout
        conf = bond.directory / "router" / "gateway.conf"
        lab.uplink("lte").carrier(False)
        process = lab.router.popen([bond.program, "join", "-c", conf, link.strip()], log="join")
        wait_for(lambda: "Looking" in process.output(), 10, "the look at the uplinks")
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert arguments.endswith(bytes(str(conf), "ascii")), arguments
        assert process.wait(30) == 3
        said = process.output()
        assert (f"A new {conf}, as a proposal; look it over:\n  LAN      {lab.lan_interface}\n"
                "  uplinks  dsl, lte\n") in said
        assert re.search(r"^ok    dsl    .*MPTCP survives$", said, re.M)
        assert "\nwarn  lte    lte: no carrier\n" in said
        assert f"{lab.vps.address}:{PORT} accepts our key, by 1 of 2 uplinks" in said
        assert "cost = 0" in conf.read_text() and "cost = 10" in conf.read_text()

        conf.unlink()
        result = lab.router.run([bond.program, "join", "--no-check", "-c", conf, "--uplink", "lte",
                                 "--lan", "br-lan", link.strip()], check=False)
        assert result.returncode == 0, result.stderr
        assert "  uplinks  lte\n  With one uplink there is nothing to bond yet" in result.stderr


def test_a_new_key_in_three_commands():
    """While both run. Who begins with the old key runs on until that is retired."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.configure_gateway(key_file=bond.write("vps.key", bond.key_file.read_text()))
        bond.start_concentrator()
        bond.start_gateway()

        def vps(*words):
            return lab.vps.run([bond.program, "invite", "home", "-c", bond.concentrator_conf, *words],
                               check=False)

        def flows():
            home, = bond.concentrator_status()["gateways"]
            return [key["flows"] for key in home["keys"]]

        def converse(client, server, word):
            client.sendall(word)
            assert read(server, len(word)) == word

        old = pair(lab.client, lab.destinations[0])
        link = vps("--rotate").stdout
        assert vps("--retire").returncode == 1
        lab.router.run([bond.program, "join", "--force", "-c", bond.gateway_conf], input=link)
        wait_for(lambda: bond.station("vps")["state"] == "up", 10, "the new key is in use")
        new = pair(lab.client, lab.destinations[0])
        converse(*old, b"old")
        assert flows() == [1, 1]
        shown = lab.vps.run([bond.program, "status", "--socket", bond.concentrator_socket]).stdout
        assert "keys, the old one first" in shown
        result = vps("--retire")
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        wait_for_reset(old[0])
        converse(*new, b"new")
        assert flows() == [1]
        for end in *old, *new:
            end.close()
        bond.wait_until_over()


def test_a_gateway_that_runs():
    """It takes a new concentrator over at once, and a removed one out; no daemon is restarted."""
    with Lab() as lab, Bonded(lab, spare=True) as bond:
        before = bond.gateway.pid
        link = lab.vps.run([bond.program, "invite", "cabin", "-c", bond.concentrator_conf,
                            "--address", f"{lab.vps.address6}"]).stdout

        def names():
            return [station["name"] for station in bond.status()["concentrators"]]

        def run(*words):
            return lab.router.run([bond.program, *words, "-c", bond.gateway_conf], input=link)

        said = run("join", "--no-check", "--name", "third").stderr
        assert "The running gateway has taken it over.\n" in said
        assert names() == ["vps", "spare", "third"]
        said = run("remove", "spare").stderr
        assert "The running gateway has taken it over.\n" in said
        assert names() == ["vps", "third"]
        assert bond.gateway.pid == before and bond.gateway.poll() is None
