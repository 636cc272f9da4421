"""Settings: defaults, file and environment, and what a person reads when one of them is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lapel_gateway.settings.config import ROLES, Config, ConfigError, find_config, load_config
from lapel_gateway.settings.template import render_template, write_template


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LAPEL_")]:
        monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "lapel.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(written(folder, text))
    return str(caught.value).splitlines()


def test_an_empty_file_gives_the_defaults_and_all_roles(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, ""))
    assert tuple(config.gateway.roles) == ROLES
    assert config.broker.kind == "embedded"
    assert config.custody.delete_level == "verified"


def test_the_written_template_says_exactly_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "lapel.toml"
    write_template(path)
    assert load_config(path) == load_config(written(tmp_path, ""))


def test_every_setting_of_the_template_is_valid_once_it_is_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?=[a-z\[])", "", render_template())
    config = load_config(written(tmp_path, text))
    for section in Config.model_fields:
        value = getattr(config, section)
        assert value, section
        for one in value if isinstance(value, list) else [value]:
            assert one.model_fields_set == set(type(one).model_fields), section


def test_the_template_explains_every_setting() -> None:
    text = render_template()
    for section in Config.model_fields:
        assert f"[{section}]" in text
    settings = [line for line in text.splitlines() if " = " in line and not line.startswith("# ")]
    before = dict(zip(text.splitlines()[1:], text.splitlines(), strict=False))
    assert all(before[line].startswith("#") or "  # " in line for line in settings)


def test_the_template_takes_other_values(tmp_path: Path) -> None:
    path = tmp_path / "lapel.toml"
    write_template(path, {"broker": {"kind": "mosquitto", "port": 8883}, "forward": {"directory": tmp_path / "out"}})
    config = load_config(path)
    assert (config.broker.kind, config.broker.port, config.forward.directory) == ("mosquitto", 8883, tmp_path / "out")


def test_an_existing_file_is_never_replaced_by_the_template(tmp_path: Path) -> None:
    path = written(tmp_path, "# mine")
    with pytest.raises(ConfigError, match="exists and is not replaced"):
        write_template(path)
    assert path.read_text() == "# mine"


def test_the_environment_wins_over_the_file_and_leaves_the_rest_of_the_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPEL_BROKER__PORT", "8883")
    monkeypatch.setenv("LAPEL_GATEWAY__ROLES", '["alarms"]')
    config = load_config(written(tmp_path, '[broker]\nkind = "external"\nport = 1\n'))
    assert (config.broker.kind, config.broker.port, config.gateway.roles) == ("external", 8883, ["alarms"])


def test_a_webhook_given_in_the_environment_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_WEBHOOK", '[{"name": "a", "url": "https://a.example/x", "secret_file": "s"}]')
    assert load_config(written(tmp_path, "")).webhook[0].secret_file == tmp_path / "s"


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = written(tmp_path, '[gateway]\ndata_dir = "d"\n[forward]\ndirectory = "/srv/x"\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(Path("../lapel.toml"))
    assert config.data_dir == tmp_path / "d"
    assert config.vault_dir == tmp_path / "d" / "vault"
    assert config.forward.directory == Path("/srv/x")
    assert config.data_dir == load_config(path).data_dir


def test_the_private_organisation_key_is_used_where_it_is_named(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")).organisation_key_file == tmp_path / "data" / "keys" / "organisation.pem"
    config = load_config(written(tmp_path, '[keys]\norganisation_private_key_file = "/k/private.pem"\n'))
    assert config.organisation_key_file == Path("/k/private.pem")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[broker]\nkind = 'mosquitto'\nprot = 1\n", "line 3: [broker] prot is not a setting; did you mean port?"),
        ("\n[brokr]\nport = 1\n", "line 2: there is no section or setting brokr; did you mean broker?"),
        ("port = 1\n", "line 1: there is no section or setting port"),
        ("[web]\nport = 'many'\n", "line 2: [web] port: must be a valid integer"),
        ("[web]\nport = 65536\n", "line 2: [web] port: must be less than or equal to 65535"),
        ("[broker]\nkind = 'amqp'\n", "line 2: [broker] kind: must be 'embedded', 'mosquitto' or 'external'"),
        ("[gateway]\nroles = []\n", "line 2: [gateway] roles: List should have at least 1 item"),
        (
            "[gateway]\nroles = ['web', 'cook']\n",
            "line 2: [gateway] roles: must be 'alarms', 'ingest', 'deliver' or 'web'",
        ),
        ("web = 3\n", "line 1: [web]: must be a valid dictionary"),
        ("[visits]\nkeep_days = 0\n", "line 2: [visits] keep_days: must be greater than or equal to 1"),
        ("[visits]\nkeep_day = 9\n", "line 2: [visits] keep_day is not a setting; did you mean keep_days?"),
        ("[broker]\nca_file = 'x'\n", "line 1: [broker]: ca_file, certificate_file and key_file go together"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line_and_what_it_must_be(tmp_path: Path, text: str, message: str) -> None:
    [fault] = faults(tmp_path, text)
    assert fault.startswith(f"{tmp_path / 'lapel.toml'} {message}")


def test_a_fault_in_the_second_of_two_webhooks_is_found_there(tmp_path: Path) -> None:
    good = "[[webhook]]\nname = 'a'\nurl = 'https://a.example/'\nsecret_file = 's'\n"
    bad = "[[webhook]]\nname = 'b'\nurl = 'ftp://b.example/'\nsecret_file = 's'\n"
    [fault] = faults(tmp_path, good + bad)
    assert "line 7: [webhook] url: must start with https://" in fault
    [fault] = faults(tmp_path, good + "[[webhook]]\nname = 'b'\nurl = 'https://b.example/'\n")
    assert "line 5: [webhook] secret_file must be given" in fault


CENTRE = "[[sia_receiver]]\nname = 'a'\nhost = '192.0.2.1'\nport = 7000\naccount = '12ab'\n"


def test_a_receiving_centre_needs_little_and_has_codes_for_every_kind(tmp_path: Path) -> None:
    text = (
        CENTRE + "key_file = 'k'\ntoken = 'ADM-CID'\ncodes = {panic = {code = '1123', zone = 7}, test = {code = ''}}\n"
    )
    [centre] = load_config(written(tmp_path, text)).sia_receiver
    codes = centre.event_codes()
    assert (centre.account, centre.line, centre.key_file) == ("12AB", "0", tmp_path / "k")
    assert (codes["panic"].raised, codes["panic"].restore, codes["panic"].zone) == ("1123", "3120", 7)
    assert (codes["test"].raised, codes["tamper"].raised) == ("", "1144")


def test_a_receiving_centre_may_be_given_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_SIA_RECEIVER", '[{"name": "a", "host": "h", "port": 1, "account": "123"}]')
    assert load_config(written(tmp_path, "")).sia_receiver[0].token == "SIA-DCS"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("backup_host = 'b'\n", "[sia_receiver]: backup_host and backup_port go together"),
        ("token = 'SIA'\n", "line 6: [sia_receiver] token: must be 'SIA-DCS' or 'ADM-CID'"),
        ("line = 'L1'\n", "line 6: [sia_receiver] line: String should match pattern"),
        ("line = ''\n", "[sia_receiver]: receiver and line have at most 6 hexadecimal digits"),
        ("receiver = '1234567'\n", "[sia_receiver]: receiver and line have at most 6 hexadecimal digits"),
        ("timeout_s = 0\n", "line 6: [sia_receiver] timeout_s: must be greater than 0"),
        ("key = 'abab'\n", "line 6: [sia_receiver] key is not a setting; did you mean key_f"),
        (
            "codes = {pannic = {code = 'PA'}}\n",
            "[sia_receiver]: codes.pannic is not a kind of alarm; did you mean panic?",
        ),
        ("codes = {panic = {code = '1120'}}\n", "codes.panic.code: must be two capital letters, as PA"),
        ("codes = {panic = {cancel = 'oc'}}\n", "codes.panic.cancel: must be two capital letters, as PA"),
        ("codes = {panic = {zne = 1}}\n", "line 6: [sia_receiver] codes.panic.zne is not a setting"),
        ("codes = {panic = {zone = 10000}}\n", "line 6: [sia_receiver] codes: must be less than or equal to 9999"),
        ("token = 'ADM-CID'\ncodes = {panic = {code = 'PA'}}\n", "codes.panic.code: must be a qualifier (1, 3 or 6)"),
        ("token = 'ADM-CID'\ncodes = {panic = {zone = 1000}}\n", "codes.panic.zone: must be 999 or less"),
        ("token = 'ADM-CID'\nzones = {d = 1000}\n", "zones: the zone of d must be from 0 to 999"),
    ],
)
def test_a_wrong_setting_of_a_receiving_centre_is_named(tmp_path: Path, more: str, message: str) -> None:
    [fault] = faults(tmp_path, CENTRE + more)
    assert message in fault


@pytest.mark.parametrize("account", ["12", "1" * 17, "12G4"])
def test_an_account_that_no_centre_gives_is_a_fault(tmp_path: Path, account: str) -> None:
    [fault] = faults(tmp_path, CENTRE.replace("12ab", account))
    assert "account" in fault


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, "[web]\nport = 0\nprot = 1\n[ingest]\nbatch_max = 0\n")) == 3


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("LAPEL_BROKER__PRT", "1", "environment LAPEL_BROKER__PRT: [broker] prt is not a setting; did you mean port?"),
        ("LAPEL_BROKR__PORT", "1", "environment LAPEL_BROKR__PORT: there is no section brokr; did you mean broker?"),
        ("LAPEL_WEB__PORT", "x", "environment LAPEL_WEB__PORT: [web] port: must be a valid integer"),
        ("LAPEL_GATEWAY__ROLES", "web", "environment: "),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    [fault] = faults(tmp_path, "")
    assert fault.startswith(message)
    assert variable in fault


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_TOKEN", "secret")
    monkeypatch.setenv("LAPEL_RINGS", "all")
    load_config(written(tmp_path, ""))


def test_broken_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, "[web]\nport = \n")
    assert "not valid TOML" in fault
    assert "line 2" in fault


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lapel.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        load_config(path)


def test_an_enormous_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lapel.toml"
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="is this the right file"):
        load_config(path)


def test_the_file_is_looked_for_where_it_is_named_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="lapel gateway init"):
        find_config()
    here = written(tmp_path, "")
    assert find_config().resolve() == here
    named = tmp_path / "other.toml"
    with pytest.raises(ConfigError, match="no such file"):
        find_config(named)
    named.write_text("")
    monkeypatch.setenv("LAPEL_CONFIG", str(named))
    assert find_config() == named
    assert find_config(here) == here
