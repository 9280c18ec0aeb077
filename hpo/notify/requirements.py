"""What targets need on the machine that sends: a package, a program, a variable, a file; told before it is too late."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpo.errors import DeliveryError
from hpo.notify.deliver import find_program
from hpo.notify.secrets import secrets_of
from hpo.study.notify import Target

NO_APPRISE = "needs the package apprise, which is not installed: pip install 'hpo-service[notify]'"


def problems(targets: Sequence[Target], project: Path) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is missing on this machine: the path of the key, and what to do.

    Args:
        project: where relative paths start.
    """
    for place, target in enumerate(targets):
        path = (place, target.kind)
        if target.apprise is not None and importlib.util.find_spec("apprise") is None:
            yield path, NO_APPRISE
            continue
        try:
            if target.command is not None:
                find_program(target.command[0], project)
            secrets = secrets_of(target, project)
        except DeliveryError as error:
            yield path, str(error)
            continue
        if target.apprise is not None:
            import apprise

            logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs a URL that it does not know, in full
            if not apprise.Apprise().add(secrets["url"]):
                where = target.apprise.url_env or target.apprise.url_file
                yield path, f"apprise knows no service of the URL that {where} holds, such as slack://..."
