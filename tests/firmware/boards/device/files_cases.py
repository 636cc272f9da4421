"""What a board reads of its networks and its modem's account, bounds-checked."""

from lapel_device.boards.modem_account import load_account
from lapel_device.boards.wifi_networks import load_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GOOD = '[{"ssid":"Depot","password":"depot-password","security":"wpa2"},{"ssid":"Yard","password":"yard-password"}]'


class OneFile:
    """A storage with one file."""

    def __init__(self, content: "str | None") -> None:
        self._content = content.encode() if content is not None else None

    def size(self, path: str) -> int:
        return -1 if self._content is None else len(self._content)

    def open(self, path: str, mode: str) -> "Any":
        import io

        if self._content is None:
            raise OSError(2)
        return io.BytesIO(self._content)


def networks(content: "str | None") -> "tuple[list[tuple[str, str, str]], list[str]]":
    lines: list[str] = []
    found = load_networks(OneFile(content), lines.append)  # type: ignore[arg-type]
    assert not any("password" in line and "depot" in line.lower() for line in lines)
    return found, lines


def a_list_of_networks_is_read_in_its_order() -> None:
    assert networks(GOOD) == ([("Depot", "depot-password", "wpa2"), ("Yard", "yard-password", "wpa2/wpa3")], [])


def a_wrong_entry_is_named_by_its_number_and_the_others_are_kept() -> None:
    for entry, why in (
        ("5", "is not an object"),
        ('{"password":"depot-password"}', "ssid has not 1 to 32 bytes"),
        ('{"ssid":"%s","password":"depot-password"}' % ("x" * 33), "ssid has not 1 to 32 bytes"),
        ('{"ssid":"Depot","password":"short"}', "password has not 8 to 63 characters"),
        ('{"ssid":"Depot","password":"%s"}' % ("p" * 64), "password has not 8 to 63 characters"),
        ('{"ssid":"Depot"}', "password has not 8 to 63 characters"),
        ('{"ssid":"Depot","password":"depot-password","security":"open"}', "security is none of wpa2, wpa3, wpa2/wpa3"),
    ):
        found, lines = networks("[%s,%s" % (entry, GOOD[1:]))
        assert len(found) == 2, entry
        assert lines == ["/wifi.json: network 1: " + why], lines


def a_file_that_is_no_list_is_said() -> None:
    for content, line in (
        (None, "/wifi.json is missing or longer than 4096 bytes"),
        ("", "/wifi.json is missing or longer than 4096 bytes"),
        ("[" * 5000, "/wifi.json is missing or longer than 4096 bytes"),
        ("{", "/wifi.json is not JSON"),
        ("[" * 4000, "/wifi.json is not JSON"),
        ('{"ssid":"Depot"}', "/wifi.json is not a list of networks"),
    ):
        assert networks(content) == ([], [line]), content and content[:20]


def a_long_list_is_cut() -> None:
    entry = '{"ssid":"%d","password":"depot-password"}'
    found, lines = networks("[%s]" % ",".join([entry % number for number in range(20)]))
    assert len(found) == 16
    assert lines == ["/wifi.json: only the first 16 networks are used"]


def an_account_is_read_and_nothing_of_a_bad_one_is_told() -> None:
    lines: list[str] = []
    assert load_account(OneFile(None), lines.append) is None  # type: ignore[arg-type]
    assert lines == []
    good = load_account(OneFile('{"apn":"iot.example","pin":"4711"}'), lines.append)  # type: ignore[arg-type]
    assert good == {"apn": "iot.example", "pin": "4711", "user": "", "password": ""}
    for content in ("{", "[]", "{}", '{"apn":7}', '{"apn":"a\\"b"}', '{"apn":"a","pin":"4711;AT"}', '{"apn":""}'):
        assert load_account(OneFile(content), lines.append) is None  # type: ignore[arg-type]
    assert len(lines) == 7
    assert not any("4711" in line for line in lines)
