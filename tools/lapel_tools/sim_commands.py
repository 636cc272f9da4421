"""``lapel sim``: scenarios with simulated devices that run the real firmware, and seeded fault schedules."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from lapel_sim.device import DeviceFailed
from lapel_sim.journal import Entry
from lapel_sim.launcher import MicroPythonMissing
from lapel_sim.scenario import Expectation, ScenarioError, devices_of, load, run_scenario, scenario_names
from lapel_sim.world import Timeout
from lapel_tools.budget.measure_command import measure_budget
from lapel_tools.console import FAILED, CommandError, ConfigOption, JsonOption, now_ms, print_json, print_table
from lapel_tools.faults.coverage import Coverage
from lapel_tools.faults.defects import DEFECTS, MOST_SEEDS
from lapel_tools.faults.schedule import Result
from lapel_tools.killing.herd import keep
from lapel_tools.killing.order import Order
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site
from lapel_tools.soak import hunts, run_part
from lapel_tools.soak import soak as run_soak

app = typer.Typer(help="Simulated devices that run the real firmware.", no_args_is_help=True)
app.command("budget")(measure_budget)

PROGRESS_SEEDS = 100

_HIDDEN = ("at_ms", "unix_ms", "kind", "device", "ticks_ms")


@app.command("list")
def list_scenarios(as_json: JsonOption = False) -> None:
    """Show the scenarios that come with the simulator."""
    found = scenario_names()
    if as_json:
        print_json([{"name": name, "description": text} for name, text in found])
    else:
        print_table(("scenario", "what happens"), found, "no scenarios")


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="Name from `lapel sim list`, or a Python file.")],
    out: Annotated[Path | None, typer.Option(help="Folder for journal and images; otherwise new.")] = None,
    with_gateway: Annotated[
        bool, typer.Option("--with-gateway", help="Provision the devices at the gateway of --config, which must run.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything random in the world.")] = 1,
    cost_scale: Annotated[float, typer.Option(min=0, help="1: as slow as the board; 0: as fast as this host.")] = 0.0,
    footage: Annotated[Path | None, typer.Option(help="A video that the cameras see.", exists=True)] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a scenario and tell what happens. Status 1 if it does not end as it should."""
    try:
        packages = _packages(scenario, Site(config), out) if with_gateway else None
        outcome = run_scenario(
            scenario,
            root=out,
            packages=packages,
            seed=seed,
            cost_scale=cost_scale,
            footage=footage,
            narrate=None if as_json else _narrate,
        )
    except (ScenarioError, MicroPythonMissing) as error:
        raise CommandError(str(error)) from None
    except (Expectation, Timeout, DeviceFailed) as error:
        raise CommandError(f"{scenario}: {error}", FAILED) from None
    except Exception as error:
        # A scenario is anybody's program; its mistakes are not this one's.
        if os.environ.get("LAPEL_DEBUG"):
            raise
        raise CommandError(f"{scenario}: {type(error).__name__}: {error}", FAILED) from None
    if as_json:
        print_json(
            {
                "scenario": outcome.name,
                "folder": str(outcome.root),
                "devices": list(outcome.devices),
                "seconds": outcome.seconds,
            }
        )
    else:
        typer.echo(f"{scenario} ended as it should after {outcome.seconds:.1f} s; journal and consoles: {outcome.root}")


@app.command()
def kill(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long things go wrong.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of what is killed, when, and of everything that the wearers do.")] = 1,
    devices: Annotated[int, typer.Option(min=1, max=64, help="Simulated devices, of mixed kinds.")] = 6,
    gap: Annotated[
        tuple[float, float], typer.Option(help="Shortest and longest pause between two faults, in seconds.")
    ] = (0.4, 3.2),
    out: Annotated[Path | None, typer.Option(help="New folder for everything; otherwise one that goes.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """SIGKILL real processes at random: gateway, Mosquitto, devices. Status 1 if a clip or an alarm is not right."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CommandError(f"{out} is there already: name a new folder")
    if importlib.util.find_spec("littlefs") is None:
        raise CommandError("reading devices' media needs littlefs-python: pip install 'lapel[test]'")
    order = Order(os.getpid(), minutes, seed, devices, gap, str(out or ""), str(json_file or ""))
    raise typer.Exit(keep([sys.executable, "-m", "lapel_tools.killing", order.encode()]))


@app.command()
def soak(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1000,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; otherwise one a core.")] = None,
    only: Annotated[
        str, typer.Option(help="Steps of the first seed alone: `3,5,8`, or `3,5,8@2` for two devices.")
    ] = "",
    defect: Annotated[str, typer.Option(help="Put this defect in: the seeds should fail.")] = "",
    defects: Annotated[
        bool, typer.Option("--defects", help="Show that each defect is caught, within --seeds at most.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run seeded fault schedules on the real cores of device and gateway. Status 1 if an invariant is broken.

    A failing seed is shown with as few steps and devices as it needs, and what to type to run just that again.
    """
    if defect and defect not in DEFECTS:
        raise CommandError(f"there is no defect {defect!r}; there are {', '.join(DEFECTS)}")
    if defects:
        _soak_defects(first, min(seeds, MOST_SEEDS), jobs, as_json)
        return
    failing: list[Result] = []
    totals = dict.fromkeys(("devices", "clips", "alarms", "rests", "cuts", "kills", "virtual_ms"), 0)
    coverage = Coverage()
    started = time.monotonic()
    for number, result in enumerate(_results(first, seeds, jobs, only, defect), 1):
        coverage.add(result)
        for name in totals:
            totals[name] += getattr(result, name)
        if result.broken:
            failing.append(result)
            typer.echo(f"seed {result.seed}: {result.broken}", err=True)
        if number % PROGRESS_SEEDS == 0 and not as_json:
            typer.echo(f"{number} of {seeds} seeds, {number / (time.monotonic() - started):.1f} a second", err=True)
    if as_json:
        shown = {"planned": coverage.fired, "effects": coverage.effects}
        print_json({"first": first, "seeds": seeds, **totals, **shown, "failing": [vars(result) for result in failing]})
    else:
        print_table(("fault", "planned", "had an effect"), coverage.rows(), "nothing happened")
        for result in failing:
            typer.echo(f"seed {result.seed}: {result.broken}; it needs only: {'; '.join(result.schedule)}")
            if result.numbers:
                numbers = ",".join(map(str, result.numbers))
                typer.echo(f"  lapel sim soak --first {result.seed} --seeds 1 --only {numbers}@{result.devices}")
        facts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in totals.items())
        took = f"{time.monotonic() - started:.0f} s"
        typer.echo(f"{seeds} seeds from {first} in {took}: {len(failing)} failing; {facts}")
    if failing:
        raise typer.Exit(FAILED)


def _results(first: int, seeds: int, jobs: int | None, only: str, defect: str) -> Iterable[Result]:
    if only:
        numbers, _, devices = only.partition("@")
        try:
            return [run_part(first, [int(number) for number in numbers.split(",")], int(devices or "4"))]
        except ValueError:
            raise CommandError(f"--only {only}: numbers of steps are wanted, as in 3,5,8 or 3,5,8@2") from None
    if defect:
        return run_soak(first, seeds, jobs, defect)
    return run_soak(first, seeds, jobs)


def _soak_defects(first: int, most: int, jobs: int | None, as_json: bool) -> None:
    catches = []
    for catch in hunts(list(DEFECTS), first, most, jobs):
        catches.append(catch)
        if not as_json:
            how = f"caught after {catch.seeds} seeds, by seed {catch.seed}: {catch.broken}"
            typer.echo(f"{catch.defect:26} {how if catch.broken else f'not caught in {catch.seeds} seeds'}")
    missed = [catch.defect for catch in catches if not catch.broken]
    if as_json:
        print_json([{"what": DEFECTS[catch.defect].what, **vars(catch)} for catch in catches])
    else:
        typer.echo(f"{len(catches) - len(missed)} of {len(catches)} defects caught within {most} seeds from {first}")
    if missed:
        raise typer.Exit(FAILED)


def _packages(scenario: str, site: Site, out: Path | None) -> dict[str, Path]:
    """A package for each device of the scenario, provisioned at the gateway."""
    if out is None:
        raise CommandError("--with-gateway needs --out: the devices' packages hold secrets and stay there")
    packages = {}
    for name in devices_of(load(scenario)):
        at = now_ms()
        packages[name] = out / "packages" / name
        provision_device(site, f"{name}-{at}", "", packages[name], at)
    return packages


def _narrate(entry: Entry) -> None:
    facts = " ".join(f"{name}={_short(value)}" for name, value in entry.items() if name not in _HIDDEN)
    typer.echo(f"{entry['at_ms'] / 1000:10.3f}  {entry.get('device', ''):12} {entry['kind']:16} {facts}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
