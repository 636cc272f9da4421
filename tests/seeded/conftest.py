"""Fault schedules start thousands of gateways: their log lines are nobody's."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(scope="module", autouse=True)
def no_log_lines() -> Iterator[None]:
    """Silence the gateways while a module of this ring runs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
