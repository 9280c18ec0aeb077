"""A loaded model takes the batches of its own data, and refuses those of data that were scaled and numbered anew."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from drawn import drawn
from projects.answering import Worker
from recorded import recorded
from torch import Tensor, nn

from hpo.errors import HpoError
from hpo.study.job import BEST_CHECKPOINT
from hpo.training.checkpoint import RECORD
from hpo.training.load_model import load_model
from hpo.training.report import Report
from hpo.training.scored_weights import ScoredWeights
from models.data import Digits, Images, Sequences, Series, Table


class Net(pl.LightningModule):
    """Takes the batches of any data module; its `test_step` does not call `forward`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layer(inputs.flatten(1).mean(1, keepdim=True))
        return found

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss: Tensor = self(first_of(batch[0])).square().mean()
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self(first_of(batch[0])).mean())

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self.layer(first_of(batch[0]).flatten(1).mean(1, keepdim=True)).mean())

    def predict_step(self, batch: Any, index: int) -> Tensor:
        found: Tensor = self(first_of(batch[0]))
        return found

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def first_of(inputs: Any) -> Tensor:
    found: Tensor = inputs if isinstance(inputs, Tensor) else inputs[0]
    return found


def a_table(folder: Path, seed: int, **options: Any) -> Table:
    generator = np.random.default_rng(seed)
    towns = generator.permutation(["Ulm", "Bonn", "Köln", "Jena"])[:3]
    rows = [f"{generator.normal(seed, 1)},{towns[n % 3]},{'yes' if n % 2 else 'no'}" for n in range(80)]
    (folder / "table.csv").write_text("\n".join(["size,town,sold", *rows]), encoding="utf-8")
    return Table(str(folder / "table.csv"), target="sold", **options)


def a_series(folder: Path, seed: int, **options: Any) -> Series:
    values = np.random.default_rng(seed).normal(seed, 1, 120).cumsum()
    (folder / "series.csv").write_text("\n".join(["t,v", *(f"{t},{v}" for t, v in enumerate(values))]))
    return Series(str(folder / "series.csv"), window=4, **options)


def sequences(folder: Path, seed: int, **options: Any) -> Sequences:
    arrays = recorded(seed)
    np.savez(folder / "sequences.npz", **{**arrays, "x": arrays["x"] * (seed + 1)})
    return Sequences(str(folder / "sequences.npz"), **options)


def images(folder: Path, seed: int, **options: Any) -> Images:
    pixels, labels = drawn(60, seed=seed)
    np.savez(folder / "images.npz", x=pixels[:, :, :, 0] // (seed + 1), y=labels)
    return Images(str(folder / "images.npz"), **{"scaling": "standard", **options})


def digits(folder: Path, seed: int, **options: Any) -> Digits:
    return Digits(**{"scaling": "standard", "split_seed": seed, **options})


Maker = Callable[..., Any]
MAKERS: dict[str, Maker] = {
    "Table": a_table,
    "Series": a_series,
    "Sequences": sequences,
    "Images": images,
    "Digits": digits,
}
every_class = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def trainer_of(**options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(accelerator="cpu", max_epochs=1, **quiet, **options)


def trained(folder: Path, data: Any, *, before_loading: Callable[[Path], None] | None = None) -> Net:
    """The model of a trial with this data, loaded from its checkpoint."""
    scored, worker = ScoredWeights(), Worker(1, [1])
    callbacks = [scored, Report(worker.connection, "val_loss", folder, scored, {})]
    trainer_of(callbacks=callbacks, num_sanity_val_steps=0).fit(Net(), data)
    checkpoint = folder / BEST_CHECKPOINT
    if before_loading:
        before_loading(checkpoint)
    model = load_model({"model": {"class": f"{__name__}:Net"}}, checkpoint, Path(__file__).parent)
    assert isinstance(model, Net)
    return model


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """For the trial's file, and for another one."""
    (tmp_path / "own").mkdir()
    (tmp_path / "new").mkdir()
    return tmp_path / "own", tmp_path / "new"


def ready(data: Any, stage: str = "fit") -> Any:
    data.setup(stage)
    return data


def given_all(model: Net, loader: Any) -> int:
    return sum(len(model(first_of(inputs))) for inputs, _ in loader)


@every_class
def test_a_loaded_model_takes_the_batches_of_its_own_file(make: Maker, folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], make(folders[0], 0))

    again = ready(make(folders[0], 0, batch_size=8))

    assert given_all(model, again.val_dataloader()) == len(again.val_dataloader().targets)
    assert given_all(model, again.train_dataloader())
    for evaluate in (trainer_of().validate, trainer_of().test):
        assert evaluate(model, make(folders[0], 0), verbose=False)
    part = ready(make(folders[0], 0), "test").test_dataloader()
    assert trainer_of().predict(model, part)


@every_class
def test_a_loaded_model_refuses_the_batches_of_another_file(make: Maker, folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], make(folders[0], 0))
    new = ready(make(folders[1], 1))
    by = new.preparation()["by"]

    for loader in (new.val_dataloader(), new.train_dataloader()):
        with pytest.raises(
            HpoError, match=r"was trained with batches of .*, and these are of .* with other "
        ) as caught:
            given_all(model, loader)
        assert by in str(caught.value)
        assert "scalings" in str(caught.value)
    with pytest.raises(HpoError, match="fitted on other rows"):
        model(first_of(new.val_dataloader().inputs))
    for evaluate in (trainer_of().validate, trainer_of().test):
        with pytest.raises(HpoError, match="fitted on other rows"):
            evaluate(model, make(folders[1], 1), verbose=False)
    with pytest.raises(HpoError, match="fitted on other rows"):
        trainer_of().predict(model, ready(make(folders[1], 1), "test").test_dataloader())


@every_class
def test_to_predict_is_refused_with_the_parts_that_there_are(make: Maker, folders: tuple[Path, Path]) -> None:
    data = make(folders[0], 0)

    with pytest.raises(ValueError, match=rf'{type(data).__name__}: there is no part to predict.*setup\("test"\)'):
        data.setup("predict")
    model = trained(folders[0], make(folders[0], 0))
    with pytest.raises(ValueError, match="there is no part to predict"):
        trainer_of().predict(model, make(folders[0], 0))


def test_a_trainer_that_has_tested_predicts_from_the_test_part(folders: tuple[Path, Path]) -> None:
    model, data, trainer = trained(folders[0], a_table(folders[0], 0)), a_table(folders[0], 0), trainer_of()

    trainer.test(model, data, verbose=False)
    found = trainer.predict(model, data.test_dataloader())

    assert found is not None
    assert sum(map(len, found)) == len(data.test_dataloader().targets)
    with pytest.raises(ValueError, match="there is no part to predict"):
        trainer.predict(model, data)


def test_other_scalings_of_the_same_file_are_refused(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))

    with pytest.raises(HpoError, match="with other scalings"):
        given_all(model, ready(a_table(folders[0], 0, scaling="min_max")).val_dataloader())
    with pytest.raises(HpoError, match="with other "):
        given_all(model, ready(a_table(folders[0], 0, split_seed=1)).val_dataloader())


def test_a_new_town_alone_is_refused_by_the_name_of_what_differs(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))
    text = (folders[0] / "table.csv").read_text(encoding="utf-8")
    town = text.splitlines()[1].split(",")[1]
    (folders[1] / "table.csv").write_text(text.replace(town, "Aachen"), encoding="utf-8")

    with pytest.raises(HpoError, match=r"with other categories: it was"):
        given_all(model, ready(Table(str(folders[1] / "table.csv"), target="sold")).val_dataloader())


def test_a_copy_of_the_file_elsewhere_is_taken(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))
    shutil.copy(folders[0] / "table.csv", folders[1] / "moved.csv")

    assert given_all(model, ready(Table(str(folders[1] / "moved.csv"), target="sold")).val_dataloader())


def test_images_of_another_folder_are_taken_where_nothing_was_fitted(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], images(folders[0], 0, scaling="unit"))

    assert given_all(model, ready(images(folders[1], 1, scaling="unit")).val_dataloader())


def test_a_loaded_model_may_learn_from_another_file_and_then_takes_its_batches(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))
    new = a_table(folders[1], 1)

    trainer_of(enable_checkpointing=False).fit(model.train(), new)  # begins with a validation

    model.eval()
    assert given_all(model, new.val_dataloader())
    third = ready(a_table(folders[1], 2))
    with pytest.raises(HpoError, match="fitted on other rows"):
        given_all(model, third.val_dataloader())


def test_tensors_of_one_s_own_are_taken(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))

    assert model(torch.ones(3, 2)).shape == (3, 1)


def test_a_loaded_model_is_copied_pickled_and_compiled_as_before(folders: tuple[Path, Path]) -> None:
    model = trained(folders[0], a_table(folders[0], 0))
    new = ready(a_table(folders[1], 1)).val_dataloader()
    x = torch.ones(3, 2)

    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        with pytest.raises(HpoError, match="fitted on other rows"):
            given_all(twin, new)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        scripted: Any = model.to_torchscript()
        traced: Any = model.to_torchscript(method="trace", example_inputs=x)
    assert torch.equal(scripted(x), model(x))
    assert torch.equal(traced(x), model(x))
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))
    with pytest.raises(HpoError, match="fitted on other rows"):
        given_all(model, new)


def test_a_checkpoint_that_does_not_tell_is_loaded_and_takes_any_batches(folders: tuple[Path, Path]) -> None:
    def forget(checkpoint: Path) -> None:
        contents = torch.load(checkpoint, weights_only=True)
        assert contents[RECORD].pop("preparation")["by"].startswith("Table (")
        torch.save(contents, checkpoint)

    model = trained(folders[0], a_table(folders[0], 0), before_loading=forget)

    assert given_all(model, ready(a_table(folders[1], 1)).val_dataloader())
