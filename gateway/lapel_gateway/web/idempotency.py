"""``Idempotency-Key``: a request that changes something, and whose answer was lost, may be sent again as it was.

Rules that hold here (after draft-ietf-httpapi-idempotency-key-header)
- The same user, key and request get the same answer for a day, and nothing is done again. Another request with that
  key is refused (422).
- While the first is being answered, a second waits for nothing: 409. So it is where the gateway ended in between: what
  became of the first is then for a human to look up.
- Authorisation comes first, every time. A fault of the gateway (5xx), and a request that was never understood, are not
  kept.
- Answers are kept encrypted: some show a secret once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from lapel_gateway.accounts.seal import Seal, SealError, digest
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.account_tables import idempotency
from lapel_gateway.web import problems
from lapel_gateway.web.access import declared, given_form_token, guard_of
from lapel_gateway.web.guard import SAFE_METHODS
from lapel_gateway.web.problems import Problem

HEADER = "Idempotency-Key"
KEPT_MS = 24 * 3_600_000
MAX_KEY_CHARACTERS = 255

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Kept:
    """An answer as it was given."""

    status: int
    media_type: str
    body: bytes


class Answers:
    """The answers to one user's requests with one key."""

    def __init__(self, engine: sa.Engine, seal: Seal, user: str, key: str) -> None:
        self._engine = engine
        self._seal = seal
        self._user = user
        self._key_hash = digest(key)
        self._here = sa.and_(idempotency.c.user == user, idempotency.c.key_hash == self._key_hash)

    def begin(self, request_hash: bytes, now_ms: int) -> Kept | None:
        """The answer that was given before; None where this is the first request of the key. Raises Problem."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(idempotency).where(idempotency.c.at_ms <= now_ms - KEPT_MS))
            row = connection.execute(sa.select(idempotency).where(self._here)).one_or_none()
            if row is None:
                values = {"user": self._user, "key_hash": self._key_hash, "request_hash": request_hash}
                connection.execute(sa.insert(idempotency).values(at_ms=now_ms, **values))
                return None
        if row.request_hash != request_hash:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"this {HEADER} was used for another request: take a new one"
            )
        if row.status is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                f"the request with this {HEADER} was begun and is not answered: look at what became of it",
                {"Retry-After": "5"},
            )
        try:
            return Kept(row.status, row.media_type, self._seal.open(row.body, self._of()))
        except SealError:
            raise Problem(HTTPStatus.CONFLICT, "this was done before; its answer cannot be read any more") from None

    def keep(self, answer: Kept) -> None:
        """Keep the answer of the request that was begun."""
        values = {"status": answer.status, "media_type": answer.media_type}
        with writing(self._engine) as connection:
            change = sa.update(idempotency).where(self._here)
            connection.execute(change.values(body=self._seal.seal(answer.body, self._of()), **values))

    def forget(self) -> None:
        """Nothing was done: the key is as good as new."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(idempotency).where(self._here))

    def _of(self) -> str:
        return f"answer to {self._user} {self._key_hash.hex()}"


class Route(APIRoute):
    """A route whose changes can be sent again, and whose answers leave out what was not said."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["response_model_exclude_unset"] = True
        super().__init__(*arguments, **options)

    def get_route_handler(self) -> Handler:
        """FastAPI's way to handle a request, with the key looked at before."""
        answer = super().get_route_handler()
        permissions = declared(self)

        async def handle(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or permissions is None or request.method in SAFE_METHODS:
                return await answer(request)
            guard = guard_of(request)
            body = await request.body()  # before a form is read of it: what is kept can be read twice
            given = await given_form_token(request)
            user = await run_in_threadpool(guard.authorise, request, permissions, given)
            if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
                words = f"{HEADER} is 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, words)
            answers = Answers(guard.engine, guard.installed.seal, user.name, key)
            kept = await run_in_threadpool(answers.begin, _hash(request, body), guard.now_ms())
            if kept is not None:
                return Response(kept.body, kept.status, {"Idempotent-Replayed": "true"}, kept.media_type)
            try:
                response = await answer(request)
            except Problem as problem:
                response = problems.answer(problem.status, problem.detail, problem.headers, **problem.extra)
            except BaseException:
                await run_in_threadpool(answers.forget)
                raise
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                await run_in_threadpool(answers.forget)
            else:
                media_type = response.headers.get("content-type", "")
                await run_in_threadpool(answers.keep, Kept(response.status_code, media_type, bytes(response.body)))
            return response

        return handle


def _hash(request: Request, body: bytes) -> bytes:
    path, query = str(request.scope["path"]), bytes(request.scope["query_string"])
    parts = (request.method.encode(), path.encode("utf-8", "surrogatepass"), query, body)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
