"""What a person meets at the shell: help, usage, keys, and the views of a daemon that answers. (What
is said to mistakes is in test_messages.py.) Needs no network namespace: the daemon is
a stand-in behind a Unix socket."""
import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

PROGRAM = os.environ.get("BONDWAY", str(Path(__file__).parents[2] / "build" / "cli" / "bondway"))
COMMANDS = ["gateway", "concentrator", "status", "flows", "events", "top", "doctor", "report",
            "invite", "join", "remove", "keygen"]
DAEMONS = ["gateway", "concentrator"]
NAMING = ["invite", "join", "remove"]  # what takes an operand
VIEWS = ["status", "flows", "events"]
KEY_LINE = re.compile(r"bondway1:[A-Za-z0-9_-]{54}\n")
GATEWAY = {
    "role": "gateway", "version": "0.1.0", "uptime_s": 61.0,
    "concentrators": [{"name": "vps", "address": "203.0.113.10:7171", "state": "up",
                       "rtt_ms": 20.1, "warm": 4}],
    "uplinks": [{"name": "dsl", "interface": "ppp0", "address": "192.0.2.1", "state": "up",
                 "reason": "", "role": "active", "cost": 0, "mptcp": "ok"}],
    "flows": {"active": 1, "total": 9, "failed": 0, "direct": 0, "tcp_fallback": 0},
}
FLOWS = [{"id": 1, "client": "192.168.1.2:5000", "destination": "203.0.113.5:443", "rule": "",
          "scheduler": "bond", "sealed": True, "age_s": 1.0, "rx_bytes": 1, "tx_bytes": 1,
          "subflows": []}]

EVENTS = [{"seq": 1, "time": "2020-01-01T12:00:00.125Z", "boot_s": 41.25, "kind": "uplink",
           "name": "dsl", "what": "up", "before": "", "reason": "", "figures": {"rtt_ms": 20.1}},
          {"seq": 2, "time": "2020-01-01T12:00:01.500Z", "boot_s": 42.625, "kind": "uplink",
           "name": "dsl", "what": "down", "before": "up", "reason": "no carrier", "held": 3}]
EVENT_LINES = "".join(json.dumps(event) + "\n" for event in EVENTS).encode()


def bondway(*words, **kwargs):
    return subprocess.run([PROGRAM, *map(str, words)], stdin=subprocess.DEVNULL,
                          stdout=kwargs.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                          text=True, timeout=30, **kwargs)


def assert_usage(result, message):
    assert (result.returncode, result.stdout, result.stderr) == (2, "", message)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "home.key"
    path.touch(mode=0o600)
    path.write_text(bondway("keygen").stdout)
    return path


@pytest.fixture
def gateway_conf(tmp_path, key_file):
    path = tmp_path / "gateway.conf"
    path.write_text(f'''lan_interfaces = ["br-lan"];
concentrators = ({{ name = "vps"; address = "203.0.113.10"; key_file = "{key_file}"; }});
uplinks = ({{ name = "dsl"; interface = "ppp0"; }});
''')
    return path


@pytest.fixture
def concentrator_conf(tmp_path, key_file):
    path = tmp_path / "concentrator.conf"
    path.write_text(f'''listen = ["127.0.0.1:7171"];
gateways = ({{ name = "home"; key_file = "{key_file}"; }});
''')
    return path


# ---- usage ----

def test_help_names_every_command():
    for word in "--help", "-h":
        result = bondway(word)
        assert (result.returncode, result.stderr) == (0, "")
        for command in COMMANDS:
            assert re.search(rf"^  {command} ", result.stdout, re.M), command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    for word in "--help", "-h":
        result = bondway(command, word)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: bondway {command}")
        assert "--version" in result.stdout


def test_version_everywhere():
    results = [bondway(*words, option) for words in [[]] + [[c] for c in COMMANDS]
               for option in ("--version", "-V")]
    assert {(r.returncode, r.stderr) for r in results} == {(0, "")}
    assert len({r.stdout for r in results}) == 1
    assert re.fullmatch(r"bondway \d+\.\d+\.\d+\n", results[0].stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_options(command):
    see = f"see bondway {command} --help\n"
    assert_usage(bondway(command, "--frobnicate"),
                 f"bondway {command}: option --frobnicate is not known; {see}")
    assert_usage(bondway(command, "-x"), f"bondway {command}: option -x is not known; {see}")
    operands = ["one"] if command in NAMING else []
    assert_usage(bondway(command, *operands, "extra"),
                 f'bondway {command}: unexpected argument "extra"; {see}')


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["keygen"], ["gateway", "--keys"]])
def test_output_that_is_lost_is_a_failure(words):
    with open("/dev/full", "w") as full:
        result = bondway(*words, stdout=full)
    assert result.returncode == 1
    assert "No space left on device" in result.stderr


# ---- keys ----

def test_keygen_prints_one_key_and_nothing_else():
    results = [bondway("keygen") for _ in range(3)]
    for result in results:
        assert (result.returncode, result.stderr) == (0, "")
        assert KEY_LINE.fullmatch(result.stdout)
    assert len({r.stdout for r in results}) == 3


def read_terminal(fd):
    output = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while True:
            output += os.read(fd, 4096)
    os.close(fd)
    return output.decode().replace("\r\n", "\n")


def test_keygen_on_a_terminal_tells_how_to_store_it():
    ours, theirs = pty.openpty()
    result = bondway("keygen", stdout=theirs)
    os.close(theirs)
    assert KEY_LINE.fullmatch(read_terminal(ours))
    assert "umask 077; bondway keygen > /etc/bondway/home.key" in result.stderr


# ---- configuration ----

def test_a_good_configuration(gateway_conf, concentrator_conf):
    for command, conf in ("gateway", gateway_conf), ("concentrator", concentrator_conf):
        result = bondway(command, "--check", "-c", conf)
        assert (result.returncode, result.stdout, result.stderr) == (0, f"{conf}: well\n", "")
        assert bondway(command, f"--config={conf}", "--check").returncode == 0


@pytest.mark.parametrize("command", DAEMONS)
def test_keys_are_listed(command):
    result = bondway(command, "--keys")
    assert (result.returncode, result.stderr) == (0, "")
    assert f'control_socket = "/run/bondway/{command}.sock"\n' in result.stdout


# ---- asking a daemon ----

@contextlib.contextmanager
def daemon(path, answers):
    """Answers each request line with the document of that name, or the bytes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                answer = answers[client.makefile().readline().rstrip("\n")]
                client.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_status_for_a_person(tmp_path):
    with daemon(tmp_path / "s", {"status": GATEWAY}):
        result = bondway("status", "--socket", tmp_path / "s")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("gateway: up\n  running 1 min, version 0.1.0\n")
    assert "  NAME  INTERFACE  ADDRESS    STATE  ROLE    COST\n" in result.stdout
    assert "\033" not in result.stdout


@pytest.mark.parametrize("command,document", [("status", GATEWAY), ("flows", FLOWS)])
def test_json_is_what_the_daemon_sent(command, document, tmp_path):
    with daemon(tmp_path / "s", {command: document}):
        result = bondway(command, "--json", "--socket", tmp_path / "s")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == document


@pytest.mark.parametrize("part", ["uplinks", "concentrators"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_degraded_has_an_exit_code(part, options, tmp_path):
    degraded = {**GATEWAY, part: [{**GATEWAY[part][0], "state": "down"}]}
    with daemon(tmp_path / "s", {"status": degraded}):
        result = bondway("status", *options, "--socket", tmp_path / "s")
    assert (result.returncode, result.stderr) == (3, "")


def test_colour_is_for_terminals_that_want_it(tmp_path):
    coloured = {}
    with daemon(tmp_path / "s", {"status": GATEWAY}):
        for name, environment in {"plain": {"TERM": "xterm"}, "dumb": {"TERM": "dumb"},
                                  "none": {"TERM": "xterm", "NO_COLOR": "1"}}.items():
            ours, theirs = pty.openpty()
            bondway("status", "--socket", tmp_path / "s", stdout=theirs, env=environment)
            os.close(theirs)
            coloured[name] = "\033[" in read_terminal(ours)
    assert coloured == {"plain": True, "dumb": False, "none": False}


def test_an_answer_that_is_none(tmp_path):
    with daemon(tmp_path / "s", {"status": b"220 ready\r\n"}):
        result = bondway("status", "--socket", tmp_path / "s")
    assert result.returncode == 1
    assert result.stderr == f"bondway status: {tmp_path}/s did not answer as bondway does\n"


def test_a_reader_that_goes_away(tmp_path):
    """`bondway flows | head -1`: no complaint."""
    with daemon(tmp_path / "s", {"flows": FLOWS * 5000}):
        program = subprocess.Popen([PROGRAM, "flows", "--socket", str(tmp_path / "s")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(10) == -signal.SIGPIPE


# ---- events ----

@pytest.mark.parametrize("option", [[], ["--follow"], ["-f"]])
def test_events_as_lines_of_json(option, tmp_path):
    """One object a line; a daemon that ends is the end of one that was only asked, and a failure
    for one that follows."""
    request = "events follow" if option else "events"
    with daemon(tmp_path / "s", {request: EVENT_LINES}):
        result = bondway("events", "--json", *option, "--socket", tmp_path / "s")
    assert [json.loads(line) for line in result.stdout.splitlines()] == EVENTS
    end = (1, "bondway events: the daemon has ended\n") if option else (0, "")
    assert (result.returncode, result.stderr) == end


def test_events_for_a_person(tmp_path):
    with daemon(tmp_path / "s", {"events": EVENT_LINES}):
        result = bondway("events", "--socket", tmp_path / "s", env={"TZ": "UTC"})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == """2020-01-01
12:00:00.125  uplink dsl        up (rtt 20 ms)
12:00:01.500  uplink dsl        up -> down: no carrier; 3 before it left out
"""


def test_no_events_yet(tmp_path):
    with daemon(tmp_path / "s", {"events": b""}):
        result = bondway("events", "--socket", tmp_path / "s")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("answer,complaint", [
    (b"220 ready\r\n", "{path} did not answer as bondway does"),
    (b'{"seq":1', "{path} did not answer as bondway does"),
    (b'{"error":"unknown command"}\n', "unknown command")])
def test_events_of_what_has_none(answer, complaint, tmp_path):
    """Another program, one cut short, or an older bondway."""
    with daemon(tmp_path / "s", {"events": answer}):
        result = bondway("events", "--socket", tmp_path / "s")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"bondway events: {complaint.format(path=tmp_path / 's')}\n"


@contextlib.contextmanager
def followed(tmp_path, *options, stdout=subprocess.PIPE):
    """bondway events --follow, of a daemon that says no more than EVENT_LINES."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    program = subprocess.Popen([PROGRAM, "events", "--follow", "--socket", tmp_path / "s", *options],
                               stdout=stdout, stderr=subprocess.PIPE)
    client, _ = listener.accept()
    assert client.makefile().readline() == "events follow\n"
    client.sendall(EVENT_LINES)
    with listener, client, program:
        yield program
        if program.poll() is None:
            program.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_until_interrupted(number, tmp_path):
    with followed(tmp_path, "--json") as program:
        for event in EVENTS:  # each is there at once, though it is no terminal
            assert json.loads(program.stdout.readline()) == event
        program.send_signal(number)
        assert program.wait(10) == 0
        assert (program.stdout.read(), program.stderr.read()) == (b"", b"")


def test_following_for_a_reader_that_goes_away(tmp_path):
    """`bondway events -f | grep -m1 down`: it ends with its reader, not at the next event."""
    with followed(tmp_path) as program:
        while b"down" not in program.stdout.readline():
            pass
        program.stdout.close()
        assert program.wait(10) == 0
        assert program.stderr.read() == b""


def test_following_to_a_full_disk(tmp_path):
    with open("/dev/full", "w") as full, followed(tmp_path, stdout=full) as program:
        assert program.wait(10) == 1
        assert b"No space left on device" in program.stderr.read()
