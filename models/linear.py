"""Linear forecasts: the model to start from for a series, and what a network should be better than."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo.space import Choice, Float, FromData
from models.base import Supervised
from models.layers import initialize
from models.window_scaling import WindowScaling, WindowScalingName

MOST_SOLVED = 1024  # weights of an output that ridge regression may have
MOST_WINDOWS = 8192  # that it uses


class Linear(Supervised):
    """A linear map from all values of a window to the forecast, and what a small network adds to it.

    Takes windows (batch, time, columns), always of as many steps, returns (batch, outputs). Training begins with the
    linear map of ridge regression, so that a short series need not be passed over hundreds of times to come near it.
    The network's outputs are 0 at first, and without a ridge the map's are: then the first forecast is the mean of the
    training targets, which where they are differences is the known value that these refer to, with its mean change;
    with `window_scaling` it is the window's level.

    Args:
        ridge: penalty of the squared weights of the ridge regression, beside the mean squared error of standardised
            targets (Hoerl and Kennard 1970, Technometrics 12); 0 begins with weights of 0, as does a map of more than
            1,024 weights for each output.
        window_scaling: described in models.window_scaling; `last` makes it NLinear, arXiv 2205.13504.
        trend: steps of a moving average, an odd number, which gets weights of its own beside the remainder, as in
            DLinear (there 25, arXiv 2205.13504). It is cut to the window; 0 has one map of the values.
        hidden: units of a network with one hidden layer beside the linear map; 0 has none.
        dropout: of the hidden layer.
        lr: a larger one leaves the solution of ridge regression by steps that are chance. Of seven series of 100 to 300
            steps, the best on the validation part was better there with 0.03 than with 0.003 on five, and on the test
            part worse on five, twice as bad on one.
        horizon, level_mean, level_scale: from the data module, for `window_scaling`.

    Raises:
        ValueError: the samples are not windows of one length, or `trend` is no odd number.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        ridge: Annotated[float, Float(1e-4, 10.0, log=True)] = 0.1,
        window_scaling: WindowScalingName = "none",
        trend: int = 25,
        hidden: Annotated[Literal[0, 16, 64], Choice()] = 0,
        dropout: float = 0.1,
        horizon: Annotated[int, FromData()] = 1,
        level_mean: Annotated[tuple[float, ...], FromData()] = (),
        level_scale: Annotated[tuple[float, ...], FromData()] = (),
        lr: Annotated[float, Float(1e-4, 3e-3, log=True)] = 1e-3,
        **common: Any,
    ) -> None:
        super().__init__(lr=lr, **common)
        self.save_hyperparameters()
        if len(input_shape) != 2:
            raise ValueError(f"Linear: samples should be (time, features), not of the shape {tuple(input_shape)}")
        if ridge < 0:
            raise ValueError(f"Linear: ridge {ridge} should be the penalty of the weights, or 0 to begin with none")
        if trend < 0 or (trend and trend % 2 == 0):
            raise ValueError(f"Linear: trend {trend} should be an odd number of steps, or 0 for none")
        time, columns = input_shape
        self.trend = min(trend, time - 1 + time % 2)
        self.linear = nn.Linear(time * columns * (2 if self.trend else 1), outputs)
        self.network: nn.Sequential | None = None
        if hidden:
            layers = (nn.Linear(time * columns, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs))
            self.network = nn.Sequential(*layers)
            initialize(self.network, "he_normal")
        last = [] if self.network is None else [self.network[-1]]
        for weight in nn.ModuleList([self.linear, *last]).parameters():
            nn.init.zeros_(weight)
        self.window_scaling = WindowScaling(self.hparams, who="Linear")

    def setup(self, stage: str) -> None:
        part = getattr(self.trainer.datamodule, "prepared_part", None)  # type: ignore[attr-defined]
        is_new = not self.linear.weight.any()  # and not loaded, to be trained further
        if stage == "fit" and is_new and self.hparams["ridge"] and self.linear.in_features <= MOST_SOLVED and part:
            self.begin_with_ridge(*part("train")[:2])

    @torch.no_grad()
    def begin_with_ridge(self, windows: Tensor, targets: Tensor) -> None:
        """Give the linear map the weights of ridge regression on these windows (samples, time, columns).

        Of more than 8,192 windows, as many are used, evenly spaced: more would take longer than an epoch.
        """
        every = -(-len(windows) // MOST_WINDOWS)
        windows, targets = windows[::every], targets[::every]
        scaled, scale, level = self.window_scaling.scaled(windows)
        targets = targets if level is None else targets - level
        targets = targets if scale is None else targets / scale
        seen = torch.cat([self._parts(scaled).flatten(1), torch.ones(len(windows), 1)], dim=1).double()
        penalty = torch.full((seen.shape[1],), self.hparams["ridge"] * len(windows)).double()
        penalty[-1] = 0.0  # of the bias
        solved = torch.linalg.solve(seen.T @ seen + penalty.diag(), seen.T @ targets.double()).float()
        self.linear.weight.copy_(solved[:-1].T)
        self.linear.bias.copy_(solved[-1])

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise ValueError(
                "Linear: takes windows of one length, not sequences with lengths; take Conv1d or Recurrent"
            )
        if x.shape[1] != self.hparams["input_shape"][0]:
            raise ValueError(f"Linear: takes windows of {self.hparams['input_shape'][0]} steps, not of {x.shape[1]}")
        outputs: Tensor = self.window_scaling(x, None, self._forecast)
        return outputs

    def _forecast(self, x: Tensor, _: None) -> Tensor:
        outputs: Tensor = self.linear(self._parts(x).flatten(1))
        return outputs if self.network is None else outputs + self.network(x.flatten(1))

    def _parts(self, x: Tensor) -> Tensor:
        """What the linear map sees: (batch, time, columns), or the trend and the remainder, of twice as many steps."""
        if not self.trend:
            return x
        trend = _moving_average(x, self.trend)
        return torch.cat([trend, x - trend], dim=1)


def _moving_average(x: Tensor, steps: int) -> Tensor:
    """(batch, time, columns), of which the first and the last value go on beyond the window."""
    padded = functional.pad(x.transpose(1, 2), (steps // 2, steps // 2), mode="replicate")
    return functional.avg_pool1d(padded, steps, 1).transpose(1, 2)
