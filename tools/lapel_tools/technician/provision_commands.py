"""``lapel device provision`` and ``reprovision``: over the cable onto a board, or into a folder for a simulated one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import DEVICE_RETIRED
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.registry import RegistryError
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
)
from lapel_tools.provisioning import (
    provision_again,
    provision_device,
    read_pins,
    refuse_to_lose_clips,
    what_it_was,
)
from lapel_tools.site import Site

from .batch import Order, Outcome, Row, read_batch
from .modem_account import MODEM_PATH, read_account
from .networks import WIFI_PATH, read_networks

Out = Annotated[
    Path | None,
    typer.Option(help="For a simulated board: a new folder for its package; holds secrets, delete it afterwards."),
]
Port = Annotated[
    str | None, typer.Option(metavar="PORT", help="Where the board is plugged in: its port or USB serial number.")
]
Again = Annotated[bool, typer.Option("--again", help="Also a board that is a device already, here or elsewhere.")]
LoseClips = Annotated[bool, typer.Option("--lose-clips", help="Even if it still holds clips.")]
EvenBusy = Annotated[bool, typer.Option("--even-busy", help="Even if an alarm is latched on it.")]
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
Modem = Annotated[
    Path | None,
    typer.Option(
        help="File of mode 0600 with the account of its cellular modem: apn, and pin, user, password where they are "
        "needed. Without it a board keeps the account that it has."
    ),
]
LabelFile = Annotated[Path | None, typer.Option("--label", help="Write the device's label to this PDF, too.")]
Device = Annotated[str, typer.Argument(help="Id of the device, a beginning of it, or the name of an active one.")]


def install(app: typer.Typer) -> None:
    """Add the commands to ``lapel device``."""
    app.command()(provision)
    app.command()(reprovision)


def provision(
    name: Annotated[str | None, typer.Argument(help="The hardware's own name, as printed on its case.")] = None,
    port: Port = None,
    batch: Annotated[
        Path | None,
        typer.Option(help="Many boards: a CSV file with columns board (port or USB serial), name, person, team."),
    ] = None,
    out: Out = None,
    person: Annotated[str, typer.Option(help="Who wears it.")] = "",
    setting: Annotated[list[str] | None, typer.Option(help="A device setting unlike its default: KEY=NUMBER.")] = None,
    pins: Pins = None,
    tamper: Tamper = False,
    drills: Drills = False,
    wifi: Wifi = None,
    modem: Modem = None,
    again: Again = False,
    lose_clips: LoseClips = False,
    even_busy: EvenBusy = False,
    label: LabelFile = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter a new device and put its identity onto the board at a port: keys, certificate, Wi-Fi, configuration.

    \b
    lapel device provision "camera 1" --port /dev/ttyACM0
    lapel device provision --batch tray.csv --label labels.pdf

    Secrets pass the cable once and are kept in no file of this machine. If
    anything breaks, a cable or the power, run the same command again.
    """
    if [name is not None and port is not None, name is not None and out is not None, batch is not None].count(
        True
    ) != 1 or (batch is not None and (name or person)):
        raise CommandError("say NAME and --port PORT, or --batch FILE; for a simulated board NAME and --out DIR")
    site = Site(config)
    settings = dict(parse_setting(text) for text in setting or [])
    own = own_fields(pins, tamper=tamper, drills=drills)
    bearers = bearers_of(site, wifi, modem)
    if out is not None and name is not None:
        _refuse_modem(modem)
        networks = bearers.get(WIFI_PATH)
        package = provision_device(site, name, person, out, now_ms(), settings, own, wifi=networks)
        _tell_package(site, package.device.hex(), package.name, out, label, {"key_copied": _has_copy(site)}, as_json)
    else:
        rows = read_batch(batch) if batch is not None else [Row(port or "", name or "", person)]
        order = Order(again, lose_clips, even_busy, bearers, settings, own)
        _tell_boards(site, _provision_rows(site, rows, order), batch is not None, label, as_json)
    if not _has_copy(site):
        warn("the device's key has no copy off this machine: set [keys] copy_dir, or copy ledger and master key")


def reprovision(
    device: Device,
    port: Port = None,
    out: Out = None,
    again: Again = False,
    lose_clips: LoseClips = False,
    even_busy: EvenBusy = False,
    pins: Pins = None,
    tamper: Tamper = False,
    drills: Drills = False,
    wifi: Wifi = None,
    modem: Modem = None,
    label: LabelFile = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make new keys for a device's hardware: a new device of the same name and settings, the old one retired."""
    if (port is None) == (out is None):
        raise CommandError("say where it is plugged in: --port PORT; for a simulated board --out DIR")
    site = Site(config)
    before = find_before(site, device)
    own = own_fields(pins, tamper=tamper, drills=drills)
    bearers = bearers_of(site, wifi, modem)
    if out is not None:
        _refuse_modem(modem)
        refuse_to_lose_clips(site, before, lose_clips)
        package = provision_again(site, before, out, now_ms(), own, bearers.get(WIFI_PATH))
        _tell_package(site, package.device.hex(), package.name, out, label, {"follows": before}, as_json)
        return
    name, person, settings = what_it_was(site, before)
    order = Order(again, lose_clips, even_busy, bearers, settings, own, before)
    _tell_boards(site, _provision_rows(site, [Row(port or "", name, person)], order), False, label, as_json)


def _provision_rows(site: Site, rows: Sequence[Row], order: Order) -> list[Outcome]:
    try:
        from .cable import provision_rows
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lapel"):
            raise
        raise CommandError(f"work at a bench needs {error.name}: pip install 'lapel[technician]'") from None
    return provision_rows(site, rows, order)


def find_before(site: Site, text: str) -> str:
    """The device that is provisioned anew. An attempt that broke off left a retired one of the same name, which was
    never heard of: what it followed is meant. Raises CommandError.
    """
    with reading(site.engine) as connection:
        rows = {row.device: row for row in connection.execute(sa.select(devices))}
    try:
        found = site.registry.find(text)
    except RegistryError as error:
        named = [row for row in rows.values() if row.name == text]
        if not named:
            raise CommandError(str(error), NOT_FOUND) from None
        found = max(named, key=lambda row: int(row.provisioned_ms)).device
    while rows[found].state == DEVICE_RETIRED and rows[found].boot is None and rows[found].follows in rows:
        found = rows[found].follows
    return str(found)


def own_fields(pins: Path | None, *, tamper: bool, drills: bool) -> dict[str, str | bool]:
    """What config.json says that only this device has. Raises CommandError."""
    own: dict[str, str | bool] = {**read_pins(pins)} if pins else {}
    if tamper:
        own["tamper"] = True
    if drills:
        own["drills"] = True
    return own


def bearers_of(site: Site, wifi: Path | None, modem: Path | None) -> dict[str, bytes]:
    """What a new device is told of its ways to the broker, by the path of the file. Raises CommandError."""
    found = {}
    networks = wifi or site.config.devices.wifi_file
    if networks is not None:
        found[WIFI_PATH] = read_networks(networks)
    if modem is not None:
        found[MODEM_PATH] = read_account(modem)
    return found


def _refuse_modem(modem: Path | None) -> None:
    if modem is not None:
        raise CommandError("--modem is for a board at a --port: a simulated one has no modem")


def parse_setting(text: str) -> tuple[str, int]:
    """A device setting from ``KEY=NUMBER``. Raises CommandError."""
    key, _, value = text.partition("=")
    try:
        return key.strip(), int(value)
    except ValueError:
        raise CommandError(f"--setting {text}: write KEY=NUMBER") from None


def write_labels(site: Site, wanted: Iterable[tuple[str, str]], out: Path) -> None:
    """Write the labels of devices, (id, name) each. Raises CommandError."""
    from .label import Label, render_labels

    settings = site.config
    labels = [Label(name, one, settings.gateway.organisation, settings.devices.return_to) for one, name in wanted]
    try:
        out.write_bytes(render_labels(labels))
    except OSError as error:
        raise CommandError(f"{out}: {error.strerror}", FAILED) from None


def _tell_package(
    site: Site, device: str, name: str, out: Path, label: Path | None, more: dict[str, object], as_json: bool
) -> None:
    if as_json:
        print_json({"device": device, "name": name, "package": str(out), **more})
    else:
        follows = f"; it follows {more['follows']}" if "follows" in more else ""
        typer.echo(f"{device} {name}: package in {out}{follows}")
    if label is not None:
        write_labels(site, [(device, name)], label)


def _tell_boards(site: Site, outcomes: Sequence[Outcome], many: bool, label: Path | None, as_json: bool) -> None:
    good = [one.done for one in outcomes if one.done is not None]
    bad = [one for one in outcomes if one.done is None]
    if as_json:
        facts = [_facts(one) for one in outcomes]
        print_json(facts if many else facts[0])
    elif many:
        rows = [
            (one.board, one.name, one.done.device, grouped(one.done.fingerprint), one.done.says)
            if one.done
            else (one.board, one.name, "", "", one.trouble)
            for one in outcomes
        ]
        print_table(("board", "name", "device", "fingerprint", "the device says"), rows, "")
    else:
        for done in good:
            typer.echo(f"{done.device} {done.name}: provisioned; it says: {done.says}")
            typer.echo(f"fingerprint {grouped(done.fingerprint)}")
    # Last: what was told of a device is not lost with its label, which `lapel device label` makes again.
    if label is not None and good:
        write_labels(site, [(one.device, one.name) for one in good], label)
    if bad:
        told = f"{len(bad)} of {len(outcomes)} boards are not done: see the table" if many else bad[0].trouble
        raise CommandError(told, FAILED)


def grouped(fingerprint: str) -> str:
    """The first half of a fingerprint in groups that two people can read to each other."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, 32, 4))


def _facts(outcome: Outcome) -> dict[str, object]:
    done = outcome.done
    facts: dict[str, object] = {"board": outcome.board, "name": outcome.name, "good": done is not None}
    if done is None:
        return {**facts, "trouble": outcome.trouble}
    return {
        **facts,
        "device": done.device,
        "hardware": done.hardware,
        "fingerprint": done.fingerprint,
        "says": done.says,
    }


def _has_copy(site: Site) -> bool:
    return site.config.keys.copy_dir is not None
