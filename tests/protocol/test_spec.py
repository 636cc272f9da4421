"""protocol/SPEC.md says what the code does: its tables are compared with layouts, limits, names and machines."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import ModuleType

import pytest

from lapel_protocol import (
    alarm,
    clip,
    command,
    custody,
    errors,
    event,
    labels,
    limits,
    names,
    orders,
    recording,
    release,
    reports,
    updating,
    visit,
)
from lapel_protocol.errors import ProtocolError
from lapel_protocol.stream import _LAYOUT as SEGMENT_LAYOUT
from lapel_protocol.stream import segment_offset

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "protocol" / "SPEC.md").read_text()
CODE = re.compile(r"`([^`]+)`")


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table as rows of stripped cells, its heading first."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not inside:
            found.append([cells])
            inside = True
        elif set(line) - set("|- "):
            found[-1].append(cells)
    return found


def section(number: str) -> str:
    """The text under one heading, up to the next one."""
    start = re.search(rf"^#+ {re.escape(number)}\.? .*$", SPEC, re.MULTILINE)
    assert start, number
    rest = SPEC[start.end() :]
    following = re.search(r"^#+ ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def sizes_of(layout: str) -> list[int]:
    """The size of each field of a big-endian layout."""
    return [struct.calcsize(">" + field) for field in re.findall(r"\d*s|[A-Zi]", layout)]


LAYOUTS = [
    ("5.2", "Field", [*sizes_of(SEGMENT_LAYOUT), 4, "n"], limits.SEGMENT_HEADER_BYTES),
    ("6.1", "Field", [*sizes_of(clip.FIELDS_LAYOUT), 384, 40, 32, 32], limits.CLIP_HEADER_BYTES),
    ("6.2", "Field", [*sizes_of(clip.END_LAYOUT), 32], limits.CLIP_END_BYTES),
    ("7.1", "Field", [*sizes_of(event.EVENT_LAYOUT), "n", 32], limits.EVENT_HEADER_BYTES + 32),
    ("7.2", "Field", [*sizes_of(reports.Hello.LAYOUT), "n"], 30),
    ("7.3", "Field", sizes_of(reports.Heartbeat.LAYOUT), 32),
    ("7.4", "Field of alarm_raised", sizes_of(reports.AlarmRaised.LAYOUT), 8),
    ("7.4", "Field of alarm_cancelled", sizes_of(reports.AlarmCancelled.LAYOUT), 8),
    ("7.5", "Field", sizes_of(reports.RecordingNote.LAYOUT), 12),
    ("7.6", "Field", sizes_of(reports.ClipCut.LAYOUT), 44),
    ("7.7", "Field", sizes_of(reports.StorageNote.LAYOUT), 12),
    ("7.8", "Field", [32, 32, 384], len(reports.Probe(bytes(32), bytes(32), bytes(384)).encode())),
    ("7.9", "Field", sizes_of(reports.VisitNote.LAYOUT), 8),
    ("7.10", "Field", sizes_of(reports.Location.LAYOUT), 24),
    ("7.2", "Field of release", sizes_of(updating.RunningRelease.LAYOUT), 32),
    ("7.11", "Field", sizes_of(updating.UpdateNote.LAYOUT), 16),
    ("7.12", "Field", sizes_of(updating.UpdateAsk.LAYOUT), 16),
    ("8.11", "Field of update_offer", sizes_of(updating.UpdateOffer.LAYOUT), 16),
    ("8.11", "Field of update_block", [*sizes_of(updating.UpdateBlock.LAYOUT), "n"], 12),
    ("7.13", "Field", sizes_of(reports.AlarmSending.LAYOUT), 12),
    ("8.1", "Field", [*sizes_of(command.COMMAND_LAYOUT), 12, "n", 32], limits.COMMAND_HEADER_BYTES + 32),
    ("8.4", "Field", sizes_of(orders.Welcome.LAYOUT), 20),
    ("8.5", "Field of credit", [*sizes_of(orders.Credit.LAYOUT), "n"], 20),
    ("8.5", "Field of want", sizes_of(orders.Want.LAYOUT), 16),
    ("8.6", "Field of receipt", sizes_of(orders.Receipt.LAYOUT), 44),
    ("8.6", "Field of event_receipt", [2, "n"], len(orders.EventReceipt([]).encode())),
    ("8.6", "Field of alarm_receipt", sizes_of(orders.AlarmReceipt.LAYOUT), 16),
    ("8.6", "Field of alarm_ack", [*sizes_of(orders.AlarmAck.LAYOUT), "n"], 16),
    ("8.6", "Field of alarm_resolved", sizes_of(orders.AlarmResolved.LAYOUT), 9),
    ("8.7", "Field", sizes_of(orders.SettingsChange.LAYOUT), 16),
    ("8.7", "Field of man_down", sizes_of(orders.SettingsChange.MAN_DOWN_LAYOUT), 8),
    ("8.8", "Field of stop_recording", [4], len(orders.StopRecording(0).encode())),
    ("8.8", "Field of unopenable", [4], len(orders.UnopenableNotice(0).encode())),
    ("8.8", "Field of visit_state", sizes_of(orders.VisitState.LAYOUT), 24),
    ("16.1", "Field of header", sizes_of(release.RELEASE_LAYOUT), release.RELEASE_HEADER_BYTES),
    ("16.1", "Field of entry", sizes_of(release.ENTRY_LAYOUT), release.ENTRY_BYTES),
]


@pytest.mark.parametrize(
    ("number", "heading", "sizes", "total"), LAYOUTS, ids=[f"{number} {heading}" for number, heading, *_ in LAYOUTS]
)
def test_every_byte_is_where_the_code_puts_it(number: str, heading: str, sizes: list[int | str], total: int) -> None:
    (table,) = [table for table in tables(section(number)) if table[0][2] == heading]
    at, after = 0, ""
    for row in table[1:]:
        assert row[0] == f"{at}{after}", row
        if row[1] == "n":
            after = " + n"
        else:
            at += int(row[1])
    assert [row[1] for row in table[1:]] == [str(size) for size in sizes]
    assert at == total


def test_no_layout_is_left_out() -> None:
    found = [(number, table) for number in _subsections() for table in tables(section(number))]
    written = {(number, table[0][2]) for number, table in found if table[0][:2] == ["Offset", "Size"]}
    assert written == {(number, heading) for number, heading, *_ in LAYOUTS}


def _subsections() -> list[str]:
    return re.findall(r"^### (\d+\.\d+) ", SPEC, re.MULTILINE)


def test_limits_are_those_of_the_code() -> None:
    (table,) = tables(section("2"))
    written = {CODE.findall(row[0])[0]: int(row[1]) for row in table[1:]}
    assert written == {name: value for name, value in vars(limits).items() if name.isupper()}
    assert all(row[2] for row in table[1:]), "a limit needs a reason"


def test_labels_are_those_of_the_code_and_each_has_one_use() -> None:
    (table,) = tables(section("4.6"))
    written = {CODE.findall(row[0])[0]: (row[1], CODE.findall(row[2])[0].encode()) for row in table[1:]}
    coded = {name: value for name, value in vars(labels).items() if name.isupper()}
    assert {name: label for name, (_, label) in written.items()} == coded
    for name, (key, label) in written.items():
        for other, (other_key, other_label) in written.items():
            if other != name and key == other_key:
                assert not other_label.startswith(label), (name, other)


def test_errors_are_those_of_the_code() -> None:
    table = tables(section("3"))[1]
    written = {CODE.findall(row[0])[0] for row in table[1:]}
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ProtocolError)}
    reasons = [error.reason for error in classes - {ProtocolError}]
    assert sorted(written) == sorted(reasons)


def test_record_types_are_those_of_the_code() -> None:
    table = tables(section("3"))[0]
    written = {row[1]: int(row[0], 16) for row in table[1:]}
    assert written == {
        "clip header": clip.RECORD_CLIP_HEADER,
        "segment": 0x02,
        "clip end": clip.RECORD_CLIP_END,
        "event": event.RECORD_EVENT,
        "command": command.RECORD_COMMAND,
    }


def test_reasons_for_refusing_a_release_are_those_of_the_code() -> None:
    (table,) = tables(section("16.2"))
    written = [CODE.findall(row[0])[0] for row in table[1:]]
    assert written == [value for value in vars(release).values() if isinstance(value, str) and value in written]
    assert len(written) == 6


VALUES = [(table[0][1].strip("`"), table[1:]) for table in tables(SPEC) if table[0][0] == "Value"]
CONSTANTS: list[tuple[str, ModuleType, str]] = [
    ("TRUST_NAMES", clip, "TRUST_"),
    ("NOTICE_NAMES", clip, "NOTICE_"),
    ("CLIP_END_NAMES", clip, "END_"),
    ("EVENT_KIND_NAMES", event, ""),
    ("COMMAND_KIND_NAMES", command, ""),
    ("EPOCH_NAMES", reports, "EPOCH_"),
    ("ALARM_KIND_NAMES", reports, "ALARM_"),
    ("NOTE_NAMES", reports, "NOTE_"),
    ("WHY_NAMES", reports, "WHY_"),
    ("VISIT_WHAT_NAMES", reports, "VISIT_"),
    ("VISIT_STATE_NAMES", visit, ""),
    ("UPDATE_WHAT_NAMES", updating, "UPDATE_"),
    ("UPDATE_WHY_NAMES", updating, "CAUSE_"),
    ("LEVEL_NAMES", orders, "LEVEL_"),
    ("RESOLVED_NAMES", orders, "RESOLVED_"),
]


@pytest.mark.parametrize(("name", "rows"), VALUES, ids=[name for name, _ in VALUES])
def test_values_have_the_names_of_the_code(name: str, rows: list[list[str]]) -> None:
    words = getattr(names, name)
    written = {int(row[0]): row[1] for row in rows}
    assert written == {number: word for number, word in enumerate(words) if word}


@pytest.mark.parametrize(("name", "module", "prefix"), CONSTANTS, ids=[name for name, *_ in CONSTANTS])
def test_names_and_constants_agree(name: str, module: ModuleType, prefix: str) -> None:
    for number, word in enumerate(getattr(names, name)):
        if word and (name, word) != ("VISIT_STATE_NAMES", "none"):  # which is no state of a visit
            assert getattr(module, prefix + word.upper()) == number
    assert name in {listed for listed, _ in VALUES}


def test_a_device_is_told_the_states_of_a_visit_by_their_own_numbers() -> None:
    told = [word for word in names.VISIT_STATE_NAMES if hasattr(orders, "VISIT_" + word.upper())]
    assert told == ["none", "planned", "active", "amber", "overdue"]
    for number, word in enumerate(told):
        assert getattr(orders, "VISIT_" + word.upper()) == number


def test_guarded_commands_are_marked_as_such() -> None:
    (table,) = [table for table in tables(section("8.1")) if table[0][0] == "Value"]
    guarded = {int(row[0]) for row in table[1:] if row[2] == "full"}
    assert guarded == set(command.GUARDED_KINDS)
    assert [int(row[0]) for row in table[1:] if row[2] == "hello"] == [command.WELCOME]


@pytest.mark.parametrize(
    ("number", "module"), [("10.1", recording), ("10.2", alarm), ("10.3", custody), ("10.4", visit)]
)
def test_state_machines_are_those_of_the_code(number: str, module: ModuleType) -> None:
    (table,) = tables(section(number))
    written: dict[tuple[int, int], tuple[int, tuple[int, ...]]] = {}
    for row in table[1:]:
        for event_name, cell in zip(table[0][1:], row[1:], strict=True):
            if cell == "–":
                continue
            target, _, effects = cell.partition(":")
            after = row[0] if target == "same" else target
            key = getattr(module, row[0]), getattr(module, event_name)
            written[key] = getattr(module, after), tuple(getattr(module, effect) for effect in effects.split())
    assert written == module.TRANSITIONS


def test_the_offset_of_a_segment_is_as_written() -> None:
    assert segment_offset(0) == 588
    assert [segment_offset(index) for index in (1, 2, 9)] == [588 + 4084 + (i - 1) * 4124 for i in (1, 2, 9)]


def test_every_threat_names_tests_that_exist() -> None:
    (table,) = tables(section("12"))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"def (test_\w+)\(", sources))
    for row in table[1:]:
        shown = CODE.findall(row[2])
        assert shown, row[0]
        assert set(shown) <= existing, row[0]


def test_every_attack_test_of_the_protocol_is_named_by_a_threat() -> None:
    attacks = re.findall(r"def (test_\w+)\(", (ROOT / "tests" / "protocol" / "test_attacks.py").read_text())
    assert len(attacks) > 40
    assert not set(attacks) - set(CODE.findall(section("12")))


def test_sections_that_modules_cite_exist() -> None:
    headings = set(re.findall(r"^#+ (\d+(?:\.\d+)?)", SPEC, re.MULTILINE))
    number = r"\d+(?:\.\d+)?"
    citation = re.compile(rf"SPEC (?:sections? )?({number}(?:(?:, | and | to ){number})*)")
    folders = ("protocol", "firmware", "gateway", "sim", "tools", "tests")
    cited = {
        (path.name, one)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for run in citation.findall(path.read_text())
        for one in re.findall(number, run)
    }
    assert len(cited) > 20
    assert not {(name, one) for name, one in cited if one not in headings}
