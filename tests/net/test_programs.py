"""Real programs, which know nothing of bondway, through it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import statistics
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from bonded import Bonded, Host, Lab, wait_for
from traffic import (SLACK, Server, address_of, connect, listen, offer_all, pair, port_of, prepare,
                     read, take)

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6],
                                   ids=["ipv4", "ipv6"])


def url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def wait_for_port(host: Host, port: int, family: int) -> None:
    def listens() -> bool:
        probe = host.socket(family)
        with probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect((address_of(host, family), port))
            return True
        return False

    wait_for(listens, 20, f"somebody who listens on port {port}")


# --- Web --------------------------------------------------------------------------------------


@contextlib.contextmanager
def web_server(host: Host) -> Iterator[bytes]:
    """nginx on ports 80 and 443 of the host; yields what lies there as /file."""
    directory = host.lab.directory / "web"
    directory.mkdir()
    directory.chmod(0o755)
    content = os.urandom(3_000_000)
    (directory / "file").write_bytes(content)
    names = f"subjectAltName=IP:{host.address},IP:{host.address6}"
    host.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
              "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=lab",
              "-addext", names, "-keyout", directory / "tls.key", "-out", directory / "tls.crt"])
    (directory / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {directory}/pid; error_log stderr;
        events {{ }}
        http {{
            access_log off; client_max_body_size 0;
            client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            server {{
                listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
                ssl_certificate {directory}/tls.crt; ssl_certificate_key {directory}/tls.key;
                root {directory};
            }}
        }}""")
    process = host.popen(["nginx", "-e", "stderr", "-c", directory / "nginx.conf"])
    wait_for_port(host, 80, socket.AF_INET)
    yield content
    process.end()


@FAMILIES
@pytest.mark.parametrize("scheme, mode", [("http", "sealed"), ("https", "plain")])
def test_curl(scheme, mode, family):
    """The web. What is TLS already is not sealed a second time; everything else is."""
    with Lab() as lab, Bonded(lab) as bond:
        server = lab.destinations[0]
        with web_server(server) as content:
            address = address_of(server, family)
            got = lab.directory / "got"
            done = lab.client.run(["curl", "-sS", "--fail", "--cacert",
                                   lab.directory / "web/tls.crt", "-o", got, "-w",
                                   "%{remote_ip} %{num_connects}",
                                   f"{scheme}://{url_host(address)}/file"])
            assert done.stdout == f"{address} 1"
            assert got.read_bytes() == content
            line = bond.wait_for_log(r"closed why=done .*\n")[0]
            assert f" mode={mode} " in line
            assert f" destination={url_host(address)}:" in line


def test_flows_tell_tls_from_the_rest():
    """While it runs, too, `bondway flows` says which connection is sealed."""
    with Lab() as lab, Bonded(lab) as bond:
        for first_bytes, sealed in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", False), \
                                   (b"GET / HTTP/1.1\r\n\r\n", True), (b"", True):
            client, server = pair_that_says(lab, first_bytes)
            wait_for(lambda: bond.flow()["state"] == "relaying", 20, "the relay")
            assert bond.flow()["sealed"] is sealed, first_bytes
            client.close()
            server.close()
            bond.wait_until_over()


def pair_that_says(lab: Lab, first_bytes: bytes) -> Any:
    """The client speaks at once, as programs do."""
    with listen(lab.destinations[0]) as listener:
        client = connect(lab.client, lab.destinations[0].address, port_of(listener))
        client.sendall(first_bytes)
        server = prepare(listener.accept()[0])
        assert read(server, len(first_bytes)) == first_bytes
        return client, server


def test_fifty_short_requests_in_a_row():
    """A web page is many small things. Each gets a connection of its own, and all arrive."""
    with Lab() as lab, Bonded(lab) as bond:
        server = lab.destinations[0]
        with web_server(server) as content:
            expected = hashlib.sha256(content[:1000]).hexdigest()
            for i in range(50):
                done = lab.client.run(["curl", "-sS", "--fail", "-r", "0-999",
                                       f"http://{server.address}/file"], text=False)
                assert hashlib.sha256(done.stdout).hexdigest() == expected, f"request {i}"
            bond.wait_until_over()
            flows = bond.status()["flows"]
            assert (flows["total"], flows["failed"], flows["tcp_fallback"]) == (50, 0, 0)


# --- ssh --------------------------------------------------------------------------------------


@contextlib.contextmanager
def ssh_server(host: Host) -> Iterator[Path]:
    """sshd on port 22, which lets a throw-away key in; yields a client's configuration."""
    directory = host.lab.directory / "ssh"
    directory.mkdir(mode=0o700)
    for name in "host", "user":
        host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name])
    (directory / "sshd_config").write_text(f"""
        Port 22
        HostKey {directory}/host
        AuthorizedKeysFile {directory}/user.pub
        PidFile none
        UsePAM no
        StrictModes no
        PermitRootLogin prohibit-password
        UseDNS no
        Subsystem sftp internal-sftp
        """)
    # Its privilege separation wants /run/sshd, which only this process gets to see.
    process = host.popen(["unshare", "--mount", "sh", "-c",
                          'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"', "sh",
                          "/usr/sbin/sshd", "-D", "-e", "-f", directory / "sshd_config"])
    wait_for_port(host, 22, socket.AF_INET)
    kind, key = (directory / "host.pub").read_text().split()[:2]
    (directory / "known_hosts").write_text(
        "".join(f"{address} {kind} {key}\n" for address in (host.address, host.address6)))
    config = directory / "config"
    config.write_text(f"""
        User root
        IdentityFile {directory}/user
        IdentitiesOnly yes
        BatchMode yes
        UserKnownHostsFile {directory}/known_hosts
        """)
    yield config
    process.end()


@FAMILIES
def test_ssh(family):
    """A remote command with its exit code and both of its streams, and a file there and back."""
    with Lab() as lab, Bonded(lab):
        server = lab.destinations[0]
        with ssh_server(server) as config:
            address = address_of(server, family)
            done = lab.client.run(["ssh", "-F", config, address, "cat; echo to stderr >&2; exit 7"],
                                  check=False, input="said to stdin\n")
            assert (done.returncode, done.stdout) == (7, "said to stdin\n"), done.stderr
            assert done.stderr == "to stderr\n"
            sent, there, back = (lab.directory / name for name in ("sent", "there", "back"))
            sent.write_bytes(os.urandom(2_000_000))
            remote = f"{url_host(address)}:{there}"
            lab.client.run(["scp", "-q", "-F", config, sent, remote])
            lab.client.run(["scp", "-q", "-F", config, remote, back])
            assert there.read_bytes() == back.read_bytes() == sent.read_bytes()


# --- iperf3 -----------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("direction", ["up", "down"])
def test_iperf3(direction, family):
    """What everybody measures with: a control connection, and one for the data, whose client says
    nothing for long in one direction."""
    with Lab() as lab, Bonded(lab) as bond:
        server = lab.destinations[0]
        daemon = server.popen(["iperf3", "-s", "-1", "--forceflush"])
        wait_for(lambda: "Server listening" in daemon.output(), 20, "iperf3")
        done = lab.client.run(["iperf3", "-J", "-t", "2", "-c", address_of(server, family),
                               *(["-R"] if direction == "down" else [])])
        report = json.loads(done.stdout)
        assert "error" not in report
        # More than either uplink has, so both were in use.
        assert report["end"]["sum_received"]["bits_per_second"] > \
            (61e6 if direction == "down" else 20.5e6)
        assert daemon.wait(20) == 0
        bond.wait_until_over()
        assert bond.status()["flows"]["total"] == 2


# --- Who speaks first, who falls silent first ---------------------------------------------------


def test_a_server_that_speaks_first_does_not_wait():
    """Mail and ssh servers greet before the client says a word. Whether the flow is TLS cannot be
    known by then, and to wait for it would delay every one of them: the greeting must come as if
    the router had sent the connection straight on."""
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        assert read(connection, 6) == b"QUIT\r\n"

    def time_to_greeting(lab: Lab, server: Server, host: Host) -> float:
        start = time.monotonic()
        with connect(lab.client, host.address, server.port) as client:
            assert read(client, 24) == b"220 mail.example ESMTP\r\n"
            elapsed = time.monotonic() - start
            client.sendall(b"QUIT\r\n")
            assert read(client, 1) == b""
        return elapsed

    with Lab() as lab:
        bonded, direct = lab.destinations
        with Bonded(lab, f'bypass = ["{direct.address}"];\n'), Server(bonded, greet) as there, \
                Server(direct, greet) as here:
            through = [time_to_greeting(lab, there, bonded) for _ in range(7)]
            straight = [time_to_greeting(lab, here, direct) for _ in range(7)]
            assert set(there.peers) == {lab.vps.address}
            assert set(here.peers) == {lab.uplinks[0].address}
            round_trip = 2 * lab.uplinks[0].spec.delay / 1000
            assert statistics.median(through) < statistics.median(straight) + SLACK * round_trip


@FAMILIES
@pytest.mark.parametrize("encryption", ["always", "never"])
def test_half_closed_by_the_client(encryption, family):
    """A client that has said all it has to say, ends its direction, and then reads the answer: the
    server must see the end of stream, and the answer must come through whole."""
    with Lab() as lab, Bonded(lab, f'encryption = "{encryption}";\n') as bond:
        client, server = pair(lab.client, lab.destinations[0], family)
        asked = offer_all(client, 300_000)
        assert take(server) == asked
        answered = offer_all(server, 300_000)
        assert take(client) == answered
        bond.wait_for_log("closed why=done")


@FAMILIES
@pytest.mark.parametrize("encryption", ["always", "never"])
def test_half_closed_by_the_server(encryption, family):
    """The other order: the server has ended its direction, and the client goes on to talk."""
    with Lab() as lab, Bonded(lab, f'encryption = "{encryption}";\n') as bond:
        client, server = pair(lab.client, lab.destinations[0], family)
        sent = offer_all(server, 300_000)
        assert take(client) == sent
        answered = offer_all(client, 300_000)
        assert take(server) == answered
        bond.wait_for_log("closed why=done")
