"""Windows of a series in a level and scale of their own, which their forecasts are given back.

A forecast then need not have seen the level that a series has reached. Kim et al. 2022, Reversible instance
normalization (RevIN), ICLR; here without learnt weights. Subtracting the last value is NLinear's, arXiv 2205.13504.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

WindowScalingName = Literal["none", "last", "mean", "standard"]

EPSILON = 1e-5  # added to the variance, as RevIN does


class WindowScaling(nn.Module):
    """Forecasts from windows whose last value (last) or mean (mean) is subtracted, or that also have deviation 1
    (standard); the forecasts are restored. With `none` they remain as they are.

    Only the target columns, which are the first ones, are changed. Where the inputs are differences, whose targets
    refer to a known value already, there is no level, and only `standard` has an effect: it divides.

    Args:
        given: a model's hyperparameters, of which these count: `window_scaling`, `task`, `outputs`, and from the data
            module `horizon`, the steps of a forecast; `level_mean` and `level_scale` of each target column: an input
            times the scale plus the mean is a level in the unit of the targets, and both are empty where the inputs
            are no levels; `target_mean` and `target_scale`.

    Raises:
        ValueError: the model is not for forecasts; the message begins with `who`.
    """

    offset: Tensor
    factor: Tensor

    def __init__(self, given: Mapping[str, Any], *, who: str) -> None:
        super().__init__()
        self.kind: WindowScalingName = given["window_scaling"]
        self.steps = given["horizon"]
        self.values = given["outputs"] // self.steps
        self.has_levels = len(given["level_mean"]) > 0
        if self.kind == "none":
            return
        if given["task"] != "regression" or given["outputs"] % self.steps:
            raise ValueError(f"{who}: window_scaling '{self.kind}' is for forecasts: give none")
        if self.has_levels:
            mean, scale = (
                torch.tensor(given[f"level_{name}"]).double().repeat(self.steps) for name in ("mean", "scale")
            )
            unit_mean, unit = (torch.tensor(given[f"target_{name}"]).double() for name in ("mean", "scale"))
            # What a level of 0 among the inputs is among the outputs, and what one more is there.
            self.register_buffer("offset", ((mean - unit_mean) / unit).float(), persistent=False)
            self.register_buffer("factor", (scale / unit).float(), persistent=False)

    def forward(self, x: Tensor, lengths: Tensor | None, forecast: Callable[[Tensor, Any], Tensor]) -> Tensor:
        """What `forecast` gives (batch, outputs) for windows x (batch, time, columns) and their lengths.

        Raises:
            ValueError: they have lengths of their own, and a scaling.
        """
        if self.kind == "none":
            return forecast(x, lengths)
        if lengths is not None:
            raise ValueError(f"window_scaling '{self.kind}' is for windows of a series, not for sequences: give none")
        scaled, scale, level = self.scaled(x)
        outputs = forecast(scaled, None)
        outputs = outputs if scale is None else outputs * scale
        return outputs if level is None else outputs + level

    def scaled(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Windows (batch, time, columns) as the forecast sees them, and what it is multiplied by, and what is added
        to it, both (batch, outputs); None for 1 and 0."""
        if self.kind == "none":
            return x, None, None
        known = x[:, :, : self.values]
        level = known[:, -1:] if self.kind == "last" else known.mean(1, keepdim=True)
        scaled = known - level if self.has_levels else known
        scale = (known.var(1, correction=0, keepdim=True) + EPSILON).sqrt() if self.kind == "standard" else None
        scaled = torch.cat([scaled if scale is None else scaled / scale, x[:, :, self.values :]], dim=2)
        scale = None if scale is None else scale.flatten(1).repeat(1, self.steps)
        if not self.has_levels:
            return scaled, scale, None
        return scaled, scale, level.flatten(1).repeat(1, self.steps) * self.factor + self.offset
