"""An exponential moving average of a model's weights, which is validated and kept in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

KEY = "weight_average"  # in a checkpoint
SLOW_START = 10.0  # steps: at first the average follows the weights, since those before were random


class WeightAverage:
    """The average of a module's parameters and floating-point buffers over the steps of its training.

    Polyak and Juditsky 1992, SIAM J. Control Optim. 30; with an exponential weight, as in Tarvainen and Valpola 2017,
    arXiv 1703.01780. It does what lowering the learning rate does, at every epoch: so a trial can be judged before its
    end.

    Args:
        decay: weight of the average so far at a step, above 0 and below 1; in the first steps it is less.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._steps = self._steps_here = 0  # in all attempts, and in this one
        self._averages: list[Tensor] = []
        self._own: list[Tensor] = []  # the weights of the training, while the averages are in their place

    def follow(self) -> None:
        """Act in the hooks of the module, before its own; only here, since a hook of each step costs time."""
        self._act_in("on_train_batch_end", lambda *_: self.update())
        self._act_in("on_validation_start", self.swap_in)
        self._act_in("on_validation_end", self.swap_out)
        self._act_in("on_save_checkpoint", self._save)
        self._act_in("on_load_checkpoint", self._load)

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimizer."""
        live = self._live()
        if not self._averages:
            self._averages = [tensor.detach().clone() for tensor in live]
        elif self._steps_here == 0:  # resumed, on whatever device
            self._averages = [average.to(own.device) for average, own in zip(self._averages, live, strict=True)]
        self._steps_here += 1
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (SLOW_START + self._steps))
        torch._foreach_lerp_(self._averages, live, 1 - decay)

    @torch.no_grad()
    def swap_in(self) -> None:
        """Put the averages into the module."""
        if self._averages and not self._own:
            live = self._live()
            self._own = [tensor.detach().clone() for tensor in live]
            torch._foreach_copy_(live, self._averages)

    @torch.no_grad()
    def swap_out(self) -> None:
        """Put the weights of the training back."""
        if self._own:
            torch._foreach_copy_(self._live(), self._own)
            self._own = []

    def _save(self, checkpoint: dict[str, Any]) -> None:
        # A file of weights alone has the averages in their place.
        if self._averages and "optimizer_states" in checkpoint:
            checkpoint[KEY] = {"steps": self._steps, "averages": self._averages}

    def _load(self, checkpoint: dict[str, Any]) -> None:
        if KEY in checkpoint:
            self._steps = int(checkpoint[KEY]["steps"])
            self._averages = [tensor.clone() for tensor in checkpoint[KEY]["averages"]]

    def _act_in(self, hook: str, ours: Callable[..., None]) -> None:
        own = getattr(self._module, hook)

        def both(*arguments: Any, **named: Any) -> Any:
            ours(*arguments)
            return own(*arguments, **named)

        setattr(self._module, hook, both)

    def _live(self) -> list[Tensor]:
        found = [*self._module.parameters(), *self._module.buffers()]
        return [tensor.data for tensor in found if tensor.is_floating_point()]
