"""What a request looks for among the clips, the same in the API and on the page."""

from __future__ import annotations

from datetime import tzinfo
from http import HTTPStatus
from typing import Annotated

import sqlalchemy as sa
from pydantic import BaseModel, Field

from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import PeriodError, parse_bound
from lapel_gateway.viewing.catalogue import MAX_WORDS, Found, SearchError, Wanted, find_clips
from lapel_gateway.web.problems import Problem

Word = Annotated[str, Field(max_length=128)]


class ClipSearch(BaseModel):
    """A query; what is empty leaves everything in. ``after``: where its page begins, as the page before said."""

    begin: Annotated[str, Field(alias="from", max_length=64)] = ""
    """A date or time as people write it."""
    to: Annotated[str, Field(max_length=64)] = ""
    """The same; a last day is whole."""
    person: Word = ""
    team: Word = ""
    device: Word = ""
    kind: Word = ""
    condition: Word = ""
    notice: Word = ""
    words: Annotated[str, Field(max_length=MAX_WORDS)] = ""
    after: Word = ""

    def find(self, engine: sa.Engine, user: Principal, zone: tzinfo | None, limit: int, state: str = "") -> Found:
        """The clips that somebody may know of. ``zone``: of dates, None = this machine's. Raises Problem."""
        try:
            wanted = Wanted(
                from_ms=parse_bound(self.begin, zone) if self.begin else None,
                to_ms=parse_bound(self.to, zone, last=True) if self.to else None,
                person=self.person,
                team=self.team,
                device=self.device,
                started_by=self.kind,
                condition=self.condition,
                notice=self.notice,
                state=state,
                words=self.words,
            )
            with reading(engine) as connection:
                return find_clips(connection, wanted, user, limit, self.after)
        except (PeriodError, SearchError) as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
