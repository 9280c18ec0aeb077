"""What a cluster's launcher leaves in the environment does not reach the trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects.launch import Hpo

LAUNCHERS = {
    "slurm": {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "search",
        "SLURM_NTASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_NODELIST": "node[1-2]",
    },
    "torchrun": {
        "TORCHELASTIC_RUN_ID": "77",
        "WORLD_SIZE": "4",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "10.255.255.1",
        "MASTER_PORT": "29500",
    },
    "mpi": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMI_RANK": "3", "PMI_SIZE": "4"},
    "lsf": {"LSB_JOBID": "77", "LSB_DJOB_RANKFILE": "/absent", "LSB_DJOB_NUMPROC": "4"},
}


@pytest.fixture
def path_with_srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text("#!/bin/sh\nexit 1\n")
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.usefixtures("path_with_srun")
def test_a_worker_that_a_launcher_started_trains_its_trials(tmp_path: Path, launcher: str) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=LAUNCHERS[launcher])
    here.study("launched")

    code, output = here.run("run", "launched.yaml", "--trials", 1)

    assert code == 0, output
    assert here.counts("launched") == {"complete": 1}
    assert "srun" not in output + here.run("logs", "launched", 0)[1]


@pytest.mark.usefixtures("path_with_srun")
def test_a_trial_on_two_devices_has_ranks_of_its_own_below_a_launcher(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=LAUNCHERS["slurm"] | LAUNCHERS["torchrun"])
    here.study("ranks", resources={"accelerator": "cpu", "devices_per_trial": 2, "slots": 1})

    code, output = here.run("run", "ranks.yaml", "--trials", 1)

    assert code == 0, output
    assert here.counts("ranks") == {"complete": 1}
