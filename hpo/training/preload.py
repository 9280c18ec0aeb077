"""Preloads torch, Lightning and the other imports of a first trial into the fork server's memory."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from typing import Any

# Set before native libraries are loaded, which read these once. A trial with more cores raises its own number.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# pandas imports pyarrow where it is installed; its allocator starts a thread, which would prevent forking.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")

import numpy.ma  # noqa: E402, F401  # numpy loads it at the first np.unique, which many data modules call
import torch  # noqa: E402

from hpo.training.lazy_imports import imported_later  # noqa: E402

with warnings.catch_warnings(), imported_later():
    warnings.simplefilter("ignore")
    import pytorch_lightning
    import pytorch_lightning.accelerators.cuda
    import pytorch_lightning.callbacks
    import pytorch_lightning.strategies
    import torchmetrics  # noqa: F401
    from lightning_fabric.utilities import registry
    from pytorch_lightning.core import module

torch.set_num_threads(1)

# Each self.log inspects the signature of training_step, 40 us; it does not change while we run.
module.is_param_in_hook_signature = functools.cache(module.is_param_in_hook_signature)  # type: ignore[attr-defined]

# It asks for torch's older setting of TF32, which torch refuses to tell where a newer one was set, and fails the trial.
_cuda: Any = pytorch_lightning.accelerators.cuda
_check_precision = _cuda._check_cuda_matmul_precision


def _check_readable_precision(device: torch.device) -> None:
    with contextlib.suppress(RuntimeError):
        _check_precision(device)


_cuda._check_cuda_matmul_precision = _check_readable_precision

# Each Trainer reads the entry points of every installed package, 14 ms; they do not change while we run.
registry.entry_points = functools.cache(registry.entry_points)  # type: ignore[assignment,attr-defined]
registry.entry_points(group="pytorch_lightning.callbacks_factory")  # type: ignore[attr-defined]
