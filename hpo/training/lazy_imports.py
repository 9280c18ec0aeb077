"""Defers imports of Lightning and torchmetrics that hardly any trial needs, and that take a third of the start-up.

Placeholders replace these modules while Lightning is imported, and are removed afterwards: a later import gets the
real module, and names that were taken from a placeholder look the real one up when they are used.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def imported_later() -> Iterator[None]:
    """Replace torch._dynamo, matplotlib and scipy.signal by placeholders within the context.

    The importing modules use the class of compiled modules and the decorator `disable` of torch._dynamo, the names of
    types and a decorator of metrics' plots of matplotlib, and an old alias for an audio metric of scipy.signal.
    """
    dynamo = types.ModuleType("torch._dynamo")
    vars(dynamo).update(OptimizedModule=_OptimizedModule, disable=_excluded_from_compiler)
    signal = types.ModuleType("scipy.signal")
    vars(signal).update(hamming=None)
    matplotlib, axes, pyplot = (_Placeholder(name) for name in ("matplotlib", "matplotlib.axes", "matplotlib.pyplot"))
    vars(matplotlib).update(axes=axes, pyplot=pyplot, colors=types.SimpleNamespace(Colormap=Any))
    vars(axes).update(Axes=Any)
    vars(pyplot).update(Figure=Any, style=types.SimpleNamespace(context=_style))
    modules = (dynamo, signal, matplotlib, axes, pyplot)
    placeholders = {module.__name__: module for module in modules if module.__name__ not in sys.modules}
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name in placeholders:
            del sys.modules[name]
    _free_optimizers()


class _Placeholder(types.ModuleType):
    """Imports the real module at the first access to an attribute."""

    def __getattr__(self, name: str) -> Any:
        real = importlib.import_module(self.__name__)
        if real is self:  # the import system reads optional attributes of modules
            raise AttributeError(name)
        return getattr(real, name)


@contextlib.contextmanager
def _style(*arguments: Any, **named: Any) -> Iterator[None]:
    """matplotlib.pyplot.style.context, with which torchmetrics decorates its plots."""
    with importlib.import_module("matplotlib.pyplot").style.context(*arguments, **named):
        yield


class _Compiled(type):
    def __instancecheck__(cls, instance: object) -> bool:
        # Nothing is compiled before torch._dynamo is imported.
        return isinstance(instance, getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ()))


class _OptimizedModule(metaclass=_Compiled):
    """Stands for torch._dynamo.OptimizedModule in Lightning."""


def _free_optimizers() -> None:
    """Keep torch's optimizers from importing the compiler only to disable it."""
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        function = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if function is not None and not hasattr(function, "__dynamo_disable"):
            function.__dynamo_disable = _excluded_from_compiler(function, wrapping=False)  # torch reads this attribute
    for optimizer in vars(torch.optim).values():
        step = vars(optimizer).get("step") if isinstance(optimizer, type) else None
        if step is not None and step.__code__ is _GUARDED:
            optimizer.step = _step_of(step)


# Every optimizer of torch wraps its step in this function.
_GUARDED = torch.optim.SGD.step.__code__


def _step_of(guarded: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapped step with its gradient mode; the guarded one once torch._dynamo is imported."""
    function = guarded.__wrapped__  # type: ignore[attr-defined]

    @functools.wraps(function)
    def step(self: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            return guarded(self, *arguments, **named)
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(self.defaults["differentiable"])
        try:
            return function(self, *arguments, **named)
        finally:
            torch.set_grad_enabled(before)

    return step


def _excluded_from_compiler(function: Callable[..., Any], *options: Any, **named_options: Any) -> Callable[..., Any]:
    """The function, which calls torch._dynamo.disable(function) instead once torch._dynamo is imported."""
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
            if disable is None:
                return function(*arguments, **named)
            disabled = disable(function, *options, **named_options)
        return disabled(*arguments, **named)

    return call
