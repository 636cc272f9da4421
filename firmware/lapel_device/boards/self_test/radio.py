"""Self-test of Wi-Fi: joined or not, why not, and how well it is heard. Networks are named by their number only."""

from . import failed, passed, pause, provisioned, skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

_LOOK_MS = 50
_WEAK_DBM = -80
"""Below this a moving wearer loses it at every door."""
_REASONS = (
    ("wrong password", "wrong_password"),
    ("does not let us in", "refused"),
    ("not within reach", "not_in_reach"),
    ("does not answer", "radio"),
)


def wifi(board: "Any", ms: int, last: bool) -> "Outcome | None":
    """Wait for so long, at most; None while it may still join, and `last` is not said."""
    station = getattr(board, "wifi", None)
    if board.storage.size("/wifi.json") <= 0 and station is not None:
        if provisioned(board):
            return failed("no_networks", "no networks are given to it")
        return skipped("not provisioned")
    for _ in range(ms // _LOOK_MS):
        if board.network.is_up():
            return _judge(station)
        pause(board, _LOOK_MS)
    if not last:
        return None
    told = station.told if station is not None else ""
    for words, fault in _REASONS:
        if words in told:
            return failed(fault, "; ".join([line for line in told.split("\n") if line]))
    return failed("not_in_reach", "it is not joined")


def _judge(station: "Any") -> "Outcome":
    if station is None or not station.up:
        return passed("up")
    signal = station.rssi()
    found = "network %d joined, %d dBm" % (station.joined, signal)
    if signal < _WEAK_DBM:
        return failed("weak", found)
    return passed(found)
