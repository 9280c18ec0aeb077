"""Data modules: what the models learn from, split once, scaled by what the training part says, sliced into batches."""

from __future__ import annotations

from models.data.digits import Digits

__all__ = ["Digits"]
