"""lapel firmware: from a new key to a roll-out, each with its refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.firmware_tables import device_firmware
from tests.tools.command import Lapel
from tests.tools.test_cli_devices_and_people import provisioned

pytestmark = pytest.mark.needs("micropython")


def released(lapel: Lapel, number: int = 2, hardware: str = "sim") -> Path:
    """A signed release and its key, made once for a test."""
    if not (lapel.folder / "signer.pem").exists():
        assert lapel("firmware", "new-key", lapel.folder / "signer.pem").status == 0
    made = lapel(
        *("firmware", "build", hardware, "--number", number, "--version", f"0.{number}.0", "--out", lapel.folder),
        *("--key", lapel.folder / "signer.pem"),
    )
    assert made.status == 0, made.err
    return lapel.folder / f"lapel-{hardware}-0.{number}.0.fw"


def test_from_a_new_key_to_a_paused_roll_out(lapel: Lapel) -> None:
    key = lapel.folder / "signer.pem"
    made = lapel("firmware", "new-key", key)
    assert key.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in made.out + made.err
    built = lapel("firmware", "build", "sim", "--number", 2, "--version", "0.2.0", "--out", lapel.folder)
    assert "not signed yet" in built.out
    unsigned = lapel.folder / "lapel-sim-0.2.0.unsigned"
    refused = lapel("firmware", "publish", unsigned, "--key", lapel.folder / "signer.key")
    assert (refused.status, "bad_signature" in refused.err) == (2, True)
    assert lapel("firmware", "sign", unsigned, "--key", key).status == 0
    published = lapel("firmware", "publish", lapel.folder / "lapel-sim-0.2.0.fw", "--json")
    assert published.status == 0, published.err
    name = published.json["release"]
    device = provisioned(lapel)
    begun = lapel("firmware", "rollout", name[:6], "--device", "camera 1", "--json").json
    assert (begun["scope"], begun["target"], begun["state"], begun["number"]) == ("device", device, "running", 2)
    assert lapel("firmware", "pause", begun["id"], "--json").json["state"] == "paused"
    assert lapel("firmware", "resume", begun["id"], "--json").json["state"] == "running"
    status = lapel("firmware", "status", "--json").json
    assert [one["state"] for one in status["rollouts"]] == ["running"]
    assert status["devices"] == []
    assert lapel("firmware", "end", begun["id"]).status == 0
    assert "ended" in lapel("firmware", "status").out
    assert name in lapel("firmware", "list").out


def test_the_status_shows_what_each_device_runs_wants_and_did(lapel: Lapel) -> None:
    path = released(lapel)
    name = lapel("firmware", "publish", path, "--key", lapel.folder / "signer.key", "--json").json["release"]
    device = provisioned(lapel)
    [ledger] = lapel.folder.rglob("ledger.sqlite")
    engine = open_ledger(ledger)
    row = {
        "device": device,
        "hardware": "sim",
        "number": 1,
        "release": "00" * 8,
        "trial": False,
        "told_ms": 5,
        "wanted": "",
        "step": "failed",
        "step_release": "11" * 8,
        "step_why": "no_room",
        "step_ms": 7,
        "step_boot": 1,
        "step_counter": 1,
    }
    in_rom = provisioned(lapel, "camera 2")
    with writing(engine) as connection:
        connection.execute(sa.insert(device_firmware).values(row))
        connection.execute(sa.insert(device_firmware).values({**row, "device": in_rom, "fixed": True, "step": ""}))
    engine.dispose()
    lapel("firmware", "rollout", name, "--all")
    shown = {one["device"]: one for one in lapel("firmware", "status", "--json").json["devices"]}
    facts = ("runs", "wants", "fixed", "step", "why")
    assert [shown[device][fact] for fact in facts] == [1, 2, False, "failed", "no_room"]
    assert [shown[in_rom][fact] for fact in facts[:3]] == [1, 2, True]
    said = lapel("firmware", "status").out.splitlines()
    [of_device] = [line for line in said if device in line]
    [of_in_rom] = [line for line in said if in_rom in line]
    assert "failed no_room" in of_device
    assert "ROM" not in of_device
    assert "cable" not in of_device
    assert "in ROM" in of_in_rom
    assert "2 by cable" in of_in_rom


def test_what_cannot_be_is_refused_with_what_to_do(lapel: Lapel) -> None:
    path = released(lapel)
    key = lapel.folder / "signer.pem"
    for arguments, said in (
        (("publish", path), "--key"),
        (("publish", path, "--key", path), "is not a firmware signer's public key"),
        (("build", "toaster", "--number", 1, "--version", "1"), "no board is called 'toaster'"),
        (("build", "sim", "--number", 1, "--version", "no spaces", "--out", lapel.folder), "malformed"),
        (("build", "sim", "--number", 1, "--version", "1", "--floor", 2, "--out", lapel.folder), "malformed"),
        (("sign", path, "--key", lapel.folder / "none.pem"), "No such file"),
        (("sign", lapel.config, "--key", key), "is no release that can be signed"),
        (("new-key", key), "is there already"),
        (("rollout", "abc", "--all"), "names no single release"),
        (("rollout", "abc"), "say to whom"),
        (("rollout", "abc", "--all", "--team", "north"), "say to whom"),
        (("pause", 7), "there is no roll-out 7"),
    ):
        refused = lapel("firmware", *arguments)
        assert (refused.status, said in refused.err) == (2, True), (arguments, refused.err)
    key.chmod(0o644)
    refused = lapel("firmware", "sign", path, "--key", key)
    assert (refused.status, "chmod 600" in refused.err) == (2, True)


def test_another_signers_key_does_not_take_the_place_of_the_first(lapel: Lapel) -> None:
    path = released(lapel)
    assert lapel("firmware", "publish", path, "--key", lapel.folder / "signer.key").status == 0
    lapel("firmware", "new-key", lapel.folder / "other.pem")
    refused = lapel("firmware", "publish", path, "--key", lapel.folder / "other.key")
    assert (refused.status, "is another key than" in refused.err) == (2, True)


def test_no_command_prints_a_part_of_the_private_key(lapel: Lapel) -> None:
    path = released(lapel)
    secret = [line for line in (lapel.folder / "signer.pem").read_text().splitlines() if len(line) == 64]
    assert len(secret) > 10
    said = ""
    for arguments in (
        ("sign", path, "--key", lapel.folder / "signer.pem"),
        ("publish", path, "--key", lapel.folder / "signer.pem"),
        ("publish", path, "--key", lapel.folder / "signer.key"),
        ("list", "--json"),
        ("status", "--json"),
    ):
        result = lapel("firmware", *arguments)
        said += result.out + result.err
    assert said
    assert not [line for line in secret if line in said]
