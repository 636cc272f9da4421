"""Writers of the ledger take turns, across threads and processes, and an alarm's turn is the next."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import fresh_ledger, open_ledger, reading, writing
from lapel_gateway.ledger.schema import notice
from lapel_gateway.ledger.turns import Turns

WAIT_S = 10.0
ORDINARY = 3


@contextmanager
def place(ledger: Path) -> Iterator[Turns]:
    turns = Turns(ledger)
    yield turns
    turns.close()


class Writer(threading.Thread):
    """A thread that takes one turn and notes that it had it."""

    def __init__(self, ledger: Path, name: str, order: list[str], urgent: bool = False) -> None:
        super().__init__(name=name)
        self.ledger, self.order, self.urgent = ledger, order, urgent
        self.start()

    def run(self) -> None:
        with place(self.ledger) as turns, turns.turn(urgent=self.urgent):
            self.order.append(self.name)


def waiting(ledger: Path, count: int) -> bool:
    """Whether so many locks on the file beside the ledger are waited for, by the kernel's own table."""
    inode = Path(f"{ledger}-turns").stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and f":{inode} " in line for line in lines) >= count


def until_waiting(ledger: Path, count: int) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if waiting(ledger, count):
            return
        pause.wait(0.01)
    raise AssertionError("nobody waits")


def test_an_urgent_writer_is_next_whoever_waited_before(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    order: list[str] = []
    with place(ledger) as turns:
        with turns.turn(urgent=False):
            writers = [Writer(ledger, f"ordinary {number}", order) for number in range(ORDINARY)]
            until_waiting(ledger, ORDINARY)
            writers.append(Writer(ledger, "urgent", order, urgent=True))
            until_waiting(ledger, ORDINARY + 1)
            assert order == []
        for writer in writers:
            writer.join(WAIT_S)
    assert order[0] == "urgent"
    assert len(order) == ORDINARY + 1


def test_a_turn_is_given_back_when_its_transaction_fails(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    engine = open_ledger(path)
    row = {"kind": "k", "device": "", "subject": "", "at_ms": 0, "detail": ""}

    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(sa.insert(notice), row)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with writing(engine, urgent=True) as connection:
        connection.execute(sa.insert(notice), row)
    with reading(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(notice)).scalar_one() == 1
    engine.dispose()


def test_a_turn_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    order: list[str] = []
    script = (
        "import sys; from pathlib import Path\n"
        "from lapel_gateway.ledger.turns import Turns\n"
        f"with Turns(Path({str(ledger)!r})).turn(urgent=False):\n"
        "    print('mine', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        writer = Writer(ledger, "next", order)
        until_waiting(ledger, 1)
        assert order == []
        holder.kill()
        writer.join(WAIT_S)
    assert order == ["next"]


def test_turns_of_many_writers_never_overlap(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    inside = [0]
    overlaps: list[int] = []

    def write(urgent: bool) -> None:
        with place(path) as turns:
            for _ in range(200):
                with turns.turn(urgent=urgent):
                    inside[0] += 1
                    overlaps.append(inside[0])
                    inside[0] -= 1

    threads = [threading.Thread(target=write, args=(number == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert overlaps == [1] * 800


def test_a_thread_that_would_wait_for_itself_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    fresh_ledger(path)
    engine = open_ledger(path)
    with writing(engine), pytest.raises(RuntimeError, match="end that transaction first"), writing(engine):
        pass
    with writing(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(notice)).scalar() == 0
    engine.dispose()
