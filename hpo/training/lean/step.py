"""One step of automatic optimisation, in Lightning's order, without the features that the module does not use."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.loops.optimization.automatic import Closure, ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from hpo.training.lean.hooks import Hook, hook_of, module_overrides

# Takes the batch, its number and whether the optimizer steps after it; returns the argument of `on_train_batch_end`.
Step = Callable[[Any, int, bool], Any]
# Takes a batch and its number; returns the loss.
Computation = Callable[[Any, int], Tensor]

# If a module overrides one of these, Lightning does the step.
HOOKS_AROUND_THE_STEP = ("optimizer_step", "optimizer_zero_grad", "backward")

SKIPPED = "`training_step` returned `None`. If this was on purpose, ignore this warning..."  # Lightning's text


def step_of(loop: _TrainingEpochLoop, *, needs_output: bool) -> Step:
    """The step for the loop's module.

    Args:
        needs_output: the step's output is used.
    """
    return plain_step(loop, needs_output=needs_output) if is_plain(loop) else _lightning_step(loop)


def is_plain(loop: _TrainingEpochLoop) -> bool:
    """Whether forward, backward and the optimizer's step follow each other without overridden hooks or scaling."""
    trainer = loop.trainer
    precision = trainer.precision_plugin
    is_scaled = isinstance(precision, MixedPrecision) and precision.scaler is not None
    return (
        type(precision) in (Precision, DoublePrecision, HalfPrecision, MixedPrecision)
        and not is_scaled
        and not module_overrides(trainer, *HOOKS_AROUND_THE_STEP)
        and not loop.automatic_optimization._skip_backward
        and _is_simple(trainer.optimizers[0])
    )


def _is_simple(optimizer: Any) -> bool:
    """Whether its step may follow the backward pass, instead of calling it in a closure.

    All of torch's optimizers but LBFGS call the closure first and once; a pre-step hook would run before the closure.
    """
    return (
        isinstance(optimizer, Optimizer)
        and type(optimizer).__module__.startswith("torch.optim.")
        and not isinstance(optimizer, LBFGS)
        and not optimizer._optimizer_step_pre_hooks
        and not _global_optimizer_pre_hooks
    )


def _lightning_step(loop: _TrainingEpochLoop) -> Step:
    optimizer, run = loop.trainer.optimizers[0], loop.automatic_optimization.run

    def step(batch: Any, batch_idx: int, is_stepping: bool) -> Any:
        return run(optimizer, batch_idx, loop._build_kwargs(OrderedDict(), batch, batch_idx))

    return step


def plain_step(
    loop: _TrainingEpochLoop,
    *,
    needs_output: bool,
    before_backward: Hook | None = None,
    after_backward: Hook | None = None,
) -> Step:
    """The step of a loop that `is_plain`.

    Args:
        before_backward, after_backward: called where the hook of that name is not overridden.
    """
    trainer, model = loop.trainer, loop.trainer.lightning_module
    optimizer, precision = trainer.optimizers[0], trainer.precision_plugin
    context = None if type(precision) is Precision else precision.train_step_context
    training_step = model.training_step
    takes_index = is_param_in_hook_signature(training_step, "batch_idx", min_args=2)
    zero_grad = _zero_grad_of(optimizer)
    before_zero_grad = hook_of(trainer, "on_before_zero_grad")
    before_backward = hook_of(trainer, "on_before_backward") or before_backward
    after_backward = hook_of(trainer, "on_after_backward") or after_backward
    optimize = optimization_of(loop)
    progress = loop.automatic_optimization.optim_progress.optimizer
    state = vars(model)

    def step(batch: Any, batch_idx: int, is_stepping: bool) -> Any:
        accumulated = trainer.accumulate_grad_batches
        arguments = (batch, batch_idx) if takes_index else (batch,)
        if is_stepping:
            progress.step.increment_ready()
        state["_current_fx_name"] = "training_step"
        if context is None:
            output = training_step(*arguments)
        else:
            with context():
                output = training_step(*arguments)
        state["_current_fx_name"] = None
        extra: dict[str, Any] = {}
        if isinstance(output, Tensor):
            loss: Tensor | None = output if accumulated == 1 else output / accumulated
        else:
            result = ClosureResult.from_training_step_output(output, accumulated)
            loss, extra = result.closure_loss, result.extra
        if batch_idx % accumulated == 0:
            if before_zero_grad is not None:
                before_zero_grad(optimizer)
            zero_grad()
            progress.zero_grad.increment_ready()
            progress.zero_grad.increment_started()
            progress.zero_grad.increment_completed()
        if loss is None:
            Closure.warning_cache.warn(SKIPPED)
        else:
            if before_backward is not None:
                before_backward(loss)
            loss.backward()  # type: ignore[no-untyped-call]
            if after_backward is not None:
                after_backward()
        if is_stepping:
            optimize()
        if not needs_output or loss is None:
            return {}
        return {"loss": loss.detach().clone(), **extra}

    return step


def computation_of(loop: _TrainingEpochLoop, *, needs_output: bool) -> Computation:
    """The forward pass alone.

    It raises a RuntimeError if `training_step` returns no loss, or if other outputs than the loss are used.
    """
    trainer, model = loop.trainer, loop.trainer.lightning_module
    takes_index = is_param_in_hook_signature(model.training_step, "batch_idx", min_args=2)
    state = vars(model)

    def compute(batch: Any, batch_idx: int) -> Tensor:
        state["_current_fx_name"] = "training_step"
        try:
            with trainer.precision_plugin.train_step_context():
                output = model.training_step(*((batch, batch_idx) if takes_index else (batch,)))
        finally:
            state["_current_fx_name"] = None
        if isinstance(output, Tensor):
            return output
        result = ClosureResult.from_training_step_output(output, 1)
        if result.closure_loss is None:
            raise RuntimeError("training_step gives no loss")
        if needs_output and result.extra:
            raise RuntimeError("training_step gives more than its loss")
        return result.closure_loss

    return compute


def optimization_of(loop: _TrainingEpochLoop) -> Callable[[], None]:
    """The part after the backward pass: clipping, and the optimizer's step."""
    trainer, model = loop.trainer, loop.trainer.lightning_module
    optimizer, step = trainer.optimizers[0], loop.automatic_optimization.optim_progress.optimizer.step
    before_step, clip = hook_of(trainer, "on_before_optimizer_step"), hook_of(trainer, "configure_gradient_clipping")
    optimizer_step = _step_of(optimizer)

    def optimize() -> None:
        if before_step is not None:
            before_step(optimizer)
        if clip is not None:
            clip(
                optimizer,
                gradient_clip_val=trainer.gradient_clip_val,
                gradient_clip_algorithm=trainer.gradient_clip_algorithm,
            )
        elif trainer.gradient_clip_val:
            model.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        optimizer_step()
        step.increment_completed()

    return optimize


def _step_of(optimizer: Optimizer) -> Callable[[], object]:
    """The optimizer's step without torch's wrapper for hooks and profilers, a third of its time with few weights."""
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
    )
    # A schedule, for instance, counts steps with a wrapper that it sets on the object.
    if any(hooks) or "step" in vars(optimizer) or optimizer.defaults.get("differentiable"):
        return optimizer.step
    return functools.partial(torch.no_grad()(inspect.unwrap(type(optimizer).step)), optimizer)


def _zero_grad_of(optimizer: Optimizer) -> Callable[[], None]:
    """The optimizer's zero_grad, without torch's checks of every gradient before it is dropped."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        return optimizer.zero_grad

    def drop() -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    return drop
