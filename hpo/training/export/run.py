"""Exports a trial's model for `hpo export`, in a process of the fork server."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule

from hpo.errors import HpoError, LoadError
from hpo.ipc.channel import Channel
from hpo.loading import load_class
from hpo.study.job import OWN_LOADERS, PREPROCESSING, ExportJob
from hpo.study.plan import TRAIN_AND_VALIDATION
from hpo.training.both_parts import learn_from_validation
from hpo.training.build import build, is_plain
from hpo.training.export.comparison import compared
from hpo.training.export.facts import facts_of, versions
from hpo.training.export.formats import EXAMPLES, FILES, ONNX, SAFETENSORS, write_network
from hpo.training.export.network import PREDICTION, Inputs, Network, inputs_of
from hpo.training.export.readme import readme
from hpo.training.export.script import READS_INPUTS, script
from hpo.training.load_model import files_for_references, load_model
from hpo.training.output import TrialOutput
from hpo.training.prediction.predictor import Predictor
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
    _check_packages(job.format)
    project = Path(job.project)
    model = load_model(job.config, Path(job.checkpoint), project)
    members = [load_model(job.config, Path(member), project) for member in job.members]
    return write_folder(job, model, *_validation(job.config, model, project), members=members)


def write_folder(
    job: ExportJob,
    model: LightningModule,
    data: Any,
    batches: Iterator[Any],
    *,
    members: Sequence[LightningModule] = (),
) -> dict[str, Any]:
    """Write the folder of a job with this model, and its data module, which was set up; its facts, and remarks.

    Args:
        batches: of the validation part.
        members: the other models of an ensemble.

    Raises:
        HpoError: the model cannot be written in this format.
    """
    folder = Path(job.folder)
    try:
        first = next(batches)
    except StopIteration:
        raise HpoError("the validation part is empty, and nothing can be compared with the original") from None
    with torch.no_grad():
        network = Network(model, first, members).eval()
    inputs = inputs_of(first)
    path = folder / FILES[job.format]
    head = {name: str(value) for name, value in {**job.about, **versions()}.items()}
    with torch.no_grad():
        exported, shapes = write_network(
            job.format, network, _example(inputs), inputs.names, path, head | {"class": job.config["model"]["class"]}
        )
    found = compared(network, exported, itertools.chain([first], batches))
    state, remarks = _keep_preprocessing(data, Path(job.checkpoint), folder)
    _write_samples(network, inputs, folder)
    reader = str(getattr(type(data), "standalone", "")) or READS_INPUTS
    facts = facts_of(job, network, inputs, shapes, state, found)
    (folder / FACTS).write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    raw = _raw_sample(data, [model, *members], state, facts, folder)
    if job.format == ONNX:
        also = ", and Pillow for files of images" if reader.endswith(".images") else ""
        title = f"Predicts new data with the model of {job.about['study']}, {job.about['model']}, and writes a CSV."
        (folder / PREDICT).write_text(script(reader, title=title, also=also), encoding="utf-8")
    elif job.format == SAFETENSORS:
        _write_config(job.config, model, folder)
    (folder / README).write_text(readme(facts, reads_inputs=reader == READS_INPUTS, sample=raw), encoding="utf-8")
    if not found.is_small:
        remarks.append(
            f"the outputs differ from the original's by up to {found.difference:.1e}, which is more than rounding: "
            "compare the scores before you use it"
        )
    precision = job.about["precision"]
    if "16" in precision:
        remarks.append(f"the trial was trained in precision {precision}; what is exported computes in single precision")
    return {"facts": facts, "remarks": remarks}


@dataclass(frozen=True)
class _Loaders:
    """The loaders of a study without a data module are the model's."""

    owner: Any


def _check_packages(format: str) -> None:
    needed = {ONNX: ("onnx", "onnxscript", "onnxruntime"), SAFETENSORS: ("safetensors",)}.get(format, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise HpoError(
            f"--format {format} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install 'hpo-service[export]'"
        )


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
            if config.get("trained_on") == TRAIN_AND_VALIDATION:
                learn_from_validation(data)
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


def _keep_preprocessing(data: Any, checkpoint: Path, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The state of the preprocessing, of which the folder gets a copy; empty without any."""
    source, target = checkpoint.with_name(PREPROCESSING), folder / PREPROCESSING
    remarks = []
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        contents = state_of(data)
        if contents is None:
            return {}, []
        write_state(contents, target)
        remarks.append(f"{PREPROCESSING} was missing beside the checkpoint, and was fitted again on the trial's data")
    with target.open("rb") as file:
        return parsed(file, str(target)), remarks


def _write_samples(network: Network, inputs: Inputs, folder: Path) -> None:
    some = tuple(x[:EXAMPLES] for x in inputs.tensors)
    with torch.no_grad():
        outputs = network(*some)
    given: dict[str, Any] = {name: x.numpy() for name, x in zip(inputs.names, some, strict=True)}
    expected: dict[str, Any] = {name: y.numpy() for name, y in zip(network.outputs, outputs, strict=True)}
    np.savez(folder / "sample_input.npz", **given)
    np.savez(folder / "expected_output.npz", **expected)


def _raw_sample(
    data: Any, models: list[LightningModule], state: dict[str, Any], facts: Mapping[str, Any], folder: Path
) -> str | None:
    """The name of a file of raw samples with their predictions beside it, where the data module writes one."""
    write = getattr(data, "write_sample", None)
    path = write(folder, EXAMPLES) if callable(write) and state else None
    if path is None:
        return None
    predictor = Predictor(models[0], data, state, remarks=[], members=models[1:])
    are_classes = bool(facts["class_names"]) and facts["outputs"] == [PREDICTION]
    predictor.predict(path, proba=are_classes).to_csv(
        folder / "sample_predictions.csv", index=False, lineterminator="\n"
    )
    return str(Path(path).name)


def _write_config(config: Mapping[str, Any], model: LightningModule, folder: Path) -> None:
    """What the weights alone do not tell: the class, and the arguments that it was made with."""
    arguments = {name: value for name, value in model.hparams.items() if is_plain(value)}
    contents = {"model": {"class": config["model"]["class"], "arguments": arguments}}
    (folder / "config.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
