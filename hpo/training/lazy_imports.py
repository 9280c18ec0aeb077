"""Modules that Lightning and torchmetrics import, and that hardly a trial needs: a third of the time to start.

Placeholders stand for them while Lightning is imported. They are gone afterwards: whoever imports such a module gets
the real one, and what was taken from a placeholder looks the real one up when it is used.
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
    """Hold back torch._dynamo, matplotlib and scipy.signal from what is imported within.

    Of torch._dynamo, the class of compiled modules is wanted, and to say what is never compiled; of matplotlib, the
    names of types and a decorator of metrics' drawings; of scipy.signal, one audio metric's old alias.
    """
    dynamo = types.ModuleType("torch._dynamo")
    vars(dynamo).update(OptimizedModule=_OptimizedModule, disable=_kept_from_compiler)
    signal = types.ModuleType("scipy.signal")
    vars(signal).update(hamming=None)
    matplotlib, axes, pyplot = (_Later(name) for name in ("matplotlib", "matplotlib.axes", "matplotlib.pyplot"))
    vars(matplotlib).update(axes=axes, pyplot=pyplot, colors=types.SimpleNamespace(Colormap=Any))
    vars(axes).update(Axes=Any)
    vars(pyplot).update(Figure=Any, style=types.SimpleNamespace(context=_style))
    placeholders = (dynamo, signal, matplotlib, axes, pyplot)
    held = {module.__name__: module for module in placeholders if module.__name__ not in sys.modules}
    sys.modules.update(held)
    try:
        yield
    finally:
        for name in held:
            del sys.modules[name]
    _free_optimizers()


class _Later(types.ModuleType):
    """Has what the real module has, which is imported when that is asked for."""

    def __getattr__(self, name: str) -> Any:
        real = importlib.import_module(self.__name__)
        if real is self:  # the import system looks for what only some modules have
            raise AttributeError(name)
        return getattr(real, name)


@contextlib.contextmanager
def _style(*arguments: Any, **named: Any) -> Iterator[None]:
    """matplotlib.pyplot.style.context, with which torchmetrics decorates its drawings."""
    with importlib.import_module("matplotlib.pyplot").style.context(*arguments, **named):
        yield


class _Compiled(type):
    def __instancecheck__(cls, instance: object) -> bool:
        # Nothing is compiled before it is imported.
        return isinstance(instance, getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ()))


class _OptimizedModule(metaclass=_Compiled):
    """In Lightning, torch._dynamo.OptimizedModule."""


def _free_optimizers() -> None:
    """Have torch's optimizers not import the compiler in order to tell it to stay away."""
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        function = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if function is not None and not hasattr(function, "__dynamo_disable"):
            function.__dynamo_disable = _kept_from_compiler(function, wrapping=False)  # where torch looks for it
    for optimizer in vars(torch.optim).values():
        step = vars(optimizer).get("step") if isinstance(optimizer, type) else None
        if step is not None and step.__code__ is _GUARDED:
            optimizer.step = _step_of(step)


# What every optimizer of torch wraps its step in.
_GUARDED = torch.optim.SGD.step.__code__


def _step_of(guarded: Callable[..., Any]) -> Callable[..., Any]:
    """The step that is wrapped, with its gradient mode, until something may be compiled."""
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


def _kept_from_compiler(function: Callable[..., Any], *options: Any, **named_options: Any) -> Callable[..., Any]:
    """What torch._dynamo.disable makes of a function, from when something may be compiled; the function until then."""
    made: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal made
        if made is None:
            disable = getattr(sys.modules.get("torch._dynamo"), "disable", None)
            if disable is None:
                return function(*arguments, **named)
            made = disable(function, *options, **named_options)
        return made(*arguments, **named)

    return call
