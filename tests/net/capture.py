"""What an interface has carried: tcpdump's file, read here, down to TCP's options."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any, Iterator, List, Optional, Set

from bonded import Host, wait_for

# Subtypes of the MPTCP option (RFC 8684, 3).
MP_CAPABLE, MP_JOIN, DSS = 0, 1, 2
OPTION_MPTCP = 30
LINK_ETHERNET, LINK_RAW = 1, 101


@dataclasses.dataclass(frozen=True)
class Segment:
    """One TCP segment. mptcp: the subtypes of its MPTCP options."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    syn: bool
    ack: bool
    mptcp: Set[int]
    payload: bytes


class Capture:
    """Everything on an interface, from entering to leaving the `with`."""

    def __init__(self, host: Host, interface: str) -> None:
        self._host = host
        self._interface = interface
        self._file = host.lab.directory / f"{host.name}-{interface}.pcap"

    def __enter__(self) -> "Capture":
        self._process = self._host.popen(
            ["tcpdump", "-i", self._interface, "-w", self._file, "-U", "-Z", "root", "-B", "16384",
             "--immediate-mode"])
        wait_for(lambda: "listening on" in self._process.output(), 10, "tcpdump")
        return self

    def __exit__(self, *_: Any) -> None:
        code = self._process.end()
        assert code == 0, self._process.output()
        assert "\n0 packets dropped by kernel" in self._process.output(), self._process.output()

    def frames(self) -> List[bytes]:
        return list(_frames(self._file))

    def segments(self) -> List[Segment]:
        link = _link_type(self._file)
        segments = (_segment(_packet(frame, link)) for frame in self.frames())
        return [segment for segment in segments if segment]


def _link_type(path: Path) -> int:
    return struct.unpack_from("=I", path.read_bytes()[:24], 20)[0]


def _frames(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    assert struct.unpack_from("=I", data)[0] == 0xa1b2c3d4, "not a pcap file of this machine"
    at = 24
    while at < len(data):
        length = struct.unpack_from("=I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def _packet(frame: bytes, link: int) -> bytes:
    """The IP packet in a frame."""
    assert link in (LINK_ETHERNET, LINK_RAW), link
    return frame[14:] if link == LINK_ETHERNET else frame


def _segment(packet: bytes) -> Optional[Segment]:
    if packet[0] >> 4 == 4 and packet[9] == 6:
        length = struct.unpack_from("!H", packet, 2)[0]
        return _tcp(packet[12:16], packet[16:20], packet[(packet[0] & 15) * 4:length])
    if packet[0] >> 4 == 6 and packet[6] == 6:
        length = struct.unpack_from("!H", packet, 4)[0]
        return _tcp(packet[8:24], packet[24:40], packet[40:40 + length])
    return None


def _tcp(source: bytes, destination: bytes, segment: bytes) -> Segment:
    source_port, destination_port = struct.unpack_from("!HH", segment)
    header = (segment[12] >> 4) * 4
    return Segment(source, destination, source_port, destination_port,
                   syn=bool(segment[13] & 2), ack=bool(segment[13] & 16),
                   mptcp=set(_mptcp_subtypes(segment[20:header])), payload=segment[header:])


def _mptcp_subtypes(options: bytes) -> Iterator[int]:
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == OPTION_MPTCP:
            yield options[at + 2] >> 4
        at += options[at + 1]
