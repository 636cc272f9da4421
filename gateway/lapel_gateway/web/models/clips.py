"""Clips in answers, and to whom they were passed on."""

from __future__ import annotations

from typing import Any

from lapel_gateway.web.models.shapes import Act, Moment, Shape


class Notice(Shape):
    """What those who are filmed were told."""

    outcome: str | None
    prompted_ms_before_start: int | None
    confirmed_ms_before_start: int | None


class Segments(Shape):
    """How many segments there are, and were receipted."""

    authentic: int
    settled: int | None
    settled_by: str | None
    receipted: int | None


class Chain(Shape):
    """How a clip follows the one before."""

    position: str
    head: str | None
    previous_clip: int | None
    previous_head: str | None


class Frames(Shape):
    """Pictures, as the device counted them."""

    captured: int | None
    dropped: int | None


class Clip(Shape):
    """A clip."""

    id: str
    device: str
    clip: int
    boot: int | None
    person: str
    device_state: str
    state: str
    alarm: bool
    alarm_id: str | None
    started: Moment | None
    started_mono_ms: int | None
    ended: Moment | None
    end_reason: str | None
    cut: bool
    cut_reason: str | None
    notice: Notice
    segments: Segments
    chain: Chain
    frames: Frames
    duration_ms: int | None
    organisation_key: str | None
    opening: str
    first_received: Moment | None
    verified: Moment | None
    receipted: Moment | None
    missing_since: Moment | None
    assembled: Moment | None
    assembly: dict[str, Any] | None


class Clips(Shape):
    """The newest first; ``next`` is given as ``after`` for the following page, None: there is none."""

    clips: list[Clip]
    next: str | None


class FrameTimes(Shape):
    """When each picture of the MP4 begins, in milliseconds of the clip."""

    frames_ms: list[int]


class Look(Shape):
    """That somebody looked at a clip, and why; ``own``: it is of themselves."""

    number: int
    clip: str
    clip_started: Moment | None
    seen: Act
    how: str
    kind: str
    reason: str | None
    reference: str | None


class Looks(Shape):
    """The newest first."""

    views: list[Look]


class ExportFile(Shape):
    """What was made for a request; it can be fetched while the request holds."""

    made: Moment
    bytes: int
    sha256: str


class ExportRequest(Shape):
    """That somebody wants to export a clip, and who else agreed; ``state`` is waiting, approved or over."""

    number: int
    clip: str
    state: str
    asked: Act
    reason: str
    reference: str | None
    approved: Act | None
    file: ExportFile | None
    trouble: str | None


class ExportRequests(Shape):
    """The newest first."""

    requests: list[ExportRequest]


class DisclosureShape(Shape):
    """That a clip was passed on."""

    clip: str
    kind: str
    recipient: str
    reference: str | None
    passed: Moment
    entered: Act


class Disclosures(Shape):
    """The newest first."""

    disclosures: list[DisclosureShape]
