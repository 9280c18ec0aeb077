"""Preloads torch, Lightning and the other imports of a first trial into the fork server's memory."""

from __future__ import annotations

import functools
import os
import warnings

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
    import pytorch_lightning.callbacks
    import pytorch_lightning.strategies  # noqa: F401
    import torchmetrics  # noqa: F401
    from lightning_fabric.utilities import registry
    from pytorch_lightning.core import module

torch.set_num_threads(1)

# Each self.log inspects the signature of training_step, 40 us; it does not change while we run.
module.is_param_in_hook_signature = functools.cache(module.is_param_in_hook_signature)  # type: ignore[attr-defined]

# Each Trainer reads the entry points of every installed package, 14 ms; they do not change while we run.
registry.entry_points = functools.cache(registry.entry_points)  # type: ignore[assignment,attr-defined]
registry.entry_points(group="pytorch_lightning.callbacks_factory")  # type: ignore[attr-defined]
