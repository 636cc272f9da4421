"""The ledger's tables of accounts: users, what they may log in with, and what was done. See `schema` for the rules.

Rules that hold here
- No secret is here in a form that lets anybody in: passwords as Argon2id hashes, random secrets (tokens, sessions,
  links, codes) as SHA-256, what has to be read again (secrets of authenticators, answers that are kept) encrypted.
- A user's name is used once, for ever; rows of users are never deleted.
- ``audit`` is only ever added to: triggers refuse every change of a row, and every deletion.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from lapel_gateway.ledger.schema import RowNumber, metadata

UserName = String(128)

user = Table(
    "user",
    metadata,
    Column("name", UserName, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("disabled_ms", BigInteger),
    Column("password_hash", Text),  # NULL = none was set: nobody logs in by password
    Column("password_ms", BigInteger),
    Column("code_secret", LargeBinary),  # of the authenticator, encrypted; NULL = none
    Column("code_step", BigInteger),  # time step of the last code that was taken; NULL = none was yet
    Column("subject", Text, unique=True),  # issuer and subject at the identity provider; NULL = never came from one
)

user_role = Table(
    "user_role",
    metadata,
    Column("user", UserName, ForeignKey("user.name"), primary_key=True),
    Column("role", String(16), primary_key=True),
)

setup_link = Table(
    "setup_link",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("user", UserName, ForeignKey("user.name"), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("new_authenticator", Boolean, nullable=False),  # it also takes the authenticator away: the telephone is gone
    Index("ix_setup_link_user", "user"),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user", UserName, ForeignKey("user.name"), primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
)

session = Table(
    "session",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user", UserName, ForeignKey("user.name"), nullable=False),
    Column("stage", String(8), nullable=False),  # code, enrol, open
    Column("how", String(32), nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),  # wrong codes that were given in it
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("fresh_secret", LargeBinary),  # of an authenticator that is being set up, encrypted
    Index("ix_session_user", "user"),
    Index("ix_session_begun_ms", "begun_ms"),
)

known_browser = Table(
    "known_browser",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user", UserName, ForeignKey("user.name"), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Index("ix_known_browser_user", "user"),
)

login_count = Table(
    "login_count",
    metadata,
    Column("what", String(64), primary_key=True),  # hash of what is counted: a name at an address, a name, ...
    Column("tries", Integer, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("free_ms", BigInteger, nullable=False),  # no further try before
    Index("ix_login_count_first_ms", "first_ms"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user", UserName, ForeignKey("user.name"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("scopes", Text),  # permissions, separated by spaces; NULL = whatever the user's roles give
    Column("made_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("used_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Index("ix_api_token_user", "user"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),  # a user; "" = nobody known
    Column("how", Text, nullable=False),  # session, token, link, log-in, command
    Column("what", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("outcome", String(16), nullable=False),  # done, allowed, refused
    Column("detail", Text, nullable=False),
    Column("address", Text, nullable=False),  # from where; "" = this machine's command line
    Index("ix_audit_at_ms", "at_ms"),
    Index("ix_audit_who", "who", "id"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("user", UserName, ForeignKey("user.name"), primary_key=True),
    Column("key_hash", LargeBinary, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("status", Integer),  # NULL = not answered yet
    Column("media_type", Text),
    Column("body", LargeBinary),  # encrypted
    Index("ix_idempotency_at_ms", "at_ms"),
)
