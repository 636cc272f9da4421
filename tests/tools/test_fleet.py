"""`lapel fleet`: a small fleet on a real Mosquitto and a real gateway, and what it says of what went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel_gateway.brokers.mosquitto import raise_open_files
from lapel_sim.fleet.tally import Tally, percentile
from lapel_tools.console import CommandError
from lapel_tools.fleet_run import Result
from lapel_tools.load_site import LoadSite
from tests.tools.command import Lapel

SMALL = ("--devices", 8, "--seconds", 6, "--over", 0.5, "--heartbeat", 5, "--clip-kib", 24)


@pytest.mark.needs("mosquitto")
def test_a_fleet_over_tls_outlasts_a_kill_of_its_broker_and_loses_nothing(bare: Lapel) -> None:
    done = bare(
        *("fleet", *SMALL, "--tls", "--alarms-per-minute", 300, "--clips-per-minute", 120),
        *("--restart-broker-after", 2, "--away", 0.2, "--json"),
    )
    facts = done.json
    assert done.status == 0, facts
    counts = facts["counts"]
    assert counts["connections"] >= 16
    assert counts["alarms"] == counts["alarms_receipted"] == facts["ledger"]["alarms"] > 0
    assert counts["clips"] == counts["clips_receipted"] == facts["ledger"]["clips"] > 0
    assert facts["in_contact"] == 8
    assert facts["restart_settled_s"] is not None
    assert facts["cost"]["broker"]["cpu_s"] >= 0
    assert facts["cost"]["gateway"]["peak_mib"] > 20


@pytest.mark.needs("mosquitto")
def test_a_fleet_tells_as_a_table_what_it_saw_and_what_it_cost(bare: Lapel) -> None:
    done = bare("fleet", *SMALL, "--seconds", 1, "--alarms-per-minute", 600, "--out", bare.folder / "kept")
    assert done.status == 0, done.out
    for words in ("plain TCP", "press to receipt", "every alarm receipted", "MiB at most"):
        assert words in done.out
    assert (bare.folder / "kept" / "gateway.log").exists()
    refused = bare("fleet", "--out", bare.folder / "kept")
    assert (refused.status, "exists" in refused.err) == (2, True)


def test_more_devices_than_the_system_permits_open_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    site = LoadSite(tmp_path / "site", tls=False)
    with pytest.raises(CommandError, match=r"open files .* raise the hard limit"):
        site.provision(raise_open_files())
    site.site.engine.dispose()


def test_each_thing_lost_fails_the_verdict_that_names_it() -> None:
    tally = Tally()
    tally.counts.update(alarms=3)
    whole = Result(2, False, tally, settled_s=1.0, in_contact=2, ledger_alarms=3)
    assert all(ok for _, ok in whole.verdicts())
    for change, words in (
        ({"settled_s": None}, "of the start"),
        ({"ledger_alarms": 2}, "every alarm"),
        ({"unreceipted_alarms": 1}, "every alarm"),
        ({"unreceipted_clips": 1}, "every clip"),
        ({"in_contact": 1}, "in contact at the end"),
        ({"restarted": True, "restart_settled_s": 61.0}, "broker's restart"),
    ):
        lost = Result(**{**vars(whole), **change})
        assert [words in what for what, ok in lost.verdicts() if not ok] == [True], change


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([5.0], 0.5) == 5.0
    assert percentile(list(map(float, range(1, 101))), 0.99) == 99.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
