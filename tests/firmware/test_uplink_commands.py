"""What the device believes of a gateway that may be a liar in between."""

import struct

import pytest

from lapel_device.uplink import (
    ONLINE,
)
from lapel_protocol import command as commands
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.limits import TIME_ROUND_TRIP_MS
from lapel_protocol.orders import (
    LEVEL_VERIFIED,
    Receipt,
    SettingsChange,
)

from .clipkit import DEVICE, SealedClip, keys_of
from .shore import WALL_MS
from .uplinkkit import World


def test_the_gateways_time_is_taken_from_a_prompt_welcome() -> None:
    world = World().run(100)
    wall_ms, trust = world.time.wall(world.now_ms)
    assert trust == TRUST_GATEWAY
    assert abs(wall_ms - WALL_MS - world.now_ms) <= 20


def test_a_welcome_that_took_too_long_is_refused() -> None:
    world = World()
    world.shore.welcome = False
    world.run(100)
    nonce = world.shore.nonce
    world.now_ms += TIME_ROUND_TRIP_MS + 1
    payload = struct.pack(">Q8sI", WALL_MS, b"too late", 0)
    world.shore.deliver(seal_command(keys_of(0), Command(commands.WELCOME, DEVICE, 0, payload, nonce=nonce)))
    world.uplink.poll(world.now_ms)
    assert world.time.trust == TRUST_NONE
    assert world.uplink.conversation.refused == 1


def test_a_replayed_welcome_sets_no_time() -> None:
    world = World().run(100)
    nonce = world.shore.nonce
    payload = struct.pack(">Q8sI", WALL_MS + 10_000_000, b"replayed", 0)
    world.shore.deliver(seal_command(keys_of(0), Command(commands.WELCOME, DEVICE, 0, payload, nonce=nonce)))
    before = world.time.wall(0)
    world.run(100)
    assert world.time.wall(0) == before
    assert world.uplink.conversation.refused == 1


def test_a_receipt_with_another_head_or_count_deletes_nothing() -> None:
    world = World().run(100)
    world.shore.receipts = False
    sealed = world.record(5, 4)
    world.run(1_000)
    for receipt in (
        Receipt(5, 4, LEVEL_VERIFIED, bytes(32)),
        Receipt(5, 3, LEVEL_VERIFIED, sealed.heads[3]),
        Receipt(5, 3, LEVEL_VERIFIED, sealed.head),
        Receipt(99, 4, LEVEL_VERIFIED, sealed.head),
    ):
        world.shore.tell(commands.RECEIPT, receipt.encode())
    world.run(100)
    assert world.spool.count == 1
    assert not world.spool.make_room(1 << 40)
    assert world.spool.has(5)


def test_a_receipt_for_a_clip_that_is_still_recorded_is_refused() -> None:
    world = World().run(100)
    sealed = SealedClip(5, 8)
    writer = world.spool.create(5, 0, False, sealed.header)
    for segment in sealed.segments[:4]:
        writer.append(segment)
    world.run(500)
    world.shore.tell(commands.RECEIPT, Receipt(5, 4, LEVEL_VERIFIED, sealed.heads[4]).encode())
    world.run(100)
    assert world.spool.count == 1


@pytest.mark.parametrize("wrong", ["forged", "altered", "cut", "of another device", "of another boot", "oversized"])
def test_a_command_that_is(wrong: str) -> None:
    world = World().run(100)
    world.shore.receipts = False
    sealed = world.record(5, 4)
    world.run(1_000)
    payload = Receipt(5, 4, LEVEL_VERIFIED, sealed.head).encode()
    keys = keys_of(1) if wrong == "forged" else keys_of(0)
    device = bytes(8) if wrong == "of another device" else DEVICE
    boot = 3 if wrong == "of another boot" else 0
    record = bytearray(seal_command(keys, Command(commands.RECEIPT, device, boot, payload)))
    if wrong == "altered":
        record[70] ^= 1
    elif wrong == "cut":
        del record[-1:]
    elif wrong == "oversized":
        record += bytes(3000)
    world.shore.deliver(bytes(record))
    world.run(100)
    assert world.spool.count == 1, "was believed"
    assert world.uplink.state == ONLINE
    assert world.uplink.conversation.refused + world.uplink._client.skipped == 1


def test_a_flood_of_forged_commands_is_a_few_lines_in_the_log() -> None:
    world = World().run(100)
    world.board.lines.clear()
    for _ in range(300):
        world.shore.deliver(bytes(200))
        world.run(10)
    assert world.uplink.conversation.refused == 300
    assert len(world.board.lines) == 9


def settings_command(nonce: bytes, counter: int, expires_ms: int) -> bytes:
    settings = SettingsChange()
    settings.version = counter
    command = Command(
        commands.SETTINGS,
        DEVICE,
        0,
        settings.encode(),
        nonce=nonce,
        counter=counter,
        issued_ms=1,
        expires_ms=expires_ms,
    )
    return seal_command(keys_of(0), command)


def test_a_guarded_command_works_once_and_not_with_an_old_nonce_counter_or_time() -> None:
    world = World().run(100)
    later = WALL_MS + 3_600_000
    old_nonce = world.shore.nonce

    def taken() -> int:
        world.run(50)
        return sum(kind == commands.SETTINGS for kind, _ in world.host.commands)

    world.shore.deliver(settings_command(old_nonce, 5, later))
    assert taken() == 1
    world.shore.deliver(settings_command(old_nonce, 5, later))
    assert taken() == 1
    world.shore.deliver(settings_command(old_nonce, 4, later))
    assert taken() == 1
    world.shore.deliver(settings_command(old_nonce, 6, WALL_MS - 1))
    assert taken() == 1
    world.lose_link()
    world.run(3_000)
    world.shore.deliver(settings_command(old_nonce, 7, later))
    assert taken() == 1
    world.shore.deliver(settings_command(world.shore.nonce, 8, later))
    assert taken() == 2


def test_commands_reach_the_application_only_after_the_uplink_believed_them() -> None:
    world = World().run(100)
    kinds = [kind for kind, _ in world.host.commands]
    assert kinds == [commands.WELCOME, commands.CREDIT]
