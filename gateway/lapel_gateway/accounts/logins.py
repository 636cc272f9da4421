"""Logging in at a browser: the password, then the code where there is an authenticator or a role asks for one.

Rules that hold here
- A name that nobody has, a user without a password, a disabled one and a wrong password get the same answer after the
  same work. Who asks too often waits (`throttle`), whoever they say they are.
- Every try ends in the audit log, with its user where there is one.
- A session gets no further than its stage: `code` waits for a code, `enrol` for an authenticator to be set up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.accounts import authenticators, throttle
from lapel_gateway.accounts.audit import DONE, REFUSED, Actor, note
from lapel_gateway.accounts.passwords import check_password, hash_password, is_outdated, verify_password
from lapel_gateway.accounts.rules import Rules
from lapel_gateway.accounts.seal import Seal
from lapel_gateway.accounts.sessions import (
    Browser,
    Session,
    Stage,
    begin_session,
    end_session,
    end_sessions,
    forget_old,
    know_browser,
    known_to,
)
from lapel_gateway.accounts.setup_links import set_password
from lapel_gateway.accounts.users import plain_name, roles_of
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import session as session_table
from lapel_gateway.ledger.account_tables import user as user_table

MAX_WRONG_CODES = 5
"""In one session; then the password is asked for again."""

MAX_NAME_CHARACTERS = 128


class LogInRefused(Exception):
    """Not let in; the message is for the person, and tells nothing about whether there is such a user."""


@dataclass(frozen=True)
class LoggedIn:
    """A step that was taken: a new token for the session's cookie, and where the session stands now."""

    user: str
    token: str
    stage: Stage
    known: str = ""
    """A cookie that says that this browser is no stranger; "" = it keeps what it has."""
    recovery_codes: tuple[str, ...] = ()
    """Shown this once, where an authenticator was set up."""


class LogIns:
    """Lets people in. Threads may ask side by side."""

    def __init__(self, engine: sa.Engine, seal: Seal, rules: Rules, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._seal = seal
        self._rules = rules
        self._now_ms = now_ms

    def password(self, name: str, password: str, browser: Browser) -> LoggedIn:
        """The first step. Raises LogInRefused, TooMany."""
        name = plain_name(name)[:MAX_NAME_CHARACTERS]
        now_ms = self._now_ms()
        known = known_to(self._engine, browser, name, now_ms)
        counts = throttle.counts_of_password(name, browser.address, known)
        throttle.count_try(self._engine, counts, now_ms)
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(user_table).where(user_table.c.name == name)).one_or_none()
        kept = None if row is None or row.disabled_ms is not None else row.password_hash
        good = verify_password(kept, password)
        renewed = hash_password(password) if good and kept is not None and is_outdated(kept) else None
        with writing(self._engine) as connection:
            who = Actor("" if row is None else name, "log-in", browser.address)
            # What was read before may be over by now: a password that was changed, a user who was disabled.
            now = sa.select(user_table.c.password_hash).where(user_table.c.name == name)
            unchanged = connection.execute(now.where(user_table.c.disabled_ms.is_(None))).scalar_one_or_none() == kept
            if not good or not unchanged:
                note(connection, who, now_ms, "log in", outcome=REFUSED, detail="password")
            else:
                throttle.take_back(connection, counts)
                if row is not None and renewed is not None:
                    set_password(connection, name, renewed, row.password_ms)
                return self._step(connection, name, self._stage(connection, name), "password", browser, now_ms)
        raise LogInRefused("that name and password do not go together, or this user may not log in")

    def from_provider(self, name: str, browser: Browser) -> LoggedIn:
        """Let somebody in whom the identity provider has vouched for, code included where it is asked for there."""
        with writing(self._engine) as connection:
            return self._step(connection, name, "open", "identity provider", browser, self._now_ms())

    def code(self, session: Session, code: str, browser: Browser) -> LoggedIn:
        """The second step, with a code of the authenticator or a recovery code. Raises LogInRefused, TooMany."""
        now_ms = self._now_ms()
        known = known_to(self._engine, browser, session.user, now_ms)
        counts = throttle.counts_of_code(session.user, browser.address, known)
        throttle.count_try(self._engine, counts, now_ms)
        with writing(self._engine) as connection:
            spent = authenticators.take_code(connection, self._seal, session.user, code, now_ms)
            if spent is not None and end_session(connection, session.id) is not None:
                throttle.take_back(connection, counts)
                return self._step(connection, session.user, "open", f"password, {spent}", browser, now_ms)
            tries = sa.update(session_table).where(session_table.c.id == session.id)
            connection.execute(tries.values(tries=session_table.c.tries + 1))
            spoilt = session_table.c.id == session.id, session_table.c.tries >= MAX_WRONG_CODES
            ended = connection.execute(sa.delete(session_table).where(*spoilt)).rowcount
            who = Actor(session.user, "log-in", browser.address)
            note(connection, who, now_ms, "log in", outcome=REFUSED, detail="code")
        again = "log in again" if ended else "wait for the next one, and look whether the telephone's clock is right"
        raise LogInRefused(f"that code is wrong, or was used before: {again}")

    def begin_authenticator(self, session: Session, password: str, browser: Browser) -> bytes:
        """Begin to set an authenticator up in an open session; takes the password. Raises LogInRefused, TooMany."""
        self._confirmed(session, password, browser, self._now_ms())
        return self.fresh_secret(session)

    def fresh_secret(self, session: Session) -> bytes:
        """The secret that is being set up in this session, encrypted; made at the first call."""
        if session.fresh_secret is not None:
            return session.fresh_secret
        made = authenticators.new_authenticator(self._seal, session.user)
        here = session_table.c.id == session.id
        with writing(self._engine) as connection:
            first = sa.update(session_table).where(here, session_table.c.fresh_secret.is_(None))
            connection.execute(first.values(fresh_secret=made))
            return connection.execute(sa.select(session_table.c.fresh_secret).where(here)).scalar_one_or_none() or made

    def enrol(self, session: Session, code: str, browser: Browser) -> LoggedIn:
        """Set an authenticator up, of which this is a code; its user's other sessions end. Raises LogInRefused."""
        now_ms = self._now_ms()
        sealed = session.fresh_secret
        step = None
        if sealed is not None:
            step = authenticators.step_of_code(self._seal, session.user, sealed, code, now_ms, None)
        if sealed is None or step is None:
            raise LogInRefused("that is no code of this picture: take it anew, and look whether the clock is right")
        with writing(self._engine) as connection:
            codes = authenticators.set_authenticator(connection, session.user, sealed, step)
            end_sessions(connection, session.user)
            who = Actor(session.user, "session", browser.address)
            note(connection, who, now_ms, "set up authenticator", session.user)
            done = self._step(connection, session.user, "open", "password, authenticator", browser, now_ms)
        return LoggedIn(done.user, done.token, done.stage, done.known, tuple(codes))

    def change_password(self, session: Session, old: str, new: str, browser: Browser) -> None:
        """Change one's own password; one's other sessions end. Raises LogInRefused, TooMany, PasswordError."""
        now_ms = self._now_ms()
        hashed = self._confirmed(session, old, browser, now_ms, new)
        with writing(self._engine) as connection:
            set_password(connection, session.user, hashed, now_ms)
            end_sessions(connection, session.user, but=session.id)
            note(connection, Actor(session.user, "session", browser.address), now_ms, "set password", session.user)

    def remove_authenticator(self, session: Session, password: str, browser: Browser) -> None:
        """Do without an authenticator, where no role asks for one. Raises LogInRefused, TooMany."""
        now_ms = self._now_ms()
        if self.needs_code(session.user):
            raise LogInRefused("a role of yours needs an authenticator; a new one is set up in its place")
        self._confirmed(session, password, browser, now_ms)
        with writing(self._engine) as connection:
            authenticators.remove_authenticator(connection, session.user)
            end_sessions(connection, session.user, but=session.id)
            who = Actor(session.user, "session", browser.address)
            note(connection, who, now_ms, "remove authenticator", session.user)

    def needs_code(self, user: str) -> bool:
        """Whether a role of this user asks for an authenticator."""
        with reading(self._engine) as connection:
            return bool(self._rules.code_roles & set(roles_of(connection, user)))

    def _confirmed(self, session: Session, password: str, browser: Browser, now_ms: int, new: str | None = None) -> str:
        """The hash of ``new`` once the present password was given. Raises LogInRefused, TooMany, PasswordError."""
        known = known_to(self._engine, browser, session.user, now_ms)
        counts = throttle.counts_of_password(session.user, browser.address, known)
        throttle.count_try(self._engine, counts, now_ms)
        with reading(self._engine) as connection:
            query = sa.select(user_table.c.password_hash).where(user_table.c.name == session.user)
            kept = connection.execute(query).scalar_one_or_none()
        good = verify_password(kept, password)
        with writing(self._engine) as connection:
            if good:
                throttle.take_back(connection, counts)
            else:
                who = Actor(session.user, "session", browser.address)
                note(connection, who, now_ms, "confirm password", session.user, REFUSED)
        if not good:
            raise LogInRefused("that is not your present password")
        if new is None:
            return ""
        check_password(new, session.user, self._rules.least_characters)
        return hash_password(new)

    def _stage(self, connection: sa.Connection, name: str) -> Stage:
        secret = connection.execute(sa.select(user_table.c.code_secret).where(user_table.c.name == name)).scalar_one()
        if secret is not None:
            return "code"
        return "enrol" if self._rules.code_roles & set(roles_of(connection, name)) else "open"

    def _step(
        self, connection: sa.Connection, name: str, stage: Stage, how: str, browser: Browser, now_ms: int
    ) -> LoggedIn:
        """A session at its next stage; a browser that got all the way is no stranger any more."""
        forget_old(connection, self._rules.limits, now_ms)
        token = begin_session(connection, name, stage, how, browser, now_ms)
        known = ""
        if stage == "open":
            known = know_browser(connection, name, now_ms)
            note(connection, Actor(name, "log-in", browser.address), now_ms, "log in", outcome=DONE, detail=how)
        return LoggedIn(name, token, stage, known)
