"""Every message that a person can provoke, to its last word: what was done, and what is said then.
Each is provoked for real, and nothing may be left half done. What a configuration can have wrong is
here by its kinds; tests/unit/test_config.c has it key by key."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import pytest

from bonded import (PORT, ROOT, Bonded, Host, Lab, Process, Uplink, find_program, interception,
                    kernel_state, wait_for)
from protocol import Key, Reply, Schedule, reply_flight
from test_doctor import doctor, of
from traffic import Server, speak_ssh

# In the messages below: {d} is the directory of the files, {at} the concentrator's address and port,
# {n} a number that was measured.
NUMBER = r"[\d.]+"
WELCOME = 2
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
NO_NET_ADMIN = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
# Runs a command in a mount namespace of its own, after the first argument, a shell command.
MOUNTS = ["unshare", "--mount", "sh", "-c", 'eval "$1" && shift && exec "$@"', "sh"]


def table(rows: Sequence[tuple]) -> pytest.MarkDecorator:
    """Each row a test, which is called by what was done."""
    return pytest.mark.parametrize("row", rows, ids=[row[0] for row in rows])


def bondway(*words: Any, link: str = "", wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess:
    """In a namespace of its own: a daemon that should not start, and does, meets nobody there."""
    return subprocess.run(["unshare", "--net", *wrapper, find_program(), *map(str, words)], input=link, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def contents(directory: Path) -> Dict[str, str]:
    return {str(path): path.read_text() for path in directory.rglob("*") if path.is_file()}


# --- The files of a router and of a VPS, without a network ------------------------------------------

GATEWAY = """lan_interfaces = ["br-lan"];
concentrators = ({ name = "vps"; address = "203.0.113.10"; key_file = "{d}/vps.key"; });
uplinks = ({ name = "dsl"; interface = "ppp0"; }, { name = "lte"; interface = "wwan0"; });
"""
CONCENTRATOR = """listen = ["127.0.0.1:7171"];
gateways = ({ name = "home"; key_file = "{d}/home.key"; });
"""
LINK = "bondway1://203.0.113.10:7171/{key}#home"


@pytest.fixture
def d(tmp_path: Path) -> Path:
    directory = tmp_path / "bondway"
    directory.mkdir()
    for name in "vps.key", "home.key":
        (directory / name).touch(mode=0o600)
        (directory / name).write_text(bondway("keygen").stdout)
    for name, text in ("gateway.conf", GATEWAY), ("concentrator.conf", CONCENTRATOR):
        (directory / name).write_text(text.replace("{d}", str(directory)))
    return directory


def assert_refused(d: Path, result: subprocess.CompletedProcess, code: int, message: str,
                   before: Dict[str, str]) -> None:
    assert (result.returncode, result.stdout, result.stderr) == (
        code, "", message.replace("{d}", str(d)) + "\n")
    assert contents(d) == before


# What was typed; exit code; what is said.
SHELL = [
    ("a command that there is nearly", "stauts", 2,
     'bondway: unknown command "stauts"; did you mean "status"?'),
    ("a command that there is not", "frobnicate", 2,
     'bondway: unknown command "frobnicate"; see bondway --help'),
    ("an option that there is not", "gateway --chek", 2,
     "bondway gateway: option --chek is not known; see bondway gateway --help"),
    ("an option without its argument", "gateway -c", 2,
     "bondway gateway: option -c needs an argument; see bondway gateway --help"),
    ("a long option without its argument", "events --socket", 2,
     "bondway events: option --socket needs an argument; see bondway events --help"),
    ("a word too many", "status now", 2,
     'bondway status: unexpected argument "now"; see bondway status --help'),

    ("status, where nothing runs", "status --socket {d}/none", 1,
     "bondway status: no bondway answers at {d}/none: is it running? start it with `bondway gateway` or "
     "`bondway concentrator`"),
    ("flows, where nothing runs", "flows --socket {d}/none", 1,
     "bondway flows: no bondway answers at {d}/none: is it running? start it with `bondway gateway` or "
     "`bondway concentrator`"),
    ("events, where nothing runs", "events --socket {d}/none", 1,
     "bondway events: no bondway answers at {d}/none: is it running? start it with `bondway gateway` or "
     "`bondway concentrator`"),

    ("a gateway without a configuration", "gateway -c {d}/none.conf", 2,
     "{d}/none.conf: there is no such file; create it, or name another with -c"),
    ("a concentrator without a configuration", "concentrator -c {d}/none.conf", 2,
     "{d}/none.conf: there is no such file; create it, or name another with -c"),
    ("a check without a configuration", "gateway --check -c {d}/none.conf", 2,
     "{d}/none.conf: there is no such file; create it, or name another with -c"),
    ("a directory for a configuration", "gateway -c {d}", 2,
     "{d}: is a directory; name the file in it"),
    ("a device for a configuration", "gateway -c /dev/null", 2,
     "/dev/null: is not a regular file; name one with -c"),

    ("an invitation of nobody", "invite -c {d}/concentrator.conf", 2,
     "bondway invite: NAME is missing; see bondway invite --help"),
    ("an invitation of two", "invite a b -c {d}/concentrator.conf", 2,
     'bondway invite: unexpected argument "b"; see bondway invite --help'),
    ("a name that is none", 'invite a"b -c {d}/concentrator.conf', 2,
     'bondway invite: "a"b" is no name; write 1 to 31 letters, digits, \'.\', \'_\' or \'-\''),
    *((f"an address that is none: {address}", f"invite x -c {{d}}/concentrator.conf --address={address}", 2,
       f'bondway invite: "{address}" is no host; write --address HOST or --address HOST:PORT')
      for address in ("", "h/h", "vps.example:0", "-x", "vps.example:70000")),
    ("a new key for whom nobody knows", "invite cabin --rotate -c {d}/concentrator.conf", 2,
     'bondway invite: {d}/concentrator.conf has no gateway "cabin"; invite it first'),
    ("an old key's end for whom nobody knows", "invite cabin --retire -c {d}/concentrator.conf", 2,
     'bondway invite: {d}/concentrator.conf has no gateway "cabin"; invite it first'),
    ("two wishes for one key", "invite home --rotate --force -c {d}/concentrator.conf", 2,
     "bondway invite: choose one of --force, --rotate and --retire"),

    ("the removal of what is not there", "remove cabin -c {d}/concentrator.conf", 2,
     'bondway remove: {d}/concentrator.conf has no "cabin" among its gateways or concentrators'),
    ("the removal of the only concentrator", "remove vps -c {d}/gateway.conf", 1,
     'bondway remove: "vps" is the only concentrator in {d}/gateway.conf: join another one first, or '
     "stop the gateway and say --force"),
    ("a new configuration's option, where there is one", "join --lan br0 -c {d}/gateway.conf " +
     LINK.format(key="A" * 54), 2,
     "bondway join: the join link is damaged: a part of its key is missing or wrong; copy all of it "
     "again"),
]


@table(SHELL)
def test_at_the_shell(row, d):
    _, line, code, message = row
    before = contents(d)
    words = [word.replace("{d}", str(d)) for word in line.split(" ")]
    assert_refused(d, bondway(*words), code, message, before)


# Which file; what was changed in it, and to what; where (the line), and what is said.
CONFIGURATION = [
    ("a key is misspelt", "gateway", "uplinks =", "listen_prot = 7170;\nuplinks =",
     '3: unknown key "listen_prot"; did you mean "listen_port"?'),
    ("the same on the VPS", "concentrator", "gateways =", "worker = 2;\ngateways =",
     '2: unknown key "worker"; did you mean "workers"?'),
    ("a key that there is not", "concentrator", 'name = "home";', 'name = "home"; colour = 1;',
     '2: unknown key "colour"; remove it (the keys here are name, key_file, max_flows, '
     'allow_destinations, deny_destinations, ports)'),
    ("a key is missing", "gateway", 'address = "203.0.113.10"; ', "",
     '2: address is missing; add address = "203.0.113.10";'),
    ("a port stands behind an address", "gateway", '"203.0.113.10"', '"203.0.113.10:443"',
     '2: address: "203.0.113.10:443" has a port behind it; write "203.0.113.10" (a concentrator\'s '
     "port has a key of its own: port = 443)"),
    ("the same with IPv6", "gateway", '"203.0.113.10"', '"[2001:db8::1]:443"',
     '2: address: "[2001:db8::1]:443" has a port behind it; write "2001:db8::1" (a concentrator\'s '
     "port has a key of its own: port = 443)"),
    ("a name for an address", "gateway", '"203.0.113.10"', '"vps.example.org"',
     '2: address is "vps.example.org"; write an IP address such as "192.0.2.1"'),
    ("an address without its port", "concentrator", '"127.0.0.1:7171"', '"127.0.0.1"',
     '1: listen holds "127.0.0.1"; each must be an address and port, such as "192.0.2.1:7171" or '
     '"[::]:7171"'),
    ("no list", "concentrator", '["127.0.0.1:7171"]', '"127.0.0.1:7171"',
     '1: listen is "127.0.0.1:7171"; write a list: listen = ["0.0.0.0:7171", "[::]:7171"];'),
    ("no gateways at all", "concentrator", 'gateways = ({ name = "home"; key_file = "{d}/home.key"; });',
     "gateways = 5;", '2: gateways is 5; write a list: gateways = ( { name = "home"; ... } );'),
    ("a value out of bounds", "gateway", "uplinks =", "max_flows = 0;\nuplinks =",
     "3: max_flows is 0; write a whole number from 1 to 1000000"),
    ("a word that there is not", "gateway", "uplinks =", 'scheduler = "latencies";\nuplinks =',
     '3: scheduler is "latencies"; write "bond", "failover", "overflow", "latency" or "spread"'),
    ("an interface's name that is none", "gateway", "br-lan", "br lan",
     '1: lan_interfaces holds "br lan"; each must be an interface\'s name of at most 15 letters, '
     "digits, '.', '_' or '-'"),
    ("one interface for both sides", "gateway", "ppp0", "br-lan",
     '3: "br-lan" is one of lan_interfaces, too; an interface leads either to the LAN or to the '
     "Internet"),
    ("one interface for two uplinks", "gateway", "wwan0", "ppp0",
     '3: two uplinks have the same interface "ppp0"; give each its own'),
    ("a forgotten equals sign", "gateway", "uplinks =", "uplinks",
     "3: syntax error; look here and on the line before for a missing ';', quote or bracket"),
    ("a forgotten quote", "gateway", 'name = "dsl"', 'name = "dsl',
     "3: a string or comment has no end; close it"),
    ("a key file that is not there", "gateway", "vps.key", "vpn.key",
     '2: key file "{d}/vpn.key" does not exist; make one with bondway keygen'),
]


@table(CONFIGURATION)
def test_a_mistake_in_the_configuration(row, d):
    """A daemon does not start with it, a check finds it, and commands leave the file as it is."""
    _, daemon, old, new, message = row
    conf = d / f"{daemon}.conf"
    text = conf.read_text()
    conf.write_text(text.replace(old.replace("{d}", str(d)), new, 1))
    assert conf.read_text() != text
    before = contents(d)
    for words in [daemon], [daemon, "--check"], (
            ["invite", "new", "--address", "192.0.2.1"] if daemon == "concentrator" else
            ["join", "--no-check", "--name", "new"]):
        result = bondway(*words, "-c", conf, link=link_of(d))
        assert_refused(d, result, 2, f"{conf}:{message}", before)


def test_all_mistakes_at_once(d):
    """In the order of the file."""
    conf = d / "gateway.conf"
    conf.write_text(conf.read_text().replace("br-lan", "br lan") + "listen_prot = 1;\nmax_flows = 0;\n")
    lines = bondway("gateway", "--check", "-c", conf).stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{conf}:{n}" for n in (1, 4, 5)]


# Lines that are added, from line 4 on; what is said of them, and that the file is well.
WARNINGS = [
    ("a rule of what is left alone", 'rules = ({ name = "nas"; destinations = ["192.168.1.0/24", "fd00::/8"]; });',
     '4: warning: rule "nas" never matches: its destinations are private, local, reserved or a '
     "concentrator's, which are left alone; remove the rule"),
    ("a rule of what is bypassed", 'bypass = ["198.51.100.0/24"];\n'
     'rules = ({ name = "office"; destinations = ["198.51.100.7"]; });',
     '5: warning: rule "office" never matches: bypass ({d}/gateway.conf:4) leaves all its '
     "destinations alone; remove them there, or the rule"),
    ("a rule behind a wider one", 'rules = ({ name = "web"; ports = [80, 443]; },\n'
     '  { name = "calls"; ports = [443]; dscp = [46]; });',
     '5: warning: rule "calls" never matches: rule "web" ({d}/gateway.conf:4) takes all its flows '
     "before; move it up, or remove it"),
    ("a rule of two IP versions", 'rules = ({ name = "mixed"; destinations = ["203.0.113.0/25"]; '
     'clients = ["fd00::/64"]; });',
     '4: warning: rule "mixed" never matches: its destinations are of another IP version than its '
     "clients; name some of the same"),
]


@table(WARNINGS)
def test_what_can_hardly_be_meant(row, d):
    _, lines, message = row
    conf = d / "gateway.conf"
    conf.write_text(f"{conf.read_text()}{lines}\n")
    result = bondway("gateway", "--check", "-c", conf)
    assert (result.returncode, result.stdout) == (0, f"{conf}: well\n")
    assert result.stderr == f"{conf}:{message}\n".replace("{d}", str(d))


@pytest.mark.parametrize("daemon", ["gateway", "concentrator"])
def test_a_packet_scheduler_that_the_kernel_does_not_have(daemon, d):
    """Of another kernel, perhaps: a check warns, doctor says that it cannot work here."""
    conf = d / f"{daemon}.conf"
    line = conf.read_text().count("\n") + 1
    conf.write_text(f'{conf.read_text()}packet_scheduler = "nosuch";\n')
    offered = Path("/proc/sys/net/mptcp/available_schedulers").read_text().strip()
    result = bondway(daemon, "--check", "-c", conf)
    assert (result.returncode, result.stdout) == (0, f"{conf}: well\n")
    what, remedy = 'this kernel has no packet_scheduler "nosuch"', f"write one that it has: {offered}"
    assert result.stderr == f"{conf}:{line}: warning: {what}; {remedy}\n"
    if daemon == "concentrator":
        assert f"bad   kernel        {what}\n                    -> {remedy}\n" in bondway(
            "doctor", "-c", conf).stdout


# --- Keys and links -------------------------------------------------------------------------------


def key_of(d: Path) -> str:
    """Of the gateway, as a link has it."""
    return (d / "home.key").read_text().strip()[len("bondway1:"):]


def link_of(d: Path) -> str:
    return LINK.format(key=key_of(d))


def spoil(change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda path: path.write_text(change(path.read_text()))


# What was done to the key file; what is said of it, behind its name.
KEYS = [
    ("others may read it", lambda path: path.chmod(0o644),
     "others than its owner may read it (mode 0644): chmod 600 {d}/home.key"),
    ("its group may read it", lambda path: path.chmod(0o640),
     "others than its owner may read it (mode 0640): chmod 600 {d}/home.key"),
    ("it is empty", spoil(lambda text: ""), "holds no key: `bondway keygen` makes one"),
    ("a letter was lost", spoil(lambda text: text[:-2]),
     "line 1: the key is cut short: copy the whole line again"),
    ("a letter was changed", spoil(lambda text: text[:30] + "!" + text[31:]),
     "line 1: the key has a wrong character: copy the whole line again"),
    ("something else is in it", spoil(lambda text: "-----BEGIN PRIVATE KEY-----\n"),
     'line 1: not a key line: a key starts with "bondway1:"; `bondway keygen` makes one'),
    ("the link is in it", spoil(lambda text: LINK.format(key=text.strip()[9:])),
     "line 1: this is a join link, not a key: give it to `bondway join`"),
]


@table(KEYS)
def test_a_key_file(row, d):
    _, change, message = row
    change(d / "home.key")
    before = contents(d)
    assert_refused(d, bondway("concentrator", "-c", d / "concentrator.conf"), 2,
                   f'{d}/concentrator.conf:2: key file "{d}/home.key": {message}', before)


CUT = "the join link is cut short: copy all of it, up to the name behind the #"
DAMAGED = "the join link is damaged: "
WRONG_KEY = f"{DAMAGED}a part of its key is missing or wrong; copy all of it again"
# How it was pasted; what is said.
LINKS = [
    ("not to its end", lambda link: link[:60], CUT),
    ("without its name", lambda link: link.replace("#home", ""), CUT),
    ("with a wrong letter", lambda link: link[:50] + ("A" if link[50] != "A" else "B") + link[51:],
     WRONG_KEY),
    ("without a letter", lambda link: link[:50] + link[51:], WRONG_KEY),
    ("without its port", lambda link: link.replace(":7171", ""),
     f"{DAMAGED}no host and port behind bondway1://; copy all of it again"),
    ("with another character at its end", lambda link: link + "!",
     f"{DAMAGED}a name of letters, digits, '.', '_' and '-' ends it, behind the #; copy all of it again"),
    ("of another version", lambda link: link.replace("bondway1", "bondway2"),
     "this join link is of another version of bondway: install the same one here and on the VPS"),
    ("the key alone", lambda link: "bondway1:" + re.search(r"/([\w-]{54})#", link)[1],
     "this is a key, not a join link: `bondway invite NAME` prints one on the VPS"),
    ("something else", lambda link: "ssh-ed25519 AAAA",
     "this is no join link: one begins with bondway1://; `bondway invite NAME` prints it on the VPS"),
    ("nothing", lambda link: "",
     "this is no join link: one begins with bondway1://; `bondway invite NAME` prints it on the VPS"),
]


@table(LINKS)
def test_a_link_that_was_pasted_badly(row, d):
    _, change, message = row
    before = contents(d)
    result = bondway("join", "-c", d / "gateway.conf", link=change(link_of(d)))
    assert key_of(d)[12:] not in result.stderr
    assert_refused(d, result, 2, f"bondway join: {message}", before)


# What the router has already, of the same link; how it is called; what is said.
JOINED = [
    ("its name, with another key", "203.0.113.10", "7171", "vps",
     '"vps" in {d}/gateway.conf has another key; replace it with --force'),
    ("its name, for another concentrator", "203.0.113.99", "443", "vps",
     '"vps" in {d}/gateway.conf is another concentrator, 203.0.113.99:443; give this one a name of its '
     "own with --name, or replace that one with --force"),
    ("its address, with another key", "203.0.113.10", "7171", "new",
     '{d}/gateway.conf has 203.0.113.10:7171 already, as "vps", with another key; replace that with '
     "--force"),
    ("a key file of that name", "203.0.113.99", "443", "other",
     "{d}/other.key is there already, and not with this key; give this one a name of its own with "
     "--name, or replace it with --force"),
]


@table(JOINED)
def test_a_link_that_differs_from_what_is_there(row, d):
    _, address, port, name, message = row
    conf = d / "gateway.conf"
    conf.write_text(conf.read_text().replace('"203.0.113.10";', f'"{address}"; port = {port};'))
    (d / "other.key").touch(mode=0o600)
    (d / "other.key").write_text(bondway("keygen").stdout)
    before = contents(d)
    result = bondway("join", "--no-check", "-c", conf, "--name", name, link=link_of(d))
    assert_refused(d, result, 1, f"bondway join: {message}", before)


def test_a_retired_key_that_is_still_needed(d):
    assert bondway("invite", "home", "--rotate", "-c", d / "concentrator.conf", "--address",
                   "203.0.113.10").returncode == 0
    before = contents(d)
    assert_refused(d, bondway("invite", "home", "--retire", "-c", d / "concentrator.conf"), 1,
                   'bondway invite: no running concentrator has seen "home" use its new key: give the '
                   "link to `bondway join --force` on the router first (`bondway invite home` prints it "
                   "again)", before)


def test_a_list_that_none_can_be_added_to(d):
    conf = d / "concentrator.conf"
    conf.write_text('listen = ["127.0.0.1:7171"];\ngateways = [];\n')
    before = contents(d)
    result = bondway("invite", "new", "-c", conf, "--address", "203.0.113.10")
    assert_refused(d, result, 2, f"bondway invite: {conf}: gateways is no list in ( ): write gateways = "
                   f'( {{ name = "new"; key_file = "{d}/new.key"; }} );', before)


@pytest.mark.parametrize("words", ["join --no-check -c {d}/gateway.conf",
                                   "gateway -c {d}/gateway.conf",
                                   "invite new -c {d}/gateway.conf"])
def test_not_as_root(words, d):
    """The files are root's."""
    d.chmod(0o700)
    before = contents(d)
    result = bondway(*words.replace("{d}", str(d)).split(), link=link_of(d), wrapper=NOBODY)
    assert_refused(d, result, 2, "{d}/gateway.conf: cannot be read: permission denied; run this as root",
                   before)


def test_a_name_that_nobody_knows(d):
    result = bondway("join", "--no-check", "-c", d / "gateway.conf",
                     link=link_of(d).replace("203.0.113.10", "no-such-host.invalid"))
    assert result.returncode == 1
    assert re.fullmatch("bondway join: cannot find the address of no-such-host.invalid: .*; is an uplink "
                        "up\\? or have the VPS invite with --address and its IP address\n", result.stderr)


# --- Daemons that do not start, or not as they should ---------------------------------------------


RUNS_AS_ROOT = ("warning rights: runs as root: give it a user of its own (useradd --system bondway, "
                'chown bondway the key files, and user = "bondway" in the configuration)')


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """For those who leave it as it was."""
    with Lab() as it:
        yield it


def complaints(process: Process) -> List[str]:
    """What it has warned of, without the time."""
    return [line.split(" ", 1)[1] for line in process.output().splitlines()
            if re.match(r"\S+ (warning|error) ", line) or not re.match(r"\S+ \w+ \w+: ", line)]


def assert_does_not_start(process: Process, code: int, message: str) -> None:
    """It ends with that exit code, and one line of complaint (but for who it runs as)."""
    assert process.wait(30) == code, process.output()
    assert [line for line in complaints(process) if line != RUNS_AS_ROOT] == [message]


@contextlib.contextmanager
def taken(host: Host, address: str, port: int) -> Iterator[None]:
    with host.socket() as other:
        other.bind((address, port))
        other.listen()
        yield


@contextlib.contextmanager
def setting(host: Host, key: str, value: int, otherwise: int) -> Iterator[None]:
    host.sysctl(key, value)
    try:
        yield
    finally:
        host.sysctl(key, otherwise)


def nothing(*_: Any) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext()


def no_nft() -> List[str]:
    return [*MOUNTS, "for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do "
            "[ ! -e $nft ] || mount --bind /dev/null $nft; done"]


def no_mptcp() -> List[str]:
    return [*MOUNTS, "mount -t tmpfs none /proc/sys/net/mptcp"]


# Which daemon; what holds meanwhile; what runs it; further lines of its configuration; what is said.
STARTING = [
    ("not as root", "gateway", nothing, NO_NET_ADMIN, "",
     "error gateway: no right to change the network (CAP_NET_ADMIN); run as root"),
    ("a kernel without MPTCP", "gateway", nothing, no_mptcp(), "",
     "error gateway: this kernel cannot bond: it has no MPTCP with a userspace path manager (Linux 5.19 "
     "or later with CONFIG_MPTCP)"),
    ("no nft", "gateway", nothing, no_nft(), "", "error gateway: no nft program; install nftables"),
    ("its port is taken", "gateway", lambda lab: taken(lab.router, "127.0.0.1", 7170), [], "",
     "error gateway: cannot listen on 127.0.0.1:7170: Address already in use; set another listen_port"),
    ("metrics' port is taken", "gateway", lambda lab: taken(lab.router, "127.0.0.1", 9100), [],
     'metrics_listen = "127.0.0.1:9100";\n',
     "error gateway: cannot serve metrics_listen 127.0.0.1:9100: Address already in use; write another, "
     "or remove it"),
    ("a packet_scheduler that there is not", "gateway", nothing, [], 'packet_scheduler = "nosuch";\n',
     'error gateway: this kernel has no packet_scheduler "nosuch"; write one that it has: {offered}'),

    ("its port is taken, on the VPS", "concentrator", lambda lab: taken(lab.vps, "0.0.0.0", PORT), [], "",
     f"error concentrator: cannot listen on 0.0.0.0:{PORT}: Address already in use; another program has "
     "this port: stop it, or change listen"),
    ("metrics' port is taken, on the VPS", "concentrator",
     lambda lab: taken(lab.vps, "127.0.0.1", 9100), [], 'metrics_listen = "127.0.0.1:9100";\n',
     "error concentrator: cannot serve metrics_listen 127.0.0.1:9100: Address already in use; write "
     "another, or remove it"),
    ("a user that there is not", "concentrator", nothing, [], 'user = "bondwya";\n',
     "error rights: there is no user bondwya: make it (useradd --system bondwya), or correct user"),
    ("a packet_scheduler that there is not, on the VPS", "concentrator", nothing, [],
     'packet_scheduler = "nosuch";\n',
     'error kernel: this kernel has no packet_scheduler "nosuch"; write one that it has: {offered}'),
    ("too few descriptors", "concentrator", nothing, ["prlimit", "--nofile=40:40"], "workers = 2;\n",
     "error room: 40 descriptors are too few for 2 workers and 2 listen addresses: raise the limit "
     "(ulimit -n, or LimitNOFILE= of its unit) to 58 at least, or lower workers"),
]


@table(STARTING)
def test_a_daemon_that_does_not_start(row, lab):
    _, daemon, meanwhile, wrapper, lines, message = row
    bond = Bonded(lab, start=False, **{daemon: lines})
    host, launch = ((lab.router, bond.launch_gateway) if daemon == "gateway" else
                    (lab.vps, bond.launch_concentrator))
    offered = lab.vps.run(["sysctl", "-n", "net.mptcp.available_schedulers"]).stdout.strip()
    with meanwhile(lab):
        before = kernel_state(host)
        assert_does_not_start(launch(wrapper), 1, message.replace("{offered}", offered))
        assert kernel_state(host) == before


def test_one_that_runs_already(lab):
    """Two at once, on the router and on the VPS. The first ones do not mind."""
    with Bonded(lab) as bond:
        conf = bond.write("other.conf", bond.gateway_conf.read_text() + "listen_port = 7169;\n")
        other = lab.router.popen([bond.program, "gateway", "-c", conf])
        assert_does_not_start(other, 1, "error gateway: cannot open control_socket "
                              f"{bond.gateway_socket}: another gateway answers there; stop it, or write "
                              "another")
        conf.write_text(bond.concentrator_conf.read_text().replace(str(PORT), str(PORT + 1)))
        other = lab.vps.popen([bond.program, "concentrator", "-c", conf])
        assert_does_not_start(other, 1, "error concentrator: another concentrator answers on "
                              f"{bond.concentrator_socket}: stop it, or change control_socket")
        assert bond.status()["intercepting"] and interception(lab.router)


def test_what_a_gateway_warns_of():
    """It starts: what is wrong may come right. One mistake for each line."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.router.sysctl("net.mptcp.enabled", 0)
        lab.uplink("lte").carrier(False)
        bond.gateway_conf.write_text(bond.gateway_conf.read_text().replace(lab.lan_interface, "br-lam")
                                     .replace('interface = "dsl"', 'interface = "dls"'))
        bond.start_gateway(until_up=False)
        bond.wait_for_log("warning vps: down")
        assert complaints(bond.gateway) == [
            "warning gateway: net.mptcp.enabled was 0: switched on; it is put back at exit",
            "warning dsl: uplink down interface=dls: no such interface",
            "warning lte: uplink down interface=lte: no carrier",
            "warning gateway: there is no interface br-lam (lan_interfaces) now: is it the right name?",
            "warning vps: down: no uplink is up"]


def test_what_a_concentrator_warns_of():
    """It serves as well as it can. One mistake for each line."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.sysctl("net.mptcp.enabled", 0)
        with lab.vps.socket(kind=2) as other:
            other.bind(("0.0.0.0", PORT))
            bond.start_concentrator(NO_NET_ADMIN)
            assert sorted(complaints(bond.concentrator)) == [
                "warning concentrator: cannot answer probes, so gateways notice dead uplinks later: "
                "another program has the UDP port of a listen address",
                "warning kernel: MPTCP is switched off, so nothing will be bonded: run sysctl -w "
                "net.mptcp.enabled=1, and write it to /etc/sysctl.d",
                "warning kernel: may not raise the MPTCP limits, so at most 3 uplinks are bonded: give "
                "this program CAP_NET_ADMIN (or run it as root)",
                RUNS_AS_ROOT]


# --- No way to the concentrator: in the log, in status, and by doctor -----------------------------


def down(why: str) -> str:
    return f"warning vps: down: {why}"


def drop_all(bond: Bonded) -> None:
    bond.start_concentrator()
    bond.lab.vps.run(["nft", f"""
        table inet wall {{ chain in {{
            type filter hook input priority 0
            meta l4proto {{ tcp, udp }} th dport {PORT} drop
        }}
        }}"""])


def another_key(bond: Bonded) -> None:
    """The VPS has made a new one, and knows no more of the gateway's."""
    right = bond.concentrator_conf.read_text()
    wrong = bond.write("wrong.key", bond.new_key())
    bond.concentrator_conf.write_text(right.replace(str(bond.key_file), str(wrong)) +
                                      'hello_timeout = "3500ms";\n')
    bond.start_concentrator()


@contextlib.contextmanager
def another_program(bond: Bonded) -> Iterator[None]:
    with Server(bond.lab.vps, speak_ssh, port=PORT):
        yield


def key_and_place(bond: Bonded, message: str) -> str:
    return message.replace("{at}", f"{bond.lab.vps.address}:{PORT}").replace("{key}", str(bond.key_file))


# What is the matter; what is said of it.
UNREACHABLE = [
    ("no concentrator runs there", lambda bond: None,
     "{at} refuses connections: is the concentrator running there?"),
    ("a firewall has the port closed", drop_all,
     "{at} does not answer: is it up, and its port open in the firewall?"),
    ("the keys differ", another_key,
     "it does not accept our key: put the key of {key} on the concentrator"),
    ("another program has the port", another_program,
     "its answer was not made with our key ({key}): is this our concentrator?"),
]


@table(UNREACHABLE)
def test_a_concentrator_that_cannot_be_reached(row):
    _, prepare, message = row
    with Lab() as lab, Bonded(lab, 'dial_timeout = "3s";\n', start=False) as bond, \
            prepare(bond) or contextlib.nullcontext():
        bond.start_gateway(until_up=False)
        message = key_and_place(bond, message)
        wait_for(lambda: bond.station("vps")["reason"], 30, "a reason")
        assert bond.station("vps")["reason"] == message
        assert down(message) in complaints(bond.gateway)
        assert bond.key_file.read_text().strip()[21:] not in bond.gateway.output()


# Whom no uplink reaches in silence takes long to find out, and is among the ailing below, by one.
@table([row for row in UNREACHABLE if row[1] is not drop_all])
def test_doctor_cannot_reach_it_either(row):
    _, prepare, message = row
    with Lab() as lab, Bonded(lab, start=False) as bond, prepare(bond) or contextlib.nullcontext():
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 1
        for uplink in "dsl", "lte":
            assert of(report, uplink) == [
                ("warn", f"no way to vps: {key_and_place(bond, message)}", "")]
        assert of(report, "vps") == [("bad", key_and_place(bond, "no uplink leads to {at}"),
                                      "see the uplinks above")]


# --- What doctor finds ----------------------------------------------------------------------------


def matches(finding: tuple, expected: tuple) -> bool:
    """Level, text and remedy; {n} is any number."""
    return all(re.fullmatch(re.escape(text).replace(r"\{n\}", NUMBER), said)
               for said, text in zip(finding, expected))


ON_ROUTER = f"""
table inet ailing {{ chain out {{
    type filter hook output priority 0
    oifname "noudp" udp dport {PORT} drop
    oifname "small" ip length > 1200 drop
}}
}}"""
SEEN = "{n} ms to vps, {n} of 10 probes lost, packets up to {n} bytes"
SILENT = ("warn", "no way to vps: {at} does not answer: is it up, and its port open in the firewall?", "")
# By the names of uplinks, which are looked at together: what is wrong with one spoils no other.
AILING = {
    "well": [("ok", f"{SEEN}, MPTCP survives", "")],
    "silent": [SILENT],
    "strips": [("warn", f"{SEEN}, but MPTCP is stripped: it can carry flows only alone",
                "a box on the way removes MPTCP: another port of the concentrator often helps")],
    "noudp": [("warn", "{n} ms to vps, MPTCP survives, but no probe is answered: its "
               "death will be noticed late", "open the port for UDP, too, on the VPS and at its "
               "provider; if it is one uplink of several, its provider blocks UDP")],
    "notcp": [SILENT, ("note", f"UDP gets through to vps, port {PORT}",
                       "open that port for TCP, too, in the VPS's firewall and its provider's")],
    "small": [("warn", "{n} ms to vps, {n} of 10 probes lost, packets up to 1200 bytes, MPTCP survives",
               "something on the way drops larger packets: set the interface's MTU to that")],
    "lossy": [("warn", f"{SEEN}, MPTCP survives", "look at its signal, its cable, its load")],
    "poor": [("warn", f"{SEEN}; MPTCP did not get through, perhaps for that",
              "look at its signal, its cable, its load; then at this once more")],
}


def test_uplinks_with_every_ailment():
    with Lab([Uplink(name, delay=10) for name in AILING]) as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        lab.uplink("silent").drop("both")
        for uplink in "strips", "poor":
            lab.uplink(uplink).set(strip_mptcp=True)
        lab.router.run(["nft", ON_ROUTER])
        lab.vps.run(["nft", f"""
            table inet wall {{ chain in {{
                type filter hook input priority 0
                ip saddr {lab.uplink("notcp").address} tcp dport {PORT} drop
                ip saddr {lab.uplink("lossy").address} udp dport {PORT} numgen inc mod 2 0 drop
                ip saddr {lab.uplink("poor").address} udp dport {PORT} numgen inc mod 2 0 drop
            }}
            }}"""])
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 3, report
        at = f"{lab.vps.address}:{PORT}"
        for uplink, expected in AILING.items():
            found = of(report, uplink)
            assert len(found) == len(expected), found
            for finding, (level, text, remedy) in zip(found, expected):
                assert matches(finding, (level, text.replace("{at}", at), remedy)), finding
        finding, = of(report, "vps")
        assert matches(finding, ("ok", f"{at} accepts our key, by {{n}} of 8 uplinks", ""))


def test_mptcp_is_off_on_the_vps():
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.vps.sysctl("net.mptcp.enabled", 0)
        bond.start_concentrator()
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 1
        assert of(report, "vps") == [(
            "bad", f"MPTCP gets to {lab.vps.address}:{PORT} by no uplink: nothing can be bonded",
            "on the VPS: sysctl -w net.mptcp.enabled=1; if it is, change the port")]
        report = doctor(bond, lab.vps, bond.concentrator_conf)
        assert of(report, "kernel") == [("bad", "MPTCP is switched off: every flow keeps to one "
                                         "uplink", "sysctl -w net.mptcp.enabled=1")]
        assert report["code"] == 1


def test_a_clock_that_is_off():
    """By the concentrator's word; here a stand-in's, who is two hours ahead."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        key = Key.parse(bond.key_file.read_text().strip())

        def welcome(connection) -> None:
            schedule = Schedule(key, connection.recv(88)[:32])
            reply = Reply(WELCOME, 0, int((time.time() + 7200) * 1000), PORT)
            connection.sendall(reply_flight(schedule, os.urandom(32), reply))
            connection.recv(1)

        with Server(lab.vps, welcome, PORT):
            report = doctor(bond, lab.router, bond.gateway_conf)
        finding, = of(report, "clock")
        assert matches(finding, ("warn", "it is {n} h {n} min behind the concentrator's",
                                 "let NTP set it: bondway minds not, TLS does"))
        assert re.search(" (1 h 59|2 h 0) min ", finding[1])


def test_mistakes_in_the_configuration():
    """Wrong interface names, beside a cable that is out; no configuration; and one with mistakes,
    which is not looked beyond."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        lab.uplink("lte").carrier(False)
        text = bond.gateway_conf.read_text()
        bond.gateway_conf.write_text(text.replace(lab.lan_interface, "br-lam")
                                     .replace('interface = "dsl"', 'interface = "dls"'))
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert of(report, "lan") == [("warn", "there is no interface br-lam: nothing comes from "
                                      "there", "correct lan_interfaces, or bring it up")]
        assert of(report, "dsl") == [("warn", "dls: no such interface",
                                      "is its name right? correct interface, or bring it up")]
        assert of(report, "lte") == [("warn", "lte: no carrier", "look at its cable, or its modem")]

        bond.gateway_conf.write_text(f"{text}listen_prot = 1;\n")
        bond.key_file.chmod(0o644)
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 1
        line = text.count("\n") + 1
        assert of(report, "config") == [
            ("bad", f'{bond.gateway_conf}:3: key file "{bond.key_file}": others than its owner may read '
             f"it (mode 0644): chmod 600 {bond.key_file}", ""),
            ("bad", f'{bond.gateway_conf}:{line}: unknown key "listen_prot"',
             'did you mean "listen_port"?')]

        none = bond.directory / "none.conf"
        report = doctor(bond, lab.router, none)
        assert of(report, "config") == [("bad", f"{none}: there is no such file",
                                         "create it, or name another with -c")]


def test_doctor_not_as_root():
    """It says what it could not see."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for path in bond.directory, bond.key_file, bond.gateway_conf:
            os.chown(path, 65534, 65534)
        report = doctor(bond, lab.router, bond.gateway_conf, *NOBODY)
        assert ("warn", "not root: whether it has TPROXY cannot be seen", "run this as root") in of(
            report, "kernel")


# --- Where there is nothing to join ---------------------------------------------------------------


def test_a_host_that_is_no_router():
    """No LAN, and then no uplink: nothing is written."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        link = lab.vps.run([bond.program, "invite", "home", "-c", bond.concentrator_conf]).stdout
        conf = bond.directory / "host" / "gateway.conf"

        def refused(host: Host) -> str:
            result = host.run([bond.program, "join", "--no-check", "-c", conf, link.strip()],
                              check=False)
            assert result.returncode == 1 and not conf.parent.exists()
            return result.stderr

        assert refused(lab.vps) == ("bondway join: no interface looks like the LAN's: name it with "
                                    "--lan INTERFACE\n")
        lab.vps.run(["ip", "route", "flush", "default"])
        lab.vps.run(["ip", "-6", "route", "flush", "default"])
        assert refused(lab.vps) == (
            "bondway join: no interface has a default route: bring the uplinks up first, or name "
            "each with --uplink INTERFACE\n")


# --- What the README says of them -----------------------------------------------------------------


def test_the_readme_quotes_the_program():
    """Each message in its table is one that the program may say, as far as it is the same each time."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index("| message | remedy |"):]
    quoted = re.findall("`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", section[:section.index("\n\n")],
                                                        re.M)))
    program = find_program().read_bytes()
    assert len(quoted) > 20
    for message in quoted:
        for part in message.split("…"):
            assert part.strip("; ").encode() in program, message
