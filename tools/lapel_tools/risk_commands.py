"""``lapel risk``: the register of addresses and people with a warning."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import ConfigOption, JsonOption, print_json, print_table, when
from lapel_tools.local_zone import ZoneOption, local_zone

app = typer.Typer(help="Addresses and people with a warning, shown when a visit is planned.", no_args_is_help=True)

Entry = Annotated[int, typer.Argument(min=1, help="Number of the entry.")]
ReviewOption = Annotated[str, typer.Option(help="Day by which it has to be looked at again: 2026-09-30.")]


@app.command()
def add(
    note: Annotated[str, typer.Argument(help="The warning.")],
    review: ReviewOption,
    place: Annotated[str, typer.Option(help="The address; a postcode alone stands for all that have it.")] = "",
    about: Annotated[str, typer.Option(help="The person it is about.")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it.", show_default="you")] = "",
    zone: ZoneOption = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter a warning about a place, a person, or both."""
    body = {"place": place, "about": about, "note": note, "owner": owner}
    body |= {"review": review, "zone": zone or local_zone()}
    _tell(Api(url, read_token(token_file), config).post("risks", body=body), as_json)


@app.command()
def review(
    entry: Entry,
    review: ReviewOption,
    note: Annotated[str | None, typer.Option(help="The warning anew.", show_default="as it is")] = None,
    zone: ZoneOption = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that an entry was looked at, and when the next time is. You answer for it from now on."""
    body = {"review": review, "zone": zone or local_zone(), "note": note}
    _tell(Api(url, read_token(token_file), config).post("risks", str(entry), "review", body=body), as_json)


@app.command()
def end(
    entry: Entry,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a warning does not hold any more."""
    _tell(Api(url, read_token(token_file), config).post("risks", str(entry), "end"), as_json)


@app.command("list")
def list_risks(
    every: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the entries, those whose review is due first."""
    found = Api(url, read_token(token_file), config).get("risks", every=str(every).lower())["risks"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("entry", "place", "person", "warning", "owner", "review by", "state"),
        [
            (one["id"], one["place"], one["about"], one["note"], one["owner"], when(one["review"])[:10], _state(one))
            for one in found
        ],
        "the risk register is empty",
    )


def _state(words: dict[str, Any]) -> str:
    if words["ended"]:
        return f"ended by {words['ended']['by']}"
    return "REVIEW OVERDUE" if words["review_overdue"] else "holds"


def _tell(words: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(words)
    else:
        about = ", ".join(part for part in (words["about"], words["place"]) if part)
        typer.echo(f"entry {words['id']} ({about}): {_state(words)}, owner {words['owner']}")
