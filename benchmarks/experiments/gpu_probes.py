"""What torch, the driver and the GPU do: a line `ROW name | ok, FAILED or left out | what was found` for each probe."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

import torch

Probe = Callable[[], str]
GPU = torch.device("cuda", 0)
ROUNDS = 20


class UnexpectedError(Exception):
    """What was found is not what the project relies on."""


def expect(fact: bool, found: str) -> str:
    if not fact:
        raise UnexpectedError(found)
    return found


# ---- with and without a GPU


def listing() -> str:
    """The GPUs that the project finds are those of torch."""
    from hpo.study.gpus import visible_gpus

    began = time.monotonic()
    found = visible_gpus()
    seconds = time.monotonic() - began
    said = f"{', '.join(f'{gpu.name} {gpu.model} {gpu.uuid[:12]}' for gpu in found) or 'none'}, in {seconds:.1f} s"
    return expect(len(found) == torch.cuda.device_count(), f"{said}; torch counts {torch.cuda.device_count()}")


def forks() -> str:
    """Forks of a process with all imports of a trial can use CUDA."""
    code = (
        "import os, hpo.training.preload, hpo.training.trial, torch\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    if torch.cuda.is_available(): torch.ones(1, device='cuda').sum().item()\n"
        "    os._exit(int(torch.cuda._is_in_bad_fork()))\n"
        "print(torch.cuda.is_initialized(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    said = _python(code)
    return expect(said == "False 0", f"initialised before the fork, exit code of the fork: {said}")


def settings() -> str:
    """A process in which TF32 was chosen in torch's newer way can be compared."""
    code = (
        "import torch\nfrom pathlib import Path\n"
        "from hpo.training.process_state import ProcessState\n"
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'\n"
        "print(repr(ProcessState(Path('.')).changed()))"
    )
    said = _python(code)
    return expect(said == "''", said)


# ---- with a GPU


def start_up() -> str:
    code = (
        "import time, torch; a = time.perf_counter(); x = torch.randn(64, 64, device='cuda')\n"
        "torch.cuda.synchronize(); b = time.perf_counter(); (x @ x).sum().item(); c = time.perf_counter()\n"
        "torch.nn.functional.conv2d(x[None, None], x[None, None, :3, :3]).sum().item(); d = time.perf_counter()\n"
        "free, total = torch.cuda.mem_get_info()\n"
        "print(f'context {b - a:.2f} s, cuBLAS {c - b:.2f} s, cuDNN {d - c:.2f} s, {(total - free) / 2**20:.0f} MiB')"
    )
    return _python(code)


def failed_captures() -> str:
    """After captures that failed memory can be freed, nothing stays reserved, and computing goes on."""
    from hpo.training.lean.cuda import CudaGraph

    def only_captured() -> float:
        x = torch.rand(1 << 22, device=GPU) * 2
        return x.sum().item() if torch.cuda.is_current_stream_capturing() else 0.0

    torch.cuda.empty_cache()
    before, reasons = torch.cuda.memory_reserved(), set()
    for _ in range(6):
        try:
            CudaGraph(GPU).capture(only_captured)
        except Exception as error:
            reasons.add(type(error).__name__)
    large = torch.empty(1 << 28, device=GPU)
    held = torch.cuda.memory_reserved()
    del large
    torch.cuda.empty_cache()
    freed, left = held - torch.cuda.memory_reserved(), torch.cuda.memory_reserved() - before
    x = torch.ones(8, device=GPU)
    graph = CudaGraph(GPU)
    y = graph.capture(lambda: x * 2)
    x.fill_(3)
    graph.replay()
    said = f"{', '.join(sorted(reasons))}; {freed >> 20} MiB freed, {left >> 20} MiB stay reserved"
    return expect(freed >= 1 << 30 and left <= 0 and y[0].item() == 6.0, f"{said}, the next graph gives {y[0].item()}")


def dry_runs() -> str:
    """A step that reads a value on the host is refused before anything is captured."""
    from hpo.training.lean import cuda

    before = cuda._failures
    try:
        cuda.CudaGraph(GPU).capture(lambda: torch.ones(1, device=GPU).item())
    except RuntimeError as error:
        return expect(cuda._failures == before, str(error).splitlines()[0][:100])
    raise UnexpectedError("captured")


def pageable_copies() -> str:
    """A copy from memory that is gone at the replay is refused, or harmless."""
    from hpo.training.lean.cuda import CudaGraph

    graph, x = CudaGraph(GPU), torch.zeros(4, device=GPU)
    try:
        y = graph.capture(lambda: x + torch.tensor([2.0, 2, 2, 2]).to(GPU, non_blocking=True))
    except RuntimeError as error:
        return f"refused: {str(error).splitlines()[0][:100]}"
    junk = [torch.full((4,), float(number)) for number in range(100, 400)]
    graph.replay()
    return expect(y.tolist() == [2.0] * 4, f"captured, and a replay gives {y.tolist()} beside {len(junk)} others")


def dropout() -> str:
    """A replay draws what a computed step would."""
    from hpo.training.lean.cuda import CudaGraph

    x = torch.ones(1 << 12, device=GPU)
    torch.cuda.manual_seed(3)
    state = torch.cuda.get_rng_state()
    expected = [torch.nn.functional.dropout(x) for _ in range(3)]
    graph = CudaGraph(GPU)
    y = graph.capture(lambda: torch.nn.functional.dropout(x))
    torch.cuda.set_rng_state(state)
    for one in expected:
        graph.replay()
        expect(torch.equal(y, one), "other numbers")
    return "the same numbers"


def parts_of_a_step() -> str:
    """Microseconds on the host, and until the GPU has finished, of the parts of a perceptron's step of 64."""
    from hpo.training.lean.cuda import CudaGraph

    nn = torch.nn
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)).to(GPU)
    x, y = torch.randn(64, 784, device=GPU), torch.randint(0, 10, (64,), device=GPU)
    parameters, optimizer = list(net.parameters()), torch.optim.Adam(net.parameters(), fused=True)

    def gradients() -> list[torch.Tensor | None]:
        for parameter in parameters:
            parameter.grad = None
        nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
        return [parameter.grad for parameter in parameters]

    gradients()
    optimizer.step()
    graph = CudaGraph(GPU)
    for parameter, gradient in zip(parameters, graph.capture(gradients), strict=True):
        parameter.grad = gradient
    samples, rows = torch.randn(60_000, 784, device=GPU), torch.arange(64, device=GPU)
    parts: dict[str, Callable[[], object]] = {
        "replayed": graph.replay,
        "fused Adam": optimizer.step,
        "rows taken": lambda: samples.index_select(0, rows),
        "computed": gradients,
    }
    said = []
    for name, part in parts.items():
        for _ in range(50):
            part()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(500):
            part()
        host = time.perf_counter() - began
        torch.cuda.synchronize()
        said.append(f"{name} {host / 500 * 1e6:.0f}/{(time.perf_counter() - began) / 500 * 1e6:.0f}")
    return "us on the host/in all: " + ", ".join(said)


def memory_over_trials() -> str:
    """The memory of a process that trains twenty trials, one after the other, stays the same from the second on."""
    code = f"""
import logging, pathlib, warnings
import hpo.training.preload, torch, pytorch_lightning as pl
from hpo.training.executor import Executor, use
from hpo.training.process_state import ProcessState
from models.cnn import CNN
from models.data import Digits
warnings.simplefilter("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
state, kept, bytes_ = ProcessState(pathlib.Path("/nowhere")), None, []
for number in range({ROUNDS}):
    data = Digits(batch_size=32)
    if kept is not None: assert data.take_over(kept)
    data.setup("fit")
    model = CNN(input_shape=data.input_shape, outputs=data.outputs)
    trainer = pl.Trainer(accelerator="gpu", devices=1, max_epochs=2, logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)
    use(Executor("lean"), trainer, print)
    trainer.fit(model, datamodule=data)
    data.trainer, kept = None, data
    del model, trainer
    state.tidy()
    free, total = torch.cuda.mem_get_info()
    bytes_.append((torch.cuda.memory_allocated(), total - free))
print(*(tensors >> 10 for tensors, _ in (bytes_[1], bytes_[-1])), bytes_[-1][1] >> 20, state.changed() or "clean")
"""
    said = _python(code)
    second, last, used, state = said.split(maxsplit=3)
    found = f"{second} KiB of tensors after the 2nd, {last} after the {ROUNDS}th; {used} MiB of the GPU in use; {state}"
    return expect(second == last and state == "clean", found)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise UnexpectedError((done.stderr.strip().splitlines() or ["no output"])[-1][:200])
    return done.stdout.strip()


ANYWHERE: tuple[Probe, ...] = (listing, forks, settings)
ON_A_GPU: tuple[Probe, ...] = (
    start_up, failed_captures, dry_runs, pageable_copies, dropout, memory_over_trials, parts_of_a_step,
)  # fmt: skip


def main() -> None:
    has_gpu = torch.cuda.is_available()
    for probe in (*ANYWHERE, *ON_A_GPU):
        name = probe.__name__.replace("_", " ")
        if probe in ON_A_GPU and not has_gpu:
            print(f"ROW {name} | left out | no GPU that torch can use", flush=True)
            continue
        try:
            state, what = "ok", probe()
        except Exception as error:
            traceback.print_exc()
            state, what = "FAILED", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        print(f"ROW {name} | {state} | {what}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    main()
