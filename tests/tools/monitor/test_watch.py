"""`lapel watch`: a line for each change, for pipes; and both commands on the installation's own data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.alarms import core as alarms
from lapel_gateway.overview.reader import Reader
from lapel_gateway.overview.surroundings import Surroundings
from lapel_tools.console import CommandError
from lapel_tools.monitor.lines import describe
from lapel_tools.monitor.sources import SiteSource
from tests.gateway.visits.day import SAM, ZOE
from tests.tools.command import Lapel
from tests.tools.monitor.duty import Duty
from tests.tools.monitor.test_screen import drive, terminal
from tests.waiting import wait_until

LAPEL = Path(sys.executable).with_name("lapel")
TIMEOUT_S = 60.0
NOW_MS = 1_790_000_000_000


class Lines:
    """A running `lapel watch`, read line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.read: list[str] = []

    def until(self, *texts: str) -> str:
        """The next line that has all of these."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.read.append(text.rstrip("\n"))
            if all(wanted in text for wanted in texts):
                return self.read[-1]
        raise AssertionError(f"it ended before: {self.read}")


@contextmanager
def watching(duty: Duty, *arguments: str, **more: str) -> Iterator[Lines]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
    environment = {**kept, "LAPEL_TOKEN": duty.token, "LAPEL_URL": duty.url, **more}
    process = subprocess.Popen(
        [LAPEL, "watch", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Lines(process)
    finally:
        process.kill()
        process.wait(TIMEOUT_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_what_happens_is_told_line_by_line_until_ctrl_c(duty: Duty) -> None:
    with watching(duty) as lines:
        lines.until(f"device {duty.device}", "link in contact", f"person {ZOE}", "battery percent 79")
        identifier = duty.raise_alarm(clip=True)
        lines.until(f"alarm {identifier} panic of {ZOE}: state received", "sms:sam waiting")
        lines.until("clip", "of an alarm", "4 segments")
        alarms.acknowledge(duty.pair.engine, identifier, SAM, duty.pair.now_ms)
        lines.until(f"alarm {identifier}", "state received -> acknowledged", f"by {SAM}")
        number = duty.day.start()
        duty.pair.send(duty.day.location(515_007_000, -1_246_000, visit=number))
        lines.until(f"visit {number} of {ZOE}: state active")
        alarms.resolve(duty.pair.engine, identifier, SAM, "true", "", duty.pair.now_ms)
        lines.until(f"alarm {identifier} is no longer open")

        lines.process.send_signal(signal.SIGINT)
        assert lines.process.wait(TIMEOUT_S) == 0
        assert lines.process.stderr is not None
        assert lines.process.stderr.read() == ""
    told = "\n".join(lines.read)
    for private in ("+44 7700", "High Street", "51.5", duty.token):
        assert private not in told


def test_the_reader_of_a_pipe_may_go(duty: Duty) -> None:
    with watching(duty) as lines:
        lines.until(f"device {duty.device}")
        assert lines.process.stdout is not None
        lines.process.stdout.close()
        duty.raise_alarm()
        assert lines.process.wait(TIMEOUT_S) == 0
        assert lines.process.stderr is not None
        assert lines.process.stderr.read() == ""


def test_scripts_are_given_a_json_document_a_line(duty: Duty) -> None:
    with watching(duty, "--json", "--filter", "alarms") as lines:
        wait_until(lambda: lines.process.poll() is None and duty.role_has_readers(), TIMEOUT_S)
        identifier = duty.raise_alarm()
        found: dict[str, Any] = json.loads(lines.until(identifier))
    assert (found["section"], found["key"], found["what"]) == ("alarms", identifier, "begun")
    assert found["words"]["phone"] == "+44 7700 900123"


def test_a_gateway_that_goes_away_and_comes_back_is_told(duty: Duty) -> None:
    with watching(duty) as lines:
        lines.until("gateway: here")
        duty.stop()
        lines.until("gateway: away")
        duty.serve()
        lines.until("gateway: here")


def test_without_a_token_the_address_of_a_gateway_is_not_enough(duty: Duty) -> None:
    with watching(duty, "--url", duty.url, LAPEL_TOKEN="") as lines:
        assert lines.process.wait(TIMEOUT_S) == 2
        assert lines.process.stderr is not None
        assert "in whose name?" in lines.process.stderr.read()


def here(duty: Duty, *roles: str) -> SiteSource:
    around = Surroundings(roles=roles)
    return SiteSource(Reader(duty.pair.engine, around), "lapel.toml")


def test_the_installations_own_data_show_the_same_and_answer_nothing(duty: Duty) -> None:
    async def scene() -> None:
        source = here(duty)
        async with terminal(source, size=(120, 30)) as desk:
            identifier = duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("a")
            await desk.until(lambda: "in whose name?" in desk.text())
            assert duty.alarm(identifier)["acknowledged_by"] is None
        with pytest.raises(CommandError, match="in whose name"):
            await source.acknowledge(identifier)
        with pytest.raises(CommandError, match="in whose name"):
            await source.resolve(identifier, "true", "")

    drive(scene())


def test_a_ledger_without_a_gateway_is_not_shown_as_what_is(duty: Duty) -> None:
    duty.raise_alarm()

    async def scene() -> None:
        async with terminal(here(duty, "alarms")) as desk:
            await desk.until(lambda: "the gateway does not run" in desk.headline())
            assert desk.rows() == []

    drive(scene())


@pytest.mark.parametrize("command", ["watch", "monitor"])
def test_a_command_without_an_installation_says_what_to_do(tmp_path: Path, command: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
    done = subprocess.run(
        [LAPEL, command, "--config", "none.toml"],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "lapel gateway init" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_told_is_one_line_whatever_a_person_is_called() -> None:
    known = {"state": "active", "late": False, "contact_lost": None, "person": "Zoë\n\x1b[31mQuinn"}
    text = describe(("visits", "7", None, known), NOW_MS)
    assert text is not None
    assert text.endswith("visit 7 of Zoë [31mQuinn: state active")


def test_a_clock_that_is_wrong_here_changes_no_age(duty: Duty) -> None:
    async def scene() -> None:
        # The gateway's time is years before this machine's.
        async with terminal(duty.source()) as desk:
            duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            assert desk.rows()[0][3].endswith("s")

    drive(scene())


def test_a_monitor_without_its_extra_says_what_to_install(
    duty: Duty, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "textual.app", None)
    monkeypatch.delitem(sys.modules, "lapel_tools.monitor.screen", raising=False)

    result = Lapel(Path(), monkeypatch, capsys)("monitor", "--url", duty.url)

    assert result.status == 2
    assert "pip install 'lapel[monitor]'" in result.err
