"""Training steps that are replayed as a CUDA graph, where a replay gives the same result as computing the step.

A small network's step on a GPU is mostly the host's time to launch a hundred kernels; a graph launches them at once.
The first step is computed as usual, and watched for operations that a graph cannot repeat. The next one of the same
shapes is captured. Then three steps, and the first of the epochs 1, 2, 4, 8 and so on, are both replayed and computed,
from the same state; the computed result is used, and if the two differ the graph is dropped. Before each replay the
attributes of modules that a step may read are compared. Batches of other shapes, as the last one often is, are always
computed. Any unexpected error ends the graphs of this training, not the training: docs/decisions/0013.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from hpo.training.lean.captured import Captured, Outcome, SavedState, Shapes, difference, shapes_of
from hpo.training.lean.cuda import Graph, graph_on
from hpo.training.lean.hooks import hook_of, module_overrides
from hpo.training.lean.side_effects import Watch
from hpo.training.lean.step import Step, computation_of, is_plain, optimization_of, plain_step, step_of

PROBES = 3
# Attempts at a first step without side effects other than logging and appending: lazy modules initialise in it.
MOST_ATTEMPTS = 3
MOST_SHAPES = 8  # consecutive, all different

# The same kernels on the same numbers differ by the order of their sums, and a library may use other kernels in a
# graph: TF32 rounds to 2^-11, bfloat16 to 2^-8, and errors add up over layers. A stale batch or another dropout mask
# differs by more than a tenth.
TOLERANCE, TOLERANCE_OF_HALF = 1e-2, 5e-2

# A capture and its probes cost 30 to 100 ms, and a replay saves 0.1 to 0.5 ms of a small network's step.
LEAST_STEPS_OF_EPOCH, LEAST_STEPS = 100, 500

HOOKS_IN_THE_STEP = ("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward")


class GraphedSteps:
    """The steps of one training, over all its epochs.

    Args:
        note: called once when steps are replayed, and once with the reason when they are not.
        new_graph: creates a graph for a device that has graphs.
        least_steps: of an epoch, and of the whole training, below which graphs cost more than they save.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        new_graph: Callable[[torch.device], Graph | None] = graph_on,
        least_steps: tuple[int, int] = (LEAST_STEPS_OF_EPOCH, LEAST_STEPS),
    ) -> None:
        self._note, self._new_graph, self._least_steps = note, new_graph, least_steps
        self._is_over = self._is_noted = False
        self._captured: Captured | None = None
        self._seen: Shapes | None = None  # of the last step that was computed and could be captured
        self._attempts = self._kinds = 0
        self._probes = 0  # still to be done

    def step_of(self, loop: _TrainingEpochLoop, results: _ResultCollection, *, needs_output: bool) -> Step:
        """The step for the next epoch."""
        computed = step_of(loop, needs_output=needs_output)
        device = loop.trainer.strategy.root_device
        if self._is_over or (graph := self._new_graph(device)) is None:
            return computed
        if (reason := too_few_steps(loop.trainer, *self._least_steps) or obstacle_to_graphs(loop)) is not None:
            self._give_up(reason)
            return computed
        return self._graphed(loop, results, graph, computed, needs_output=needs_output)

    def _graphed(
        self, loop: _TrainingEpochLoop, results: _ResultCollection, graph: Graph, computed: Step, *, needs_output: bool
    ) -> Step:
        trainer, model = loop.trainer, loop.trainer.lightning_module
        tolerance = TOLERANCE_OF_HALF if "16" in str(trainer.precision) else TOLERANCE
        replayed = _replayed_step(loop, needs_output=needs_output)
        watched = _WatchedStep(loop, results, needs_output=needs_output)
        if self._captured is not None and not self._captured.is_of_this_model():
            self._captured = self._seen = None  # the model has changed between epochs
        epoch = trainer.current_epoch + 1
        is_probed = epoch & (epoch - 1) == 0

        compute = computation_of(loop, needs_output=needs_output)

        def step(batch: Any, batch_idx: int, is_stepping: bool) -> Any:
            if self._is_over:
                return computed(batch, batch_idx, is_stepping)
            leaves, layout = tree_flatten(batch)
            shapes = shapes_of(leaves, layout, model.device)
            if shapes is None:
                self._give_up("a batch has more than tensors on the device")
            elif self._captured is not None and shapes == self._captured.shapes:
                if not self._captured.is_in_place():
                    self._give_up("parameters or buffers are replaced or frozen in the middle of an epoch")
                elif not self._captured.has_same_inputs():
                    self._give_up("attributes of its modules change in the middle of an epoch")
                elif self._probes == 0 and batch_idx > 0:
                    return replayed(self._captured, leaves)
                elif self._probes == 0 and not is_probed:  # the first step of an epoch resets the logged values
                    return computed(batch, batch_idx, is_stepping)
            elif self._captured is not None:
                return computed(batch, batch_idx, is_stepping)
            elif shapes == self._seen and batch_idx > 0:  # the first step of an epoch resets the logged values
                self._capture(graph, lambda: Captured(graph, trainer, results, compute, batch, batch_idx), model)
            if self._is_over:
                return computed(batch, batch_idx, is_stepping)
            if self._captured is None:
                output = watched(batch, batch_idx)
                self._judge_first(watched, shapes)
                return output
            return self._probe(watched, leaves, batch, batch_idx, tolerance)

        return step

    def _judge_first(self, watched: _WatchedStep, shapes: Shapes | None) -> None:
        self._kinds = 0 if shapes == self._seen else self._kinds + 1
        if watched.obstacle is None:
            self._seen = shapes
            if self._kinds > MOST_SHAPES:
                self._give_up("batches differ in their shapes")
            return
        self._attempts += 1
        if self._attempts == MOST_ATTEMPTS:
            self._give_up(watched.obstacle)

    def _capture(self, graph: Graph, make: Callable[[], Captured], model: nn.Module) -> None:
        if (reason := graph.obstacle()) is not None:
            self._give_up(reason)
            return
        saved = SavedState(model)
        try:
            self._captured = make()
        except Exception as error:  # of any kind: the training continues without a graph
            self._give_up(_first_line(error))
        saved.restore()
        self._probes = PROBES

    def _probe(self, watched: _WatchedStep, leaves: list[Tensor], batch: Any, batch_idx: int, tolerance: float) -> Any:
        """Replay and compute the step; the computed result is used."""
        assert self._captured is not None
        saved = SavedState(watched.model)
        try:
            self._captured.replay(leaves)
            replayed = self._captured.outcome.copied()
        except Exception as error:
            self._give_up(_first_line(error))
            return watched(batch, batch_idx)
        finally:
            saved.restore()
        output = watched(batch, batch_idx)
        if watched.obstacle is not None or watched.outcome is None:
            self._give_up(watched.obstacle or "training_step gave no loss")
        elif (what := difference(replayed, watched.outcome, tolerance)) is not None:
            self._give_up(f"a replayed step gave other {what} than the same step when computed")
        else:
            self._probes = max(0, self._probes - 1)
            if self._probes == 0 and not self._is_noted:
                self._is_noted = True
                self._note("steps are replayed as a CUDA graph")
        return output

    def _give_up(self, reason: str) -> None:
        self._is_over, self._captured = True, None
        self._note(f"steps are not replayed as a CUDA graph, because {reason}")


def too_few_steps(trainer: pl.Trainer, of_epoch: int, of_training: int) -> str | None:
    """Why graphs would not pay for a training so short, as a text that follows 'because'; None if they may."""
    steps = trainer.num_training_batches
    if steps < of_epoch:
        return f"an epoch has {steps} steps, fewer than {of_epoch}"
    whole = trainer.estimated_stepping_batches
    if whole < of_training:
        return f"the training has {whole:.0f} steps, fewer than {of_training}"
    return None


def obstacle_to_graphs(loop: _TrainingEpochLoop) -> str | None:
    """Why no step of this training can be captured, as a text that follows 'because'; None if nothing prevents it."""
    trainer, model = loop.trainer, loop.trainer.lightning_module
    if not is_plain(loop):
        return "the optimizer, the precision or the module requires Lightning's own step"
    if trainer.accumulate_grad_batches != 1:
        return "gradients are accumulated over several batches"
    for name in HOOKS_IN_THE_STEP:
        if hook_of(trainer, name) is not None:
            return f"the hook {name} is used"
    optimizer = trainer.optimizers[0]
    if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
        return "the optimizer overrides zero_grad"
    if "log" in vars(model) or module_overrides(trainer, "log"):
        return "the module overrides log"
    if _uses_number_of_batch(model.training_step):
        return "training_step uses the batch's number"
    optimized = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if any(parameter.requires_grad and parameter not in optimized for parameter in model.parameters()):
        return "some parameters have gradients but are not optimized"
    # cuDNN uses its own generator for it, which can neither be captured nor restored.
    if any(isinstance(module, nn.RNNBase) and module.dropout > 0 for module in model.modules()):
        return "recurrent layers have dropout between them"
    return None


def _uses_number_of_batch(training_step: Callable[..., Any]) -> bool:
    """Whether the function's code reads its second argument, or may."""
    names = list(inspect.signature(training_step).parameters)[1:]
    code = getattr(inspect.unwrap(training_step), "__code__", None)
    if code is None:
        return True
    # Newer interpreters load two variables with one instruction.
    loaded = [found.argval for found in dis.get_instructions(code) if found.opname.startswith("LOAD")]
    return any(name == loads or (type(loads) is tuple and name in loads) for name in names for loads in loaded)


class _WatchedStep:
    """The plain step, watched for side effects."""

    def __init__(self, loop: _TrainingEpochLoop, results: _ResultCollection, *, needs_output: bool) -> None:
        self.model = loop.trainer.lightning_module
        self.outcome: Outcome | None = None
        self.obstacle: str | None = None
        self._trainer, self._results = loop.trainer, results
        self._loss: Tensor | None = None
        self._watch = Watch(loop.trainer, results, passes_on=True)
        self._step = plain_step(
            loop, needs_output=needs_output, before_backward=self._keep_loss, after_backward=self._keep_outcome
        )

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        self.outcome, self._loss = None, None
        with Watch(self._trainer, self._results, passes_on=True) as self._watch:
            output = self._step(batch, batch_idx, True)
        self.obstacle = self._watch.obstacle or (None if self.outcome else "training_step gave no loss")
        return output

    def _keep_loss(self, loss: Tensor) -> None:
        self._loss = loss.detach()

    def _keep_outcome(self) -> None:
        """Called before the gradients are clipped and the optimizer changes the parameters."""
        watch, loss = self._watch, self._loss
        watch.close()
        assert loss is not None
        gradients = [parameter.grad for parameter in self.model.parameters()]
        self.outcome = Outcome(loss, watch.logged, watch.appended, gradients, list(self.model.buffers())).copied()


def _replayed_step(loop: _TrainingEpochLoop, *, needs_output: bool) -> Callable[[Captured, list[Tensor]], Any]:
    """The plain step, with a replay instead of forward and backward."""
    optimize, progress = optimization_of(loop), loop.automatic_optimization.optim_progress.optimizer

    def step(captured: Captured, leaves: list[Tensor]) -> Any:
        progress.step.increment_ready()
        loss = captured.replay(leaves)
        captured.repeat_side_effects()
        progress.zero_grad.increment_ready()
        progress.zero_grad.increment_started()
        progress.zero_grad.increment_completed()
        optimize()
        return {"loss": loss.clone()} if needs_output else {}

    return step


def _first_line(error: BaseException) -> str:
    """A reason with the first line of the original error: a failed capture raises another one on exit."""
    while error.__context__ is not None:
        error = error.__context__
    line = str(error).strip().partition("\n")[0]
    return f"it cannot be captured ({type(error).__name__}: {line})"
