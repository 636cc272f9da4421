"""Writing payloads: what the encoders promise beyond the vectors, which hold every decoder to its edges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_protocol.limits import (
    MAX_COMMAND_PAYLOAD_BYTES,
    MAX_CREDIT_CLIPS,
    MAX_EVENT_PAYLOAD_BYTES,
    MAX_EVENT_RECEIPTS,
    MAX_LEDGER_ENTRIES,
    MAX_NAME_BYTES,
    MAX_VISIT_MINUTES,
    RSA_BYTES,
)
from lapel_protocol.orders import (
    VISIT_OVERDUE,
    VISIT_PLANNED,
    AlarmAck,
    Credit,
    EventReceipt,
    SettingsChange,
    VisitState,
    decode_alarm_ack,
    decode_credit,
    decode_event_receipt,
    decode_settings,
    decode_visit_state,
)
from lapel_protocol.report_decoders import decode_alarm_raised, decode_hello, decode_location, decode_visit_note
from lapel_protocol.reports import (
    ALARM_PANIC,
    ALARM_TAMPER,
    ALARM_TEST,
    VISIT_CHECK_IN,
    VISIT_END,
    VISIT_EXTEND,
    VISIT_START,
    AlarmRaised,
    Hello,
    Location,
    Probe,
    VisitNote,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=100)
U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
NAMED = st.integers(1, 2**32 - 1)


@pytest.mark.parametrize("name", ["x" * 200, "å" * 200, "救" * 200, "x" + "å" * 40, "🙂" * 13, "é" * 24, ""])
def test_a_long_name_is_cut_between_characters(name: str) -> None:
    ack = AlarmAck(1, 2, 3, name)
    shown = decode_alarm_ack(ack.encode()).name
    assert name.startswith(shown)
    assert len(shown.encode()) <= MAX_NAME_BYTES
    assert shown == name or len(name[: len(shown) + 1].encode()) > MAX_NAME_BYTES
    assert ack.name == name


def test_the_longest_lists_fit_their_records() -> None:
    hello = Hello()
    hello.next_epoch = MAX_LEDGER_ENTRIES
    hello.epochs = [(epoch, 1) for epoch in range(MAX_LEDGER_ENTRIES)]
    pairs = [(2**32 - 1, 2**32 - 1)]
    credit = Credit(bytes(8), 2**32 - 1, 2**32 - 1, pairs * MAX_CREDIT_CLIPS)
    receipt = EventReceipt(pairs * MAX_EVENT_RECEIPTS)
    assert len(hello.encode()) <= MAX_EVENT_PAYLOAD_BYTES
    assert len(Probe(bytes(32), bytes(32), bytes(RSA_BYTES)).encode()) <= MAX_EVENT_PAYLOAD_BYTES
    assert len(credit.encode()) <= MAX_COMMAND_PAYLOAD_BYTES
    assert len(receipt.encode()) <= MAX_COMMAND_PAYLOAD_BYTES
    assert decode_hello(hello.encode()).epochs == hello.epochs
    assert decode_credit(credit.encode()).clips == credit.clips
    assert decode_event_receipt(receipt.encode()).events == receipt.events


def test_default_settings_are_ones_that_a_device_takes() -> None:
    defaults = SettingsChange()
    assert vars(decode_settings(defaults.encode())) == vars(defaults)
    assert len(defaults.encode()) == 16, "a device that knows nothing of man-down reads them too"
    defaults.man_down = 1
    assert vars(decode_settings(defaults.encode())) == vars(defaults)


@QUICK
@given(st.integers(ALARM_PANIC, ALARM_TAMPER), st.integers(0, 100), U32, st.sampled_from([0, ALARM_TEST]))
def test_any_alarm_is_read_as_it_was_written_and_a_test_as_a_test(
    kind: int, battery: int, clip: int, flags: int
) -> None:
    raised = AlarmRaised(kind, battery, clip, flags)
    assert vars(decode_alarm_raised(raised.encode())) == vars(raised)


def test_an_alarm_is_real_unless_it_says_that_it_is_a_test() -> None:
    assert AlarmRaised(ALARM_PANIC, 50, 0).flags == 0
    assert not decode_alarm_raised(bytes([ALARM_PANIC, 0, 50, 0, 0, 0, 0, 0])).flags


@QUICK
@given(st.sampled_from([VISIT_START, VISIT_EXTEND]), st.integers(0, MAX_VISIT_MINUTES), U32)
def test_any_start_or_extension_of_a_visit_is_read_as_it_was_written(what: int, minutes: int, visit: int) -> None:
    note = VisitNote(what, minutes, visit)
    assert vars(decode_visit_note(note.encode())) == vars(note)


@QUICK
@given(st.sampled_from([VISIT_CHECK_IN, VISIT_END]), U32)
def test_any_check_in_or_end_of_a_visit_is_read_as_it_was_written(what: int, visit: int) -> None:
    note = VisitNote(what, 0, visit)
    assert vars(decode_visit_note(note.encode())) == vars(note)


@QUICK
@given(
    st.integers(-900_000_000, 900_000_000),
    st.integers(-1_800_000_000, 1_800_000_000),
    U16,
    U16,
    st.one_of(
        st.tuples(st.just(0), st.just(0), NAMED), st.tuples(U32, NAMED, st.just(0)), st.tuples(U32, NAMED, NAMED)
    ),
)
def test_any_location_of_a_visit_or_an_alarm_is_read_as_it_was_written(
    latitude: int, longitude: int, accuracy_m: int, age_s: int, belongs_to: tuple[int, int, int]
) -> None:
    location = Location(latitude, longitude, accuracy_m, age_s, *belongs_to)
    assert vars(decode_location(location.encode())) == vars(location)


@QUICK
@given(NAMED, st.integers(VISIT_PLANNED, VISIT_OVERDUE), U16, U64, U64)
def test_any_state_of_a_visit_is_read_as_it_was_written(
    visit: int, state: int, check_in_s: int, due_ms: int, next_check_in_ms: int
) -> None:
    told = VisitState(visit, state, check_in_s, due_ms, next_check_in_ms)
    assert vars(decode_visit_state(told.encode())) == vars(told)
