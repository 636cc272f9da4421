"""``lapel gateway``: setting up, checking and running the Linux side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lapel_gateway import doctor, log, service, supervise, systemd
from lapel_gateway.accounts.audit import command_line
from lapel_gateway.accounts.users import add_user
from lapel_gateway.channels.health import DELIVERY, LINK, read_health
from lapel_gateway.channels.setup import reach_of
from lapel_gateway.custody.doubts import remove_mark
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import reading
from lapel_gateway.metrics.files import monitoring_files
from lapel_gateway.pki import Pki, create_organisation_key
from lapel_gateway.settings.check import Finding, check_config
from lapel_gateway.settings.config import DEFAULT_NAME, ROLES, ConfigError, Role, load_config
from lapel_gateway.settings.template import write_template
from lapel_tools.console import (
    FAILED,
    CommandError,
    ConfigOption,
    JsonOption,
    now_ms,
    print_json,
    print_table,
    warn,
    when,
)
from lapel_tools.site import Site
from lapel_tools.user_commands import FIRST_ROLES, setup_link

app = typer.Typer(help="The gateway: broker, alarms, clips and their delivery.", no_args_is_help=True)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The configuration to write.")] = Path(DEFAULT_NAME),
    organisation: Annotated[str, typer.Option(help="Shown on exports and in certificates.")] = "My organisation",
    data_dir: Annotated[Path, typer.Option(help="Where the gateway keeps everything.")] = Path("data"),
    broker: Annotated[Literal["embedded", "mosquitto", "external"], typer.Option(help="Kind of broker.")] = "embedded",
    host: Annotated[str, typer.Option(help="Address of the broker.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Its port: 1883, with TLS 8883.", min=1, max=65535)] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="The organisation's public key, where the private key stays elsewhere."),
    ] = None,
    admin: Annotated[
        str | None, typer.Option(help="Name of the first user, who may add others; a link for their password is shown.")
    ] = None,
) -> None:
    """Write a commented configuration, and make the keys and certificates that a new gateway needs."""
    if path.exists():
        raise ConfigError(f"{path} exists and is not replaced: remove it, or name another file")
    keys = (path.parent / data_dir / "keys").resolve()
    sections: dict[str, dict[str, Any]] = {
        "gateway": {"organisation": organisation, "data_dir": data_dir},
        "broker": {"kind": broker, "host": host, "port": port or (1883 if broker == "embedded" else 8883)},
    }
    if not (keys / "master.key").exists():
        KeyStore.create(keys / "master.key")
    private = keys / "organisation-private.pem"
    if public_key is not None:
        OrganisationKey.load(public_key)
        sections["keys"] = {"organisation_public_key_file": public_key.resolve()}
    else:
        if not private.exists():
            create_organisation_key(private, keys / "organisation.pem")
        sections["keys"] = {"organisation_private_key_file": data_dir / "keys" / private.name}
    if broker != "embedded":
        Pki.ensure(keys.parent / "pki", organisation)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_template(path, sections)
    typer.echo(f"wrote {path}; keys are in {keys}")
    warn(f"copy {keys / 'master.key'} off this machine now: without it no clip ever opens")
    if public_key is None:
        warn(f"{private} opens every clip: keep a copy elsewhere, or keep it only elsewhere")
    if admin is not None:
        site = Site(path)
        first = add_user(site.engine, admin, FIRST_ROLES, command_line(), now_ms())
        typer.echo(setup_link(site, first.name))
        warn(f"with this link {first.name} sets a password ({', '.join(first.roles)}), once `lapel gateway run` runs")


@app.command("check-config")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say what would go wrong with the configuration on this machine; status 1 if the gateway could not work."""
    site = Site(config)
    _tell(site, check_config(site.config), as_json, "nothing to complain about")


@app.command("doctor")
def examine(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Say what is wrong with this installation and how to mend it; status 1 if anything does not work.

    Looks at the settings, keys, certificates, broker, roles, disks, clock, ledger, channels and devices, and changes
    nothing. Run it as the user that the gateway runs as.
    """
    site = Site(config)
    _tell(site, doctor.examine(site.config, now_ms()), as_json, "in good health")


@app.command()
def monitoring(
    out: Annotated[Path, typer.Option(help="Existing folder to write to, such as /etc/prometheus/lapel.")],
    config: ConfigOption = None,
) -> None:
    """Write what Prometheus and Grafana take: alert rules, a dashboard, and how to scrape this gateway."""
    files = monitoring_files(Site(config).config)
    for name, text in files.items():
        path = out / name
        try:
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise CommandError(
                    f"{path} is there and says something else: move it away, or name another folder", FAILED
                )
            path.write_text(text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path}: {getattr(error, 'strerror', None) or 'it is no text'}", FAILED) from None
    typer.echo(f"wrote {', '.join(files)} to {out}")


@app.command()
def units(
    user: Annotated[str, typer.Option(help="Who the gateway runs as.")] = "lapel",
    out: Annotated[Path | None, typer.Option(help="Write it to this folder, such as /etc/systemd/system.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print or write the systemd unit that runs the gateway."""
    site = Site(config)
    settings = site.config
    data_dir = settings.data_dir.resolve()
    folders = (settings.vault_dir, settings.forward.directory, settings.keys.copy_dir)
    others = (folder.resolve() for folder in folders if folder is not None)
    writable = tuple(folder for folder in others if not folder.is_relative_to(data_dir))
    program = Path(sys.argv[0]).resolve().with_name("lapel")
    text = systemd.unit(program, site.config_file.resolve(), data_dir, user, writable)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        (out / systemd.UNIT_NAME).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{out / systemd.UNIT_NAME}: {error.strerror}", FAILED) from None
    typer.echo(f"wrote {out / systemd.UNIT_NAME}; now: systemctl daemon-reload; systemctl enable --now lapel-gateway")


@app.command()
def run(
    role: Annotated[list[str] | None, typer.Option(help=f"Only this role, repeatable: {', '.join(ROLES)}.")] = None,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log lines as JSON.")] = False,
    check_vault: Annotated[
        bool,
        typer.Option("--check-vault", help="Hold every clip's file against the ledger first (minutes for a million)."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C: all roles of the configuration, or those of --role.

    Where there are several, alarms and deliver each get a process of their own, which this one looks after. A start
    looks at the clips that may be in doubt; after files were put back by hand, --check-vault looks at all of them.
    """
    site = Site(config)
    errors = [finding for finding in check_config(site.config) if finding.level == "error"]
    if errors:
        raise CommandError("\n".join(str(finding) for finding in errors))
    log.configure(json_lines=json_log)
    if check_vault:
        remove_mark(site.config.vault_dir)
    roles, apart = supervise.divide(_roles(role or list(site.config.gateway.roles)))
    beside = supervise.Apart(site.config_file, apart, json_log=json_log)
    raise typer.Exit(service.run(site.config, roles, beside=beside))


@app.command()
def channels(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the channels that alarms can go to, as a [[policy]] names them, whom each reaches and whether it works."""
    site = Site(config)
    with reading(site.engine) as connection:
        found = read_health(connection, reach_of(site.config).people)
    if as_json:
        print_json(found)
        return
    print_table(
        ("channel", "reaches", "state", "last good", "waiting", "trouble"),
        [
            (
                words["channel"],
                words["person"],
                words["state"],
                when(_latest(words)),
                words["waiting"] or None,
                _trouble(words),
            )
            for words in found
        ],
        "no channel is configured: nobody is told of an alarm",
    )


@app.command("show-config")
def show(config: ConfigOption = None) -> None:
    """Print every setting in force, the environment included, as JSON. Settings hold no secrets."""
    site = Site(config)
    print_json({"file": str(site.config_file), **load_config(site.config_file).model_dump(mode="json")})


def _roles(names: list[str]) -> list[Role]:
    """The roles asked for, in the order in which they start. Raises CommandError."""
    unknown = sorted(set(names) - set(ROLES))
    if unknown:
        raise CommandError(f"there is no role {', '.join(unknown)}; roles are {', '.join(ROLES)}")
    return [role for role in ROLES if role in names]


def _tell(site: Site, findings: list[Finding], as_json: bool, well: str) -> None:
    """Print findings; ends with status 1 if one is an error."""
    if as_json:
        facts = [
            {"level": finding.level, "setting": finding.setting, "message": finding.message} for finding in findings
        ]
        print_json({"file": str(site.config_file), "findings": facts})
    else:
        for finding in findings:
            typer.echo(str(finding))
        if not findings:
            typer.echo(f"{site.config_file}: {well}")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FAILED)


def _latest(words: dict[str, Any]) -> dict[str, Any] | None:
    """When the channel last worked, in either of its parts."""
    good = [part["good"] for name in (DELIVERY, LINK) if (part := words[name]) and part["good"]]
    return max(good, key=lambda one: int(one["ms"]), default=None)


def _trouble(words: dict[str, Any]) -> str | None:
    told = [
        f"{name} since {when(part['failing'])}: {part['error']}"
        for name in (DELIVERY, LINK)
        if (part := words[name]) and part["failing"]
    ]
    return "; ".join(told) or None
