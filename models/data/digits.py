"""Handwritten digits, bundled with scikit-learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hpo.space import Choice, Int
from models.data.base import DataModule, Part, PartName, Samples
from models.data.new_data import NewData, batches_of
from models.data.npz import read_arrays
from models.data.splits import Folds, check_fractions, stratified_split

SIZE, WHITE = 64, 16.0  # pixels of an image, and the largest value of one

Scaling = Annotated[Literal["none", "unit", "standard"], Choice("unit", "standard")]


class Digits(DataModule):
    """Handwritten digits, 1,797 grey images of 8 x 8 pixels in 10 classes, bundled with scikit-learn.

    Batches are features (batch, 1, 8, 8), float32, and class numbers (batch,), int64. `batch_size` is that of
    one rank. The split is stratified and depends on `split_seed` and the fractions only, so it is the same for every
    trial of a study; the test part is read only by a test.

    Scaling: unchanged pixels, 0 to 16 (none); divided by 16 (unit); or each pixel's mean subtracted and
    divided by its standard deviation, both over the training part (standard).

    Args:
        only: the digits to use, such as "01234"; classes are numbered from 0 in this order.

    Raises:
        ValueError: the fractions leave a part empty, `only` has fewer than two digits, or scikit-learn is not
            installed.
    """

    standalone = "models.data.standalone.digits"
    input_shape = (1, 8, 8)

    def __init__(
        self,
        batch_size: Annotated[int, Int(16, 512, log=True)] = 64,
        scaling: Scaling = "unit",
        validation_fraction: float = 0.2,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        only: str = "0123456789",
    ) -> None:
        super().__init__()
        check_fractions(validation_fraction, test_fraction, who="Digits")
        if not only.isdigit() or len(set(only)) != len(only) or len(only) < 2:
            raise ValueError(f"Digits: only '{only}' should be two digits or more, each once, such as '01234'")
        self.save_hyperparameters()
        self.class_names = tuple(only)
        self.outputs = len(only)

    def read(self) -> Samples:
        pixels, labels = load_digits()
        wanted = np.array([int(digit) for digit in self.hparams["only"]])
        chosen = np.isin(labels, wanted)
        return Samples(pixels[chosen], np.argsort(wanted)[np.searchsorted(np.sort(wanted), labels[chosen])])

    def prepare(self) -> None:
        given = self.hparams
        self._pixels, self._labels, _ = self.read()
        fractions = given["validation_fraction"], given["test_fraction"]
        self.folds = Folds("stratified", self._labels, given["split_seed"])
        self.rows = stratified_split(self._labels, *fractions, seed=given["split_seed"])
        self._shift, self._scale = fit_scaling(self._pixels[self.rows.train], given["scaling"])
        self.class_counts = tuple(np.bincount(self._labels[self.rows.train], minlength=self.outputs).tolist())

    def fitted(self) -> dict[str, Any]:
        return super().fitted() | {"scalings": np.concatenate([np.ravel(self._shift), np.ravel(self._scale)])}

    def original(self, name: PartName) -> NDArray[np.float32]:
        """A part's pixels before scaling (samples, ...), in the order of its batches."""
        pixels: NDArray[np.float32] = self._pixels[getattr(self.rows, name)].reshape(-1, *self.input_shape)
        return pixels

    def part(self, name: PartName) -> Part:
        rows = getattr(self.rows, name)
        features = ((self._pixels[rows] - self._shift) / self._scale).reshape(-1, *self.input_shape)
        return Part(torch.from_numpy(features), torch.from_numpy(self._labels[rows]))

    def fitted_state(self) -> dict[str, Any]:
        scaling = {"shift": np.float32(self._shift), "scale": np.float32(self._scale)}
        return super().fitted_state() | {name: np.asarray(value) for name, value in scaling.items()}

    def write_sample(self, folder: Path, count: int) -> Path:
        pixels = self._pixels[self.rows.validation[:count]]
        np.savez(folder / "sample.npz", x=pixels.reshape(-1, 8, 8))
        return folder / "sample.npz"

    def new_data(self, source: Any, state: Mapping[str, Any]) -> NewData:
        """Images of 8 x 8 pixels from 0 to 16: an array (images, 8, 8) or (images, 64), or a .npz with one as x."""
        pixels = _pixels_of(source)
        remarks = []
        if pixels.size and (pixels.min() < 0 or pixels.max() > WHITE):
            remarks.append(f"pixels are from {pixels.min():g} to {pixels.max():g}, those of the training from 0 to 16")
        features = ((pixels - state["shift"]) / state["scale"]).reshape(-1, *self.input_shape)
        rows = {"image": np.arange(len(pixels))}
        return {"batches": batches_of(torch.from_numpy(features)), "rows": rows, "remarks": remarks}


def fit_scaling(
    pixels: NDArray[np.float32], scaling: str
) -> tuple[NDArray[np.float32] | float, NDArray[np.float32] | float]:
    """The offset and the scale of pixels (samples, 64), from the training part."""
    if scaling == "none":
        return 0.0, 1.0
    if scaling == "unit":
        return 0.0, WHITE
    deviation = pixels.std(axis=0)
    deviation[deviation == 0] = 1  # pixels that are always blank
    return pixels.mean(axis=0), deviation


def _pixels_of(source: Any) -> NDArray[np.float32]:
    """(images, 64)"""
    who = "Digits" if isinstance(source, np.ndarray) else f"Digits: {source}"
    x = source if isinstance(source, np.ndarray) else read_arrays(Path(source), ("x",), who=who)["x"]
    if x.dtype.kind not in "biuf" or x.ndim < 2 or not len(x) or x[0].size != SIZE:
        raise ValueError(f"{who}: images should be numbers (images, 8, 8) or (images, 64), not {x.dtype} {x.shape}")
    pixels: NDArray[np.float32] = x.reshape(len(x), SIZE).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError(f"{who}: {np.count_nonzero(~np.isfinite(pixels))} pixels are not finite numbers")
    return pixels


@lru_cache(maxsize=1)
def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pixels (1797, 64) from 0 to 16, and labels (1797,), both read-only.

    Read in 10 ms from scikit-learn's file: importing scikit-learn itself takes seconds. A process that forks others can
    call this first, and they share the arrays.

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
