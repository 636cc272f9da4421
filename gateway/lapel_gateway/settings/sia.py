"""The settings of one alarm receiving centre: ``[[sia_receiver]]``."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import Field, StringConstraints, model_validator

from lapel_gateway.channels.sia_dc09.events import CODE_FORM, DEFAULT_CODES, KINDS, MAX_AREA, MAX_ZONE, EventCodes
from lapel_gateway.settings.section import Name, Port, Section, Text

_ToUpper = StringConstraints(to_upper=True, pattern=r"^[0-9A-Fa-f]*$")


class SiaCodes(Section):
    """What a centre is told of one kind of alarm. What is not given is as by default; "" tells nothing."""

    code: str | None = Field(None, description="Event when the alarm is raised.")
    restore: str | None = Field(None, description="Event when it is resolved.")
    cancel: str | None = Field(None, description="Event when its wearer cancels it.")
    zone: Annotated[int, Ge(0), Le(9999)] | None = Field(None, description="Zone, or point.")
    area: Annotated[int, Ge(0), Le(MAX_AREA)] | None = Field(None, description="Area, or partition; 0 for none.")


class SiaReceiverSection(Section):
    """An alarm receiving centre that takes ANSI/SIA DC-09 over TCP. As many [[sia_receiver]] tables as needed."""

    name: Name = Field(description="Short name for logs: lower case, digits and dashes.")
    host: Text = Field(description="Address of the main receiver; an IP address needs no name server in an emergency.")
    port: Port = Field(description="Its TCP port.")
    backup_host: Text | None = Field(None, description="Address of the backup receiver; unset: none.")
    backup_port: Port | None = Field(None, description="Its TCP port.")
    account: Annotated[str, _ToUpper] = Field(description="Account number, 3 to 16 hexadecimal digits, in quotes.")
    receiver: Annotated[str, _ToUpper] = Field("", description='Receiver number, hexadecimal; "" leaves it out.')
    line: Annotated[str, _ToUpper] = Field("0", description="Line number, or account prefix, hexadecimal.")
    token: Literal["SIA-DCS", "ADM-CID"] = Field(
        "SIA-DCS", description="Form of the events: SIA-DCS (SIA DC-03) or ADM-CID (Contact ID)."
    )
    key_file: Path | None = Field(
        None, description="File with the AES key, mode 0600; unset: plain, which anyone on the way can read and forge."
    )
    key_form: Literal["hex", "raw"] = Field(
        "hex", description="hex: 32, 48 or 64 hexadecimal digits; raw: a file of 16, 24 or 32 bytes."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="Longest attempt at one receiver; then the other is tried.")
    supervision_s: float = Field(60.0, ge=0, le=86_400, description="Between two link tests; 0 for none.")
    answers: bool = Field(
        False,
        description="Whether the centre has agreed that its people see to an alarm once its receiver has taken it: "
        "that is then their acknowledgement, and nobody else is called.",
    )
    answer_age_s: int = Field(
        120, ge=0, le=86_400, description="How old or new an encrypted answer may be by its time; 0 for any."
    )
    extended: list[Literal["time", "location"]] = Field(
        ["time"], description="Extended data that the receiver takes: time, and location where an alarm has one."
    )
    zones: dict[str, int] = Field({}, description="Zones of single devices, by device id, instead of the kind's zone.")
    codes: dict[str, SiaCodes] = Field(
        {}, description="Codes that differ from the defaults: by kind of alarm, code, restore, cancel, zone and area."
    )

    @model_validator(mode="after")
    def _fits_the_standard(self) -> SiaReceiverSection:
        if (self.backup_host is None) != (self.backup_port is None):
            raise ValueError("backup_host and backup_port go together, or neither is given")
        if not 3 <= len(self.account) <= 16:
            raise ValueError("account must have 3 to 16 hexadecimal digits")
        if len(self.receiver) > 6 or not 1 <= len(self.line) <= 6:
            raise ValueError("receiver and line have at most 6 hexadecimal digits")
        for kind in self.codes:
            if kind not in KINDS:
                closest = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.5)
                hint = f"; did you mean {closest[0]}?" if closest else f"; there are {', '.join(KINDS)}"
                raise ValueError(f"codes.{kind} is not a kind of alarm{hint}")
        form, words = CODE_FORM[self.token]
        most = MAX_ZONE[self.token]
        for kind, entry in self.event_codes().items():
            texts = {"code": entry.raised, "restore": entry.restore, "cancel": entry.cancel}
            for key, text in texts.items():
                if text and not form.fullmatch(text):
                    raise ValueError(f'codes.{kind}.{key}: must be {words}, or "" for nothing')
            if entry.zone > most:
                raise ValueError(f"codes.{kind}.zone: must be {most} or less")
        for device, zone in self.zones.items():
            if not 0 <= zone <= most:
                raise ValueError(f"zones: the zone of {device} must be from 0 to {most}")
        return self

    def event_codes(self) -> dict[str, EventCodes]:
        """The codes of every kind of alarm: the defaults of the token with what is set here."""
        codes = dict(DEFAULT_CODES[self.token])
        for kind, entry in self.codes.items():
            given = {"raised": entry.code, **entry.model_dump(exclude={"code"})}
            codes[kind] = replace(codes[kind], **{key: value for key, value in given.items() if value is not None})
        return codes
