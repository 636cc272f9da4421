"""Log lines: foreign text made harmless, repeats collapsed."""

import io
import json

import structlog

from lapel_gateway.log import MAX_KEYS, REPEAT_MS, Repeats, configure, printable


def test_control_characters_and_escapes_of_a_device_do_not_reach_the_terminal() -> None:
    assert printable("\x1b[31mred\n\r\x00") == "\\x1b[31mred\\n\\r\\x00"
    assert printable(b"\xff\xfeab") == "\\xff\\xfeab"
    assert printable("Zoë Quinn") == "Zoë Quinn"


def test_long_foreign_text_is_capped_however_it_is_escaped() -> None:
    assert len(printable("a" * 10_000)) == 120
    assert len(printable("\n" * 10_000)) == 120
    assert printable("abcdef", 4) == "abc…"


def test_a_repeated_line_is_told_once_and_then_with_its_count() -> None:
    repeats = Repeats()
    assert [repeats.tell(now, "refused", "bad_mac") for now in (0, 1, 2, REPEAT_MS - 1)] == [1, 0, 0, 0]
    assert repeats.tell(REPEAT_MS, "refused", "bad_mac") == 4
    assert repeats.tell(REPEAT_MS + 1, "refused", "malformed") == 1


def test_the_end_of_a_trouble_is_told_only_if_its_beginning_was() -> None:
    repeats = Repeats()
    assert not repeats.over("disk")
    repeats.tell(0, "disk")
    assert repeats.over("disk")
    assert not repeats.over("disk")


def test_the_memory_of_repeats_is_bounded() -> None:
    repeats = Repeats()
    for number in range(MAX_KEYS + 10):
        repeats.tell(0, str(number))
    assert repeats.tell(1, "0") == 1  # forgotten
    assert repeats.tell(1, str(MAX_KEYS + 9)) == 0


def test_json_lines_carry_the_same_fields() -> None:
    stream = io.StringIO()
    try:
        configure(json_lines=True, stream=stream)
        structlog.get_logger("lapel.test").warning("refused", device="00aa", times=3)
    finally:
        structlog.reset_defaults()
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["device"], line["times"]) == ("refused", "warning", "00aa", 3)
    assert line["timestamp"].endswith("Z")
