"""``lapel user``: the people who may acknowledge and resolve alarms."""

from __future__ import annotations

from typing import Annotated

import typer

from lapel_gateway import users
from lapel_gateway.describe import moment
from lapel_tools.console import ConfigOption, JsonOption, now_ms, print_json, print_table, when
from lapel_tools.site import Site

app = typer.Typer(help="People who may answer alarms, each with a token of their own.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The person's name, as devices show it.")]


@app.command()
def add(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Add a person and print the token, once: it is not kept and cannot be shown again."""
    _show_token(name, users.add_user(Site(config).engine, name, now_ms()), as_json)


@app.command()
def renew(name: Name, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Give the same person a new token; the old one ends."""
    _show_token(name, users.renew_token(Site(config).engine, name), as_json)


@app.command()
def revoke(name: Name, config: ConfigOption = None) -> None:
    """End a person's token. What the person did stays on record."""
    users.revoke_user(Site(config).engine, name, now_ms())
    typer.echo(f"the token of {name} has ended")


@app.command("list")
def list_users(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every person, those whose token has ended included."""
    found = users.list_users(Site(config).engine)
    if as_json:
        print_json(
            [
                {"name": user.name, "created": moment(user.created_ms), "revoked": moment(user.disabled_ms)}
                for user in found
            ]
        )
        return
    print_table(
        ("name", "added", "revoked"),
        [(user.name, when(moment(user.created_ms)), when(moment(user.disabled_ms))) for user in found],
        "no people yet: lapel user add NAME",
    )


def _show_token(name: str, token: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "token": token})
    else:
        typer.echo(token)
        typer.echo(f"This is {name}'s token, shown this once. For alarm commands: export LAPEL_TOKEN", err=True)
