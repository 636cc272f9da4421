"""How often somebody may try to log in: counted in the ledger, so that a restart forgives nothing.

Rules that hold here
- A try is counted before the password is looked at, and taken back when it was good: tries side by side gain nothing.
- A name at an address waits longer with every wrong try; another address, and a browser that has logged in as that
  user before (which says so with a cookie), do not wait with it. So nobody is locked out by a stranger's tries.
- All strangers' tries of one name (NIST SP 800-63B-4 section 3.2.2), of one address, and of all are slowed down beyond
  a number, never stopped; a browser that is known has a count of its own and is not slowed down with them.
- Names that nobody has are counted as others are: waiting tells nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.ledger import writing
from lapel_gateway.ledger.account_tables import login_count

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LONGEST_WINDOW_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Rule:
    """So many tries are free within a window; then the waiting time doubles, from one second to ``longest_ms``."""

    free: int
    longest_ms: int
    window_ms: int

    def wait_ms(self, tries: int) -> int:
        """How long to wait after so many tries."""
        return 0 if tries < self.free else min(self.longest_ms, 1000 << min(tries - self.free, 30))


NAME_AT_ADDRESS = Rule(free=4, longest_ms=15 * MINUTE_MS, window_ms=24 * HOUR_MS)
NAME = Rule(free=100, longest_ms=30_000, window_ms=HOUR_MS)
ADDRESS = Rule(free=30, longest_ms=MINUTE_MS, window_ms=HOUR_MS)
EVERYBODY = Rule(free=300, longest_ms=1_000, window_ms=10 * MINUTE_MS)
KNOWN_BROWSER = Rule(free=10, longest_ms=MINUTE_MS, window_ms=HOUR_MS)
CODE = Rule(free=10, longest_ms=15 * MINUTE_MS, window_ms=24 * HOUR_MS)


class TooMany(Exception):
    """A try came too early; ``wait_ms`` says how long to wait."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"too many attempts: wait {-(-wait_ms // 1000)} s and try again")
        self.wait_ms = wait_ms


Count = tuple[str, Rule]
"""What is counted, by its hash, and the rule for it."""


def counts_of_password(name: str, address: str, known: bytes | None) -> list[Count]:
    """What a try of a password counts for; ``known`` = the hash of the cookie of a browser that this user used."""
    if known is not None:
        return [(_hash("browser", name, known.hex()), KNOWN_BROWSER)]
    place = network_of(address)
    return [
        (_hash("pair", name, place), NAME_AT_ADDRESS),
        (_hash("address", place), ADDRESS),
        (_hash("name", name), NAME),
        (_hash("all"), EVERYBODY),
    ]


def counts_of_code(name: str, address: str, known: bytes | None) -> list[Count]:
    """The same for a try of a code, which comes after the right password."""
    if known is not None:
        return [(_hash("code browser", name, known.hex()), CODE)]
    return [(_hash("code", name, network_of(address)), CODE), (_hash("code name", name), NAME)]


def count_try(engine: sa.Engine, counts: Sequence[Count], now_ms: int) -> None:
    """Count one try, unless one of the counts says to wait. Raises TooMany, and nothing is counted then."""
    with writing(engine) as connection:
        connection.execute(sa.delete(login_count).where(login_count.c.first_ms <= now_ms - LONGEST_WINDOW_MS))
        found = {what: _read(connection, what, rule, now_ms) for what, rule in counts}
        wait_ms = max((min(free_ms - now_ms, rule.longest_ms) for (_, _, free_ms), (_, rule) in _both(found, counts)))
        if wait_ms > 0:
            raise TooMany(wait_ms)
        for (tries, first_ms, _), (what, rule) in _both(found, counts):
            values = {"tries": tries + 1, "first_ms": first_ms, "free_ms": now_ms + rule.wait_ms(tries + 1)}
            if not connection.execute(sa.update(login_count).where(login_count.c.what == what).values(values)).rowcount:
                connection.execute(sa.insert(login_count).values(what=what, **values))


def take_back(connection: sa.Connection, counts: Sequence[Count]) -> None:
    """A counted try was good: the count of that person is forgotten, others lose this one."""
    own, *others = (what for what, _ in counts)
    connection.execute(sa.delete(login_count).where(login_count.c.what == own))
    for what in others:
        change = sa.update(login_count).where(login_count.c.what == what, login_count.c.tries > 0)
        connection.execute(change.values(tries=login_count.c.tries - 1, free_ms=0))


def network_of(address: str) -> str:
    """What is counted as one address: of IPv6 the /64 that a household or an office is given."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _both(found: dict[str, tuple[int, int, int]], counts: Sequence[Count]) -> list[tuple[tuple[int, int, int], Count]]:
    return [(found[what], (what, rule)) for what, rule in counts]


def _read(connection: sa.Connection, what: str, rule: Rule, now_ms: int) -> tuple[int, int, int]:
    """Tries, since when, and until when to wait; nothing where the window is over, or the clock was set back."""
    row = connection.execute(sa.select(login_count).where(login_count.c.what == what)).one_or_none()
    if row is None or not 0 <= now_ms - row.first_ms < rule.window_ms:
        return 0, now_ms, 0
    return row.tries, row.first_ms, row.free_ms


def _hash(*parts: str) -> str:
    """A count's name in the ledger; what was typed as a name may be a password."""
    joined = "\0".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
