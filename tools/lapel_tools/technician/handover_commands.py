"""``lapel device issue`` and ``return``, what was handed to whom, self-tests, how devices fared: at the gateway."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from lapel_gateway.devices import handover
from lapel_gateway.devices.handover import HandoverError
from lapel_gateway.devices.health import list_health
from lapel_gateway.devices.self_tests import list_self_tests
from lapel_gateway.reports.period import PeriodError, parse_period
from lapel_gateway.settings.policies import find_zone
from lapel_tools.console import CommandError, ConfigOption, JsonOption, now_ms, print_json, print_table, when
from lapel_tools.report_lines import FromOption, ToOption
from lapel_tools.site import Site, find_device

Device = Annotated[str, typer.Argument(help="Id of the device, a beginning of it, or the name of an active one.")]
By = Annotated[str | None, typer.Option(help="Who does it; by default the name that you are logged in by.")]


def install(app: typer.Typer) -> None:
    """Add the commands to ``lapel device``."""
    app.command("issue")(issue)
    app.command("return")(take_back)
    app.command("handovers")(list_handovers)
    app.command("self-tests")(self_tests)
    app.command("health")(health)


def issue(
    device: Device,
    person: Annotated[str, typer.Argument(help="Who is to wear it.")],
    anyway: Annotated[str, typer.Option(help="Why it is handed out in spite of what speaks against it.")] = "",
    by: By = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand a device to a person, if it is charged, tested and empty."""
    site = Site(config)
    found = find_device(site, device)
    try:
        checks = handover.issue(
            site.engine, found, person, by or getpass.getuser(), now_ms(), site.config.devices, anyway
        )
    except HandoverError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(
            {
                "device": found,
                "person": person,
                "checks": [{"name": check.name, "good": check.good, "words": check.words} for check in checks],
            }
        )
        return
    for check in checks:
        typer.echo(f"{'good' if check.good else 'POOR'}  {check.name}: {check.words}")
    typer.echo(f"{found} is worn by {person}")


def take_back(
    device: Device,
    note: Annotated[str, typer.Option(help="What was said or seen, such as damage.")] = "",
    by: By = None,
    config: ConfigOption = None,
) -> None:
    """Take a device back from whoever has it."""
    site = Site(config)
    found = find_device(site, device)
    try:
        left = handover.take_back(site.engine, found, by or getpass.getuser(), now_ms(), note)
    except HandoverError as error:
        raise CommandError(str(error)) from None
    typer.echo(f"{found} is back")
    for words in left:
        typer.echo(words)


def list_handovers(
    device: Annotated[str | None, typer.Argument(help="One device; by default all.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who had which device from when to when, the newest first."""
    site = Site(config)
    found = handover.list_handovers(site.engine, None if device is None else find_device(site, device))
    if as_json:
        print_json(found)
        return
    print_table(
        ("device", "person", "issued", "by", "in spite of it", "returned", "by", "note"),
        [
            (
                words["name"],
                words["person"],
                when(words["issued"]),
                words["issued"]["by"],
                words["in_spite"],
                when(words["returned"]),
                words["returned"] and words["returned"]["by"],
                words["note"],
            )
            for words in found
        ],
        "no device was handed to anybody yet: lapel device issue DEVICE PERSON",
    )


def self_tests(device: Device, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The self-tests of a device that are on record, the newest first."""
    site = Site(config)
    found = list_self_tests(site.engine, find_device(site, device))
    if as_json:
        print_json(found)
        return
    print_table(
        ("when", "by", "passed", "what failed"),
        [
            (
                when(words["at"]),
                words["by"],
                words["passed"],
                "; ".join(f"{one['name']}: {one['found']}" for one in words["tests"] if one["outcome"] == "failed"),
            )
            for words in found
        ],
        "no self-test is on record: lapel device selftest",
    )


def health(
    device: Device,
    begin: FromOption = None,
    end: ToOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How a device fared hour by hour: battery, clips still on it, storage, how often it was heard. Oldest first.

    An hour that is missing is one in which it was not heard.
    """
    site = Site(config)
    try:
        period = parse_period(begin, end, find_zone(site.config.alarms.time_zone), now_ms())
    except PeriodError as error:
        raise CommandError(str(error)) from None
    found = list_health(site.engine, find_device(site, device), period.from_ms, period.to_ms)
    if as_json:
        print_json(found)
        return
    print_table(
        ("hour", "battery %", "to", "clips on it", "free KiB", "heartbeats", "switched on", "blocked", "storage full"),
        [
            (
                when(words["hour"]),
                words["battery_percent_min"],
                words["battery_percent_max"],
                words["unsent_clips_max"],
                words["storage_free_kib_min"],
                words["heartbeats"],
                words["boots"],
                words["blocked"],
                words["storage_full"],
            )
            for words in found
        ],
        "it was not heard in this time",
    )
