"""For micropython: AES-CTR and CRC-32, with viper's and with plain inner loops, against results of another library.

Argument: a JSON file with a list of {key, iv, plain, out}, all hex. Ends with status 1 when one differs.
"""

import json
import sys
from binascii import crc32

from lapel_protocol import ctr_micropython, loops_plain, loops_viper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_TAG = bytes(range(100, 132))


def use(loops: "Any") -> None:
    """Make the cipher run with these inner loops."""
    setattr(ctr_micropython, "crypt", loops.crypt)  # noqa: B010 - imported names are no attributes to mypy


def cipher_text(case: "dict[str, str]") -> str:
    """The case's plaintext, encrypted by whichever loops `ctr_micropython` uses now."""
    data = bytearray(bytes.fromhex(case["plain"]))
    ctr_micropython.AesCtr(bytes.fromhex(case["key"])).apply(bytes.fromhex(case["iv"]), memoryview(data))
    return data.hex()


def loops_agree(head: int, size: int, piece: int) -> bool:
    """Whether both versions make the same record of `size` bytes behind `head`: blocks, tag, CRC, and nothing else."""
    iv = bytes(range(12))
    start = head + 4 if head else 0
    end = start + size + 32 * bool(head)
    plain = bytes((i * i + 7 * size) & 0xFF for i in range(end + 8))
    keystream = b"".join(iv + i.to_bytes(4, "big") for i in range((size + 15) // 16))
    expected = bytearray(plain)
    for i in range(size):
        expected[start + i] ^= keystream[i]
    if head:
        expected[end - 32 : end] = _TAG
        expected[head:start] = crc32(expected[start:end], crc32(expected[:head])).to_bytes(4, "big")
    for loops in (loops_viper, loops_plain):
        record = bytearray(plain)
        # A cipher that leaves every block as it is shows the counter blocks themselves.
        loops.crypt(record, 0, 0, head, size, iv, memoryview(bytearray(piece)), lambda source, target: None)
        if head:
            loops.close_record(record, 0, 0, head, end, _TAG)
        if record != expected:
            return False
    return True


def main(path: str) -> int:
    """Check everything; returns the process's status."""
    with open(path) as file:
        cases = json.load(file)
    wrong = 0
    for loops in (loops_viper, loops_plain):
        use(loops)
        for case in cases:
            if cipher_text(case) != case["out"]:
                wrong += 1
                size = len(case["plain"]) // 2
                print(f"WRONG: {size} bytes with {loops.__name__}")
    for piece in (16, 48, 1024):
        for size in list(range(130)) + [1023, 1024, 1025, 1030, 4063, 4064]:  # noqa: RUF005 - MicroPython cannot
            for head in (0, 4, 24):
                if not loops_agree(head, size, piece):
                    wrong += 1
                    print(f"LOOPS DIFFER: {size} bytes behind {head} in pieces of {piece}")
    print(f"{len(cases)} ciphertexts twice, wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
