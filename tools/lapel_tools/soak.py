"""``lapel sim soak``: seeded fault schedules by the thousand, on every core, and defects put in on purpose."""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.supervise import end_with
from lapel_protocol.limits import RSA_BYTES
from lapel_tools.faults.defects import DEFECTS, Catch, hunt
from lapel_tools.faults.patching import Patcher
from lapel_tools.faults.plan import make_plan
from lapel_tools.faults.schedule import Result, remove_folder, run_seed
from lapel_tools.faults.shrink import shorten

CHUNK = 8
"""Seeds handed to a process at a time: a second or two of work."""

WATCHDOG_S = 600
"""A seed that takes longer hangs: it is reported as failed, with its number."""

REMEMBERED_SEEDS = 256

_organisation: list[OrganisationKey] = []
"""The key that a worker process was started with."""


def soak(first: int, count: int, jobs: int | None = None, defect: str = "") -> Iterator[Result]:
    """Run seeds ``first`` to ``first + count - 1`` and yield each result, in the order of the seeds.

    A failing one comes with as few steps and devices as it needs. ``jobs`` is the number of processes (default: one a
    core). ``defect`` names one of DEFECTS, which is then in the code that runs.
    """
    with _pool(min(_jobs(jobs), max(1, count // CHUNK)), defect) as pool:
        yield from pool.map(_run, range(first, first + count), chunksize=CHUNK)


def hunts(names: Sequence[str], first: int, most: int, jobs: int | None = None) -> Iterator[Catch]:
    """Look for each of these defects within ``most`` seeds from ``first`` on, and yield what came of it."""
    with _pool(min(_jobs(jobs), len(names)), "") as pool:
        yield from pool.map(functools.partial(_hunt, first, most), names)


def run_part(seed: int, numbers: Sequence[int], devices: int) -> Result:
    """One seed with these steps of its plan alone and at most so many devices, in this process."""
    _begin(throwaway_key(), "")
    return _watched(seed, lambda: run_seed(seed, _organisation[0], make_plan(seed).only(frozenset(numbers), devices)))


def _jobs(jobs: int | None) -> int:
    return jobs or os.cpu_count() or 1


def _pool(jobs: int, defect: str) -> ProcessPoolExecutor:
    # Not forked: the parent may have threads by now.
    return ProcessPoolExecutor(jobs, get_context("spawn"), _begin_beside, (os.getpid(), throwaway_key(), defect))


def _begin_beside(parent: int, private: bytes, defect: str) -> None:
    """Begin in a process of the pool, which ends with its parent, however that ended."""
    signal.signal(signal.SIGTERM, _end)
    if not end_with(parent):
        _end(signal.SIGTERM, None)
    _begin(private, defect)


def _end(number: int, _frame: object) -> None:
    # Not by an exception: the pool would hand that back as a seed's and go on.
    remove_folder()
    os._exit(128 + number)


def _run(seed: int) -> Result:
    result = _watched(seed, lambda: run_seed(seed, _organisation[0]))
    if not result.broken or not result.numbers:
        return result
    return _watched(seed, lambda: shorten(result, _organisation[0]), result)


def _hunt(first: int, most: int, name: str) -> Catch:
    return hunt(name, _organisation[0], first, most)


def _watched(seed: int, run: Callable[[], Result], instead: Result | None = None) -> Result:
    """What `run` returns, or what is known when it does not come to an end."""
    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(WATCHDOG_S)
    try:
        return run()
    except Hung:
        return instead or Result(seed, broken=f"hangs: not done after {WATCHDOG_S} s")
    finally:
        signal.alarm(0)


class Hung(BaseException):
    """A seed does not come to an end. Not an Exception: no core may catch it."""


def _hang(_number: int, _frame: object) -> None:
    raise Hung


class RememberingKey(OrganisationKey):
    """An organisation's key that unwraps each seed once: ingest, assembly and the invariants ask for the same ones."""

    def __init__(self, public: rsa.RSAPublicKey, private: rsa.RSAPrivateKey | None) -> None:
        super().__init__(public, private)
        self._unwrapped: dict[bytes, bytes] = {}

    def unwrap(self, wrapped: bytes) -> bytes:
        """See OrganisationKey.unwrap."""
        seed = self._unwrapped.get(wrapped)
        if seed is None:
            if len(self._unwrapped) >= REMEMBERED_SEEDS:
                self._unwrapped.clear()
            seed = self._unwrapped[wrapped] = super().unwrap(wrapped)
        return seed


def organisation_of(pem: bytes) -> OrganisationKey:
    """Both halves of an organisation's key."""
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("an RSA key is needed")
    return RememberingKey(key.public_key(), key)


def _begin(pem: bytes, defect: str = "") -> None:
    """Prepare a worker process: its key, no log lines of thousands of gateways, the defect if there is to be one."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    _organisation[:] = [organisation_of(pem)]
    if defect:
        DEFECTS[defect].put_in(Patcher())


def throwaway_key() -> bytes:
    """A private key (PEM) for test runs; a seed's course does not depend on it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BYTES * 8)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
