"""Collects the values of `self.log` with Lightning's own sums, without its repeated look-ups at every call."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from torch import Tensor
from torchmetrics import Metric


class LeanResults(_ResultCollection):
    """Replaces a loop's `_results`.

    A value that is logged in the same way as the last time is added to its sum directly: Lightning creates a new
    description each time, compares it with the old one, and traverses all its values to move them to the device.
    """

    def __init__(self, training: bool) -> None:
        super().__init__(training)
        self._logged_as: dict[tuple[str, str, int | None], dict[str, Any]] = {}

    def log(self, fx: str, name: str, value: Any, *, batch_size: int | None = None, **how: Any) -> None:
        """As in Lightning, which passes all but the first three arguments by keyword."""
        place = (fx, name, self.dataloader_idx)
        if torch.compiler.is_compiling() or self._logged_as.get(place) != how:
            super().log(fx, name, value, batch_size=batch_size, **how)
            self._logged_as[place] = how
            return
        is_of_loader = how["add_dataloader_idx"] and self.dataloader_idx is not None
        metric: _ResultMetric = self[f"{fx}.{name}.{self.dataloader_idx}" if is_of_loader else f"{fx}.{name}"]
        if isinstance(value, Tensor) and not how["enable_graph"]:
            value = value.detach()
        # A Metric takes on the current default dtype when it is moved, even to the device that it is on.
        if not metric.is_tensor or _device_of(metric) != value.device:
            metric.to(value.device)
        metric.forward(value, self._extract_batch_size(metric, batch_size, metric.meta))
        metric.has_reset = False

    def cpu(self) -> LeanResults:
        """Move the values to the CPU, where most are already."""
        if any(_device_of(metric).type != "cpu" for metric in self.values()):
            super().cpu()
        return self


def _device_of(metric: _ResultMetric) -> torch.device:
    value: Tensor | Metric = metric.value
    return value.device
