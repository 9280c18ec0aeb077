"""Data modules: training data, split once, scaled by the training part's statistics, sliced into batches.

Each is imported at its first use, so that Digits does not wait for the imports of Table.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.data.digits import Digits as Digits
    from models.data.images import Images as Images
    from models.data.sequences import Sequences as Sequences
    from models.data.series import Series as Series
    from models.data.table import Table as Table

MODULES = {
    "Digits": "models.data.digits",
    "Images": "models.data.images",
    "Sequences": "models.data.sequences",
    "Series": "models.data.series",
    "Table": "models.data.table",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *MODULES])
