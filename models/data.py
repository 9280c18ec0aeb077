"""Data modules: what the models learn from, as small in-memory sets that are sliced into batches."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor, distributed

from hpo.space import Choice, Int

Scaling = Annotated[Literal["none", "unit", "standard"], Choice()]

PARTS_OF_STAGE: dict[str | None, tuple[str, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    None: ("train", "validation", "test"),
}
# Large, because no gradients are kept, and fixed, so that trials differ in what they learned only.
EVALUATION_BATCH = 512


class Digits(LightningDataModule):
    """Handwritten digits, 1,797 grey images of 8 x 8 pixels in 10 classes, which scikit-learn brings along.

    Batches are features (batch, 1, 8, 8), float32, and class numbers (batch,), int64. `batch_size` is that of
    one rank. The split is stratified and depends on `split_seed` and the fractions only, so every trial of a
    study sees the same one; the test part is read only by a test.

    Scaling: pixels as they are, 0 to 16 (none); divided by 16 (unit); or each pixel's mean subtracted and
    divided by its standard deviation, both over the training part (standard).

    Raises:
        ValueError: the fractions leave a part empty, or scikit-learn is not installed.
    """

    in_features = 64
    classes = 10
    input_shape = (1, 8, 8)

    def __init__(
        self,
        batch_size: Annotated[int, Int(16, 512, log=True)] = 64,
        scaling: Scaling = "unit",
        validation_fraction: float = 0.2,
        test_fraction: float = 0.15,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        if validation_fraction <= 0 or test_fraction < 0 or validation_fraction + test_fraction >= 1:
            raise ValueError(
                f"Digits: validation_fraction {validation_fraction} and test_fraction {test_fraction} "
                "must leave something to validate and to train on: the first above 0, together below 1"
            )
        self.save_hyperparameters()
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}

    def setup(self, stage: str | None = None) -> None:
        pixels, labels = load_digits()
        rows = stratified_split(
            labels,
            self.hparams["validation_fraction"],
            self.hparams["test_fraction"],
            seed=self.hparams["split_seed"],
        )
        shift, scale = fit_scaling(pixels[rows.train], self.hparams["scaling"])
        for part in PARTS_OF_STAGE.get(stage, ()):
            chosen = getattr(rows, part)
            features = ((pixels[chosen] - shift) / scale).reshape(-1, *self.input_shape)
            self._parts[part] = torch.from_numpy(features), torch.from_numpy(labels[chosen])

    def train_dataloader(self) -> Batches:
        return self._batches("train", self.hparams["batch_size"], training=True)

    def val_dataloader(self) -> Batches:
        return self._batches("validation", EVALUATION_BATCH)

    def test_dataloader(self) -> Batches:
        if self.hparams["test_fraction"] == 0:
            raise ValueError("Digits: test_fraction is 0, so there is nothing to test on")
        return self._batches("test", EVALUATION_BATCH)

    def _batches(self, part: str, batch_size: int, *, training: bool = False) -> Batches:
        # On the device from the start, so that no step waits for a transfer.
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        features, targets = self._parts[part]
        return Batches(features.to(device), targets.to(device), batch_size, training=training)


class Batches:
    """In-memory samples in slices: 8 us a batch on a CPU, where a DataLoader needs 30 to 300.

    For training, samples are shuffled anew in every epoch, by torch's global generator. With several ranks
    each takes its own share of one common order: for training all shares are equally long, so up to ranks - 1
    samples sit out an epoch, others each time; otherwise every sample is taken exactly once, and shares may
    differ by one sample. All ranks have equally many batches, as collective operations demand.
    """

    def __init__(self, features: Tensor, targets: Tensor, batch_size: int, *, training: bool = False) -> None:
        self.features = features
        self.targets = targets
        self.batch_size = batch_size
        self.training = training

    def __len__(self) -> int:
        return len(self._starts(_rank()[1]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rank, ranks = _rank()
        starts = self._starts(ranks)
        share = self._order(ranks)[rank::ranks]
        # The one sample that a rank may have more than others joins its last batch.
        end = starts.stop if self.training else len(share)
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            rows = share[start:stop]
            yield self.features.index_select(0, rows), self.targets.index_select(0, rows)

    def _starts(self, ranks: int) -> range:
        """Where batches start in a share; for training, the range ends where the share's last batch does."""
        rows = len(self.targets) // ranks
        if self.training and self.batch_size > 1 and rows % self.batch_size == 1:
            rows -= 1  # batch normalisation cannot learn from a batch of one sample
        if rows < 1:
            raise ValueError(f"{len(self.targets)} samples are too few for {ranks} ranks")
        return range(0, rows, self.batch_size)

    def _order(self, ranks: int) -> Tensor:
        if not self.training:
            return torch.arange(len(self.targets), device=self.targets.device)
        order = torch.randperm(len(self.targets)).to(self.targets.device)
        if ranks > 1:
            # Dropout may have moved the ranks' generators apart.
            distributed.broadcast(order, src=0)
        return order


class Rows(NamedTuple):
    """Row numbers of each part, ascending."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def stratified_split(labels: NDArray[np.int64], validation_fraction: float, test_fraction: float, *, seed: int) -> Rows:
    """A random split in which each class has the same fractions, to the nearest sample."""
    generator = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        validation = round(len(members) * validation_fraction)
        test = round(len(members) * test_fraction)
        cut = np.split(members, [len(members) - validation - test, len(members) - test])
        for part, rows in zip(parts, cut, strict=True):
            part.append(rows)
    return Rows(*(np.sort(np.concatenate(part)) for part in parts))


def fit_scaling(
    pixels: NDArray[np.float32], scaling: str
) -> tuple[NDArray[np.float32] | float, NDArray[np.float32] | float]:
    """What to subtract from pixels (samples, 64) and to divide them by, learned from the training part."""
    if scaling == "none":
        return 0.0, 1.0
    if scaling == "unit":
        return 0.0, 16.0
    deviation = pixels.std(axis=0)
    deviation[deviation == 0] = 1  # pixels that are always blank
    return pixels.mean(axis=0), deviation


@lru_cache(maxsize=1)
def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels (1797, 64) from 0 to 16, and labels (1797,), both read-only.

    Read in 10 ms from the file that scikit-learn brings: importing scikit-learn itself takes seconds. A
    process that forks others can call this first, and they share the arrays.

    Raises:
        ValueError: scikit-learn is not installed, or has no such file.
    """
    package = importlib.util.find_spec("sklearn")
    folders = list(package.submodule_search_locations or ()) if package else []
    if not folders:
        raise ValueError("Digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(folders[0], "datasets", "data", "digits.csv.gz")
    if not path.is_file():
        raise ValueError(f"Digits come with scikit-learn, but the installed one has no file {path}")
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    pixels, labels = table[:, :64].copy(), table[:, 64].astype(np.int64)
    for array in (pixels, labels):
        array.setflags(write=False)
    return pixels, labels


def _rank() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
