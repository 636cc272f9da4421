"""One alarm followed by its id through the logs of four processes, from its arrival to the last receipt."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import open_ledger
from lapel_gateway.registry import Registry
from lapel_protocol.event import ALARM_SENDING, peek_event
from lapel_protocol.reports import AlarmSending
from tests.gateway.metrics.installation import Installation, installation
from tests.gateway.mqtt import MqttClient, connected
from tests.gateway.test_webhook import Receiver, receiver
from tests.support.accounts import token_of
from tests.support.device import TrueDevice
from tests.waiting import wait_until

TIMEOUT_S = 180.0

__all__ = ["receiver"]


def provision(site: Installation) -> tuple[TrueDevice, str]:
    """A device of this gateway, and the token of somebody who answers alarms."""
    now_ms = time.time_ns() // 1_000_000
    engine = open_ledger(site.config.ledger_file)
    try:
        organisation = OrganisationKey.load(site.config.organisation_key_file)
        registry = Registry(engine, KeyStore.load(site.config.master_key_file))
        package = registry.provision("camera 1", "Zoë Quinn", organisation, "127.0.0.1", 1883, "", now_ms, now_ms)
        return TrueDevice(package, organisation), token_of(engine, "Sam", now_ms)
    finally:
        engine.dispose()


def lines(site: Installation, role: str, alarm: str) -> list[dict[str, Any]]:
    """What a role has logged of an alarm."""
    said = [json.loads(line) for line in site.log(role).read_text().splitlines() if line.startswith("{")]
    return [line for line in said if line.get("alarm") == alarm]


def events(site: Installation, role: str, alarm: str) -> list[str]:
    return [line["event"] for line in lines(site, role, alarm)]


def in_order(receiver: Receiver, well: bool) -> None:
    """Let it take what comes, or not."""
    receiver.answer = lambda handler: handler.send_response(204 if well else 503)


@pytest.mark.needs("mosquitto")
def test_one_key_follows_an_alarm_from_its_arrival_through_every_try_to_its_receipts(
    tmp_path: Path, free_ports: list[int], receiver: Receiver
) -> None:
    in_order(receiver, False)
    port = urlsplit(receiver.url).port or 0
    with installation(tmp_path, [*free_ports[:2], port]) as site:
        site.wait_until_ready(TIMEOUT_S)
        device, token = provision(site)
        device.boot()
        with connected(site.config.broker.port, "camera-1") as link:
            alarm = follow(site, link, device, token, receiver)
    said = "".join(site.log(role).read_text() for role in site.roles)
    assert [line for line in said.splitlines() if alarm in line and f'"alarm": "{alarm}"' not in line] == []
    assert token not in said


def follow(site: Installation, link: MqttClient, device: TrueDevice, token: str, receiver: Receiver) -> str:
    """Raise an alarm, have it answered, and see each role's lines about it; returns its id."""
    link.publish(*device.hello())
    raised = device.alarm()
    _, _, boot, counter = peek_event(raised[1])
    alarm = f"{device.name}-{boot}-{counter}"
    link.publish(*raised)
    wait_until(lambda: events(site, "alarms", alarm)[:2] == ["alarm", "alarm receipted to its device"], TIMEOUT_S)

    wait_until(lambda: "not delivered" in events(site, "deliver", alarm), TIMEOUT_S)
    assert events(site, "deliver", alarm)[0] == "escalation step"
    in_order(receiver, True)
    wait_until(lambda: "delivered" in events(site, "deliver", alarm), TIMEOUT_S)
    tries = [line for line in lines(site, "deliver", alarm) if line["event"] in ("delivered", "not delivered")]
    assert [line["attempts"] for line in tries] == list(range(1, len(tries) + 1))

    device.mono_ms += 10_000
    link.publish(*device.on_event_lane(device.event(ALARM_SENDING, AlarmSending(counter, 340, 1).encode())))
    wait_until(lambda: "alarm had left its device" in events(site, "ingest", alarm), TIMEOUT_S)

    answered = site.client.post(f"/api/v1/alarms/{alarm}/acknowledge", headers={"Authorization": f"Bearer {token}"})
    assert answered.status_code == 200
    wait_until(lambda: "alarm acknowledged" in events(site, "web", alarm), TIMEOUT_S)
    wait_until(lambda: "device is told of an answer" in events(site, "alarms", alarm), TIMEOUT_S)
    return alarm
