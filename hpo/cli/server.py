"""Verbs of the server: dashboard, its users and tokens, and what was changed through it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.answer import print_json_lines, say
from hpo.cli.options import ArtifactsOption, JsonOption, ProjectOption, StoreOption, open_to_look, url_of

user = typer.Typer(help="Who may log in to the server: add, list, remove.", no_args_is_help=True)
token = typer.Typer(help="Tokens by which programs use the server: create, list, revoke.", no_args_is_help=True)

Role = Annotated[str, typer.Option(help="viewer looks; operator also submits and steers; admin also deletes.")]
UserName = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")]


def dashboard(
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    login: Annotated[
        bool | None,
        typer.Option(
            "--login/--no-login",
            help="Let users of 'hpo user add' log in; or let all who reach another address than this machine's look.",
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate for HTTPS, in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, in PEM, without a password.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address that browsers use where a proxy stands before it.")
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Believe what a proxy at this address says of its clients' addresses."),
    ] = None,
) -> None:
    """Serve the store: optuna-dashboard, pages, an interface for programs, metrics; read-only without a login."""
    from hpo.settings import artifacts_folder, project_folder
    from hpo.web.serve import Transport, serve
    from hpo.web.site import Site

    folder = project_folder(project)
    is_encrypted = tls_cert is not None or (url is not None and url.startswith("https://"))
    site = Site(
        url_of(store, project),
        folder,
        artifacts_folder(artifacts, folder),
        host=host,
        login=bool(login),
        address=url.rstrip("/") if url is not None else None,
        is_encrypted=is_encrypted,
    )
    transport = Transport(host, port, tls_cert, tls_key, tuple(trust_proxy or ()))
    serve(site, transport, is_open=login is False)


@user.command("add")
def add_user(
    name: UserName,
    role: Role,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the password from its first line (default: ask for it).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give an existing user this role and password.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Add a user; with --replace, change the role and the password, which ends their sessions."""
    from hpo.store import Store
    from hpo.web import users
    from hpo.web.callers import Role as Roles

    wanted = Roles.of(role)
    with Store.create(url_of(store, project)) as opened:
        users.check_name(opened, name, replace=replace)  # before somebody types a password
        users.add_user(opened, name, wanted, _password(password_file), replace=replace)
    say(f"user {name} may log in as {wanted.word}")


@user.command("list")
def list_users(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the users and their roles."""
    from hpo.web.users import users

    with open_to_look(store, project) as opened:
        found = [{"name": one.name, "role": one.role.word, "created": _moment(one.created)} for one in users(opened)]
    _show(found, as_json, "nobody may log in: hpo user add NAME --role viewer")


@user.command("remove")
def remove_user(name: UserName, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Remove a user, and end their sessions."""
    from hpo.web.users import remove_user

    with open_to_look(store, project) as opened:
        remove_user(opened, name)
    say(f"user {name} is removed")


@token.command("create")
def create_token(
    name: TokenName,
    role: Role,
    expires: Annotated[str, typer.Option(metavar="TIME", help="90m, 12h, 30d or never.")] = "90d",
    study: Annotated[list[str] | None, typer.Option(metavar="STUDY", help="For this study only; repeatable.")] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Create a token, and print it: it cannot be read again."""
    from hpo.store import Store
    from hpo.web import tokens
    from hpo.web.callers import Role as Roles

    wanted, seconds = Roles.of(role), tokens.seconds_of(expires)
    with Store.create(url_of(store, project)) as opened:
        secret = tokens.create_token(opened, name, wanted, seconds=seconds, studies=study or ())
    say(secret)
    say(f"token {name} ({wanted.word}): keep it in a file that only its user can read; it is not shown again", err=True)


@token.command("list")
def list_tokens(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the tokens, without their secrets."""
    from hpo.web.tokens import tokens

    with open_to_look(store, project) as opened:
        found = [
            {
                "name": one.name,
                "role": one.role.word,
                "state": "valid" if one.is_valid else "expired" if one.revoked is None else "revoked",
                "studies": "all" if one.studies is None else ", ".join(one.studies),
                "created": _moment(one.created),
                "expires": _moment(one.expires),
                "used": _moment(one.used),
            }
            for one in tokens(opened)
        ]
    _show(found, as_json, "there is no token: hpo token create NAME --role viewer")


@token.command("revoke")
def revoke_token(name: TokenName, store: StoreOption = None, project: ProjectOption = None) -> None:
    """Let a token be valid no more."""
    from hpo.web.tokens import revoke_token

    with open_to_look(store, project) as opened:
        revoke_token(opened, name)
    say(f"token {name} is revoked")


def audit(
    study: Annotated[str | None, typer.Option(metavar="STUDY", help="Only what was done to this study.")] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was changed through the server: when, by whom, and what."""
    from hpo.web.audit import trail

    with open_to_look(store, project) as opened:
        found = [one.to_json() | {"moment": _moment(one.moment)} for one in trail(opened, study=study)]
    if not as_json:
        for one in found:
            one["detail"] = ", ".join(f"{key} {value}" for key, value in one["detail"].items())
    _show(found, as_json, "nothing was changed through the server")


def _password(file: Path | None) -> str:
    """
    Raises:
        SpecError: the file cannot be read, the two passwords differ, or nobody is there to be asked.
    """
    import getpass

    from hpo.errors import SpecError

    if file is not None:
        try:
            return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeError) as error:
            raise SpecError(f"--password-file {file}: {getattr(error, 'strerror', None) or error}") from error
    if not sys.stdin.isatty():
        raise SpecError("without a terminal, give the password in a file: --password-file FILE")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("The same again: "):
        raise SpecError("the two passwords differ: nothing was changed")
    return password


def _moment(seconds: float | None) -> str | None:
    from datetime import UTC, datetime

    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _show(rows: Sequence[Mapping[str, object]], as_json: bool, empty: str) -> None:
    from hpo.cli.console import console
    from hpo.cli.listing import print_columns
    from hpo.printable import in_a_line

    if as_json:
        print_json_lines(rows)
    elif not rows:
        say(empty)
    else:
        names = list(rows[0])
        cells = [["-" if row[name] in (None, "") else in_a_line(str(row[name])) for name in names] for row in rows]
        print_columns(names, cells, console(), left=names)
