"""`lapel device health`: what the ledger kept of each hour, for people and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel_gateway.devices.health import HOUR_MS
from lapel_gateway.keystore import KeyStore
from tests.gateway.test_device_health import HOUR, beat
from tests.support.pair import DevicePair
from tests.tools.command import Lapel


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway that heard its camera in two hours of three."""
    folder = tmp_path_factory.mktemp("health")
    pair = DevicePair(folder)
    pair.now_ms = HOUR
    pair.greet()
    pair.send(beat(pair.one, 70, held=2))
    pair.now_ms = HOUR + 2 * HOUR_MS
    pair.send(beat(pair.one, 41, free_kib=512))
    pair.stop()
    (folder / "keys").mkdir(exist_ok=True)
    KeyStore.create(folder / "keys" / "master.key")
    path = folder / "lapel.toml"
    path.write_text(f'[gateway]\ndata_dir = "{folder}"\n')
    return path


def test_each_hour_in_which_a_device_was_heard_is_a_line(bare: Lapel, config: Path) -> None:
    period = ("--from", "2023-11-14", "--to", "2023-11-16")
    shown = bare("device", "health", "camera 1", *period, "-c", config)
    assert shown.status == 0, shown.err
    assert len([line for line in shown.out.splitlines() if "2023-11-1" in line]) == 2
    hours = bare("device", "health", "camera 1", *period, "-c", config, "--json").json
    assert [(one["hour"]["ms"], one["battery_percent_min"], one["unsent_clips_max"]) for one in hours] == [
        (HOUR, 70, 2),
        (HOUR + 2 * HOUR_MS, 41, 0),
    ]
    assert hours[1]["storage_free_kib_min"] == 512


def test_a_time_in_which_it_was_not_heard_and_a_device_that_there_is_not_are_said(bare: Lapel, config: Path) -> None:
    silent = bare("device", "health", "camera 1", "--from", "2020-01-01", "--to", "2020-01-02", "-c", config)
    assert (silent.status, silent.out) == (0, "it was not heard in this time\n")
    assert bare("device", "health", "camera 9", "-c", config).status != 0
    assert "neither a date" in bare("device", "health", "camera 1", "--from", "soon", "-c", config).err
