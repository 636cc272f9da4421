"""lapel device and lapel user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from lapel_device.settings import Config
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


def test_an_unknown_device_is_status_3(lapel: Lapel) -> None:
    result = lapel("device", "retire", "camera 9")
    assert (result.status, "lapel device list" in result.err) == (3, True)


def test_text_of_people_is_shown_as_it_is(lapel: Lapel) -> None:
    provisioned(lapel, "[bold]camera[/bold]")
    assert "[bold]camera[/bold]" in lapel("device", "list").out


def test_a_token_is_shown_once_and_alone_on_standard_output(lapel: Lapel) -> None:
    added = lapel("user", "add", "Ann Boyle")
    token = added.out.strip()
    assert token.startswith("lapel_")
    assert "\n" not in token
    listed = lapel("user", "list")
    assert "Ann Boyle" in listed.out
    assert token not in listed.out + lapel("user", "list", "--json").out


def test_a_name_is_given_to_one_person_only(lapel: Lapel) -> None:
    first = lapel("user", "add", "Ann Boyle", "--json").json["token"]
    again = lapel("user", "add", "Ann Boyle")
    assert (again.status, again.out) == (2, "")
    assert "lapel user renew" in again.err
    assert lapel("user", "renew", "Ann Boyle").out.strip() != first
    assert lapel("user", "revoke", "Ann Boyle").status == 0
    assert lapel("user", "list", "--json").json[0]["revoked"] is not None


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
