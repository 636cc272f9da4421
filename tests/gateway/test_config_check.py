"""check-config: settings that are each valid and would not work on this machine."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.keystore import KeyStore
from lapel_gateway.loopback import is_loopback
from lapel_gateway.pki import create_organisation_key
from lapel_gateway.settings.check import Finding, check_config
from lapel_gateway.settings.config import Config, load_config
from lapel_gateway.settings.template import write_template

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key pair private.pem and public.pem; RSA-3072 takes a second to make."""
    folder = tmp_path_factory.mktemp("organisation")
    create_organisation_key(folder / "private.pem", folder / "public.pem")
    return folder


def made(folder: Path, extra: str = "", **sections: dict[str, Any]) -> Config:
    path = folder / "lapel.toml"
    path.unlink(missing_ok=True)
    write_template(path, sections)
    with path.open("a") as file:
        file.write(extra)
    return load_config(path)


def errors(config: Config) -> list[Finding]:
    return [finding for finding in check_config(config) if finding.level == "error"]


def the_error(config: Config, setting: str) -> str:
    [finding] = errors(config)
    assert finding.setting == setting
    return finding.message


def webhook(folder: Path, secret: str = SECRET, mode: int = 0o600, url: str = "https://a.example/") -> str:
    (folder / "secret").write_text(secret)
    (folder / "secret").chmod(mode)
    return f"[[webhook]]\nname = 'a'\nurl = '{url}'\nsecret_file = 'secret'\n"


def test_the_defaults_tell_nobody_of_an_alarm_and_are_fine_otherwise(tmp_path: Path) -> None:
    assert [finding.setting for finding in check_config(made(tmp_path))] == ["channels"]


def test_checking_makes_no_files(tmp_path: Path) -> None:
    config = made(tmp_path)
    check_config(config)
    assert os.listdir(tmp_path) == ["lapel.toml"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "gateway.example.org"])
def test_an_embedded_broker_that_others_could_reach_is_an_error(tmp_path: Path, host: str) -> None:
    assert "checks no certificates" in the_error(made(tmp_path, broker={"host": host}), "[broker] host")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_only_addresses_of_this_machine_alone_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_missing_mosquitto_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    config = made(tmp_path, broker={"kind": "mosquitto", "program": "mosquitto-absent"})
    assert "apt install mosquitto" in the_error(config, "[broker] program")


def test_an_external_broker_elsewhere_needs_tls(tmp_path: Path) -> None:
    config = made(tmp_path, broker={"kind": "external", "host": "mqtt.example.org"})
    assert "without TLS" in the_error(config, "[broker] ca_file")
    assert errors(made(tmp_path, broker={"kind": "external", "host": "127.0.0.1"})) == []


def test_an_external_broker_needs_a_certificate_for_each_connection(tmp_path: Path) -> None:
    files = {"ca_file": "ca.pem", "certificate_file": "{role}.pem", "key_file": "{role}.key"}
    for name in ("ca.pem", "alarms.pem", "alarms.key", "events.pem", "events.key", "ingest.pem"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o600)
    config = made(tmp_path, broker={"kind": "external", "host": "mqtt.example.org", **files})
    assert the_error(config, "[broker] key_file") == f"{tmp_path / 'ingest.key'} cannot be read"
    (tmp_path / "ingest.key").write_text("")
    (tmp_path / "ingest.key").chmod(0o640)
    assert "chmod 600" in the_error(config, "[broker] key_file")
    shared = made(tmp_path, broker={"kind": "external", "host": "x.example", **files, "certificate_file": "alarms.pem"})
    assert "{role}" in next(finding for finding in errors(shared) if "certificate_file" in finding.setting).message


def test_tls_files_without_an_external_broker_are_an_error(tmp_path: Path) -> None:
    files = {"ca_file": "ca.pem", "certificate_file": "{role}.pem", "key_file": "{role}.key"}
    assert len(errors(made(tmp_path, broker=files))) == 3


def test_a_data_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert "is not a folder" in the_error(made(tmp_path), "[gateway] data_dir")


def test_a_reserve_larger_than_the_disk_is_an_error(tmp_path: Path) -> None:
    assert "no clip would be taken" in the_error(
        made(tmp_path, ingest={"reserve_bytes": 1 << 60}), "[ingest] reserve_bytes"
    )


def test_a_master_key_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    config = made(tmp_path)
    KeyStore.create(config.master_key_file)
    assert errors(config) == []
    config.master_key_file.chmod(0o644)
    assert "chmod 600" in the_error(config, "[keys] master_key_file")


def test_a_named_master_key_must_exist(tmp_path: Path) -> None:
    config = made(tmp_path, keys={"master_key_file": "absent.key"})
    assert "missing" in the_error(config, "[keys] master_key_file")


def test_the_private_key_must_be_private_in_both_senses(tmp_path: Path, organisation: Path) -> None:
    public_only = made(tmp_path, keys={"organisation_private_key_file": organisation / "public.pem"})
    assert "public key only" in the_error(public_only, "[keys] organisation_private_key_file")
    copy = tmp_path / "private.pem"
    copy.write_bytes((organisation / "private.pem").read_bytes())
    copy.chmod(0o644)
    readable = made(tmp_path, keys={"organisation_private_key_file": copy})
    assert "chmod 600" in the_error(readable, "[keys] organisation_private_key_file")


def test_deleting_after_opening_needs_the_private_key_here(tmp_path: Path, organisation: Path) -> None:
    custody = {"delete_level": "opened"}
    assert "no device would ever" in the_error(made(tmp_path, custody=custody), "[custody] delete_level")
    keys = {"organisation_private_key_file": organisation / "private.pem"}
    assert errors(made(tmp_path, custody=custody, keys=keys)) == []


def test_a_webhooks_secret_must_be_readable_private_and_long_enough(tmp_path: Path) -> None:
    name = "[[webhook]] a"
    assert check_config(made(tmp_path, webhook(tmp_path))) == []
    assert "chmod 600" in the_error(made(tmp_path, webhook(tmp_path, mode=0o644)), name)
    assert "whsec_" in the_error(made(tmp_path, webhook(tmp_path, secret="whsec_short")), name)
    assert SECRET[6:20] not in the_error(made(tmp_path, webhook(tmp_path, secret=SECRET[:20])), name)
    text = webhook(tmp_path)
    (tmp_path / "secret").unlink()
    assert "No such file" in the_error(made(tmp_path, text), name)


def test_two_webhooks_of_one_name_are_an_error(tmp_path: Path) -> None:
    assert "more than once" in the_error(made(tmp_path, webhook(tmp_path) * 2), "[[webhook]] name")


def centre(folder: Path, key: str | None = "ab" * 16, mode: int = 0o600, more: str = "") -> str:
    text = "[[sia_receiver]]\nname = 'a'\nhost = '192.0.2.1'\nport = 7000\naccount = '1234'\n" + more
    if key is None:
        return text
    (folder / "arc.key").write_text(key)
    (folder / "arc.key").chmod(mode)
    return text + "key_file = 'arc.key'\n"


def test_a_receiving_centres_key_must_be_private_and_of_a_right_length(tmp_path: Path) -> None:
    name = "[[sia_receiver]] a"
    assert check_config(made(tmp_path, centre(tmp_path))) == []
    assert "chmod 600" in the_error(made(tmp_path, centre(tmp_path, mode=0o640)), name)
    assert "hexadecimal digits" in the_error(made(tmp_path, centre(tmp_path, key="ab" * 15)), name)
    assert "more than once" in the_error(made(tmp_path, centre(tmp_path) * 2), "[[sia_receiver]] name")


@pytest.mark.parametrize(
    ("key", "more", "words"),
    [
        (None, "", "there is no key_file"),
        ("ab" * 16, "supervision_s = 0\n", "supervision_s is 0"),
        ("ab" * 16, "backup_host = '192.0.2.1'\nbackup_port = 7000\n", "the backup receiver is the main one"),
    ],
)
def test_what_is_unwise_with_a_receiving_centre_is_a_warning(
    tmp_path: Path, key: str | None, more: str, words: str
) -> None:
    [finding] = check_config(made(tmp_path, centre(tmp_path, key, more=more)))
    assert (finding.level, finding.setting) == ("warning", "[[sia_receiver]] a")
    assert words in finding.message


@pytest.mark.parametrize(
    ("extra", "setting"),
    [("http://hooks.example/", "[[webhook]] a"), (None, "[web] host")],
    ids=["plain http webhook", "api beyond loopback"],
)
def test_what_works_but_is_unwise_is_a_warning(tmp_path: Path, extra: str | None, setting: str) -> None:
    config = made(tmp_path, webhook(tmp_path, url=extra)) if extra else made(tmp_path, web={"host": "0.0.0.0"})
    [finding] = [finding for finding in check_config(config) if finding.setting != "channels"]
    assert (finding.level, finding.setting) == ("warning", setting)


@pytest.mark.parametrize(
    ("visits", "key"),
    [({"position_keep_days": 91}, "position_keep_days"), ({"default_expected_min": 5}, "amber_before_s")],
)
def test_what_is_unwise_with_visits_is_a_warning(tmp_path: Path, visits: dict[str, int], key: str) -> None:
    [finding] = [finding for finding in check_config(made(tmp_path, visits=visits)) if finding.setting != "channels"]
    assert (finding.level, finding.setting) == ("warning", f"[visits] {key}")


def test_one_port_for_broker_and_api_is_an_error(tmp_path: Path) -> None:
    assert "broker's port" in the_error(made(tmp_path, web={"port": 1883}), "[web] port")


@pytest.mark.parametrize(("section", "key"), [("forward", "directory"), ("keys", "copy_dir")])
def test_a_share_that_is_not_mounted_is_an_error(tmp_path: Path, section: str, key: str) -> None:
    path = tmp_path / "lapel.toml"
    write_template(path, {section: {key: tmp_path / "share"}})
    config = load_config(path)
    assert "mount the share" in the_error(config, f"[{section}] {key}")
    (tmp_path / "share").mkdir()
    assert errors(config) == []


@pytest.mark.parametrize("table", ["smtp", "mqtt_out"])
def test_a_channels_files_must_be_usable_and_its_secrets_private(tmp_path: Path, table: str) -> None:
    target = {"smtp": "sender = 'a@b.example'\nto = ['c@d.example']\n", "mqtt_out": "topic = 'site/alarms'\n"}[table]
    text = f"[[{table}]]\nname = 'a'\nhost = 'out.example.org'\nlogin_file = 'login'\n{target}"
    login = tmp_path / "login"
    assert "No such file" in the_error(made(tmp_path, text), f"[[{table}]] a")
    login.write_text("lapel\nsecret words\n")
    login.chmod(0o640)
    assert "chmod 600" in the_error(made(tmp_path, text), f"[[{table}]] a")
    login.chmod(0o600)
    assert check_config(made(tmp_path, text)) == []
    assert "more than once" in the_error(made(tmp_path, text * 2), f"[[{table}]] name")
    assert "absent.pem" in the_error(made(tmp_path, text + "ca_file = 'absent.pem'\n"), f"[[{table}]] a")
    [finding] = check_config(made(tmp_path, text + "security = 'none'\nallow_plain = true\n"))
    assert (finding.level, finding.setting) == ("warning", f"[[{table}]] a")
    assert "secret" not in finding.message


def policy(steps: str, name: str = "day", more: str = "") -> str:
    return f"[[policy]]\nname = '{name}'\nsteps = {steps}\n{more}"


def test_a_policy_whose_target_is_no_channel_is_an_error_that_names_the_closest(tmp_path: Path) -> None:
    text = webhook(tmp_path)
    assert check_config(made(tmp_path, text + policy('[{targets = ["webhook:a", "everyone"]}]'))) == []
    words = the_error(made(tmp_path, text + policy('[{targets = ["webhook:b"]}]')), "[[policy]] day")
    assert words == "there is no target webhook:b; did you mean webhook:a?"
    words = the_error(made(tmp_path, text + policy('[{targets = ["person:Ann"]}]')), "[[policy]] day")
    assert "lapel gateway channels" in words


def test_a_policy_that_is_never_used_is_a_warning(tmp_path: Path) -> None:
    steps = '[{targets = ["everyone"]}]'
    limited = policy(steps, "first", "teams = ['housing']\n")
    assert check_config(made(tmp_path, webhook(tmp_path) + limited + policy(steps, "second"))) == []
    [finding] = check_config(made(tmp_path, webhook(tmp_path) + policy(steps, "first") + limited.replace("first", "x")))
    assert (finding.level, finding.setting) == ("warning", "[[policy]] x")
    assert "first stands before it" in finding.message
