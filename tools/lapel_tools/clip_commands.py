"""``lapel clip``: finding, showing and exporting clips, on the gateway's machine."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from lapel_gateway.accounts.audit import command_line, note
from lapel_gateway.custody.vault import Vault
from lapel_gateway.describe import clip_name, clip_words, parse_clip_name
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.reports.period import PeriodError, parse_moment
from lapel_gateway.settings.policies import find_zone
from lapel_gateway.viewing.approvals import ApprovalError, check_export
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.disclosures import (
    KINDS,
    Disclosure,
    DisclosureError,
    enter_disclosure,
    list_disclosures,
)
from lapel_gateway.viewing.export import ExportError, export_clip
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry
from lapel_tools.console import (
    FAILED,
    NOT_FOUND,
    CommandError,
    ConfigOption,
    JsonOption,
    now_ms,
    print_facts,
    print_json,
    print_table,
    when,
)
from lapel_tools.site import Site

app = typer.Typer(help="Clips that the gateway holds.", no_args_is_help=True)

Clip = Annotated[str, typer.Argument(help="Id of the clip, DEVICE-NUMBER, or a beginning of it that fits one only.")]


@app.command("list")
def list_clips(
    device: Annotated[str | None, typer.Option(help="Of this device only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show clips, the newest first, those known of but not received included."""
    site = Site(config)
    query = sa.select(clips).order_by(clips.c.first_ms.desc(), clips.c.clip.desc()).limit(limit)
    if device is not None:
        query = query.where(clips.c.device == site.registry.find(device))
    with reading(site.engine) as connection:
        found = [clip_words(row) for row in connection.execute(query).mappings()]
    if as_json:
        print_json(found)
        return
    print_table(
        ("clip", "started", "person", "state", "notice", "segments", "seconds"),
        [_line(words) for words in found],
        "no clips yet",
    )


@app.command()
def show(clip: Clip, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show everything that is known of one clip."""
    site = Site(config)
    words = clip_words(_find(site, clip))
    if as_json:
        print_json(words)
    else:
        print_facts(words)


@app.command()
def export(
    clip: Clip,
    out: Annotated[Path, typer.Option(help="New or empty folder for the export.")],
    with_key: Annotated[bool, typer.Option("--with-key", help="The clip's own key too: who has it reads it.")] = False,
    request: Annotated[
        int | None, typer.Option(min=1, help="Number of the request that a second person agreed to.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the sealed original, what can be opened of it, and a manifest that proves them."""
    site = Site(config)
    row = _find(site, clip)
    _allow_export(site, (row["device"], row["clip"]), request, with_key)
    keys = KeyRing(keys_from_registry(site.engine, site.registry), site.organisation)
    vault, views = Vault(site.config.vault_dir), Views(site.config.views_dir)
    try:
        manifest = export_clip(site.engine, vault, keys, (row["device"], row["clip"]), out, with_key, now_ms(), views)
    except ExportError as error:
        raise CommandError(str(error), FAILED) from None
    if as_json:
        print_json(manifest)
        return
    for name, facts in manifest["files"].items():
        typer.echo(f"{facts['sha256']}  {out / name}")
    typer.echo(f"{manifest['form']}; check it anywhere with: lapel verify {out}")


@app.command()
def passed(
    clip: Clip,
    to: Annotated[
        str | None, typer.Option("--to", metavar="|".join(KINDS), help="What the recipient is.", show_default=False)
    ] = None,
    recipient: Annotated[str, typer.Option(help="Who has it now, in words.", show_default=False)] = "",
    reference: Annotated[str, typer.Option(help="The recipient's reference of the case.", show_default=False)] = "",
    on: Annotated[str | None, typer.Option(help="When, as 2026-05-31 or with a time.", show_default="now")] = None,
    by: Annotated[str | None, typer.Option(help="Who passed it on.", show_default="whoever is logged in")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter that a clip was passed on, after its export; without --to, show to whom it was."""
    site = Site(config)
    row = _find(site, clip)
    named = (row["device"], row["clip"])
    if to is not None:
        now = now_ms()
        try:
            passed_ms = now if on is None else parse_moment(on, find_zone(site.config.alarms.time_zone))
            made = Disclosure(to, recipient, reference, passed_ms)
            enter_disclosure(site.engine, named, made, by or getpass.getuser(), now)
        except (DisclosureError, PeriodError) as error:
            raise CommandError(str(error)) from None
    elif recipient or reference or on:
        raise CommandError(f"say what the recipient is: --to {'|'.join(KINDS)}")
    found = list_disclosures(site.engine, named)
    if as_json:
        print_json(found)
        return
    print_table(
        ("passed on", "to", "recipient", "reference", "entered by"),
        [(when(one["passed"]), one["kind"], one["recipient"], one["reference"], one["entered"]["by"]) for one in found],
        "this clip was passed on to nobody",
    )


def _allow_export(site: Site, clip: tuple[str, int], request: int | None, with_key: bool) -> None:
    """Enter an export into the audit log, if it may be made. Raises CommandError."""
    if request is None and site.config.accounts.two_person_export:
        raise CommandError(
            "an export needs a second person here (two_person_export): ask for it on the clip's page, let somebody "
            "else agree, and name the request with --request"
        )
    with writing(site.engine) as connection:
        if request is not None:
            try:
                check_export(connection, clip, request, now_ms(), two_needed=site.config.accounts.two_person_export)
            except ApprovalError as error:
                raise CommandError(str(error)) from None
        said = [f"request {request}"] if request is not None else []
        detail = ", ".join([*said, *(["with its key"] if with_key else [])])
        note(connection, command_line(), now_ms(), "export clip", clip_name(*clip), detail=detail)


def _find(site: Site, text: str) -> sa.RowMapping:
    """The row of the clip that ``text`` names. Raises CommandError when it names none, or several."""
    exact = parse_clip_name(text)
    query = sa.select(clips)
    if exact is not None:
        query = query.where(clips.c.device == exact[0], clips.c.clip == exact[1])
    else:
        device, _, number = text.partition("-")
        query = query.where(clips.c.device.startswith(device, autoescape=True))
        if number:
            query = query.where(clips.c.clip == (int(number) if number.isdecimal() else -1))
    with reading(site.engine) as connection:
        rows = connection.execute(query.limit(2)).mappings().all()
    if len(rows) != 1:
        problem = "names several clips" if rows else "names no clip"
        raise CommandError(f"{text} {problem}: `lapel clip list` shows them", NOT_FOUND)
    return rows[0]


def _line(words: dict[str, Any]) -> tuple[object, ...]:
    segments = words["segments"]
    settled = "?" if segments["settled"] is None else segments["settled"]
    duration = words["duration_ms"]
    return (
        words["id"],
        when(words["started"]),
        words["person"],
        f"{words['state']}{' (cut)' if words['cut'] else ''}{' ALARM' if words['alarm'] else ''}",
        words["notice"]["outcome"],
        f"{segments['authentic']}/{settled}",
        None if duration is None else f"{duration / 1000:.1f}",
    )
