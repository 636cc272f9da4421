"""Sealing on the real MicroPython at a device's heap size, beside the bare native calls that it cannot do without.

The device's program is bench/programs/sealing.py. Its figures are of this machine; what an RP2040 takes for the same
native calls is worked out from their number and DESIGN's trial of its AES and SHA-256, and marked as modelled.
"""

from __future__ import annotations

from pathlib import Path

from bench.report import Report
from lapel_protocol.limits import NEXT_PLAIN_BYTES, TAG_BYTES
from lapel_sim.launcher import MicroPythonMissing, start

PROGRAMS = Path(__file__).parent / "programs"
MOST_RATIO = 1.25
_ROUNDS, _QUICK_ROUNDS = 400, 60
_TIMEOUT_S = 120

# RP2040 at 125 MHz, measured in a trial before the first line of this was written (bytes a second).
_RP2040_AES_RATE = 719_000
_RP2040_SHA_RATE = 898_000
_SHA_BLOCK_BYTES = 64
_NONCE_BYTES = 16


def measure(report: Report) -> None:
    """Seal segments in MicroPython; prints nothing but a note where that program is missing."""
    report.group("device", "sealing one 4 KiB segment on MicroPython at 192 KiB, medians of interleaved rounds")
    try:
        told = _run(_QUICK_ROUNDS if report.quick else _ROUNDS)
    except MicroPythonMissing as missing:
        print(f"  left out: {missing}")
        return
    bare_us, bare_allocated = told["bare"]
    seal_us, seal_allocated = told["seal"]
    aes_us, sha_us = told["aes"][0], told["sha"][0]
    report.figure("bare AES-256-ECB and SHA-256", bare_us, "µs", f"AES {aes_us:.1f}, SHA-256 {sha_us:.1f}")
    report.figure("seal a full segment", seal_us, "µs", "counters, AES, XOR, HMAC, header, check")
    report.at_most("sealing against the bare calls", seal_us / bare_us, "x", MOST_RATIO)
    report.figure("gather a segment's plaintext in four writes", told["gather"][0], "µs")
    report.figure("allocated by the bare calls", bare_allocated, "bytes")
    report.at_most(
        "allocated by gathering and sealing beyond that",
        told["gather_and_seal"][1] - bare_allocated,
        "bytes",
        64,
        f"sealing {seal_allocated}; the two hash objects, their digests, an argument list, a view",
    )
    report.figure("modelled: the bare calls on an RP2040", _modelled_rp2040_ms(), "ms", "from counts of blocks")


def _run(rounds: int) -> dict[str, tuple[float, int]]:
    """{work: (µs, bytes allocated)} as the device's program printed it."""
    process = start("sealing", (str(rounds), str(NEXT_PLAIN_BYTES)), (), extra_path=PROGRAMS)
    try:
        text = process.communicate(timeout=_TIMEOUT_S)[0].decode()
    finally:
        process.kill()
    lines = [line.split() for line in text.splitlines() if line]
    if process.returncode or not lines or any(len(words) != 3 for words in lines):
        raise RuntimeError(f"the sealing program failed:\n{text}")
    return {name: (int(nanoseconds) / 1000, int(allocated)) for name, nanoseconds, allocated in lines}


def _modelled_rp2040_ms() -> float:
    """Milliseconds of the bare calls for one segment, from bytes through each at the trial's rates."""
    aes_bytes = (NEXT_PLAIN_BYTES + 15) // 16 * 16
    inner = _SHA_BLOCK_BYTES + _NONCE_BYTES + NEXT_PLAIN_BYTES
    outer = _SHA_BLOCK_BYTES + TAG_BYTES
    # FIPS 180-4: one byte and eight of length follow, then zeros to a whole block.
    blocks = sum((size + 9 + _SHA_BLOCK_BYTES - 1) // _SHA_BLOCK_BYTES for size in (inner, outer))
    return (aes_bytes / _RP2040_AES_RATE + blocks * _SHA_BLOCK_BYTES / _RP2040_SHA_RATE) * 1000
