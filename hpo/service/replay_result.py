"""The result of a replay: what is bit-equal, what differs, and how that reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hpo.printable import all_of, counted, in_a_line
from hpo.study.length import Unit

SHOWN_TENSORS = 5


@dataclass(frozen=True)
class Difference:
    """A metric, or a tensor of the weights, that is not bit-equal.

    Attributes:
        epoch: the first one, or step, at which the metric differs; of a tensor, the one whose weights were kept.
        then: the metric's value in the trial; None where it was not logged, or not finite; and of a tensor.
        now: its value in the replay, likewise.
        largest: absolute difference, over all epochs or numbers; None where there is none to compute.
        count: epochs at which it differs.
    """

    name: str
    epoch: int
    then: float | None
    now: float | None
    largest: float | None
    count: int = 0
    kind: Literal["metric", "tensor"] = "metric"

    def words(self, unit: Unit) -> str:
        """In a line."""
        name = in_a_line(self.name)
        if self.kind == "tensor":
            apart = "other shape, type or content" if self.largest is None else f"at most {self.largest:.2g} apart"
            return f"{name}: {apart}"
        apart = "" if self.largest is None else f", at most {self.largest:.2g} apart"
        times = f"; it differs in {unit.counted(self.count)}{apart}" if self.count > 1 or apart else ""
        return f"{name}: differs at {unit} {self.epoch}, {_value(self.then)} then, {_value(self.now)} now{times}"


@dataclass(frozen=True)
class Replay:
    """A trial that was trained again, compared with what its study has of it.

    Attributes:
        unit: of its epochs: `epoch` or `step`.
        epochs: that were trained again.
        epochs_of_trial: that the trial has trained.
        metrics: that were compared at each of them.
        differences: empty where all is bit-equal.
        tensors: of the weights, which were compared; 0 where they were not.
        weights_epoch: the epoch whose weights were kept.
        weights_note: why the weights were not compared; empty where they were.
        provenance_changes: what differs from when the trial was trained, in words: versions, device, data, code, ...
        notes: what changed while the trial was trained, and what was accepted since.
        is_provenance_known: it was recorded with the trial.
        resumed_after: the epochs after which attempts of the trial were resumed.
        device: of the replay: `cpu`, `gpu 0`.
    """

    study: str
    trial: int
    unit: Unit
    epochs: int
    epochs_of_trial: int
    metrics: tuple[str, ...]
    differences: tuple[Difference, ...]
    tensors: int
    weights_epoch: int | None
    weights_note: str
    provenance_changes: tuple[str, ...]
    notes: tuple[str, ...]
    is_provenance_known: bool
    resumed_after: tuple[int, ...]
    device: str

    @property
    def is_equal(self) -> bool:
        """Whether every metric of every epoch, and the weights where they were compared, are bit-equal."""
        return not self.differences

    @property
    def verdict(self) -> str:
        """One line: reproduced, or not."""
        if self.is_equal:
            weights = f", and the weights of {self.unit} {self.weights_epoch}" if self.tensors else ""
            metrics = all_of(len(self.metrics), "metric")
            return f"reproduced bit by bit: {metrics} in {self.unit.counted(self.epochs)}{weights}"
        differing = [difference for difference in self.differences if difference.kind == "metric"]
        if not differing:
            return "not reproduced: the metrics are bit-equal, and the weights differ"
        first = min(difference.epoch for difference in differing)
        names = ", ".join(in_a_line(difference.name) for difference in differing)
        are_weights_equal = self.tensors and len(differing) == len(self.differences)
        but = f"; the weights of {self.unit} {self.weights_epoch} are bit-equal" if are_weights_equal else ""
        verb = "differs" if len(differing) == 1 else "differ"
        return f"not reproduced: from {self.unit} {first} on, {names} {verb}{but}"

    def to_json(self) -> dict[str, Any]:
        """What `hpo replay --json` prints."""
        plain = {key: value for key, value in asdict(self).items() if key not in ("metrics", "differences")}
        return {
            **plain,
            "unit": self.unit.value,
            "metrics": list(self.metrics),
            "differences": [asdict(difference) for difference in self.differences],
            "provenance_changes": list(self.provenance_changes),
            "notes": list(self.notes),
            "resumed_after": list(self.resumed_after),
            "is_equal": self.is_equal,
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        return "\n".join([self._heading, *(f"  {line}" for line in self._lines()), self.verdict])

    @property
    def _heading(self) -> str:
        part = "" if self.epochs >= self.epochs_of_trial else f" of {self.epochs_of_trial}"
        trained = f"{self.unit.counted(self.epochs)}{part}"
        return f"{in_a_line(self.study)}, trial {self.trial}: trained again for {trained} on {self.device}"

    def _lines(self) -> Iterator[str]:
        metrics = [difference for difference in self.differences if difference.kind == "metric"]
        tensors = [difference for difference in self.differences if difference.kind == "tensor"]
        changed = {difference.name for difference in metrics}
        if equal := [in_a_line(name) for name in self.metrics if name not in changed]:
            yield f"bit-equal: {', '.join(equal)}"
        for difference in metrics:
            yield difference.words(self.unit)
        if self.weights_note:
            yield f"weights: not compared: {self.weights_note}"
        elif not tensors:
            yield f"weights after {self.unit} {self.weights_epoch}: bit-equal in {counted(self.tensors, 'tensor')}"
        else:
            yield f"weights after {self.unit} {self.weights_epoch}: {len(tensors)} of {self.tensors} tensors differ"
            for difference in tensors[:SHOWN_TENSORS]:
                yield f"  {difference.words(self.unit)}"
        yield from self._reasons()

    def _reasons(self) -> Iterator[str]:
        for note in self.notes:
            yield f"while it was trained: {note}" if note.startswith("attempt ") else note
        if not self.is_provenance_known:
            yield "from when it was trained, no versions, device or code are recorded"
        elif self.provenance_changes:
            yield "what differs from when it was trained:"
            for change in self.provenance_changes:
                yield f"  {change}"
        elif self.is_equal:
            yield "versions, device, data and code are as when it was trained"
        else:
            yield f"nothing that is recorded differs: {self._guess()}"

    def _guess(self) -> str:
        """What may differ that is not recorded."""
        first = min(difference.epoch for difference in self.differences)
        if resumed := [epoch for epoch in self.resumed_after if epoch < first]:
            return (
                f"an attempt was resumed after {self.unit} {resumed[-1]}, and something that its training draws on is "
                "in no checkpoint, such as the random numbers of a loader's persistent workers"
            )
        varies = ", or on operations of the GPU whose result varies" if self.device.startswith("gpu") else ""
        return (
            "its training draws on something that the seed does not determine, such as the time, or random numbers of "
            f"its own{varies}"
        )


def _value(number: float | None) -> str:
    return "nothing finite" if number is None else repr(number)
