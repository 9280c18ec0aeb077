"""The environment variables of trial processes: all but credentials and those of a cluster's launcher.

This is separate from the store's URL so that the fork server can start before a database library is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote, quote_plus

PASSWORD_FILE = "HPO_STORE_PASSWORD_FILE"  # noqa: S105 (the name of a variable)
HIDDEN_FILE = "HPO_HIDDEN_FILE"  # which trial processes give up the right to read, `hpo.training.hidden_file`
_CREDENTIAL_VARIABLES = frozenset(
    {"HPO_STORE", PASSWORD_FILE, "PGPASSWORD", "PGPASSFILE", "DATABASE_URL"},
)
_OBJECT_STORE_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    }
)  # fmt: skip
# of what a study may `track:` with; only its trials get them, see `credentials_of`
_TRACKER_VARIABLES = {
    "mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    "wandb": ("WANDB_API_KEY",),
}
# a child cannot start without these, and a short password ('postgres') may be part of them
_INDISPENSABLE_VARIABLES = frozenset(
    {"PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"},
)
# What notifications need is for workers only: docs/notifications.md recommends names that begin so.
_NOTIFY_PREFIX = "HPO_NOTIFY_"
# A launcher (Slurm, torchrun, MPI, LSF, Ray) sets these for the worker; Lightning would take each trial for a rank of a
# training on several machines, and wait for the others.
_LAUNCHER_PREFIXES = ("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "MV2_", "LSB_", "RAY_", "PBS_")
_LAUNCHER_VARIABLES = frozenset(
    {
        "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "NODE_RANK", "GROUP_RANK", "ROLE_RANK", "LOCAL_RANK",
        "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE",
    }
)  # fmt: skip


def clean_environment(password: str | None, *, has_object_store: bool = False) -> dict[str, str]:
    """This process's environment without credentials, any variable that contains the password, and the launcher's.

    Args:
        has_object_store: the artifacts are in one, whose credentials trials do not need: only workers speak with it.
    """
    has_object_store |= os.environ.get("HPO_ARTIFACTS", "").startswith("s3:/")
    unwanted = _CREDENTIAL_VARIABLES | _LAUNCHER_VARIABLES | (_OBJECT_STORE_VARIABLES if has_object_store else set())
    unwanted |= {name for names in _TRACKER_VARIABLES.values() for name in names}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in unwanted and not name.startswith((_NOTIFY_PREFIX, *_LAUNCHER_PREFIXES))
    }
    if (file := os.environ.get(PASSWORD_FILE)) is not None and Path(file).is_absolute():
        kept[HIDDEN_FILE] = file
    if not password:
        return kept
    spellings = {password, quote(password, safe=""), quote(password, safe=" +"), quote_plus(password)}
    pattern = "|".join(re.escape(spelling) for spelling in sorted(spellings))
    if len(password) < 8:
        # matched within words, a short password would remove half of the environment
        pattern = rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])"
    holds_password = re.compile(pattern)
    return {
        name: value
        for name, value in kept.items()
        if name in _INDISPENSABLE_VARIABLES or not holds_password.search(value)
    }


def credentials_of(trackers: Collection[str]) -> dict[str, str]:
    """The variables of this process with which trials log in to the trackers of their study."""
    names = [name for tracker in trackers for name in _TRACKER_VARIABLES.get(tracker, ())]
    return {name: os.environ[name] for name in names if name in os.environ}
