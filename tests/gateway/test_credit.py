"""Credit: how much each device may have under way."""

from lapel_gateway.custody.credit import ACTIVE_MS, LEAST_WINDOW_BYTES, SHARE_BYTES, CreditBook, Windows

MEBIBYTE = 1 << 20


def device(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_a_few_devices_have_the_whole_window_each() -> None:
    book = CreditBook(4 * MEBIBYTE, MEBIBYTE)
    for number in range(12):
        book.sending(device(number), 0)
    assert book.windows(0) == Windows(4 * MEBIBYTE, MEBIBYTE)


def test_many_devices_share_what_the_broker_can_queue_down_to_the_least_window() -> None:
    book = CreditBook(4 * MEBIBYTE, MEBIBYTE)
    for number in range(100):
        book.sending(device(number), 0)
    assert book.windows(0).window_bytes == SHARE_BYTES // 100
    for number in range(5000):
        book.sending(device(number), 0)
    assert book.windows(0).window_bytes == LEAST_WINDOW_BYTES


def test_devices_that_fell_silent_leave_their_share_to_the_others() -> None:
    book = CreditBook(4 * MEBIBYTE, MEBIBYTE)
    for number in range(100):
        book.sending(device(number), 0)
    book.sending(device(7), ACTIVE_MS)
    assert book.windows(ACTIVE_MS + 1).window_bytes == 4 * MEBIBYTE
    assert list(book.active) == [device(7)]


def test_progress_adds_up_until_it_is_told_and_only_when_it_was_committed() -> None:
    book = CreditBook(400, 400)
    book.sending(device(1), 0)
    assert book.arrived({device(1): 60}, 0) == {device(1): 60}
    assert book.arrived({device(1): 60}, 0) == {device(1): 60}  # the first was rolled back
    book.told({device(1): 60})
    assert book.arrived({device(1): 60}, 0) == {device(1): 0}
    book.told({device(1): 0})
    assert book.arrived({device(1): 60}, 0) == {device(1): 60}


def test_nobody_has_credit_while_there_is_no_room() -> None:
    book = CreditBook(4 * MEBIBYTE, MEBIBYTE)
    book.closed = True
    assert book.windows(0) == Windows(0, 0)
