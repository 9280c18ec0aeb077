"""The exponential average of weights: what it is, that it is scored and kept, and that a resumed training has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from models.averaging import KEY, SLOW_START, WeightAverage
from models.data import Digits
from models.dnn import DNN


def trainer(epochs: int, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **options,
    )  # fmt: skip


def dnn(average: float, **more: Any) -> DNN:
    torch.manual_seed(0)
    return DNN(in_features=64, outputs=10, average=average, width=16, **more)


def test_it_follows_the_weights_at_first_and_then_forgets_slowly() -> None:
    layer = nn.Linear(2, 1)
    average = WeightAverage(layer, 0.9)
    expected = torch.zeros(1, 2)
    for step in range(1, 200):
        nn.init.constant_(layer.weight, float(step))
        average.update()
        decay = min(0.9, (1 + step) / (SLOW_START + step))
        expected = expected * decay + step * (1 - decay) if step > 1 else torch.full((1, 2), 1.0)

    average.swap_in()
    torch.testing.assert_close(layer.weight, expected)
    assert 185 < float(layer.weight.detach()[0, 0]) < 195
    average.swap_out()
    assert layer.weight.tolist() == [[199.0, 199.0]]


def test_a_validation_scores_the_averages_and_the_training_goes_on_with_its_own_weights() -> None:
    seen: list[torch.Tensor] = []

    class Watched(DNN):
        def on_validation_epoch_start(self) -> None:
            super().on_validation_epoch_start()
            seen.append(self.head.weight.detach().clone())

        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()
            seen.append(self.head.weight.detach().clone())

    torch.manual_seed(0)
    model = Watched(in_features=64, outputs=10, average=0.99, width=16, batch_norm=True)
    trainer(2, num_sanity_val_steps=0).fit(model, Digits())

    averaged, own, *_ = seen
    assert not torch.equal(averaged, own)
    torch.manual_seed(0)
    plain = DNN(in_features=64, outputs=10, width=16, batch_norm=True)
    trainer(2, num_sanity_val_steps=0).fit(plain, Digits())
    torch.testing.assert_close(model.head.weight, plain.head.weight, rtol=0, atol=0)


def test_a_checkpoint_to_resume_from_has_both_and_one_of_weights_has_none(tmp_path: Path) -> None:
    model, first = dnn(0.95), trainer(1)
    first.fit(model, Digits())
    first.save_checkpoint(tmp_path / "last.ckpt")
    first.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    contents = torch.load(tmp_path / "last.ckpt", weights_only=True)

    again = dnn(0.95)
    again.on_load_checkpoint(contents)
    again.on_validation_start()

    assert KEY not in torch.load(tmp_path / "weights.ckpt", weights_only=True)
    torch.testing.assert_close(next(again.parameters()).detach(), contents[KEY]["averages"][0], rtol=0, atol=0)
    assert not torch.equal(contents[KEY]["averages"][0], next(model.parameters()))


def test_without_it_no_hook_is_added_and_a_wrong_one_is_refused() -> None:
    assert "on_train_batch_end" not in vars(dnn(0.0))
    with pytest.raises(ValueError, match=r"DNN: average 1\.0 should be 0 for none, or below 1"):
        dnn(1.0)
