"""``lapel monitor`` and ``lapel watch``: what is going on, on a screen and line by line.

With a token they follow the gateway's API; without one they read the installation's data on the gateway's own machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lapel_gateway.overview.reader import Reader
from lapel_gateway.overview.surroundings import surroundings_of
from lapel_tools.api import Api, TokenFileOption, UrlOption, read_token
from lapel_tools.console import CommandError, ConfigOption
from lapel_tools.monitor.sources import ApiSource, SiteSource, Source
from lapel_tools.monitor.watch import watch as follow
from lapel_tools.site import Site

FilterOption = Annotated[str, typer.Option("--filter", help="Only what has all of these words in it.")]


def monitor(
    wanted: FilterOption = "",
    log: Annotated[
        Path | None, typer.Option("--log", help="The gateway's log file; otherwise the journal of its unit.")
    ] = None,
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what is going on on a screen: alarms, visits, devices, clips, deliveries, the gateway; answer alarms."""
    try:
        from lapel_tools.monitor.screen import MonitorApp
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lapel"):
            raise
        raise CommandError(f"the monitor needs {error.name.partition('.')[0]}: pip install 'lapel[monitor]'") from None
    from lapel_tools.monitor.log_tail import LogTail

    source, local = choose_source(token_file, url, config)
    MonitorApp(source, LogTail(log, local=local), wanted).run()


def watch(
    wanted: FilterOption = "",
    token_file: TokenFileOption = None,
    url: UrlOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document a line, for scripts.")] = False,
) -> None:
    """Print what changes, a line each, until Ctrl-C: alarms, visits, clips, devices, channels, roles."""
    source, _ = choose_source(token_file, url, config)
    try:
        asyncio.run(follow(source, _write, wanted, as_json=as_json))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # The reader of the pipe has gone, as `head` does: the end that was asked for.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(text: str) -> None:
    # At once: a pipe's reader is not to wait for a full buffer.
    print(text, flush=True)


def choose_source(token_file: Path | None, url: str | None, config: Path | None) -> tuple[Source, bool]:
    """Where the picture comes from, and whether that is this machine's installation. Raises CommandError."""
    token = read_token(token_file)
    if token is not None:
        return ApiSource(Api(url, token, config)), False
    if url is not None:
        Api(url, token)  # says that a token is missing
    site = Site(config)
    reader = Reader(site.engine, surroundings_of(site.config))
    return SiteSource(reader, str(site.config_file)), True
