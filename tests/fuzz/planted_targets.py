"""Faults put in on purpose: a suite that finds nothing proves nothing. Not among the rooms, so no run includes them.

Each stands for one kind of finding. The unchecked index is behind four bytes that chance alone would meet once in four
thousand million inputs: only branches that are seen lead there.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import atheris

from lapel_protocol import command, opening
from lapel_protocol.errors import Malformed, ProtocolError
from tests.fuzz import device_targets, records_targets
from tests.fuzz.harness import READ, REFUSED, Built, target


def _reads_what_it_claims(data: bytes) -> int:
    """A decoder that compares one byte after the other, and then trusts a length."""
    if len(data) < 6:
        raise Malformed("short")
    if data[0] != 0x4C:
        raise Malformed("first")
    if data[1] != 0x50:
        raise Malformed("second")
    if data[2] != 0x4C:
        raise Malformed("third")
    if data[3] != 0x21:
        raise Malformed("fourth")
    return data[5 + data[4]]


@target("planted/unchecked-index", max_bytes=8)
def unchecked_index(_scratch: Path) -> Built:
    """A length that is not compared with what is there."""

    reader = atheris.instrument_func(_reads_what_it_claims)

    def one(data: bytes) -> int:
        try:
            reader(data)
        except ProtocolError:
            return REFUSED
        return READ

    return Built(one, [bytes(6)])


def _always(*_parts: object) -> bool:
    return True


@target("planted/event-mac-unchecked")
def event_mac(scratch: Path) -> Built:
    """The target of events, over a protocol whose comparison of tags says yes to everything."""
    vars(opening)["equal"] = _always
    built = records_targets.event_forged(scratch)
    # Other records than this boot's were accepted, too, when the target sorted them: start from the first alone.
    return Built(built.one, built.seeds[:1], built.mutator)


@target("planted/command-mac-unchecked", max_bytes=4000)
def command_mac(scratch: Path) -> Built:
    """The target of the device's link, over a device that takes any tag."""
    vars(command)["equal"] = _always
    return device_targets.link_forged(scratch)


@target("planted/endless", max_bytes=16, hang_s=1)
def endless(_scratch: Path) -> Built:
    """A loop that the input keeps going."""

    def one(data: bytes) -> int:
        if data[:1] == b"\xff":
            for number in itertools.count():
                if number > 1 << 40:
                    break
        return REFUSED

    return Built(one, [b"\0", b"\xff"])


@target("planted/slow", max_bytes=16, cpu_ms=20)
def slow(_scratch: Path) -> Built:
    """Work that grows with the square of a number in the input."""

    def one(data: bytes) -> int:
        return REFUSED if sum(range(int.from_bytes(data[:3], "big"))) < 0 else READ

    return Built(one, [b"\0\0\0", b"\xff\xff\xff"])


@target("planted/greedy", max_bytes=16)
def greedy(_scratch: Path) -> Built:
    """Memory for a length that is merely claimed."""

    def one(data: bytes) -> int:
        return READ if bytes(int.from_bytes(data[:3], "big")) else REFUSED

    return Built(one, [b"\0\0\1", b"\xff\xff\xff"])
