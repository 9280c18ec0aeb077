"""The side effects of a training step: those that can be repeated after a replay, and those that prevent a graph.

A graph repeats the work of the device, not that of Python. Therefore a step is watched: calls of `self.log` with a
tensor, and entries appended to a list that is an attribute of a module, are repeated after each replay. Any other
detectable change or dependency is an obstacle: attributes, random numbers drawn on the host, the Trainer's counters.
Not detected are files, global variables, closures, the clock, and the contents of arrays that are not tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from hpo.training.resume import random_state

COUNTERS = ("global_step", "current_epoch")  # of the Trainer, which a module reads through it

SCALARS = (bool, int, float, complex, str, bytes, type(None))
OPAQUE = (nn.Module, Tensor, type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, pl.Trainer)
# Attributes of every module that are compared elsewhere, or belong to Lightning.
IGNORED = frozenset({"_parameters", "_buffers", "_modules", "_trainer", "_fabric", "_current_fx_name"})
_DEPTH = 4
_MOST_ITEMS = 1000

Attributes = dict[tuple[Any, ...], tuple[Any, int]]  # by their path: the value, and its size or version


class Logged(NamedTuple):
    """A call of `LeanResults.log`."""

    fx: str
    name: str
    value: Tensor
    batch_size: int | None
    how: dict[str, Any]


class Appended(NamedTuple):
    """Entries appended to a list: attribute `name` of the module at `place`."""

    place: str
    name: str
    entries: list[Any]


class Watch:
    """Watches one training step, within the context.

    Args:
        passes_on: values are logged and appended; otherwise they are only recorded here.

    Attributes:
        obstacle: the first one, as a text that follows 'because'.
    """

    def __init__(self, trainer: pl.Trainer, results: _ResultCollection, *, passes_on: bool) -> None:
        self.logged: list[Logged] = []
        self.appended: list[Appended] = []
        self.obstacle: str | None = None
        self._trainer, self._model, self._results = trainer, trainer.lightning_module, results
        self._passes_on = passes_on
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Watch:
        self._open.callback(self._compare, attributes_of(self._model))
        if self._passes_on:  # during a capture, the generators' states cannot be read
            self._open.callback(self._compare_random_state, self._host_random_state())
            self._open.enter_context(_detecting_reads(self._trainer, lambda name: self._add_obstacle(f"reads {name}")))
        self._record_logging()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; the findings are in the attributes."""
        self._open.close()

    def _add_obstacle(self, what: str) -> None:
        self.obstacle = self.obstacle or f"training_step {what}"

    def _record_logging(self) -> None:
        model, device = vars(self._model), self._model.device
        log, collect = self._model.log, self._results.log

        def log_tensor(name: str, value: Any, *options: Any, **named: Any) -> None:
            if not isinstance(value, Tensor):
                self._add_obstacle(f"logs '{name}', which is not a tensor but of type {type(value).__name__}")
            elif value.device != device:
                self._add_obstacle(f"logs '{name}', which is on {value.device}")
            log(name, value, *options, **named)

        def collect_value(fx: str, name: str, value: Any, *, batch_size: Any = None, **how: Any) -> None:
            if how["enable_graph"] or not isinstance(batch_size, int | None):
                self._add_obstacle(f"logs '{name}' in a way that cannot be repeated")
            if isinstance(value, Tensor):
                self.logged.append(Logged(fx, name, value.detach(), batch_size, how))
            if self._passes_on:
                collect(fx, name, value, batch_size=batch_size, **how)

        model["log"], vars(self._results)["log"] = log_tensor, collect_value
        self._open.callback(model.pop, "log")
        self._open.callback(vars(self._results).pop, "log")

    def _host_random_state(self) -> dict[str, Any]:
        state = random_state()
        if self._model.device.type == "cpu":
            del state["torch"]  # the device's own generator, which a replay advances
        state.pop("cuda", None)
        return state

    def _compare_random_state(self, before: dict[str, Any]) -> None:
        after = self._host_random_state()
        drawn = [key for key in before if not _is_same_state(before[key], after[key])]
        if drawn:
            self._add_obstacle(f"draws random numbers on the host ({drawn[0]})")

    def _compare(self, before: Attributes) -> None:
        """Find appended entries and other changes of attributes."""
        after, modules = attributes_of(self._model), dict(self._model.named_modules())
        grown = []
        for path in [path for path, (value, size) in after.items() if len(path) == 2 and type(value) is list]:
            value, size = before.get(path, (None, 0))
            if value is after[path][0] and size < after[path][1]:
                grown.append(path)
                place, name = path
                self.appended.append(Appended(place, name, value[size:]))
                if not all(_is_repeatable(entry, self._model.device) for entry in value[size:]):
                    self._add_obstacle(f"appends values to '{_shown(path)}' that cannot be repeated")
                if not self._passes_on:
                    del vars(modules[place])[name][size:]
        for path in before.keys() | after.keys():
            is_growth = path in grown or (path[:2] in grown and path not in before)
            if not is_growth and not _is_same(before.get(path), after.get(path)):
                self._add_obstacle(f"changes '{_shown(path)}'")


def attributes_of(model: nn.Module) -> Attributes:
    """The modules' attributes, a few levels deep; buffers by their identity."""
    found: Attributes = {}
    for place, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in IGNORED:
                _walk(found, (place, name), value)
        for name, buffer in module._buffers.items():
            found[place, name, "buffer"] = buffer, 0
    return found


def _walk(found: Attributes, path: tuple[Any, ...], value: Any) -> None:
    if isinstance(value, Tensor):
        # The optimizer changes parameters, which may also be in other attributes of modules.
        found[path] = value, 0 if isinstance(value, nn.Parameter) else value._version
        return
    is_container = isinstance(value, list | tuple | dict | set)
    found[path] = value, len(value) if is_container else 0
    if len(path) > _DEPTH or isinstance(value, (*SCALARS, *OPAQUE)):
        return
    children: Any = ()
    if isinstance(value, dict):
        children = list(value.items())[:_MOST_ITEMS]
    elif isinstance(value, list | tuple):
        children = list(enumerate(value[:_MOST_ITEMS]))
    elif hasattr(value, "__dict__"):
        children = list(vars(value).items())
    for key, child in children:
        _walk(found, (*path, key), child)


def _is_same(one: tuple[Any, int] | None, other: tuple[Any, int] | None) -> bool:
    if one is None or other is None:
        return False
    (value, size), (other_value, other_size) = one, other
    is_equal = value is other_value or (
        type(value) is type(other_value) and isinstance(value, SCALARS) and value == other_value
    )
    return is_equal and size == other_size


def _is_same_state(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return all(_is_same_state(*both) for both in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _is_repeatable(entry: Any, device: torch.device) -> bool:
    return all(
        leaf.device == device and not leaf.requires_grad if isinstance(leaf, Tensor) else isinstance(leaf, SCALARS)
        for leaf in tree_leaves(entry)
    )


def _shown(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path[:2] if part != "")


@contextlib.contextmanager
def _detecting_reads(trainer: pl.Trainer, note: Callable[[str], None]) -> Iterator[None]:
    """Report reads of the Trainer's counters: a graph would keep their present values."""
    own = type(trainer)

    def detected(name: str) -> property:
        def read(self: pl.Trainer) -> Any:
            note(name)
            return getattr(own, name).fget(self)

        return property(read)

    trainer.__class__ = type(own.__name__, (own,), {name: detected(name) for name in COUNTERS})
    try:
        yield
    finally:
        trainer.__class__ = own
