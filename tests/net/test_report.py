"""bondway report: what a bug report needs is in it; no key and no public address is."""

from __future__ import annotations

import re

from bonded import Bonded, Lab, kernel_state
from traffic import Background, offer, pair, take


def test_a_report_gives_nothing_away():
    """Of a router and a VPS that carry a flow; with a key and a link where a person has put them."""
    with Lab() as lab, Bonded(lab) as bond:
        destination = lab.destinations[0]
        client, server = pair(lab.client, destination)
        sent = Background(offer, server, 1_000_000)
        assert take(client, 1_000_000) == sent.result()
        key = bond.key_file.read_text().strip()
        link = lab.vps.run([bond.program, "invite", "home", "-c", bond.concentrator_conf,
                            "--address", lab.vps.address]).stdout.strip()
        for conf in bond.gateway_conf, bond.concentrator_conf:
            conf.write_text(f"{conf.read_text()}# {key}\n# {link}\n# {key.split(':')[1]}\n")
        before = kernel_state(lab.router)

        secrets = [key.split(":")[1], lab.vps.address, lab.vps.address6, destination.address,
                   destination.address6]
        secrets += [address for uplink in lab.uplinks for address in (uplink.address,
                                                                      uplink.address6)]
        reports = [host.run([bond.program, "report", "-c", conf]).stdout for host, conf in
                   ((lab.router, bond.gateway_conf), (lab.vps, bond.concentrator_conf))]
        for report in reports:
            for secret in secrets:
                assert not re.search(rf"(?<![\w.:]){re.escape(secret)}(?![\w.])", report), secret
            assert key.split(":")[1][12:40] not in report
            assert not re.search(r"([0-9a-f]{2}:){5}[0-9a-f]{2}",
                                 re.sub("00:00:00:00:00:00|ff:ff:ff:ff:ff:ff", "", report))
            for title in "status", "flows", "events", "sysctls", "ip address 2>&1":
                assert f"\n== {title}\n" in report, title
            assert "net/mptcp/enabled = 1\n" in report
            assert report.count("(secret)") >= 3
        on_router, on_vps = reports
        assert "table inet bondway {" in on_router and '"uplink": "dsl"' in on_router
        assert f"\n== {bond.gateway_conf}\n" in on_router and "control_socket" in on_router
        assert '"role": "concentrator"' in on_vps
        # What belongs together still does: the flow's destination, and the concentrator.
        address = re.search(r'address = "(ipv4-\d+)"', on_router)[1]
        assert f'"address": "{address}:7171"' in on_router
        assert re.search(r'"destination": "ipv4-\d+:\d+"', on_router)
        assert str(lab.client.address) in on_router  # private
        assert kernel_state(lab.router) == before
        client.close()
        server.close()


def test_a_report_of_nothing():
    """Nothing is configured, nothing runs: it says so, and is no failure."""
    with Lab() as lab, Bonded(lab, start=False) as bond:
        done = lab.client.run([bond.program, "report", "-c", bond.directory / "none.conf"])
        assert done.stderr == ""
        assert re.match(r"bondway \d+\.\d+\.\d+, \d{4}-", done.stdout)
        report = lab.router.run([bond.program, "report", "-c", bond.gateway_conf]).stdout
        assert f"no bondway answers at {bond.gateway_socket}" in report
        assert "\n== what is wrong with it\nnothing\n" in report
