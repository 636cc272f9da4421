"""``lapel firmware``: releases built, signed, published and rolled out to devices, on the machines that each needs.

Rules that hold here
- Building needs the sources, signing the key, publishing the gateway's machine: three machines, or one.
- The private key is made in a file for its owner alone, and is neither printed nor named in an error.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lapel_build import release as making
from lapel_gateway.describe import moment
from lapel_gateway.durable import write_file
from lapel_gateway.updates import rollouts
from lapel_gateway.updates.releases import ReleaseStore, read_signer
from lapel_gateway.updates.rollouts import ENDED, PAUSED, RUNNING, TO_ALL, TO_DEVICE, TO_TEAM, RolloutInfo
from lapel_protocol.release import ReleaseError
from lapel_protocol.releasing import MAX_RELEASE_BYTES
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
from lapel_tools.site import Site, find_device

app = typer.Typer(help="The devices' firmware: build, sign, publish, roll out.", no_args_is_help=True)

Rollout = Annotated[int, typer.Argument(min=1, help="Number of the roll-out, as `status` shows it.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The signing key, a PEM file that only you can read.")]


@app.command("new-key")
def new_key(
    out: Annotated[Path, typer.Argument(help="New file for the private key; its public half goes beside it, as .key.")],
) -> None:
    """Make a key to sign releases with. Keep it away from the gateway, and a copy of it away from this machine."""
    public = out.with_suffix(".key")
    if out.exists() or public.exists():
        raise CommandError(f"{out if out.exists() else public} is there already: keep it, or name another file")
    key = making.new_key()
    making.write_key(key, out)
    write_file(public, making.modulus_of(key))
    typer.echo(f"private key: {out} (keep it, and a copy elsewhere: without it no device is updated)")
    typer.echo(f"public key: {public} (for devices when they are flashed, and for lapel firmware publish)")


@app.command()
def build(
    hardware: Annotated[str, typer.Argument(help=f"The kind of board: {', '.join(sorted(making.TARGETS))}.")],
    number: Annotated[int, typer.Option(min=1, help="Rises with every release of this kind of board.")],
    version: Annotated[str, typer.Option(help="What people call it: 0.4.0.")],
    floor: Annotated[
        int, typer.Option(min=0, help="Once this release is good, no lower number ever runs on the device; 0: keep.")
    ] = 0,
    key: Annotated[Path | None, typer.Option("--key", help="Sign it at once with this key.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Compile the firmware of this installation for a kind of board."""
    target = making.target_named(hardware)
    files = making.build_files(target)
    try:
        data = making.unsigned_release(target, files, number, version, floor)
        if key is not None:
            data = making.sign_release(data, making.read_key(key)).data
    except ReleaseError as error:
        raise CommandError(str(error)) from None
    path = out / f"lapel-{hardware}-{version}.{'unsigned' if key is None else 'fw'}"
    out.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
    typer.echo(f"{path}: number {number} for {hardware}, {len(files)} files, {len(data)} bytes")
    if key is None:
        typer.echo(f"not signed yet: lapel firmware sign {path} --key KEY")


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="What `build` made.", exists=True, dir_okay=False)],
    key: KeyOption,
) -> None:
    """Sign a release; writes it beside, as .fw."""
    with file.open("rb") as source:
        data = source.read(MAX_RELEASE_BYTES + 1)
    try:
        made = making.sign_release(data, making.read_key(key))
    except ReleaseError as error:
        raise CommandError(f"{file} is no release that can be signed: {error}") from None
    path = file.with_suffix(".fw")
    write_file(path, made.data)
    typer.echo(f"{path}: release {made.name}, number {made.manifest.number} for {made.manifest.hardware}")


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(help="A signed release.", exists=True, dir_okay=False)],
    key: Annotated[
        Path | None, typer.Option("--key", help="The signer's public key, as `new-key` wrote it; needed once.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release and keep it at this gateway. No device is told of it before a roll-out."""
    site = Site(config)
    modulus = _signer(site, key)
    made = _store(site).publish(file, modulus, getpass.getuser(), now_ms())
    facts = made.manifest
    if as_json:
        print_json({"release": made.name, "hardware": facts.hardware, "number": facts.number, "version": facts.version})
    else:
        typer.echo(f"release {made.name}: number {facts.number} ({facts.version}) for {facts.hardware} is published")


@app.command("list")
def list_releases(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the releases of this gateway."""
    found = _store(Site(config)).list()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ("release", "board", "number", "version", "floor", "bytes", "published", "by"),
        [
            (
                one.release,
                one.hardware,
                one.number,
                one.version,
                one.floor,
                one.size_bytes,
                when(moment(one.added_ms)),
                one.added_by,
            )
            for one in found
        ],
        "no releases yet: lapel firmware publish FILE",
    )


@app.command()
def rollout(
    release: Annotated[str, typer.Argument(help="Id of the release, or a beginning of it.")],
    device: Annotated[str, typer.Option(help="To this device: its id, a beginning of it, or its name.")] = "",
    team: Annotated[str, typer.Option(help="To the devices of this team.")] = "",
    everyone: Annotated[bool, typer.Option("--all", help="To all devices of its kind of board.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Want a release on devices. They fetch it when nobody needs them, try it, and keep it or go back by themselves."""
    if bool(device) + bool(team) + everyone != 1:
        raise CommandError("say to whom: --device DEVICE, --team TEAM or --all")
    site = Site(config)
    found = _store(site).find(release)
    scope, target = (TO_DEVICE, find_device(site, device)) if device else (TO_TEAM, team) if team else (TO_ALL, "")
    made = rollouts.begin(site.engine, found, scope, target, getpass.getuser(), now_ms())
    _tell(made, as_json)


@app.command()
def pause(number: Rollout, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Send no more of a roll-out for now. A device that has all of it already goes on."""
    _tell(rollouts.change(Site(config).engine, number, PAUSED, now_ms()), as_json)


@app.command()
def resume(number: Rollout, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Go on with a roll-out; devices that gave up try again."""
    _tell(rollouts.change(Site(config).engine, number, RUNNING, now_ms()), as_json)


@app.command()
def end(number: Rollout, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a roll-out; devices that fetch it stop, those that run it keep it."""
    _tell(rollouts.change(Site(config).engine, number, ENDED, now_ms()), as_json)


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show roll-outs, and what each device runs, is to run, and did last."""
    site = Site(config)
    begun = rollouts.list_rollouts(site.engine)
    devices = rollouts.list_devices(site.engine)
    if as_json:
        print_json({"rollouts": [asdict(one) for one in begun], "devices": [_device_words(row) for row in devices]})
        return
    print_table(
        ("roll-out", "release", "board", "number", "to", "state", "since"),
        [
            (
                one.id,
                one.release,
                one.hardware,
                one.number,
                f"{one.scope} {one.target}".strip(),
                one.state,
                when(moment(one.made_ms)),
            )
            for one in begun
        ],
        "no roll-outs yet: lapel firmware rollout RELEASE --device DEVICE",
    )
    typer.echo("")
    words = [_device_words(row) for row in devices]
    print_table(
        ("device", "name", "board", "runs", "how", "is to run", "did last", "when"),
        [
            (
                one["device"],
                one["name"],
                one["hardware"],
                f"{one['runs']} {one['version'] or ''}".strip(),
                "on trial" if one["trial"] else "in ROM" if one["fixed"] else "",
                f"{one['wants']}{' by cable' if one['fixed'] else ''}" if one["wants"] else "-",
                " ".join(filter(None, (one["step"], one["why"]))) or "-",
                when(moment(one["step_ms"])) if one["step"] else "-",
            )
            for one in words
        ],
        "no device has said yet what it runs",
    )


def _device_words(row: dict[str, Any]) -> dict[str, Any]:
    want = row["want"]
    return {
        "device": row["device"],
        "name": row["name"],
        "person": row["person"],
        "hardware": row["hardware"],
        "runs": row["number"],
        "version": row["version"],
        "release": row["release"],
        "trial": bool(row["trial"]),
        "fixed": bool(row["fixed"]),
        "wants": want.number or None,
        "paused": want.paused,
        "step": row["step"],
        "why": "" if row["step_why"] == "none" else row["step_why"],
        "step_release": row["step_release"],
        "step_ms": row["step_ms"] or None,
    }


def _tell(made: RolloutInfo, as_json: bool) -> None:
    if as_json:
        print_json(asdict(made))
    else:
        target = f"{made.scope} {made.target}".strip()
        typer.echo(f"roll-out {made.id}: number {made.number} for {made.hardware} to {target} is {made.state}")


def _store(site: Site) -> ReleaseStore:
    return ReleaseStore(site.engine, site.config.releases_dir)


def _signer(site: Site, given: Path | None) -> bytes:
    """The signer's public key: the gateway's, or the one that is given for it to keep."""
    kept = site.config.signer_file
    if given is None:
        return read_signer(kept)
    modulus = read_signer(given)
    if kept.is_file():
        if read_signer(kept) != modulus:
            raise CommandError(
                f"{given} is another key than {kept}: devices that have the old one take nothing signed by it; "
                "remove the old file only when every device was flashed with the new key"
            )
        return modulus
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_file(kept, modulus)
    warn(f"releases are verified with {kept} from now on")
    return modulus
