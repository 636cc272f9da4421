"""Provisioning boards side by side: the registry's part and the bench's put together. One that fails stops no other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import sqlalchemy as sa

from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, DEVICE_LOST
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.people import PersonError, find_person, set_person
from lapel_gateway.pki import PkiError
from lapel_gateway.registry import Package, RegistryError
from lapel_tools.console import CommandError, now_ms
from lapel_tools.provisioning import entered, refuse_to_lose_clips
from lapel_tools.site import Site

from .batch import Order, Outcome, Row
from .link import LinkError
from .ports import BoardFacts, named_ports
from .provision import Broken, Provisioned, Refused, Wishes, provision_board

_AT_ONCE = 16


def provision_rows(site: Site, rows: Sequence[Row], order: Order) -> list[Outcome]:
    """Provision every board, side by side; outcomes in the order of the rows. Ctrl-C ends all of them between two
    steps, and their entries are retired.
    """
    _open_all(site)
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=min(len(rows), _AT_ONCE)) as pool:
        running = [pool.submit(_provision, site, row, order, ended) for row in rows]
        try:
            return [one.result() for one in running]
        except KeyboardInterrupt:
            ended.set()
            # Each comes to its end between two steps; what was done by then is told.
            return [one.result() for one in running]
        except BaseException:
            ended.set()
            raise


def _open_all(site: Site) -> None:
    """Ledger, keys and CA, before several threads want them: what is wrong with them is said once."""
    site.organisation.key_id  # noqa: B018 - opening it is what is wanted
    site.registry.list()
    if site.config.broker.kind != "embedded":
        site.pki.ca_der  # noqa: B018


def _provision(site: Site, row: Row, order: Order, ended: threading.Event) -> Outcome:
    try:
        if row.team:
            _join_team(site, row)
        done = _one(site, row, order, ended)
    except (Refused, Broken, LinkError, CommandError, RegistryError, KeyStoreError, PkiError) as error:
        return Outcome(row.board, row.name, trouble=str(error))
    return Outcome(row.board, row.name, done)


def _one(site: Site, row: Row, order: Order, ended: threading.Event) -> Provisioned:
    wishes = Wishes(order.again, order.before, order.lose_clips, order.even_busy, order.bearers)
    (port,) = named_ports([row.board])

    def enter(facts: BoardFacts) -> AbstractContextManager[Package]:
        if order.before and facts.device != order.before:
            # Another board takes the place of one that is somewhere else.
            if _here(site, facts.device):
                raise Refused(f"the board at this port is {facts.device}, which is in service: retire it first")
            refuse_to_lose_clips(site, order.before, order.lose_clips)
        follows = order.before or _here(site, facts.device)
        return entered(site, row.name, row.person, now_ms(), order.settings, order.own, follows)

    def step(what: str) -> None:
        if ended.is_set():
            raise Broken(f"it was broken off before this: {what}; it is not provisioned")

    return provision_board(port, wishes, enter, lambda device: _state(site, device), step)


def _state(site: Site, device: str) -> str | None:
    with reading(site.engine) as connection:
        found = connection.execute(sa.select(devices.c.state).where(devices.c.device == device)).scalar()
    return None if found is None else str(found)


def _here(site: Site, device: str) -> str | None:
    """The device that a board is until now, if it is one of this gateway's that is not retired."""
    return device if device and _state(site, device) in (DEVICE_ACTIVE, DEVICE_LOST) else None


def _join_team(site: Site, row: Row) -> None:
    with reading(site.engine) as connection:
        phone = find_person(connection, row.person).phone
    try:
        set_person(site.engine, row.person, row.team, phone, now_ms())
    except PersonError as error:
        raise CommandError(str(error)) from None
