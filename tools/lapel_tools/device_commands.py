"""``lapel device``: provisioning, listing and ending devices, on the gateway's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from lapel_gateway.brokers import status_prefixes
from lapel_gateway.brokers.mosquitto import render_acl
from lapel_gateway.describe import device_words
from lapel_gateway.devices.cutting import read_cut_off
from lapel_gateway.devices.wanted import WantedError
from lapel_gateway.devices.wanted import change_settings as change_wanted
from lapel_gateway.durable import write_file
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import DEVICE_LOST
from lapel_gateway.ledger.schema import device as devices
from lapel_tools.budget.command import budget
from lapel_tools.console import (
    CommandError,
    ConfigOption,
    JsonOption,
    now_ms,
    print_json,
    print_table,
    warn,
    when,
)
from lapel_tools.provisioning import clips_held
from lapel_tools.site import Site, find_device
from lapel_tools.technician import handover_commands, provision_commands
from lapel_tools.technician.provision_commands import parse_setting, write_labels
from lapel_tools.technician.wiring_command import wiring

app = typer.Typer(help="The devices of this gateway.", no_args_is_help=True)
provision_commands.install(app)
handover_commands.install(app)
app.command()(wiring)
app.command()(budget)


def _add_technician() -> None:
    """Add the work at a bench; without what it needs, which a gateway does not, the commands say so."""
    try:
        from lapel_tools.technician import care_commands, flash_command, self_test_command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lapel"):
            raise
        missing = f"work at a bench needs {error.name}: pip install 'lapel[technician]'"

        def explain() -> None:
            raise CommandError(missing)

        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        for name in BENCH_COMMANDS:
            app.command(name, help="Not installed: needs the extra technician.", context_settings=anything)(explain)
    else:
        app.command()(flash_command.ports)
        app.command()(flash_command.flash)
        app.command()(self_test_command.selftest)
        for name in ("settings", "logs", "factory-reset", "shell", "battery"):
            app.command(name)(getattr(care_commands, name.replace("-", "_")))


BENCH_COMMANDS = ("ports", "flash", "selftest", "settings", "logs", "factory-reset", "shell", "battery")
_add_technician()

Device = Annotated[str, typer.Argument(help="Id of the device, a beginning of it, or the name of an active one.")]


@app.command("list")
def list_devices(
    every: Annotated[bool, typer.Option("--all", help="Retired and lost devices too.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the devices and when each was last in contact."""
    site, at = Site(config), now_ms()
    late_ms = site.config.alarms.heartbeat_late_s * 1000
    with reading(site.engine) as connection:
        rows = connection.execute(sa.select(devices).order_by(devices.c.name, devices.c.provisioned_ms)).mappings()
        found = [
            {**device_words(row), "in_contact": row["contact_ms"] is not None and at - row["contact_ms"] <= late_ms}
            for row in rows
            if every or row["state"] == "active"
        ]
    if as_json:
        print_json(found)
        return
    print_table(
        ("device", "name", "person", "state", "in contact", "last contact", "battery"),
        [
            (
                words["device"],
                words["name"],
                words["person"],
                words["state"],
                words["in_contact"],
                when(words["contact"]),
                _percent((words["status"] or {}).get("battery_percent")),
            )
            for words in found
        ],
        "no devices yet: lapel device provision NAME --port PORT",
    )


@app.command()
def retire(
    device: Device,
    lose_clips: Annotated[bool, typer.Option("--lose-clips", help="Even if it still holds clips.")] = False,
    config: ConfigOption = None,
) -> None:
    """Take a device out of service and cut it off at the broker. Its evidence stays; it may be provisioned anew."""
    site = Site(config)
    found = find_device(site, device)
    held = clips_held(site, found)
    if held and not lose_clips:
        raise CommandError(
            f"{found} holds {held} clips that are not here: leave it switched on and in reach until they are, "
            "or give them up with --lose-clips"
        )
    site.registry.retire(found, now_ms())
    typer.echo(f"{found} is retired")


@app.command()
def lost(
    device: Device,
    keep_alarms: Annotated[
        bool, typer.Option("--keep-alarms", help="Leave it its alarms: somebody may be in need beside it.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Mark a device as missing or stolen and cut it off at the broker.

    What it sent before and still arrives is kept, and its alarms are raised, both marked as a lost device's. A gateway
    that runs carries it out within seconds; one that does not, when it starts.
    """
    site = Site(config)
    found = find_device(site, device)
    site.registry.mark_lost(found, now_ms(), keep_alarms=keep_alarms)
    typer.echo(f"{found} is marked lost{' and left its alarms' if keep_alarms else ''}")
    _say_who_cuts(site)


@app.command()
def found(device: Device, config: ConfigOption = None) -> None:
    """A lost device is in hand again: let it hand in what it holds. For further use it is provisioned anew."""
    site = Site(config)
    name = _find_lost(site, device)
    site.registry.mark_found(name, now_ms())
    held = clips_held(site, name)
    typer.echo(f"{name} may hand in what it holds{f' ({held} clips when it was last heard of)' if held else ''}")
    typer.echo(f"then: lapel device reprovision {name} --port PORT")


@app.command("label")
def print_label(
    device: Annotated[list[str], typer.Argument(help="Devices by id, a beginning of it, or name.")],
    out: Annotated[Path, typer.Option(help="The PDF to write, one page of 62 x 29 mm for each.")],
    config: ConfigOption = None,
) -> None:
    """Write the labels of devices: name, id as text and as QR code, whom it belongs to, where a finder turns to."""
    site = Site(config)
    wanted = [find_device(site, one) for one in device]
    names = {info.device: info.name for info in site.registry.list()}
    write_labels(site, [(one, names[one]) for one in wanted], out)
    typer.echo(f"wrote {out}")


@app.command("access-list")
def access_list(
    crl: Annotated[Path | None, typer.Option(help="Write the list of revoked certificates here, too (PEM).")] = None,
    config: ConfigOption = None,
) -> None:
    """Print the access list for a Mosquitto that somebody else runs, with who is cut off."""
    site = Site(config)
    cut_off = read_cut_off(site.engine)
    typer.echo(render_acl(cut_off, status_prefixes(site.config)), nl=False)
    if crl is not None:
        write_file(crl, site.pki.revocation_list(cut_off.serials, now_ms()))


@app.command()
def assign(
    device: Device,
    person: Annotated[str, typer.Argument(help='Who wears it from now on; "" for nobody.')],
    config: ConfigOption = None,
) -> None:
    """Say who wears a device. Clips and alarms before keep the name they had."""
    site = Site(config)
    found = find_device(site, device)
    site.registry.assign(found, person)
    typer.echo(f"{found} is worn by {person or 'nobody'}")


@app.command("set")
def change_settings(
    device: Device,
    setting: Annotated[list[str], typer.Argument(help="KEY=NUMBER, such as heartbeat_s=60.")],
    config: ConfigOption = None,
) -> None:
    """Want other settings on a device; it is told with its next sign of life. All others stay as they are."""
    site = Site(config)
    found = find_device(site, device)
    changes = dict(parse_setting(text) for text in setting)
    try:
        change_wanted(site.engine, found, changes)
    except WantedError as error:
        raise CommandError(str(error)) from None
    typer.echo(f"{found} will be told: {', '.join(f'{key} = {value}' for key, value in changes.items())}")


def _find_lost(site: Site, text: str) -> str:
    """As `find_device`, but a lost device is found by its name, too, where one alone has it."""
    named = [info.device for info in site.registry.list() if info.state == DEVICE_LOST and info.name == text]
    return named[0] if len(named) == 1 else find_device(site, text)


def _say_who_cuts(site: Site) -> None:
    kind = site.config.broker.kind
    if kind == "embedded":
        warn("the embedded broker knows no certificates: nobody is cut off at it")
    elif kind == "external":
        warn("put the new access list on your broker: lapel device access-list")


def _percent(value: object) -> str | None:
    return None if value is None else f"{value} %"
