"""bondway doctor: each ailment a router or a VPS may have is found, named, and has its remedy."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List

from bonded import PORT, Bonded, Host, Lab, Uplink
from protocol import Key, Reply, Schedule, reply_flight
from traffic import Server

WELCOME = 2


def doctor(bond: Bonded, host: Host, conf, *wrapper: Any) -> Dict[str, Any]:
    """Its JSON, with the exit code beside the findings."""
    done = host.run([*wrapper, bond.program, "doctor", "--json", "-c", conf], check=False)
    assert done.stderr == "", done.stderr
    return {**json.loads(done.stdout), "code": done.returncode}


def of(report: Dict[str, Any], subject: str) -> List[tuple]:
    """(level, text, remedy) of each finding about it."""
    return [(each["level"], each["text"], each["remedy"]) for each in report["findings"]
            if each["subject"] == subject]


def figures(report: Dict[str, Any], subject: str) -> Dict[str, Any]:
    return next(each["figures"] for each in report["findings"] if each["subject"] == subject)


def test_all_is_well():
    """With a gateway that runs, and without; on the VPS, too. Nothing is left behind."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        for running in False, True:
            if running:
                bond.start_gateway()
            report = doctor(bond, lab.router, bond.gateway_conf)
            assert report["code"] == 0, report
            assert (report["role"], report["version"]) == ("gateway", bond.status()["version"] if
                                                           running else report["version"])
            assert of(report, "kernel") == [("ok", "MPTCP, with a userspace path manager", ""),
                                            ("ok", "nftables, with TPROXY", "")]
            assert of(report, "lan") == [("ok", f"{lab.lan_interface} is there", "")]
            assert of(report, "gateway") == [
                ("ok", "it runs, and carries the LAN's connections", "") if running else
                ("note", "none runs now: `bondway gateway` starts one", "")]
            for uplink, rtt in ("dsl", 20), ("lte", 60):
                (level, text, _), = of(report, uplink)
                assert level == "ok" and text.endswith("MPTCP survives")
                seen = figures(report, uplink)
                assert (seen["mptcp"], seen["packet_bytes"], seen["concentrator"]) == (True, 1500,
                                                                                       "vps")
                assert rtt <= seen["rtt_ms"] < rtt + 200 and seen["probes_lost"] <= 1
            assert of(report, "vps") == [
                ("ok", f"{lab.vps.address}:{PORT} accepts our key, by 2 of 2 uplinks", "")]
        report = doctor(bond, lab.vps, bond.concentrator_conf)
        assert (report["code"], report["role"]) == (0, "concentrator")
        assert of(report, "home") == [("ok", "it has connected", "")]
        text = lab.router.run([bond.program, "doctor", "-c", bond.gateway_conf]).stdout
        assert f"\nok    lan      {lab.lan_interface} is there\n" in text


def test_uplinks_with_every_ailment():
    """One of each kind, looked at together: what is wrong with one does not spoil another."""
    ailing = ["well", "cut", "silent", "strips", "noudp", "notcp", "small", "lossy"]
    with Lab([Uplink(name, delay=10) for name in ailing]) as lab, Bonded(lab, start=False) as bond:
        bond.start_concentrator()
        lab.uplink("cut").carrier(False)
        lab.uplink("silent").drop("both")
        lab.uplink("strips").set(strip_mptcp=True)
        lab.uplink("lossy").set(loss=60)
        lab.router.run(["nft", f"""
            table inet ailing {{ chain out {{
                type filter hook output priority 0;
                oifname "noudp" udp dport {PORT} drop
                oifname "small" ip length > 1200 drop
            }}
            }}"""])
        lab.vps.run(["nft", f"""
            table inet wall {{ chain in {{
                type filter hook input priority 0;
                ip saddr {lab.uplink("notcp").address} tcp dport {PORT} drop
            }}
            }}"""])
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 3, report
        assert of(report, "well")[0][0] == "ok"
        assert of(report, "cut") == [("warn", "cut: no carrier", "look at its cable, or its modem")]
        silence = ("warn", f"no way to vps: {lab.vps.address}:{PORT} does not answer: is it up, and "
                   "its port open in the firewall?", "")
        assert of(report, "silent") == [silence]
        assert of(report, "notcp") == [silence, (
            "note", f"UDP gets through to vps, port {PORT}",
            "open that port for TCP, too, in the VPS's firewall and its provider's")]
        (level, text, remedy), = of(report, "strips")
        assert level == "warn" and "MPTCP is stripped: it can carry flows only alone" in text
        assert "another port of the concentrator often helps" in remedy
        (level, text, remedy), = of(report, "noudp")
        assert level == "warn" and "no probe is answered: its death will be noticed late" in text
        assert remedy.startswith("open the port for UDP")
        (level, text, remedy), = of(report, "small")
        assert level == "warn" and "packets up to 1200 bytes" in text
        assert figures(report, "small")["packet_bytes"] == 1200
        assert "set the interface's MTU" in remedy
        (level, text, remedy), = of(report, "lossy")[:1]
        assert level == "warn"
        (level, text, _), = of(report, "vps")
        assert level == "ok" and "accepts our key, by" in text


def test_the_concentrator_is_not_there_or_does_not_know_us():
    """Down, or with another key. Exit code 1: nothing works so."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        at = f"{lab.vps.address}:{PORT}"

        def ails(why: str) -> None:
            report = doctor(bond, lab.router, bond.gateway_conf)
            assert report["code"] == 1
            for uplink in "dsl", "lte":
                assert of(report, uplink) == [("warn", f"no way to vps: {why}", "")]
            assert of(report, "vps") == [("bad", f"no uplink leads to {at}", "see the uplinks above")]

        ails(f"{at} refuses connections: is the concentrator running there?")
        wrong = bond.write("wrong.key", bond.new_key())
        right = bond.concentrator_conf.read_text() + 'hello_timeout = "3500ms";\n'
        bond.concentrator_conf.write_text(right.replace(str(bond.key_file), str(wrong)))
        bond.start_concentrator()
        ails(f"it does not accept our key: put the key of {bond.key_file} on the concentrator")


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
        (level, text, remedy), = of(report, "clock")
        assert (level, remedy) == ("warn", "let NTP set it: bondway minds not, TLS does")
        assert text in ("it is 1 h 59 min behind the concentrator's",
                        "it is 2 h 0 min behind the concentrator's")


def test_mistakes_in_the_configuration():
    """Wrong interface names, a key that others may read, a mistyped key; and no configuration."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        text = bond.gateway_conf.read_text()
        bond.gateway_conf.write_text(text.replace(lab.lan_interface, "br-lam")
                                     .replace('interface = "dsl"', 'interface = "dls"'))
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert of(report, "lan") == [("warn", "there is no interface br-lam: nothing comes from "
                                      "there", "correct lan_interfaces, or bring it up")]
        assert of(report, "dsl") == [("warn", "dls: no such interface",
                                      "is its name right? correct interface, or bring it up")]

        bond.gateway_conf.write_text(text + "listen_prot = 1;\n")
        bond.key_file.chmod(0o644)
        report = doctor(bond, lab.router, bond.gateway_conf)
        assert report["code"] == 1
        messages = [text for _, text, _ in of(report, "config")]
        assert any(f'key file "{bond.key_file}": others than its owner may read it' in message
                   for message in messages)
        assert any('unknown key "listen_prot"' in message for message in messages)

        none = bond.directory / "none.conf"
        report = doctor(bond, lab.router, none)
        assert of(report, "config") == [("bad", f"{none}: there is no such file",
                                         "create it, or name another with -c")]


def test_not_as_root():
    """It says what it could not see."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        for path in bond.directory, bond.key_file, bond.gateway_conf:
            os.chown(path, 65534, 65534)
        report = doctor(bond, lab.router, bond.gateway_conf, "setpriv", "--reuid=65534",
                        "--regid=65534", "--clear-groups")
        assert ("warn", "not root: whether it has TPROXY cannot be seen", "run this as root") in of(
            report, "kernel")
