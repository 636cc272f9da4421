"""The ring plugin leaves out what a machine cannot run, says so, and refuses to under LAPEL_RINGS."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import rings

PLUGIN = Path(__file__).parents[1] / "rings.py"
TESTS = """
import pytest

@pytest.mark.needs("mosquitto")
def test_with_a_broker():
    pass

def test_without():
    pass
"""


@pytest.fixture
def tree(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A small tree of rings that has its own copy of the plugin, on a machine without Mosquitto."""
    monkeypatch.delenv("LAPEL_RINGS", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("LAPEL_MOSQUITTO", "/nowhere/mosquitto")
    pytester.makeini("[pytest]\nmarkers =\n  needs(*programs): x\n  ring(name): x\n")
    tests = pytester.mkpydir("tests")
    (tests / "rings.py").write_text(PLUGIN.read_text())
    (tests / "conftest.py").write_text('pytest_plugins = ["tests.rings"]\n')
    (tests / "gateway").mkdir()
    (tests / "gateway" / "test_it.py").write_text(TESTS)
    return pytester


def have_program(tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tree.path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("LAPEL_MOSQUITTO", str(program))


def run(tree: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # Without the plugins that happen to be installed an inner run starts three times as fast.
    return tree.runpytest_subprocess("-p", "xdist", "tests", *arguments)


def test_a_test_whose_program_is_missing_is_left_out_and_the_summary_says_how_to_get_it(tree: pytest.Pytester) -> None:
    result = run(tree)
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*rings left out*", "gateway: 1 tests need mosquitto (make system-deps)"])


def test_left_out_rings_are_reported_from_parallel_workers_too(tree: pytest.Pytester) -> None:
    result = run(tree, "-n", "2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["gateway: 1 tests need mosquitto (make system-deps)"])


def test_nothing_is_left_out_where_the_program_is_present(
    tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_program(tree, monkeypatch)
    result = run(tree)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*rings left out*")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_missing_program_fails_the_run_when_all_rings_are_asked_for(
    tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LAPEL_RINGS", "all")
    result = run(tree, *workers)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*mosquitto not found (make system-deps)*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize(
    "body",
    [
        "import pytest\ndef test_x():\n    pytest.skip('tired')\n",
        "import pytest\npytest.skip('tired', allow_module_level=True)\n",
        "import pytest\n@pytest.mark.xfail(reason='tired')\ndef test_x():\n    assert False\n",
    ],
    ids=["skip", "module skip", "xfail"],
)
def test_any_skip_or_xfail_fails_the_run_when_all_rings_are_asked_for(
    tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, body: str, workers: tuple[str, ...]
) -> None:
    have_program(tree, monkeypatch)
    (tree.path / "tests" / "gateway" / "test_tired.py").write_text(body)
    assert run(tree, *workers).ret == 0
    monkeypatch.setenv("LAPEL_RINGS", "all")
    result = run(tree, *workers)
    assert result.ret == 1
    assert re.search(r"^tests/gateway/test_tired\.py.*tired", result.stdout.str(), re.MULTILINE)


def test_named_rings_run_alone_and_the_others_are_named(tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.path / "tests" / "tools").mkdir()
    (tree.path / "tests" / "tools" / "test_other.py").write_text("def test_other():\n    pass\n")
    monkeypatch.setenv("LAPEL_RINGS", "tools, seeded")
    result = run(tree)
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(
        ["protocol, firmware, gateway, redteam, fuzz, scenarios, browser, e2e: LAPEL_RINGS does not ask for them"]
    )


def test_an_unknown_ring_is_refused_by_name(tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_RINGS", "gatway")
    result = run(tree)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no such ring: gatway*"])


def test_a_test_outside_every_ring_is_refused(tree: pytest.Pytester) -> None:
    (tree.path / "tests" / "test_stray.py").write_text("def test_stray():\n    pass\n")
    result = run(tree)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_stray.py is not a ring*"])


def test_a_marker_moves_a_test_to_another_ring(tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.path / "tests" / "gateway" / "test_moved.py").write_text(
        "import pytest\n@pytest.mark.ring('seeded')\ndef test_moved():\n    pass\n"
    )
    monkeypatch.setenv("LAPEL_RINGS", "seeded")
    run(tree).assert_outcomes(passed=1, deselected=2)


def test_daemons_are_found_outside_the_path_of_an_ordinary_user(
    tree: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tree.path / "sbin" / "mosquitto"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.delenv("LAPEL_MOSQUITTO")
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(rings, "_DAEMON_FOLDERS", (str(program.parent),))
    monkeypatch.setattr(os, "get_exec_path", list)
    assert rings.find_program("mosquitto") == str(program)
