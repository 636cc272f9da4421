"""From a press on the real firmware to a human's answer on its light, through every kind of channel.

Real MicroPython, Mosquitto with mutual TLS, the gateway with all its roles; receivers that are not ours: pysiaalarm and
siadc09 for the receiving centre, aiosmtpd for mail, a verifying webhook, another Mosquitto, and Apprise's JSON service.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from siadc09 import message

from lapel_gateway.ledger.schema import alarm, alarm_log
from lapel_gateway.service import Gateway
from lapel_gateway.settings.config import ROLES
from lapel_sim.hardware import PICO_W
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.demo.duty_room import DutyRoom
from lapel_tools.gateway_commands import init
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site
from tests.gateway.mail import PostOffice, relay
from tests.gateway.mqtt import MqttClient, connected
from tests.gateway.test_apprise import TOKEN, Sink
from tests.gateway.test_mqtt_out import mosquitto
from tests.gateway.test_sia_judges import Judge, sent, siadc09_says
from tests.scenarios.conftest import assert_sound
from tests.scenarios.site import wall_ms
from tests.support.accounts import token_of

__all__ = ["sent"]  # a fixture

pytestmark = pytest.mark.needs("micropython", "mosquitto")

SIA_KEY = "0123456789ABCDEF0123456789ABCDEF"
"""pysiaalarm takes the characters themselves as the key."""

WEARER, ANN = "Alex Okafor", "Ann Archer"
WAIT_S = 60


class Town:
    """A gateway, everybody whom it may tell, and one device."""

    def __init__(self, folder: Path, ports: list[int], stack: ExitStack) -> None:
        self.folder = folder
        self.room, self.judge, self.office, self.sink = DutyRoom(), Judge(SIA_KEY), PostOffice(), Sink()
        for receiver in (self.room, self.judge, self.sink):
            stack.callback(receiver.close)
        broker, web, smtp, other = ports
        stack.enter_context(relay(self.office, smtp))
        stack.enter_context(mosquitto(folder, other))
        self.board: MqttClient = stack.enter_context(connected(other))
        self.board.subscribe("town/alarms")
        config = folder / "lapel.toml"
        init(config, organisation="Riverside", data_dir=folder / "data", broker="mosquitto", port=broker)
        self._settings(config, web, smtp, other)
        self.site = Site(config)
        stack.callback(self.site.engine.dispose)
        for name in (ANN, WEARER):
            token = token_of(self.site.engine, name, wall_ms())
            if name == WEARER:
                self.wearers_token = token
        gateway = Gateway(self.site.config, ROLES)
        gateway.start()
        stack.callback(gateway.stop)
        self.url = f"http://127.0.0.1:{web}"

    def _settings(self, config: Path, web: int, smtp: int, other: int) -> None:
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.room.trust(secret)
        for name, text in (
            ("hook", secret),
            ("arc", SIA_KEY.encode().hex()),
            ("phone", self.sink.url("ann")),
        ):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o600)
        text = (
            config.read_text()
            .replace("port = 8480", f"port = {web}")
            .replace('#public_url = "https://lapel.example.org"', f'public_url = "http://127.0.0.1:{web}"')
        )
        config.write_text(
            text
            + f"""
[[webhook]]
name = "duty-room"
url = "{self.room.url}"
secret_file = "hook"

[[smtp]]
name = "duty"
host = "127.0.0.1"
port = {smtp}
security = "none"
sender = "lapel@example.org"
to = ["{ANN} <ann@example.org>"]

[[sia_receiver]]
name = "north"
host = "127.0.0.1"
port = {self.judge.port}
account = "1234AB"
key_file = "arc"

[[mqtt_out]]
name = "board"
host = "127.0.0.1"
port = {other}
topic = "town/alarms"
security = "none"

[[apprise]]
name = "ann-phone"
url_file = "phone"

[[policy]]
name = "town"
steps = [
  {{ targets = ["webhook:duty-room", "person:{ANN}"], delay_s = 5 }},
  {{ targets = ["sia:north", "mqtt:board"], delay_s = 5 }},
]
"""
        )

    def told(self, what: str) -> Callable[[], bool]:
        """Whether the dashboard was told of this."""
        return lambda: any(json.loads(body)["type"] == f"alarm.{what}" for _, body in list(self.board.received))

    def centre_has(self, code: str) -> bool:
        """Whether the receiving centre has an event of this code."""
        return any(event.code == code for event in list(self.judge.events))

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.site.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(table))]


@pytest.fixture
def town(tmp_path: Path, free_ports: list[int]) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(tmp_path, free_ports, stack)


def test_a_press_reaches_every_channel_and_an_answer_reaches_the_device(
    town: Town, tmp_path: Path, sent: list[bytes]
) -> None:
    with World(tmp_path / "world", seed=11) as world:
        device = world.add_device("camera-1", PICO_W)
        package = tmp_path / "package"
        provision_device(town.site, "camera-1", WEARER, package, wall_ms(), None)
        provision(device, package)
        device.power_on()
        device.wait_shown("idle", timeout_s=WAIT_S)

        device.hold("ALARM", 2200)
        device.wait_shown("alarm received", timeout_s=WAIT_S)
        raised = town.room.wait("alarm.raised", WAIT_S)
        assert raised is not None
        data = raised[1]["data"]
        assert (data["person"], data["kind"], data["stage"], data["test"]) == (WEARER, "panic", "step 1 of 2", False)

        (mail,) = town.office.wait_for(1)
        assert mail.recipients == ["ann@example.org"]
        assert mail.mail["subject"] == f"ALARM panic: {WEARER}"
        (url,) = re.findall(r"http://\S+/ack/\S+", mail.mail.get_content())

        # Nobody answers: the second step.
        world.wait_until(lambda: town.centre_has("PA"), WAIT_S, "the centre's alarm")
        event = next(event for event in town.judge.events if event.code == "PA")
        assert (event.account, event.code, event.encrypted) == ("1234AB", "PA", True)
        frames = [message.parse_frame(frame, SIA_KEY.encode()) for frame in sent]
        assert "SIA-DCS" in {frame.idtoken for frame in frames}
        (first,) = [frame for frame in sent if message.parse_frame(frame, SIA_KEY.encode()).idtoken == "SIA-DCS"][:1]
        assert siadc09_says(first, SIA_KEY)[3:5] == ("PA", "1")
        world.wait_until(town.told("raised"), WAIT_S, "the dashboard's alarm")
        # Nobody answers still: everyone, also who is no target of the policy.
        town.sink.wait_for(1)
        assert TOKEN not in json.dumps(json.loads(town.sink.got[0][2]))

        with httpx.Client(base_url=town.url, trust_env=False, timeout=30) as client:
            own = {"Authorization": f"Bearer {town.wearers_token}"}
            refused = client.post(f"/api/v1/alarms/{data['alarm']}/acknowledge", headers=own)
            assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
            assert client.get(url).status_code == 200
            assert client.post(url).status_code == 200
        device.wait_shown("alarm acknowledged", timeout_s=WAIT_S)
        answered = town.room.wait("alarm.acknowledged", WAIT_S)
        assert answered is not None
        assert answered[1]["data"]["acknowledged_by"] == ANN
        world.wait_until(town.told("acknowledged"), WAIT_S, "the dashboard's answer")

        with httpx.Client(base_url=town.url, trust_env=False, timeout=30) as client:
            token = token_of(town.site.engine, ANN, wall_ms())
            closed = client.post(
                f"/api/v1/alarms/{data['alarm']}/resolve",
                headers={"Authorization": f"Bearer {token}"},
                json={"reason": "false", "note": "pressed in the bag"},
            )
            assert closed.status_code == 200
        device.wait_shown("alarm resolved", timeout_s=WAIT_S)
        world.wait_until(lambda: town.centre_has("PR"), WAIT_S, "the centre's restore")
        assert_sound(world)

    (row,) = town.rows(alarm)
    assert (row["acknowledged_by"], row["resolution"]) == (ANN, "false")
    assert row["raised_wall_ms"] <= row["received_ms"] <= row["notified_ms"] <= row["acknowledged_ms"]
    steps = [entry["detail"].split(":")[0] for entry in town.rows(alarm_log) if entry["step"] == "step"]
    assert steps[:3] == ["town, step 1 of 2", "town, step 2 of 2", "town, everyone, time 1"]
