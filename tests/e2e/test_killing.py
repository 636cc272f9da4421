"""Real processes under SIGKILL for some seconds, and the judge that must not call a damaged result good."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from littlefs import LittleFS, UserContext

from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger import schema as tables
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_sim.disk import BlockDisk
from lapel_tools.killing.judge import FAILED, judge
from lapel_tools.killing.witness import CLIP_SUFFIX, SPOOL, Witness
from tests.waiting import wait_until

LAPEL = [sys.executable, "-m", "lapel_tools"]
TIMEOUT_S = 300.0
BLOCKS, BLOCK_BYTES = 64, 4096


def processes_about(text: str) -> list[int]:
    """Processes that have `text` on their command line, this one aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found


# -- a run, played once by one worker --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The folder that a short run left, its figures, and its table."""
    folder = tmp_path_factory.mktemp("killing")
    out, figures = folder / "out", folder / "figures.json"
    done = subprocess.run(
        [
            *(*LAPEL, "sim", "kill", "--minutes", "0.2", "--devices", "2", "--seed", "3", "--gap", "0.4", "1.6"),
            *("--out", str(out), "--json", str(figures)),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    assert not processes_about(str(out))
    return out, json.loads(figures.read_text()), done.stdout


run_once = pytest.mark.xdist_group("killing")


@run_once
@pytest.mark.needs("mosquitto")
def test_after_a_dozen_kills_no_clip_is_lost_or_altered(killed: tuple[Path, dict[str, Any], str]) -> None:
    _, figures, said = killed
    assert sum(figures["kills"].values()) >= 12
    assert figures["clips"] >= 3
    assert figures["frames"] > 0
    assert figures["mp4s"] >= 3
    assert (figures["lost"], figures["altered"], figures["faults"]) == ([], [], [])
    assert figures["ended_by_themselves"] == []
    assert "SHA-256 against the device's own medium" in said


@run_once
@pytest.mark.needs("mosquitto")
def test_what_is_damaged_on_purpose_is_reported_by_the_same_judge(
    killed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(killed[0], folder)
    assert judge(folder).good
    altered, gone, *_ = sorted((folder / "gateway" / "data" / "vault").rglob("*.lapel"))
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    gone.unlink()
    damaged = {f"{path.parent.name}-{int(path.stem, 16)}" for path in (altered, gone)}
    mp4 = next(path for path in (folder / "forwarded").rglob("*.mp4") if path.stem not in damaged)
    mp4.write_bytes(mp4.read_bytes()[:-1])
    found = judge(folder)
    assert len(found.altered) == 1
    assert str(int(altered.stem, 16)) in found.altered[0]
    assert len(found.lost) == 1
    assert [fault for fault in found.faults if mp4.name in fault]
    kept = folder / FAILED / f"{altered.parent.name}-{altered.stem}"
    assert (kept / "vault.lapel").read_bytes() == bytes(content)
    assert (kept / "device.lapel").read_bytes() != bytes(content)


@run_once
@pytest.mark.needs("mosquitto")
def test_an_alarm_that_is_not_in_the_ledger_any_more_is_reported(
    killed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    folder = tmp_path / "forgetful"
    shutil.copytree(killed[0], folder)
    name = next(iter(json.loads((folder / "run.json").read_text())["devices"]))
    facts = folder / "witness" / name / "facts.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "alarms": [[999, 1]]}))
    engine = open_ledger(folder / "gateway" / "data" / "ledger.sqlite")
    with writing(engine) as connection:
        connection.execute(sa.delete(tables.epoch).where(tables.epoch.c.epoch == 0))
    engine.dispose()
    faults = judge(folder).faults
    assert f"{name}: alarm 999/1 is lost" in faults
    assert [fault for fault in faults if "not accounted for" in fault]


# -- nothing is left behind ------------------------------------------------------------------------------------------

_KEEPER = """
import sys
from lapel_tools.killing.herd import keep
sys.exit(keep([sys.executable, "-c", sys.argv[1], sys.argv[2]]))
"""
_BROOD = """
import subprocess, sys, time
orphan = "import subprocess, sys; subprocess.Popen(['sleep', sys.argv[1]], start_new_session=True)"
subprocess.run([sys.executable, "-c", orphan, sys.argv[1]], start_new_session=True)
print("ready", flush=True)
%s
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_keeper_that_is_ended_leaves_no_process_behind(number: signal.Signals) -> None:
    length = f"86400.{os.getpid()}{number:d}"
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER, _BROOD % "time.sleep(600)", length], stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    with keeper.stdout as said:
        assert said.readline() == "ready\n"
    assert len(processes_about(length)) == 3  # keeper, work, and the orphan that it adopted
    keeper.send_signal(number)
    assert keeper.wait(30) == 128 + number
    assert processes_about(length) == []


def test_a_keeper_ends_what_its_work_left_and_has_its_status() -> None:
    length = f"86401.{os.getpid()}"
    done = subprocess.run([sys.executable, "-c", _KEEPER, _BROOD % "sys.exit(3)", length], stdout=subprocess.DEVNULL)
    assert done.returncode == 3
    assert processes_about(length) == []


def test_work_ends_when_its_keeper_is_killed() -> None:
    script = "import os, sys, time\nfrom lapel_tools.killing.herd import end_with\nend_with(int(sys.argv[2]))\n"
    script += "print('ready', flush=True)\ntime.sleep(600)"
    parent = "import subprocess, os, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:], str(os.getpid())])"
    mark = f"mark-{os.getpid()}"
    keeper = subprocess.Popen([sys.executable, "-c", parent, script, mark], stdout=subprocess.PIPE, text=True)
    assert keeper.stdout is not None
    with keeper.stdout as said:
        assert said.readline() == "ready\n"
        keeper.kill()
        keeper.wait()
    wait_until(lambda: processes_about(mark) == [], 10.0)


# -- the witness -----------------------------------------------------------------------------------------------------


class Writable(UserContext):
    """A simulated medium that a test writes files to."""

    def __init__(self, disk: BlockDisk) -> None:
        self._disk = disk

    def read(self, cfg: Any, block: int, off: int, size: int) -> bytearray:
        return bytearray(self._disk.read(block, off, size))

    def prog(self, cfg: Any, block: int, off: int, data: bytes) -> int:
        self._disk.write(block, off, bytes(data))
        return 0

    def erase(self, cfg: Any, block: int) -> int:
        self._disk.erase(block)
        return 0

    def sync(self, cfg: Any) -> int:
        self._disk.sync()
        return 0


class Device:
    """A card with a spool, watched by a witness."""

    def __init__(self, folder: Path) -> None:
        self.disk = BlockDisk(folder / "disk.img", BLOCKS, BLOCK_BYTES, write_cache=True)
        self.files = LittleFS(Writable(self.disk), block_size=BLOCK_BYTES, block_count=BLOCKS, mount=False)
        self.files.format()
        self.files.mount()
        self.asked: list[tuple[int, bytes]] = []
        self.witness = Witness(self.disk, folder / "witness", self._ask)
        self.files.mkdir(SPOOL)

    def _ask(self, clip: int, content: bytes) -> str:
        self.asked.append((clip, content))
        return "too early"

    def write(self, clip: int, content: bytes, mode: str = "wb") -> None:
        with self.files.open(f"{SPOOL}/{clip:08x}{CLIP_SUFFIX}", mode) as file:
            file.write(content)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_the_witness_has_what_was_durable_before_it_was_deleted(device: Device) -> None:
    content = os.urandom(CLIP_HEADER_BYTES + 9000)
    device.write(5, content[:5000])
    device.write(5, content[5000:], "ab")
    assert device.witness.path(5).read_bytes() == content
    assert device.witness.waiting() == [5]
    device.files.remove(f"{SPOOL}/00000005{CLIP_SUFFIX}")
    assert device.asked == [(5, content)]
    assert device.witness.faults == ["clip 5 was deleted on the device: too early"]
    assert device.witness.waiting() == []


def test_a_bare_header_that_is_taken_back_is_left_to_the_judge(device: Device) -> None:
    device.write(5, os.urandom(CLIP_HEADER_BYTES))
    device.files.remove(f"{SPOOL}/00000005{CLIP_SUFFIX}")
    assert device.asked == []
    assert (device.witness.faults, device.witness.gone) == ([], {5})


@run_once
@pytest.mark.needs("mosquitto")
def test_a_bare_header_is_a_refused_start_only_where_its_device_says_so(
    killed: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    folder = tmp_path / "refused"
    shutil.copytree(killed[0], folder)
    name, device = next(iter(json.loads((folder / "run.json").read_text())["devices"].items()))
    facts_file = folder / "witness" / name / "facts.json"
    facts = json.loads(facts_file.read_text())
    header = next((folder / "witness" / name).glob(f"*{CLIP_SUFFIX}")).read_bytes()[:CLIP_HEADER_BYTES]
    with contextlib.closing(sqlite3.connect(folder / "gateway" / "data" / "ledger.sqlite")) as ledger, ledger:
        taken = "SELECT count(*) FROM clip WHERE device = ? AND clip = ?"
        epochs = ledger.execute("SELECT epoch FROM epoch WHERE device = ? ORDER BY epoch", (device,)).fetchall()
        epoch = next(number for (number,) in epochs if not ledger.execute(taken, (device, number)).fetchone()[0])
        ledger.execute("UPDATE epoch SET used_for = 'burned' WHERE device = ? AND epoch = ?", (device, epoch))
    copy = bytearray(header)
    copy[12:16] = epoch.to_bytes(4, "big")
    (folder / "witness" / name / f"{epoch:08x}{CLIP_SUFFIX}").write_bytes(copy)
    assert [str(epoch) in fault for fault in judge(folder).lost] == [True]
    facts_file.write_text(json.dumps({**facts, "gone": [*facts["gone"], epoch]}))
    found = judge(folder)
    assert (found.refused, found.lost) == (1, [])


def test_the_witness_names_durable_bytes_that_are_gone_or_others(device: Device) -> None:
    device.write(5, bytes(3000))
    device.write(6, bytes(3000))
    device.write(5, bytes(100))
    device.write(6, b"\1" * 3000)
    device.witness.finish()
    assert "clip 5 was 3000 bytes long, durably, and is 100 now" in device.witness.faults
    assert "clip 6: what was durable on the medium has changed" in device.witness.faults


def test_the_witness_does_not_count_what_a_power_cut_may_take(device: Device) -> None:
    file = device.files.open(f"{SPOOL}/00000005{CLIP_SUFFIX}", "wb")
    file.write(bytes(20_000))
    assert not device.witness.path(5).exists()
    file.close()
    assert device.witness.path(5).stat().st_size == 20_000
