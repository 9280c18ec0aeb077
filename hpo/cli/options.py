"""The options that several verbs share, and what they mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.client.studies import StudiesOfServer
    from hpo.service.studies import Studies
    from hpo.store import Store, StoreUrl

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="URL of the store (default: HPO_STORE or sqlite:///hpo.db)."),
]
ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="DIR", help="Folder that models are imported from (default: the current one)."),
]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        metavar="DIR",
        help="Folder, or s3://BUCKET/FOLDER, for checkpoints and logs (default: hpo-artifacts).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the file: --set epochs=5 --set pruner.eta=4."),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the study (default: the file's).")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study's name.", callback=lambda name: _in_utf_8(name))
]
OtherStudyName = Annotated[
    str, typer.Argument(metavar="OTHER", help="The other study's name.", callback=lambda name: _in_utf_8(name))
]
THROUGH_A_SERVER = "ls, status, trials, best, show, logs, submit, pause, resume, stop, kill, set, enqueue and delete"
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots",
        envvar="HPO_SLOTS",
        min=1,
        help="Trials at a time on this machine (default: one a GPU, or one a core).",
    ),
]


def study_in_utf_8(name: str | None) -> str | None:
    """The same of an argument that may be left out."""
    return None if name is None else _in_utf_8(name)


def _in_utf_8(name: str) -> str:
    """The name as UTF-8, whatever Python takes the terminal's encoding for: in no other do stores have names."""
    try:
        return os.fsencode(name).decode()
    except UnicodeError:
        raise SpecError(f"the name '{name}' is not text in UTF-8, as the names of studies are") from None


@dataclass
class ServerChoice:
    """The server that is asked instead of a store: of `hpo --server URL VERB`, or HPO_SERVER."""

    url: str | None = None
    token_file: Path | None = None
    is_plain_allowed: bool = False


SERVER = ServerChoice()


@contextlib.contextmanager
def studies_at(
    store: str | None, project: Path | None, artifacts: Path | None = None, *, is_foreign_allowed: bool = False
) -> Iterator[Studies]:
    """The studies behind the server that was chosen, unless a store is named; else those of the store.

    Args:
        is_foreign_allowed: also of a store that only Optuna's own programs have used.
    """
    if SERVER.url is not None and store is None:
        with server_chosen() as studies:
            yield studies
        return
    from hpo.service.studies import StudiesOfStore
    from hpo.settings import artifacts_folder, project_folder

    folder = artifacts_folder(artifacts, project_folder(project))
    with StudiesOfStore(open_to_look(store, project, is_foreign_allowed=is_foreign_allowed), folder) as of_store:
        yield of_store


def server_chosen() -> StudiesOfServer:
    """The studies behind the server that was chosen."""
    from hpo.client.studies import connect

    return connect(SERVER.url or "", SERVER.token_file, is_plain_allowed=SERVER.is_plain_allowed)


def url_of(store: str | None, project: Path | None) -> StoreUrl:
    """The store's URL: the option, else the environment, else the default.

    Raises:
        SpecError: it is no URL; or a server was chosen, and this verb needs the store itself.
    """
    if SERVER.url is not None and store is None:
        raise SpecError(
            "this verb works on a store, and not through a server: name one with --store, and leave out --server "
            f"(and HPO_SERVER). Through a server work {THROUGH_A_SERVER}"
        )
    from hpo.settings import project_folder, store_url

    return store_url(store, project_folder(project))


def open_to_look(store: str | None, project: Path | None, *, is_foreign_allowed: bool = False) -> Store:
    """The existing store, for a verb that creates nothing.

    Args:
        is_foreign_allowed: also one that only Optuna's own programs have used.
    """
    from hpo.store import Store

    return Store.open(url_of(store, project), is_foreign_allowed=is_foreign_allowed)
