"""A gateway with its broker, in threads of the test's process, made as an operator makes one."""

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms.core import acknowledge, resolve
from lapel_gateway.ledger.schema import alarm, clip, device
from lapel_gateway.service import Gateway
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.gateway_commands import init
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class GatewaySite:
    """Alarms and ingest roles on a broker of kind "embedded" or "mosquitto" (with TLS and client certificates)."""

    def __init__(self, folder: Path, port: int, broker: Any = "embedded") -> None:
        config = folder / "lapel.toml"
        init(config, organisation="Riverside", data_dir=folder / "data", broker=broker, port=port)
        self.site = Site(config)
        self.folder = folder
        self.gateway = self._started()

    def _started(self) -> Gateway:
        gateway = Gateway(self.site.config, ("alarms", "ingest"))
        gateway.start()
        return gateway

    def restart(self) -> None:
        """End the gateway and its broker, and start them again on the same data."""
        self.gateway.stop()
        self.gateway = self._started()

    def provision(self, world: World, name: str, settings: dict[str, int] | None = None) -> str:
        """Enter a device of `world` at the gateway and give it its package; returns its id."""
        folder = self.folder / "packages" / name
        device_id = self.package(name, folder, settings)
        provision(world.devices[name], folder)
        return device_id

    def package(self, name: str, folder: Path, settings: dict[str, int] | None = None) -> str:
        """Enter a device at the gateway and write its package; returns its id."""
        return provision_device(self.site, name, f"wearer of {name}", folder, wall_ms(), settings).device.hex()

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.site.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(table))]

    def clips(self) -> list[dict[str, Any]]:
        return sorted(self.rows(clip), key=lambda row: (row["device"], row["clip"]))

    def device(self, name: str) -> dict[str, Any]:
        [row] = [row for row in self.rows(device) if row["name"] == name]
        return row

    def alarms(self) -> list[dict[str, Any]]:
        return self.rows(alarm)

    def acknowledge(self, row: dict[str, Any], user: str) -> bool:
        return acknowledge(self.site.engine, row["id"], user, wall_ms())

    def resolve(self, row: dict[str, Any], user: str) -> bool:
        return resolve(self.site.engine, row["id"], user, "false", "a test", wall_ms())

    def stop(self) -> None:
        self.gateway.stop()
        self.site.engine.dispose()
