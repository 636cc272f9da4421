"""What cases on the board judge with."""

import asyncio

from . import loop
from .clock import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


def within_ms(limit_ms: int, action: "Callable[..., Any]", *arguments: object) -> "Any":
    """What an action returns that held the processor no longer than this."""
    before_us = clock.now_us
    try:
        return action(*arguments)
    finally:
        took_us = clock.now_us - before_us
        if took_us > limit_ms * 1000:
            raise AssertionError("it took %d us" % took_us)


def fails_with(errno: "int | None", action: "Callable[..., Any]", *arguments: object) -> None:
    """An action that raises OSError of this number (None = any), and nothing else."""
    try:
        action(*arguments)
    except OSError as error:
        if errno is not None and error.args[0] != errno:
            raise AssertionError("OSError%s instead of %d" % (error.args, errno))
        return
    raise AssertionError("it did not fail")


def finish(work: "Coroutine[Any, Any, Any]", step_ms: int = 50) -> "Any":
    """The result of asynchronous work, of which no step between two waits held the processor longer than this."""
    loop.install()
    loop.watch_steps()
    result = asyncio.run(work)
    if loop.longest_us() > step_ms * 1000:
        raise AssertionError("a step took %d us" % loop.longest_us())
    return result


def fails_in_a_task(errno: "int | None", work: "Coroutine[Any, Any, Any]") -> None:
    """Asynchronous work that raises OSError of this number."""
    fails_with(errno, finish, work)
