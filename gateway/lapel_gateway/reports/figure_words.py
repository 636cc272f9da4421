"""Single figures of reports as people read them, on the page and on the command line."""

from __future__ import annotations


def percent(part: int, whole: int) -> str | None:
    """A share rounded down, so that what has just missed a target is not shown as having met it."""
    return f"{part * 1000 // whole / 10:.1f} %" if whole else None


def share_percent(share: float | None) -> str | None:
    """A share of 0 to 1, rounded down as `percent` does."""
    return None if share is None else f"{int(share * 1000 + 1e-9) / 10:.1f} %"


def seconds(time_ms: int | None) -> str | None:
    """Milliseconds as seconds: to the millisecond below ten seconds."""
    if time_ms is None:
        return None
    if time_ms % 1000 == 0:
        return str(time_ms // 1000)
    return f"{time_ms / 1000:.3f}" if abs(time_ms) < 10_000 else f"{time_ms / 1000:.1f}"


def duration(time_ms: int) -> str:
    """How long something took altogether: 45 s, 3 min 5 s, 2 h 5 min."""
    whole = time_ms // 1000
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
