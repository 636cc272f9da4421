"""lapel device, and the people who wear them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509

from lapel_device.configuration import Config
from lapel_gateway.devices.self_tests import keep_self_test
from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.schema import device as devices
from lapel_sim.package import read_package
from tests.tools.command import Lapel


def provisioned(lapel: Lapel, name: str = "camera 1", *more: object) -> str:
    result = lapel("device", "provision", name, "--out", f"package {name}", "--json", *more)
    assert result.status == 0, result.err
    return str(result.json["device"])


def test_a_provisioned_device_has_a_package_that_the_simulators_board_accepts(lapel: Lapel) -> None:
    device = provisioned(lapel, "camera 1", "--person", "Ann Boyle")
    package = read_package(lapel.folder / "package camera 1")
    assert package.device == device
    config = json.loads(package.files["/config.json"])
    assert (config["host"], config["port"], config["tls"]) == ("127.0.0.1", 1883, False)
    [listed] = lapel("device", "list", "--json").json
    assert (listed["device"], listed["name"], listed["person"]) == (device, "camera 1", "Ann Boyle")


def test_with_mosquitto_a_device_is_given_a_certificate_of_its_own(bare: Lapel, organisation_key: Path) -> None:
    public = organisation_key / "public.pem"
    bare("gateway", "init", "--broker", "mosquitto", "--public-key", public, "--host", "192.0.2.7")
    device = provisioned(bare)
    folder = bare.folder / "package camera 1"
    issued = x509.load_der_x509_certificate((folder / "tls" / "cert.der").read_bytes())
    assert issued.subject.rfc4514_string() == f"CN={device}"
    config = json.loads((folder / "config.json").read_text())
    assert (config["tls"], config["server_hostname"], config["port"]) == (True, "192.0.2.7", 8883)
    assert (folder / "tls" / "key.der").stat().st_mode & 0o077 == 0
    assert (folder / "sectors.bin").stat().st_mode & 0o077 == 0


def test_devices_are_told_a_name_where_the_broker_listens_on_every_address(
    bare: Lapel, organisation_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = organisation_key / "public.pem"
    bare("gateway", "init", "--broker", "mosquitto", "--public-key", public, "--host", "0.0.0.0")
    refused = bare("device", "provision", "camera 1", "--out", "package")
    assert (refused.status, "set [broker] server_name" in refused.err) == (2, True)
    monkeypatch.setenv("LAPEL_BROKER__SERVER_NAME", "lapel.example.org")
    provisioned(bare)
    assert json.loads((bare.folder / "package camera 1" / "config.json").read_text())["host"] == "lapel.example.org"


def test_the_device_key_is_copied_sealed_before_the_package_is_written(
    lapel: Lapel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no copy off this machine" in lapel("device", "provision", "camera 0", "--out", "package 0").err
    copies = lapel.folder / "other machine"
    monkeypatch.setenv("LAPEL_KEYS__COPY_DIR", str(copies))
    refused = lapel("device", "provision", "camera 1", "--out", "package 1")
    assert refused.status == 1
    assert "the device was not provisioned" in refused.err
    assert not (lapel.folder / "package 1").exists()
    copies.mkdir()
    device = provisioned(lapel, "camera 1")
    copy = json.loads((copies / f"{device}.json").read_text())
    assert len(bytes.fromhex(copy["sealed_key"])) == 12 + 32 + 16


def test_a_package_is_never_written_over_another_folder(lapel: Lapel) -> None:
    provisioned(lapel)
    again = lapel("device", "provision", "camera 2", "--out", "package camera 1")
    assert again.status == 2
    assert [one["name"] for one in lapel("device", "list", "--json").json] == ["camera 1"]


def test_settings_of_a_device_are_checked(lapel: Lapel) -> None:
    assert lapel("device", "provision", "a", "--out", "a", "--setting", "nonsense=1").status == 2
    assert "KEY=NUMBER" in lapel("device", "provision", "a", "--out", "a", "--setting", "nonsense").err
    assert lapel("device", "list", "--json").json == []


def test_a_retired_device_leaves_the_list_and_stays_on_record(lapel: Lapel) -> None:
    device = provisioned(lapel)
    assert lapel("device", "retire", "camera 1").status == 0
    assert lapel("device", "list", "--json").json == []
    [listed] = lapel("device", "list", "--all", "--json").json
    assert (listed["device"], listed["state"]) == (device, "retired")


def test_a_device_is_found_by_a_beginning_of_its_id(lapel: Lapel) -> None:
    device = provisioned(lapel)
    assert lapel("device", "lost", device[:6]).status == 0
    assert lapel("device", "list", "--all", "--json").json[0]["state"] == "lost"
    assert lapel("device", "assign", device, "Bo Chen").status == 0
    assert lapel("device", "list", "--all", "--json").json[0]["person"] == "Bo Chen"


def heard(lapel: Lapel, device: str, **status: int) -> None:
    """What the device said of itself just now."""
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    at_ms = time.time_ns() // 1_000_000
    with writing(engine) as connection:
        row = sa.update(devices).where(devices.c.device == device)
        connection.execute(row.values(status=json.dumps({"at_ms": at_ms, **status})))
    engine.dispose()


def test_a_lost_device_is_cut_off_wholly_or_but_for_its_alarms_and_may_hand_in_its_clips_when_it_is_found(
    lapel: Lapel,
) -> None:
    device = provisioned(lapel)
    assert lapel("device", "lost", device, "--keep-alarms").status == 0
    assert f"topic deny lapel/v1/+/{device}/clip" in lapel("device", "access-list").out
    assert lapel("device", "lost", device).status == 0
    assert f"user {device}\ntopic deny lapel/v1/+/{device}/#" in lapel("device", "access-list").out
    [listed] = lapel("device", "list", "--all", "--json").json
    assert (listed["state"], listed["cut_off"], listed["found"]) == ("lost", "all", None)

    heard(lapel, device, clips_held=2)
    found = lapel("device", "found", device)
    assert "(2 clips when it was last heard of)" in found.out
    assert device not in lapel("device", "access-list").out
    [listed] = lapel("device", "list", "--all", "--json").json
    assert (listed["state"], listed["cut_off"]) == ("lost", None)
    assert listed["found"]["ms"] > 0


def test_only_a_lost_device_can_be_found(lapel: Lapel) -> None:
    device = provisioned(lapel)
    refused = lapel("device", "found", device)
    assert (refused.status, f"{device} is not marked lost" in refused.err) == (2, True)


@pytest.mark.parametrize("command", [("retire",), ("reprovision", "--out", "again")])
def test_a_device_that_holds_clips_is_neither_retired_nor_given_new_keys(
    lapel: Lapel, command: tuple[str, ...]
) -> None:
    device = provisioned(lapel)
    heard(lapel, device, clips_held=3)
    refused = lapel("device", command[0], device, *command[1:])
    assert refused.status == 2
    assert "holds 3 clips that are not here" in refused.err
    assert lapel("device", "list", "--json").json[0]["state"] == "active"
    assert lapel("device", command[0], device, *command[1:], "--lose-clips").status == 0


def test_new_keys_make_another_device_of_the_same_name_and_settings_and_end_the_old_one(lapel: Lapel) -> None:
    old = provisioned(lapel)
    assert lapel("device", "set", old, "heartbeat_s=90").status == 0
    assert lapel("device", "assign", old, "Bo Chen").status == 0
    new = lapel("device", "reprovision", "camera 1", "--out", "again", "--drills", "--json").json["device"]
    listed = {one["device"]: one for one in lapel("device", "list", "--all", "--json").json}
    assert (listed[old]["state"], listed[old]["cut_off"]) == ("retired", "all")
    assert [listed[new][key] for key in ("state", "name", "person", "follows")] == [
        "active",
        "camera 1",
        "Bo Chen",
        old,
    ]
    config = json.loads((lapel.folder / "again" / "config.json").read_text())
    assert (config["device"], config["settings"], config["drills"]) == (
        new,
        {"delete_level": 1, "heartbeat_s": 90},
        True,
    )
    sectors = (lapel.folder / "again" / "sectors.bin").read_bytes()
    assert sectors != (lapel.folder / "package camera 1" / "sectors.bin").read_bytes()


def test_a_device_is_handed_out_only_when_nothing_speaks_against_it_or_with_a_reason(lapel: Lapel) -> None:
    device = provisioned(lapel)
    refused = lapel("device", "issue", device, "Bo Chen")
    assert refused.status == 2
    assert "has not been heard of for a day" in refused.err
    assert "no self-test is on record" in refused.err
    heard(lapel, device, battery_percent=40, clips_held=1)
    refused = lapel("device", "issue", device, "Bo Chen")
    assert "charged to 40 %, less than the 60 % needed" in refused.err
    assert "holds 1 clips of its last wearer" in refused.err
    assert lapel("device", "handovers", "--json").json == []

    given = lapel("device", "issue", device, "Bo Chen", "--anyway", "the only one left", "--by", "Tess")
    assert given.status == 0
    assert "POOR  charge" in given.out
    [entry] = lapel("device", "handovers", device, "--json").json
    assert (entry["person"], entry["issued"]["by"], entry["in_spite"]) == ("Bo Chen", "Tess", "the only one left")
    assert "Bo Chen has device camera 1: take it back first" in lapel("device", "issue", device, "Ann").err
    assert lapel("device", "list", "--json").json[0]["person"] == "Bo Chen"


def test_a_tested_and_charged_device_is_handed_out_and_taken_back(lapel: Lapel) -> None:
    device = provisioned(lapel)
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    report = [{"name": "buttons", "outcome": "passed", "found": "both", "remedy": ""}]
    assert keep_self_test(engine, device, "e661", report, "Tess", time.time_ns() // 1_000_000)
    engine.dispose()
    heard(lapel, device, battery_percent=95, clips_held=0)
    given = lapel("device", "issue", device, "Bo Chen", "--anyway", "not needed", "--json")
    assert [check["good"] for check in given.json["checks"]] == [True] * 4
    heard(lapel, device, battery_percent=20, clips_held=4)
    back = lapel("device", "return", device, "--note", "a cracked lens")
    assert "holds 4 clips of Bo Chen" in back.out
    assert lapel("device", "list", "--json").json[0]["person"] == "Bo Chen"
    [entry] = lapel("device", "handovers", "--json").json
    assert (entry["in_spite"], entry["issued_battery"], entry["returned_battery"]) == (None, 95, 20)
    assert entry["note"] == "a cracked lens"
    assert "is in nobody's hands" in lapel("device", "return", device).err


def test_a_device_that_comes_back_empty_belongs_to_nobody(lapel: Lapel) -> None:
    device = provisioned(lapel)
    assert lapel("device", "issue", device, "Bo Chen", "--anyway", "a trial").status == 0
    assert lapel("device", "return", device).status == 0
    assert lapel("device", "list", "--json").json[0]["person"] == ""
    assert "a trial" in lapel("device", "handovers").out


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [(("passed", "failed"), "its last self-test failed"), (("absent", "skipped"), "its last self-test failed")],
)
def test_a_self_test_that_was_not_passed_keeps_a_device_from_being_handed_out(
    lapel: Lapel, outcomes: tuple[str, str], words: str
) -> None:
    device = provisioned(lapel)
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    report = [{"name": str(at), "outcome": one, "found": "seen", "remedy": "mend"} for at, one in enumerate(outcomes)]
    assert not keep_self_test(engine, device, "e661", report, "Tess", time.time_ns() // 1_000_000)
    engine.dispose()
    heard(lapel, device, battery_percent=95, clips_held=0)
    assert words in lapel("device", "issue", device, "Bo Chen").err
    [kept] = lapel("device", "self-tests", device, "--json").json
    assert [one["outcome"] for one in kept["tests"]] == list(outcomes)
    assert "no" in lapel("device", "self-tests", device).out


def test_an_unknown_device_is_status_3(lapel: Lapel) -> None:
    result = lapel("device", "retire", "camera 9")
    assert (result.status, "lapel device list" in result.err) == (3, True)


def test_text_of_people_is_shown_as_it_is(lapel: Lapel) -> None:
    provisioned(lapel, "[bold]camera[/bold]")
    assert "[bold]camera[/bold]" in lapel("device", "list").out


def test_pins_and_tampering_are_provisioned_from_a_file_and_never_shown(lapel: Lapel, tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    pins.write_text("cancel_pin = SLSS\n\nduress_pin=SLLSLLSL\n")
    result = lapel(
        "device", "provision", "camera 9", "--out", tmp_path / "nine", "--pins", pins, "--tamper", "--drills"
    )
    assert result.status == 0
    assert "SLSS" not in result.out + result.err
    config = Config(json.loads((tmp_path / "nine" / "config.json").read_text()))
    assert (config.cancel_pin, config.duress_pin, config.tamper) == ("SLSS", "SLLSLLSL", True)
    assert config.drills


@pytest.mark.parametrize(
    "wrong", ["cancel_pin=SLS", "cancel_pin=slss", "pin=SLSS", "cancel_pin=SLSS\nduress_pin=SLSS", "SLSS"]
)
def test_pins_that_no_device_takes_are_refused_before_anything_is_entered(
    lapel: Lapel, tmp_path: Path, wrong: str
) -> None:
    pins = tmp_path / "pins"
    pins.write_text(wrong)
    result = lapel("device", "provision", "camera 9", "--out", tmp_path / "nine", "--pins", pins)
    assert result.status != 0
    assert "SLS" not in result.err.replace("SLSS and", "")
    assert not (tmp_path / "nine").exists()
