"""The real firmware, a real broker and the real gateway, with the link and the power in between going wrong."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway.pki import Pki
from lapel_protocol.limits import MAX_COMMAND_PAYLOAD_BYTES
from lapel_sim.device import SimDevice
from lapel_sim.hardware import PICO_W
from lapel_sim.memory import HeapState, heap_table
from lapel_sim.provision import provision
from lapel_sim.world import World

from .site import GatewaySite

FRAME_INTERVAL_MS = 200


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on the embedded broker."""
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


@pytest.fixture
def tls_site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on Mosquitto with TLS and client certificates."""
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


def add(world: World, site: GatewaySite, name: str = "camera") -> SimDevice:
    device = world.add_device(name, dataclasses.replace(PICO_W, frame_interval_ms=FRAME_INTERVAL_MS))
    site.provision(world, name, {"frame_interval_ms": FRAME_INTERVAL_MS})
    return device


def record(device: SimDevice, world: World, frames: int) -> None:
    wanted = len(device.frames()) + frames
    device.hold("RECORD", 1700)
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= wanted, what=f"{frames} frames")


def stop(device: SimDevice) -> None:
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")


def wait_verified(world: World, site: GatewaySite, count: int, timeout_s: float = 60) -> None:
    """Wait until the gateway holds `count` clips whole and authentic."""

    def done() -> bool:
        rows = site.clips()
        return len(rows) == count and all(row["verified_ms"] for row in rows)

    world.wait_until(done, timeout_s, f"{count} verified clips")


def test_a_clip_reaches_the_gateway_whole_and_frame_counts_agree(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 12)
    stop(device)
    wait_verified(world, site, 1)
    [row] = site.clips()
    assert row["state"] == "held"
    assert 12 <= row["frames"] <= len(device.frames())
    assert row["frames_dropped"] == 0


def test_what_was_recorded_without_a_link_follows_when_it_is_back(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 5)
    device.link.drop()
    world.wait_until(lambda: len(device.frames()) >= 15)
    stop(device)
    assert not any(row["verified_ms"] for row in site.clips())
    device.link.restore(reset=True)
    wait_verified(world, site, 1)


@pytest.mark.parametrize("silent", [True, False], ids=["silence", "resets"])
def test_an_alarm_goes_through_sent_received_acknowledged_and_resolved(
    world: World, site: GatewaySite, silent: bool
) -> None:
    device = add(world, site)
    device.power_on()
    device.wait_shown("idle")
    device.link.drop(silent=silent)
    device.hold("ALARM", 2300)
    device.wait_shown("recording")
    assert not device.shows("alarm sent", within_ms=20_000)
    device.link.restore(reset=silent)
    device.wait_shown("alarm received", timeout_s=60)
    [raised] = site.alarms()
    assert not device.shows("alarm acknowledged", within_ms=20_000)
    assert site.acknowledge(raised, "Dana")
    device.wait_shown("alarm acknowledged", timeout_s=30)
    assert site.resolve(raised, "Dana")
    device.wait_shown("alarm resolved", timeout_s=30)
    stop(device)
    wait_verified(world, site, 1)
    [row] = site.clips()
    assert row["alarm"]
    assert len(site.alarms()) == 1


def test_a_clip_cut_by_power_loss_is_settled_at_what_the_device_still_had(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 12)
    device.cut_power()
    device.power_on()
    device.wait_shown("idle")
    wait_verified(world, site, 1)
    [row] = site.clips()
    assert row["settled_by"] == "cut"
    assert row["contiguous"] == row["settled_segments"] > 0


def test_the_gateway_may_go_and_come_back_while_a_device_records(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 6)
    site.restart()
    world.wait_until(lambda: len(device.frames()) >= 14)
    stop(device)
    wait_verified(world, site, 1)


def test_a_slow_late_and_lossy_link_costs_time_and_nothing_else(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.link.slow(1_000_000)
    device.link.latency(80, jitter_ms=60)
    device.link.lossy(stall_chance=0.02, stall_ms=300, reset_chance=0.002)
    device.power_on()
    device.wait_shown("idle")
    record(device, world, 12)
    stop(device)
    wait_verified(world, site, 1, timeout_s=120)
    assert site.clips()[0]["frames_dropped"] == 0


def test_a_device_deletes_nothing_before_the_gateway_has_it(world: World, site: GatewaySite) -> None:
    device = add(world, site)
    device.link.radio(up=False)
    device.power_on()
    device.wait_shown("idle")
    for _ in range(2):
        record(device, world, 3)
        stop(device)
    device.wait_quiet()
    device.cut_power()
    device.link.radio(up=True)
    device.power_on()
    wait_verified(world, site, 2)


@pytest.mark.needs("mosquitto")
def test_a_broker_with_a_certificate_of_another_authority_gets_nothing_and_is_named_once(
    world: World, tls_site: GatewaySite, tmp_path: Path
) -> None:
    device = world.add_device("camera")
    package = tmp_path / "package"
    tls_site.package("camera", package)
    (package / "tls" / "ca.der").write_bytes(Pki.ensure(tmp_path / "other", "Another").ca_der)
    provision(device, package)
    device.power_on()
    world.wait_until(lambda: device.link.connections >= 3, what="three attempts")
    told = [entry["line"] for entry in world.journal.entries("console") if "uplink" in entry["line"]]
    assert len(told) == 1
    assert "certificate" in told[0]
    assert device.boots == 1
    assert tls_site.device("camera")["boot"] is None


@pytest.mark.needs("mosquitto")
def test_no_phase_of_work_over_tls_runs_out_of_memory(
    world: World, tls_site: GatewaySite, capsys: pytest.CaptureFixture[str]
) -> None:
    device = add(world, tls_site)
    device.power_on()
    device.wait_shown("idle")
    rows: list[tuple[str, HeapState]] = []

    def measure(phase: str) -> None:
        rows.append((phase, device.measure_heap()))

    world.wait_until(lambda: tls_site.device("camera")["boot"] is not None, what="a hello over TLS")
    device.wait_quiet()
    measure("idle, connected over TLS")
    device.link.slow(200_000)  # so that there is something left to upload
    record(device, world, 10)
    measure("recording and uploading")
    stop(device)
    measure("uploading under TLS")
    device.link.slow(0)
    wait_verified(world, tls_site, 1)
    record(device, world, 4)
    device.hold("ALARM", 2300)
    device.wait_shown("alarm received", timeout_s=30)
    measure("alarm while recording")
    stop(device)
    wait_verified(world, tls_site, 2)
    measure("idle again")
    with capsys.disabled():
        print(f"\n{heap_table(rows)}")  # noqa: T201 - the table is what the suite is read for
    # The largest single allocation while it runs: a command's payload, decrypted, with room to spare.
    assert all(state.largest_free_bytes >= 2 * MAX_COMMAND_PAYLOAD_BYTES for _, state in rows), heap_table(rows)
    assert rows[-1][1].live_bytes < rows[0][1].live_bytes + 8192, heap_table(rows)
