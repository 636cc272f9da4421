"""SIGKILL of the gateway's process at each durable step of an escalation, every one of them, none sampled.

Each life is a process of its own over the same ledger: it does what is due until it is killed at the n-th step that it
reaches. What the receivers got stands in a file, as it would with them.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Policy, Reach, Step
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger import open_ledger
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.outbox import RetryPolicy
from tests.support.pair import DevicePair

CHANNELS = ("one", "two", "three")
POLICIES = Policies([Policy("team", (Step(("one",), 30_000), Step(("two", "three"), 60_000)))], 300_000)
RETRY = RetryPolicy(first_ms=1_000, max_ms=60_000, jitter=0)
ENDED_WELL = 0

# What happens, and after how many milliseconds: a failing channel, a step, an answer, its end.
SCHEDULE = ((0, "run"), (1_000, "run"), (29_000, "run"), (60_000, "run"), (1_000, "acknowledge"), (1_000, "resolve"))
LONG_AFTER_MS = 3_600_000


class Received:
    """A channel whose receiver writes down what it takes; "two" declines the first time it is asked."""

    kinds = frozenset({OUTBOX_ALARM})

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._file = folder / f"received-{name}.jsonl"
        self._declined = folder / f"declined-{name}"

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        if self.name == "two" and not self._declined.exists():
            self._declined.touch()
            raise DeliveryError("engaged")
        with self._file.open("a") as file:
            file.write(json.dumps([parcel.key, parcel.payload["what"], parcel.subject, now_ms]) + "\n")


def live(folder: Path, ledger: Path, raised: str, start_ms: int, victim: int) -> None:
    """One life of the process: everything of the schedule that is not done yet; killed at the `victim`-th step."""
    reached = 0

    def hook(_name: str) -> None:
        nonlocal reached
        reached += 1
        if reached == victim:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = open_ledger(ledger)
    channels = [Received(name, folder) for name in CHANNELS]
    escalator = Escalator(engine, POLICIES, Reach(dict.fromkeys(CHANNELS, "")))
    outbox = make_outbox(engine, channels, RETRY, escalator, lambda: 0.0)
    done = folder / "done"
    with steps.hooked(hook):
        outbox.release()
        now_ms = start_ms
        for number, (after_ms, what) in enumerate((*SCHEDULE, (LONG_AFTER_MS, "run"))):
            now_ms += after_ms
            if number < len(done.read_text()):
                continue
            if what == "acknowledge":
                alarms.acknowledge(engine, raised, "Sam", now_ms)
            elif what == "resolve":
                alarms.resolve(engine, raised, "Sam", "true", "", now_ms)
            escalator.advance(now_ms)
            outbox.run_due(now_ms)
            with done.open("a") as file:
                file.write("x")
    (folder / "reached").write_text(str(reached))


def play(folder: Path, ledger: Path, raised: str, start_ms: int, victim: int) -> int:
    """The whole schedule, with one kill at a step; returns how many processes that took."""
    (folder / "done").write_text("")
    lives = 0
    while True:
        lives += 1
        child = os.fork()
        if child == 0:
            try:
                live(folder, ledger, raised, start_ms, victim if lives == 1 else -1)
                os._exit(ENDED_WELL)
            except BaseException as error:  # noqa: BLE001 - the child of a fork must not run the parent's tests on
                (folder / "error").write_text(repr(error))
                os._exit(99)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            continue
        assert os.waitstatus_to_exitcode(status) == ENDED_WELL, (folder / "error").read_text()
        return lives


def received(folder: Path, subject: str) -> dict[str, list[tuple[str, str]]]:
    """By channel, the (key, what) of each parcel of one alarm, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in CHANNELS:
        file = folder / f"received-{name}.jsonl"
        lines: list[Any] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        found[name] = [(key, what) for key, what, about, _ in lines if about == subject]
    return found


def flat(found: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [parcel for parcels in found.values() for parcel in parcels]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_sigkill_at_each_durable_step_loses_no_step_and_repeats_only_the_same_key(
    make_pair: Callable[..., DevicePair], tmp_path: Path
) -> None:
    pair = make_pair()
    pair.one.boot()
    pair.raise_alarm(pair.one.alarm())
    raised = str(pair.row("alarm")["id"])
    start_ms = pair.now_ms
    ledger = pair.folder / "ledger.sqlite"
    pair.engine.dispose()
    with open_ledger(ledger).connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.connection.invalidate()
    whole = ledger.read_bytes()

    def fresh(name: str) -> tuple[Path, Path]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ledger.sqlite").write_bytes(whole)
        return folder, folder / "ledger.sqlite"

    folder, copy = fresh("unharmed")
    assert play(folder, copy, raised, start_ms, -1) == 1
    points = int((folder / "reached").read_text())
    expected = received(folder, raised)
    assert [what for _, what in expected["one"]] == ["raised", "unanswered", "acknowledged", "resolved"]
    assert points > 40

    for victim in range(1, points + 1):
        folder, copy = fresh(f"killed-{victim}")
        assert play(folder, copy, raised, start_ms, victim) == 2
        got = received(folder, raised)
        for name in CHANNELS:
            # Once for each step, in the same order; again with the same key where the process died before it knew.
            assert list(dict.fromkeys(got[name])) == expected[name], (victim, name)
        repeats = sum((Counter(flat(got)) - Counter(flat(expected))).values())
        assert repeats <= 1, victim
        engine = open_ledger(copy)
        with engine.connect() as connection:
            log = connection.execute(
                sa.text("SELECT step, detail FROM alarm_log WHERE alarm_id = :id ORDER BY id"), {"id": raised}
            ).all()
        engine.dispose()
        taken = [detail for step, detail in log if step == "step"]
        assert len(taken) == len(set(taken)), victim
        names = [step for step, _ in log]
        assert "step" not in names[names.index("acknowledged") :], victim
