"""Nothing secret is left behind: a device is provisioned and works, and then its real keys are looked for."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from sqlalchemy import select

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import device as devices
from lapel_protocol.keys import chain_start
from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.site import Site
from tests.tools.technician.leaks import ProcessWatch, files_below, leaks, written
from tests.tools.technician.placing import flash, place
from tests.waiting import wait_until, whole_gateway_runs

pytestmark = pytest.mark.needs("micropython", "mosquitto")

LAPEL = Path(sys.executable).with_name("lapel")
TIMEOUT_S = 120.0
PASSWORD = "Zq7!correct-horse-9"
MODEM_PASSWORD = "Vk3?apn-secret-4471"


class Technician:
    """A person with a shell at the gateway: the installed command, and all that it ever printed."""

    def __init__(self, folder: Path, web_port: int) -> None:
        self.folder = folder / "site"
        self.home = folder / "home"
        self.scratch = folder / "scratch"
        for made in (self.folder, self.home, self.scratch):
            made.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "LAPEL_WEB__PORT": str(web_port),
            "LAPEL_DEBUG": "1",
        }
        self.seen: dict[str, bytes] = {}

    def lapel(self, *arguments: str, status: int = 0) -> bytes:
        """Run a command to its end."""
        run = subprocess.run(
            [LAPEL, *arguments], cwd=self.folder, env=self.environment, capture_output=True, timeout=TIMEOUT_S
        )
        self.seen[f"what command {len(self.seen)} printed"] = run.stdout + run.stderr
        assert run.returncode == status, run.stderr.decode()
        return run.stdout

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """`lapel gateway run`, with its whole log."""
        log: IO[bytes]
        path = self.folder.parent / "gateway.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [LAPEL, "gateway", "run"], cwd=self.folder, env=self.environment, stderr=log, stdout=log
            )
            try:
                wait_until(lambda: whole_gateway_runs(path), TIMEOUT_S)
                yield
            finally:
                process.terminate()
                process.wait(TIMEOUT_S)
        self.seen["the gateway's log"] = path.read_bytes()


class Wire:
    """What passed a board's cable, each way."""

    def __init__(self, device: TrayDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        self.to_board, self.from_board = bytearray(), bytearray()
        cable = device.board.cable
        there, back = cable.to_board, cable.from_board

        def to_board(content: bytes) -> tuple[bytes, bytes]:
            self.to_board += content
            return there(content)

        def from_board(content: bytes) -> bytes:
            self.from_board += content
            return back(content)

        monkeypatch.setattr(cable, "to_board", to_board)
        monkeypatch.setattr(cable, "from_board", from_board)

    def keys(self) -> list[tuple[bytes, bytes]]:
        """CK_0 and P_0 of every time that they passed."""
        calls = re.findall(rb"provision_sectors\(_k,(b.*?),(b(['\"]).*?\3)\)\n", bytes(self.to_board), re.DOTALL)
        return [(ast.literal_eval(chain.decode()), ast.literal_eval(pool.decode())) for chain, pool, _ in calls]


def numbers_of(key: object) -> dict[str, bytes]:
    """The secret numbers of a private key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {"TLS key": key.private_numbers().private_value.to_bytes(32, "big")}
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    return {
        f"organisation key's {name}": value.to_bytes(-(-value.bit_length() // 8), "big")
        for name, value in (("d", numbers.d), ("p", numbers.p), ("q", numbers.q))
    }


@pytest.mark.parametrize(
    "secret", [bytes(range(3, 35)), PASSWORD.encode(), os.urandom(32)], ids=["steps", "words", "noise"]
)
def test_every_way_of_writing_a_secret_is_found(secret: bytes) -> None:
    for how, text in written(secret):
        assert leaks({"it": secret}, {"a log": b"x " + text + b" y"}), how
    assert not leaks({"it": secret}, {"a log": b"x" * 400 + os.urandom(4000)})


def test_no_key_and_no_password_is_left_behind(
    tray: Tray, tmp_path: Path, free_ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    technician = Technician(tmp_path, free_ports[1])
    wifi = tmp_path / "wifi.toml"
    wifi.write_text(f'[[network]]\nssid = "Depot"\npassword = "{PASSWORD}"\n')
    wifi.chmod(0o600)
    modem = tmp_path / "modem.toml"
    modem.write_text(f'apn = "iot.example"\npassword = "{MODEM_PASSWORD}"\n')
    modem.chmod(0o600)
    with World(tmp_path / "world") as world, ProcessWatch() as processes:
        device = place(tray, world, tmp_path, "camera")
        flash([device])
        wire = Wire(device, monkeypatch)
        technician.lapel("gateway", "init", "--broker", "mosquitto", "--port", str(free_ports[0]))
        port = str(device.board.port)
        bearers = ("--wifi", str(wifi), "--modem", str(modem))
        common = ("--port", port, *bearers)
        with technician.gateway():
            # Broken off in the middle of what is secret, and repeated.
            device.board.cable.break_at(9000, towards_board=True, takes_power=True)
            technician.lapel("device", "provision", "camera 1", *common, status=1)
            device.board.plug()
            port = str(device.board.port)
            technician.lapel("device", "provision", "camera 1", "--port", port, *bearers, "--label", "l.pdf")
            site = Site(technician.folder / "lapel.toml")

            device.wait_shown("idle")
            device.press("RECORD")
            device.wait_shown("notice")
            device.press("RECORD")
            device.wait_shown("recording")
            world.wait_until(lambda: len(device.frames()) >= 3, what="frames")
            device.hold("ALARM", 2300)
            device.wait_shown("alarm received", timeout_s=60)
            technician.lapel("device", "list", "--all", "--json")
            technician.lapel("device", "settings", port, "--ask", "--even-busy")
        said = bytes(device.board.said)
        device.board.unplug()
        there = device.board.files()

    with reading(site.engine) as connection:
        rows = [(row.device, row.sealed_key) for row in connection.execute(select(devices))]
    data = technician.folder / "data"
    organisation = load_pem_private_key((data / "keys" / "organisation-private.pem").read_bytes(), None)
    passed = wire.keys()
    secrets = {
        "Wi-Fi password": PASSWORD.encode(),
        "modem password": MODEM_PASSWORD.encode(),
        "master key": bytes.fromhex((data / "keys" / "master.key").read_text()),
        **numbers_of(organisation),
        **numbers_of(load_der_private_key(there["/tls/key.der"], None)),
        **{f"P_0 of {number}": pool for number, (_, pool) in enumerate(passed)},
    }
    for name, sealed in rows:
        k_dev = site.keystore.open(bytes.fromhex(name), sealed)
        secrets |= {f"K_dev of {name}": k_dev, f"CK_0 of {name}": chain_start(k_dev, bytes.fromhex(name))}
    site.engine.dispose()

    # They are the real ones, and are found where they have to be.
    assert {chain for chain, _ in passed} <= set(secrets.values())
    assert passed
    assert leaks({"it": secrets["Wi-Fi password"]}, {"the technician's file": wifi.read_bytes()})
    assert leaks({"it": secrets["modem password"]}, {"the board's flash": there["/modem.json"]})
    assert leaks({"it": secrets["TLS key"]}, {"the board's flash": there["/tls/key.der"]})
    for _, pool in passed:
        assert bytes(wire.to_board).count(repr(pool).encode()) == 1, "each passes the cable once"

    places = {
        **technician.seen,
        "command lines": b"\n".join(processes.command_lines),
        "environments": b"\n".join(processes.environments),
        "what the board printed": said,
        "what came back over the cable": bytes(wire.from_board),
        **files_below(technician.folder, (data / "keys",)),
        **files_below(technician.home),
        **files_below(technician.scratch),
        **files_below(tmp_path / "world"),
        "the ledger": b"".join(path.read_bytes() for path in sorted(data.glob("ledger.sqlite*"))),
    }
    assert b"provision" in places["command lines"]
    assert places["the ledger"]
    assert leaks(secrets, places) == []
    assert not [path for path in technician.home.rglob("*") if "history" in path.name], "no shell wrote a history"
    assert not [path for path in technician.scratch.rglob("*") if path.is_file()], "no temporary file is left"
