"""Accounts: roles, passwords, sessions, scoped tokens, and what was done with them.

Who had a token may do what every token could do until now, with that same token.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NAME = sa.String(length=128)
_FORMER_ROLES = ("evidence", "responder", "wearer")


def upgrade() -> None:
    connection = op.get_bind()
    former = connection.exec_driver_sql("SELECT name, token_hash, created_ms, disabled_ms FROM user").all()
    with op.batch_alter_table("user") as batch:
        batch.drop_constraint("uq_user_token_hash", type_="unique")
        batch.drop_column("token_hash")
        batch.add_column(sa.Column("password_hash", sa.Text(), nullable=True))
        batch.add_column(sa.Column("password_ms", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("code_secret", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("code_step", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("subject", sa.Text(), nullable=True))
        batch.create_unique_constraint("uq_user_subject", ["subject"])
    _of_users()
    _of_the_gateway()
    roles = sa.table("user_role", sa.column("user"), sa.column("role"))
    tokens = sa.table(
        "api_token",
        *(sa.column(name) for name in ("token_hash", "user", "name", "made_ms", "ended_ms")),
    )
    for name, token_hash, created_ms, disabled_ms in former:
        for role in _FORMER_ROLES:
            connection.execute(sa.insert(roles).values(user=name, role=role))
        token = {"user": name, "token_hash": token_hash, "name": "first", "made_ms": created_ms}
        connection.execute(sa.insert(tokens).values(ended_ms=disabled_ms, **token))


def _user() -> sa.Column[str]:
    return sa.Column("user", _NAME, nullable=False)


def _of(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user"], ["user.name"], name=op.f(f"fk_{table}_user_user"))


def _of_users() -> None:
    op.create_table(
        "user_role",
        _user(),
        sa.Column("role", sa.String(length=16), nullable=False),
        _of("user_role"),
        sa.PrimaryKeyConstraint("user", "role", name=op.f("pk_user_role")),
    )
    op.create_table(
        "setup_link",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        _user(),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("new_authenticator", sa.Boolean(), nullable=False),
        _of("setup_link"),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_setup_link")),
    )
    op.create_index("ix_setup_link_user", "setup_link", ["user"])
    op.create_table(
        "recovery_code",
        _user(),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        _of("recovery_code"),
        sa.PrimaryKeyConstraint("user", "code_hash", name=op.f("pk_recovery_code")),
    )
    op.create_table(
        "session",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        _user(),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("how", sa.String(length=32), nullable=False),
        sa.Column("begun_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("fresh_secret", sa.LargeBinary(), nullable=True),
        _of("session"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_session_token_hash")),
    )
    op.create_index("ix_session_user", "session", ["user"])
    op.create_index("ix_session_begun_ms", "session", ["begun_ms"])
    op.create_table(
        "known_browser",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        _user(),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        _of("known_browser"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_known_browser")),
    )
    op.create_index("ix_known_browser_user", "known_browser", ["user"])
    op.create_table(
        "api_token",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        _user(),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        _of("api_token"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_index("ix_api_token_user", "api_token", ["user"])
    op.create_table(
        "idempotency",
        _user(),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        _of("idempotency"),
        sa.PrimaryKeyConstraint("user", "key_hash", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_at_ms", "idempotency", ["at_ms"])


def _of_the_gateway() -> None:
    op.create_table(
        "login_count",
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("free_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_login_count")),
    )
    op.create_index("ix_login_count_first_ms", "login_count", ["first_ms"])
    op.create_table(
        "audit",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at_ms", "audit", ["at_ms"])
    op.create_index("ix_audit_who", "audit", ["who", "id"])
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is only ever added to'); END"
        )
