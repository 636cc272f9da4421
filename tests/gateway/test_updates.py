"""Roll-outs of firmware: who is offered what, which pieces are sent, and what is known of it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from lapel_build.release import Target, modulus_of
from lapel_gateway.people import set_person
from lapel_gateway.updates import rollouts
from lapel_gateway.updates.offers import BURST_BYTES, BYTES_PER_S
from lapel_gateway.updates.releases import UpdateError, read_signer
from lapel_gateway.updates.rollouts import ENDED, PAUSED, RUNNING, TO_ALL, TO_DEVICE, TO_TEAM
from lapel_protocol.command import UPDATE_BLOCK, UPDATE_OFFER
from lapel_protocol.event import UPDATE_ASK, UPDATE_NOTE
from lapel_protocol.releasing import Release
from lapel_protocol.updating import (
    CAUSE_DAMAGED,
    CAUSE_NONE,
    CAUSE_REPLACED,
    CAUSE_UNANSWERED,
    RELEASE_FIXED,
    RELEASE_TRIAL,
    UPDATE_BEGUN,
    UPDATE_FAILED,
    UPDATE_GOOD,
    UPDATE_ROLLED_BACK,
    RunningRelease,
    UpdateAsk,
    UpdateNote,
)
from tests.firmware.releases import TARGET, release, signer
from tests.support.device import TrueDevice
from tests.support.pair import DevicePair, bodies

OTHER_BOARD = Target("pico2_w", "armv7emsp", "board")


class Fleet:
    """A gateway, a folder of releases, and devices that run from slots."""

    def __init__(self, pair: DevicePair) -> None:
        self.pair = pair

    def publish(self, made: Release) -> str:
        path = self.pair.folder / "made.fw"
        path.write_bytes(made.data)
        self.pair.releases.publish(path, modulus_of(signer(0)), "sam", self.pair.now_ms)
        return made.name

    def begin(self, made: Release, scope: str = TO_ALL, target: str = "") -> int:
        found = self.pair.releases.find(self.publish(made))
        self.pair.now_ms += 1000
        return rollouts.begin(self.pair.engine, found, scope, target, "sam", self.pair.now_ms).id

    def change(self, number: int, state: str) -> None:
        self.pair.now_ms += 1000
        rollouts.change(self.pair.engine, number, state, self.pair.now_ms)

    def hello(
        self, device: TrueDevice | None = None, made: Release | None = None, flags: int = 0, boot: bool = True
    ) -> list[tuple[int, int]]:
        """Say hello as a device that runs a release (number 7 by default); returns what is offered: (number, where)."""
        device = device or self.pair.one
        facts = (made or release(7)).manifest
        device.tail = RunningRelease(facts.number, facts.release, flags, facts.hardware).encode()
        if boot:
            device.boot()
        return offers(self.pair.send(device.hello(), device=device))

    def beat(self, device: TrueDevice | None = None) -> list[tuple[int, int]]:
        device = device or self.pair.one
        self.pair.now_ms += 1000
        return offers(self.pair.send(device.heartbeat(), device=device))

    def ask(self, made: Release, offset: int, size: int, device: TrueDevice | None = None) -> list[tuple[int, bytes]]:
        """(offset, bytes) of the pieces that come."""
        device = device or self.pair.one
        record = device.event(UPDATE_ASK, UpdateAsk(made.manifest.release, offset, size).encode())
        found = bodies(self.pair.send(device.on_event_lane(record), device=device), UPDATE_BLOCK)
        return [(block.offset, block.data) for block in found]

    def note(self, what: int, why: int, made: Release, device: TrueDevice | None = None) -> tuple[str, bytes]:
        device = device or self.pair.one
        facts = made.manifest
        return device.on_event_lane(
            device.event(UPDATE_NOTE, UpdateNote(what, why, facts.number, facts.release).encode())
        )

    def say(self, what: int, why: int, made: Release) -> None:
        self.pair.now_ms += 1000
        self.pair.send(self.note(what, why, made))

    @property
    def known(self) -> dict[str, Any]:
        return self.pair.row("device_firmware")


def offers(answers: list[tuple[int, Any]]) -> list[tuple[int, int]]:
    return [(body.number, body.content_at) for body in bodies(answers, UPDATE_OFFER)]


@pytest.fixture
def fleet(pair: DevicePair) -> Fleet:
    return Fleet(pair)


def test_nothing_is_offered_without_a_roll_out(fleet: Fleet) -> None:
    fleet.publish(release(8))
    assert fleet.hello() == []
    assert (fleet.known["number"], fleet.known["hardware"], fleet.known["trial"]) == (7, "pico_w", 0)


def test_a_device_is_offered_after_its_hello_and_sent_what_it_asks_for(fleet: Fleet) -> None:
    made = release(8)
    fleet.begin(made)
    assert fleet.hello() == [(8, made.manifest.content_at)]
    pieces = fleet.ask(made, 0, 4032)
    assert b"".join(data for _, data in pieces) == made.data[:4032]
    assert [offset for offset, _ in pieces] == [0, 1008, 2016, 3024]
    assert fleet.ask(made, len(made.data) - 5, 4032) == [(len(made.data) - 5, made.data[-5:])]
    assert fleet.ask(made, len(made.data), 10) == []


def test_a_connected_device_is_offered_with_each_heartbeat_until_it_says_that_it_heard(fleet: Fleet) -> None:
    fleet.hello()
    made = release(8)
    number = fleet.begin(made)
    for _ in range(2):
        assert fleet.beat() == [(8, made.manifest.content_at)]
    fleet.say(UPDATE_BEGUN, CAUSE_NONE, made)
    assert fleet.beat() == []
    fleet.change(number, ENDED)
    for _ in range(2):
        assert fleet.beat() == [(0, 0)]
    fleet.say(UPDATE_FAILED, CAUSE_REPLACED, made)
    assert fleet.beat() == []


def test_an_offer_that_was_never_heard_is_taken_back_once(fleet: Fleet) -> None:
    number = fleet.begin(release(8))
    fleet.hello()
    fleet.change(number, ENDED)
    assert fleet.beat() == [(0, 0)]
    assert fleet.beat() == []


def test_the_end_of_a_roll_out_takes_its_offer_back_where_another_goes_on(fleet: Fleet) -> None:
    fleet.begin(release(8))
    number = fleet.begin(release(9))
    assert fleet.hello() == [(9, release(9).manifest.content_at)]
    fleet.change(number, ENDED)
    assert fleet.beat() == [(8, release(8).manifest.content_at)]


def test_a_paused_roll_out_offers_nothing_and_sends_nothing(fleet: Fleet) -> None:
    made = release(8)
    number = fleet.begin(made)
    fleet.hello()
    fleet.change(number, PAUSED)
    assert fleet.ask(made, 0, 1000) == []
    assert fleet.beat() == []
    assert fleet.hello() == []
    fleet.change(number, RUNNING)
    assert fleet.beat() == [(8, made.manifest.content_at)]
    assert len(fleet.ask(made, 0, 1000)) == 1


def test_a_release_goes_to_its_device_its_team_or_all_and_to_its_kind_of_board_only(
    make_pair: Any,
) -> None:
    pair = make_pair(devices=3)
    fleet = Fleet(pair)
    one, two, three = pair.devices
    set_person(pair.engine, "Zoë Quinn", "north", "", pair.now_ms)
    first = fleet.begin(release(8), TO_DEVICE, two.name)
    other = release(7, target=OTHER_BOARD)
    assert fleet.hello(one) == []
    assert [number for number, _ in fleet.hello(two)] == [8]
    fleet.change(first, ENDED)
    fleet.begin(release(8), TO_TEAM, "north")
    for device in (one, two):
        assert [number for number, _ in fleet.hello(device)] == [8]
    assert fleet.hello(three, other) == []
    fleet.begin(release(9, target=OTHER_BOARD))
    assert [number for number, _ in fleet.hello(three, other)] == [9]
    assert [number for number, _ in fleet.hello(one)] == [8]
    with pytest.raises(UpdateError, match="nobody is of a team"):
        fleet.begin(release(9), TO_TEAM, "south")


def test_a_device_that_runs_it_or_a_newer_one_is_left_alone(fleet: Fleet) -> None:
    fleet.begin(release(8))
    assert fleet.hello(made=release(8)) == []
    assert fleet.hello(made=release(9)) == []


def test_nothing_is_offered_during_a_trial_and_the_next_version_right_after_it(fleet: Fleet) -> None:
    fleet.begin(release(8))
    fleet.begin(release(9))
    assert fleet.hello(made=release(8), flags=RELEASE_TRIAL) == []
    assert fleet.known["trial"] == 1
    fleet.say(UPDATE_GOOD, CAUSE_NONE, release(8))
    assert [number for number, _ in fleet.beat()] == [9]


def test_a_device_whose_firmware_a_cable_brings_is_offered_nothing_and_shown_with_what_it_is_to_run(
    fleet: Fleet,
) -> None:
    fleet.begin(release(8))
    assert fleet.hello(flags=RELEASE_FIXED) == []
    assert fleet.beat() == []
    (row,) = rollouts.list_devices(fleet.pair.engine)
    assert (row["number"], row["fixed"], row["want"].number) == (7, 1, 8)
    assert [number for number, _ in fleet.hello()] == [8]
    assert fleet.known["fixed"] == 0


@pytest.mark.parametrize(("what", "why"), [(UPDATE_FAILED, CAUSE_DAMAGED), (UPDATE_ROLLED_BACK, CAUSE_UNANSWERED)])
def test_what_a_device_gave_up_is_told_of_once_and_not_offered_again_until_somebody_says_so(
    fleet: Fleet, what: int, why: int
) -> None:
    made = release(8)
    number = fleet.begin(made)
    fleet.hello()
    fleet.say(UPDATE_BEGUN, CAUSE_NONE, made)
    message = fleet.note(what, why, made)
    fleet.pair.now_ms += 1000
    fleet.pair.send(message)
    fleet.pair.send(message)
    assert fleet.pair.count("notice", "kind = 'update_failed'") == 1
    assert fleet.hello() == []
    fleet.change(number, PAUSED)
    fleet.change(number, RUNNING)
    assert [offered for offered, _ in fleet.beat()] == [8]


def test_what_was_given_up_stays_so_whatever_is_said_after_it(fleet: Fleet) -> None:
    """The hello that follows a roll-back may come before the word about it: the offer is made, and taken back."""
    made = release(8)
    fleet.begin(made)
    assert [number for number, _ in fleet.hello()] == [8]
    fleet.say(UPDATE_ROLLED_BACK, CAUSE_UNANSWERED, made)
    assert fleet.beat() == [(0, 0)]
    fleet.say(UPDATE_FAILED, CAUSE_REPLACED, made)
    assert fleet.beat() == []
    assert fleet.hello() == []


def test_two_releases_that_were_both_given_up_are_not_offered_in_turns(fleet: Fleet) -> None:
    for made in (release(8), release(9)):
        fleet.begin(made)
    assert [number for number, _ in fleet.hello()] == [9]
    fleet.say(UPDATE_ROLLED_BACK, CAUSE_UNANSWERED, release(9))
    assert [number for number, _ in fleet.hello()] == [8]
    fleet.say(UPDATE_FAILED, CAUSE_DAMAGED, release(8))
    assert fleet.hello() == []


def test_an_offer_that_was_replaced_counts_as_no_failure(fleet: Fleet) -> None:
    made = release(8)
    fleet.begin(made)
    fleet.hello()
    fleet.say(UPDATE_FAILED, CAUSE_REPLACED, made)
    assert fleet.pair.count("notice", "kind = 'update_failed'") == 0
    assert [offered for offered, _ in fleet.hello()] == [8]


def test_an_older_word_never_stands_over_a_newer_one(fleet: Fleet) -> None:
    made = release(8)
    fleet.begin(made)
    fleet.hello()
    early, late = fleet.note(UPDATE_BEGUN, CAUSE_NONE, made), fleet.note(UPDATE_GOOD, CAUSE_NONE, made)
    fleet.pair.send(late)
    fleet.pair.send(early)
    fleet.pair.send(early)
    assert (fleet.known["step"], fleet.known["step_release"]) == ("good", made.name)


def test_all_devices_together_stay_within_the_budget(make_pair: Any) -> None:
    pair = make_pair(devices=6)
    fleet = Fleet(pair)
    made = release(8, files={f"part_{n}.mpy": bytes([n]) * 60_000 for n in range(4)})
    fleet.begin(made)
    for device in pair.devices:
        fleet.hello(device)
    sent, rounds, began_ms = 0, 0, pair.now_ms
    for _ in range(20):
        for device in pair.devices:
            sent += sum(len(data) for _, data in fleet.ask(made, 0, 8064, device))
            rounds += 1
    passed_s = (pair.now_ms - began_ms) / 1000
    assert sent <= BURST_BYTES + passed_s * BYTES_PER_S
    assert sent < rounds * 8064
    pair.now_ms += 1000
    assert fleet.ask(made, 0, 8064)


def test_pieces_of_another_release_are_not_to_be_had(fleet: Fleet) -> None:
    made, other = release(8), release(9)
    fleet.begin(made)
    fleet.publish(other)
    fleet.hello()
    assert fleet.ask(other, 0, 1000) == []
    assert fleet.ask(release(6), 0, 1000) == []
    assert fleet.ask(made, 0, 1000)


def test_a_device_that_runs_from_no_slot_is_offered_nothing_and_forgotten(fleet: Fleet) -> None:
    fleet.begin(release(8))
    fleet.hello()
    fleet.pair.one.tail = b""
    fleet.pair.one.boot()
    assert offers(fleet.pair.send(fleet.pair.one.hello())) == []
    assert fleet.pair.count("device_firmware") == 0


def test_a_file_that_was_changed_after_it_was_published_is_not_sent(fleet: Fleet) -> None:
    made = release(8)
    fleet.begin(made)
    fleet.hello()
    path = fleet.pair.folder / "releases" / f"{made.name}.fw"
    path.write_bytes(made.data[:-1] + b"x")
    with capture_logs() as logged:
        assert fleet.ask(made, 0, 1000) == []
        assert fleet.ask(made, 0, 1000) == []
    [told] = [line for line in logged if "cannot be given" in line["event"]]
    assert (told["file"], told["reason"]) == (str(path), "it is not the file that was published")
    path.write_bytes(made.data)
    assert b"".join(data for _, data in fleet.ask(made, 0, 1000)) == made.data[:1000]


def test_only_what_the_signer_signed_is_published(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "some.fw"
    modulus = modulus_of(signer(0))
    for data, reason in (
        (release(8, key=1).data, "bad_signature"),
        (release(8).data[:-1], "malformed"),
        (release(8).data[:-1] + b"x", "damaged"),
        (b"PK\x03\x04 something else", "malformed"),
        (bytes(2 << 20), "malformed"),
    ):
        path.write_bytes(data)
        with pytest.raises(UpdateError, match=reason):
            fleet.pair.releases.publish(path, modulus, "sam", 1)
    assert fleet.pair.releases.list() == []


def test_one_number_is_one_release_for_ever(fleet: Fleet) -> None:
    fleet.publish(release(8))
    fleet.publish(release(8))
    with pytest.raises(UpdateError, match="under a higher number"):
        fleet.publish(release(8, files={"other.mpy": b"other"}))
    fleet.publish(release(8, target=OTHER_BOARD))
    assert [(one.hardware, one.number) for one in fleet.pair.releases.list()] == [("pico2_w", 8), ("pico_w", 8)]
    assert TARGET.hardware == "pico_w"


def test_a_signers_key_that_is_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "update.key"
    with pytest.raises(UpdateError, match="--key"):
        read_signer(path)
    for wrong in (b"", bytes(384), modulus_of(signer(0)) + b"\0", b"-----BEGIN PUBLIC KEY-----"):
        path.write_bytes(wrong)
        with pytest.raises(UpdateError, match="is not a firmware signer's public key"):
            read_signer(path)
    path.write_bytes(modulus_of(signer(0)))
    assert read_signer(path) == modulus_of(signer(0))
    path.write_bytes(signer(0).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert read_signer(path) == modulus_of(signer(0)), "in PEM it is the same key"


def test_a_roll_out_is_begun_once_and_ended_for_good(fleet: Fleet) -> None:
    number = fleet.begin(release(8))
    with pytest.raises(UpdateError, match="is there already"):
        fleet.begin(release(8))
    fleet.change(number, ENDED)
    with pytest.raises(UpdateError, match="is over"):
        fleet.change(number, RUNNING)
    with pytest.raises(UpdateError, match="there is no roll-out 99"):
        fleet.change(99, PAUSED)
    fleet.begin(release(8))


def test_the_status_says_what_each_device_runs_and_is_to_run(fleet: Fleet) -> None:
    made = release(8)
    fleet.publish(release(7))
    fleet.begin(made)
    fleet.hello()
    (row,) = rollouts.list_devices(fleet.pair.engine)
    assert (row["number"], row["version"], row["want"].number) == (7, "0.7.0", 8)
