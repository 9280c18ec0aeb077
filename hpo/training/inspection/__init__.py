"""Describes a study's data before a search, for `hpo data describe`, in a process that imports the data module."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hpo.ipc.channel import Channel, Message
from hpo.loading import load_class
from hpo.space import arguments_of
from hpo.study.job import DataJob
from hpo.training.arguments import plain
from hpo.training.build import build, complete_arguments
from hpo.training.inspection.facts import examples_in_words, feature_facts, json_value, part_facts
from hpo.training.inspection.findings import findings_of
from hpo.training.inspection.layout import layout_of
from hpo.training.inspection.picture import save_picture
from hpo.training.inspection.samples import parts_of
from hpo.training.inspection.series import in_own_unit
from hpo.training.output import TrialOutput
from hpo.training.trial import reason_of

OWN_UNIT = "none"  # the choice of `scaling` that leaves the data's units unchanged


def run_inspection(job: DataJob, channel: Channel) -> None:
    """Describe and draw the data of the job, and answer with one message: the facts, or the reason for a failure."""
    TrialOutput(lambda _: None).redirect(None)
    try:
        answer = {"kind": "described", **inspect_data(job)}
    except BaseException as error:  # of any kind: it is reported
        answer = {"kind": "failed", "reason": reason_of(error, Path(job.project))}
    channel.send(answer)
    # Without the interpreter's clean-up, in which native libraries may hang.
    os._exit(0)


def inspect_data(job: DataJob) -> Message:
    """Write the picture of the data; its description as plain values.

    Raises:
        DataError: its batches cannot be described.
    """
    pl.seed_everything(job.seed, workers=True, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    with _user_warnings() as warned:
        data_class = load_class(job.data.label, Path(job.project))
        changed = _in_own_unit(data_class, job.data.arguments)
        data = build(data_class, job.data.arguments | changed, Path(job.project))
        data.trainer = trainer  # from which loaders may read the device
        data.prepare_data()
        data.setup(stage="fit")
        parts = in_own_unit(data, parts_of(data))
        described = _own_description(data)
        layout = layout_of(data, parts)
    if job.picture:
        save_picture(Path(job.picture), job.title, layout, parts)
    return {
        "arguments": plain(complete_arguments(data_class, job.data.arguments)),
        "changed": changed,
        "holds": layout.kind,
        "task": layout.task,
        "parts": [part_facts(layout, samples) for samples in parts],
        "features": feature_facts(layout, parts[0]),
        "examples": examples_in_words(layout, parts[0]),
        "facts": described,
        "remarks": list(dict.fromkeys([*(text for samples in parts for text in samples.remarks), *warned])),
        "warnings": [finding._asdict() for finding in findings_of(layout, parts)],
    }


def _in_own_unit(data_class: type[Any], arguments: Message) -> Message:
    """Arguments that turn off scaling, where that is a choice: means and ranges are then in the data's own unit."""
    scaling = next((argument for argument in arguments_of(data_class) if argument.name == "scaling"), None)
    if scaling is None or OWN_UNIT not in scaling.choices:
        return {}
    return {} if arguments.get("scaling", scaling.default) == OWN_UNIT else {"scaling": OWN_UNIT}


def _own_description(data: Any) -> dict[str, Any]:
    """The result of the data module's method `describe`, if it has one."""
    describe = getattr(data, "describe", None)
    found = describe() if callable(describe) else {}
    return {str(name): json_value(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


@contextlib.contextmanager
def _user_warnings() -> Iterator[list[str]]:
    """The warnings of user code, which are part of the description."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
