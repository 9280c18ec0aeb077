"""Verbs about notifications: notify set, show, test, send, clear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import JsonOption, ProjectOption, StoreOption, open_to_look
from hpo.printable import counted

notify = typer.Typer(help="Tell people what happens in all studies of the store.", no_args_is_help=True)


@notify.command("set")
def set_(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A file with notify:, such as a study file.")],
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Make the notify: of a file the store's own: it is told of all studies, beside what their files say."""
    from hpo.service.notify import events_in_words, set_targets
    from hpo.settings import project_folder

    with open_to_look(store, project) as opened:
        targets, missing = set_targets(opened, file, project_folder(project))
    for target in targets:
        say(f"{target.place}: {events_in_words(target)}")
    for text in missing:
        say(f"warning: not on this machine, and needed where workers run: {text}", err=True)


@notify.command()
def show(store: StoreOption = None, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Show the store's own targets, and of what they are told."""
    from hpo.service.notify import events_in_words, store_targets

    with open_to_look(store, project) as opened:
        targets = store_targets(opened)
    if as_json:
        print_json([target.model_dump(mode="json", exclude_none=True, by_alias=True) for target in targets])
        return
    for target in targets:
        say(f"{target.place}: {events_in_words(target)}")
    if not targets:
        say("the store has no targets of its own: 'hpo notify set FILE' sets some")


@notify.command("test")
def try_(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Also the targets of this study.")] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Send a test message to each target from this machine; exit code 1 when one does not take it."""
    from hpo.service.notify import try_targets
    from hpo.settings import project_folder

    with open_to_look(store, project) as opened:
        tried = try_targets(opened, study, project_folder(project))
    for one in tried:
        say(f"{one.target}: {one.error or 'sent'}")
    if any(one.error for one in tried):
        raise typer.Exit(1)


@notify.command()
def send(store: StoreOption = None, project: ProjectOption = None) -> None:
    """Send what waits to be sent now, where no worker is left that does."""
    from hpo.service.notify import send_waiting
    from hpo.settings import project_folder

    with open_to_look(store, project) as opened:
        lines = send_waiting(opened, project_folder(project))
    for line in lines or ["nothing is due"]:
        say(line)


@notify.command()
def clear(store: StoreOption = None, project: ProjectOption = None) -> None:
    """Remove the store's own targets; those of study files stay."""
    from hpo.service.notify import clear_targets

    with open_to_look(store, project) as opened:
        number = clear_targets(opened)
    say(f"{counted(number, 'target')} removed")
