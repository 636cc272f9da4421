"""Logging in: passwords, codes, waiting, sessions; what an attacker gains, and what a stranger cannot take away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argon2
import pyotp
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts import authenticators, passwords, throttle
from lapel_gateway.accounts.audit import read_lines
from lapel_gateway.accounts.logins import MAX_WRONG_CODES, LoggedIn, LogInRefused, LogIns
from lapel_gateway.accounts.passwords import PasswordError, check_password, verify_password
from lapel_gateway.accounts.rules import Limits, Rules
from lapel_gateway.accounts.seal import Seal
from lapel_gateway.accounts.sessions import (
    HALF_MS,
    MAX_SESSIONS,
    Browser,
    Session,
    begin_session,
    find_session,
    list_sessions,
)
from lapel_gateway.accounts.setup_links import LinkGone, make_link, read_link, use_link
from lapel_gateway.accounts.throttle import EVERYBODY, NAME_AT_ADDRESS, TooMany, network_of
from lapel_gateway.accounts.users import UserError, add_user, disable_user
from lapel_gateway.ledger import open_ledger, reading, writing
from lapel_gateway.ledger.account_tables import known_browser, login_count, user
from tests.gateway.ledgers import new_ledger
from tests.support.accounts import BY

NOW_MS = 1_760_000_000_000
PASSWORD = "correct horse battery staple"
HOUR_MS = 3_600_000
LIMITS = Limits(idle_ms=HOUR_MS, absolute_ms=24 * HOUR_MS)
HOME = Browser("192.0.2.1", "Home/1")
STRANGER = Browser("198.51.100.9", "Evil/1")


@dataclass
class Door:
    """Where people log in, on a clock of its own."""

    engine: sa.Engine
    seal: Seal
    now_ms: int = NOW_MS
    code_roles: frozenset[str] = frozenset({"evidence"})

    @property
    def logins(self) -> LogIns:
        return LogIns(self.engine, self.seal, Rules(LIMITS, 15, self.code_roles), lambda: self.now_ms)

    def add(self, name: str, role: str = "responder", password: str = PASSWORD) -> None:
        add_user(self.engine, name, [role], BY, self.now_ms)
        self.set(name, password)

    def set(self, name: str, password: str = PASSWORD, **options: Any) -> None:
        code = make_link(self.engine, name, BY, self.now_ms, HOUR_MS, **options)
        use_link(self.engine, code, password, 15, "192.0.2.1", self.now_ms)

    def enter(self, name: str, password: str = PASSWORD, browser: Browser = HOME) -> LoggedIn:
        return self.logins.password(name, password, browser)

    def session(self, token: str) -> Session | None:
        return find_session(self.engine, token, LIMITS, self.now_ms)

    def inside(self, token: str) -> Session:
        found = self.session(token)
        assert found is not None
        return found

    def fail(self, name: str, browser: Browser, times: int = 1) -> int:
        """Wrong tries, waiting as told; returns how long all the waiting was, in milliseconds."""
        began_ms = self.now_ms
        for number in range(times):
            while True:
                try:
                    self.enter(name, f"wrong {number}", browser)
                except TooMany as early:
                    self.now_ms += early.wait_ms
                except LogInRefused:
                    break
        return self.now_ms - began_ms

    def enrol(self, name: str) -> tuple[pyotp.TOTP, tuple[str, ...]]:
        """Set up an authenticator; returns it with the recovery codes."""
        session = self.inside(self.enter(name).token)
        sealed = self.logins.begin_authenticator(session, PASSWORD, HOME)
        totp = pyotp.TOTP(authenticators.secret_text(self.seal, name, sealed))
        done = self.logins.enrol(self.inside_again(session), totp.at(self.now_ms // 1000), HOME)
        return totp, done.recovery_codes

    def inside_again(self, session: Session) -> Session:
        (found,) = [one for one in list_sessions(self.engine, LIMITS, self.now_ms) if one.id == session.id]
        return found


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    with new_ledger(tmp_path) as engine:
        yield Door(engine, Seal(bytes(32)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least that Argon2 takes, where a test gives many."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    passwords._nobodys.cache_clear()


# --- passwords ---


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 15 characters"),
        ("x" * 257, "at most 256"),
        ("a" * 15, "different characters"),
        ("ann archer archer 1", "more than your name"),
        ("AnnArcherAnnArcher", "more than your name"),
        ("lapel password 123", "more than your name"),
    ],
)
def test_a_password_that_is_guessed_first_is_refused_with_why(password: str, words: str) -> None:
    with pytest.raises(PasswordError, match=words) as refused:
        check_password(password, "Ann Archer", 15)
    assert password not in str(refused.value)


@pytest.mark.parametrize("password", [PASSWORD, "пароль длинный 木木", "no capitals or digits", "ann walks her dogs"])
def test_a_long_password_is_taken_whatever_it_is_made_of(password: str) -> None:
    check_password(password, "Ann Archer", 15)


def test_a_password_is_kept_as_argon2id_with_the_parameters_of_rfc_9106() -> None:
    kept = passwords.hash_password(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not passwords.is_outdated(kept)


def test_the_same_text_typed_on_another_keyboard_is_the_same_password(quick: None) -> None:
    kept = passwords.hash_password("Zoë’s caffè è chiuso")
    assert verify_password(kept, "Zoë’s caffè è chiuso")
    assert not verify_password(kept, "Zoe’s caffe e chiuso")


def test_more_than_is_taken_of_a_password_is_never_a_good_one(quick: None) -> None:
    kept = passwords.hash_password("x" * 256)
    assert verify_password(kept, "x" * 256)
    assert not verify_password(kept, "x" * 100_000)


def test_a_password_of_weaker_parameters_is_hashed_anew_at_the_next_log_in(door: Door) -> None:
    add_user(door.engine, "Ann", ["responder"], BY, NOW_MS)
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with writing(door.engine) as connection:
        connection.execute(sa.update(user).values(password_hash=weak, password_ms=NOW_MS - 7))

    door.enter("Ann")

    with reading(door.engine) as connection:
        row = connection.execute(sa.select(user)).one()
    assert row.password_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert row.password_ms == NOW_MS - 7
    assert verify_password(row.password_hash, PASSWORD)


def test_neither_password_nor_session_nor_authenticator_lies_readable_in_the_ledger(door: Door, tmp_path: Path) -> None:
    door.add("Ann")
    totp, codes = door.enrol("Ann")
    token = door.enter("Ann").token
    door.engine.dispose()
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (PASSWORD, token, totp.secret, codes[0], codes[0].replace("-", "")):
        assert secret.encode() not in content


# --- the same answer for everybody who is not let in ---


def test_every_reason_not_to_let_somebody_in_has_the_same_answer_and_costs_a_hash(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.add("Ann")
    door.add("Ben")
    disable_user(door.engine, "Ben", BY, NOW_MS)
    add_user(door.engine, "Cy", ["wearer"], BY, NOW_MS)
    seen = []

    class Watched:
        def verify(self, kept: str, password: str) -> bool:
            seen.append(kept.split("$")[1:4])
            return argon2.PasswordHasher().verify(kept, password)

    monkeypatch.setattr(passwords, "_HASHER", Watched())
    monkeypatch.setattr(passwords, "_nobodys", lambda: argon2.PasswordHasher().hash("x"))

    answers = set()
    for name, password in (
        ("Ann", "wrong"),
        ("Ben", PASSWORD),
        ("Cy", ""),
        ("Nobody", PASSWORD),
        ("", ""),
        ("\0", "x"),
    ):
        with pytest.raises(LogInRefused) as refused:
            door.enter(name, password)
        answers.add(str(refused.value))

    assert len(answers) == 1
    assert seen == [["argon2id", "v=19", "m=65536,t=3,p=4"]] * 6


def test_every_try_is_in_the_audit_log_but_no_name_that_nobody_has(door: Door) -> None:
    door.add("Ann")
    for name in ("Ann", "a password typed here"):
        with pytest.raises(LogInRefused):
            door.enter(name, "wrong", STRANGER)
    door.enter("Ann")

    with reading(door.engine) as connection:
        lines = [line for line in read_lines(connection, 10) if line.what == "log in"]

    assert [(line.who, line.outcome, line.address) for line in reversed(lines)] == [
        ("Ann", "refused", "198.51.100.9"),
        ("", "refused", "198.51.100.9"),
        ("Ann", "done", "192.0.2.1"),
    ]
    assert not any("typed" in f"{line}" for line in lines)


# --- waiting ---


def test_waiting_doubles_with_every_wrong_try_of_a_name_from_an_address(door: Door, quick: None) -> None:
    door.add("Ann")
    assert door.fail("Ann", STRANGER, 4) == 0
    waits = [door.fail("Ann", STRANGER) for _ in range(12)]
    assert waits == [1000 << n for n in range(10)] + [NAME_AT_ADDRESS.longest_ms] * 2
    assert door.fail("Nobody at all", STRANGER, 5) == 1000


def test_a_day_of_guessing_from_one_address_is_little_more_than_a_hundred_tries(door: Door, quick: None) -> None:
    door.add("Ann")
    tries = 0
    while door.now_ms < NOW_MS + 24 * HOUR_MS:
        door.fail("Ann", STRANGER)
        tries += 1
    assert tries <= 120


def test_a_restart_forgives_nothing(door: Door, quick: None, tmp_path: Path) -> None:
    door.add("Ann")
    door.fail("Ann", STRANGER, 9)
    door.engine.dispose()
    engine = open_ledger(tmp_path / "ledger.sqlite")

    with pytest.raises(TooMany) as early:
        Door(engine, door.seal, door.now_ms).enter("Ann", PASSWORD, STRANGER)

    assert early.value.wait_ms == 32_000
    engine.dispose()


def test_tries_side_by_side_gain_nothing(door: Door, quick: None) -> None:
    door.add("Ann")

    def attempt(number: int) -> str:
        try:
            door.enter("Ann", f"wrong {number}", STRANGER)
        except (TooMany, LogInRefused) as error:
            return type(error).__name__
        return "in"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(24)))

    assert sorted(set(answers)) == ["LogInRefused", "TooMany"]
    assert answers.count("LogInRefused") == NAME_AT_ADDRESS.free


def test_a_stranger_who_guesses_all_night_keeps_nobody_out(door: Door, quick: None) -> None:
    door.add("Ann")
    known = Browser("203.0.113.5", "Phone/1", door.enter("Ann", browser=HOME).known)
    for number in range(40):  # from many addresses, far beyond what is free for a name, and for all
        stranger = Browser(f"198.51.{number}.9", "Evil/1")
        for _ in range(10):
            try:
                door.enter("Ann", "wrong", stranger)
            except (TooMany, LogInRefused):
                continue

    assert door.enter("Ann", browser=known).stage == "open"
    # From a browser that was never here she waits, but not for long.
    elsewhere = Browser("203.0.113.77", "Borrowed/1")
    with pytest.raises(TooMany) as early:
        door.enter("Ann", browser=elsewhere)
    assert early.value.wait_ms <= throttle.NAME.longest_ms
    door.now_ms += early.value.wait_ms
    assert door.enter("Ann", browser=elsewhere).stage == "open"


def test_a_good_log_in_forgets_the_wrong_tries_of_that_person_there(door: Door, quick: None) -> None:
    door.add("Ann")
    for _ in range(9):
        door.fail("Ann", HOME, 3)
        door.enter("Ann")
    assert door.now_ms == NOW_MS


def test_a_browser_is_known_to_its_user_alone_and_waits_by_its_own_count(door: Door, quick: None) -> None:
    door.add("Ann")
    door.add("Ben")
    bens = Browser(STRANGER.address, "Evil/1", door.enter("Ben").known)
    assert door.fail("Ann", bens, 5) == 1000  # as a stranger's
    mine = Browser(STRANGER.address, "Evil/1", door.enter("Ann").known)
    assert door.fail("Ann", mine, 11) == 1000


def test_one_address_that_tries_many_names_is_slowed_down(door: Door, quick: None) -> None:
    waited = [door.fail(f"name {number}", STRANGER) for number in range(33)]
    assert waited[:30] == [0] * 30
    assert waited[30:] == [1000, 2000, 4000]
    assert door.fail("name 99", HOME) == 0


def test_all_strangers_together_are_slowed_down_and_never_stopped(door: Door, quick: None) -> None:
    began_ms = door.now_ms
    for number in range(EVERYBODY.free + 20):
        door.fail(f"name {number}", Browser(f"198.51.{number // 250}.{number % 250}", ""))
    assert 15_000 <= door.now_ms - began_ms <= 20_000


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_of_ipv6_is_counted_by_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_counts_are_forgotten_after_a_day_and_a_clock_that_was_set_back_locks_nobody_out(
    door: Door, quick: None
) -> None:
    door.add("Ann")
    door.fail("Ann", STRANGER, 12)
    door.now_ms -= 30 * 24 * HOUR_MS
    assert door.enter("Ann", browser=STRANGER).user == "Ann"
    door.now_ms = NOW_MS + 48 * HOUR_MS
    door.fail("Ben", STRANGER)
    with reading(door.engine) as connection:
        firsts = connection.execute(sa.select(login_count.c.first_ms)).scalars().all()
    assert set(firsts) == {door.now_ms}


# --- codes ---


def test_the_first_log_in_of_a_role_that_needs_a_code_sets_an_authenticator_up(door: Door, quick: None) -> None:
    door.add("Eve", "evidence")
    first = door.enter("Eve")
    assert first.stage == "enrol"
    session = door.inside(first.token)
    secret = authenticators.secret_text(door.seal, "Eve", door.logins.fresh_secret(session))
    session = door.inside(first.token)
    with pytest.raises(LogInRefused, match="no code of this picture"):
        door.logins.enrol(session, "000000", HOME)
    done = door.logins.enrol(session, pyotp.TOTP(secret).at(NOW_MS // 1000), HOME)
    assert (done.stage, len(done.recovery_codes)) == ("open", 10)
    assert door.session(first.token) is None
    assert door.enter("Eve").stage == "code"


def test_a_code_counts_once_and_none_before_it_counts_any_more(door: Door, quick: None) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += 60_000
    now_s = door.now_ms // 1000
    for code, good in ((totp.at(now_s), True), (totp.at(now_s), False), (totp.at(now_s - 30), False)):
        session = door.inside(door.enter("Ann").token)
        if good:
            assert door.logins.code(session, f" {code[:3]} {code[3:]} ", HOME).stage == "open"
        else:
            with pytest.raises(LogInRefused):
                door.logins.code(session, code, HOME)


@pytest.mark.parametrize(("steps", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_may_be_one_step_early_or_late(door: Door, quick: None, steps: int, good: bool) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += HOUR_MS
    session = door.inside(door.enter("Ann").token)
    code = totp.at(door.now_ms // 1000 + 30 * steps)
    if good:
        assert door.logins.code(session, code, HOME).stage == "open"
    else:
        with pytest.raises(LogInRefused):
            door.logins.code(session, code, HOME)


def test_two_browsers_that_give_the_same_code_at_once_do_not_both_get_in(door: Door, quick: None) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += 60_000
    sessions = [door.inside(door.enter("Ann").token) for _ in range(4)]

    def attempt(session: Session) -> bool:
        try:
            return door.logins.code(session, totp.at(door.now_ms // 1000), HOME).stage == "open"
        except LogInRefused:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, sessions)) == [False, False, False, True]


def test_after_five_wrong_codes_the_password_is_asked_for_again(door: Door, quick: None) -> None:
    door.add("Ann")
    door.enrol("Ann")
    token = door.enter("Ann").token
    session = door.inside(token)
    for number in range(MAX_WRONG_CODES):
        with pytest.raises(LogInRefused, match="log in again" if number == MAX_WRONG_CODES - 1 else "next one"):
            door.logins.code(session, "000000", HOME)
    assert door.session(token) is None


def test_whoever_has_the_password_guesses_few_codes_in_a_day(door: Door, quick: None) -> None:
    door.add("Ann")
    door.enrol("Ann")
    tries = 0
    while door.now_ms < NOW_MS + 24 * HOUR_MS:
        session = door.inside(door.enter("Ann", browser=STRANGER).token)
        for _ in range(MAX_WRONG_CODES - 1):
            try:
                door.logins.code(session, "000000", STRANGER)
            except TooMany as early:
                door.now_ms += early.wait_ms
            except LogInRefused:
                tries += 1
    assert tries <= 150


def test_a_recovery_code_counts_once_however_it_is_typed(door: Door, quick: None) -> None:
    door.add("Ann")
    _, codes = door.enrol("Ann")
    door.now_ms += 60_000
    session = door.inside(door.enter("Ann").token)
    assert door.logins.code(session, codes[3].upper().replace("-", " "), HOME).stage == "open"
    again = door.inside(door.enter("Ann").token)
    with pytest.raises(LogInRefused):
        door.logins.code(again, codes[3], HOME)
    with pytest.raises(LogInRefused):
        door.logins.code(again, "", HOME)


def test_an_authenticator_of_another_key_or_user_is_none(door: Door, quick: None) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += 60_000
    door.seal = Seal(bytes([1]) * 32)
    session = door.inside(door.enter("Ann").token)
    with pytest.raises(LogInRefused):
        door.logins.code(session, totp.at(door.now_ms // 1000), HOME)


def test_an_authenticator_is_taken_off_with_the_password_where_no_role_asks_for_one(door: Door, quick: None) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += 60_000
    done = door.logins.code(door.inside(door.enter("Ann").token), totp.at(door.now_ms // 1000), HOME)
    session = door.inside(done.token)
    with pytest.raises(LogInRefused, match="present password"):
        door.logins.remove_authenticator(session, "wrong", HOME)
    door.code_roles = frozenset({"responder"})
    with pytest.raises(LogInRefused, match="a role of yours"):
        door.logins.remove_authenticator(session, PASSWORD, HOME)
    door.code_roles = frozenset()
    door.logins.remove_authenticator(session, PASSWORD, HOME)
    assert door.enter("Ann").stage == "open"


def test_a_new_authenticator_takes_the_present_password(door: Door, quick: None) -> None:
    door.add("Ann")
    session = door.inside(door.enter("Ann").token)
    with pytest.raises(LogInRefused):
        door.logins.begin_authenticator(session, "wrong", HOME)
    with pytest.raises(LogInRefused):
        door.logins.enrol(door.inside_again(session), "000000", HOME)


# --- sessions ---


def test_a_session_ends_after_a_time_without_requests_and_after_a_time_in_all(door: Door, quick: None) -> None:
    door.add("Ann")
    idle, busy = door.enter("Ann").token, door.enter("Ann").token
    for _ in range(23):
        door.now_ms += HOUR_MS
        assert door.session(busy) is not None
    assert door.session(idle) is None
    door.now_ms += HOUR_MS
    assert door.session(busy) is None


def test_a_changed_password_ends_every_other_session_at_once(door: Door, quick: None) -> None:
    door.add("Ann")
    other, mine = door.enter("Ann").token, door.enter("Ann").token
    session = door.inside(mine)
    with pytest.raises(LogInRefused):
        door.logins.change_password(session, "wrong", "another long password", HOME)
    with pytest.raises(PasswordError):
        door.logins.change_password(session, PASSWORD, "short", HOME)
    assert door.session(other) is not None

    door.logins.change_password(session, PASSWORD, "another long password", HOME)

    assert door.session(other) is None
    assert door.session(mine) is not None
    with pytest.raises(LogInRefused):
        door.enter("Ann")
    assert door.enter("Ann", "another long password").stage == "open"


def test_a_disabled_users_sessions_and_links_end_at_once(door: Door, quick: None) -> None:
    door.add("Ann")
    token = door.enter("Ann").token
    code = make_link(door.engine, "Ann", BY, NOW_MS, HOUR_MS)
    disable_user(door.engine, "Ann", BY, NOW_MS)
    assert door.session(token) is None
    with pytest.raises(LinkGone):
        read_link(door.engine, code, NOW_MS)
    with pytest.raises(UserError, match="is disabled"):
        make_link(door.engine, "Ann", BY, NOW_MS, HOUR_MS)
    with pytest.raises(LogInRefused):
        door.enter("Ann")


def test_half_a_log_in_is_over_after_ten_minutes_however_busy(door: Door, quick: None) -> None:
    door.add("Eve", "evidence")
    token = door.enter("Eve").token
    door.now_ms += HALF_MS - 1
    assert door.inside(token).stage == "enrol"
    door.now_ms += 1
    assert door.session(token) is None


def test_no_step_of_a_log_in_keeps_the_token_of_the_one_before(door: Door, quick: None) -> None:
    door.add("Ann")
    totp, _ = door.enrol("Ann")
    door.now_ms += 60_000
    first = door.enter("Ann")
    second = door.logins.code(door.inside(first.token), totp.at(door.now_ms // 1000), HOME)
    assert second.token != first.token
    assert door.session(first.token) is None


def test_the_oldest_session_ends_when_there_would_be_too_many(door: Door) -> None:
    add_user(door.engine, "Ann", ["wearer"], BY, NOW_MS)
    tokens = []
    for _ in range(MAX_SESSIONS + 3):
        with writing(door.engine) as connection:
            tokens.append(begin_session(connection, "Ann", "open", "password", HOME, NOW_MS))
    assert [door.session(token) is not None for token in tokens] == [False] * 3 + [True] * MAX_SESSIONS


def test_rows_of_sessions_and_browsers_that_are_over_do_not_pile_up(door: Door, quick: None) -> None:
    door.add("Ann")
    door.enter("Ann")
    door.now_ms += 181 * 24 * HOUR_MS
    door.enter("Ann")
    assert len(list_sessions(door.engine, LIMITS, NOW_MS)) == 1
    with reading(door.engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(known_browser)).scalar_one() == 1


# --- set-up links ---


def test_a_set_up_link_is_good_once_until_it_expires_and_only_the_newest(door: Door, quick: None) -> None:
    add_user(door.engine, "Ann", ["wearer"], BY, NOW_MS)
    older = make_link(door.engine, "Ann", BY, NOW_MS, HOUR_MS)
    newer = make_link(door.engine, "Ann", BY, NOW_MS, HOUR_MS)
    assert read_link(door.engine, newer, NOW_MS + HOUR_MS - 1).user == "Ann"
    for code, at_ms in ((older, NOW_MS), (newer, NOW_MS + HOUR_MS), ("", NOW_MS), ("x" * 9999, NOW_MS)):
        with pytest.raises(LinkGone):
            read_link(door.engine, code, at_ms)
    with pytest.raises(PasswordError):
        use_link(door.engine, newer, "short", 15, "", NOW_MS)
    assert use_link(door.engine, newer, PASSWORD, 15, "", NOW_MS) == "Ann"
    with pytest.raises(LinkGone):
        use_link(door.engine, newer, "yet another password", 15, "", NOW_MS)
    assert door.enter("Ann").stage == "open"


def test_a_set_up_link_ends_sessions_and_takes_an_authenticator_only_where_it_was_made_to(
    door: Door, quick: None
) -> None:
    door.add("Ann")
    door.enrol("Ann")
    session = list_sessions(door.engine, LIMITS, NOW_MS)
    assert len(session) == 1
    door.set("Ann")
    assert list_sessions(door.engine, LIMITS, NOW_MS) == []
    assert door.enter("Ann").stage == "code"
    door.set("Ann", new_authenticator=True)
    assert door.enter("Ann").stage == "open"
