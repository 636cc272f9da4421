"""The form of a new visit, as it is sent and shown again, and the visit that it asks for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.local_times import LocalTimeError, parse_moment
from lapel_gateway.visits.book import VisitError
from lapel_gateway.visits.plans import Wanted, minutes_of

MAX_FIELD = 1000
"""Characters of a field; the cores have closer bounds and words for them."""

LATER = "later"


class VisitForm(BaseModel):
    """As somebody filled it in: text all of it, so that what was typed is shown again with what is wrong with it."""

    model_config = ConfigDict(extra="ignore", str_max_length=MAX_FIELD)

    person: str = ""
    place: str = ""
    purpose: str = ""
    present: str = ""
    risk: str = ""
    buddy: str = ""
    expected_min: str = ""
    check_in_min: str = ""
    begins: str = "now"
    planned: str = ""
    zone: str = ""
    known: str = Field("", description="Numbers of the register's entries that were shown; the next time it goes on.")


BLANK = VisitForm()


def as_wanted(form: VisitForm, user: Principal) -> Wanted:
    """The visit asked for; whoever names nobody, or may name nobody, goes themselves. Raises VisitError."""
    planned_ms = None
    if form.begins == LATER:
        if not form.planned:
            raise VisitError("say when it begins, or let it begin now")
        try:
            planned_ms = parse_moment(form.planned, form.zone)
        except LocalTimeError as error:
            raise VisitError(str(error)) from None
    return Wanted(
        (form.person.strip() if user.may(Permission.RUN_VISITS) else "") or user.name,
        form.place,
        form.purpose,
        form.present,
        form.risk,
        form.buddy,
        minutes_of("a visit", form.expected_min) if form.expected_min.strip() else None,
        minutes_of("time between check-ins", form.check_in_min) if form.check_in_min.strip() else 0,
        planned_ms,
    )
