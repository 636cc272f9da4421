"""Firmware that nobody signed: through the broker, through the gateway, and from the past.

The real application runs from slots behind the real loader's choice, the real gateway rolls a release out, and what
lies in the slot that runs is compared with what the signer made, byte for byte, at every boot.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from lapel_build.release import modulus_of
from lapel_device.slots import SLOT_A, SlotState, slot_folder
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.firmware_tables import firmware_release
from lapel_gateway.updates import rollouts
from lapel_gateway.updates.rollouts import PAUSED, RUNNING, TO_ALL
from lapel_protocol.releasing import Release
from lapel_sim.inprocess.fuse import Fuse
from lapel_sim.inprocess.hostile import TRICKS, Trick
from lapel_sim.inprocess.storage import SimulatedStorage, make_storage
from tests.firmware.releases import boot, give_key, put, release, signer
from tests.redteam.stage import Stage

if TYPE_CHECKING:
    from lapel_device.slots import Running

SIGNED = {number: release(number) for number in (6, 7)}
SIGNED[8] = release(8, files={f"part_{number}.mpy": bytes([number]) * 5000 for number in range(10)})


class Slots:
    """The slots of a stage's device; `ran` lists the numbers that it ran, boot by boot."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.storage: SimulatedStorage = make_storage("littlefs-flash", Fuse(random.Random(1)), 160 << 10)
        self.ran: list[int] = []
        give_key(self.storage)
        put(self.storage, SLOT_A, SIGNED[7])
        device = stage.one
        device.board.slot_storage = self.storage
        device.loader = self._boot
        device.power_cut(stage.now_ms)
        stage.run(3000)
        assert device.app.status().welcomed

    def _boot(self) -> Running | None:
        self.storage.lose_power()
        running = boot(self.storage)
        assert running is not None
        slot, _, number = running[:3]
        made = SIGNED[number]
        for path, content in {**made.files, "manifest": made.signed_manifest}.items():
            assert self.storage.content(f"{slot_folder(slot)}/{path}") == content
        self.ran.append(number)
        return running

    def roll_out(self, made: Release, key: int = 0) -> int:
        """Publish with the key that this gateway was told to trust, and begin."""
        path = self.stage.gateway.folder / "made.fw"
        path.write_bytes(made.data)
        gateway = self.stage.gateway
        gateway.releases.publish(path, modulus_of(signer(key)), "operator", gateway.now_ms)
        found = gateway.releases.find(made.name)
        return rollouts.begin(gateway.engine, found, TO_ALL, "", "operator", gateway.now_ms).id

    @property
    def said(self) -> list[tuple[str, str]]:
        """What the gateway last heard of an update: (step, why)."""
        return [(row["step"], row["step_why"]) for row in self.stage.gateway.rows("device_firmware")]


@pytest.fixture
def slots(stage: Stage) -> Slots:
    return Slots(stage)


@pytest.mark.parametrize("trick", TRICKS, ids=[trick.__name__ for trick in TRICKS])
def test_whatever_a_broker_does_to_an_update_only_signed_firmware_runs_and_the_update_ends(
    make_stage: Callable[..., Stage], trick: Trick
) -> None:
    stage = make_stage(seed=TRICKS.index(trick))
    stage.run(3000)
    slots = Slots(stage)
    number = slots.roll_out(SIGNED[8])
    stage.enemy(0.5, (trick,))
    stage.run(900_000)
    stage.broker.release()
    assert stage.broker.played > 10
    stage.enemy(0.0)
    # Whoever was made to give up is asked again, as an operator does.
    rollouts.change(stage.gateway.engine, number, PAUSED, stage.gateway.now_ms)
    rollouts.change(stage.gateway.engine, number, RUNNING, stage.gateway.now_ms)
    for _ in range(60):
        if slots.ran[-1] == 8 and slots.said == [("good", "none")]:
            break
        stage.run(15_000)
    assert slots.ran[-1] == 8
    assert slots.said == [("good", "none")]
    stage.settle()
    stage.assert_true()


def test_everything_ever_said_of_an_update_said_again_changes_nothing(slots: Slots) -> None:
    stage = slots.stage
    slots.roll_out(SIGNED[8])
    stage.run(90_000)
    assert slots.ran == [7, 8]
    state = SlotState(slots.storage)
    state.load()
    before = vars(state).copy()
    operations = stage.one.board.resets
    stage.broker.say([*stage.broker.down, *stage.broker.up])
    stage.run(5000)
    stage.broker.say(list(reversed([*stage.broker.down, *stage.broker.up])))
    stage.run(60_000)
    state.load()
    after = vars(state).copy()
    before.pop("_file")
    after.pop("_file")
    assert (slots.ran, stage.one.board.resets, after) == ([7, 8], operations, before)
    assert slots.said == [("good", "none")]


def test_a_gateway_in_other_hands_cannot_make_a_device_run_what_the_signer_did_not_sign(slots: Slots) -> None:
    slots.roll_out(release(9, key=1), key=1)
    slots.stage.run(90_000)
    assert slots.ran == [7]
    assert slots.said == [("failed", "bad_signature")]
    assert slots.stage.gateway.count("notice", "kind = 'update_failed'") == 1


def test_a_gateway_in_other_hands_cannot_alter_a_signed_release(slots: Slots) -> None:
    stage = slots.stage
    made = SIGNED[8]
    slots.roll_out(made)
    evil = made.data[:-1] + bytes([made.data[-1] ^ 1])
    (stage.gateway.folder / "releases" / f"{made.name}.fw").write_bytes(evil)
    changed = sa.update(firmware_release).values(sha256=hashlib.sha256(evil).hexdigest())
    with writing(stage.gateway.engine) as connection:
        connection.execute(changed)
    stage.run(120_000)
    assert slots.ran == [7]
    assert slots.said == [("failed", "damaged")]


def test_a_gateway_in_other_hands_cannot_take_a_device_back_to_an_older_signed_release(slots: Slots) -> None:
    """Neither by its own number nor under a higher one, which the manifest contradicts."""
    stage = slots.stage
    slots.roll_out(SIGNED[6])
    with writing(stage.gateway.engine) as connection:
        connection.execute(sa.update(firmware_release).values(number=99))
    stage.run(90_000)
    assert slots.ran == [7]
    assert slots.said == [("failed", "damaged")]
