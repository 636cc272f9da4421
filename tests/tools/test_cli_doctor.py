"""lapel gateway doctor and lapel gateway units: an installation that is well, and each way in which it is not."""

from __future__ import annotations

import configparser
import contextlib
import datetime
import os
import shlex
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from lapel_gateway import doctor, systemd
from lapel_gateway.channels.health import HealthBook
from lapel_gateway.doctor import machine
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.schema import outbox, role_progress
from lapel_gateway.service import Gateway
from lapel_gateway.settings.config import Config, load_config
from lapel_gateway.shells import wall_ms
from lapel_gateway.supervise import divide
from tests.tools.command import Lapel

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture
def config(bare: Lapel, organisation_key: Path, free_port: int) -> Config:
    """A gateway that was set up, with its own broker and web ports."""
    made = bare("gateway", "init", "--public-key", organisation_key / "public.pem", "--port", free_port)
    assert made.status == 0, made.err
    return load_config(bare.config)


def web_port(config: Config) -> Config:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return config.model_copy(update={"web": config.web.model_copy(update={"port": port})})


@contextlib.contextmanager
def running(config: Config) -> Iterator[Gateway]:
    main, apart = divide(config.gateway.roles)
    gateway = Gateway(config, [*apart, *main])
    gateway.start()
    try:
        yield gateway
    finally:
        assert gateway.stop()


def told(config: Config, now_ms: int = NOW_MS) -> dict[str, list[str]]:
    """What is wrong, by what it is about."""
    found: dict[str, list[str]] = {}
    for finding in doctor.examine(config, now_ms):
        found.setdefault(finding.setting, []).append(f"{finding.level}: {finding.message}")
    return found


def test_a_gateway_that_does_not_run_is_told_so_with_what_to_do_and_ends_with_status_1(
    bare: Lapel, config: Config
) -> None:
    asked = bare("gateway", "doctor")
    assert asked.status == 1
    assert "error: roles: alarms, ingest, deliver: the gateway does not run" in asked.out
    assert f"nothing answers on 127.0.0.1 port {config.broker.port}" in asked.out
    as_json = bare("gateway", "doctor", "--json")
    assert {"roles", "broker", "web"} <= {finding["setting"] for finding in as_json.json["findings"]}


def test_a_gateway_that_runs_has_nothing_wrong_but_what_it_was_not_given(config: Config) -> None:
    config = web_port(config)
    with running(config):
        assert set(told(config, wall_ms())) - {"service", "clock"} == {"channels", "devices"}
    assert "roles" in told(config)


def test_a_role_that_hangs_is_told_although_its_process_runs(config: Config) -> None:
    config = web_port(config)
    with running(config):
        # A minute later nothing has written that it came round, and the lock is held still.
        found = told(config, wall_ms() + 60_000)
    assert ["did not come round for" in line for line in found["role ingest"]] == [True]


def test_a_role_without_the_broker_is_told(config: Config) -> None:
    engine = open_ledger(config.ledger_file)
    row = {"role": "ingest", "started_ms": NOW_MS, "turned_ms": NOW_MS, "connected": False, "backlog_bytes": 0}
    with writing(engine) as connection:
        connection.execute(sa.insert(role_progress).values(**row))
    engine.dispose()
    words = "error: it has no connection to the broker: look at that, then at its log"
    assert told(config)["role ingest"] == [words]


def test_looking_changes_nothing(config: Config) -> None:
    before = {path: path.stat().st_mtime_ns for path in config.data_dir.rglob("*")}
    doctor.examine(config, NOW_MS)
    assert {path: path.stat().st_mtime_ns for path in config.data_dir.rglob("*")} == before


def test_a_damaged_ledger_a_newer_one_and_a_foreign_one_are_told_apart(config: Config) -> None:
    path = config.ledger_file
    engine = open_ledger(path)
    with writing(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert "was written by a newer Lapel (9999)" in told(config)["ledger"][0]

    with path.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(os.urandom(8000))
    [words] = told(config)["ledger"]
    assert "restore the newest backup" in words

    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE shopping (milk)")
        foreign.commit()
    assert "was not made by Lapel" in told(config)["ledger"][0]


def test_the_master_key_of_another_gateway_is_found_out(bare: Lapel, config: Config) -> None:
    assert bare("device", "provision", "camera 1", "--out", "package").status == 0
    config.master_key_file.unlink()
    KeyStore.create(config.master_key_file)
    [words] = told(config)["keys"]
    assert "master key" in words


def test_a_key_that_others_can_read_is_an_error(config: Config) -> None:
    config.master_key_file.chmod(0o644)
    assert any(f"chmod 600 {config.master_key_file}" in words for words in told(config)["keys"])


@pytest.mark.parametrize(("days", "level"), [(-3, "error"), (5, "warning"), (400, None)])
@pytest.mark.needs("mosquitto")
def test_certificates_that_ended_or_end_soon_are_told(
    bare: Lapel, organisation_key: Path, days: int, level: str | None
) -> None:
    bare("gateway", "init", "--broker", "mosquitto", "--public-key", organisation_key / "public.pem")
    config = load_config(bare.config)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(NOW_MS / 1000, datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway-alarms")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=800))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    path = config.pki_dir / "gateway-alarms.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    found = [words for words in told(config).get("certificates", []) if str(path) in words]
    assert [words.split(":")[0] for words in found] == ([level] if level else [])
    assert all("restart the gateway" in words for words in found)


def test_a_clock_behind_the_ledger_and_one_that_was_never_set_are_told(bare: Lapel, config: Config) -> None:
    assert "was never set" in told(config, machine.EARLIEST_MS - 1)["clock"][0]
    assert bare("device", "provision", "camera 1", "--out", "package").status == 0
    engine = open_ledger(config.ledger_file)
    with writing(engine) as connection:
        connection.execute(sa.update(devices).values(contact_ms=NOW_MS + 3_600_000))
    engine.dispose()
    assert any("60 minutes ahead of this clock" in words for words in told(config)["clock"])


def test_a_channel_that_fails_and_deliveries_that_are_stuck_are_told(bare: Lapel, config: Config) -> None:
    with bare.config.open("a") as file:
        file.write(
            "[[smtp]]\nname = 'duty'\nhost = 'mail.example.org'\nsender = 'a@b.example'\nto = ['desk@example.org']\n"
        )
    config = load_config(bare.config)
    name = "smtp:duty:desk@example.org"
    engine = open_ledger(config.ledger_file)
    book = HealthBook(engine, [name], lambda: NOW_MS)
    with capture_logs():
        book.report(name, "the relay refused the login")
    book.write()
    with writing(engine) as connection:
        for at, channel in enumerate((name, "webhook:gone")):
            values = {"subject": "alarm", "payload": "{}", "state": "waiting", "attempts": 0, "next_at_ms": NOW_MS}
            row = {
                "kind": "alarm",
                "channel": channel,
                "key": str(at),
                "created_ms": NOW_MS - 900_000,
                "last_error": "",
            }
            connection.execute(sa.insert(outbox).values({**row, **values}))
    engine.dispose()
    found = told(config)
    assert "its delivery fails since" in found[f"channel {name}"][0]
    assert "1 deliveries wait longer than 10 minutes" in found[f"channel {name}"][1]
    assert "1 deliveries wait for it and it is not configured" in found["channel webhook:gone"][0]


def test_silent_devices_are_named_and_a_gateway_that_hears_none_is_suspected(bare: Lapel, config: Config) -> None:
    for name in ("camera 1", "camera 2"):
        assert bare("device", "provision", name, "--out", name).status == 0
    assert "all 2 are silent" in told(config)["devices"][0]
    engine = open_ledger(config.ledger_file)
    with writing(engine) as connection:
        connection.execute(sa.update(devices).where(devices.c.name == "camera 1").values(contact_ms=NOW_MS))
    engine.dispose()
    assert told(config)["devices"] == ["warning: camera 2: not heard of for longer than a heartbeat takes"]


def test_a_disk_that_is_nearly_full_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda folder: 1 << 20)
    assert told(config)["disk of data"][0].startswith("error: 1 MiB of ")


def test_another_program_on_the_brokers_port_speaks_no_tls(bare: Lapel, organisation_key: Path, free_port: int) -> None:
    made = bare(
        "gateway", "init", "--broker", "mosquitto", "--public-key", organisation_key / "public.pem", "--port", free_port
    )
    assert made.status == 0
    with socket.create_server(("127.0.0.1", free_port)) as listener:
        listener.settimeout(0.01)
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    listener.accept()[0].close()

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            assert any("speaks no TLS" in words for words in told(load_config(bare.config))["broker"])
        finally:
            ended.set()
            thread.join()


# -- systemd ----------------------------------------------------------------------------------------------------------


def test_the_unit_runs_this_lapel_with_this_configuration_and_may_write_its_data_only(
    bare: Lapel, config: Config
) -> None:
    (bare.folder / "units").mkdir()
    assert bare("gateway", "units", "--out", "units", "--user", "lapel-gw").status == 0
    text = (bare.folder / "units" / "lapel-gateway.service").read_text()
    assert bare("gateway", "units", "--user", "lapel-gw").out == text
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[method-assign,assignment]
    parsed.read_string(text)
    service = parsed["Service"]
    command = shlex.split(service["ExecStart"])
    assert command[1:] == ["gateway", "run", "--json-log", "--config", str(bare.config)]
    assert Path(command[0]).name == "lapel"
    assert (service["User"], service["Type"], service["ReadWritePaths"]) == ("lapel-gw", "notify", str(config.data_dir))


def test_a_path_with_blanks_and_marks_is_one_word_of_the_unit() -> None:
    text = systemd.unit(Path("/opt/my lapel/bin/lapel"), Path("/etc/100%/lapel.toml"), Path("/srv/a $b"), "lapel")
    assert 'ExecStart="/opt/my lapel/bin/lapel" gateway run --json-log --config /etc/100%%/lapel.toml' in text
    assert 'ReadWritePaths="/srv/a $$b"' in text


def test_systemd_is_told_that_the_gateway_is_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert systemd.notify(systemd.READY)
        assert manager.recv(64) == b"READY=1"
    assert not systemd.notify(systemd.ALIVE)
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not systemd.notify(systemd.ALIVE)


def test_the_first_administrators_set_up_link_is_shown_by_init_and_kept_nowhere(bare: Lapel) -> None:
    made = bare("gateway", "init", "--admin", "Ann Archer")
    [link] = [line for line in made.out.splitlines() if line.startswith("http://127.0.0.1:8480/setup/")]
    token = link.rpartition("/")[2]
    assert [(user["name"], user["roles"]) for user in bare("user", "list", "--json").json] == [
        ("Ann Archer", ["operator", "responder", "technician"])
    ]
    assert token not in (bare.folder / "lapel.toml").read_text()
    assert not any(token.encode() in path.read_bytes() for path in (bare.folder / "data").rglob("*") if path.is_file())
