"""Writes a network in a format, and reads it again as a function of its inputs, to be compared with the original."""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from hpo.errors import HpoError
from hpo.training.export.network import Network, Tensors

Function = Callable[[Tensors], list[Tensor]]
Shapes = list[list[int | str]]

ONNX, TORCH_EXPORT, SAFETENSORS = "onnx", "torch-export", "safetensors"
FILES = {ONNX: "model.onnx", TORCH_EXPORT: "model.pt2", SAFETENSORS: "model.safetensors"}
EXAMPLES = 5  # samples that the operations are followed with

_OPERATION = re.compile(r"OpOverload\(op='(?:\w+\.)?(\w+)")


def write_network(
    format: str, network: Network, inputs: Tensors, names: Sequence[str], path: Path, about: Mapping[str, str]
) -> tuple[Function, Shapes]:
    """Write the network to a file; what reads the file again, and the shape of each input.

    Args:
        format: one of FILES.
        inputs: an example, of several samples.
        names: of the inputs.
        about: texts for the head of a file of weights.

    Returns:
        The function, and shapes in which `batch` and `time` are any number.

    Raises:
        HpoError: the network cannot be written in this format.
    """
    if format == SAFETENSORS:
        return _write_weights(network, path, about), [["batch", *x.shape[1:]] for x in inputs]
    with _quietly():
        program = _followed(network, inputs)
        shapes = _shapes(program, inputs)
        if format == TORCH_EXPORT:
            torch.export.save(program, path)
            module = torch.export.load(path).module()
            return (lambda given: list(module(*given))), shapes
        _write_onnx(network, program, names, shapes, path)
    return _onnx_function(path), shapes


def _followed(network: Network, inputs: Tensors) -> ExportedProgram:
    """The network's operations, for any number of samples, and of steps where it takes any."""
    steps = {1: Dim.AUTO} if inputs[0].ndim == 3 else {}
    shapes = (tuple({0: Dim.DYNAMIC, **(steps if x.ndim == 3 else {})} for x in inputs),)
    problem: Exception | None = None
    for is_strict in (False, True):  # by running it, or by reading its code
        try:
            with torch.no_grad():
                return torch.export.export(network, inputs, dynamic_shapes=shapes, strict=is_strict)
        except Exception as error:  # of any kind, also of the user's code
            problem = problem or error
    who = type(network.model).__name__
    reason = next((line.strip() for line in str(problem).splitlines() if line.strip()), "")
    if "specialized it to be a constant" in str(problem):
        reason = (
            f"it works for batches of {len(inputs[0])} samples only, as its code makes a number of its input's shape"
        )
    raise HpoError(
        f"{who} cannot be exported, since its operations depend on the values of its inputs, or are not torch's: "
        f"{reason}. '--format {SAFETENSORS}' writes its weights"
    ) from problem


def _shapes(program: ExportedProgram, inputs: Tensors) -> Shapes:
    given = [node.meta["val"].shape for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    return [
        [_dimension(place, size, x.shape[place]) for place, size in enumerate(shape)]
        for shape, x in zip(given, inputs, strict=True)
    ]


def _dimension(place: int, size: Any, example: int) -> int | str:
    # Of a network that takes one number only, it is a symbol that stands for this number.
    return example if is_concrete_int(size) else "batch" if place == 0 else "time"


def _write_onnx(network: Network, program: ExportedProgram, names: Sequence[str], shapes: Shapes, path: Path) -> None:
    named = tuple({place: size for place, size in enumerate(shape) if isinstance(size, str)} for shape in shapes)
    try:
        found = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(names),
            output_names=network.outputs,
            dynamic_shapes=(named,),
            verbose=False,
        )
        assert found is not None
        found.save(path)
    except Exception as error:  # of any kind: it wraps many
        raise HpoError(_onnx_problem(error, type(network.model).__name__)) from error


def _onnx_problem(error: BaseException, who: str) -> str:
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    whole = "\n".join(texts)
    operations = sorted(set(_OPERATION.findall(whole))) if "No ONNX function found" in whole else []
    offer = f"'--format {TORCH_EXPORT}' writes the same network for torch"
    if operations:
        several = "operations" if len(operations) > 1 else "operation"
        return f"ONNX cannot represent the {several} {', '.join(operations)} of {who}: {offer}"
    lines = [line.strip() for line in texts[-1].splitlines() if line.strip()]
    return f"{who} cannot be written as ONNX: {lines[0] if lines else type(error).__name__}. {offer}"


def _onnx_function(path: Path) -> Function:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(given: Tensors) -> list[Tensor]:
        arrays = dict(zip(names, (x.numpy() for x in given), strict=True))
        return [torch.from_numpy(found) for found in session.run(None, arrays)]

    return run


def _write_weights(network: Network, path: Path, about: Mapping[str, str]) -> Function:
    from safetensors.torch import load_file, save_file

    weights = {name: value.detach().clone().contiguous() for name, value in network.model.state_dict().items()}
    save_file(weights, path, metadata=dict(about))
    twin = copy.deepcopy(network)
    for value in twin.model.state_dict().values():
        value.zero_()
    twin.model.load_state_dict(load_file(path))
    return lambda given: list(twin(*given))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch and its libraries tell of their own insides."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
