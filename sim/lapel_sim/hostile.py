"""What a hostile world does: it takes a device apart, and it listens at a broker to say again what it heard.

`Loot` is what a thief reads out of a device. `BrokerTap` is whoever owns a broker without certificates: it hears every
message of every device and gateway, and publishes anything in anybody's name. Both know topics and bytes only.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from .hosttime import host_ms

_ANSWER_S = 10.0


@dataclass(frozen=True)
class Loot:
    """A stolen device: the key sectors and the whole medium of the file system, byte for byte as they were.

    `memory` is the device's own heap, for a thief who gets at it while it runs; empty when it was off or not asked for.
    """

    device: str
    sectors: bytes = field(repr=False)
    disk: bytes = field(repr=False)
    memory: bytes = field(default=b"", repr=False)

    @property
    def images(self) -> dict[str, bytes]:
        """What there is to search, by name."""
        return {name: image for name in ("sectors", "disk", "memory") if (image := getattr(self, name))}


@dataclass(frozen=True)
class Heard:
    """One message at the broker, and when it was heard (host's monotonic milliseconds)."""

    topic: str
    payload: bytes = field(repr=False)
    at_ms: int

    @property
    def lane(self) -> str:
        """The last word of the topic."""
        return self.topic.rpartition("/")[2]


class BrokerTap:
    """Hears everything from now on; see `World.tap`. Raises OSError where no broker of that kind answers."""

    def __init__(self, host: str, port: int) -> None:
        self._changed = threading.Condition()
        self._messages: list[Heard] = []
        self._answered: set[int] = set()
        self._ready = threading.Event()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id="tap")
        client.max_inflight_messages_set(64)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.connect(host, port)
        client.loop_start()
        if not self._ready.wait(_ANSWER_S):
            self.close()
            raise OSError(f"the broker on {host} port {port} lets nobody listen")

    def heard(self, lane: str | None = None, since_ms: int = 0) -> list[Heard]:
        """Messages in the order in which they were heard, of all lanes or of one."""
        with self._changed:
            return [message for message in self._messages if lane in (None, message.lane) and message.at_ms >= since_ms]

    def replay(self, messages: Iterable[Heard]) -> int:
        """Publish messages again, in this order; returns how many, once the broker has them. Raises OSError."""
        return self.say([(message.topic, message.payload) for message in messages])

    def say(self, messages: Iterable[tuple[str, bytes]]) -> int:
        """Publish anything; returns how many messages, once the broker has them. Raises OSError."""
        count = 0
        for topic, payload in messages:
            with self._changed:
                number = self._client.publish(topic, payload, qos=1).mid
                if not self._changed.wait_for(lambda number=number: number in self._answered, _ANSWER_S):  # type: ignore[misc]
                    raise OSError("the broker does not take what is replayed")
            count += 1
        return count

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, _code: Any, _more: Any) -> None:
        client.subscribe("lapel/#", qos=1)

    def _on_subscribe(self, _client: Any, _data: Any, _number: Any, codes: list[Any], _more: Any) -> None:
        if not any(code.is_failure for code in codes):
            self._ready.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._messages.append(Heard(message.topic, bytes(message.payload), host_ms()))
            self._changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, number: int, _code: Any, _more: Any) -> None:
        with self._changed:
            self._answered.add(number)
            self._changed.notify_all()


def read_memory(pid: int, marker: str = "[heap]") -> bytes:
    """Everything that a process of ours can write to: what is in the RAM of a device that runs.

    The device's heap is malloc'ed by the program, so it is an anonymous mapping or the process's heap; mapped files
    (libraries) are left out. Raises OSError where the system does not let us look.
    """
    found = bytearray()
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            words = line.split()
            if not words[1].startswith("rw") or (len(words) > 5 and words[5] != marker):
                continue
            first, last = (int(bound, 16) for bound in words[0].split("-"))
            memory.seek(first)
            try:
                found += memory.read(last - first)
            except OSError:
                continue  # a guard page, or memory that was given back meanwhile
    return bytes(found)
