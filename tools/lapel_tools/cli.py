"""The ``lapel`` command.

Exit status: 0 done, 1 a check failed, 2 wrong arguments or configuration, 3 not found, 4 gateway or broker not
reachable, 70 a fault of the program. Nobody is shown a traceback unless LAPEL_DEBUG is set.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

import structlog
import typer

from lapel_build.compiler import BuildError
from lapel_gateway import log
from lapel_gateway.accounts.users import UserError
from lapel_gateway.brokers import BrokerError
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import LedgerError
from lapel_gateway.pki import PkiError
from lapel_gateway.registry import RegistryError
from lapel_gateway.service import ServiceError
from lapel_gateway.settings.config import ConfigError
from lapel_gateway.updates.releases import UpdateError
from lapel_gateway.web.server import WebError
from lapel_tools import (
    alarm_commands,
    clip_commands,
    device_commands,
    firmware_commands,
    gateway_commands,
    monitor_command,
    person_commands,
    report_commands,
    risk_commands,
    user_commands,
    visit_commands,
)
from lapel_tools.console import INTERNAL, UNREACHABLE, USAGE, CommandError
from lapel_tools.site import close_ledgers
from lapel_tools.verify_command import verify

app = typer.Typer(
    name="lapel",
    help="Body cameras and lone-worker alarms: gateway, devices, people, clips, alarms and visits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(gateway_commands.app, name="gateway")
app.add_typer(device_commands.app, name="device")
app.add_typer(firmware_commands.app, name="firmware")
app.add_typer(user_commands.app, name="user")
app.add_typer(clip_commands.app, name="clip")
app.add_typer(alarm_commands.app, name="alarm")
app.add_typer(report_commands.app, name="report")
app.add_typer(visit_commands.app, name="visit")
app.add_typer(risk_commands.app, name="risk")
app.add_typer(person_commands.app, name="person")
app.command()(verify)
app.command()(monitor_command.monitor)
app.command()(monitor_command.watch)


_REFUSALS: dict[type[Exception], int] = {
    BuildError: USAGE,
    ConfigError: USAGE,
    KeyStoreError: USAGE,
    LedgerError: USAGE,
    PkiError: USAGE,
    RegistryError: USAGE,
    UpdateError: USAGE,
    UserError: USAGE,
    ServiceError: USAGE,
    SecretError: USAGE,
    WebError: USAGE,
    BrokerError: UNREACHABLE,
}


def _add_simulator() -> None:
    """Add ``sim``, ``demo`` and ``fleet``; without what they need, which a gateway does not, they say so."""
    try:
        from lapel_tools import demo_command, fleet_command, sim_commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lapel"):
            raise
        missing = f"the simulator needs {error.name}: pip install 'lapel[sim]'"

        def explain() -> None:
            raise CommandError(missing)

        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        for name in ("sim", "demo", "fleet"):
            app.command(name, help="Not installed: needs the extra sim.", context_settings=anything)(explain)
    else:
        app.add_typer(sim_commands.app, name="sim")
        app.command()(demo_command.demo)
        app.command()(fleet_command.fleet)


_add_simulator()


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    log.configure()
    # Only `lapel gateway run` is there to log; anywhere else a line is worth reading when something is wrong.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        app()
    except CommandError as error:
        _end(str(error), error.code)
    except tuple(_REFUSALS) as error:
        _end(str(error), next(code for kind, code in _REFUSALS.items() if isinstance(error, kind)))
    except BrokenPipeError:
        # The reader of a pipe has gone, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _end(f"{error.filename or 'system'}: {error.strerror or error}", USAGE)
    except Exception as error:
        if os.environ.get("LAPEL_DEBUG"):
            raise
        _end(f"fault in lapel: {type(error).__name__}: {error}; LAPEL_DEBUG=1 shows where", INTERNAL)
    finally:
        close_ledgers()
    sys.exit(0)


def _end(message: str, code: int) -> NoReturn:
    for line in message.splitlines() or [""]:
        print(f"lapel: {line}", file=sys.stderr)
    sys.exit(code)
