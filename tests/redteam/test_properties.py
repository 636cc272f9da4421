"""The properties of SPEC section 11 that hold against an enemy, each between the real application and the real gateway.

Properties 1 and 6 are test_hostile_broker.py, property 3 is test_theft.py; the others are here, one after the other.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import shutil
from collections.abc import Callable

import pytest

from lapel_gateway.devices.wanted import change_settings
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry, unseal
from lapel_protocol import alarm as alarm_states
from lapel_protocol import command as commands
from lapel_protocol import orders, recording
from lapel_protocol.clip import head_of
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.errors import ProtocolError, Unopenable
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.labels import CHAIN_NEXT
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, MAX_CHAIN_STEPS, SEGMENT_HEADER_BYTES
from lapel_protocol.stream import decode_segment_header
from lapel_protocol.topics import LANE_DOWN, topic
from lapel_sim.inprocess.hostile import Message, drop
from tests.protocol import tink_judge
from tests.redteam.stage import RECORD, Stage
from tests.support.device import TrueDevice, organisation_key, public_half
from tests.support.pair import DevicePair


def segments_of(clip: bytes) -> list[bytes]:
    """The segment records of a clip file, up to its end record."""
    found, at = [], CLIP_HEADER_BYTES
    while len(clip) - at > CLIP_END_BYTES:
        size = SEGMENT_HEADER_BYTES + decode_segment_header(clip[at : at + SEGMENT_HEADER_BYTES]).size_bytes
        found.append(clip[at : at + size])
        at += size
    return found


def keys_of(stage: Stage, epoch: int) -> EpochKeys:
    """What the device and its gateway share: only they seal commands."""
    chain = stage.one.package.chain_key
    for _ in range(epoch):
        chain = chain_next(chain)
    return EpochKeys(chain)


def order(stage: Stage, kind: int, body: bytes, counter: int = 1, life_ms: int = 60_000) -> Message:
    """A true command to the boot that runs, as the gateway seals it."""
    boot = stage.one.app.status().boot
    row = stage.gateway.row("device", "device = :d", d=stage.one.name)
    command = Command(kind, stage.one.id, boot, body)
    if kind in commands.GUARDED_KINDS:
        command.nonce, command.counter = row["nonce"], counter
        command.issued_ms, command.expires_ms = stage.gateway.now_ms, stage.gateway.now_ms + life_ms
    return topic(stage.one.id, LANE_DOWN), seal_command(keys_of(stage, boot), command)


# -- 2 --


def test_a_clip_of_the_real_application_opens_from_the_gateways_vault_with_public_tink(stage: Stage) -> None:
    stage.record()
    stage.settle()
    [row] = stage.gateway.rows("clip")
    stored = stage.gateway.vault.path(stage.one.name, row["clip"]).read_bytes()
    header = stored[:CLIP_HEADER_BYTES]
    ring = KeyRing(
        keys_from_registry(stage.gateway.engine, stage.gateway.registry), stage.gateway.organisation
    ).of_clip(stage.one.name, row["clip"], header)
    assert ring.ikm is not None
    stream = header[484:524] + b"".join(record[SEGMENT_HEADER_BYTES:] for record in segments_of(stored))
    plain = tink_judge.decrypt(ring.ikm, header[:484], stream)
    assert plain.startswith(b"\x1a\x45\xdf\xa3")
    assert len(plain) == row["plain_bytes"]


# -- 4 --


def test_a_gateway_without_the_private_key_verifies_and_receipts_and_cannot_open(
    make_stage: Callable[..., Stage],
) -> None:
    whole = organisation_key()
    stage = make_stage(organisation=public_half(whole))
    stage.run(3000)
    stage.record()
    stage.settle()
    [row] = stage.gateway.rows("clip")
    assert (row["state"], row["opening"]) == ("held", "untried")
    path = stage.gateway.vault.path(stage.one.name, row["clip"])
    header = path.read_bytes()[:CLIP_HEADER_BYTES]
    keys = keys_from_registry(stage.gateway.engine, stage.gateway.registry)
    verified, opened = io.BytesIO(), io.BytesIO()
    with path.open("rb") as file:
        sealed = KeyRing(keys, public_half(whole)).of_clip(stage.one.name, row["clip"], header)
        assert (sealed.stream, sealed.ikm) == (None, None)
        with pytest.raises(Unopenable):
            unseal(file, sealed, row["settled_segments"], verified.write)
        file.seek(0)
        both = KeyRing(keys, whole).of_clip(stage.one.name, row["clip"], header)
        assert unseal(file, both, row["settled_segments"], opened.write).head.value == row["settled_head"]
    assert verified.getvalue() == b""
    assert opened.getvalue().startswith(b"\x1a\x45\xdf\xa3")

    def other_epoch(_device: str, epoch: int) -> EpochKeys:
        return EpochKeys(hashlib.sha256(b"not of this device %d" % epoch).digest())

    with pytest.raises(ProtocolError):  # the private key without K_dev
        KeyRing(other_epoch, whole).of_clip(stage.one.name, row["clip"], header)


# -- 5 --


def test_whatever_is_put_on_its_downlink_a_device_short_of_room_deletes_only_what_the_gateway_holds(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(capacity_bytes=300 << 10)
    stage.run(3000)
    for number in range(14):
        stage.enemy(1.0 if 2 <= number % 5 <= 3 else 0.3, (drop,) if 2 <= number % 5 <= 3 else ())
        stage.record(for_ms=3000)
        # Every receipt that was ever said, true as it is, for clips that it does not name.
        stage.broker.say([message for message in stage.broker.down if message[0].endswith(LANE_DOWN)])
    stage.settle()
    stage.assert_true()
    assert stage.deleted > 0  # `Stage` looked at each at the moment it went


def test_a_true_receipt_with_another_head_or_count_deletes_nothing(stage: Stage) -> None:
    stage.enemy(1.0, (drop,))
    stage.record()
    stage.enemy(0.0)
    status = stage.one.app.status()
    assert status.clips_held == 1
    [(clip, content)] = stage.one.spool().items()
    records = segments_of(content[:-52])  # the spool's own note follows the end record
    head = head_of(content[:CLIP_HEADER_BYTES])
    for record in records[:-1]:
        head.update(record[-32:])
    for count, value in ((len(records), head.value), (len(records) - 1, head.value), (len(records), bytes(32))):
        receipt = orders.Receipt(clip, count, orders.LEVEL_OPENED, bytes(value))
        stage.broker.say([order(stage, commands.RECEIPT, receipt.encode())])
    stage.enemy(1.0, (drop,))
    stage.run(300)
    assert stage.one.app.status().clips_held == 1
    head.update(records[-1][-32:])
    true = orders.Receipt(clip, len(records), orders.LEVEL_OPENED, bytes(head.value))
    stage.broker.say([order(stage, commands.RECEIPT, true.encode())])
    stage.run(300)
    assert stage.one.app.status().clips_held == 0  # with the right head it would have been believed


# -- 7 --


def test_every_clip_and_epoch_is_accounted_for_although_power_goes_at_any_operation_and_the_broker_lies(
    make_stage: Callable[..., Stage],
) -> None:
    from lapel_sim.inprocess.fuse import PowerCut

    stage = make_stage(seed=7)
    stage.run(2000)
    stage.enemy(0.3)
    for operation in range(1, 16):
        stage.one.hold(RECORD, 1700)
        stage.one.board.fuse.arm(operation)
        try:
            stage.run(6000)
        except PowerCut:
            stage.one.power_cut(stage.now_ms)
        stage.one.board.fuse.disarm()
        stage.one.power_cut(stage.now_ms)
    stage.settle()
    stage.assert_true()
    used = {row["used_for"] for row in stage.gateway.rows("epoch")}
    assert {"boot", "clip"} <= used <= {"boot", "clip", "burned", "lost"}
    told = {row["epoch"] for row in stage.gateway.rows("epoch") if row["used_for"] == "clip"}
    assert told == {row["clip"] for row in stage.gateway.rows("clip")}


# -- 8 --


def test_a_captured_stop_stops_one_clip_once_and_nothing_in_another_connection_or_boot(stage: Stage) -> None:
    stage.one.hold(RECORD, 1700)
    stage.run(3000)
    clip = stage.one.app.status().clip
    stop = order(stage, commands.STOP_RECORDING, orders.StopRecording(clip).encode())
    any_clip = [order(stage, commands.STOP_RECORDING, orders.StopRecording(clip + n).encode(), n + 1) for n in (1, 2)]
    stage.broker.say([stop])
    stage.run(500)
    assert stage.one.app.status().recording == recording.IDLE
    for _ in range(2):
        stage.one.hold(RECORD, 1700)
        stage.run(3000)
        stage.broker.say([stop] * 3)
        stage.run(1000)
        assert stage.one.app.status().recording == recording.RECORDING
        stage.broker.disconnect_all()  # another connection, another hello
        stage.run(20_000)
        stage.broker.say([stop, *any_clip])
        stage.run(1000)
        assert stage.one.app.status().recording == recording.RECORDING
        stage.one.power_cut(stage.now_ms)  # another boot
        stage.run(3000)
        stage.one.hold(RECORD, 1700)
        stage.run(3000)
        stage.broker.say([stop, *any_clip])
        stage.run(1000)
        assert stage.one.app.status().recording == recording.RECORDING
        stage.one.hold(RECORD, 1700)
        stage.run(3000)
    stage.settle()


def test_settings_that_were_replaced_do_not_come_back_by_a_replay_within_or_across_boots(stage: Stage) -> None:
    def frame_interval() -> int:
        return int(stage.one.app._settings.current.frame_interval_ms)

    for interval in (2000, 3000):
        change_settings(stage.gateway.engine, stage.one.name, {"frame_interval_ms": interval})
        stage.broker.disconnect_all()
        stage.run(45_000)  # a device comes back within half a minute
        assert frame_interval() == interval
    captured = list(stage.broker.down)
    for _ in range(2):
        stage.broker.say(captured)
        stage.run(5000)
        assert frame_interval() == 3000
        stage.one.power_cut(stage.now_ms)
        stage.broker.say(captured)
        stage.run(5000)
        assert frame_interval() == 3000


def test_no_replay_moves_a_devices_clock(stage: Stage) -> None:
    captured = list(stage.broker.down)
    stage.run(60_000)
    for _ in range(2):
        stage.broker.say(captured)
        stage.run(2000)
        mono_ms = stage.now_ms - stage.one._booted_ms
        wall_ms, _ = stage.one.app._time.wall(mono_ms)
        assert abs(wall_ms - stage.gateway.now_ms) < 5000
        stage.one.power_cut(stage.now_ms)
        stage.broker.say(captured)
        stage.run(3000)


# -- 9 --


def test_a_gateway_restored_with_an_older_ledger_and_vault_gets_back_every_clip_and_alarm_that_the_device_has(
    stage: Stage,
) -> None:
    stage.record()
    stage.settle()
    stage.gateway.stop()
    backup = stage.gateway.folder.with_name("backup")
    shutil.copytree(stage.gateway.folder, backup)
    stage.gateway.start()
    stage.record()
    stage.record()
    stage.press_alarm()
    stage.run(3000)
    stage.one.hold(RECORD, 1700)
    stage.run(8000)
    assert stage.one.app.status().clips_held == 0  # all receipted, and kept until room is needed
    assert stage.one.app.status().alarm == alarm_states.RECEIVED
    stage.gateway.stop()
    shutil.rmtree(stage.gateway.folder)
    shutil.copytree(backup, stage.gateway.folder)
    stage._tell(stage.gateway.start())
    stage.one.power_cut(stage.now_ms)
    stage.run(3_700_000 // 10)
    stage.answer_alarms()
    stage.settle()
    stage.assert_true()
    assert len(stage.gateway.rows("clip")) == 4


# -- downgrade, and epochs far ahead --


def test_a_device_below_its_pinned_suite_is_not_welcomed_and_keeps_its_clips_while_its_alarm_is_heard(
    stage: Stage,
) -> None:
    with stage.gateway.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET minimum_suite = 2")
    stage.one.power_cut(stage.now_ms)
    stage.record()
    stage.press_alarm()
    stage.run(20_000)
    assert not stage.one.app.status().welcomed
    assert stage.gateway.rows("clip") == []
    assert stage.gateway.tally("unsupported_version") > 0
    assert stage.one.app.status().clips_held == 2
    [alarm] = stage.gateway.rows("alarm")
    assert alarm["device"] == stage.one.name


def test_a_version_byte_turned_down_on_the_way_is_refused_on_every_lane(stage: Stage) -> None:
    def older(_broker: object, message: Message) -> list[Message]:
        return [(message[0], message[1][:1] + b"\x00" + message[1][2:])]

    stage.enemy(1.0, (older,))
    stage.record()
    stage.press_alarm()
    stage.run(5000)
    assert (stage.gateway.rows("clip"), stage.gateway.rows("alarm")) == ([], [])
    assert stage.gateway.tally("unsupported_version") > 3
    assert {row["kind"] for row in stage.gateway.rows("notice")} == {"unverified_alarm"}
    stage.settle()
    stage.assert_true()


def skip_to(device: TrueDevice, epoch: int) -> None:
    """Epochs burned by as many power cuts, without deriving what nobody uses."""
    while device.epoch < epoch:
        device._chain = hmac.digest(device._chain, CHAIN_NEXT, "sha256")
        device.epoch += 1


def test_an_epoch_beyond_the_walk_is_refused_by_its_name_and_its_alarm_is_told_of_all_the_same(
    pair: DevicePair,
) -> None:
    skip_to(pair.one, MAX_CHAIN_STEPS + 2)
    pair.one.boot()
    pair.send(pair.one.hello())
    pair.raise_alarm(pair.one.alarm())
    assert pair.tally("epoch_too_far") == 1
    assert pair.count("alarm") == 0
    [notice] = pair.rows("notice")
    assert notice["kind"] == "unverified_alarm"
    assert "epoch_too_far" in notice["detail"] or "epoch" in notice["detail"]


def test_a_true_device_far_ahead_is_heard_at_the_last_step_that_is_walked(pair: DevicePair) -> None:
    skip_to(pair.one, MAX_CHAIN_STEPS)
    assert pair.one.boot() == MAX_CHAIN_STEPS
    assert [kind for kind, _ in pair.raise_alarm(pair.one.alarm())] == [commands.ALARM_RECEIPT]
    assert pair.row("device")["boot"] == MAX_CHAIN_STEPS
