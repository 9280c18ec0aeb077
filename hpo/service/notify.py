"""The verbs about notifications: a store's own targets, and trying or sending by hand."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpo.errors import DeliveryError, SpecError
from hpo.notify.courier import send_due
from hpo.notify.deliver import deliver
from hpo.notify.message import TEST
from hpo.notify.requirements import problems
from hpo.queue.notifications import load_store_targets, save_store_targets
from hpo.queue.studies import load_study
from hpo.store import Store
from hpo.study.notify import Target
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source


@dataclass(frozen=True)
class Tried:
    """A target that got a test message, or why it did not."""

    target: str
    error: str | None


def check_targets(spec: StudySpec, source: Source, project: Path) -> None:
    """Check that this machine can reach for what the study's targets need: packages, programs, secrets.

    Raises:
        SpecError: something is missing; all of it.
    """
    if found := [(("notify", *path), text) for path, text in problems(spec.notify, project)]:
        raise source.error(found)


def set_targets(store: Store, file: Path, project: Path) -> tuple[tuple[Target, ...], list[str]]:
    """Make the `notify:` of a file the store's own; the targets, and what they need that is missing on this machine.

    Raises:
        SpecError: the file has no such section, or an invalid one; all problems at once.
    """
    targets = Source.of_file(file).targets()
    save_store_targets(store, targets)
    missing = [f"{targets[int(path[0])].place}: {text}" for path, text in problems(targets, project)]
    return targets, missing


def store_targets(store: Store) -> tuple[Target, ...]:
    """The store's own targets."""
    with store.read() as connection:
        return load_store_targets(connection).targets


def clear_targets(store: Store) -> int:
    """Remove the store's own targets; how many there were."""
    before = store_targets(store)
    save_store_targets(store, ())
    return len(before)


def try_targets(store: Store, study: str | None, project: Path) -> list[Tried]:
    """Send a test message to the store's own targets, and to those of a study, from this machine.

    Raises:
        SpecError: there are none.
        StoreError: there is no such study.
    """
    targets = {target.key: target for target in store_targets(store)}
    if study is not None:
        targets |= {target.key: target for target in load_study(store, study).resolved.spec.notify}
    if not targets:
        whose = "the store has no targets of its own" if study is None else f"neither study '{study}' nor the store has"
        raise SpecError(f"{whose}{' targets' if study else ''}: 'hpo notify set FILE' sets the store's")
    content: dict[str, Any] = {
        "id": f"msg_{uuid.uuid4().hex}",
        "event": TEST,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": study,
        "host": platform.node(),
    }
    return [_tried(target, content, store, project) for target in targets.values()]


def send_waiting(store: Store, project: Path) -> list[str]:
    """Send what is due, as a worker does; a line for each try."""
    return send_due(store, project)


def _tried(target: Target, content: dict[str, Any], store: Store, project: Path) -> Tried:
    try:
        deliver(target, content, project=project, password=store.url.password)
    except DeliveryError as error:
        return Tried(target.place, str(error))
    return Tried(target.place, None)


def events_in_words(target: Target) -> str:
    """`finished, 3 failures in a row, worker lost`."""
    words: Sequence[str] = [event.replace("_", " ") for event in target.on]
    return ", ".join(f"{target.failures} {text}" if text.startswith("failures") else text for text in words)
