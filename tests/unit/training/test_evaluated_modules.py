"""What is evaluated of other people's modules and data: outputs of any form, and what is said where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from projects.arrays import Arrays, Forward, fitted_of
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hpo.training.evaluation.fitted import EvaluationError, Fitted
from hpo.training.evaluation.outputs import Outputs, outputs_of
from hpo.training.evaluation.scores import scores_of
from hpo.training.evaluation.together import Group, outputs_together

LOGITS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
CLASSES = LOGITS.argmax(1).where(torch.arange(40) % 4 != 0, torch.tensor(1))


class Named(Arrays):
    def val_dataloader(self) -> Any:
        samples: Any = [{"x": x, "label": y} for x, y in zip(*self._samples.tensors, strict=True)]
        return DataLoader(samples, 16)


class Predicting(Forward):
    """Has a `predict_step` beside `forward`."""

    def __init__(self, step: Callable[[Any], Any], forward: Callable[[Any], Any]) -> None:
        super().__init__(forward)
        self._step = step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self._step(batch)


def judged(module: LightningModule, data: LightningDataModule) -> tuple[Outputs | None, list[str]]:
    return outputs_of(module, fitted_of(data))


def judged_whole(module: LightningModule, data: LightningDataModule) -> Outputs:
    outputs, notes = judged(module, data)
    assert outputs is not None, notes
    assert notes == []
    return outputs


# ---- classes


@pytest.mark.parametrize(
    "output",
    [
        lambda x: x,
        lambda x: x.softmax(1),
        lambda x: x.log_softmax(1),
        lambda x: (x, "and more"),
    ],
    ids=["logits", "probabilities", "log-probabilities", "a tuple"],
)
def test_logits_and_probabilities_of_any_form_are_the_same_prediction(output: Callable[[Tensor], Any]) -> None:
    found = judged_whole(Forward(output), Arrays(LOGITS, CLASSES))

    np.testing.assert_allclose(found.predicted, LOGITS.softmax(1), atol=1e-6)
    assert found.truth.tolist() == CLASSES.tolist()
    assert found.names == ("0", "1", "2")
    assert scores_of(found)["metrics"]["accuracy"]["value"] == np.mean(LOGITS.argmax(1).numpy() == CLASSES.numpy())


@pytest.mark.parametrize(
    "output",
    [
        lambda x: x,
        lambda x: x.squeeze(1),
        lambda x: x.sigmoid(),
        lambda x: torch.cat([torch.zeros_like(x), x], 1),
        lambda x: torch.cat([1 - x.sigmoid(), x.sigmoid()], 1),
    ],
    ids=["a logit", "a flat logit", "a probability", "two logits", "two probabilities"],
)
@pytest.mark.parametrize("shape", [(40,), (40, 1)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_two_classes_have_one_output_or_two(
    output: Callable[[Tensor], Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    logit = LOGITS[:, :1]

    found = judged_whole(Forward(output), Arrays(logit, (CLASSES == 1).to(dtype).reshape(shape)))

    np.testing.assert_allclose(found.predicted[:, 1:], logit.sigmoid(), atol=1e-6)
    assert found.truth.tolist() == (CLASSES == 1).int().tolist()


def test_batches_that_are_dictionaries_go_to_forward_as_they_are() -> None:
    found = judged_whole(Forward(lambda batch: batch["x"]), Named(LOGITS, CLASSES, class_names=["a", "b", "c"]))

    np.testing.assert_allclose(found.predicted, LOGITS.softmax(1), atol=1e-6)
    assert found.names == ("a", "b", "c")


def test_a_predict_step_is_asked_before_forward() -> None:
    module = Predicting(lambda batch: batch[0].softmax(1), forward=lambda x: x * 0)

    np.testing.assert_allclose(judged_whole(module, Arrays(LOGITS, CLASSES)).predicted, LOGITS.softmax(1), atol=1e-6)


def test_forward_says_more_than_a_predict_step_that_gives_class_numbers() -> None:
    module = Predicting(lambda batch: batch[0].argmax(1), forward=lambda x: x)

    np.testing.assert_allclose(judged_whole(module, Arrays(LOGITS, CLASSES)).predicted, LOGITS.softmax(1), atol=1e-6)


@pytest.mark.parametrize("is_channels_first", [False, True])
def test_steps_of_sequences_are_rows_of_their_sample_and_padding_has_none(is_channels_first: bool) -> None:
    steps = torch.randn(10, 5, 3, generator=torch.Generator().manual_seed(1))
    classes = steps.argmax(2)
    lengths = torch.tensor([5, 2] * 5)
    classes[1::2, 2:] = -100
    data = Arrays(steps, lengths, classes)

    found = judged_whole(Forward(lambda x: x.movedim(2, 1) if is_channels_first else x), data)

    assert found.sample.tolist() == [number for number in range(10) for _ in range(int(lengths[number]))]
    assert (found.predicted.argmax(1) == found.truth).all()
    assert found.samples == 10


def test_a_forward_of_several_arguments_gets_as_many_inputs_as_it_takes() -> None:
    class Both(LightningModule):
        def forward(self, one: Tensor, other: Tensor) -> Tensor:
            return one + other

    class Many(LightningModule):
        def forward(self, *inputs: Tensor) -> Tensor:
            return torch.stack(inputs).sum(0)

    for module in (Both(), Many()):
        found = judged_whole(module, Arrays(LOGITS, LOGITS, CLASSES))
        np.testing.assert_allclose(found.predicted, (2 * LOGITS).softmax(1), atol=1e-6)


def test_batches_of_different_lengths_are_filled_up() -> None:
    class Ragged(Arrays):
        def val_dataloader(self) -> Any:
            for x, y in super().val_dataloader():
                yield x[:, : 2 + len(x) % 3], y[:, : 2 + len(x) % 3]

    steps = torch.randn(18, 4, 3, generator=torch.Generator().manual_seed(1))
    data = Ragged(steps, steps.argmax(2))  # batches of 16 and 2 samples, with 3 and 4 steps
    found = judged_whole(Forward(lambda x: x), data)

    assert len(found.truth) == 16 * 3 + 2 * 4
    assert (found.predicted.argmax(1) == found.truth).all()


# ---- values


def test_values_of_forward_are_in_the_scaled_unit_and_those_of_a_predict_step_in_the_datas_own() -> None:
    scaled = torch.randn(30, 2, generator=torch.Generator().manual_seed(2))
    unit: dict[str, Any] = {"target_mean": [10.0, -5.0], "target_scale": [2.0, 0.5], "task": "regression"}
    own = scaled.double().numpy() * [2.0, 0.5] + [10.0, -5.0]

    by_forward = judged_whole(Forward(lambda x: x), Arrays(scaled, scaled, **unit))
    module = Predicting(lambda batch: torch.from_numpy(batch[0].double().numpy() * [2.0, 0.5] + [10.0, -5.0]), None)  # type: ignore[arg-type]
    by_itself = judged_whole(module, Arrays(scaled, scaled, **unit))

    for found in (by_forward, by_itself):
        np.testing.assert_allclose(found.truth, own, rtol=1e-5)
        np.testing.assert_allclose(found.predicted, own, rtol=1e-5)


def test_a_value_per_sample_needs_no_second_dimension() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(3))

    found = judged_whole(Forward(lambda x: x.sum(1, keepdim=True)), Arrays(x, x.sum(1)))

    assert found.predicted.shape == found.truth.shape == (30, 1)
    assert scores_of(found)["metrics"]["rmse"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_module_with_encode_is_judged_by_its_reconstructions_and_codes() -> None:
    class Coding(Forward):
        def encode(self, inputs: Tensor) -> Tensor:
            return inputs[:, :2] * 1

    groups = torch.arange(60) % 3
    x = 10 * groups[:, None] + torch.randn(60, 4, generator=torch.Generator().manual_seed(4))

    found = judged_whole(Coding(lambda x: x + 0.5), Arrays(x, groups))

    scores = scores_of(found)["metrics"]
    assert scores["loss"]["value"] == pytest.approx(0.25, rel=1e-4)
    assert scores["silhouette"]["value"] > 0.8
    assert scores["adjusted_rand"]["value"] == 1


# ---- what is judged by the logged metrics alone


def failing(_: Tensor) -> Tensor:
    raise KeyError("weights")


@pytest.mark.parametrize(
    ("module", "targets", "message"),
    [
        (failing, CLASSES, "the model gives no predictions for a batch: KeyError: 'weights'"),
        (lambda x: {"logits": x}, CLASSES, "the model's predictions are no tensors"),
        (lambda x: x[:, :2], CLASSES, "do not fit the targets: they have the shape (40, 2), and there are 3 classes"),
        (lambda x: x[1:, :1], LOGITS[:, 0], "do not fit the targets: 37 predictions for 40 targets"),
        (lambda x: x, None, "the data has no targets"),
    ],
    ids=["raises", "a dictionary", "fewer classes", "fewer values", "no targets"],
)
def test_what_cannot_be_compared_with_targets_is_told(
    module: Callable[[Tensor], Any], targets: Tensor | None, message: str
) -> None:
    tensors = (LOGITS,) if targets is None else (LOGITS, targets)

    outputs, notes = judged(Forward(module), Arrays(*tensors))

    assert outputs is None
    assert message in notes[0]


def test_a_module_without_forward_is_judged_by_what_it_logs() -> None:
    outputs, [note] = judged(LightningModule(), Arrays(LOGITS, CLASSES))

    assert outputs is None
    assert "the model gives no predictions for a batch: " in note


def test_a_part_without_batches_or_with_several_loaders_is_an_error() -> None:
    class Several(Arrays):
        def val_dataloader(self) -> Any:
            return [DataLoader(self._samples), DataLoader(self._samples)]

    with pytest.raises(EvaluationError, match="Several: val_dataloader gives 2 loaders, one is needed"):
        fitted_of(Several(LOGITS, CLASSES)).loader()
    with pytest.raises(EvaluationError, match="Arrays has no validation part: val_dataloader\\(\\) gives no batches"):
        fitted_of(Arrays(LOGITS[:0], CLASSES[:0])).count()
    data = Arrays(LOGITS, CLASSES)
    with pytest.raises(EvaluationError, match="Arrays has no test part: it has no method test_dataloader"):
        Fitted(data, data, "test", Path(), torch.device("cpu")).count()


def test_several_models_are_judged_by_the_mean_of_their_outputs() -> None:
    models: list[LightningModule] = [Forward(lambda x: x), Forward(lambda x: -x), Forward(nn.Identity())]

    fitted = fitted_of(Arrays(LOGITS, CLASSES))
    other = fitted_of(Arrays(LOGITS, CLASSES))  # prepared in another way
    groups = [Group(fitted, models[:2], [3, 1], [0, 1]), Group(other, models[2:], [2], [2])]

    outputs, _ = outputs_together(groups)

    assert outputs is not None
    expected = (5 * LOGITS.softmax(1) + (-LOGITS).softmax(1)) / 6
    np.testing.assert_allclose(outputs.predicted, expected, atol=1e-6)


def test_models_of_other_targets_are_not_averaged() -> None:
    groups = [
        Group(fitted_of(Arrays(LOGITS, classes)), [Forward(nn.Identity())], [1], [0])
        for classes in (CLASSES, CLASSES.flip(0))
    ]

    with pytest.raises(EvaluationError, match="different targets"):
        outputs_together(groups)
