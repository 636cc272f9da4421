"""``lapel user``: the people who may use the gateway, their roles, tokens and sessions, and what was done.

No password is ever an argument or seen here: a set-up link lets its user set one at a browser.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lapel_gateway.accounts import audit, users
from lapel_gateway.accounts.permissions import ROLE_NAMES, Permission
from lapel_gateway.accounts.provider import join_subject
from lapel_gateway.accounts.sessions import end_session, end_sessions, list_sessions
from lapel_gateway.accounts.setup_links import SETUP_PATH, make_link
from lapel_gateway.accounts.tokens import add_token, list_tokens, revoke_token
from lapel_gateway.accounts.users import User
from lapel_gateway.describe import moment
from lapel_gateway.ledger import reading, writing
from lapel_tools.console import (
    NOT_FOUND,
    CommandError,
    ConfigOption,
    JsonOption,
    now_ms,
    print_json,
    print_table,
    warn,
    when,
)
from lapel_tools.site import Site

app = typer.Typer(help="People who may use the gateway: roles, tokens, sessions, audit log.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for programs and command lines.", no_args_is_help=True)
session_app = typer.Typer(help="Who is logged in at a browser.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(session_app, name="session")

FIRST_ROLES = ("operator", "responder", "technician")
"""Of the first user of a new gateway; who may see footage is for them to say."""

Name = Annotated[str, typer.Argument(help="The person's name, as devices show it.")]
TokenName = Annotated[str, typer.Argument(help="What the token is for.")]
RolesOption = Annotated[list[str], typer.Option("--role", help=f"Repeatable: {', '.join(ROLE_NAMES)}.")]


@app.command()
def add(name: Name, role: RolesOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Add a person and print a set-up link to give to them: with it they set a password that nobody else sees."""
    site = Site(config)
    made = users.add_user(site.engine, name, role, audit.command_line(), now_ms())
    _show_link(made, setup_link(site, made.name), as_json)


@app.command()
def setup(
    name: Name,
    new_authenticator: Annotated[
        bool, typer.Option("--new-authenticator", help="Also take their authenticator away: the telephone is gone.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a new set-up link for the same person, who has forgotten the password; earlier links end."""
    site = Site(config)
    link = setup_link(site, name, new_authenticator=new_authenticator)
    with reading(site.engine) as connection:
        _show_link(users.find_user(connection, name), link, as_json)


@app.command()
def roles(name: Name, role: RolesOption, config: ConfigOption = None) -> None:
    """Give a person these roles and no others, which holds from their next request on."""
    made = users.set_roles(Site(config).engine, name, role, audit.command_line(), now_ms())
    typer.echo(f"{made.name} is {', '.join(made.roles)} now")


@app.command()
def join(
    name: Name,
    subject: Annotated[str, typer.Argument(help="What the provider's ID token calls the person (sub).")],
    config: ConfigOption = None,
) -> None:
    """Let a person log in at the identity provider of the section [oidc], as the user that they are here."""
    site = Site(config)
    issuer = site.config.oidc.issuer
    if issuer is None:
        raise CommandError("no identity provider is configured: set [oidc] issuer in lapel.toml")
    join_subject(site.engine, name, issuer, subject, audit.command_line(), now_ms())
    typer.echo(f"{name} logs in there from now on, with the roles that it says")


@app.command()
def disable(name: Name, config: ConfigOption = None) -> None:
    """Let a person in no more, and end their sessions and set-up links at once. What they did stays on record."""
    users.disable_user(Site(config).engine, name, audit.command_line(), now_ms())
    typer.echo(f"{name} is disabled: no password, token or link of theirs is taken")


@app.command()
def enable(name: Name, config: ConfigOption = None) -> None:
    """Let the same person in again, with the password and tokens from before."""
    users.enable_user(Site(config).engine, name, audit.command_line(), now_ms())
    typer.echo(f"{name} is enabled; for a new password: lapel user setup {name!r}")


@app.command("list")
def list_users(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every person, those who are disabled included."""
    found = users.list_users(Site(config).engine)
    if as_json:
        print_json([_user_words(user) for user in found])
        return
    print_table(
        ("name", "roles", "added", "password", "authenticator", "disabled"),
        [
            (
                user.name,
                ", ".join(user.roles),
                when(moment(user.created_ms)),
                user.has_password,
                user.has_authenticator,
                when(moment(user.disabled_ms)),
            )
            for user in found
        ],
        "no people yet: lapel user add NAME --role ROLE",
    )


@app.command("log")
def show_log(
    user: Annotated[str | None, typer.Option(help="Only of this person.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many lines, the newest.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did what, to what, from where, and who was refused: the audit log, newest first."""
    with reading(Site(config).engine) as connection:
        lines = audit.read_lines(connection, limit, wanted=audit.Wanted(user))
    if as_json:
        names = ("id", "who", "how", "what", "about", "outcome", "detail", "address")
        print_json([{"at": moment(line.at_ms), **{name: getattr(line, name) for name in names}} for line in lines])
        return
    print_table(
        ("at", "who", "how", "what", "about", "outcome", "detail", "from"),
        [
            (
                when(moment(line.at_ms)),
                line.who,
                line.how,
                line.what,
                line.about,
                line.outcome,
                line.detail,
                line.address,
            )
            for line in lines
        ],
        "nothing was done yet",
    )


@token_app.command("add")
def add_one(
    name: Name,
    token_name: TokenName,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"Repeatable; otherwise all that their roles give: {', '.join(Permission)}."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Good for so long.")] = 365,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once: it is not kept and cannot be shown again."""
    token = add_token(Site(config).engine, name, token_name, audit.command_line(), now_ms(), scope or None, days)
    if as_json:
        print_json({"name": name, "token_name": token_name, "token": token})
    else:
        typer.echo(token)
        warn(f"this is a token of {name}, shown this once; for commands that act in a name: export LAPEL_TOKEN")


@token_app.command("list")
def list_all(
    name: Annotated[str | None, typer.Argument(help="Only of this person.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show tokens, ended ones included; never their secret."""
    found = list_tokens(Site(config).engine, name)
    if as_json:
        print_json(
            [
                {
                    "user": one.user,
                    "name": one.name,
                    "scopes": one.scopes,
                    "made": moment(one.made_ms),
                    "expires": moment(one.expires_ms),
                    "used": moment(one.used_ms),
                    "revoked": moment(one.ended_ms),
                }
                for one in found
            ]
        )
        return
    print_table(
        ("person", "token", "may", "made", "expires", "last used", "revoked"),
        [
            (
                one.user,
                one.name,
                "all of their roles" if one.scopes is None else ", ".join(one.scopes),
                *(when(moment(at)) for at in (one.made_ms, one.expires_ms, one.used_ms, one.ended_ms)),
            )
            for one in found
        ],
        "no tokens yet: lapel user token add NAME TOKEN",
    )


@token_app.command("revoke")
def revoke_one(name: Name, token_name: TokenName, config: ConfigOption = None) -> None:
    """End a token at once."""
    revoke_token(Site(config).engine, name, token_name, audit.command_line(), now_ms())
    typer.echo(f"the token {token_name!r} of {name} has ended")


@session_app.command("list")
def list_logged_in(
    name: Annotated[str | None, typer.Argument(help="Only of this person.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who is logged in, since when, from where."""
    site = Site(config)
    found = list_sessions(site.engine, site.config.accounts.rules.limits, now_ms(), name)
    if as_json:
        print_json(
            [
                {
                    "id": one.id,
                    "user": one.user,
                    "how": one.how,
                    "begun": moment(one.begun_ms),
                    "seen": moment(one.seen_ms),
                    "address": one.address,
                    "agent": one.agent,
                }
                for one in found
            ]
        )
        return
    print_table(
        ("number", "person", "by", "since", "last used", "from", "browser"),
        [
            (one.id, one.user, one.how, when(moment(one.begun_ms)), when(moment(one.seen_ms)), one.address, one.agent)
            for one in found
        ],
        "nobody is logged in",
    )


@session_app.command("end")
def end_one(
    number: Annotated[int | None, typer.Argument(help="Number of the session.", min=1)] = None,
    everything_of: Annotated[str | None, typer.Option("--all-of", help="All of this person's, instead.")] = None,
    config: ConfigOption = None,
) -> None:
    """End a session at once, or all of a person's."""
    if (number is None) == (everything_of is None):
        raise CommandError("name a session by its number, or a person by --all-of")
    with writing(Site(config).engine) as connection:
        if number is not None:
            owner = end_session(connection, number)
            if owner is None:
                raise CommandError(f"there is no session {number}: lapel user session list", NOT_FOUND)
        else:
            owner = users.find_user(connection, str(everything_of)).name
            end_sessions(connection, owner)
        audit.note(connection, audit.command_line(), now_ms(), "end session", owner)
    typer.echo(f"ended, of {owner}")


def setup_link(site: Site, name: str, *, new_authenticator: bool = False) -> str:
    """A new set-up link of a user. Raises UserError."""
    valid_ms = site.config.accounts.setup_link_ms
    by = audit.command_line()
    code = make_link(site.engine, name, by, now_ms(), valid_ms, new_authenticator=new_authenticator)
    return f"{site.config.address}{SETUP_PATH}{code}"


def _show_link(user: User, link: str, as_json: bool) -> None:
    if as_json:
        print_json({**_user_words(user), "setup_link": link})
    else:
        typer.echo(link)
        warn(f"give this to {user.name} alone: whoever opens it first sets the password. It is good once")


def _user_words(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "roles": list(user.roles),
        "created": moment(user.created_ms),
        "disabled": moment(user.disabled_ms),
        "has_password": user.has_password,
        "has_authenticator": user.has_authenticator,
    }
