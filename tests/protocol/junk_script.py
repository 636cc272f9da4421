"""For either Python: gives every decoder bytes that only resemble records; any exception but ProtocolError is an error.

Arguments: vector file with payloads, number of rounds. Prints how many were read and how many refused.
"""

import json
import sys

from lapel_protocol.clip import peek_clip
from lapel_protocol.command import open_command
from lapel_protocol.crypto import sha256
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import peek_event
from lapel_protocol.keys import EpochKeys
from lapel_protocol.opening import decode_clip_header, open_clip_end, open_clip_header, open_event
from lapel_protocol.stream import decode_segment_header, segment_body, split_tink_header
from lapel_protocol.topics import parse_topic
from tests.protocol.vector_runner import DECODERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = EpochKeys(bytes(32))
LENGTHS = (0, 1, 2, 15, 27, 28, 40, 60, 71, 72, 91, 92, 120, 588, 1096, 1097, 1116, 1117, 4084, 4124)
TYPES = b"\x00\x01\x02\x03\x10\x20"


def read_segment(data: bytes) -> None:
    segment_body(decode_segment_header(data), data)


def read_topic(data: bytes) -> None:
    parse_topic("lapel/v1/" + data.hex()[:2] + "/" + data.hex()[2:18] + "/clip")


READERS: "tuple[Callable[[bytes], object], ...]" = (
    lambda data: open_event(KEYS, data),
    lambda data: open_command(KEYS, data, bytes(8), 0),
    lambda data: open_clip_header(KEYS, data),
    lambda data: open_clip_end(KEYS, data),
    decode_clip_header,
    read_segment,
    read_topic,
    peek_clip,
    peek_event,
    split_tink_header,
)


class Junk:
    """Bytes that are the same at every run."""

    def __init__(self) -> None:
        self.drawn = 0

    def draw(self, below: int) -> int:
        """A number from 0 to below - 1."""
        self.drawn += 1
        return int.from_bytes(sha256(b"junk", self.drawn.to_bytes(4, "big"))[:4], "big") % below

    def filling(self, length: int) -> bytes:
        """So many bytes."""
        self.drawn += 1
        block = sha256(b"junk", self.drawn.to_bytes(4, "big"))
        return (block * (length // 32 + 1))[:length]

    def record(self) -> bytes:
        """Something with the type and version of a record, now and then."""
        data = self.filling(LENGTHS[self.draw(len(LENGTHS))])
        if self.draw(4) and len(data) > 1:
            data = bytes([TYPES[self.draw(len(TYPES))], self.draw(3)]) + data[2:]
        return data

    def payload(self, sample: bytes) -> bytes:
        """A good payload with up to three bytes changed, cut, or lengthened."""
        data = bytearray(sample)
        for _ in range(self.draw(4)):
            if data:
                data[self.draw(len(data))] = self.draw(256)
        if not self.draw(4):
            return bytes(data[: self.draw(len(data) + 1)])
        return bytes(data) + self.filling(self.draw(5) and self.draw(9))


def main(path: str, rounds: int) -> None:
    """Feed the decoders; whatever they raise that is not a ProtocolError ends the script."""
    with open(path) as file:
        cases = json.load(file)["cases"]
    samples = [(case["type"], bytes.fromhex(case["payload"])) for case in cases if case["expect"] == "ok"]
    junk = Junk()
    read = 0
    refused = 0
    for _ in range(rounds):
        kind, sample = samples[junk.draw(len(samples))]
        tries = [(DECODERS[kind], junk.payload(sample))]
        record = junk.record()
        for reader in READERS:
            tries.append((reader, record))  # noqa: PERF401 - a list of lambdas and names, the same on both Pythons
        for reader, data in tries:
            try:
                reader(data)
                read += 1
            except ProtocolError:
                refused += 1
    print(f"read {read}, refused {refused}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
