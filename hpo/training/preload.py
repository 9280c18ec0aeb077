"""Imported by the fork server for what it brings into memory: torch, Lightning, and what a first trial would import."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import types
import warnings
from collections.abc import Iterator

# Before anything native is loaded: libraries read these once. A trial that owns more cores raises its own number.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# pandas imports pyarrow, where it is installed, whose allocator starts a thread: then nothing could be forked.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")


@contextlib.contextmanager
def _without_scipy_signal() -> Iterator[None]:
    """Keep torchmetrics from importing scipy.signal, a fifth of the start-up, for one audio metric's old alias.

    The placeholder is gone afterwards: whoever needs scipy.signal imports the real one.
    """
    placeholder = types.ModuleType("scipy.signal")
    placeholder.hamming = None  # type: ignore[attr-defined]
    sys.modules["scipy.signal"] = placeholder
    try:
        yield
    finally:
        del sys.modules["scipy.signal"]


with warnings.catch_warnings(), _without_scipy_signal():
    warnings.simplefilter("ignore")
    import torch
    import torchmetrics  # noqa: F401

import numpy.ma  # noqa: E402, F401  # numpy loads it at the first use of np.unique, which is in many data modules
import pytorch_lightning  # noqa: E402
import pytorch_lightning.callbacks  # noqa: E402
import pytorch_lightning.strategies  # noqa: E402, F401
from lightning_fabric.utilities import registry  # noqa: E402
from pytorch_lightning.core import module  # noqa: E402

torch.set_num_threads(1)

# Each self.log looks at the signature of training_step, 40 us; it does not change while we run.
module.is_param_in_hook_signature = functools.cache(module.is_param_in_hook_signature)  # type: ignore[attr-defined]

# Each Trainer reads the entry points of every installed package, 14 ms; they do not change while we run.
registry.entry_points = functools.cache(registry.entry_points)  # type: ignore[assignment,attr-defined]
registry.entry_points(group="pytorch_lightning.callbacks_factory")  # type: ignore[attr-defined]
