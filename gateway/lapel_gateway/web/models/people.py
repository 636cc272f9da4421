"""People in answers."""

from __future__ import annotations

from lapel_gateway.web.models.shapes import Shape


class Person(Shape):
    """A person."""

    name: str
    team: str
    phone: str


class People(Shape):
    """By name."""

    people: list[Person]
