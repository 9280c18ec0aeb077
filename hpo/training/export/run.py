"""Exports a trial's model for `hpo export`, in a process of the fork server."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule

from hpo.errors import HpoError, LoadError
from hpo.ipc.channel import Channel
from hpo.loading import load_class
from hpo.study.job import OWN_LOADERS, PREPROCESSING, ExportJob, TrainedModel
from hpo.training.both_parts import as_trained
from hpo.training.build import build, is_plain
from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.outputs import outputs_of
from hpo.training.export.comparison import compared
from hpo.training.export.facts import PART_FACTS, facts_of, numbered, versions
from hpo.training.export.formats import EXAMPLES, FILES, ONNX, SAFETENSORS, TORCH_EXPORT, write_network
from hpo.training.export.network import PREDICTION, Inputs, Network, inputs_of
from hpo.training.export.readme import readme
from hpo.training.export.script import READS_INPUTS, script
from hpo.training.export.simple_models import simple_model
from hpo.training.load_model import files_for_references, load_model
from hpo.training.output import TrialOutput
from hpo.training.prediction.loading import alike
from hpo.training.prediction.predictor import Predictor, Prepared
from hpo.training.prediction.state_file import parsed, state_of, write_state
from hpo.training.trial import reason_of

FACTS, README, PREDICT = "facts.json", "README.md", "predict.py"


def run_export(job: ExportJob, channel: Channel) -> None:
    """Write the folder of the job, and answer with one message: what was written, or why nothing was."""
    TrialOutput(lambda _: None).redirect(None)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # data modules say in each training what is odd in the data
            answer = {"kind": "exported", **export(job)}
    except BaseException as error:  # of any kind: it is reported
        answer = {"kind": "failed", "reason": reason_of(error, Path(job.project))}
    channel.send(answer)
    # Without the interpreter's clean-up, in which native libraries may hang.
    os._exit(0)


def export(job: ExportJob) -> dict[str, Any]:
    """Write the folder of a job; its facts, and remarks.

    Raises:
        HpoError: the model, its data or a package is missing, or the model cannot be written in this format.
    """
    _check(job)
    project = Path(job.project)
    parts = [_part_of(group, project) for group in alike(job.models)]
    return write_folder(job, [_simple(parts[0], job.baseline, project)] if job.baseline else parts)


@dataclass(frozen=True)
class Part:
    """Models that take the same inputs, to be written as one network; an ensemble may have several such parts.

    Attributes:
        config: of the first model's trial; checkpoint: its file.
        weights: of the models, in the ensemble's average.
        data: their data module, which was set up.
        batches: of the validation part.
    """

    config: Mapping[str, Any]
    checkpoint: Path
    models: Sequence[LightningModule]
    weights: Sequence[int]
    data: Any
    batches: Iterator[Any]


def write_folder(job: ExportJob, parts: Sequence[Part]) -> dict[str, Any]:
    """Write the folder of a job; its facts, and remarks.

    Raises:
        HpoError: a model cannot be written in this format.
    """
    folder = Path(job.folder)
    remarks: list[str] = []
    written = [_write_part(job, part, number, remarks) for number, part in enumerate(parts, start=1)]
    facts, others = written[0].facts, [each.facts for each in written[1:]]
    if others:  # whose facts are those in which they may differ from the first
        facts["others"] = [{name: each[name] for name in PART_FACTS} for each in others]
    (folder / FACTS).write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    data = parts[0].data
    reader = str(getattr(type(data), "standalone", "")) or READS_INPUTS
    several = zip(parts, written, strict=True)
    raw = _raw_sample(
        [Prepared(part.data, its.state, part.models, part.weights) for part, its in several], facts, folder
    )
    if job.format == ONNX:
        also = ", and Pillow for files of images" if reader.endswith(".images") else ""
        title = f"Predicts new data with the model of {job.about['study']}, {job.about['model']}, and writes a CSV."
        (folder / PREDICT).write_text(script(reader, title=title, also=also), encoding="utf-8")
    elif job.format == SAFETENSORS:
        _write_config(parts[0].config, parts[0].models[0], folder)
    (folder / README).write_text(readme(facts, reads_inputs=reader == READS_INPUTS, sample=raw), encoding="utf-8")
    precision = job.about["precision"]
    if "16" in precision:
        remarks.append(f"the trial was trained in precision {precision}; what is exported computes in single precision")
    return {"facts": facts, "remarks": list(dict.fromkeys(remarks))}


class _Written(NamedTuple):
    facts: dict[str, Any]
    state: dict[str, Any]  # of the preprocessing


def _write_part(job: ExportJob, part: Part, number: int, remarks: list[str]) -> _Written:
    """The files of one network: the first one's have plain names, those of others end in their number."""
    folder = Path(job.folder)
    try:
        first = next(part.batches)
    except StopIteration:
        raise HpoError("the validation part is empty, and nothing can be compared with the original") from None
    with torch.no_grad():
        network = Network(part.models[0], first, part.models[1:], part.weights).eval()
    inputs = inputs_of(first)
    file = numbered(FILES[job.format], number)
    head = {name: str(value) for name, value in {**job.about, **versions()}.items()}
    with torch.no_grad():
        exported, shapes = write_network(
            job.format,
            network,
            _example(inputs),
            inputs.names,
            folder / file,
            head | {"class": part.config["model"]["class"]},
        )
    found = compared(network, exported, itertools.chain([first], part.batches))
    state = _keep_preprocessing(part, folder / numbered(PREPROCESSING, number), remarks)
    _write_samples(network, inputs, folder, number)
    if not found.is_small:
        remarks.append(
            f"the outputs differ from the original's by up to {found.difference:.1e}, which is more than rounding: "
            "compare the scores before you use it"
        )
    facts = facts_of(job, part.config, network, inputs, shapes, state, found)
    return _Written(facts | {"file": file, "number": number, "weight": sum(part.weights)}, state)


@dataclass(frozen=True)
class _Loaders:
    """The loaders of a study without a data module are the model's."""

    owner: Any


def _check(job: ExportJob) -> None:
    needed = {ONNX: ("onnx", "onnxscript", "onnxruntime"), SAFETENSORS: ("safetensors",)}.get(job.format, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise HpoError(
            f"--format {job.format} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install 'hpo-service[export]'"
        )
    if job.format == SAFETENSORS and job.baseline:
        raise HpoError(f"a simple model is no network with weights: '--format {ONNX}' and '{TORCH_EXPORT}' write it")
    if job.format == SAFETENSORS and len(job.models) > 1:
        raise HpoError(
            f"an ensemble of {len(job.models)} models is not the weights of one: '--format {ONNX}' and "
            f"'{TORCH_EXPORT}' average their outputs; or give --trial"
        )


def _simple(part: Part, name: str, project: Path) -> Part:
    """The simple model of this name, with the data of a network, in the network's place."""
    owner = part.data.owner if isinstance(part.data, _Loaders) else part.data
    fitted = Fitted(part.data, owner, "validation", project, torch.device("cpu"))
    outputs, notes = outputs_of(part.models[0], fitted)
    if outputs is None:
        raise HpoError(f"there are no simple models beside this one: {'; '.join(notes)}")
    model = simple_model(name, fitted, outputs)
    config = {**part.config, "model": {"class": f"scikit-learn's {name}"}}
    return replace(part, config=config, models=[model], weights=[1])


def _part_of(group: Sequence[TrainedModel], project: Path) -> Part:
    config = group[0].config
    models = [load_model(one.config, Path(one.checkpoint), project) for one in group]
    data, batches = _validation(config, models[0], project)
    return Part(config, Path(group[0].checkpoint), models, [one.weight for one in group], data, batches)


def _validation(config: Mapping[str, Any], model: LightningModule, project: Path) -> tuple[Any, Iterator[Any]]:
    """The data module, set up, and the batches of its validation part."""
    label = config.get("data", {}).get("class", OWN_LOADERS)
    try:
        if label == OWN_LOADERS:
            data: Any = _Loaders(model)
            model.prepare_data()
            model.setup("fit")
            loaders = model.val_dataloader()
        else:
            data = build(load_class(label, project), files_for_references(config, "data"), project)
            as_trained(data, config)
            data.prepare_data()
            data.setup(stage="fit")
            loaders = data.val_dataloader()
    except HpoError:
        raise
    except Exception as error:  # of the user's code
        raise LoadError(
            f"the validation part, with which an export is compared, cannot be read: {label}: {type(error).__name__}: "
            f"{error}"
        ) from error
    several = loaders if isinstance(loaders, list | tuple) else [loaders]
    return data, iter(itertools.chain.from_iterable(several))


def _example(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """Some samples, of which there are several, since an example of one would be followed as that."""
    rows = [number % len(inputs.tensors[0]) for number in range(EXAMPLES)]
    return tuple(x[rows].contiguous() for x in inputs.tensors)


def _keep_preprocessing(part: Part, target: Path, remarks: list[str]) -> dict[str, Any]:
    """The state of the preprocessing, of which the folder gets a copy; empty without any."""
    source = part.checkpoint.with_name(PREPROCESSING)
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        contents = state_of(part.data)
        if contents is None:
            return {}
        write_state(contents, target)
        remarks.append(f"{PREPROCESSING} was missing beside the checkpoint, and was fitted again on the trial's data")
    with target.open("rb") as file:
        return parsed(file, str(target))


def _write_samples(network: Network, inputs: Inputs, folder: Path, number: int) -> None:
    some = tuple(x[:EXAMPLES] for x in inputs.tensors)
    with torch.no_grad():
        outputs = network(*some)
    given: dict[str, Any] = {name: x.numpy() for name, x in zip(inputs.names, some, strict=True)}
    expected: dict[str, Any] = {name: y.numpy() for name, y in zip(network.outputs, outputs, strict=True)}
    np.savez(folder / numbered("sample_input.npz", number), **given)
    np.savez(folder / numbered("expected_output.npz", number), **expected)


def _raw_sample(parts: Sequence[Prepared], facts: Mapping[str, Any], folder: Path) -> str | None:
    """The name of a file of raw samples with their predictions beside it, where the data module writes one."""
    write = getattr(parts[0].data, "write_sample", None)
    path = write(folder, EXAMPLES) if callable(write) and parts[0].state else None
    if path is None:
        return None
    are_classes = bool(facts["class_names"]) and facts["outputs"] == [PREDICTION]
    Predictor(parts, remarks=[]).predict(path, proba=are_classes).to_csv(
        folder / "sample_predictions.csv", index=False, lineterminator="\n"
    )
    return str(Path(path).name)


def _write_config(config: Mapping[str, Any], model: LightningModule, folder: Path) -> None:
    """What the weights alone do not tell: the class, and the arguments that it was made with."""
    arguments = {name: value for name, value in model.hparams.items() if is_plain(value)}
    contents = {"model": {"class": config["model"]["class"], "arguments": arguments}}
    (folder / "config.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
