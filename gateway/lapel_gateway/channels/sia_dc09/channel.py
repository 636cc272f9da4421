"""The channel to one alarm receiving centre: its main receiver, and its backup as soon as the main one fails.

Rules that hold here
- ACK means that the receiver has the event, and that is what delivered means. It does not mean that anybody has seen
  it: no answer of a receiver acknowledges an alarm.
- A NAK carries the receiver's time. When that is not ours, it is ours from then on for this receiver, and the frame
  goes out again at once. Each receiver has its own.
- Each attempt at a receiver ends within the time-out, repeats included. When it fails for whatever reason, the other
  receiver is tried at once; one that failed the last time is tried last.
- The end of an alarm is not told before the alarm itself: the centre would be left with an alarm that is over.
- Link tests have connections of their own and wait for no alarm, nor does an alarm wait for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from lapel_gateway.channels.contract import DeliveryError, NothingToSend, Parcel
from lapel_gateway.channels.sia_dc09 import link
from lapel_gateway.channels.sia_dc09.events import EventCodes, event_of
from lapel_gateway.channels.sia_dc09.frame import (
    ACK,
    LINK_TEST_SEQUENCE,
    NAK,
    NULL,
    BadFrame,
    FrameTooLong,
    Sender,
    encode_frame,
    read_answer,
)
from lapel_gateway.channels.sia_dc09.link import Address, LinkError
from lapel_gateway.channels.sia_dc09.sequence import SequenceNumbers
from lapel_gateway.ledger.schema import OUTBOX_ALARM

MAX_SENDS = 3
"""Frames in one attempt at a receiver: one, one with the receiver's time, and one should that have changed again."""

SAME_CLOCK_S = 2
"""A NAK whose time differs less than this from ours is not about the time."""

_log = structlog.get_logger("lapel.sia")


@dataclass(frozen=True)
class Centre:
    """What was agreed with a centre. ``key`` does not show in a ``repr``."""

    name: str
    addresses: tuple[Address, ...]  # main, then backup
    sender: Sender
    token: str  # SIA_DCS or ADM_CID
    codes: Mapping[str, EventCodes]
    zones: Mapping[str, int]
    extended: frozenset[str]
    key: SecretKey | None
    timeout_s: float
    supervision_s: float  # between two link tests; 0 for none
    answer_age_s: int  # by how much the time in an encrypted ACK may be off; 0 for any


class SecretKey:
    """An AES key that no log shows."""

    def __init__(self, content: bytes) -> None:
        self.content = content


class _Failure(Exception):
    """An attempt at one receiver failed."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class SiaChannel:
    """One receiving centre."""

    kinds = frozenset({OUTBOX_ALARM})

    def __init__(self, centre: Centre, numbers_file: Path, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """``numbers_file`` remembers sequence numbers; it is this channel's alone."""
        self.name = f"sia:{centre.name}"
        self.supervision_s = centre.supervision_s
        self._centre = centre
        self._key = centre.key.content if centre.key is not None else None
        self._numbers = SequenceNumbers(numbers_file)
        self._entropy = entropy
        self._ahead_s: dict[Address, int] = {}
        self._failed: set[Address] = set()
        self._owed: set[str] = set()

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Have a receiver take the event. Raises DeliveryError, or NothingToSend when the centre is not told of it."""
        centre = self._centre
        event = event_of(parcel.payload, centre.codes, centre.zones, centre.extended)
        if event is None:
            raise NothingToSend(f"there is no code for {parcel.payload.get('what')} of this kind")
        begins = parcel.payload.get("what") in ("raised", "unanswered")
        if not begins and parcel.subject in self._owed:
            if parcel.payload.get("resolved_ms") is not None:
                self._owed.discard(parcel.subject)
                raise NothingToSend("it is over, and the receiver never took it")
            raise DeliveryError("waits for the alarm itself, which the receiver has not taken yet")
        number = self._numbers.number(parcel.message_id)
        data = event.data(centre.token, centre.sender.account)
        try:
            self._send(centre.token, number, data, event.extended, now_ms)
        except DeliveryError:
            if begins:
                self._owed.add(parcel.subject)
            raise
        self._owed.discard(parcel.subject)

    def check(self, now_ms: int) -> None:
        """Test the link to every receiver, the backup as well. Raises DeliveryError, which names those that fail."""
        failures = []
        for address in self._centre.addresses:
            try:
                self._attempt(address, NULL, LINK_TEST_SEQUENCE, b"", (), now_ms)
            except _Failure as failure:
                failures.append(f"{address}: {failure}")
        if failures:
            raise DeliveryError("; ".join(failures))

    def _send(self, token: str, number: int, data: bytes, extended: tuple[bytes, ...], now_ms: int) -> None:
        failures: list[str] = []
        refused = True
        started = time.monotonic()
        for address in sorted(self._centre.addresses, key=lambda one: one in self._failed):
            try:
                self._attempt(address, token, number, data, extended, now_ms + _since_ms(started))
                return
            except _Failure as failure:
                failures.append(f"{address}: {failure}")
                refused = refused and failure.refused
        raise DeliveryError("; ".join(failures), refused=refused)

    def _attempt(
        self, address: Address, token: str, number: int, data: bytes, extended: tuple[bytes, ...], now_ms: int
    ) -> None:
        """Have this receiver say ACK, and remember whether it did. Raises _Failure."""
        try:
            self._ask(address, token, number, data, extended, now_ms)
        except _Failure:
            self._failed.add(address)
            raise
        self._failed.discard(address)

    def _ask(
        self, address: Address, token: str, number: int, data: bytes, extended: tuple[bytes, ...], now_ms: int
    ) -> None:
        centre = self._centre
        started = time.monotonic()
        for _ in range(MAX_SENDS):
            ahead_s = self._ahead_s.get(address, 0)
            stamp_s = (now_ms + _since_ms(started)) // 1000 + ahead_s
            try:
                frame = encode_frame(
                    token,
                    number,
                    centre.sender,
                    data,
                    stamp_s=stamp_s,
                    extended=extended,
                    key=self._key,
                    entropy=self._entropy,
                )
                raw = link.exchange(address, frame, started + centre.timeout_s)
                answer = read_answer(raw, centre.sender, number, self._key)
            except FrameTooLong as error:
                raise _Failure(str(error), refused=True) from None
            except LinkError as error:
                raise _Failure(str(error)) from None
            except BadFrame as error:
                raise _Failure(f"its answer is refused: {error}") from None
            if answer.kind == ACK:
                self._check_age(answer.stamp_s, stamp_s)
                return
            if answer.kind != NAK:
                raise _Failure("it answers DUH: it does not know this code or form", refused=True)
            if answer.stamp_s is None:
                raise _Failure("it answers NAK and gives no time", refused=True)
            if abs(answer.stamp_s - stamp_s) <= SAME_CLOCK_S:
                raise _Failure(
                    "it answers NAK at the same time as ours: is the account, or the key, right?", refused=True
                )
            self._ahead_s[address] = ahead_s + answer.stamp_s - stamp_s
            _log.info("a receiver's clock differs and is followed", channel=self.name, ahead_s=self._ahead_s[address])
        raise _Failure("it answers NAK to its own time", refused=True)

    def _check_age(self, answered_s: int | None, stamp_s: int) -> None:
        """An encrypted ACK from another time is a recording, or its receiver's clock is wrong without its noticing."""
        limit_s = self._centre.answer_age_s
        if self._key is None or answered_s is None or not limit_s:
            return
        if abs(answered_s - stamp_s) > limit_s:
            raise _Failure(
                f"its answer is refused: from {abs(answered_s - stamp_s)} s before or after; "
                "is its clock right? (answer_age_s)"
            )


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
