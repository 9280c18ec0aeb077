"""Keys of a study file that are valid alone, and are refused together or are not available yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpo.study.budget import FrontTarget
from hpo.study.constraints import never_feasible, refusing
from hpo.study.length import Unit
from hpo.study.objectives import INFERENCE_MS, MEASURED, SECONDS_PER_EPOCH
from hpo.study.spec import StudySpec

KeyPath = tuple[str | int, ...]
Problem = tuple[KeyPath, str]  # the key's path, and what is wrong with it


def contradictions(spec: StudySpec) -> list[Problem]:
    """Keys that are valid alone but contradict each other: where, and why."""
    found: list[Problem] = []
    if spec.executor == "lean" and spec.resources.devices_per_trial > 1:
        text = "lean trains on one device: with several devices_per_trial, write auto or lightning"
        found.append((("executor",), text))
    if spec.cuda_graphs and spec.executor == "lightning":
        found.append((("cuda_graphs",), "CUDA graphs are replayed by the lean executor: write executor: auto or lean"))
    if len(set(spec.track)) < len(spec.track):
        found.append((("track",), "names a tracker twice"))
    if spec.logger == "tensorboard" and "tensorboard" in spec.track:
        found.append((("track",), "logger: tensorboard writes the same files already: leave one of them out"))
    if spec.resources.trials_per_device != 1:
        found += _of_sharing(spec)
    if spec.retries.accumulate and spec.unit == Unit.STEP:
        text = "takes more batches for a step, and the study has steps: write epochs in their place"
        found.append((("retries", "accumulate"), text))
    if spec.retries.accumulate and not spec.retries.oom:
        text = "is for the attempt after memory ran out: write oom: 1, or more, beside it"
        found.append((("retries", "accumulate"), text))
    if spec.sampler.name == "grid":
        text = "sampler: grid tries every point of its space: leave this out"
        found += [((key,), text) for key in ("points", "start_from") if getattr(spec, key)]
    if spec.folds is not None and spec.repeats is not None:
        found.append((("repeats",), "a trial is judged by folds or by repeats, not by both: leave one of them out"))
    if spec.trainings > 1 and spec.resources.devices_per_trial > 1:
        key = "folds" if spec.folds else "repeats"
        found.append(((key,), "is for trials on one device: leave devices_per_trial out"))
    found += _of_constraints(spec)
    found += _of_objectives(spec)
    if spec.steps is not None and spec.epochs is not None:
        text = "a trial has a length in epochs or in steps, not both: leave one of them out (--set epochs=null)"
        return [*found, (("steps",), text)]
    if spec.steps is None and spec.epochs is None:
        return [*found, (("epochs",), "a trial needs a length: epochs: 20, or steps: 2000")]
    if spec.unit == Unit.STEP:
        return found + _of_steps(spec)
    options = spec.trainer
    if options.check_val_every_n_epoch is None and not isinstance(options.val_check_interval, int):
        text = "null counts the batches of all epochs: give a whole number of them, such as val_check_interval: 500"
        found.append((("trainer", "check_val_every_n_epoch"), text))
    return found


def _of_objectives(spec: StudySpec) -> list[Problem]:
    found: list[Problem] = []
    first, further, target = spec.objective, spec.objective.further, spec.budget.target
    metrics = [first.metric, *(one.metric for one in further)]
    if first.metric in MEASURED:
        text = (
            f"{first.metric} is measured, and the first objective is one that the model logs: the best epoch of a "
            f"trial is chosen by it. Write [val_loss, {first.metric}], for instance"
        )
        found.append((("objective", "metric"), text))
    for place, metric in enumerate(metrics[1:]):
        if metric in metrics[: place + 1]:
            found.append((("objective", "further", place, "metric"), f"{metric} is an objective twice: write it once"))
        if metric == SECONDS_PER_EPOCH and spec.unit == Unit.STEP:
            text = f"{metric} counts epochs, and the study has steps: write epochs in their place"
            found.append((("objective", "further", place, "metric"), text))
        if metric == INFERENCE_MS and spec.resources.strategy == "fsdp":
            text = f"{metric} is measured in one process, and with fsdp none has the whole model"
            found.append((("objective", "further", place, "metric"), text))
    if further and spec.start_from:
        found.append((("start_from",), "is for one objective: give the best points of earlier studies as points"))
    key = ("budget", "target")
    if isinstance(target, FrontTarget):
        if not further:
            text = f"is a hypervolume, which one objective has not: write a value of {first.metric}"
            found.append((key, text))
        elif {*target.reference} != {*metrics}:
            names, given = ", ".join(metrics), ", ".join(target.reference) or "nothing"
            found.append(((*key, "reference"), f"should have a value for each objective ({names}), and has {given}"))
    elif target is not None and further:
        values = ", ".join(f"{metric}: ..." for metric in metrics)
        text = (
            f"{target:g} is one number, and there are {len(metrics)} objectives: write {{hypervolume: ..., reference: "
            f"{{{values}}}}}, where the reference is just bad enough to count for nothing"
        )
        found.append((key, text))
    if further and spec.pruner.name not in ("asha", "none"):
        text = f"{spec.pruner.name or spec.pruner.label} compares one objective: with several, write asha or none"
        found.append((("pruner",), text))
    if further and spec.budget.auto:
        text = "is for one objective: write patience, or a target with its reference"
        found.append((("budget", "auto"), text))
    if further and spec.trainings > 1:
        text = "judges a trial by the mean of one objective: leave it out, or the other objectives"
        found.append((("folds" if spec.folds else "repeats",), text))
    return found


def _of_steps(spec: StudySpec) -> list[Problem]:
    found: list[Problem] = []
    options, interval = spec.trainer, spec.trainer.val_check_interval
    if interval is not None and not isinstance(interval, int):
        text = "with steps it is a whole number of training batches, such as 100, and not a share of an epoch"
        found.append((("trainer", "val_check_interval"), text))
    elif interval is not None and interval > spec.max_epochs:
        text = f"{interval:,} is more than the {spec.max_epochs:,} steps of a trial: it would be judged at its end only"
        found.append((("trainer", "val_check_interval"), text))
    if options.check_val_every_n_epoch not in (None, 1):
        text = "counts epochs, and the study has steps: write val_check_interval: 100, a number of training batches"
        found.append((("trainer", "check_val_every_n_epoch"), text))
    return found


def _of_constraints(spec: StudySpec) -> list[Problem]:
    limits = spec.limits_of_trials
    found: list[Problem] = [(("constraints", place), text) for place, text in never_feasible(limits)]
    refuses = refusing(limits)
    for place, one in enumerate(limits):
        if one.name == SECONDS_PER_EPOCH and spec.steps is not None:
            found.append((("constraints", place), f"{SECONDS_PER_EPOCH} is of epochs, and the study has steps"))
        if one in refuses and spec.sampler.name == "grid":
            text = "would refuse points that sampler: grid has to try: leave them out of the space, or write random"
            found.append((("constraints", place), text))
    return found


def _of_sharing(spec: StudySpec) -> list[Problem]:
    """Of trials that share a GPU."""
    key = ("resources", "trials_per_device")
    if spec.resources.devices_per_trial > 1:
        return [(key, "is for trials on one GPU: a trial with several devices_per_trial has them to itself")]
    if spec.resources.accelerator == "cpu":
        return [(key, "is for GPUs: on the CPU, slots says how many trials are trained at a time")]
    return []


def foreign_keys(spec: StudySpec) -> list[Problem]:
    """Objects that are described in the keys of another library, Hydra, and would be passed on as mappings."""
    models = [one.arguments for one in spec.models]
    sections = {"model": models if len(models) > 1 else models[0], "data": spec.data.arguments, "space": spec.space}
    places = {**sections, "trainer": {"callbacks": list(spec.trainer.callbacks)}}
    return [found for section, value in places.items() for found in _of_hydra(value, (section,))]


def _of_hydra(value: Any, path: KeyPath) -> Iterator[Problem]:
    if isinstance(value, Mapping) and "_target_" in value:
        target = str(value["_target_"])
        module, _, name = target.rpartition(".")
        yield (
            (*path, "_target_"),
            f"is a key of Hydra's: here, an object is {{class: {module or 'package'}:{name}, ...}}",
        )
    if isinstance(value, Mapping) and value.get("_partial_"):
        text = (
            "is a key of Hydra's: a trial builds objects, {class: package.module:Class, ...}, and no functions that "
            "build them. Give what is searched as arguments of the class, and build the rest in its constructor"
        )
        yield (*path, "_partial_"), text
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _of_hydra(item, (*path, key))
