"""The alert rules and the dashboard, judged by Prometheus' own programs and by the figures that there really are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lapel_gateway import metrics
from lapel_gateway.metrics.watched import Watched
from tests.gateway.metrics.scraping import watching
from tests.gateway.test_query_plans import everything_once
from tests.rings import find_program
from tests.support.pair import DevicePair

FOLDER = Path(metrics.__file__).parent
RULES = FOLDER / "lapel.rules.yml"
DASHBOARD = FOLDER / "lapel-dashboard.json"

MINUTE = 4
"""Samples in a minute: one is taken every fifteen seconds."""

SPAN_MIN = 90


class Case(NamedTuple):
    """Series that make an alert fire, and others, as near as can be, that do not; the values hold all the time."""

    fires: dict[str, str]
    rests: dict[str, str]


def held(value: float) -> str:
    """A series that has this value all the time."""
    return f"{value}+0x{SPAN_MIN * MINUTE}"


def grows(step: float) -> str:
    """A series that grows by this with each sample."""
    return f"0+{step}x{SPAN_MIN * MINUTE}"


def one(series: str, fires: float, rests: float) -> Case:
    """A case of one series that keeps its value."""
    return Case({series: held(fires)}, {series: held(rests)})


CASES = {
    "LapelGatewayAway": one('up{job="lapel"}', 0, 1),
    "LapelNotReady": one("lapel_ready", 0, 1),
    "LapelRoleDown": one('lapel_role_up{role="alarms"}', 0, 1),
    "LapelRoleRestarts": Case(
        {'lapel_role_start_time_seconds{role="deliver"}': grows(15)},
        {'lapel_role_start_time_seconds{role="deliver"}': held(1_760_000_000)},
    ),
    "LapelBrokerAway": one('lapel_role_broker_connected{role="alarms"}', 0, 1),
    "LapelAlarmUntold": one('lapel_alarm_untold_oldest_seconds{concern="person"}', 31, 30),
    "LapelAlarmUnacknowledged": Case(
        {'lapel_alarm_unacknowledged_oldest_seconds{concern="person"}': held(301)},
        {
            'lapel_alarm_unacknowledged_oldest_seconds{concern="person"}': held(300),
            'lapel_alarm_unacknowledged_oldest_seconds{concern="drill"}': held(9000),
        },
    ),
    "LapelOwnAlarmUnacknowledged": Case(
        {'lapel_alarm_unacknowledged_oldest_seconds{concern="gateway"}': held(3601)},
        {'lapel_alarm_unacknowledged_oldest_seconds{concern="person"}': held(3601)},
    ),
    "LapelVisitOverdue": one("lapel_visit_overdue_oldest_seconds", 901, 900),
    "LapelVisitContactLost": one("lapel_visits_contact_lost", 1, 0),
    "LapelAlarmDeliveryStuck": Case(
        {'lapel_outbox_oldest_seconds{channel="sia:north",kind="alarm"}': held(61)},
        {'lapel_outbox_oldest_seconds{channel="sia:north",kind="notice"}': held(61)},
    ),
    "LapelDeliveryStuck": one('lapel_outbox_oldest_seconds{channel="directory",kind="forward"}', 3601, 3600),
    "LapelChannelFailing": one('lapel_channel_failing_seconds{channel="webhook:desk",part="delivery"}', 301, 300),
    "LapelReceiverSilent": Case(
        {
            'lapel_receiver_ack_age_seconds{channel="sia:north"}': held(211),
            'lapel_receiver_supervision_seconds{channel="sia:north"}': held(60),
        },
        {
            'lapel_receiver_ack_age_seconds{channel="sia:north"}': held(210),
            'lapel_receiver_supervision_seconds{channel="sia:north"}': held(60),
            'lapel_receiver_ack_age_seconds{channel="sia:untested"}': held(90_000),
            'lapel_receiver_supervision_seconds{channel="sia:untested"}': held(0),
        },
    ),
    "LapelIngestBehind": Case(
        {
            'lapel_role_backlog_bytes{role="ingest"}': held(17 << 20),
            'lapel_role_waiting_seconds{role="ingest"}': held(0),
        },
        {
            'lapel_role_backlog_bytes{role="ingest"}': held(1 << 20),
            'lapel_role_waiting_seconds{role="ingest"}': held(30),
        },
    ),
    "LapelCustodyOld": Case(
        {'lapel_custody_oldest_seconds{state="cut"}': held(21_601)},
        {'lapel_custody_oldest_seconds{state="open"}': held(21_601)},
    ),
    "LapelAssemblyOld": one("lapel_assembly_oldest_seconds", 3601, 3600),
    "LapelClipsWaitForRoom": one('lapel_ready_check{check="vault"}', 0, 1),
    "LapelVaultFillsUp": one("lapel_vault_full_in_seconds", 600_000, 604_800),
    "LapelDiskLow": one('lapel_disk_free_bytes{place="data"}', 1 << 30, 2 << 30),
    "LapelManyDevicesFellSilent": Case(
        {"lapel_devices_silent": grows(0.5), 'lapel_devices{state="active"}': held(60)},
        {"lapel_devices_silent": grows(0.5), 'lapel_devices{state="active"}': held(600)},
    ),
    "LapelDevicesStorageFull": one("lapel_devices_storage_full", 1, 0),
    "LapelClocksOff": one('lapel_devices_clock_off{beyond="30"}', 1, 0),
    "LapelMuchRefused": Case(
        {'lapel_refused_total{reason="bad_mac"}': grows(30)}, {'lapel_refused_total{reason="bad_mac"}': grows(1)}
    ),
    "LapelFiguresSlow": one("lapel_collect_seconds", 2.1, 2),
}


def firing(alert: str) -> str:
    return f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'


def rule_tests() -> dict[str, Any]:
    """The file that promtool runs; JSON is YAML."""
    tests = []
    for alert, case in CASES.items():
        for series, wanted in ((case.fires, [{"labels": "{}", "value": 1}]), (case.rests, [])):
            tests.append(
                {
                    "name": f"{alert} {'fires' if wanted else 'rests'}",
                    "interval": "15s",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {"expr": firing(alert), "eval_time": f"{SPAN_MIN - 1}m", "exp_samples": wanted}
                    ],
                }
            )
    return {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}


def promtool(*arguments: str) -> str:
    """What promtool says; fails with it when it finds a fault."""
    program = find_program("promtool")
    assert program is not None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\blapel_[a-z_]+\b", text))


def alerts() -> set[str]:
    return set(re.findall(r"- alert: (\w+)", RULES.read_text()))


@pytest.mark.needs("promtool")
def test_promtool_finds_no_fault_in_the_rules() -> None:
    assert f"{len(CASES)} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.needs("promtool")
def test_every_alert_fires_when_it_should_and_rests_when_all_is_nearly_so(tmp_path: Path) -> None:
    assert alerts() == set(CASES)
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps(rule_tests()))
    assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.needs("promtool")
def test_the_figures_are_as_prometheus_wants_them(pair: DevicePair, tmp_path: Path) -> None:
    everything_once(pair)
    with watching(pair, watched(pair)) as figures:
        text = figures().text
    program = find_program("promtool")
    assert program is not None
    judged = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (judged.returncode, judged.stderr) == (0, "")


def test_every_name_in_rules_and_dashboard_is_a_figure_that_there_is(pair: DevicePair) -> None:
    everything_once(pair)
    with watching(pair, watched(pair)) as figures:
        now = figures()
    there = now.names | set(re.findall(r"^# TYPE (\w+) ", now.text, re.MULTILINE))
    assert names_in(RULES.read_text()) - there == set()
    expressions = " ".join(expressions_of(json.loads(DASHBOARD.read_text())))
    assert names_in(expressions)
    assert names_in(expressions) - there == set()


def test_every_alert_says_what_to_do_and_how_urgent_it_is() -> None:
    entries = RULES.read_text().split("- alert: ")[1:]
    for entry in entries:
        assert re.search(r"severity: (page|ticket)", entry), entry
        assert re.search(r"summary: \S", entry), entry
        assert re.search(r"action: \S", entry), entry


def watched(pair: DevicePair) -> Watched:
    """With a receiving centre, so that its figures are there."""
    return Watched(pair.folder, pair.vault.root, channels={"sia:north": ""}, receivers={"sia:north": 60.0})


def expressions_of(dashboard: dict[str, Any]) -> list[str]:
    """Every query of a Grafana dashboard."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_operators_page_lists_every_figure_and_no_other(pair: DevicePair) -> None:
    with watching(pair, watched(pair)) as figures:
        families = set(re.findall(r"^# TYPE (\w+) ", figures().text, re.MULTILINE))
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    table = names_in(page.partition("## Figures")[2].partition("## Alerts")[0])
    assert table == {name for name in families if name.startswith("lapel_")}
