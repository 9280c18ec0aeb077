"""Finds the hooks that are overridden, before the first batch: the others are not called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

Hook = Callable[..., Any]


def is_overridden(name: str, owner: object, base: type[Any]) -> bool:
    """Whether `owner` overrides a hook, in its class or on the object itself."""
    return getattr(type(owner), name) is not getattr(base, name) or name in vars(owner)


def module_overrides(trainer: pl.Trainer, *names: str) -> bool:
    """Whether the module overrides any of these hooks."""
    return any(is_overridden(name, trainer.lightning_module, pl.LightningModule) for name in names)


def hook_of(trainer: pl.Trainer, name: str) -> Hook | None:
    """A function that calls a hook of the callbacks, then the module's, as Lightning does; None if none overrides it.

    It returns the result of the module's hook.
    """
    model = trainer.lightning_module
    called: list[pl.Callback] = trainer.callbacks if hasattr(pl.Callback, name) else []  # type: ignore[attr-defined]
    callbacks = [getattr(callback, name) for callback in called if is_overridden(name, callback, pl.Callback)]
    own = getattr(model, name) if module_overrides(trainer, name) else None
    if not callbacks and own is None:
        return None
    state = vars(model)  # assigning to a module's attribute costs as much as a small hook

    def call(*arguments: Any, **named: Any) -> Any:
        before, state["_current_fx_name"] = state["_current_fx_name"], name  # which self.log reads
        for callback in callbacks:
            callback(trainer, model, *arguments, **named)
        answer = None if own is None else own(*arguments, **named)
        state["_current_fx_name"] = before
        return answer

    return call
