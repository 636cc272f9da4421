"""``lapel device``: provisioning, listing and ending devices, on the gateway's machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from lapel_gateway.brokers.mosquitto import render_acl
from lapel_gateway.describe import device_words
from lapel_gateway.devices.cutting import read_cut_off
from lapel_gateway.durable import write_file
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.registry import Package, RegistryError
from lapel_tools.console import (
    FAILED,
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
from lapel_tools.provisioning import provision_again, provision_device, read_pins
from lapel_tools.site import Site
from lapel_tools.technician import handover_commands
from lapel_tools.technician.networks import read_networks

app = typer.Typer(help="The devices of this gateway.", no_args_is_help=True)
handover_commands.install(app)


def _add_technician() -> None:
    """Add the work at a bench; without what it needs, which a gateway does not, the commands say so."""
    try:
        from lapel_tools.technician import care_commands, flash_command
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
        for name in ("settings", "logs", "factory-reset", "shell", "battery"):
            app.command(name)(getattr(care_commands, name.replace("-", "_")))


BENCH_COMMANDS = ("ports", "flash", "settings", "logs", "factory-reset", "shell", "battery")
_add_technician()

Pins = Annotated[
    Path | None,
    typer.Option(help="File with lines cancel_pin=SLSS and duress_pin=SLLS: short and long pushes of RECORD."),
]
Tamper = Annotated[bool, typer.Option(help="An opened case is an alarm, on boards that can tell.")]
Drills = Annotated[
    bool, typer.Option(help="Both buttons held together raise a drill; otherwise they raise a real alarm.")
]
Wifi = Annotated[
    Path | None,
    typer.Option(
        help="File of mode 0600 with Wi-Fi networks, the most preferred first: tables [[network]] with ssid, password "
        'and security ("wpa2/wpa3", "wpa2" or "wpa3"). By default that of [devices] wifi_file.'
    ),
]
LabelFile = Annotated[Path | None, typer.Option("--label", help="Write the device's label to this PDF, too.")]
Device = Annotated[str, typer.Argument(help="Id of the device, a beginning of it, or the name of an active one.")]


@app.command()
def provision(
    name: Annotated[str, typer.Argument(help="The hardware's own name, as printed on its case.")],
    out: Annotated[
        Path, typer.Option(help="New folder for the device's package; holds secrets: delete it afterwards.")
    ],
    person: Annotated[str, typer.Option(help="Who wears it.")] = "",
    setting: Annotated[list[str] | None, typer.Option(help="A device setting unlike its default: KEY=NUMBER.")] = None,
    pins: Pins = None,
    tamper: Tamper = False,
    drills: Drills = False,
    wifi: Wifi = None,
    label: LabelFile = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter a new device and write everything it must be given to a folder (for the simulator's board)."""
    site = Site(config)
    settings = dict(_parse_setting(text) for text in setting or [])
    own = _own(pins, tamper=tamper, drills=drills)
    package = provision_device(site, name, person, out, now_ms(), settings, own, wifi=_networks(site, wifi))
    _write_label(site, package, label)
    copied = site.config.keys.copy_dir is not None
    if as_json:
        print_json({"device": package.device.hex(), "name": package.name, "package": str(out), "key_copied": copied})
    else:
        typer.echo(f"{package.device.hex()} {package.name}: package in {out}")
    if not copied:
        warn("the device's key has no copy off this machine: set [keys] copy_dir, or copy ledger and master key")


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
        "no devices yet: lapel device provision NAME --out DIR",
    )


@app.command()
def retire(
    device: Device,
    lose_clips: Annotated[bool, typer.Option("--lose-clips", help="Even if it still holds clips.")] = False,
    config: ConfigOption = None,
) -> None:
    """Take a device out of service and cut it off at the broker. Its evidence stays; it may be provisioned anew."""
    site = Site(config)
    found = _find(site, device)
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
    found = _find(site, device)
    site.registry.mark_lost(found, now_ms(), keep_alarms=keep_alarms)
    typer.echo(f"{found} is marked lost{' and left its alarms' if keep_alarms else ''}")
    _say_who_cuts(site)


@app.command()
def found(device: Device, config: ConfigOption = None) -> None:
    """A lost device is in hand again: let it hand in what it holds. For further use it is provisioned anew."""
    site = Site(config)
    name = _find(site, device)
    site.registry.mark_found(name, now_ms())
    held = clips_held(site, name)
    typer.echo(f"{name} may hand in what it holds{f' ({held} clips when it was last heard of)' if held else ''}")
    typer.echo(f"then: lapel device reprovision {name} --out DIR")


@app.command()
def reprovision(
    device: Device,
    out: Annotated[
        Path, typer.Option(help="New folder for the device's package; holds secrets: delete it afterwards.")
    ],
    lose_clips: Annotated[bool, typer.Option("--lose-clips", help="Even if it still holds clips.")] = False,
    pins: Pins = None,
    tamper: Tamper = False,
    drills: Drills = False,
    wifi: Wifi = None,
    label: LabelFile = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make new keys for a device's hardware: a new device of the same name and settings, the old one retired."""
    site = Site(config)
    before = _find(site, device)
    held = clips_held(site, before)
    if held and not lose_clips:
        raise CommandError(
            f"{before} holds {held} clips that are not here, and new keys are the end of them: leave it switched on "
            "and in reach until they are, or give them up with --lose-clips"
        )
    own = _own(pins, tamper=tamper, drills=drills)
    package = provision_again(site, before, out, now_ms(), own, _networks(site, wifi))
    _write_label(site, package, label)
    if as_json:
        print_json({"device": package.device.hex(), "name": package.name, "package": str(out), "follows": before})
    else:
        typer.echo(f"{package.device.hex()} {package.name}: package in {out}; it follows {before}")


@app.command("label")
def print_label(
    device: Annotated[list[str], typer.Argument(help="Devices by id, a beginning of it, or name.")],
    out: Annotated[Path, typer.Option(help="The PDF to write, one page of 62 x 29 mm for each.")],
    config: ConfigOption = None,
) -> None:
    """Write the labels of devices: name, id as text and as QR code, whom it belongs to, where a finder turns to."""
    site = Site(config)
    wanted = [_find(site, one) for one in device]
    names = {info.device: info.name for info in site.registry.list()}
    _write_labels(site, [(one, names[one]) for one in wanted], out)
    typer.echo(f"wrote {out}")


@app.command("access-list")
def access_list(
    crl: Annotated[Path | None, typer.Option(help="Write the list of revoked certificates here, too (PEM).")] = None,
    config: ConfigOption = None,
) -> None:
    """Print the access list for a Mosquitto that somebody else runs, with who is cut off."""
    site = Site(config)
    cut_off = read_cut_off(site.engine)
    typer.echo(render_acl(cut_off), nl=False)
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
    found = _find(site, device)
    site.registry.assign(found, person)
    typer.echo(f"{found} is worn by {person or 'nobody'}")


@app.command("set")
def change_settings(
    device: Device,
    setting: Annotated[list[str], typer.Argument(help="KEY=NUMBER, such as heartbeat_s=60.")],
    config: ConfigOption = None,
) -> None:
    """Want other settings on a device; it is told the next time it says hello."""
    site = Site(config)
    found = _find(site, device)
    changes = dict(_parse_setting(text) for text in setting)
    site.registry.change_settings(found, changes)
    typer.echo(f"{found} will be told: {', '.join(f'{key} = {value}' for key, value in changes.items())}")


def _find(site: Site, text: str) -> str:
    try:
        return site.registry.find(text)
    except RegistryError as error:
        raise CommandError(str(error), NOT_FOUND) from None


def _own(pins: Path | None, *, tamper: bool, drills: bool) -> dict[str, str | bool]:
    """What config.json says that only this device has."""
    own: dict[str, str | bool] = {**read_pins(pins)} if pins else {}
    if tamper:
        own["tamper"] = True
    if drills:
        own["drills"] = True
    return own


def _networks(site: Site, named: Path | None) -> bytes | None:
    path = named or site.config.devices.wifi_file
    return None if path is None else read_networks(path)


def _write_label(site: Site, package: Package, out: Path | None) -> None:
    if out is not None:
        _write_labels(site, [(package.device.hex(), package.name)], out)


def _write_labels(site: Site, devices: list[tuple[str, str]], out: Path) -> None:
    from lapel_tools.technician.label import Label, render_labels

    settings = site.config
    labels = [Label(name, one, settings.gateway.organisation, settings.devices.return_to) for one, name in devices]
    try:
        out.write_bytes(render_labels(labels))
    except OSError as error:
        raise CommandError(f"{out}: {error.strerror}", FAILED) from None


def clips_held(site: Site, device: str) -> int:
    """How many clips a device held when it was last heard of."""
    with reading(site.engine) as connection:
        status = connection.execute(sa.select(devices.c.status).where(devices.c.device == device)).scalar_one()
    return int(json.loads(status).get("clips_held") or 0)


def _say_who_cuts(site: Site) -> None:
    kind = site.config.broker.kind
    if kind == "embedded":
        warn("the embedded broker knows no certificates: nobody is cut off at it")
    elif kind == "external":
        warn("put the new access list on your broker: lapel device access-list")


def _parse_setting(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    try:
        return key.strip(), int(value)
    except ValueError:
        raise CommandError(f"--setting {text}: write KEY=NUMBER") from None


def _percent(value: object) -> str | None:
    return None if value is None else f"{value} %"
