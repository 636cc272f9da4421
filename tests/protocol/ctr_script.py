"""For micropython: AES-CTR and sampled words, with viper's and with plain loops, against results of another library.

Argument: a JSON file with a list of {key, iv, plain, out}, all hex. Ends with status 1 when one differs.
"""

import json
import sys

from lapel_protocol import ctr_micropython, loops_plain, loops_viper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def use(loops: "Any") -> None:
    """Make the cipher run with these inner loops."""
    for name in ("crypt", "gather"):
        setattr(ctr_micropython, name, getattr(loops, name))


def cipher_text(case: "dict[str, str]") -> str:
    """The case's plaintext, encrypted by whichever loops `ctr_micropython` uses now."""
    data = bytearray(bytes.fromhex(case["plain"]))
    ctr_micropython.AesCtr(bytes.fromhex(case["key"])).apply(bytes.fromhex(case["iv"]), memoryview(data))
    return data.hex()


def loops_agree(start: int, size: int, piece: int) -> bool:
    """Whether both versions add the same keystream to `size` bytes from `start` on, and touch nothing else."""
    iv = bytes(range(12))
    plain = bytes((i * i + 7 * size) & 0xFF for i in range(start + size + 8))
    keystream = b"".join(iv + i.to_bytes(4, "big") for i in range((size + 15) // 16))
    expected = bytearray(plain)
    for i in range(size):
        expected[start + i] ^= keystream[i]
    for loops in (loops_viper, loops_plain):
        record = bytearray(plain)
        stream = memoryview(bytearray(piece))
        # A cipher that leaves every block as it is shows the counter blocks themselves.
        loops.crypt(memoryview(record)[start:], stream, iv, size, stream, lambda source, target: None)
        if record != expected:
            return False
    return True


def samples_agree(start: int, size: int) -> bool:
    """Whether both versions sample the same words of `size` bytes from `start` on, and write nothing beyond them."""
    data = bytes((i * i + 5 * i + size) & 0xFF for i in range(start + size))
    body = data[start:]
    expected = b"".join([body[at : at + 4] for at in range(0, size, 64) if at + 4 <= size])
    for loops in (loops_viper, loops_plain):
        target = bytearray(len(expected) + 8)
        loops.gather(memoryview(data)[start:], memoryview(target), len(expected))
        if target != expected + bytes(8):
            return False
        use(loops)
        if ctr_micropython.sampled(memoryview(data)[start:]) != expected:
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
            for start in (0, 4, 28):
                if not loops_agree(start, size, piece):
                    wrong += 1
                    print(f"LOOPS DIFFER: {size} bytes from {start} in pieces of {piece}")
    for size in list(range(200)) + [1023, 1024, 4023, 4024, 4062, 4063, 4064]:  # noqa: RUF005
        for start in (0, 28):
            if not samples_agree(start, size):
                wrong += 1
                print(f"SAMPLES DIFFER: {size} bytes from {start}")
    print(f"{len(cases)} ciphertexts twice, wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
