"""What a form says of a device's settings: people's units in, the device's out, and a word for what is none."""

from __future__ import annotations

import pytest

from lapel_gateway.devices.wanted import WantedError, check_settings, settings_of
from lapel_gateway.web.pages.device_settings import CHANGED_HERE, SETTINGS, Setting, parse_form

BEFORE = settings_of("")


@pytest.mark.parametrize("setting", CHANGED_HERE, ids=lambda one: one.name)
def test_each_setting_is_changed_to_its_bounds_and_no_further(setting: Setting) -> None:
    ends = [*setting.choices] if setting.choices else [setting.least, setting.most]
    for end in ends:
        value = setting.parse(str(end))
        check_settings({setting.name: value})
        assert setting.parse(setting.shown(value)) == value
    for text in (str(min(ends) - 1), str(max(ends) + 1), "", "nan", "many"):
        with pytest.raises(WantedError, match="choose" if setting.choices else "it is"):
            setting.parse(text)


def test_only_what_differs_is_a_change_and_an_emptied_field_is_none() -> None:
    as_shown = {one.name: one.shown(BEFORE[one.name]) for one in SETTINGS}
    assert parse_form(as_shown, BEFORE) == {}
    assert parse_form({}, BEFORE) == {}
    assert parse_form(as_shown | {"notice_timeout_ms": "7,5", "clip_limit_s": "20"}, BEFORE) == {
        "notice_timeout_ms": 7500,
        "clip_limit_s": 1200,
    }
    with pytest.raises(WantedError, match="longest clip: it is 1 to 240 min"):
        parse_form(as_shown | {"clip_limit_s": ""}, BEFORE)
    with pytest.raises(WantedError, match="choose it does not record or it records all the same"):
        parse_form(as_shown | {"notice_policy": "0.5"}, BEFORE)


def test_what_is_not_changed_on_the_page_is_not_changed_by_its_form() -> None:
    assert parse_form({"silent": "1"}, BEFORE) == {}
