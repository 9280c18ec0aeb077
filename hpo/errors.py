"""The errors that we raise on purpose: each is a message for the person who can fix the cause.

    HpoError
    ├── SpecError      a study file, an option or a search space has an invalid value
    │   ├── ExecutorError   a study demands an executor that cannot train its model
    │   └── LoggerError     a study demands a logger that is not installed
    ├── LoadError      a model or data module cannot be imported, or is not a class of the right kind
    ├── StoreError     the store is absent, unreachable, of another schema, or contradicts the request
    │   ├── NotFoundError           it has no such study, or the study no such trial
    │   ├── StoreReplacedError      it was deleted, replaced or restored while a worker used it
    │   └── StoreUnreachableError   its server does not answer, and may later
    ├── ObjectStoreError   an object store of artifacts refuses, or does not answer
    ├── DeliveryError  somebody could not be told of an event
    └── RunError       the run itself failed, although what was asked for was right

The command line prints the message without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HpoError(Exception):
    """An error that the user can understand and, unless it is a RunError, can fix."""

    exit_code = 2


class SpecError(HpoError):
    """A study file, an option or a search space has an invalid value."""


class ExecutorError(SpecError):
    """A study demands an executor that cannot train its model."""


class LoggerError(SpecError):
    """A study demands a logger that is not installed."""


class LoadError(HpoError):
    """A model or data module cannot be imported, or is not a class of the right kind."""


class StoreError(HpoError):
    """The store is absent, unreachable, of another schema, or contradicts the request."""


class NotFoundError(StoreError):
    """The store has no such study, or the study has no such trial, or a trial not what is asked for."""


class StoreReplacedError(StoreError):
    """The store was deleted, replaced or restored while a worker used it."""


class StoreUnreachableError(StoreError):
    """The store's server does not answer; the same call may succeed later."""


class ObjectStoreError(HpoError):
    """An object store of artifacts refuses, does not answer, or has something else than was written."""


class DeliveryError(HpoError):
    """Somebody could not be told of an event: the message has no secret."""

    exit_code = 1


class RunError(HpoError):
    """The run failed: the same five failures in a row, a server that does not start."""

    exit_code = 1


def failure_in_words(cause: str, error: str | None) -> str:
    """A failure in a line: `error: ValueError: too large`.

    Args:
        cause: such as `error: ValueError`, or `crash`.
        error: a message, or a traceback, whose last line counts.
    """
    last = next((line.strip() for line in reversed((error or "").splitlines()) if line.strip()), "")
    kind = cause.removeprefix("error: ")
    if not last or kind == last:
        return cause
    return f"error: {last}" if kind != cause and last.startswith(f"{kind}:") else f"{cause}: {last}"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as `, did you mean 'epochs'?`, or an empty string when no known word is similar."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean '{matches[0]}'?" if matches else ""
