"""SIGHUP: the gateway takes another configuration, and no flow notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest

from bonded import (PORT, SPARE_PORT, Bonded, Lab, Uplink, descriptors, interception, kernel_state,
                    memory_kib, wait_for)
from test_events import events
from test_uplinks import carried, wait_for_use
from traffic import Server, Transfer, connect, read, way_of

JOINED = 3  # s, within which a running flow uses what it may use now


def three_uplinks() -> List[Uplink]:
    return [Uplink("dsl", down=60, up=60, delay=10), Uplink("lte", down=60, up=60, delay=30),
            Uplink("cable", down=60, up=60, delay=20)]


class Setting:
    """The gateway's configuration, of parts that a test changes one by one."""

    def __init__(self, bond: Bonded) -> None:
        self.bond = bond
        # (name, interface, further keys)
        self.uplinks: List[Tuple[str, str, str]] = [(u.name, u.interface, "")
                                                    for u in bond.lab.uplinks]
        self.concentrators: List[Tuple[str, int, Any]] = [("vps", PORT, bond.key_file)]
        self.lan = [bond.lab.lan_interface]
        self.socket = bond.gateway_socket
        self.lines = ""

    def text(self) -> str:
        lan = ", ".join(f'"{name}"' for name in self.lan)
        concentrators = ", ".join(
            f'{{ name = "{name}"; address = "{self.bond.address}"; port = {port}; '
            f'key_file = "{key}"; }}' for name, port, key in self.concentrators)
        uplinks = ", ".join(f'{{ name = "{name}"; interface = "{interface}"; {more} }}'
                            for name, interface, more in self.uplinks)
        return (f"lan_interfaces = [{lan}];\n"
                f'control_socket = "{self.socket}";\n'
                f"concentrators = ({concentrators});\n"
                f"uplinks = ({uplinks});\n" + self.lines)

    def write(self) -> None:
        self.bond.write("gateway.conf", self.text())

    def apply(self) -> None:
        self.write()
        hang_up(self.bond, "reload: done")
        self.bond.gateway_socket = self.socket

    def spoil(self, lines: str) -> str:
        """Returns what the gateway says of it."""
        self.bond.write("gateway.conf", self.text() + lines)
        hang_up(self.bond, "reload: nothing has changed")
        return next(event["reason"] for event in reversed(events(self.bond))
                    if event["what"] == "not reloaded")


def hang_up(bond: Bonded, until: str) -> None:
    count = bond.gateway.output().count(until)
    bond.gateway.send_signal(signal.SIGHUP)
    wait_for(lambda: bond.gateway.output().count(until) > count, 10, until)


@contextlib.contextmanager
def scene(uplinks: Optional[Sequence[Uplink]] = None, first: Sequence[str] = (),
          **options: Any) -> Iterator[Tuple[Lab, Bonded, Setting]]:
    """first: the uplinks that are configured at first, instead of all."""
    with Lab(uplinks) as lab:
        bond = Bonded(lab, **options)
        setting = Setting(bond)
        setting.uplinks = [u for u in setting.uplinks if not first or u[0] in first]
        if bond.spare_key_file:
            setting.concentrators.append(("spare", SPARE_PORT, bond.spare_key_file))
        setting.write()
        with bond:
            yield lab, bond, setting


def finish(bond: Bonded, *transfers: Transfer) -> None:
    for transfer in transfers:
        transfer.wait_for(100_000)
        sent, received = transfer.finish()
        assert sent == received
    assert bond.status()["flows"]["failed"] == 0


def names(bond: Bonded) -> List[str]:
    return [uplink["name"] for uplink in bond.status()["uplinks"]]


def uses(bond: Bonded) -> Dict[str, str]:
    """The uplinks of the only flow's established subflows, with its role there."""
    return {path["uplink"]: path["role"] for path in bond.flow()["subflows"]
            if path["state"] == "established"}


def wait_for_leave(bond: Bonded, uplink: str) -> None:
    wait_for(lambda: uplink not in uses(bond), JOINED, f"{uplink} is left")


# --- Uplinks --------------------------------------------------------------------------------------


def test_uplinks_are_added_removed_and_put_in_another_order():
    """The LTE contract ends, and a cable is laid. A download goes on all the time: it leaves the one
    and takes the other, and what is known of the third one stays known."""
    with scene(three_uplinks(), first=["dsl", "lte"]) as (lab, bond, setting):
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "dsl", 30)
        wait_for_use(bond, "lte", 30)
        before = bond.uplink("dsl")
        setting.uplinks = [("cable", "cable", ""), ("dsl", "dsl", "cost = 7;")]
        setting.apply()
        assert names(bond) == ["cable", "dsl"]
        now = bond.uplink("dsl")
        assert (now["state"], now["cost"]) == ("up", 7) and now["rtt_ms"] > 0
        assert now["rx_bytes"] >= before["rx_bytes"]
        wait_for_leave(bond, "lte")
        wait_for_use(bond, "cable", JOINED)
        wait_for_use(bond, "dsl", JOINED)
        rules = lab.router.run(["ip", "rule"]).stdout
        assert lab.uplink("lte").address not in rules and lab.uplink("cable").address in rules
        told = [(event["name"], event["what"]) for event in events(bond)]
        assert ("lte", "removed") in told and ("", "reloaded") in told

        setting.uplinks = [("lte", "lte", ""), ("home", "dsl", "")]  # it is back; the other renamed
        setting.apply()
        assert names(bond) == ["lte", "home"]
        wait_for_use(bond, "home", JOINED)
        wait_for_use(bond, "lte", JOINED)
        wait_for_leave(bond, "cable")
        setting.uplinks = [("lte", "lte", "")]
        setting.apply()
        wait_for_leave(bond, "home")
        wait_for_use(bond, "lte", JOINED)
        wait_for(lambda: list(uses(bond)) == ["lte"], JOINED, "no other path")
        finish(bond, transfer)


def test_uplinks_whose_interfaces_change():
    """Somebody has mixed up the interfaces and puts them right: under the same names are other
    uplinks now. The only uplink moves to another interface, too, and a flow with it."""
    with scene(three_uplinks(), first=["dsl", "lte"]) as (lab, bond, setting):
        transfer = Transfer(lab, "up")
        wait_for_use(bond, "dsl", 30)
        wait_for_use(bond, "lte", 30)
        setting.uplinks = [("dsl", "lte", ""), ("lte", "dsl", "")]
        setting.apply()
        for name, interface in ("dsl", "lte"), ("lte", "dsl"):
            assert bond.uplink(name)["address"] == lab.uplink(interface).address
            assert bond.uplink(name)["state"] == "up"
            wait_for_use(bond, name, JOINED)
        setting.uplinks = [("dsl", "cable", "")]
        setting.apply()
        wait_for_use(bond, "dsl", JOINED)
        assert bond.uplink("dsl")["address"] == lab.uplink("cable").address
        wait_for(lambda: uses(bond) == {"dsl": "active"}, JOINED, "no other path")
        finish(bond, transfer)


# --- Concentrators --------------------------------------------------------------------------------


def station_of_new_flow(lab: Lab, bond: Bonded) -> str:
    """By which concentrator the next connection of the LAN goes."""
    known = {flow["id"] for flow in bond.flows()}

    def hold(connection: Any) -> None:
        connection.sendall(b"x")
        read(connection, 1)

    with Server(lab.destinations[0], hold) as server, \
            connect(lab.client, lab.destinations[0].address, server.port) as client:
        assert read(client, 1) == b"x"
        return next(flow["concentrator"] for flow in bond.flows() if flow["id"] not in known)


def test_concentrators_are_removed_added_and_put_in_another_order():
    """A new VPS takes the place of the old one. A download by the old one goes on; all that begins
    goes by the new one, and nothing meanwhile by neither."""
    with scene(spare=True) as (lab, bond, setting):
        vps, spare = setting.concentrators
        setting.concentrators = [vps]
        setting.apply()
        transfer = Transfer(lab, "down")
        transfer.wait_for(500_000)
        setting.concentrators = [spare]
        setting.apply()
        assert way_of(lab) == "bond" and bond.status()["intercepting"]
        assert [each["name"] for each in bond.status()["concentrators"]] == ["spare"]
        wait_for(lambda: station_of_new_flow(lab, bond) == "spare", 5, "use of the new one")
        transfer.wait_for(500_000)
        wait_for(lambda: [flow["concentrator"] for flow in bond.flows()] == ["vps"], 5, "the download")

        setting.concentrators = [vps, spare]
        setting.apply()
        wait_for(lambda: station_of_new_flow(lab, bond) == "vps", 5, "use of the first one")
        setting.concentrators = [spare, vps]
        setting.apply()
        assert station_of_new_flow(lab, bond) == "spare"
        setting.concentrators = [("other", *spare[1:])]  # only the name is another
        setting.apply()
        assert station_of_new_flow(lab, bond) == "other"
        assert "router's normal way" not in bond.gateway.output()
        finish(bond, transfer)


# --- Rules ----------------------------------------------------------------------------------------


def test_rules_change_under_a_running_flow():
    """Downloads shall leave the first uplink to others, and then no longer."""
    with scene() as (lab, bond, setting):
        transfer = Transfer(lab, "down")
        wait_for_use(bond, "dsl", 30)
        wait_for_use(bond, "lte", 30)
        assert bond.flow()["rule"] == ""
        setting.lines = 'rules = ({ name = "aside"; uplinks = ["lte"]; });\n'
        setting.apply()
        wait_for_leave(bond, "dsl")
        assert bond.flow()["rule"] == "aside"
        setting.uplinks.reverse()
        setting.lines = 'rules = ({ name = "other"; uplinks = ["dsl"]; });\n'
        setting.apply()
        wait_for_use(bond, "dsl", JOINED)
        wait_for_leave(bond, "lte")
        assert bond.flow()["rule"] == "other"
        setting.lines = ""
        setting.apply()
        wait_for_use(bond, "lte", JOINED)
        assert bond.flow()["rule"] == ""
        setting.lines = 'rules = ({ name = "no"; action = "refuse"; });\n'
        setting.apply()
        assert carried(bond, "dsl") > 0
        finish(bond, transfer)  # it is for new flows


# --- All else -------------------------------------------------------------------------------------


class Visitor:
    """Opens one connection of the LAN after the other; each must be answered, and by the bond."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.count = lab, 0
        self._error: Optional[BaseException] = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None and self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                assert way_of(self.lab) == "bond"
                self.count += 1
        except BaseException as error:
            self._error = error

    def wait_for(self, more: int) -> None:
        goal = self.count + more
        wait_for(lambda: self._error or self.count >= goal, 30, f"{more} connections more")


def test_all_that_can_change_at_once():
    """Where packets are caught, marked and delivered, and where status asks. Those who open pages all
    the while get every one of them by the bond. What is killed then leaves nothing behind."""
    with scene() as (lab, bond, setting):
        transfer = Transfer(lab, "down")
        with Visitor(lab) as visitor:
            visitor.wait_for(1)
            for lines, lan in (("listen_port = 7180; firewall_mark = 0x20000000;\n", ["br-old"]),
                               ('listen_port = 7170; bypass = ["192.0.2.0/24"];\n', []),
                               ("route_unproxied = false; max_flows = 100;\n", ["br-new"])):
                setting.lines = lines
                setting.lan = lan + [lab.lan_interface]
                setting.socket = lab.directory / f"{lines.split()[0]}.sock"
                setting.apply()
                transfer.wait_for(100_000)
                visitor.wait_for(1)
        table = lab.router.run(["nft", "list", "table", "inet", "bondway"]).stdout
        assert "br-new" in table and "br-old" not in table and "192.0.2.0" not in table
        rules = lab.router.run(["ip", "rule"]).stdout
        assert "br-new" in rules and "br-old" not in rules and "0x20000000" not in rules
        assert f"lookup {7170 + 9}" not in rules  # route_unproxied
        finish(bond, transfer)
        bond.kill_gateway()
        wait_for(lambda: not interception(lab.router), 5, "an end of interception")
        wait_for(lambda: "7170" not in lab.router.run(["ip", "rule"]).stdout, 5, "no rule left")


def test_an_invalid_configuration():
    """It says what is wrong and where, in the log and among the events, and changes nothing."""
    with scene() as (lab, bond, setting):
        transfer = Transfer(lab, "down")
        state = kernel_state(lab.router)
        where = f"{bond.gateway_conf}:5: "
        assert setting.spoil("shedule = 1;\n").startswith(where + 'unknown key "shedule"')
        assert setting.spoil("routing_table = 8000;\n") == (
            where + "routing_table cannot change from 7170 to 8000 while this runs; "
            "restart it, or write 7170 again")
        assert setting.spoil("uplinks = ();\na = 1;\nb = 2;\n").startswith(where)
        bond.write("key", "no key").chmod(0o644)
        key, setting.concentrators = setting.concentrators, [("vps", PORT, lab.directory / "key")]
        assert "chmod 600" in setting.spoil("")
        setting.concentrators = key
        with lab.router.inside():
            with socket.create_server(("127.0.0.1", 7999)):
                assert setting.spoil("listen_port = 7999;\n") == (
                    "cannot listen on 127.0.0.1:7999: Address already in use; "
                    "set another listen_port")
        assert kernel_state(lab.router) == state
        assert names(bond) == ["dsl", "lte"]
        finish(bond, transfer)


RELOADS = int(os.environ.get("RELOADS", 24))


@pytest.mark.parametrize("fast", [False, True], ids=["", "fast"])
def test_reloads_under_load(fast):
    """Again and again, every second time with a mistake: no flow is lost, and nothing piles up (a
    sanitizer looks for leaks; without one, memory can be measured)."""
    with scene(three_uplinks(), spare=True, fast=fast) as (lab, bond, setting):
        uplinks, concentrators = setting.uplinks, setting.concentrators
        transfers = [Transfer(lab, "down"), Transfer(lab, "up")]

        def reload(number: int) -> None:
            if number % 2:
                setting.spoil("nonsense = 1;\n")
                return
            setting.uplinks = [uplinks[(number // 2 + i) % 3] for i in range(2)]
            setting.concentrators = concentrators[::1 if number % 4 else -1]
            setting.lines = f"listen_port = {7180 + number % 3};\n"
            setting.apply()

        def figures() -> Tuple[int, int]:
            """Descriptors without those of connections that wait, whose number varies, and memory."""
            wait_for(lambda: bond.status()["flows"]["active"] == 2, 10, "only the two")
            warm = sum(each["warm"] for each in bond.status()["concentrators"])
            return descriptors(bond.gateway) - warm, memory_kib(bond.gateway)

        for number in range(4):
            reload(number)
        at_first = figures()
        with Visitor(lab) as visitor:
            for number in range(RELOADS):
                reload(number)
                if number % 8 == 0:
                    visitor.wait_for(1)
                    for transfer in transfers:
                        transfer.wait_for(50_000)
        print(f"{at_first} {figures()}, {visitor.count} connections")
        wait_for(lambda: figures()[0] <= at_first[0], 20, "no more descriptors than at first")
        assert not fast or figures()[1] < at_first[1] + 1024
        finish(bond, *transfers)
