"""What metrics_listen serves: figures for Prometheus, the status page and what it asks for."""

from __future__ import annotations

import gzip
import json
import re
import socket
from typing import Dict, Set, Tuple

import pytest

from bonded import ROOT, Bonded, Host, Lab, wait_for
from traffic import SLACK, pair, read

PORT = 9171
CONFIG = f'metrics_listen = "127.0.0.1:{PORT}";\n'
CLIENTS = 16  # of WEB_CLIENTS_MAX


def talk(host: Host, request: bytes) -> bytes:
    """All that comes back."""
    with host.socket() as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", PORT))
        client.sendall(request)
        answer = b""
        while more := client.recv(65536):
            answer += more
        return answer


def get(host: Host, path: str, method: str = "GET") -> Tuple[int, Dict[str, str], bytes]:
    head, _, body = talk(host, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                         ).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


SERIES = re.compile(r'^([a-z_]+)((?:\{[a-z]+="[^"\n]*"(?:,[a-z]+="[^"\n]*")*\})?) (\S+)$')


def series_of(text: str) -> Dict[str, float]:
    """Each line is a comment in its place or a series, as promtool would have it."""
    found: Dict[str, float] = {}
    family = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            continue
        if line.startswith("# TYPE "):
            assert line.split()[2] == family and line.split()[3] in ("gauge", "counter"), line
            continue
        match = SERIES.match(line)
        assert match and match[1] == family, line
        assert match[1] + match[2] not in found, line
        found[match[1] + match[2]] = float(match[3])
    return found


def names_of(figures: Dict[str, float]) -> Set[str]:
    return {series.partition("{")[0] for series in figures}


def asked_by_the_dashboard() -> Set[str]:
    dashboard = json.loads((ROOT / "deploy/grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for query in queries for name in re.findall(r"\bbondway_[a-z_]+\b", query)}
    assert len(names) > 8
    return names


def test_figures_and_status_agree():
    """What Prometheus reads is what a person sees, at both ends, and all that the dashboard asks for."""
    with Lab() as lab, Bonded(lab, CONFIG, CONFIG) as bond:
        asked, names = asked_by_the_dashboard(), set()
        client, server = pair(lab.client, lab.destinations[0])
        server.sendall(bytes(100_000))
        assert len(read(client, 100_000)) == 100_000
        wait_for(lambda: all(uplink["rx_bytes"] for uplink in bond.status()["uplinks"]), 20,
                 "a look at what each uplink has carried")
        code, headers, body = get(lab.router, "/metrics")
        assert code == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert int(headers["Content-Length"]) == len(body)
        figures, status = series_of(body.decode()), bond.status()
        assert figures["bondway_flows"] == status["flows"]["active"] == 1
        assert figures["bondway_flows_total"] == 1
        assert figures[f'bondway_build_info{{version="{status["version"]}"}}'] == 1
        assert figures["bondway_intercepting"] == 1
        for uplink in status["uplinks"]:
            label = f'{{uplink="{uplink["name"]}"'
            assert figures[f'bondway_uplink_state{label},state="{uplink["state"]}"}}'] == 1
            assert 0 < figures[f"bondway_uplink_receive_bytes_total{label}}}"] \
                <= uplink["rx_bytes"]
            assert 0 < figures[f"bondway_uplink_rtt_seconds{label}}}"] < 10
        assert figures['bondway_concentrator_state{concentrator="vps",state="up"}'] == 1
        names |= names_of(figures)
        figures = series_of(get(lab.vps, "/metrics")[2].decode())
        names |= names_of(figures)
        # What is not there would leave an empty panel. A query may name a family by its beginning.
        assert [name for name in asked if name not in names and not (
            name.endswith("_") and any(each.startswith(name) for each in names))] == []
        assert figures['bondway_gateway_flows{gateway="home"}'] == 1
        wait_for(lambda: series_of(get(lab.vps, "/metrics")[2].decode())
                 ['bondway_gateway_transmit_bytes_total{gateway="home"}'] >= 100_000, 20,
                 "the bytes")
        client.close()
        server.close()
        bond.wait_until_over()


def test_the_status_page_and_what_it_asks_for():
    """The page is one file that loads nothing from elsewhere, small enough for a router."""
    with Lab() as lab, Bonded(lab, CONFIG) as bond:
        code, headers, packed = get(lab.router, "/")
        assert code == 200 and headers["Content-Type"].startswith("text/html")
        assert headers["Content-Encoding"] == "gzip" and len(packed) < 30_000
        page = gzip.decompress(packed)
        source = [line.lstrip() for line in (ROOT / "gateway/page.html").read_bytes().splitlines()]
        assert page.splitlines() == [line for line in source
                                     if line and not line.startswith((b"//", b"/*"))]
        assert not re.search(rb"https?://", page.replace(b"http://www.w3.org/2000/svg", b""))
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        status = json.loads(get(lab.router, "/status.json")[2])
        assert [u["name"] for u in status["uplinks"]] == [u["name"] for u in bond.status()["uplinks"]]
        assert json.loads(get(lab.router, "/flows.json?x=1")[2]) == []


@pytest.fixture(scope="module")
def served():
    with Lab() as lab, Bonded(lab, CONFIG) as bond:
        yield lab, bond


@pytest.mark.parametrize("request_bytes, code", [
    (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
    (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
    (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
    (b"GET /metrics\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
], ids=["unknown", "upwards", "post", "0.9", "tls"])
def test_what_is_no_request_for_a_page(served, request_bytes, code):
    answer = talk(served[0].router, request_bytes)
    assert answer.startswith(f"HTTP/1.1 {code} ".encode()), answer[:100]
    assert get(served[0].router, "/metrics")[0] == 200


def test_a_request_without_end(served):
    with served[0].router.socket() as client:
        client.settimeout(5 * SLACK)
        client.connect(("127.0.0.1", PORT))
        client.sendall(b"GET / HTTP/1.1\r\nX: " + 9000 * b"x")
        assert hung_up(client)


def test_head_and_requests_in_pieces(served):
    router = served[0].router
    _, headers, body = get(router, "/", "HEAD")
    assert body == b"" and int(headers["Content-Length"]) > 1000
    with router.socket() as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", PORT))
        for byte in b"GET /metrics HTTP/1.0\r\n\r\n":
            client.sendall(bytes([byte]))
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_more_than_so_many_clients(served):
    """A neighbour who only connects keeps others from the page until he is hung up on, and takes no
    descriptors that flows need."""
    router, idle = served[0].router, []
    try:
        for _ in range(CLIENTS):
            idle.append(router.socket())
            idle[-1].connect(("127.0.0.1", PORT))
            idle[-1].sendall(b"GET")  # so that it has been taken
        with router.socket() as one_more:
            one_more.settimeout(5 * SLACK)
            one_more.connect(("127.0.0.1", PORT))
            assert hung_up(one_more)
        idle[0].settimeout(10 * SLACK)
        assert hung_up(idle[0])
    finally:
        for each in idle:
            each.close()
    wait_for(lambda: get(router, "/metrics")[0] == 200, 20, "a page again")


def hung_up(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
