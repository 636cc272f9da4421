"""``lapel alarm``: seeing alarms and answering them, in one's own name.

Answers go through the gateway's API with a user's token. Lists do too where there is a token; otherwise they are read
from the ledger, which works on the gateway's machine only.
"""

from __future__ import annotations

import socket
from enum import StrEnum
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from lapel_gateway.alarms.cap import CapError, cap_messages
from lapel_gateway.describe import alarm_words
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import (
    NOT_FOUND,
    CommandError,
    ConfigOption,
    JsonOption,
    plain,
    print_facts,
    print_json,
    print_table,
    when,
)
from lapel_tools.site import Site

app = typer.Typer(help="Alarms: who needs help, who answered, how it ended.", no_args_is_help=True)

Alarm = Annotated[str, typer.Argument(help="Id of the alarm, or a beginning of it that fits one only.")]
LIMIT = 200


class Reason(StrEnum):
    """How an alarm ended."""

    TRUE = "true"
    FALSE = "false"
    TEST = "test"


class Step(StrEnum):
    """What an alarm's CAP message tells."""

    RAISED = "raised"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@app.command("list")
def list_alarms(
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show alarms that are not resolved, the newest first."""
    token = read_token(token_file)
    if token is None:
        query = sa.select(alarms).order_by(alarms.c.received_ms.desc(), alarms.c.id).limit(LIMIT)
        with reading(Site(config).engine) as connection:
            found = [alarm_words(row) for row in connection.execute(query).mappings()]
    else:
        found = Api(url, token, config).get("alarms", limit=str(LIMIT))["alarms"]
    if not every:
        found = [words for words in found if words["resolved"] is None]
    if as_json:
        print_json(found)
        return
    print_table(
        ("alarm", "kind", "person", "raised", "state", "acknowledged by"),
        [_line(words) for words in found],
        "no alarms" if every else "no open alarms",
    )


@app.command()
def show(
    alarm: Alarm,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one alarm with every step of it."""
    api = Api(url, read_token(token_file), config)
    words = api.get("alarms", _find(api, alarm))
    if as_json:
        print_json(words)
        return
    steps, sent = words.pop("log", []), words.pop("deliveries", [])
    print_facts(words)
    typer.echo("")
    print_table(
        ("at", "step", "who", "detail"),
        [(when(step["at"]), step["step"], step["who"], step["detail"]) for step in steps],
        "no steps",
    )
    if sent:
        typer.echo("")
        print_table(tuple(sent[0]), [[_brief(value) for value in one.values()] for one in sent], "")


@app.command()
def ack(
    alarm: Alarm,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge an alarm: its wearer is shown that a human has seen it. Status 1 if somebody was first."""
    api = Api(url, read_token(token_file), config)
    words = api.post("alarms", _find(api, alarm), "acknowledge")
    _tell(words, as_json, f"acknowledged by {words['acknowledged']['by']}")


@app.command()
def resolve(
    alarm: Alarm,
    reason: Annotated[Reason, typer.Option(help="true: help was needed; false: it was not; test.")],
    note: Annotated[str, typer.Option(help="What happened, for the record.")] = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an alarm, with the reason. Status 1 if somebody has already."""
    api = Api(url, read_token(token_file), config)
    words = api.post("alarms", _find(api, alarm), "resolve", body={"reason": reason.value, "note": note})
    _tell(words, as_json, f"resolved as {words['resolution']} by {words['resolved']['by']}")


@app.command()
def cap(
    alarm: Alarm,
    address: Annotated[list[str], typer.Option(help="Whom the message is for; as often as needed.")],
    step: Annotated[Step | None, typer.Option(help="Which of the alarm's messages; otherwise the newest.")] = None,
    sender: Annotated[
        str, typer.Option(help="Names this gateway in all the world.", show_default="this machine's name")
    ] = "",
    sender_name: Annotated[str, typer.Option(help="The organisation, for people.")] = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Print an alarm as a CAP 1.2 message (OASIS Common Alerting Protocol), which refers to those before it."""
    api = Api(url, read_token(token_file), config)
    words = api.get("alarms", _find(api, alarm))
    try:
        messages = cap_messages(words, sender or socket.gethostname(), address, sender_name)
    except CapError as error:
        raise CommandError(str(error)) from None
    found = [message for message in messages if step is None or message.step == step.value]
    if not found:
        raise CommandError(f"{words['id']} was not {step}: its state is {words['state']}", NOT_FOUND)
    typer.echo(found[-1].xml.decode(), nl=False)


def _find(api: Api, text: str) -> str:
    """The id that ``text`` is or begins. Raises CommandError when none or several fit."""
    if text.count("-") == 2 and not text.endswith("-"):
        return text
    found = [words["id"] for words in api.get("alarms", limit=str(LIMIT))["alarms"] if words["id"].startswith(text)]
    if len(found) != 1:
        problem = "fits several alarms" if found else "fits no alarm"
        raise CommandError(f"{text} {problem}: `lapel alarm list --all` shows them", NOT_FOUND)
    return str(found[0])


def _tell(words: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        print_json(words)
    else:
        typer.echo(f"{words['id']} ({words['kind']}, {plain(words['person'])}): {done}")


def _line(words: dict[str, Any]) -> tuple[object, ...]:
    acknowledged = words["acknowledged"] or {}
    return (
        words["id"],
        words["kind"],
        words["person"],
        when(words["raised"]),
        words["state"],
        acknowledged.get("by"),
    )


def _brief(value: Any) -> object:
    return when(value) if isinstance(value, dict) and "utc" in value else value
