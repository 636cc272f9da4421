"""Runs scenarios: short Python functions that press buttons, cut links and power, and wait for what must follow.

A scenario is a module with a function `scenario(world)`. It may say `DEVICES = {name: board}` (default: one `pico_w`
called "camera-1") and `NEEDS_GATEWAY = True` when it waits for answers that only a gateway gives.
"""

import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from . import scenarios
from .journal import Entry
from .package import offline_package
from .provision import provision
from .world import World

_DEFAULT_DEVICES = {"camera-1": "pico_w"}


class ScenarioError(Exception):
    """There is no such scenario, or it cannot run as asked; the message says why."""


class Expectation(AssertionError):
    """What a scenario expects is not so."""


@dataclass(frozen=True)
class Outcome:
    """Where a run left its journal, images and consoles."""

    name: str
    root: Path
    devices: tuple[str, ...]
    seconds: float


def expect(condition: object, what: str) -> None:
    """Raise Expectation unless `condition` holds; `what` says what was expected."""
    if not condition:
        raise Expectation(f"expected: {what}")


def scenario_names() -> list[tuple[str, str]]:
    """Every scenario that the simulator brings: (name, first line of its description)."""
    found = []
    for module in pkgutil.iter_modules(scenarios.__path__):
        text = (load(module.name).__doc__ or "").strip().splitlines()
        found.append((module.name, text[0] if text else ""))
    return found


def load(name_or_path: str) -> ModuleType:
    """A scenario's module: a name from scenario_names(), or the path of a .py file. Raises ScenarioError."""
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        spec = importlib.util.spec_from_file_location(f"lapel_scenario_{path.stem}", path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ScenarioError(f"{name_or_path} is not a file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        known = [module.name for module in pkgutil.iter_modules(scenarios.__path__)]
        if name_or_path not in known:
            raise ScenarioError(
                f"no scenario is called {name_or_path!r}; there are: {', '.join(known)}, or give a file"
            )
        module = importlib.import_module(f"{scenarios.__name__}.{name_or_path}")
    if not callable(getattr(module, "scenario", None)):
        raise ScenarioError(f"{name_or_path} has no function scenario(world)")
    return module


def devices_of(module: ModuleType) -> dict[str, str]:
    """The devices that a scenario wants: board by name."""
    return dict(getattr(module, "DEVICES", _DEFAULT_DEVICES))


def run_scenario(
    name_or_path: str,
    *,
    root: Path | None = None,
    packages: Mapping[str, Path] | None = None,
    broker: tuple[str, int] | None = None,
    seed: int = 1,
    cost_scale: float = 0.0,
    footage: Path | None = None,
    narrate: Callable[[Entry], None] | None = None,
) -> Outcome:
    """Run one scenario in a world of its own and return when it has ended as it should.

    `packages`: a device package for each of the scenario's devices, as a gateway's provisioning made them; without it
    the devices belong to an organisation of their own and have no gateway. `broker`: where their connections lead, if
    not to the address in their packages. `narrate` is called with every journal entry as it is written.
    Raises ScenarioError, Expectation, world.Timeout, device.DeviceFailed.
    """
    module = load(name_or_path)
    wanted = devices_of(module)
    if getattr(module, "NEEDS_GATEWAY", False) and packages is None:
        raise ScenarioError(f"{name_or_path} waits for a gateway's answers: run it with one")
    missing = [name for name in wanted if packages is not None and name not in packages]
    if missing:
        raise ScenarioError(f"no package for {', '.join(missing)}")
    with World(root, seed=seed, broker=broker, cost_scale=cost_scale, footage=footage) as world:
        world.journal.watch(narrate)
        started = len(world.journal)
        for name, board in wanted.items():
            device = world.add_device(name, board)
            folder = packages[name] if packages is not None else offline_package(world.root / "packages" / name).folder
            provision(device, folder)
        module.scenario(world)
        entries = world.journal.entries(since=started)
        seconds = (entries[-1]["at_ms"] - entries[0]["at_ms"]) / 1000 if entries else 0.0
        return Outcome(module.__name__, world.root, tuple(wanted), seconds)
