"""The figures of the budget, measured again: what passes on the link is still what the page of boards says."""

import pytest

from lapel_tools.budget.figures import BoardFigures, Bytes, read_figures
from lapel_tools.budget.measuring import measure_board

MOST_OFF = 0.04
MOST_OFF_PICTURE = 0.1
"""A shorter recording sees other pictures."""

LEAST_OFF_BYTES = {"handshake": 16, "framing": 4 * 29, "inside": 8}
"""Signatures and certificates in DER are a byte or two longer or shorter each time; what is written together leaves in
one TLS record or in some. What is inside of TLS does not depend on either.
"""


def parts(found: Bytes) -> dict[str, float]:
    return {"handshake": found.handshake, "framing": found.tls, "inside": found.mqtt + found.records}


def differences(measured: BoardFigures, kept: BoardFigures) -> list[str]:
    """Activities whose bytes are no longer those of the file."""
    found = []
    for name, activity in kept.activities.items():
        if name in ("recording", "standby"):
            continue
        again = measured.activities[name]
        for way, now, before in (("up", again.up, activity.up), ("down", again.down, activity.down)):
            for part, size in parts(before).items():
                if abs(parts(now)[part] - size) > max(LEAST_OFF_BYTES[part], MOST_OFF * size):
                    found.append(f"{name} {way}, {part}: {size:.0f} bytes are now {parts(now)[part]:.0f}")
    return found


@pytest.mark.needs("micropython", "mosquitto")
@pytest.mark.parametrize("board", ["esp32s3_cam", "fob_pico_w"])
def test_the_bytes_of_every_activity_are_those_of_the_figures(board: str) -> None:
    """One board that records, one with a receiver; as fast as this machine, for no time is compared."""
    kept = read_figures().boards[board]
    measured = measure_board(board, print, cost_scale=0, record_s=10, brokers=("mosquitto",))
    assert set(measured.activities) == set(kept.activities)
    assert not differences(measured, kept), "measure again: lapel sim budget, then lapel device budget --out FILE.md"
    assert (measured.media is None) == (kept.media is None)
    if measured.media is not None and kept.media is not None:
        assert measured.media.per_media_byte == pytest.approx(kept.media.per_media_byte, rel=MOST_OFF)
        assert measured.media.frame_bytes == pytest.approx(kept.media.frame_bytes, rel=MOST_OFF_PICTURE)
