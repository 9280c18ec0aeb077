"""Saying what a person should see of data before a search: `hpo data describe`, in a process that may import it."""

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
from hpo.training.inspection.facts import examples_in_words, feature_facts, json_value, part_facts
from hpo.training.inspection.findings import findings_of
from hpo.training.inspection.layout import layout_of
from hpo.training.inspection.picture import save_picture
from hpo.training.inspection.samples import parts_of
from hpo.training.inspection.series import in_own_unit
from hpo.training.trial import build, complete_arguments, plain, reason_of, redirect_output

OWN_UNIT = "none"  # what data modules call the scaling that changes nothing


def run_inspection(job: DataJob, channel: Channel) -> None:
    """Look at the data as the job says, draw it, and answer with one message: the facts, or why there are none."""
    redirect_output(None)
    try:
        answer = {"kind": "described", **inspect_data(job)}
    except BaseException as error:  # whatever it was, the person wants to know
        answer = {"kind": "failed", "reason": reason_of(error, Path(job.project))}
    channel.send(answer)
    # Without the interpreter's tear-down, in which native libraries may hang.
    os._exit(0)


def inspect_data(job: DataJob) -> Message:
    """Everything that is told of the data, as plain values, once its picture is written.

    Raises:
        DataError: its batches are nothing that can be described.
    """
    pl.seed_everything(job.seed, workers=True, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    with _heard() as heard:
        data_class = load_class(job.data.label, Path(job.project))
        changed = _in_own_unit(data_class, job.data.arguments)
        data = build(data_class, job.data.arguments | changed)
        data.trainer = trainer  # which loaders may ask for their device
        data.prepare_data()
        data.setup(stage="fit")
        parts = in_own_unit(data, parts_of(data))
        told = _told_by(data)
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
        "facts": told,
        "remarks": list(dict.fromkeys([*(text for samples in parts for text in samples.remarks), *heard])),
        "warnings": [finding._asdict() for finding in findings_of(layout, parts)],
    }


def _in_own_unit(data_class: type[Any], arguments: Message) -> Message:
    """Without scaling, where that is a choice: means and ranges then say something."""
    scaling = next((argument for argument in arguments_of(data_class) if argument.name == "scaling"), None)
    if scaling is None or OWN_UNIT not in scaling.choices:
        return {}
    return {} if arguments.get("scaling", scaling.default) == OWN_UNIT else {"scaling": OWN_UNIT}


def _told_by(data: Any) -> dict[str, Any]:
    """What the data module itself tells, if it has a method `describe`."""
    describe = getattr(data, "describe", None)
    told = describe() if callable(describe) else {}
    return {str(name): json_value(value) for name, value in told.items()} if isinstance(told, Mapping) else {}


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """The warnings of user code: they are part of what is told."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
