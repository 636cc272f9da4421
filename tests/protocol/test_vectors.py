"""The vectors of protocol/vectors, on both Pythons, and the honesty of the script that makes them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lapel_protocol import command, errors, event
from tests.protocol import on_micropython, vector_runner

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "protocol" / "vectors"
FILES = sorted(path.stem for path in VECTORS.glob("*.json"))


@cache
def content(name: str) -> dict[str, Any]:
    return vector_runner.load(str(VECTORS / f"{name}.json"))


def test_there_are_vectors_for_every_chapter() -> None:
    assert set(FILES) == {"clip", "command", "event", "keys", "payload", "release", "stream", "topic", "wrap"}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, number, id=f"{name}: {case['name']}")
        for name in FILES
        for number, case in enumerate(content(name)["cases"])
    ],
)
def test_vector_comes_out_as_it_says(name: str, number: int) -> None:
    case = content(name)["cases"][number]
    assert vector_runner.outcome_of(case, content(name)) == case["expect"]


@pytest.mark.needs("micropython")
@pytest.mark.parametrize("name", FILES)
def test_vectors_come_out_the_same_on_micropython(name: str) -> None:
    printed = on_micropython.run("vector_runner.py", str(VECTORS / f"{name}.json"))
    assert f"{len(content(name)['cases'])} cases on micropython" in printed


def test_runner_fails_a_case_that_comes_out_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (VECTORS / "topic.json").read_text()
    wrong = tmp_path / "wrong.json"
    wrong.write_text(text.replace('"expect": "oversized"', '"expect": "ok"').replace("lapel/v1/+/+/down", "lapel/v1/#"))
    assert vector_runner.main([str(wrong)]) == 2
    assert "came out oversized, not ok" in capsys.readouterr().out


def test_vectors_are_what_the_independent_script_makes(tmp_path: Path) -> None:
    script = VECTORS / "generate.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True, capture_output=True, timeout=120)
    assert sorted(path.stem for path in tmp_path.iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / f"{name}.json").read_bytes() == (VECTORS / f"{name}.json").read_bytes(), name


def test_the_script_never_imports_what_it_judges() -> None:
    imported: set[str] = set()
    for path in VECTORS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    assert "cryptography" in imported
    assert "tink" in imported
    assert not imported & {"lapel_protocol", "lapel_device", "lapel_gateway", "lapel_sim", "lapel_tools", "importlib"}


def test_every_kind_and_payload_is_accepted_somewhere_and_refused_somewhere() -> None:
    outcomes = Counter((case["type"], case["expect"]) for case in content("payload")["cases"])
    for name in vector_runner.DECODERS:
        assert outcomes[name, "ok"], name
        assert outcomes[name, "malformed"] >= 3, name
    sealed = {case["kind"] for case in content("event")["cases"] if case["op"] == "event"}
    assert sealed == set(range(event.HELLO, event.ALARM_SENDING + 1))
    ordered = {case["kind"] for case in content("command")["cases"] if case["op"] == "command"}
    assert ordered == set(range(command.WELCOME, command.UPDATE_BLOCK + 1))


def test_every_way_to_refuse_a_record_is_in_the_vectors() -> None:
    shown = {case["expect"] for name in FILES for case in content(name)["cases"]}
    gate = [case for case in content("command")["cases"] if case["op"] == "gate"]
    shown |= {step["expect"] for case in gate for step in case["steps"] if "expect" in step}
    refusals = {errors.Malformed, errors.Oversized, errors.UnsupportedVersion, errors.BadMac, errors.WrongDevice}
    refusals |= {errors.Replayed, errors.Unopenable}
    assert {error.reason for error in refusals} <= shown


def test_vector_files_stay_small() -> None:
    assert max(path.stat().st_size for path in VECTORS.glob("*.json")) < 400_000
