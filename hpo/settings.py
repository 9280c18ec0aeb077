"""Where the store, the artifacts and the project are: by option, environment variable or default."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hpo.errors import SpecError
from hpo.store import StoreUrl
from hpo.study.object_store import SCHEME, local_path

DEFAULT_STORE = "sqlite:///hpo.db"
DEFAULT_ARTIFACTS = "hpo-artifacts"


def store_url(option: str | None, project: Path) -> StoreUrl:
    """The store: the option, else HPO_STORE, else `hpo.db` in the project folder.

    Raises:
        StoreError: it is not a URL of a store.
    """
    if option is None and not os.environ.get("HPO_STORE"):
        return StoreUrl.parse(DEFAULT_STORE, base=project)
    return StoreUrl.parse(option or os.environ["HPO_STORE"], base=Path.cwd())


def artifacts_folder(option: Path | None, project: Path) -> Path:
    """The folder for checkpoints and logs: the option, else HPO_ARTIFACTS, else `hpo-artifacts` in the project.

    Of an address in an object store, the folder of this machine that mirrors it.

    Raises:
        SpecError: it is neither a folder nor such an address.
    """
    chosen = str(option) if option is not None else os.environ.get("HPO_ARTIFACTS")
    if chosen is None:
        return (project / DEFAULT_ARTIFACTS).resolve()
    if (address := re.fullmatch(rf"{SCHEME}:/+([^/].*?)/*", chosen)) is not None:  # a path has lost a slash
        return local_path(f"{SCHEME}://{address[1]}")
    if re.match(r"[a-z0-9+]+:(/|$)", chosen):
        raise SpecError(f"--artifacts {chosen}: should be a folder, or an address such as {SCHEME}://BUCKET/FOLDER")
    return Path(chosen).resolve()


def project_folder(option: Path | None) -> Path:
    """The project folder: the option, else HPO_PROJECT, else the current folder.

    Raises:
        SpecError: there is no such folder.
    """
    chosen = (option or Path(os.environ.get("HPO_PROJECT", "."))).resolve()
    if not chosen.is_dir():
        raise SpecError(f"--project {chosen}: there is no such folder")
    return chosen


def templates_folder() -> Path:
    """Where the shipped models and studies stand."""
    package = Path(__file__).parent
    shipped = package / "templates"
    # In a checkout of the project the originals stand beside the package.
    return shipped if (shipped / "studies").is_dir() else package.parent
