"""``lapel person``: the people who wear devices and go on visits, their team and how to reach them."""

from __future__ import annotations

from typing import Annotated

import typer

from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import ConfigOption, JsonOption, print_json, print_table

app = typer.Typer(help="People: their team and telephone number.", no_args_is_help=True)


@app.command("set")
def set_person(
    name: Annotated[str, typer.Argument(help="The person's name, the same as on devices and for users.")],
    team: Annotated[str, typer.Option(help="Their team.")] = "",
    phone: Annotated[str, typer.Option(help="How a responder reaches them.")] = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter a person, or say anew what is known of them."""
    words = Api(url, read_token(token_file), config).put("people", name, body={"team": team, "phone": phone})
    if as_json:
        print_json(words)
    else:
        typer.echo(f"{words['name']}: team {words['team'] or '-'}, phone {words['phone'] or '-'}")


@app.command("list")
def list_people(
    token_file: TokenFileOption = None, url: UrlOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show everybody."""
    found = Api(url, read_token(token_file), config).get("people")["people"]
    if as_json:
        print_json(found)
        return
    rows = [(one["name"], one["team"], one["phone"]) for one in found]
    print_table(("name", "team", "phone"), rows, "nobody yet: lapel person set NAME --team TEAM")
