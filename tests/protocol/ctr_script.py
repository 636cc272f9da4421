"""For micropython: AES-CTR with the viper and with the plain inner loops, against results of another library.

Argument: a JSON file with a list of {key, iv, plain, out}, all hex. Ends with status 1 when one differs.
"""

import json
import sys

from lapel_protocol import ctr_micropython, xor_plain, xor_viper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def use(loops: "Any") -> None:
    """Make the cipher run with these inner loops."""
    setattr(ctr_micropython, "fill_counters", loops.fill_counters)  # noqa: B010 - imported names are no attributes to mypy
    setattr(ctr_micropython, "xor_into", loops.xor_into)  # noqa: B010


def cipher_text(case: "dict[str, str]") -> str:
    """The case's plaintext, encrypted by whichever loops `ctr_micropython` uses now."""
    data = bytearray(bytes.fromhex(case["plain"]))
    ctr_micropython.AesCtr(bytes.fromhex(case["key"])).apply(bytes.fromhex(case["iv"]), memoryview(data))
    return data.hex()


def loops_agree(size: int, start: int) -> bool:
    """Whether both versions of both loops write the same bytes, and nothing beyond `size`."""
    source = bytearray((i * 7 + start) & 0xFF for i in range(size + 8))
    ours = [bytearray((i * 13) & 0xFF for i in range(size + 8)) for _ in range(2)]
    counters = [bytearray(64), bytearray(64)]
    iv = bytes(range(12))
    for loops, target, blocks in ((xor_viper, ours[0], counters[0]), (xor_plain, ours[1], counters[1])):
        loops.xor_into(target, source, size)
        loops.fill_counters(blocks, iv, start, 4)
    untouched = bytes((i * 13) & 0xFF for i in range(size, size + 8))
    return ours[0] == ours[1] and counters[0] == counters[1] and ours[0][size:] == untouched


def main(path: str) -> int:
    """Check everything; returns the process's status."""
    with open(path) as file:
        cases = json.load(file)
    wrong = 0
    for loops in (xor_viper, xor_plain):
        use(loops)
        for case in cases:
            if cipher_text(case) != case["out"]:
                wrong += 1
                size = len(case["plain"]) // 2
                print(f"WRONG: {size} bytes with {loops.__name__}")
    for size in range(70):
        for start in (0, 1, 255, 256, 65535, 65536, (1 << 24) - 2, (1 << 31) - 2):
            if not loops_agree(size, start):
                wrong += 1
                print(f"LOOPS DIFFER: {size} bytes from block {start}")
    print(f"{len(cases)} ciphertexts twice, wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
