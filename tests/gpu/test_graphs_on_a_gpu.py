"""Steps captured on a real GPU: they train like computed ones, and fall back after real errors of CUDA."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from contracts import hooked
from contracts.hooked import Small
from contracts.model_contract import ModelClass, build, cpu_trainer
from contracts.twins import Metrics
from pytorch_lightning import LightningDataModule, LightningModule
from recorded import measured_csv
from torch import Tensor, nn

from hpo.training.executor import Executor, use
from hpo.training.lean import cuda
from hpo.training.lean.cuda import CudaGraph
from hpo.training.lean.epoch import LeanEpochLoop
from hpo.training.lean.graphed import GraphedSteps
from models.cnn import CNN
from models.data import Digits, Series
from models.dnn import DNN
from models.recurrent import Recurrent

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    # Lightning's advice on loading, and on values that are logged as whole numbers.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

REPLAYED = "steps are replayed as a CUDA graph"
NOT = "steps are not replayed as a CUDA graph, because "

# Two trainings on a GPU part slowly: each step's rounding goes into the next.
CLOSE = 2e-2

Make = Callable[[], tuple[LightningModule, LightningDataModule]]


class Points(hooked.Points):
    """Sixty points in batches of eight, the last of four, in pinned memory."""

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.samples, 8, shuffle=True, pin_memory=True)


class Asks(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return loss * 2 if loss.item() > 0.5 else loss


class CopiesFromTheHost(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) * torch.tensor([2.0]).to(self.device).sum()


class Draws(Small):
    """Keeps what dropout let through."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.drawn.append(nn.functional.dropout(torch.ones(16, device=self.device)))
        return self.loss(batch)


class Logs(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss


def fit(make: Make, *, is_graphed: bool, **options: Any) -> tuple[LightningModule, list[dict[str, Tensor]], list[str]]:
    """The trained model, its metrics by epoch, and its notes."""
    pl.seed_everything(11, verbose=False)
    model, data = make()
    metrics, notes = Metrics(), list[str]()
    trainer = cpu_trainer(
        **{"accelerator": "gpu", "devices": 1, "max_epochs": 3, "enable_checkpointing": True, **options},
        callbacks=[metrics],
    )
    use(Executor("lean", is_required=True), trainer, pytest.fail, notes.append)
    graphs = GraphedSteps(notes.append, least_steps=(0, 0)) if is_graphed else None
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, pytest.fail, graphs)
    trainer.fit(model, datamodule=data)
    return model, metrics.by_epoch, notes


def assert_close(make: Make, *, close: float = CLOSE, **options: Any) -> list[str]:
    """Train with graphs and without, and compare; returns the notes."""
    replayed, replayed_metrics, notes = fit(make, is_graphed=True, **options)
    computed, computed_metrics, _ = fit(make, is_graphed=False, **options)

    for (name, one), other in zip(replayed.state_dict().items(), computed.state_dict().values(), strict=True):
        if one.is_floating_point():
            assert (one - other).norm() <= close * max(float(other.norm()), 1.0), name
        else:
            assert torch.equal(one, other), name
    for one_epoch, other_epoch in zip(replayed_metrics, computed_metrics, strict=True):
        assert one_epoch.keys() == other_epoch.keys()
        for name in one_epoch:
            assert float(one_epoch[name]) == pytest.approx(float(other_epoch[name]), rel=5 * close, abs=5 * close)
    return notes


MODELS: list[tuple[ModelClass, Callable[[], Any], dict[str, Any]]] = [
    (DNN, Digits, {"dropout": 0.3, "batch_norm": True, "schedule": "one_cycle"}),
    (CNN, Digits, {"dropout": 0.3, "batch_norm": True}),
    (Recurrent, partial(Series, path=measured_csv(), target="load", interpolation="linear", batch_size=16), {}),
]


@pytest.mark.parametrize(("model", "data", "point"), MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_captured_model_learns_what_a_computed_one_learns(
    model: ModelClass, data: Callable[[], Any], point: dict[str, Any]
) -> None:
    assert assert_close(lambda: (build(model, data, **point), data())) == [REPLAYED]


@pytest.mark.parametrize("model", [DNN, CNN])
def test_so_it_does_in_bfloat16(model: ModelClass) -> None:
    notes = assert_close(lambda: (build(model, Digits), Digits()), close=0.1, precision="bf16-mixed")

    assert notes == [REPLAYED]


def test_weights_of_convolutions_keep_a_pixels_channels_side_by_side() -> None:
    model, _, notes = fit(lambda: (build(CNN, Digits, width=16), Digits()), is_graphed=True, max_epochs=2)

    weights = [x for x in model.parameters() if x.ndim == 4 and x.shape[1] > 1]
    assert notes == [REPLAYED]
    assert weights
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in weights)


def test_batches_come_from_pinned_memory_and_the_last_may_be_smaller() -> None:
    assert assert_close(lambda: (Logs(), Points())) == [REPLAYED]


def test_samples_that_do_not_fit_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.data.placement.SHARE_OF_GPU", 0.0)

    notes = assert_close(lambda: (build(DNN, Digits), Digits()))

    assert notes == [REPLAYED]


def test_dropout_draws_the_same_numbers_and_others_in_each_step() -> None:
    replayed, _, notes = fit(lambda: (Draws(), Points()), is_graphed=True)
    computed, _, _ = fit(lambda: (Draws(), Points()), is_graphed=False)

    assert notes == [REPLAYED]
    assert isinstance(replayed, Draws)
    assert isinstance(computed, Draws)
    assert torch.equal(torch.stack(replayed.drawn), torch.stack(computed.drawn))
    assert len({tuple(drawn.tolist()) for drawn in replayed.drawn}) > len(replayed.drawn) // 2


@pytest.mark.parametrize("module", [Asks, CopiesFromTheHost])
def test_steps_that_cuda_cannot_capture_are_computed(module: type[Small]) -> None:
    notes = assert_close(lambda: (module(), Points()))

    assert len(notes) == 1
    assert notes[0].startswith(f"{NOT}it cannot be captured")
    assert not cuda.has_failed()  # found in the dry run


def test_the_gpu_and_its_random_numbers_are_intact_after_a_failed_capture() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.manual_seed(5)
    expected = torch.rand(4, device=device)

    def run() -> float:
        return torch.rand(4, device=device).sum().item() if torch.cuda.is_current_stream_capturing() else 0.0

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            CudaGraph(device).capture(run)
    large = torch.empty(1 << 26, device=device)
    del large
    torch.cuda.empty_cache()

    assert cuda.has_failed()
    assert torch.cuda.memory_reserved(device) == before
    assert torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
    torch.cuda.manual_seed(5)
    assert torch.equal(torch.rand(4, device=device), expected)


def test_a_gpu_that_is_almost_full_captures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.training.lean.cuda.SHARE_TO_BE_FREE", float("inf"))

    notes = assert_close(lambda: (build(DNN, Digits), Digits()))

    assert notes == [f"{NOT}a graph needs as much memory again, and the GPU has too little left"]
