"""Writing payloads: what the encoders promise beyond the vectors, which hold every decoder to its edges."""

from __future__ import annotations

import pytest

from lapel_protocol.limits import (
    MAX_COMMAND_PAYLOAD_BYTES,
    MAX_CREDIT_CLIPS,
    MAX_EVENT_PAYLOAD_BYTES,
    MAX_EVENT_RECEIPTS,
    MAX_LEDGER_ENTRIES,
    MAX_NAME_BYTES,
    RSA_BYTES,
)
from lapel_protocol.orders import (
    AlarmAck,
    Credit,
    EventReceipt,
    SettingsChange,
    decode_alarm_ack,
    decode_credit,
    decode_event_receipt,
    decode_settings,
)
from lapel_protocol.report_decoders import decode_hello
from lapel_protocol.reports import Hello, Probe


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
