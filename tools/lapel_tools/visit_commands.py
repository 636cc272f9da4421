"""``lapel visit``: plan a visit, be looked after during it, see who is where. In one's own name, through the API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import (
    ConfigOption,
    JsonOption,
    plain,
    print_facts,
    print_json,
    print_table,
    when,
)
from lapel_tools.local_zone import ZoneOption, local_zone

app = typer.Typer(help="Visits of lone workers: planned, watched over, ended.", no_args_is_help=True)

Visit = Annotated[int, typer.Argument(min=1, help="Number of the visit.")]
NoteOption = Annotated[str, typer.Option(help="Why, for the record.")]
PlaceArgument = Annotated[str, typer.Argument(help="Where: an address, as people write it.")]
PersonOption = Annotated[str, typer.Option(help="Who goes.", show_default="you")]
PurposeOption = Annotated[str, typer.Option(help="Why they go there.")]
PresentOption = Annotated[str, typer.Option(help="People who are expected there, with commas between them.")]
RiskOption = Annotated[str, typer.Option(help="What to beware of, beside what the risk register says.")]
BuddyOption = Annotated[str, typer.Option(help="Who is told first when time is nearly up.")]
ExpectedOption = Annotated[int | None, typer.Option("--minutes", help="How long it takes.", show_default="as set")]
CheckInOption = Annotated[int, typer.Option("--check-in", help="Minutes between check-ins; 0 for none.")]


@app.command()
def plan(
    place: PlaceArgument,
    at: Annotated[str, typer.Option(help="When it begins: 2026-03-29T14:30, in the zone, or with an offset.")],
    zone: ZoneOption = None,
    person: PersonOption = "",
    purpose: PurposeOption = "",
    present: PresentOption = "",
    risk: RiskOption = "",
    buddy: BuddyOption = "",
    minutes: ExpectedOption = None,
    check_in: CheckInOption = 0,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a visit: colleagues see it, and the risk register says what it knows."""
    body = _body(place, person, purpose, present, risk, buddy, minutes, check_in)
    body |= {"planned": at, "zone": zone or local_zone()}
    _tell_new(Api(url, read_token(token_file), config).post("visits", body=body), as_json)


@app.command()
def start(
    place: Annotated[str, typer.Argument(help="Where; or the number of a planned visit.")],
    person: PersonOption = "",
    purpose: PurposeOption = "",
    present: PresentOption = "",
    risk: RiskOption = "",
    buddy: BuddyOption = "",
    minutes: ExpectedOption = None,
    check_in: CheckInOption = 0,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a visit now: a planned one by its number, or a new one."""
    api = Api(url, read_token(token_file), config)
    if place.isascii() and place.isdigit():
        _tell(api.post("visits", place, "start"), as_json)
        return
    body = _body(place, person, purpose, present, risk, buddy, minutes, check_in)
    _tell_new(api.post("visits", body=body), as_json)


@app.command("check-in")
def check_in(
    visit: Visit,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that all is well."""
    _tell(Api(url, read_token(token_file), config).post("visits", str(visit), "check-in"), as_json)


@app.command()
def extend(
    visit: Visit,
    minutes: Annotated[int | None, typer.Option(help="How much longer it takes.", show_default="as set")] = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that it takes longer."""
    api = Api(url, read_token(token_file), config)
    _tell(api.post("visits", str(visit), "extend", body={"minutes": minutes}), as_json)


@app.command()
def end(
    visit: Visit,
    note: NoteOption = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that nobody is there any more. An alarm that was raised stays open until somebody resolves it."""
    _tell(Api(url, read_token(token_file), config).post("visits", str(visit), "end", body={"note": note}), as_json)


@app.command()
def cancel(
    visit: Visit,
    note: NoteOption = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back a planned visit."""
    _tell(Api(url, read_token(token_file), config).post("visits", str(visit), "cancel", body={"note": note}), as_json)


@app.command("list")
def list_visits(
    every: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who is on a visit, and who will be."""
    api = Api(url, read_token(token_file), config)
    found = api.get("visits", every=str(every).lower())["visits"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("visit", "person", "place", "state", "begins", "due", "last contact", "buddy"),
        [_line(words) for words in found],
        "no visits" if every else "nobody is on a visit, and none is planned",
    )


@app.command()
def show(
    visit: Visit,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one visit with every step of it."""
    words = Api(url, read_token(token_file), config).get("visits", str(visit))
    if as_json:
        print_json(words)
        return
    steps, positions = words.pop("log"), words.pop("positions")
    print_facts(words)
    typer.echo("")
    print_table(
        ("at", "step", "who", "detail"),
        [(when(step["at"]), step["step"], step["who"], step["detail"]) for step in steps],
        "no steps",
    )
    if positions:
        typer.echo("")
        rows = [(when(one["measured"]), one["latitude"], one["longitude"], one["accuracy_m"]) for one in positions]
        print_table(("measured", "latitude", "longitude", "accuracy m"), rows, "")


def _body(
    place: str, person: str, purpose: str, present: str, risk: str, buddy: str, minutes: int | None, check_in: int
) -> dict[str, Any]:
    return {
        "place": place,
        "person": person,
        "purpose": purpose,
        "present": present,
        "risk": risk,
        "buddy": buddy,
        "expected_min": minutes,
        "check_in_min": check_in,
    }


def _tell_new(words: dict[str, Any], as_json: bool) -> None:
    """A new visit, after what the register warns of."""
    if not as_json:
        for risk in words["risks"]:
            late = ", its review is overdue" if risk["review_overdue"] else ""
            about = ", ".join(part for part in (risk["about"], risk["place"]) if part)
            typer.echo(f"RISK {risk['id']}: {about}: {risk['note']} (owner {risk['owner']}{late})")
    _tell(words, as_json)


def _tell(words: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(words)
        return
    due = f", due {when(words['due'])} UTC" if words["due"] and not words["ended"] else ""
    begins = f", begins {when(words['planned'])} UTC" if words["state"] == "planned" else ""
    typer.echo(
        f"visit {words['id']} ({plain(words['person'])}, {plain(words['place'])}): {words['state']}{begins}{due}"
    )


def _line(words: dict[str, Any]) -> tuple[object, ...]:
    return (
        words["id"],
        words["person"],
        words["place"],
        words["state"],
        when(words["started"] or words["planned"]),
        when(words["due"]),
        when(words["contact"]),
        words["buddy"],
    )
