"""Which hooks somebody overrides, found out before the first batch: what nobody overrides is not called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

Hook = Callable[..., Any]


def is_overridden(name: str, owner: object, base: type[Any]) -> bool:
    """Whether `owner` has a hook of its own, of its class or put on the object itself."""
    return getattr(type(owner), name) is not getattr(base, name) or name in vars(owner)


def module_overrides(trainer: pl.Trainer, *names: str) -> bool:
    """Whether the module overrides any of these hooks."""
    return any(is_overridden(name, trainer.lightning_module, pl.LightningModule) for name in names)


def hook_of(trainer: pl.Trainer, name: str) -> Hook | None:
    """Calls a hook of the callbacks, then the module's, as Lightning does; None where it would do nothing.

    The answer is the module's.
    """
    model = trainer.lightning_module
    called: list[pl.Callback] = trainer.callbacks if hasattr(pl.Callback, name) else []  # type: ignore[attr-defined]
    callbacks = [getattr(callback, name) for callback in called if is_overridden(name, callback, pl.Callback)]
    own = getattr(model, name) if module_overrides(trainer, name) else None
    if not callbacks and own is None:
        return None
    state = vars(model)  # assigning to a module's attribute costs as much as a small hook

    def call(*arguments: Any, **named: Any) -> Any:
        before, state["_current_fx_name"] = state["_current_fx_name"], name  # what self.log asks for
        for callback in callbacks:
            callback(trainer, model, *arguments, **named)
        answer = None if own is None else own(*arguments, **named)
        state["_current_fx_name"] = before
        return answer

    return call
