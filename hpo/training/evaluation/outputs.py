"""What models give for a part's samples, in the meaning of its targets: probabilities of classes, or values."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from hpo.study.job import EvaluationJob
from hpo.training.devices import accelerator_of
from hpo.training.evaluation.fitted import EvaluationError, Fitted
from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array, _split
from hpo.training.inspection.series import is_forecast
from hpo.training.lean.hooks import is_overridden

IGNORED = -100  # the class number of entries without a target; torch's convention

Task = Literal["classes", "values", "reconstruction"]


@dataclass(frozen=True)
class Outputs:
    """Targets and what was predicted, a row for each target.

    Attributes:
        truth: class numbers (rows,); values (rows, outputs) in the data's unit; the inputs (rows, numbers) of a
            reconstruction.
        predicted: probabilities (rows, classes); values (rows, outputs); reconstructions (rows, numbers).
        sample: the number of each row's sample: those of a sequence belong together.
        names: of the classes or outputs.
        block: how many consecutive samples depend on each other, as windows of a series do; 1 where they do not.
        codes: of a reconstruction (rows, latent).
        labels: of a reconstruction whose data has classes (rows,).
    """

    task: Task
    truth: Array
    predicted: Array
    sample: Array
    names: tuple[str, ...]
    layout: Layout
    block: int = 1
    codes: Array | None = None
    labels: Array | None = None

    @property
    def samples(self) -> int:
        return int(self.sample[-1]) + 1 if len(self.sample) else 0


def outputs_of(model: LightningModule, fitted: Fitted) -> tuple[Outputs | None, list[str]]:
    """What a model gives for the evaluated part; and notes on what could not be evaluated.

    Raises:
        EvaluationError: the part gives no batches.
    """
    layout = fitted.layout
    found: list[Any] = []
    targets, inputs = [], []
    for number, batch in enumerate(fitted.loader()):
        on_device = moved(batch, fitted.device)
        tensors, target, _ = _split(on_device)
        if layout.main not in tensors:
            return None, [f"a batch has no tensor to learn from: it is {type(batch).__name__}"]
        try:
            with torch.no_grad():
                found.append(output_of(model, on_device, number))
        except Exception as error:  # of the user's code
            return None, [f"the model gives no predictions for a batch: {type(error).__name__}: {error}"]
        targets.append(None if target is None else np.asarray(target.cpu().numpy()))
        inputs.append(np.asarray(tensors[layout.main].float().cpu().numpy()))
    if not found:
        raise EvaluationError(f"the {fitted.part} part gives no batches")
    if found[0] is None:
        return None, ["the model's predictions are no tensors: it is judged by what it logs alone"]
    if hasattr(model, "encode"):
        return _reconstructed(found, inputs, targets, layout), []
    if any(target is None for target in targets) or layout.task == "none":
        return None, ["the data has no targets: the model is judged by what it logs alone"]
    whole = _joined(found)
    truth = _joined([np.asarray(target) for target in targets])
    try:
        if layout.has_classes:
            return _classes(whole, truth, layout), []
        return _values(whole, truth, layout, fitted, is_own=_predicts(model)), []
    except ValueError as error:
        return None, [f"the model's predictions do not fit the targets: {error}; it is judged by what it logs alone"]


def averaged(found: Sequence[Outputs], weights: Sequence[int]) -> Outputs:
    """What several models give together for the same targets; of autoencoders with the codes of the first."""
    if len(found) == 1:
        return found[0]
    predicted = np.average([one.predicted for one in found], axis=0, weights=weights)
    return replace(found[0], predicted=predicted)


def predicted_of(
    models: Sequence[LightningModule],
    fitted: Fitted,
    outputs: Outputs,
    arrays: Mapping[str, Array],
    weights: Sequence[int] | None = None,
) -> Array:
    """What the models give for other samples of the same kind, in the form of `Outputs.predicted`; one row a sample.

    Args:
        arrays: the inputs by name, in the order of a batch.
    """
    tensors = tuple(torch.from_numpy(array).to(fitted.device) for array in arrays.values())
    batch = (tensors[0] if len(tensors) == 1 else tensors, torch.zeros(len(tensors[0])))
    with torch.no_grad():
        found = [output_of(model, batch, 0) for model in models]
    if outputs.task == "classes":
        count = len(outputs.names)
        likely = [_probabilities(output, (len(output),), count) for output in found]
        return np.asarray(np.average(likely, axis=0, weights=weights))
    several = [output.astype(np.float64).reshape(len(output), -1) for output in found]
    values = np.average(several, axis=0, weights=weights)
    return fitted.restored(values) if _predicts(models[0]) else fitted.in_unit(values)


def logged_metrics(model: LightningModule, fitted: Fitted, job: EvaluationJob) -> dict[str, float]:
    """What the module logs when a Trainer evaluates it on the part: as `test_...` where it has a `test_step`."""
    trainer = pl.Trainer(
        accelerator="gpu" if accelerator_of(job) == "gpu" else "cpu",
        devices=1,
        precision=job.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    tests = job.part == "test" and is_overridden("test_step", model, LightningModule)
    run = trainer.test if tests else trainer.validate
    run(model, dataloaders=fitted.loader(), verbose=False)
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _predicts(model: LightningModule) -> bool:
    """Whether the module says itself how it predicts; Lightning's own step only calls it."""
    return is_overridden("predict_step", model, LightningModule)


def output_of(model: LightningModule, batch: Any, number: int) -> Any:
    """What a model gives for a batch: an array, of an autoencoder two; None where it is no tensor."""
    tensors, _, _ = _split(batch)
    if hasattr(model, "encode"):
        main = next(iter(tensors.values()))
        return _array(model(main)), _array(model.encode(main))  # type: ignore[operator]
    if _predicts(model):
        predicted = model.predict_step(batch, number)
        if not _are_class_numbers(predicted):  # than which `forward` says more
            return _array(predicted)
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        return _array(model(batch))
    *inputs, _ = batch
    return _array(model(*inputs[: _most_inputs(model)]))


def _most_inputs(model: LightningModule) -> int:
    """How many arguments `forward` takes by their place; all of a batch but the targets, where it takes any number."""
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return sys.maxsize
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


def _are_class_numbers(found: Any) -> bool:
    return isinstance(found, Tensor) and not found.is_floating_point()


def _array(found: Any) -> Array | None:
    if isinstance(found, list | tuple) and found and isinstance(found[0], Tensor):
        found = found[0]
    return np.asarray(found.detach().float().cpu().numpy()) if isinstance(found, Tensor) else None


def _classes(whole: Array, truth: Array, layout: Layout) -> Outputs:
    if truth.dtype.kind == "f" and truth.ndim > 1 and truth.shape[-1] == len(layout.classes) > 2:
        truth = truth.argmax(-1)  # probabilities of the classes
    shape = truth.shape[:-1] if truth.ndim > 1 and truth.shape[-1] == 1 and whole.ndim < truth.ndim else truth.shape
    flat = truth.reshape(-1)
    samples = np.repeat(np.arange(len(truth)), flat.size // max(1, len(truth)))
    probabilities = _probabilities(whole, shape, len(layout.classes))
    if len(probabilities) != len(flat):
        raise ValueError(f"{len(probabilities)} predictions for {len(flat)} targets")
    known = np.isfinite(flat) & (flat >= 0)
    truth = flat[known].astype(np.int64)
    return Outputs("classes", truth, probabilities[known], samples[known], layout.classes, layout)


def _probabilities(output: Array, shape: tuple[int, ...], classes: int) -> Array:
    """Probabilities (rows, classes) from those of one class, or of all, or from logits of either."""
    output = output.astype(np.float64)
    if classes == 2 and output.size == int(np.prod(shape)):
        flat = output.reshape(-1)
        positive = flat if ((flat >= 0) & (flat <= 1)).all() else 1 / (1 + np.exp(-flat))
        return np.column_stack([1 - positive, positive])
    if output.shape[-1] != classes and output.ndim > 1 and output.shape[1] == classes:
        output = np.moveaxis(output, 1, -1)
    if output.shape[-1] != classes:
        raise ValueError(f"they have the shape {output.shape}, and there are {classes} classes")
    rows = output.reshape(-1, classes)
    if ((rows >= 0) & (rows <= 1)).all() and np.allclose(rows.sum(1), 1, atol=1e-3):
        return rows
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    normed: Array = shifted / shifted.sum(1, keepdims=True)
    return normed


def _values(whole: Array, truth: Array, layout: Layout, fitted: Fitted, *, is_own: bool) -> Outputs:
    outputs = truth.shape[-1] if truth.ndim > 1 else 1
    predicted = whole.astype(np.float64).reshape(-1, outputs)
    samples = np.repeat(np.arange(len(truth)), truth.size // outputs // max(1, len(truth)))
    flat = truth.astype(np.float64).reshape(-1, outputs)
    if len(flat) != len(predicted):
        raise ValueError(f"{len(predicted)} predictions for {len(flat)} targets")
    known = np.isfinite(flat).all(1)
    # A module's own predictions are in the data's unit already, as ours are.
    predicted = fitted.restored(predicted) if is_own else fitted.in_unit(predicted)
    flat = fitted.in_unit(flat)
    names = layout.outputs if len(layout.outputs) == outputs else tuple(f"value {n}" for n in range(1, outputs + 1))
    # Targets of neighbouring windows overlap by the horizon, and errors of neighbouring times are alike.
    block = max(layout.horizon, round(len(flat) ** (1 / 3))) if is_forecast(fitted.data) else 1
    return Outputs("values", flat[known], predicted[known], samples[known], names, layout, block)


def _reconstructed(found: list[Any], inputs: list[Array], targets: list[Array | None], layout: Layout) -> Outputs:
    truth = np.concatenate([array.reshape(len(array), -1) for array in inputs])
    predicted = np.concatenate([batch[0].reshape(len(batch[0]), -1) for batch in found])
    codes = np.concatenate([batch[1].reshape(len(batch[1]), -1) for batch in found])
    labels = None
    if all(target is not None and target.ndim == 1 and target.dtype.kind == "i" for target in targets):
        labels = np.concatenate([np.asarray(target) for target in targets])
    rows = np.arange(len(truth))
    return Outputs("reconstruction", truth, predicted, rows, layout.features, layout, codes=codes, labels=labels)


def _joined(arrays: list[Array]) -> Array:
    """One array of all batches; sequences of different lengths are filled up with what is ignored."""
    shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
    filled = []
    for array in arrays:
        if array.shape[1:] != shape:
            fill = IGNORED if array.dtype.kind == "i" else np.nan
            pad = [(0, 0), *((0, most - own) for most, own in zip(shape, array.shape[1:], strict=True))]
            array = np.pad(array, pad, constant_values=fill)
        filled.append(array)
    return np.concatenate(filled)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on a device."""
    from lightning_fabric.utilities import move_data_to_device

    return move_data_to_device(batch, device)
