"""One run of a fleet against a load site: switched on, loaded, its broker killed if asked, drained, and judged."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms import core as gateway_alarms
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.registry import Package
from lapel_sim.fleet.connection import tls_context
from lapel_sim.fleet.fleet import Fleet, Load
from lapel_sim.fleet.member import Broker, Member
from lapel_sim.fleet.sealer import Sealer
from lapel_sim.fleet.tally import Tally, percentile
from lapel_tools.console import now_ms
from lapel_tools.load_site import HOST, LoadSite
from lapel_tools.processes import Usage

SETTLE_S = 60.0
"""Everybody is welcomed, in contact, and every alarm is receipted, within this time of a start or restart."""

PATIENCE_S = 3 * SETTLE_S
"""How long a run waits before it gives a fleet up."""

DRAIN_S = 60.0
ANSWER_S = 0.5
RESPONDER = "load"


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    load: Load
    hold_s: float = 60.0
    over_s: float = 10.0
    """Switching on takes so long."""
    restart_after_s: float | None = None
    """Kill the broker this long after everybody has settled, and start it again."""
    away_s: float = 1.0
    """How long the broker is gone then."""


@dataclass
class Result:
    """What came of it. Times are seconds, latencies milliseconds."""

    devices: int
    tls: bool
    tally: Tally
    settled_s: float | None = None
    restart_settled_s: float | None = None
    restarted: bool = False
    restart_peak_connects: int = 0
    ran_s: float = 0.0
    usages: dict[str, Usage] = field(default_factory=dict)
    holding: dict[str, float] = field(default_factory=dict)
    """Share of one processor that each side took while the fleet was held, before any restart."""
    in_contact: int = 0
    ledger_alarms: int = 0
    ledger_clips: int = 0
    unreceipted_alarms: int = 0
    unreceipted_clips: int = 0

    def verdicts(self) -> list[tuple[str, bool]]:
        """What had to be so, and whether it was."""
        counts = self.tally.counts
        found = [
            (f"every device welcomed and in contact within {SETTLE_S:.0f} s of the start", _in_time(self.settled_s)),
            ("every alarm receipted, and in the ledger once", not self.unreceipted_alarms and self._alarms_are_right),
            ("every clip receipted by its head", not self.unreceipted_clips and not counts["wrong_receipts"]),
            ("every device in contact at the end", self.in_contact == self.devices),
        ]
        if self.restarted:
            text = f"settled within {SETTLE_S:.0f} s of the broker's restart"
            found.append((text, _in_time(self.restart_settled_s)))
        return found

    @property
    def _alarms_are_right(self) -> bool:
        return self.ledger_alarms == self.tally.counts["alarms"]

    def facts(self) -> dict[str, Any]:
        """Everything, for JSON."""
        tally = self.tally
        return {
            "devices": self.devices,
            "tls": self.tls,
            "ran_s": round(self.ran_s, 1),
            "settled_s": self.settled_s,
            "restart_settled_s": self.restart_settled_s,
            "peak_connects_a_second": tally.peak_connects,
            "restart_peak_connects_a_second": self.restart_peak_connects,
            "in_contact": self.in_contact,
            "counts": dict(sorted(tally.counts.items())),
            "refused": dict(tally.refused),
            "drops": dict(tally.drops),
            "ledger": {"alarms": self.ledger_alarms, "clips": self.ledger_clips},
            "latency_ms": {
                name: {
                    "p50": round(percentile(values, 0.5), 1),
                    "p99": round(percentile(values, 0.99), 1),
                    "max": round(max(values, default=0.0), 1),
                }
                for name, values in (
                    ("hello", tally.hello_ms),
                    ("heartbeat", tally.heartbeat_ms),
                    ("alarm", tally.alarm_ms),
                    ("clip", tally.clip_ms),
                )
            },
            "cost": {
                name: {"cpu_s": round(one.cpu_s, 1), "peak_mib": round(one.peak_mib)}
                for name, one in self.usages.items()
            },
            "cpu_share_while_held": {name: round(share, 3) for name, share in self.holding.items()},
            "verdicts": [{"what": what, "ok": ok} for what, ok in self.verdicts()],
        }


def make_fleet(site: LoadSite, packages: list[Package], heartbeat_s: int = 30) -> Fleet:
    """Members for these packages, which connect to the site's broker."""
    tally = Tally()
    broker = Broker(site.broker.host, site.broker.port, HOST)
    members = []
    for number, package in enumerate(packages):
        context = tls_context(site.ca_file, site.identity_file(package)) if site.tls else None
        sealer = Sealer(package.device, package.chain_key, site.site.organisation, number)
        members.append(Member(sealer, broker, tally, context, heartbeat_s))
    return Fleet(members, tally)


async def run_fleet(site: LoadSite, fleet: Fleet, plan: Plan, tell: Callable[[str], None]) -> Result:
    """Play the plan against a site that runs. ``tell`` is given a line now and then."""
    loop = asyncio.get_running_loop()
    result = Result(len(fleet.members), site.tls, fleet.tally)
    began, began_ms = loop.time(), now_ms()
    switching = loop.create_task(fleet.switch_on(plan.over_s))
    result.settled_s = await _settle(site, fleet, began, began_ms)
    await switching
    tell(_settled_text("start", result.settled_s, fleet))
    fleet.begin(plan.load)
    before, held_from = site.usages(), loop.time()
    hold_s = plan.hold_s if plan.restart_after_s is None else plan.restart_after_s
    await asyncio.sleep(hold_s)
    held_s = loop.time() - held_from
    result.holding = {name: (one - before[name]).cpu_s / held_s for name, one in site.usages().items()}
    if plan.restart_after_s is not None:
        result.restarted = True
        await _restart(site, fleet, plan, result, tell)
        await asyncio.sleep(max(0.0, plan.hold_s - (loop.time() - held_from)))
    await fleet.end()
    await fleet.drained(DRAIN_S)
    result.unreceipted_alarms = sum(1 for member in fleet.members if member.waiting_s())
    result.unreceipted_clips = fleet.clips_waiting
    contact_since_ms = now_ms() - 90_000
    result.ran_s = loop.time() - began
    result.usages = site.usages()
    await fleet.switch_off()
    result.in_contact = site.in_contact_since(contact_since_ms)
    result.ledger_alarms, result.ledger_clips = site.alarms(), site.clips_held()
    return result


@contextlib.contextmanager
def responder(site: LoadSite) -> Iterator[None]:
    """Somebody who acknowledges every alarm and resolves it as a test, as the duty room's page would."""
    done = threading.Event()
    thread = threading.Thread(target=_respond, args=(site, done), name="responder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


async def _restart(site: LoadSite, fleet: Fleet, plan: Plan, result: Result, tell: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    earlier = fleet.tally.connects.copy()
    await asyncio.to_thread(site.kill_broker)
    await asyncio.sleep(plan.away_s)
    await asyncio.to_thread(site.broker.start)
    back, back_ms = loop.time(), now_ms()
    tell(f"the broker was killed and is back after {plan.away_s:.1f} s")
    result.restart_settled_s = await _settle(site, fleet, back, back_ms)
    result.restart_peak_connects = max((fleet.tally.connects - earlier).values(), default=0)
    tell(_settled_text("restart", result.restart_settled_s, fleet))


async def _settle(site: LoadSite, fleet: Fleet, began: float, began_ms: int) -> float | None:
    """Seconds from ``began`` until everybody is welcomed, in contact, and alarms are receipted; None if in vain."""
    loop = asyncio.get_running_loop()
    while loop.time() - began < PATIENCE_S:
        if not await fleet.settled(began + PATIENCE_S - loop.time()):
            return None
        settled = loop.time()
        if await asyncio.to_thread(site.in_contact_since, began_ms) == len(fleet.members):
            return settled - began
        await asyncio.sleep(0.1)
    return None


def _settled_text(what: str, settled_s: float | None, fleet: Fleet) -> str:
    if settled_s is None:
        return f"{what}: {fleet.welcomed} of {len(fleet.members)} welcomed after {PATIENCE_S:.0f} s"
    return f"{what}: all {len(fleet.members)} welcomed and in contact after {settled_s:.1f} s"


def _respond(site: LoadSite, done: threading.Event) -> None:
    unanswered = sa.select(alarm.c.id).where(alarm.c.resolved_ms.is_(None)).order_by(alarm.c.received_ms)
    engine = site.site.engine
    while not done.wait(ANSWER_S):
        with reading(engine) as connection:
            identifiers = connection.execute(unanswered).scalars().all()
        for identifier in identifiers:
            at_ms = time.time_ns() // 1_000_000
            gateway_alarms.acknowledge(engine, identifier, RESPONDER, at_ms)
            gateway_alarms.resolve(engine, identifier, RESPONDER, "test", "", at_ms)


def _in_time(settled_s: float | None) -> bool:
    return settled_s is not None and settled_s <= SETTLE_S
