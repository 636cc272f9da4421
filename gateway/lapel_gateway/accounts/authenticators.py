"""Codes of authenticators (TOTP, RFC 6238: SHA-1, 30 s, six digits) and the recovery codes beside them.

Rules that hold here
- A code counts once (RFC 6238 section 5.2): its time step, and those before, are not taken again.
- A code may be one step early or late.
- The secret is shown once, when it is set up, and counts from when a code of it was given back.
- A recovery code counts once.
"""

from __future__ import annotations

import hmac
import io
import secrets

import pyotp
import segno
import sqlalchemy as sa

from lapel_gateway.accounts.seal import Seal, SealError, digest
from lapel_gateway.ledger.account_tables import recovery_code
from lapel_gateway.ledger.account_tables import user as user_table

STEP_MS = 30_000
DRIFT_STEPS = 1
RECOVERY_CODES = 10
ISSUER = "Lapel"

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what looks alike: i, l, o, 0, 1."""
_GROUPS, _GROUP = 4, 4  # 16 of 31 characters: 79 bits


def new_authenticator(seal: Seal, user: str) -> bytes:
    """A random secret of 160 bits (RFC 4226 section 4), encrypted."""
    return seal.seal(pyotp.random_base32().encode(), _of(user))


def secret_text(seal: Seal, user: str, sealed: bytes) -> str:
    """The secret as an app takes it when it is typed (base32). Raises SealError."""
    return seal.open(sealed, _of(user)).decode()


def picture(seal: Seal, user: str, sealed: bytes) -> str:
    """The secret as an SVG element with a QR code of an otpauth address. Raises SealError."""
    address = pyotp.TOTP(secret_text(seal, user, sealed)).provisioning_uri(name=user, issuer_name=ISSUER)
    out = io.BytesIO()
    segno.make(address, micro=False).save(
        out, kind="svg", scale=5, border=4, dark="#000", light="#fff", xmldecl=False, svgns=True, nl=False
    )
    return out.getvalue().decode()


def step_of_code(seal: Seal, user: str, sealed: bytes, code: str, now_ms: int, last: int | None) -> int | None:
    """The time step of a code that is good now and later than ``last``, the last one taken; None for any other."""
    try:
        totp = pyotp.TOTP(secret_text(seal, user, sealed))
    except SealError:
        return None
    given = "".join(code.split())
    here = now_ms // STEP_MS
    found = None
    for step in range(here - DRIFT_STEPS, here + DRIFT_STEPS + 1):
        same = hmac.compare_digest(totp.at(step * STEP_MS // 1000).encode(), given.encode("utf-8", "replace"))
        if same and (last is None or step > last):
            found = step
    return found


def take_code(connection: sa.Connection, seal: Seal, user: str, code: str, now_ms: int) -> str | None:
    """Spend a code of the user's authenticator, or a recovery code.

    Returns which it was (``authenticator``, ``recovery code``), or None for one that does not count.
    """
    row = connection.execute(sa.select(user_table).where(user_table.c.name == user)).one()
    if row.code_secret is None:
        return None
    step = step_of_code(seal, user, row.code_secret, code, now_ms, row.code_step)
    if step is not None:
        connection.execute(sa.update(user_table).where(user_table.c.name == user).values(code_step=step))
        return "authenticator"
    mine = (recovery_code.c.user == user, recovery_code.c.code_hash == _recovery_digest(code))
    if connection.execute(sa.delete(recovery_code).where(*mine)).rowcount:
        return "recovery code"
    return None


def set_authenticator(connection: sa.Connection, user: str, sealed: bytes, step: int) -> list[str]:
    """Let a user have this authenticator, whose code of time step ``step`` was given; returns new recovery codes."""
    values = {"code_secret": sealed, "code_step": step}
    connection.execute(sa.update(user_table).where(user_table.c.name == user).values(values))
    return renew_recovery_codes(connection, user)


def renew_recovery_codes(connection: sa.Connection, user: str) -> list[str]:
    """New recovery codes instead of the old ones; they are not kept and cannot be shown again."""
    connection.execute(sa.delete(recovery_code).where(recovery_code.c.user == user))
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    for code in codes:
        connection.execute(sa.insert(recovery_code).values(user=user, code_hash=_recovery_digest(code)))
    return codes


def remove_authenticator(connection: sa.Connection, user: str) -> None:
    """Take a user's authenticator and recovery codes away."""
    connection.execute(sa.update(user_table).where(user_table.c.name == user).values(code_secret=None, code_step=None))
    connection.execute(sa.delete(recovery_code).where(recovery_code.c.user == user))


def _of(user: str) -> str:
    return f"authenticator of {user}"


def _recovery_code() -> str:
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))


def _recovery_digest(code: str) -> bytes:
    return digest("".join(c for c in code.casefold() if c.isalnum())[:64])
