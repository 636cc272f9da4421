"""NMEA sentences: vectors by decimal arithmetic of the test's own, any pieces, hostile bytes; and on MicroPython."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel_device.nmea import Nmea
from lapel_sim.launcher import start

FIXED = "1,08,1.01,499.6,M,48.0,M,,"


def sentence(body: str) -> bytes:
    """A sentence with its checksum."""
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n".encode()


def gga(
    latitude: str = "4717.11399,N", longitude: str = "00833.91590,E", rest: str = "1,08,1.01,499.6,M,48.0,M,,"
) -> str:
    return f"GNGGA,092725.00,{latitude},{longitude},{rest}"


def rmc(status: str = "A", date: str = "091202", utc: str = "083559.00") -> str:
    return f"GPRMC,{utc},{status},4717.11437,N,00833.91522,E,0.004,77.52,{date},,,A"


def read(*bodies: str) -> Nmea:
    nmea = Nmea()
    for body in bodies:
        nmea.feed(sentence(body), 1000)
    return nmea


def state(nmea: Nmea) -> list[int]:
    """Everything that it says."""
    return [
        nmea.quality,
        nmea.latitude,
        nmea.longitude,
        nmea.satellites,
        nmea.hdop_hundredths,
        nmea.utc_ms,
        nmea.date,
        nmea.fix_ms,
        nmea.accepted,
        nmea.ignored,
        nmea.refused,
        nmea.accuracy_m,
        nmea.age_ms(5000),
    ]


def degrees(text: str, whole: int) -> int:
    """1e-7 degrees of d…dmm.mmmm, by decimal arithmetic; five places of minutes count."""
    minutes = Decimal(text[whole:]).quantize(Decimal("0.00001"), "ROUND_DOWN")
    exact = (int(text[:whole]) + minutes / 60) * 10_000_000
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def test_the_receivers_own_examples_are_read() -> None:
    # u-blox M8 receiver description, sections on GGA and RMC.
    nmea = Nmea()
    nmea.feed(b"$GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n", 1000)
    assert (nmea.accepted, nmea.quality, nmea.satellites, nmea.hdop_hundredths) == (1, 1, 8, 101)
    assert (nmea.latitude, nmea.longitude) == (472852332, 85652650)
    assert (nmea.utc_ms, nmea.date) == (34_045_000, 0)
    nmea.feed(b"$GPRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A*57\r\n", 1500)
    assert (nmea.accepted, nmea.date, nmea.utc_ms) == (2, 20021209, 30_959_000)
    assert (nmea.age_ms(4000), nmea.accuracy_m) == (3000, 6)


@settings(deadline=None, derandomize=True)
@given(
    lat=st.tuples(st.integers(0, 89), st.integers(0, 5_999_999), st.sampled_from("NS")),
    lon=st.tuples(st.integers(0, 179), st.integers(0, 5_999_999), st.sampled_from("EW")),
    places=st.integers(0, 7),
)
def test_every_position_is_what_decimal_arithmetic_says(
    lat: tuple[int, int, str], lon: tuple[int, int, str], places: int
) -> None:
    def text(place: tuple[int, int, str], whole: int) -> str:
        minutes = f"{place[1] // 100_000:02d}.{place[1] % 100_000:05d}99"
        return f"{place[0]:0{whole}d}{minutes[: 3 + places] if places else minutes[:2]}"

    one, two = text(lat, 2), text(lon, 3)
    nmea = read(gga(f"{one},{lat[2]}", f"{two},{lon[2]}"))
    assert nmea.accepted == 1
    assert nmea.latitude == degrees(one, 2) * (1 if lat[2] == "N" else -1)
    assert nmea.longitude == degrees(two, 3) * (1 if lon[2] == "E" else -1)


REFUSED = {
    "latitude beyond the pole": gga("9000.00001,N"),
    "longitude beyond the line": gga(longitude="18000.00001,E"),
    "minutes of 60": gga("4760.00000,N"),
    "no letter": gga("4717.11399,"),
    "wrong letter": gga("4717.11399,E"),
    "a sign": gga("-717.11399,N"),
    "two points": gga("4717.1.399,N"),
    "too many places": gga("4717.113991234,N"),
    "too short": gga("471,N"),
    "fix without a position": gga(",", ","),
    "quality 9": gga(rest="9,08,1.01,,,,,,"),
    "no quality": gga(rest=",08,1.01,,,,,,"),
    "three digits of satellites": gga(rest="1,108,1.01,,,,,,"),
    "hdop of 100": gga(rest="1,08,100.0,,,,,,"),
    "hdop that is empty": gga(rest="1,08,,,,,,,"),
    "cut fields": "GNGGA,092725.00,4717.11399,N",
    "25 o'clock": "GNGGA,250000.00,4717.11399,N,00833.91590,E,1,08,1.01,,,,,,",
    "status X": rmc("X"),
    "day 30 of February": rmc(date="300224"),
    "a leap day in no leap year": rmc(date="290223"),
    "month 13": rmc(date="011324"),
    "date that is empty": rmc(date=""),
    "no comma": "GNGGAX1,2",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_field_out_of_its_bounds_refuses_the_whole_sentence(body: str) -> None:
    good = read(gga(), rmc())
    before = state(good)
    good.feed(sentence(body), 9000)
    after = state(good)
    before[10] += 1
    assert after == before


def test_a_lost_fix_is_said_by_either_sentence_and_leaves_no_age() -> None:
    for lost in (gga(",", ",", "0,00,99.99,,,,,,"), rmc("V")):
        nmea = read(gga(), lost)
        assert (nmea.quality, nmea.age_ms(2000), nmea.accuracy_m, nmea.refused) == (0, -1, 0, 0)


def test_checksum_length_and_characters_are_required() -> None:
    whole = sentence(gga())
    for wrong in (
        whole.replace(b"1.01", b"1.02"),
        whole[:-4] + b"\r\n",
        whole[:-4] + b"G0\r\n",
        b"$" + b"A" * 100 + whole[1:],
        whole[:20] + b"\x80" + whole[20:],
        whole[:30] + b"\r\n" + whole[30:],
    ):
        nmea = Nmea()
        nmea.feed(wrong, 0)
        assert (nmea.accepted, nmea.refused) == (0, 1), wrong
    lower = Nmea()
    lower.feed(whole[:-4] + whole[-4:].lower(), 0)
    assert lower.accepted == 1
    assert read("GPGSV,1,1,00").ignored == 1


def test_a_sentence_that_the_next_one_cuts_is_refused_and_the_next_is_read() -> None:
    nmea = Nmea()
    nmea.feed(sentence(gga())[:40] + sentence(gga()), 7)
    assert (nmea.accepted, nmea.refused) == (1, 1)


STREAM = st.lists(
    st.one_of(
        st.sampled_from([sentence(body) for body in (gga(), rmc(), "GPGSV,1,1,00", *REFUSED.values())]),
        st.binary(max_size=90),
        st.text("0123456789,.NSEWAV*$", max_size=90).map(lambda text: sentence("GNGGA," + text)),
        st.text("0123456789,.NSEWAV", max_size=70).map(lambda text: sentence("GNRMC," + text)),
    ),
    max_size=12,
).map(b"".join)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(stream=STREAM, piece=st.integers(1, 40))
def test_any_bytes_in_any_pieces_never_raise_and_mean_the_same(stream: bytes, piece: int) -> None:
    whole, pieces = Nmea(), Nmea()
    whole.feed(stream, 3)
    for at in range(0, len(stream), piece):
        pieces.feed(memoryview(stream)[at : at + piece], 3)
    assert state(whole) == state(pieces)
    assert abs(whole.latitude) <= 900_000_000
    assert abs(whole.longitude) <= 1_800_000_000
    assert -1 <= whole.utc_ms < 86_401_000


PROGRAM = """
import gc
import json
from lapel_device.nmea import Nmea


def main():
    with open({path!r}) as source:
        for line in json.load(source):
            nmea = Nmea()
            nmea.feed(bytes.fromhex(line), 1000)
            print(json.dumps([getattr(nmea, name) for name in {names!r}]))
    byte = b"1" * 60
    nmea.feed(b"$", 0)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    nmea.feed(byte, 0)
    one = gc.mem_alloc() - before
    nmea.feed(b"\\r\\n$", 0)
    before = gc.mem_alloc()
    nmea.feed(b"1", 0)
    print(json.dumps([one - (gc.mem_alloc() - before)]))
"""
NAMES = ("quality", "latitude", "longitude", "satellites", "hdop_hundredths", "utc_ms", "date", "accepted", "refused")


@pytest.mark.needs("micropython")
def test_micropython_reads_the_same_and_a_byte_allocates_nothing(tmp_path: Path) -> None:
    streams = [sentence(body) for body in (gga(), rmc(), gga("8959.99999,S", "17959.99999,W"), *REFUSED.values())]
    (tmp_path / "streams.json").write_text(json.dumps([stream.hex() for stream in streams]))
    program = PROGRAM.format(path=str(tmp_path / "streams.json"), names=NAMES)
    (tmp_path / "reader.py").write_text(program)
    device = start("reader", [], (), extra_path=tmp_path)
    output, _ = device.communicate(timeout=60)
    assert device.returncode == 0, output.decode()
    *told, [cost] = [json.loads(line) for line in output.decode().splitlines()]
    for stream, found in zip(streams, told, strict=True):
        here = Nmea()
        here.feed(stream, 1000)
        assert found == [getattr(here, name) for name in NAMES]
    assert cost == 0
