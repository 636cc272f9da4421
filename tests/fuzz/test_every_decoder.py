"""Every function that reads bytes from outside is called by the seeds of some target.

Not a list to be kept by hand: the packages are searched for functions called like readers, and what the seeds really
call is recorded. A reader that no seed calls fails the test until it has a target, or a reason here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest

from tests.fuzz import harness

PACKAGES = ("lapel_protocol", "lapel_device", "lapel_gateway", "lapel_tools")
ALSO = ("lapel_sim.package",)
READER = re.compile(
    r"(decode|open|peek|parse|split|read|load|verify|unseal|unwrap|check_segment|survey|take_event)(_|$)"
)

pytestmark = pytest.mark.xdist_group("every_decoder")  # so that the seeds are run once

EXEMPT = {
    r"lapel_gateway\.ledger\.opening\.open_ledger": "opens the gateway's own database by its name",
    r"lapel_gateway\.accounts\.audit\.read_lines": "reads the gateway's own ledger",
    r"lapel_gateway\.accounts\.permissions\.parse_scopes": "words of the gateway's own ledger",
    r"lapel_gateway\.accounts\.passwords\.verify_password": "the library's check of a hash of the gateway's own ledger",
    r"lapel_gateway\.accounts\.seal\.Seal\.(load|open)": "the gateway's own key, and what was sealed with it (AES-GCM)",
    r"lapel_gateway\.accounts\.setup_links\.read_link": "looks up the hash of a code, and reads nothing in it",
    r"lapel_gateway\.channels\.secret_file\.read_token": "by read_lines, which has a target",
    r"lapel_gateway\.overview\..*": "reads the gateway's own ledger, folders and processes",
    r"lapel_gateway\.progress\.read_progress": "reads the gateway's own ledger",
    r"lapel_gateway\.reports\.(facts|response|trial)\.read_.*": "reads the gateway's own ledger",
    r"lapel_gateway\.reports\.period\.parse_moment": "one half of parse_period, which has a target",
    r"lapel_gateway\.status\.words\.read_words": "reads the gateway's own ledger",
    r"lapel_gateway\.visits\.counts\.read_counts": "reads the gateway's own ledger",
    r"lapel_tools\.budget\.(?!day\.).*": "figures that the repository brings",
    r"lapel_gateway\.channels\.health\.read_health": "reads the gateway's own ledger",
    r"lapel_gateway\.devices\.(health\.read_health|states\.read_device)": "reads the gateway's own ledger",
    r"lapel_gateway\.devices\.cutting\.read_cut_off": "reads the gateway's own ledger",
    r"lapel_tools\.technician\.(condition|contents|link|ports|self_test_way|survey)\..*": (
        "asks a board over its cable: tests/tools/technician breaks that at every byte, and has boards answer nonsense"
    ),
    r"lapel_tools\.technician\.provision_commands\.parse_setting": "a word of the command line, KEY=NUMBER",
    r"lapel_tools\.verify_command\.verify": "the command around verify_export, which has a target",
    r"lapel_tools\.(killing|demo|faults|load|soak)\..*": "test equipment: reads what it wrote itself",
}
SKIPPED = re.compile(r".*(_micropython|_viper|__main__|\.migrations\..*|\.boards\.(?!contract).*)")
"""Modules that do not run here, and a board's drivers, whose readers are MicroPython's sockets and files."""


def _functions(module_name: str) -> Iterator[tuple[str, CodeType]]:
    """(dotted name, code) of the public functions and methods that a module defines."""
    module = importlib.import_module(module_name)
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module_name:
            yield f"{module_name}.{name}", value.__code__
        elif inspect.isclass(value) and value.__module__ == module_name and not name.startswith("_"):
            for method, held in vars(value).items():
                function = getattr(held, "__func__", held)
                if inspect.isfunction(function) and not getattr(value, "_is_protocol", False):
                    yield f"{module_name}.{name}.{method}", function.__code__


def every_reader() -> dict[str, CodeType]:
    """Every public function and method that is called like a reader."""
    modules = list(ALSO)
    for package in PACKAGES:
        found = importlib.import_module(package)
        inside = [info.name for info in pkgutil.walk_packages(found.__path__, f"{package}.")]
        modules += [package, *(name for name in inside if not SKIPPED.fullmatch(name))]
    return {
        name: code for module in modules for name, code in _functions(module) if READER.match(name.rpartition(".")[2])
    }


def _is_exempt(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in EXEMPT)


def called_by_seeds(folder: Path) -> set[CodeType]:
    """The code that the targets' seeds run."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    for number, target in enumerate(harness.load_all()):
        scratch = folder / str(number)
        scratch.mkdir()
        built = target.build(scratch)
        # A target's seeds are many variants of few forms.
        sys.setprofile(note)
        try:
            for seed in built.seeds[:: max(1, len(built.seeds) // 24)]:
                built.one(seed[: target.max_bytes])
        finally:
            sys.setprofile(None)
            built.close()
    return seen


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> set[CodeType]:
    return called_by_seeds(tmp_path_factory.mktemp("seeds"))


def test_every_reader_of_bytes_has_a_fuzz_target(called: set[CodeType]) -> None:
    wanted = {name: code for name, code in every_reader().items() if not _is_exempt(name)}
    assert len(wanted) > 60
    missing = sorted(name for name, code in wanted.items() if code not in called)
    assert missing == [], "write a target in tests/fuzz/…_targets.py, or say in EXEMPT why not"


def test_every_exemption_exempts_something_that_no_seed_calls(called: set[CodeType]) -> None:
    uncalled = [name for name, code in every_reader().items() if code not in called]
    for pattern in EXEMPT:
        assert any(re.fullmatch(pattern, name) for name in uncalled), f"{pattern} is not needed any more"
