"""The page of one clip: to see and hear it, what is known of it, to whom it was passed on, and who saw it.

Rules that hold here
- Somebody else's clip is played only after the page was told why. The page itself shows nothing of its pictures.
- Everything works without a script: the browser's own controls play the clip, a mark in it is a link to that time of
  the file. `clip.js` adds single frames, speeds, keys and where the clip is on its time line; `clip-export.js` shows
  an export as soon as it is made.
- Where an export needs two people, the page offers no file of the clip to one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Form, Request, Response

from lapel_gateway import describe
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import LARGEST, alarm
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.visit_tables import visit as visits
from lapel_gateway.reports.period import PeriodError, parse_bound
from lapel_gateway.viewing import approvals, catalogue, disclosures, looks
from lapel_gateway.viewing.approvals import ApprovalError
from lapel_gateway.viewing.assembly import FORM_OPENED, MATROSKA, MP4, VTT, Views
from lapel_gateway.viewing.disclosures import Disclosure, DisclosureError
from lapel_gateway.viewing.looks import Reason
from lapel_gateway.web.access import may
from lapel_gateway.web.api.clips import enter, row_of
from lapel_gateway.web.api.exports import Number
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.pages import clip_words as words_of
from lapel_gateway.web.pages.clips import CLIPS_PATH
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.problems import Problem

CLIP_PATH = CLIPS_PATH + "/{clip_id}"

RECIPIENTS = {
    "police": "The police",
    "court": "A court",
    "subject": "Somebody who is seen in it",
    "employer": "The organisation itself",
    "other": "Somebody else",
}

P = Permission
SeesClips = Annotated[Principal, Depends(may(P.SEE_CLIPS, P.SEE_ALARM_CLIPS, P.SEE_OWN))]
PlaysClips = Annotated[Principal, Depends(may(P.PLAY_CLIPS, P.SEE_OWN))]
PassesOn = Annotated[Principal, Depends(may(P.PASS_ON_CLIPS))]
Field = Annotated[str, Form(max_length=1000)]


def install(
    app: FastAPI,
    pages: Pages,
    views: Views,
    now_ms: Callable[[], int],
    installed: Installed,
) -> None:
    """Add the page to ``app``."""
    engine = pages.guard.engine
    reason_ms, zone = installed.accounts.reason_ms, installed.zone
    two_needed = installed.accounts.two_person_export

    @app.get(CLIP_PATH, include_in_schema=False)
    def show_one(request: Request, user: SeesClips, clip_id: str) -> Response:
        return _page(request, user, row_of(engine, clip_id, user))

    @app.post(CLIP_PATH + "/look", include_in_schema=False)
    def say_why(
        request: Request, user: PlaysClips, clip_id: str, kind: Field = "", reason: Field = "", reference: Field = ""
    ) -> Response:
        row = row_of(engine, clip_id, user)
        try:
            enter(engine, row, user, Reason(kind, reason, reference), now_ms(), reason_ms)
        except Problem as problem:
            return _page(request, user, row, about_look=problem.detail, filled=(kind, reason, reference))
        return pages.go(f"{CLIPS_PATH}/{clip_id}")

    @app.post(CLIP_PATH + "/disclosures", include_in_schema=False)
    def pass_on(
        request: Request,
        user: PassesOn,
        clip_id: str,
        kind: Field = "",
        recipient: Field = "",
        reference: Field = "",
        passed: Field = "",
    ) -> Response:
        row = row_of(engine, clip_id, user)
        now = now_ms()
        try:
            passed_ms = parse_bound(passed, zone) if passed else now
            made = Disclosure(kind, recipient, reference, passed_ms)
            disclosures.enter_disclosure(engine, (row["device"], row["clip"]), made, user.name, now)
        except (DisclosureError, PeriodError) as error:
            return _page(request, user, row, about_passing=str(error), passing=(kind, recipient, reference, passed))
        return pages.go(f"{CLIPS_PATH}/{clip_id}#passed-title")

    @app.post(CLIP_PATH + "/export-requests", include_in_schema=False)
    def ask_for_export(
        request: Request, user: PassesOn, clip_id: str, reason: Field = "", reference: Field = ""
    ) -> Response:
        row = row_of(engine, clip_id, user)
        try:
            key = (row["device"], row["clip"])
            approvals.ask_export(engine, key, reason, reference, user.name, now_ms(), two_needed=two_needed)
        except ApprovalError as error:
            return _page(request, user, row, about_export=str(error), exporting=(reason, reference))
        return pages.go(f"{CLIPS_PATH}/{clip_id}#export-title")

    @app.post(CLIP_PATH + "/export-requests/{number}/approve", include_in_schema=False)
    def agree_to_export(request: Request, user: PassesOn, clip_id: str, number: Number) -> Response:
        row = row_of(engine, clip_id, user)
        try:
            approvals.approve_export(engine, (row["device"], row["clip"]), number, user.name, now_ms())
        except ApprovalError as error:
            return _page(request, user, row, about_export=str(error))
        return pages.go(f"{CLIPS_PATH}/{clip_id}#export-title")

    def _page(
        request: Request,
        user: Principal,
        row: sa.RowMapping,
        about_look: str = "",
        filled: tuple[str, str, str] = ("", "", ""),
        about_passing: str = "",
        passing: tuple[str, str, str, str] = ("", "", "", ""),
        about_export: str = "",
        exporting: tuple[str, str] = ("", ""),
    ) -> Response:
        key, now = (row["device"], row["clip"]), now_ms()
        own = looks.is_own(row, user)
        assembly = words_of.assembly_of(row)
        opened = assembly is not None and assembly["form"] == FORM_OPENED
        files = assembly["files"] if assembly and opened else {}
        content = (assembly.get("content") if assembly and opened else None) or None
        with reading(engine) as connection:
            admitted = looks.may_look(connection, row, user, now - reason_ms)
            beside = _beside(connection, row, user)
        length_ms = words_of.length_ms(row, assembly) or 0
        hears = own or user.may(P.PLAY_CLIPS)
        media = {name: name in files and views.path(*key, name).is_file() for name in (MP4, MATROSKA, VTT)}
        return pages.show(
            request,
            "clip.html",
            HTTPStatus.UNPROCESSABLE_ENTITY if about_look or about_passing or about_export else HTTPStatus.OK,
            clip=describe.clip_words(row),
            row=row,
            base=f"{CLIPS_PATH}/{describe.clip_name(*key)}",
            source=f"/api/v1/clips/{describe.clip_name(*key)}/media/",
            state=words_of.CONDITION_WORDS[catalogue.condition_of(row)],
            why_no_picture=words_of.no_picture(row, assembly, hears),
            notice=words_of.notice_words(row),
            how=words_of.end_words(row),
            trust=words_of.TRUST_WORDS.get(row["trust"], "") if row["trust"] is not None else "",
            chain=words_of.CHAIN_WORDS[row["chain"]],
            opening=words_of.OPENING_WORDS[row["opening"]],
            marks=words_of.marks_of(content, length_ms) if content else [],
            content=content,
            length=words_of.clock_text(length_ms),
            length_ms=length_ms,
            segments=words_of.segments_of(row),
            files=files,
            media=media,
            may_play=hears,
            asks_why=hears and any(media.values()) and not admitted,
            plays=hears and admitted,
            own=own,
            reasons=looks.KINDS,
            about_look=_sentence(about_look),
            filled=filled,
            disclosures=disclosures.list_disclosures(engine, key) if user.may(P.SEE_CLIPS) else None,
            passes_on=user.may(P.PASS_ON_CLIPS) and bool(row["contiguous"]),
            recipients=RECIPIENTS,
            about_passing=_sentence(about_passing),
            passing=passing,
            requests=approvals.list_requests(engine, key, now) if user.may(P.SEE_CLIPS) else None,
            two_needed=two_needed,
            sentence=_sentence,
            about_export=_sentence(about_export),
            exporting=exporting,
            looks=looks.list_looks(engine, key) if own or user.may(P.SEE_CLIPS) or user.may(P.SEE_AUDIT) else None,
            when=lambda ms: words_of.time_tag(ms, zone, seconds=True),
            zone=words_of.zone_name(zone, now),
            hours=reason_ms // 3_600_000,
            **beside,
        )


def _beside(connection: sa.Connection, row: sa.RowMapping, user: Principal) -> dict[str, Any]:
    """What a clip belongs to: its device's name, its alarm, the visit that it was recorded on, the clips around it."""
    name = connection.execute(sa.select(devices.c.name).where(devices.c.device == row["device"])).scalar()
    raised = None
    if row["alarm_boot"] is not None:
        query = sa.select(alarm).where(
            alarm.c.device == row["device"], alarm.c.boot == row["alarm_boot"], alarm.c.counter == row["alarm_counter"]
        )
        raised = connection.execute(query).mappings().one_or_none()
    if raised is not None and raised["visit"] is not None:
        during = visits.c.id == raised["visit"]
    else:
        ended = sa.func.coalesce(visits.c.ended_ms, LARGEST)
        during = sa.and_(visits.c.device == row["device"], visits.c.started_ms <= row["start_ms"])
        during = sa.and_(during, ended >= row["start_ms"])
    visit = connection.execute(sa.select(visits).where(during).order_by(visits.c.id.desc()).limit(1)).mappings()
    known = sa.select(clips.c.clip).where(clips.c.device == row["device"], catalogue.visible(user))
    following = known.where(clips.c.clip > row["clip"]).order_by(clips.c.clip).limit(1)
    before = known.where(clips.c.clip == row["previous_clip"])
    return {
        "device_name": name or row["device"],
        "raised": None if raised is None else describe.alarm_words(raised),
        "visit": visit.one_or_none(),
        "clip_before": connection.execute(before).scalar(),
        "next_clip": connection.execute(following).scalar(),
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
