"""Setting up: lapel gateway init and check-config, and what every command says when it cannot work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lapel_gateway.accounts import users
from lapel_gateway.channels.health import HealthBook
from lapel_gateway.ledger import open_ledger
from tests.tools.command import Lapel


def test_init_makes_a_configuration_that_check_config_likes(bare: Lapel) -> None:
    made = bare("gateway", "init", "--organisation", "Northern Housing")
    assert made.status == 0
    assert "copy" in made.err
    checked = bare("gateway", "check-config", "--json")
    assert (checked.status, [finding["setting"] for finding in checked.json["findings"]]) == (0, ["channels"])
    assert "nobody is told of an alarm" in checked.out
    shown = bare("gateway", "show-config").json
    assert shown["gateway"]["organisation"] == "Northern Housing"
    keys = bare.folder / "data" / "keys"
    assert {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir()} == {
        "master.key": 0o600,
        "organisation-private.pem": 0o600,
        "organisation.pem": 0o644,
    }


def test_the_channels_of_a_policy_are_listed_with_whom_they_reach(bare: Lapel) -> None:
    bare("gateway", "init")
    assert "no channel is configured" in bare("gateway", "channels").out
    with (bare.folder / "lapel.toml").open("a") as file:
        file.write(
            "[[smtp]]\nname = 'duty'\nhost = 'mail.example.org'\nsender = 'a@b.example'\n"
            "to = ['Ann Archer <ann@example.org>', 'desk@example.org']\n"
        )
    listed = bare("gateway", "channels", "--json")
    assert [(words["channel"], words["person"], words["state"]) for words in listed.json] == [
        ("smtp:duty:ann@example.org", "Ann Archer", "unused"),
        ("smtp:duty:desk@example.org", None, "unused"),
    ]
    assert "Ann Archer" in bare("gateway", "channels").out


def test_a_channel_that_fails_is_listed_with_since_when_and_why(bare: Lapel) -> None:
    bare("gateway", "init")
    with (bare.folder / "lapel.toml").open("a") as file:
        file.write(
            "[[smtp]]\nname = 'duty'\nhost = 'mail.example.org'\nsender = 'a@b.example'\nto = ['desk@example.org']\n"
        )
    engine = open_ledger(bare.folder / "data" / "ledger.sqlite")
    book = HealthBook(engine, ["smtp:duty:desk@example.org"], lambda: 1_760_000_000_000)
    with capture_logs():
        book.report("smtp:duty:desk@example.org", "the relay refused the login: check login_file")
    book.write()
    engine.dispose()
    shown = bare("gateway", "channels").out
    assert "failing" in shown
    assert "delivery since 2025-10-09 08:53:20: the relay refused the login: check login_file" in shown


def test_init_again_replaces_nothing(lapel: Lapel) -> None:
    before = {path: path.read_bytes() for path in lapel.folder.rglob("*") if path.is_file()}
    again = lapel("gateway", "init")
    assert again.status == 2
    assert "exists and is not replaced" in again.err
    assert {path: path.read_bytes() for path in lapel.folder.rglob("*") if path.is_file()} == before


def test_init_keeps_keys_that_are_there(lapel: Lapel, organisation_key: Path) -> None:
    key = (lapel.folder / "data" / "keys" / "master.key").read_bytes()
    lapel.config.unlink()
    assert lapel("gateway", "init", "--public-key", organisation_key / "public.pem").status == 0
    assert (lapel.folder / "data" / "keys" / "master.key").read_bytes() == key


def test_init_with_the_public_key_makes_no_private_one(lapel: Lapel) -> None:
    assert [path.name for path in (lapel.folder / "data" / "keys").iterdir()] == ["master.key"]


def test_init_for_mosquitto_makes_a_ca_and_takes_the_usual_tls_port(bare: Lapel, organisation_key: Path) -> None:
    assert bare("gateway", "init", "--broker", "mosquitto", "--public-key", organisation_key / "public.pem").status == 0
    assert bare("gateway", "show-config").json["broker"]["port"] == 8883
    assert (bare.folder / "data" / "pki" / "ca.pem").is_file()


def test_check_config_fails_with_status_1_for_an_error_and_says_which(lapel: Lapel) -> None:
    lapel.config.write_text(lapel.config.read_text().replace('host = "127.0.0.1"', 'host = "0.0.0.0"', 1))
    checked = lapel("gateway", "check-config")
    assert checked.status == 1
    assert "error: [broker] host: the embedded broker checks no certificates" in checked.out


@pytest.mark.parametrize(
    "command",
    [
        ("gateway", "check-config"),
        ("user", "list"),
        ("device", "list"),
        ("clip", "list"),
        ("alarm", "list"),
    ],
)
def test_without_a_configuration_a_command_ends_with_status_2_and_says_how_to_get_one(
    bare: Lapel, command: tuple[str, ...]
) -> None:
    result = bare(*command)
    assert result.status == 2
    assert "lapel gateway init" in result.err
    assert result.out == ""


def test_a_wrong_setting_is_named_by_every_command(lapel: Lapel) -> None:
    lapel.config.write_text(lapel.config.read_text().replace("batch_max", "batch_maximum"))
    result = lapel("device", "list")
    assert result.status == 2
    assert "batch_maximum is not a setting; did you mean batch_max?" in result.err


def test_a_missing_argument_is_a_usage_error(lapel: Lapel) -> None:
    assert lapel("user", "add").status == 2


def test_a_missing_master_key_is_named(lapel: Lapel) -> None:
    (lapel.folder / "data" / "keys" / "master.key").unlink()
    result = lapel("device", "provision", "cam", "--out", "package")
    assert result.status == 2
    assert "restore it from its copy" in result.err


def test_a_fault_of_the_program_is_told_without_a_traceback(lapel: Lapel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_engine: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(users, "list_users", broken)
    result = lapel("user", "list")
    assert result.status == 70
    assert "fault in lapel: ZeroDivisionError: of all things; LAPEL_DEBUG=1 shows where" in result.err


def test_the_installed_command_runs_and_passes_its_status_on(lapel: Lapel) -> None:
    program = Path(sys.executable).with_name("lapel")
    run = subprocess.run([program, "device", "retire", "nobody"], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "names no device" in run.stderr


@pytest.mark.parametrize("command", ["sim", "demo"])
def test_a_gateway_without_the_simulators_packages_works_and_says_how_to_get_them(lapel: Lapel, command: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = (
            f"import sys; sys.modules['mpremote'] = None; sys.argv[1:] = {list(arguments)}; import lapel_tools.__main__"
        )
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert run("device", "list").returncode == 0
    refused = run(command, "--anything")
    assert (refused.returncode, "pip install 'lapel[sim]'" in refused.stderr) == (2, True)


def test_the_files_for_monitoring_are_written_and_what_somebody_changed_in_them_is_kept(bare: Lapel) -> None:
    bare("gateway", "init")
    folder = bare.folder / "monitoring"
    assert "No such file" in bare("gateway", "monitoring", "--out", "monitoring").err
    folder.mkdir()
    for _ in range(2):
        assert bare("gateway", "monitoring", "--out", "monitoring").status == 0
    assert {path.name for path in folder.iterdir()} == {"lapel.rules.yml", "lapel-dashboard.json", "prometheus.yml"}
    rules = folder / "lapel.rules.yml"
    rules.write_text("groups: []\n")
    refused = bare("gateway", "monitoring", "--out", "monitoring")
    assert refused.status != 0
    assert "move it away" in refused.err
    assert rules.read_text() == "groups: []\n"
