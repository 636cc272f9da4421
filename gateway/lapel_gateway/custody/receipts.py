"""What a device must know of the custody of its clips, from their rows: a receipt, or that one cannot be opened."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from lapel_gateway.custody.downlink import Order
from lapel_gateway.ledger.clips import UNFINISHED, CustodyRow, custody_rows
from lapel_gateway.ledger.schema import OPENING_PROVED, OPENING_UNOPENABLE
from lapel_protocol.command import RECEIPT, UNOPENABLE
from lapel_protocol.orders import LEVEL_OPENED, LEVEL_VERIFIED, Receipt, UnopenableNotice


def receipts_of(connection: sa.Connection, keys: Collection[tuple[str, int]]) -> dict[str, list[Order]]:
    """Orders to each device about those of these (device, clip) that the gateway holds, oldest clip first."""
    orders: dict[str, list[Order]] = {}
    for row in custody_rows(connection, keys):
        for order in custody_orders(row):
            orders.setdefault(row.device, []).append(order)
    return orders


def custody_orders(row: CustodyRow) -> list[Order]:
    """What the device must know of one clip: nothing while it is unfinished."""
    device = bytes.fromhex(row.device)
    if row.opening == OPENING_UNOPENABLE:
        return [Order(device, UNOPENABLE, UnopenableNotice(row.clip).encode())]
    if row.state in UNFINISHED or row.receipt_segments is None:
        return []
    # A receipt for fewer segments than the device settled names the head of the shorter, authentic prefix.
    head = row.settled_head if row.receipt_segments == row.settled_segments else row.head
    if head is None:
        return []
    level = LEVEL_OPENED if row.opening == OPENING_PROVED else LEVEL_VERIFIED
    return [Order(device, RECEIPT, Receipt(row.clip, row.receipt_segments, level, head).encode())]
