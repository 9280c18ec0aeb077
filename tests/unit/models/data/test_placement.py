"""Where samples are kept, with the device `meta` in the place of a GPU: it takes copies, and holds no numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule

from models.data import Digits, placement
from models.data.batches import Batches
from models.data.placement import Placed, place

GPU, META = torch.device("cuda", 0), torch.device("meta")
INPUTS, TARGETS = torch.rand(6, 3), torch.arange(6)


def fit_on(device: torch.device, data: LightningDataModule) -> list[Batches]:
    """Its loaders, as a Trainer with a model on this device asks for them."""
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=device), state=SimpleNamespace(fn="fit"))
    data.trainer = trainer
    data.setup("fit")
    return [data.train_dataloader(), data.val_dataloader()]


def test_the_next_trial_of_the_same_data_finds_it_on_the_device() -> None:
    first, second, other = Digits(batch_size=8), Digits(batch_size=32), Digits(only="012")
    before = fit_on(META, first)
    assert second.take_over(first)
    assert not other.take_over(first)

    after, of_other = fit_on(META, second), fit_on(META, other)

    assert [loader.targets.device for loader in before] == [META, META]
    assert all(one.targets is two.targets for one, two in zip(before, after, strict=True))
    assert after[0].batch_size == 32
    assert not any(one.targets is two.targets for one, two in zip(before, of_other, strict=True))


def test_a_model_on_another_device_gets_its_own_copy() -> None:
    data = Digits()

    assert fit_on(META, data)[0].targets.device == META
    assert fit_on(torch.device("cpu"), data)[0].targets.device.type == "cpu"


@pytest.mark.parametrize(("share", "is_enough"), [(0.9, True), (1.1, False)])
def test_samples_stay_on_the_host_where_they_would_take_too_much(
    share: float, is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = int(6 * (3 * 4 + 8) / share / placement.SHARE_OF_GPU)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))

    assert placement.fits(INPUTS, TARGETS, GPU) is is_enough
    if not is_enough:
        assert place(INPUTS, TARGETS, None, GPU) == Placed(GPU, INPUTS, TARGETS, None, is_pinned=True)
