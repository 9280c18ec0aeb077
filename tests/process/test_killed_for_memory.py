"""A trial process that the kernel kills because memory ran out, in a control group of little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects.launch import Hpo, finish

ENOUGH_FOR_A_WORKER = 3 << 30


@pytest.fixture
def small_group() -> Iterator[Path]:
    """The folder of a new control group; without the right to create one, there is nothing that could be tested."""
    version_1 = Path("/sys/fs/cgroup/memory")
    parent, limit = (version_1, "memory.limit_in_bytes") if version_1.is_dir() else (version_1.parent, "memory.max")
    group = parent / f"hpo-test-{os.getpid()}"
    try:
        group.mkdir()
        with (group / limit).open("r+") as file:  # where groups are not mounted, there is no such file
            file.write(str(ENOUGH_FOR_A_WORKER))
    except OSError as error:
        pytest.skip(f"a control group with a limit of memory cannot be created here: {error}")
    yield group
    group.rmdir()


def test_a_process_that_the_kernel_kills_for_its_memory_ran_out_of_memory(tmp_path: Path, small_group: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model = {"class": "projects.mishaps:Unlucky", "folder": str(tmp_path), "at": 1, "times": 2}
    space = {"does": ["eat"], "lr": 0.01}
    file = hpo.study("eats", model=model, space=space, epochs=3, budget={"trials": 1}, retries={"oom": 1, "crash": 5})
    enter = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
    command = [sys.executable, "-m", "hpo", "run", str(file), "--slots", "1", *hpo._options()]

    process = subprocess.Popen(
        [sys.executable, "-c", enter, str(small_group / "cgroup.procs"), *command],
        cwd=tmp_path,
        env=hpo._environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _, output = finish(process)

    (record,) = hpo.trials("eats")
    assert (record.state, record.cause) == ("failed", "out of memory"), output
    assert record.causes == ("out of memory", "out of memory")
    assert "the kernel killed the trial process, because memory ran out" in (record.error or "")
