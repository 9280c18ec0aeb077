"""What a process has loaded in the end: importing torch takes seconds, so only what trains does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from projects.stored import add_trial, folder_of
from projects.synthetic import create_study

from hpo.store import Store, StoreUrl
from hpo.store.optuna_storage import optuna_storage

RUN_AND_TELL = """
import sys
from hpo.__main__ import main
sys.argv = ["hpo", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
for name in ("torch", "pytorch_lightning", "optuna", "pandas"):
    if name in sys.modules:
        print("LOADED", name, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with a small study."""
    url = f"sqlite:///{tmp_path_factory.mktemp('architecture')}/hpo.db"
    Store.create(url).close()
    with optuna_storage(StoreUrl.parse(url)) as storage:
        study = optuna.create_study(study_name="small", storage=storage)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    return url


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "best small",
        "best small --json",
        "status small",
        "trials small",
        "ls",
        "run --help",
        "doctor",
        "doctor --json",
        "db check",
        "clean --artifacts none",
        "clean --json --artifacts none",
    ],
)
def test_reading_verbs_load_neither_torch_nor_optuna_nor_pandas(command: str, store: str) -> None:
    words = command.split()
    arguments = words if "--help" in words else [*words, "--store", store]

    done = subprocess.run([sys.executable, "-c", RUN_AND_TELL, *arguments], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    assert "LOADED" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "enqueue synthetic lr=0.01",
        "pause synthetic",
        "set synthetic trials=+1",
        "logs synthetic 0",
        "rename synthetic renamed",
        "delete synthetic --yes",
        "clean --yes",
    ],
)
def test_verbs_that_manage_studies_load_neither_torch_nor_optuna_nor_pandas(command: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/hpo.db"
    with Store.create(url) as store:
        study = create_study(store)
        folder = folder_of(tmp_path, study, 0)
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text("epoch 1\n")
        add_trial(store, study)
    arguments = [sys.executable, "-c", RUN_AND_TELL, *command.split(), "--store", url]
    environment = os.environ | {"HPO_ARTIFACTS": str(tmp_path)}

    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "LOADED" not in done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "hpo",
        "hpo.space",
        "hpo.ipc.messages",
        "hpo.study.job",
        "hpo.study.states",
        "hpo.worker.loop",
        "hpo.service.assembly",
        "hpo.dashboard.application",
        "hpo.web.serve",
        "hpo.results.study",
        "hpo.service.study",
    ],
)
def test_modules_that_do_not_train_load_no_torch(module: str) -> None:
    unwanted = "{'torch', 'pytorch_lightning', 'pandas'}"
    if module in ("hpo", "hpo.space", "hpo.ipc.messages", "hpo.study.job", "hpo.study.states"):
        # every trial process and every model has these
        unwanted = "{'torch', 'pytorch_lightning', 'pandas', 'optuna', 'sqlalchemy', 'pydantic'}"
    if module in ("hpo.results.study", "hpo.service.study"):  # which `hpo best` waits for
        unwanted = "{'torch', 'pytorch_lightning', 'pandas', 'optuna', 'pydantic'}"
    code = f"import sys, {module}; print(sorted({unwanted} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)

    assert done.stdout.strip() == "[]"
