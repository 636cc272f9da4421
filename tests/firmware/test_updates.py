"""Updates on the whole device: fetched behind everything else, tried, kept or rolled back, never at an alarm's cost."""

from __future__ import annotations

import pytest

from lapel_build.release import Target
from lapel_device import feedback
from lapel_device.slots import SLOT_A, SLOT_B, SLOT_ROM
from lapel_device.update_control import ASK_AGAIN_MS, TRIAL_MS
from lapel_device.update_fill import SlotFiller
from lapel_protocol import command
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.orders import VISIT_ACTIVE, VISIT_NONE, VisitState
from lapel_protocol.releasing import Release
from lapel_protocol.topics import LANE_DOWN, topic
from lapel_protocol.updating import (
    CAUSE_BAD_SIGNATURE,
    CAUSE_BELOW_FLOOR,
    CAUSE_DAMAGED,
    CAUSE_NO_ROOM,
    CAUSE_NONE,
    CAUSE_OLDER,
    CAUSE_REPLACED,
    CAUSE_STORAGE,
    CAUSE_UNANSWERED,
    CAUSE_WRONG_CODE,
    CAUSE_WRONG_HARDWARE,
    RELEASE_FIXED,
    RELEASE_TRIAL,
    UPDATE_BEGUN,
    UPDATE_FAILED,
    UPDATE_GOOD,
    UPDATE_READY,
    UPDATE_ROLLED_BACK,
    UpdateBlock,
    UpdateOffer,
)
from lapel_sim.inprocess.fuse import PowerCut

from .desk import DEVICE, epoch_keys
from .releases import release, write
from .updating import Updating

GOOD = [(UPDATE_BEGUN, CAUSE_NONE, 8), (UPDATE_READY, CAUSE_NONE, 8), (UPDATE_GOOD, CAUSE_NONE, 8)]


@pytest.fixture
def pair() -> Updating:
    return Updating().run(3000)


def test_a_device_is_updated_in_the_background_and_tells_each_step(pair: Updating) -> None:
    assert pair.told == [(7, 0)]
    pair.offer(release(8, floor=8), 20_000)
    assert (pair.number, pair.on_trial) == (8, True)
    assert pair.said == GOOD
    assert pair.told == [(7, 0), (8, RELEASE_TRIAL)]
    assert (pair.state.active, pair.state.trial, pair.state.floor) == (SLOT_B, 0, 8)
    pair.power_cut()
    pair.run(3000)
    assert (pair.number, pair.on_trial) == (8, False)
    assert pair.said == GOOD
    assert pair.app._parts._update is None


def test_a_device_that_executes_in_place_says_so_and_takes_no_update() -> None:
    pair = Updating(slot=SLOT_ROM).run(3000)
    assert pair.told == [(7, RELEASE_FIXED)]
    before = pair.slots.content("/rom/manifest")
    pair.offer(release(8), 20_000)
    assert pair.number == 7
    assert (pair.asks, pair.said) == ([], [])
    assert pair.slots.content("/rom/manifest") == before
    assert pair.slots_content() == {}


def test_only_what_differs_is_fetched(pair: Updating) -> None:
    made = release(8)
    pair.offer(made, 20_000)
    assert pair.number == 8
    asked = {(ask.offset, ask.size) for ask in pair.asks}
    own = len(made.files["lapel_device/version.mpy"])
    assert sum(size for _, size in asked) == made.manifest.content_at + own


def test_the_next_update_goes_into_the_other_slot(pair: Updating) -> None:
    pair.offer(release(8), 20_000)
    pair.link(False)
    pair.link(True)
    pair.run(40_000)
    assert pair.told == [(7, 0), (8, RELEASE_TRIAL), (8, 0)]
    pair.offer(release(9), 20_000)
    assert pair.said[:3] == GOOD
    assert pair.number == 9
    assert pair.state.active == SLOT_A
    assert [what for what, _, number in pair.said if number == 9] == [UPDATE_BEGUN, UPDATE_READY, UPDATE_GOOD]


def test_a_version_that_the_gateway_never_answers_is_rolled_back_after_three_boots(pair: Updating) -> None:
    pair.gateway.answers = True
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.gateway.answers = False
    for _ in range(3):
        assert (pair.number, pair.on_trial) == (8, True)
        pair.run(TRIAL_MS + 1000)
    assert (pair.number, pair.on_trial) == (7, False)
    pair.gateway.answers = True
    pair.offered = None
    pair.run(30_000)
    assert (UPDATE_ROLLED_BACK, CAUSE_UNANSWERED, 8) in pair.said
    assert (UPDATE_GOOD, CAUSE_NONE, 8) not in pair.said


def test_a_broker_that_answers_without_the_gateway_ends_no_trial(pair: Updating) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.gateway.answers = False
    pair.run(60_000)
    assert pair.app.status().online
    assert (pair.state.trial, pair.state.tries) == (SLOT_B, 2)


def test_a_version_that_restarts_by_itself_is_rolled_back(pair: Updating) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    for _ in range(3):
        assert pair.number == 8
        pair.power_cut()
    assert pair.number == 7


def refused(pair: Updating, made: Release, cause: int) -> None:
    before = dict(pair.slots_content())
    pair.offer(made, 30_000)
    assert pair.number == 7
    assert (UPDATE_FAILED, cause, made.manifest.number) in pair.said
    assert pair.state.trial == 0
    assert pair.board.resets == 0
    asked = len(pair.asks)
    pair.offer(made, 10_000)
    assert len(pair.asks) == asked, "an offer that is repeated at once is not taken"
    assert {path: content for path, content in pair.slots_content().items() if path.startswith("/a/")} == {
        path: content for path, content in before.items() if path.startswith("/a/")
    }


def test_an_update_of_another_signer_is_refused(pair: Updating) -> None:
    refused(pair, release(8, key=1), CAUSE_BAD_SIGNATURE)


def test_an_update_for_another_board_is_refused(pair: Updating) -> None:
    refused(pair, release(8, target=Target("pico2_w", "armv6m", "board")), CAUSE_WRONG_HARDWARE)


def test_an_update_for_another_processor_is_refused(pair: Updating) -> None:
    refused(pair, release(8, target=Target("pico_w", "armv7emsp", "board")), CAUSE_WRONG_CODE)


def test_an_older_update_is_refused_before_anything_of_it_is_fetched(pair: Updating) -> None:
    refused(pair, release(6), CAUSE_OLDER)
    assert pair.asks == []


def test_an_update_below_the_floor_is_refused(pair: Updating) -> None:
    state = pair.state
    state.floor = 9
    state.keep()
    write(pair.slots, "/a/manifest", release(7, floor=7).signed_manifest)
    pair.app._parts._update = None  # which had read the state before
    refused(pair, release(8), CAUSE_BELOW_FLOOR)


def test_an_update_that_is_larger_than_the_room_is_refused(pair: Updating) -> None:
    large = release(8, files={f"large_{n}.mpy": bytes([n]) * 40_000 for n in range(4)})
    refused(pair, large, CAUSE_NO_ROOM)


def test_a_tampered_file_is_refused_however_often_it_is_sent(pair: Updating) -> None:
    made = release(8)
    pair.alter = lambda block: (
        [block]
        if block.offset < made.manifest.content_at
        else [UpdateBlock(block.release, block.offset, bytes([block.data[0] ^ 1]) + block.data[1:])]
    )
    refused(pair, made, CAUSE_DAMAGED)


def test_a_tampered_manifest_is_refused(pair: Updating) -> None:
    made = release(8)
    pair.alter = lambda block: [UpdateBlock(block.release, block.offset, block.data[:-1] + bytes([block.data[-1] ^ 1]))]
    pair.offer(made, 20_000)
    assert pair.number == 7
    assert pair.said[-1][:2] in ((UPDATE_FAILED, CAUSE_BAD_SIGNATURE), (UPDATE_FAILED, CAUSE_DAMAGED))


def test_another_signed_release_in_the_place_of_the_offered_one_is_refused(pair: Updating) -> None:
    made, other = release(9), release(8)
    pair.alter = lambda block: [
        UpdateBlock(block.release, block.offset, other.data[block.offset : block.offset + len(block.data)])
    ]
    refused(pair, made, CAUSE_DAMAGED)


def test_an_older_release_under_a_newer_ones_number_is_refused(pair: Updating) -> None:
    old = release(6)
    facts = old.manifest
    pair.offered = old
    pair.gateway.say(command.UPDATE_OFFER, UpdateOffer(facts.release, 9, facts.content_at))
    pair.run(20_000)
    assert pair.number == 7
    assert (UPDATE_FAILED, CAUSE_DAMAGED, 9) in pair.said


def test_repeated_reordered_and_foreign_blocks_change_nothing(pair: Updating) -> None:
    made, other = release(8), release(9)
    sent: list[UpdateBlock] = []

    def hostile(block: UpdateBlock) -> list[UpdateBlock]:
        foreign = UpdateBlock(other.manifest.release, block.offset, block.data)
        beyond = UpdateBlock(block.release, block.offset + 1, block.data)
        long = UpdateBlock(block.release, block.offset, block.data + b"more")
        earlier = sent[len(sent) // 2 :]
        sent.append(block)
        last = made.data[block.offset + len(block.data) :][:500]
        later = UpdateBlock(block.release, block.offset + len(block.data) + 500, last)
        before = [long] if len(block.data) < 1000 else []
        return [foreign, beyond, later, *before, block, block, *earlier[:3]]

    pair.alter = hostile
    pair.offer(made, 30_000)
    assert pair.number == 8
    assert pair.said == GOOD


def test_a_forged_block_is_refused_and_counted(pair: Updating) -> None:
    made = release(8)
    pair.alter = lambda block: []
    pair.offer(made, 2000)
    ask = pair.asks[-1]
    before = pair.app._uplink.conversation.refused
    body = UpdateBlock(ask.release, ask.offset, made.data[ask.offset : ask.offset + 900]).encode()
    forged = seal_command(
        epoch_keys(pair.gateway.boot + 7), Command(command.UPDATE_BLOCK, DEVICE, pair.gateway.boot, body)
    )
    pair.gateway.broker.send(DEVICE.hex(), topic(DEVICE, LANE_DOWN), forged)
    pair.run(200)
    assert pair.app._uplink.conversation.refused == before + 1
    pair.run(2 * ASK_AGAIN_MS)
    assert pair.asks[-1].offset == ask.offset


def test_nothing_is_fetched_while_recording_and_it_goes_on_afterwards(pair: Updating) -> None:
    pair.offer(release(8), 40)
    pair.hold()
    asked = len(pair.asks)
    pair.run(15_000)
    assert len(pair.asks) == asked
    assert pair.number == 7
    pair.hold()
    pair.run(20_000)
    assert pair.number == 8


def test_an_alarm_stops_an_update_at_once_and_goes_out_as_without_one(pair: Updating) -> None:
    pair.alter = lambda block: [block] if block.offset < 2000 else []
    pair.offer(release(8), 1000)
    pair.hold_alarm()
    assert pair.gateway.alarms
    asked = len(pair.asks)
    pair.alter = lambda block: [block]
    pair.run(30_000)
    assert len(pair.asks) == asked
    assert (pair.number, pair.board.resets) == (7, 0)
    assert pair.shows(feedback.ALARM_RECEIVED)


def test_nothing_is_fetched_in_a_visit_or_on_a_low_battery(pair: Updating) -> None:
    pair.gateway.say(command.VISIT_STATE, VisitState(12, VISIT_ACTIVE, 0, 0, 0))
    pair.run(1500)
    pair.offer(release(8), 10_000)
    assert pair.asks == []
    pair.board.desk_battery.percent = 5
    pair.board.desk_battery.minutes = 6
    pair.run(15_000)
    pair.gateway.say(command.VISIT_STATE, VisitState(0, VISIT_NONE, 0, 0, 0))
    pair.run(10_000)
    assert pair.asks == []
    pair.board.desk_battery.percent = 90
    pair.board.desk_battery.minutes = 400
    pair.run(40_000)
    assert pair.number == 8


def test_a_visit_that_the_gateway_has_not_numbered_holds_an_update_up_too(pair: Updating) -> None:
    pair.gateway.say(command.VISIT_STATE, VisitState(0, VISIT_NONE, 0, 0, 0))
    pair.run(1500)
    pair.app._parts.visits.double_press(0, pair.now_ms)  # type: ignore[union-attr]
    assert pair.app._parts.visits.number == 0  # type: ignore[union-attr]
    pair.offer(release(8), 10_000)
    assert pair.asks == []


def test_nothing_restarts_a_device_that_asks_its_wearer_whether_all_is_well(pair: Updating) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.gateway.answers = False

    class Asking:
        """Man-down in its warning."""

        alert = warning = True
        poll = buttons = staticmethod(lambda *_: None)
        swallows = staticmethod(lambda _: False)

    pair.app._parts._motion = Asking()  # type: ignore[assignment]
    resets = pair.board.resets
    pair.run(TRIAL_MS + 5000)
    assert pair.board.resets == resets


def test_a_block_that_arrives_during_an_alarm_is_not_written(pair: Updating) -> None:
    held: list[UpdateBlock] = []

    def hold_back(block: UpdateBlock) -> list[UpdateBlock]:
        held.append(block)
        return []

    pair.alter = hold_back
    pair.offer(release(8), 1000)
    pair.hold_alarm()
    pair.run(100)
    before = pair.slots_content()
    assert held
    for block in held:
        pair.block(block)
    pair.run(1000)
    assert pair.slots_content() == before


def test_a_version_that_cannot_work_at_all_is_rolled_back(pair: Updating) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.board.storage.remove("/config.json")
    pair.power_cut()
    pair.run(3000)
    assert (pair.number, pair.on_trial) == (7, False)


def test_an_update_that_finds_no_memory_is_given_up_and_restarts_nothing(
    pair: Updating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(SlotFiller, "work", no_memory)
    pair.offer(release(8), 200_000)
    assert pair.said[-1] == (UPDATE_FAILED, CAUSE_STORAGE, 8)
    assert pair.board.resets == 0


def test_a_release_that_was_rolled_back_is_not_taken_again_when_its_offer_crosses_the_word_about_it(
    pair: Updating,
) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.gateway.answers = False
    for _ in range(3):
        pair.run(TRIAL_MS + 1000)
    assert pair.number == 7
    pair.gateway.answers = True
    resets = pair.board.resets
    pair.run(60_000)
    assert (UPDATE_ROLLED_BACK, CAUSE_UNANSWERED, 8) in pair.said
    assert (pair.number, pair.board.resets) == (7, resets)


def test_a_trial_does_not_restart_while_an_alarm_is_latched(pair: Updating) -> None:
    pair.offer(release(8))
    while pair.number == 7:
        pair.step()
    pair.gateway.answers = False
    resets = pair.board.resets
    pair.hold_alarm()
    pair.run(TRIAL_MS + 5000)
    assert pair.board.resets == resets


def test_lost_blocks_are_asked_for_again(pair: Updating) -> None:
    lost = iter(range(1000))
    pair.alter = lambda block: [block] if next(lost) % 3 else []
    pair.offer(release(8), 20 * ASK_AGAIN_MS)
    assert pair.number == 8


def test_an_update_goes_on_after_a_restart_without_fetching_its_files_again(pair: Updating) -> None:
    files = {f"part_{n}.mpy": bytes([n]) * 3000 for n in range(12)}
    made = release(8, files=files)
    pair.offer(made)
    while len(pair.asks) < 8:
        pair.step()
    pair.power_cut()
    before = len(pair.asks)
    pair.run(20_000)
    assert pair.number == 8
    assert all(ask.offset >= made.manifest.content_at for ask in pair.asks[before:])
    assert [ask.offset for ask in pair.asks].count(made.manifest.content_at) == 1


def test_an_offer_that_is_taken_back_ends_the_update(pair: Updating) -> None:
    pair.alter = lambda block: []
    pair.offer(release(8), 3000)
    pair.offer(None, 3000)
    assert pair.said[-1] == (UPDATE_FAILED, CAUSE_REPLACED, 8)
    asked = len(pair.asks)
    pair.run(60_000)
    assert len(pair.asks) == asked
    pair.alter = lambda block: [block]
    pair.offer(release(8), 20_000)
    assert pair.number == 8


def test_storage_that_fails_ends_the_update_and_not_the_device(pair: Updating) -> None:
    pair.alter = lambda block: []
    pair.offer(release(8), 2000)
    pair.slots.failing = True
    pair.alter = lambda block: [block]
    pair.run(200_000)
    assert pair.said[-1] == (UPDATE_FAILED, CAUSE_STORAGE, 8)
    pair.slots.failing = False
    pair.hold_alarm()
    assert pair.gateway.alarms


def test_a_device_whose_firmware_is_not_in_slots_takes_no_offer() -> None:
    pair = Updating()
    pair.board.slot_storage = None
    pair.power_cut()
    pair.offered = release(8)
    pair.run(20_000)
    assert pair.asks == []
    assert pair.number == 7


def test_power_cuts_on_the_way_end_in_the_new_version() -> None:
    for seed in range(12):
        pair = Updating("littlefs-flash" if seed % 2 else "card").run(2500)
        pair.offered = release(8)
        pair.fuse.arm(1 + 2 * seed)
        pair.offer(release(8))
        cuts = 0
        for _ in range(4000):
            try:
                pair.step()
            except PowerCut:
                cuts += 1
                pair.power_cut()
            if pair.number == 8 and pair.state.active == SLOT_B and not pair.state.trial:
                break
        assert cuts == 1
        assert pair.number == 8


def test_an_offer_is_not_taken_twice_by_a_replay(pair: Updating) -> None:
    made = release(8)
    facts = made.manifest
    pair.gateway.say(command.UPDATE_OFFER, UpdateOffer(facts.release, facts.number, facts.content_at))
    pair.gateway.counter -= 1
    pair.gateway.say(command.UPDATE_OFFER, UpdateOffer(bytes(8), 0, 0))
    before = pair.app._uplink.conversation.refused
    pair.run(300)
    assert pair.app._uplink.conversation.refused == before + 1
    assert pair.asks
