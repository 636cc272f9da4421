"""``lapel device ports`` and ``lapel device flash``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.settings.config import ConfigError
from lapel_tools.console import (
    FAILED,
    NOT_FOUND,
    CommandError,
    ConfigOption,
    JsonOption,
    print_json,
    print_table,
    warn,
)
from lapel_tools.site import Site

from .base import BaseError, put_base
from .bench import BROKEN, REFUSED, Order, Result, Step, flash_tray
from .chips import ESP, UF2
from .drives import INFO_NAME, BootDrive, DriveError, find_drives, read_drive
from .firmware import FirmwareError
from .images import BaseImage, ImageError, read_image
from .link import LinkError
from .ports import BOOTSEL, Found, SerialPort, is_board, look, named_ports, usb_ports
from .remembered import ImageMemory
from .stock import named_releases, published_releases

Target = SerialPort | BootDrive


def ports(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="PORT...", help="Ports or USB serial numbers; otherwise all.")
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Interrupt a board that runs, ask it too, and start it again.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the boards that are plugged in: what they are, what they carry, and whether this gateway knows them.

    A board that works is not disturbed: it is shown with "no answer". With --ask it is interrupted for a second.
    """
    found = look(named_ports(names) if names else usb_ports(), ask)
    drives = [] if names else find_drives()
    known = _known(config, [entry.board.device for entry in found if entry.board and entry.board.device])
    rows = [_facts(entry, known) for entry in found] + [_drive_facts(drive) for drive in drives]
    if as_json:
        print_json(rows)
        return
    titles = ("port", "state", "board", "MicroPython", "hardware", "Lapel", "device", "known", "USB serial", "remark")
    keys = ("port", "state", "board", "micropython", "hardware", "lapel", "device", "known", "usb_serial", "remark")
    cells = [
        [", ".join(f"{slot} {text}" for slot, text in row[key].items()) if key == "lapel" else row[key] for key in keys]
        for row in rows
    ]
    print_table(titles, cells, "no boards: plug one in with a cable that carries data")


def flash(
    boards: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BOARD...", help="Ports, USB serial numbers, or folders where a board in BOOTSEL is mounted."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every board that is plugged in, side by side.")] = False,
    release: Annotated[
        list[Path] | None,
        typer.Option(help="A signed release; give one for each kind of board. Each takes the newest that fits it."),
    ] = None,
    signer: Annotated[
        Path | None, typer.Option(help="Public key of whoever signs releases; boards obey it from then on.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="First put this MicroPython onto the board: .uf2, or .bin for an ESP32-S3.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="As --image, with the image of the last time.")] = False,
    erase: Annotated[
        bool, typer.Option("--erase", help="Erase all of an ESP32-S3's flash before its image, files included.")
    ] = False,
    hardware: Annotated[str, typer.Option(help="What the board is built into; otherwise as it says itself.")] = "",
    even_busy: Annotated[
        bool, typer.Option("--even-busy", help="Also a device that was recording or has an alarm latched.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether a changed image is meant.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put MicroPython and the firmware onto boards.

    Only what differs is written, and every file is read back. Whatever
    breaks, a cable or the power: run the same command again. Until all is
    there a device runs what it had before, or says that it has no firmware.

    On the gateway's machine its own published releases are taken where no
    file is named.

    \b
    lapel device flash --image RPI_PICO2_W.uf2 /media/you/RP2350
    lapel device flash --release lapel-pico2_w-0.4.0.fw --signer firmware.key --all
    """
    memory = ImageMemory()
    with_base = image is not None or base
    try:
        if release:
            order = Order(*named_releases(release, signer, config), hardware, even_busy)
        elif with_base:
            order = Order([], b"")
        else:
            order = Order(*published_releases(config), hardware, even_busy)
        targets = _targets(boards or [], every, with_base)
        chosen = _image(memory, image, targets) if with_base else None
    except (FirmwareError, ImageError, DriveError) as error:
        raise CommandError(str(error)) from None
    if erase and (chosen is None or chosen.chip.form != ESP):
        raise CommandError("--erase goes with --image and an ESP32-S3; a UF2 file leaves a board's files alone")
    if chosen is not None:
        _confirm(memory, chosen, yes)
    results: list[Result] = []
    if chosen is not None:
        targets, results = _put_bases(
            targets, chosen, memory, erase=erase, even_busy=even_busy, firmware_next=bool(order.releases)
        )
    if order.releases:
        results += _flash([target for target in targets if isinstance(target, SerialPort)], order, as_json)
    _tell(results, as_json)


def _targets(names: Sequence[str], every: bool, with_base: bool) -> list[Target]:
    if names and every:
        raise CommandError("name boards, or say --all")
    if names:
        folders = [Path(name) for name in names if (Path(name) / INFO_NAME).is_file() or Path(name).is_dir()]
        return [*map(read_drive, folders), *named_ports([name for name in names if Path(name) not in folders])]
    found: list[Target] = [port for port in usb_ports() if is_board(port)]
    drives = find_drives()
    found += drives if with_base else []
    if not found:
        hint = "; a board is in BOOTSEL: give it MicroPython with --image FILE" if drives else ""
        raise CommandError(f"no boards: plug one in with a cable that carries data, or name its port{hint}", NOT_FOUND)
    if len(found) > 1 and not every:
        raise CommandError(f"which one? {', '.join(_name(target) for target in found)}; or --all")
    return found


def _image(memory: ImageMemory, path: Path | None, targets: Sequence[Target]) -> BaseImage:
    if path is not None:
        return read_image(path)
    chips = {target.chip.name for target in targets if isinstance(target, BootDrive)}
    if len(chips) != 1:
        raise ImageError("which base image? --base goes with boards in BOOTSEL of one kind; else name it: --image FILE")
    return memory.load(chips.pop())


def _confirm(memory: ImageMemory, image: BaseImage, yes: bool) -> None:
    if not memory.differs(image) or yes:
        return
    known = memory.of(image.chip.name)
    told = f"{image.path.name} is not the file that was used before (SHA-256 {known.sha256[:16] if known else ''})"
    if not sys.stdin.isatty():
        raise CommandError(f"{told}, but {image.sha256[:16]}; say --yes if it is meant")
    if not typer.confirm(f"{told}. Its SHA-256 begins with {image.sha256[:16]}. Use it?", err=True):
        raise CommandError("nothing was written")


def _put_bases(
    targets: Sequence[Target],
    image: BaseImage,
    memory: ImageMemory,
    *,
    erase: bool,
    even_busy: bool,
    firmware_next: bool,
) -> tuple[list[Target], list[Result]]:
    """One board after the other: the one that comes back is the one that was written. Of several, those that run are
    left alone, for the firmware that comes next; where none does they are refused.
    """
    left: list[Target] = []
    failed: list[Result] = []
    for target in targets:
        many = len(targets) > 1
        if many and not _waits_for(target, image):
            left.append(target)
            if not firmware_next:
                words = "it is not in its boot loader: hold BOOTSEL or BOOT while you plug it in, or name it alone"
                failed.append(Result(_name(target), REFUSED, words))
            continue
        try:
            image.check_for(image.chip if isinstance(target, SerialPort) else target.chip)
            port = put_base(target, image, erase, warn, even_busy)
        except (ImageError, DriveError) as error:
            failed.append(Result(_name(target), REFUSED, str(error)))
        except (BaseError, LinkError) as error:
            failed.append(Result(_name(target), BROKEN, str(error).removeprefix(f"{_name(target)}: ")))
        else:
            warn(f"{_name(target)}: MicroPython {image.version} is on it; it is {port.device} now")
            left.append(port)
            memory.keep(image)
    return left, failed


def _waits_for(target: Target, image: BaseImage) -> bool:
    """With several boards only those in their boot loader are given MicroPython."""
    if isinstance(target, BootDrive):
        return image.chip.form == UF2
    return image.chip.form == ESP and target.in_rom


def _flash(targets: Sequence[SerialPort], order: Order, as_json: bool) -> list[Result]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[what]}"))
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {port.device: progress.add_task(port.device, total=None, what="") for port in targets}

        def report(step: Step) -> None:
            if step.port in bars:
                progress.update(
                    bars[step.port], completed=step.done_bytes, total=step.size_bytes or None, what=step.what
                )

        return flash_tray(targets, order, report)


def _tell(results: Sequence[Result], as_json: bool) -> None:
    if as_json:
        print_json([asdict(result) for result in results])
    elif results:
        rows = [
            (
                result.port,
                result.state,
                result.hardware,
                result.before,
                result.after,
                f"{result.files} files, {result.size_bytes // 1024} KiB" if result.good else "",
                f"{result.seconds:.1f} s",
                result.message,
            )
            for result in results
        ]
        print_table(("port", "result", "hardware", "before", "now", "written", "took", "the device says"), rows, "")
    bad = sum(not result.good for result in results)
    if bad:
        raise CommandError(f"{bad} of {len(results)} boards are not done: see the table", FAILED)


def _name(target: Target) -> str:
    return str(target.folder) if isinstance(target, BootDrive) else target.device


def _known(config: Path | None, ids: Sequence[str]) -> dict[str, str]:
    """What this gateway calls the devices with these ids, and its word for their state; none where no gateway is."""
    if not ids:
        return {}
    try:
        site = Site(config)
    except ConfigError:
        if config is not None:
            raise
        return {}
    with reading(site.engine) as connection:
        rows = connection.execute(sa.select(devices.c.device, devices.c.name, devices.c.state))
        names = {row.device: f"{row.name} ({row.state})" for row in rows if row.device in ids}
    return {**dict.fromkeys(ids, "unknown here"), **names}


def _facts(entry: Found, known: dict[str, str]) -> dict[str, Any]:
    board = entry.board
    return {
        "port": entry.port.device,
        "state": entry.state,
        "board": board.machine if board else entry.port.kind or entry.port.description,
        "chip": board.chip.name if board and board.chip else "",
        "micropython": board.release if board else "",
        "hardware": board.hardware if board else "",
        "lapel": board.slots if board else {},
        "device": board.device if board else "",
        "known": known.get(board.device, "") if board and board.device else "",
        "usb": "%04x:%04x" % entry.port.usb if entry.port.usb else "",  # noqa: UP031
        "usb_serial": entry.port.serial_number,
        "remark": entry.remark,
    }


def _drive_facts(drive: BootDrive) -> dict[str, Any]:
    remark = "waits for MicroPython: lapel device flash --image FILE.uf2"
    empty: dict[str, Any] = dict.fromkeys(("micropython", "hardware", "device", "known", "usb", "usb_serial"), "")
    facts = {"port": str(drive.folder), "state": BOOTSEL, "board": drive.model, "chip": drive.chip.name, "lapel": {}}
    return {**empty, **facts, "remark": remark}
