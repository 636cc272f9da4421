"""A broker that is an enemy: it hears all, keeps all, and decides what arrives, when, how often and in which name.

It takes every message of a device with a PUBACK, whatever becomes of it, because that is the lie a broker can tell.
What it does to messages is a list of `Trick`s drawn by the seed; without any it is an honest broker that remembers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .broker import Broker

Message = tuple[str, bytes]
"""(topic, payload)."""

Trick = Callable[["HostileBroker", Message], list[Message]]
"""What becomes of one message: the messages that arrive in its place, in order."""

_HELD_MOST = 200


class HostileBroker(Broker):
    """`on_publish` takes what arrives at the gateway. `up` and `down` are all true messages ever sent, in order."""

    def __init__(self, on_publish: Callable[[str, bytes], None], rng: random.Random) -> None:
        super().__init__(on_publish, rng)
        self.rng = rng
        self.up: list[Message] = []
        self.down: list[Message] = []
        self.held_up: list[Message] = []
        self.held_down: list[Message] = []
        self.tricks: Sequence[Trick] = ()
        self.chance = 0.0
        """Of each message, to have a trick played on it."""
        self.played = 0

    def publish(self, topic: str, payload: bytes) -> None:
        """A device's message came, and has its PUBACK already."""
        message = topic, bytes(payload)
        self.up.append(message)
        for arriving in self._play(message):
            self._on_publish(*arriving)

    def send(self, client: str, topic: str, payload: bytes) -> None:
        """The gateway says something to a device."""
        message = topic, bytes(payload)
        self.down.append(message)
        for name, content in self._play(message):
            super().send(client_of(name), name, content)

    def say(self, messages: Sequence[Message]) -> None:
        """Put messages on their way, in whichever direction their topic leads."""
        for topic, payload in messages:
            if topic.endswith("/down"):
                super().send(client_of(topic), topic, payload)
            else:
                self._on_publish(topic, payload)

    def release(self) -> None:
        """Let go of what was held back, in another order than it came."""
        held = [*self.held_up, *self.held_down]
        self.held_up.clear()
        self.held_down.clear()
        self.rng.shuffle(held)
        self.say(held)

    def _play(self, message: Message) -> list[Message]:
        if self.tricks and self.rng.random() < self.chance:
            self.played += 1
            return self.rng.choice(list(self.tricks))(self, message)
        return [message]


def client_of(topic: str) -> str:
    """The device of a topic, whose client id it is."""
    return topic.split("/")[3]


# -- tricks --


def drop(_broker: HostileBroker, _message: Message) -> list[Message]:
    """Acknowledged, and gone."""
    return []


def repeat(_broker: HostileBroker, message: Message) -> list[Message]:
    """Three times over."""
    return [message] * 3


def hold(broker: HostileBroker, message: Message) -> list[Message]:
    """Kept back until `release`, which may be in another boot."""
    held = broker.held_down if message[0].endswith("/down") else broker.held_up
    if len(held) < _HELD_MOST:
        held.append(message)
    return []


def replay(broker: HostileBroker, message: Message) -> list[Message]:
    """Behind it, something true that was said before, by or to anybody."""
    heard = broker.down if message[0].endswith("/down") else broker.up
    return [message, broker.rng.choice(heard)]


def rename(broker: HostileBroker, message: Message) -> list[Message]:
    """In another device's name, or on another of its lanes."""
    heard = [*broker.down, *broker.up]
    return [(broker.rng.choice(heard)[0], message[1])]


def alter(broker: HostileBroker, message: Message) -> list[Message]:
    """One bit the other way."""
    content = bytearray(message[1])
    at = broker.rng.randrange(8 * len(content))
    content[at >> 3] ^= 1 << (at & 7)
    return [(message[0], bytes(content))]


def cut(broker: HostileBroker, message: Message) -> list[Message]:
    """A part of it."""
    content = message[1]
    return [(message[0], content[: broker.rng.randrange(len(content))])]


def splice(broker: HostileBroker, message: Message) -> list[Message]:
    """Its beginning with the end of another one, or both in one message."""
    other = broker.rng.choice([*broker.down, *broker.up])[1]
    if broker.rng.random() < 0.5:
        return [(message[0], message[1] + other)]
    at = broker.rng.randrange(len(message[1]))
    return [(message[0], message[1][:at] + other[at:])]


def invent(broker: HostileBroker, message: Message) -> list[Message]:
    """Noise that begins as a record of some kind does, instead of it."""
    head = bytes([broker.rng.choice((0x01, 0x02, 0x03, 0x10, 0x20)), 1])
    return [(message[0], head + broker.rng.randbytes(broker.rng.randrange(1200)))]


TRICKS: tuple[Trick, ...] = (drop, repeat, hold, replay, rename, alter, cut, splice, invent)
