"""Freed memory does not end a process after its trial; memory in use does."""

import os
import subprocess
import sys
import textwrap

from hpo.ipc.fork_server import MEMORY_IS_KEPT

TRIALS = """
    import sys
    from pathlib import Path

    import hpo.training.preload
    import torch
    from hpo.training.process_state import MOST_GROWTH_BYTES, ProcessState

    def train(pieces):  # as many tensors at once as a model and its gradients may be
        return [torch.ones(1 << 20) for _ in range(pieces)]

    state = ProcessState(Path.cwd())
    train(4)
    state.tidy()
    kept = train(3 * MOST_GROWTH_BYTES // (8 << 20))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    if sys.argv[1] == "frees":
        del kept
    after = int(Path("/proc/self/statm").read_text().split()[1])
    state.tidy()
    print(after > pages * 0.9, state.changed())
"""


def output_of(what: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(TRIALS), what],
        env={**MEMORY_IS_KEPT, **os.environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_process_that_has_freed_a_large_model_takes_another_trial() -> None:
    assert output_of("frees") == "True"  # it was still counted when it was free, and then given back


def test_a_process_that_keeps_a_large_model_takes_no_other_trial() -> None:
    assert output_of("holds") == "True its memory grows"
