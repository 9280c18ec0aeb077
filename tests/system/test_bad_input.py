"""Invalid input: one message in the user's own words, with the file and line, exit code 2, and nothing in the store.

Files that cannot be read or resolved are tested in tests/unit/study; here the classes are real, and the
command line.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from hpo.__main__ import main
from hpo.errors import HpoError
from hpo.ipc.fork_server import ForkServer
from hpo.results.status import list_studies
from hpo.service.preflight import try_one_batch
from hpo.service.prepare import prepare
from hpo.store import Store
from hpo.store.schema import REVISION
from hpo.study.devices import Slot
from hpo.study.study_file import read_study

MINIMAL = """\
model: nets:Line
data: nets:Points
objective: {metric: val_loss, direction: minimize}
"""

NETS = """
from typing import Annotated

import torch
from pytorch_lightning import LightningDataModule, LightningModule

from hpo.space import Choice, Float, Int


class Line(LightningModule):
    def __init__(self, features: int, lr: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.1,
                 width: Annotated[int, Int(1, 8)] = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(torch.nn.Linear(features, width), torch.nn.Linear(width, 1))

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.layers(x), y)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


class Broken(Line):
    def loss(self, batch):
        raise ValueError("the shapes do not fit: 3 and 4")


class Dying(Line):
    def loss(self, batch):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)


class Needy(Line):
    def __init__(self, vocabulary: int, **rest) -> None:
        super().__init__(**rest)


class Muddled(Line):
    def __init__(self, features: int, width: Annotated[int, Int(1, 8)] = 99) -> None:
        super().__init__(features)


class Bare:
    pass


class Points(LightningDataModule):
    features = 3

    def __init__(self, batch_size: Annotated[int, Choice(4, 8)] = 8, rows: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage=None):
        x = torch.linspace(0, 1, self.hparams["rows"] * 3).reshape(-1, 3)
        self.points = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.points, batch_size=self.hparams["batch_size"])

    def val_dataloader(self):
        return torch.utils.data.DataLoader(self.points, batch_size=32)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder whose modules fail in every way."""
    folder = tmp_path_factory.mktemp("project")
    modules = {
        "nets": NETS,
        "angry": "import os\n\nraise RuntimeError('no licence found')\n",
        "needs": "import not_installed_anywhere\n",
        "typo": "def forward(x:\n    pass\n",
        "quits": "import sys\n\nsys.exit(3)\n",
        "dies": "import os\n\nos._exit(3)\n",
    }
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "line.yaml").write_text(MINIMAL)
    return folder


def try_out(file: Path, *, server: ForkServer, project: Path) -> None:
    with prepare(*read_study(file), server=server, project=project) as prepared:
        try_one_batch(prepared, slot=Slot(0, (), 1, 1))


@pytest.fixture
def refusal(server: ForkServer, project: Path, tmp_path: Path) -> Callable[[str], str]:
    """Everything that `hpo run` does with a study file before the first trial, up to the message."""

    def refuse(text: str) -> str:
        file = tmp_path / "study.yaml"
        file.write_text(text)
        with pytest.raises(HpoError) as caught:
            try_out(file, server=server, project=project)
        message = str(caught.value)
        assert caught.value.exit_code == 2
        assert "Traceback" not in message
        return message.replace(f"{tmp_path}/", "").replace(str(project), "PROJECT")

    return refuse


def with_model(label: str) -> str:
    return MINIMAL.replace("nets:Line", label)


def with_data(label: str) -> str:
    return MINIMAL.replace("nets:Points", label)


# ---- classes that cannot be used


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_model("nest:Line"),
            "study.yaml:1: model: nest:Line: there is no module 'nest'. Searched PROJECT, which holds angry.py, "
            "dies.py, needs.py, nets.py, quits.py, typo.py, and the installed packages. Another project folder is "
            "given with --project.",
        ),
        (with_data("nets.more:Points"), "study.yaml:2: data: nets.more:Points: there is no module 'nets.more'."),
        (
            with_model("angry:Line"),
            "study.yaml:1: model: angry:Line: importing angry failed: RuntimeError: no licence found "
            "(PROJECT/angry.py, line 3)",
        ),
        (
            with_model("needs:Line"),
            "study.yaml:1: model: needs:Line: importing needs failed: No module named 'not_installed_anywhere' "
            "(PROJECT/needs.py, line 1)",
        ),
        (with_model("typo:Line"), "study.yaml:1: model: typo:Line: importing typo failed: SyntaxError: "),
        (with_model("quits:Line"), "study.yaml:1: model: quits:Line: importing quits failed: SystemExit: 3"),
        (with_model("dies:Line"), "study.yaml:1: model: importing dies:Line and nets:Points ended the importing"),
        (
            with_model("nets:Lien"),
            "study.yaml:1: model: nets:Lien: nets (PROJECT/nets.py) has no class 'Lien', did you mean 'Line'? "
            "It has Line, Broken, Dying, Needy, Muddled, Bare, Points.",
        ),
        (with_model("nets:Zebra"), "study.yaml:1: model: nets:Zebra: nets (PROJECT/nets.py) has no class 'Zebra'. It "),
        (with_model("nets:Bare"), "study.yaml:1: model: nets:Bare is not a LightningModule: it derives from nothing"),
        (
            with_model("nets:Points").replace("data: nets:Points", "data: nets:Line"),
            "study.yaml:1: model: nets:Points is not a LightningModule: it derives from LightningDataModule",
        ),
        (
            with_data("nets:Broken"),
            "study.yaml:2: data: nets:Broken is not a LightningDataModule: it derives from Line",
        ),
        (with_model("nets:Muddled"), "study.yaml:1: model: nets:Muddled: the default 99 of 'width' lies outside 1"),
    ],
)
def test_the_error_of_an_unusable_class_names_the_reason(
    refusal: Callable[[str], str], text: str, message: str
) -> None:
    assert refusal(text).startswith(message)


# ---- one batch before the first trial


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL.replace("val_loss", "val_los"),
            "study.yaml:3: objective: the model never logs 'val_los', did you mean 'val_loss'? After 10 epochs it had "
            "logged val_loss. Log it in validation_step with self.log('val_los', ...)",
        ),
        (
            with_model("nets:Needy"),
            "study.yaml:1: model: one batch failed: Needy needs 'vocabulary': it is not searched, the study file does "
            "not give it (model: {class: ..., vocabulary: ...}), and Points has no attribute of that name",
        ),
        (
            with_model("nets:Broken"),
            "study.yaml:1: model: one batch failed: ValueError: the shapes do not fit: 3 and 4\n"
            "  PROJECT/nets.py, line 33: raise ValueError(",
        ),
        (
            with_data("{class: nets:Points, rows: many}"),
            "study.yaml:2: data: one batch failed: TypeError: ",
        ),
        (with_data("{class: nets:Points, rows: 0}"), "study.yaml:2: data: nets:Points gave no batches to train on"),
        (with_model("nets:Dying"), "study.yaml:1: model: the process that tried one batch exited without reporting"),
    ],
)
def test_errors_of_the_first_batch_are_reported_before_the_first_trial(
    refusal: Callable[[str], str], text: str, message: str
) -> None:
    assert refusal(text).startswith(message)


# ---- resources, devices and algorithms that do not exist


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampler: tpee\n", "study.yaml:4: sampler: 'tpee' is not known, did you mean 'tpe'? Known: auto, gp"),
        ("pruner: {name: ashaa}\n", "study.yaml:4: pruner: 'ashaa' is not known, did you mean 'asha'? Known: asha, "),
        ("sampler: {name: tpe, seeed: 3}\n", "study.yaml:4: sampler: tpe has no option 'seeed', did you mean 'seed'?"),
        ("pruner: {name: asha, etaa: 3}\n", "study.yaml:4: pruner: asha has no option 'etaa', did you mean 'eta'?"),
        ("pruner: {name: asha, eta: 1}\n", "study.yaml:4: pruner: asha: eta 1 should be a whole number, 2 or more"),
        ("sampler: {class: collections:Counter}\n", "study.yaml:4: sampler: collections:Counter is no optuna BaseSamp"),
        ("pruner: {class: nowhere:Pruner}\n", "study.yaml:4: pruner: nowhere:Pruner: there is no module 'nowhere'."),
        (
            "sampler: grid\n",
            "study.yaml:4: sampler: grid needs a finite number of values: give lr a list of values or a step "
            "(space: {lr: [...]})",
        ),
        ("space: {widht: 3}\n", "study.yaml:4: space.widht: 'widht' is not searched by nets:Line or nets:Points"),
        ("space: {lr: {low: 0}}\n", "study.yaml:4: space.lr: 'lr': a log range must start above 0, not at 0"),
        ("space: {batch_size: [4, few]}\n", "study.yaml:4: space.batch_size: 'batch_size': 'few' is not one of 4, 8"),
        ("space: {lr: 0.1, width: 2, batch_size: 8}\n", "study.yaml:4: space: everything is pinned: there is nothing"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_line(
    refusal: Callable[[str], str], text: str, message: str
) -> None:
    assert refusal(MINIMAL + text).startswith(message)


def test_an_argument_that_no_class_takes_is_refused(refusal: Callable[[str], str]) -> None:
    message = refusal(with_model("{class: nets:Line, depth: 3}"))

    assert message == (
        "study.yaml:1: model.depth: nets:Line takes no argument 'depth', did you mean 'width'?"
        " It takes features, lr, width"
    )


# ---- the whole command, in processes of its own


@pytest.fixture(scope="module")
def refused(project: Path) -> dict[str, tuple[subprocess.CompletedProcess[str], Path]]:
    """`hpo run` of studies that cannot be, each with a store of its own; two at a time."""
    texts = {
        "several": MINIMAL + "bugdet: 3\nepochs: many\nresources: {slotz: 1}\n",
        "unlogged": MINIMAL.replace("val_loss", "accuracy"),
        "broken": with_model("nets:Broken"),
    }

    def run(name: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        (project / f"{name}.yaml").write_text(texts[name])
        store = project / f"{name}.db"
        command = [sys.executable, "-m", "hpo", "run", f"{name}.yaml", "--store", str(store), "--artifacts", "art"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
        return done, store

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(texts, pool.map(run, texts), strict=True))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "several",
            [
                "error: several.yaml:4: bugdet: unknown key, did you mean 'budget'?",
                "several.yaml:5: epochs: ",
                "several.yaml:6: resources.slotz: unknown key, did you mean 'slots'?",
            ],
        ),
        ("unlogged", ["error: unlogged.yaml:3: objective: the model never logs 'accuracy'. After 10 epochs"]),
        ("broken", ["error: broken.yaml:1: model: one batch failed: ValueError: the shapes do not fit", "  "]),
    ],
)
def test_a_study_that_cannot_be_ends_with_one_message_and_leaves_no_study(
    name: str, lines: list[str], refused: dict[str, tuple[subprocess.CompletedProcess[str], Path]]
) -> None:
    done, store = refused[name]
    shown = [line for line in done.stderr.splitlines() if " INFO " not in line]

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(shown) == len(lines), done.stderr
    for line, start in zip(shown, lines, strict=True):
        assert line.startswith(start)
    if store.exists():
        with Store.open(str(store)) as opened:
            assert list_studies(opened) == []
    assert not (store.parent / "art").exists()


# ---- the command line itself, in this process


@pytest.fixture
def hpo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`hpo ARGUMENTS` in an empty folder: (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("HPO_STORE", "HPO_PROJECT", "HPO_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["hpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        assert "Traceback" not in printed.out + printed.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.err

    return run


HpoHere = Callable[..., tuple[int, str]]
READING = [
    *(("ls",), ("status", "digits"), ("trials", "digits"), ("best", "digits"), ("diff", "digits", "digits-dnn")),
    *(("predict", "digits", "/"), ("replay", "digits", "0"), ("finalize", "digits"), ("export", "digits")),
    *(("importance", "digits"), ("report", "digits"), ("export", "digits", "--format", "archive")),
]


@pytest.mark.parametrize("verb", READING, ids=lambda verb: verb[0])
def test_a_store_that_does_not_exist_is_not_created_by_reading(
    verb: tuple[str, ...], hpo: HpoHere, tmp_path: Path
) -> None:
    code, printed = hpo(*verb, "--store", "none.db")

    assert code == 2
    assert printed.startswith(
        f"error: there is no store {tmp_path}/none.db. 'hpo run STUDY.yaml' or 'hpo db init' creates"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [verb for verb in READING if len(verb) > 1], ids=lambda verb: verb[0])
def test_a_study_that_does_not_exist_names_the_nearest(verb: tuple[str, ...], hpo: HpoHere, tmp_path: Path) -> None:
    with Store.create("some.db") as store, store.write() as connection:
        connection.exec_driver_sql("INSERT INTO studies (study_name) VALUES ('digits-dnn')")

    code, printed = hpo(*verb, "--store", "some.db")

    assert code == 2
    assert printed == "error: the store has no study 'digits', did you mean 'digits-dnn'? It has digits-dnn.\n"


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (
            "0000",
            f"has the older schema 0000, this hpo-service needs {REVISION}: stop its workers, then run "
            "'hpo db upgrade'",
        ),
        ("9999", f"was written by a newer hpo-service (schema 9999, this one has {REVISION}): update this one"),
    ],
)
@pytest.mark.parametrize("verb", [*READING, ("run", "line.yaml"), ("db", "init")], ids=lambda verb: verb[0])
def test_a_store_of_another_schema_is_left_as_it_is(
    verb: tuple[str, ...], revision: str, message: str, hpo: HpoHere, tmp_path: Path
) -> None:
    Store.create("some.db").close()
    (tmp_path / "line.yaml").write_text(MINIMAL)
    with closing(sqlite3.connect("some.db")) as connection, connection:
        connection.execute("UPDATE hpo_alembic_version SET version_num = ?", (revision,))

    code, printed = hpo(*verb, "--store", "some.db")

    assert code == 2
    assert printed.startswith(f"error: the store sqlite:///{tmp_path}/some.db {message}")
    with closing(sqlite3.connect("some.db")) as connection:
        assert connection.execute("SELECT version_num FROM hpo_alembic_version").fetchall() == [(revision,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "line.yml"), "error: line.yml: there is no such file, did you mean 'line.yaml'? ./ holds line.yaml."),
        (("run", "."), "error: .: is a folder, not a study file"),
        (("check", "nowhere/a.yaml"), "error: nowhere/a.yaml: there is no such file\n"),
        (("run", "line.yaml", "--set", "epochs"), "error: --set epochs: write it as key=value"),
        (("run", "line.yaml", "--set", "epochs=0"), "error: --set epochs=0: epochs: should be greater than or equal"),
        (("run", "line.yaml", "--name", "a/b"), "error: --name: study: "),
        (
            ("submit", "line.yaml", "--set", "resources.trials_per_device=some"),
            "error: --set resources.trials_per_device=some: resources.trials_per_device: ",
        ),
        (("run", "line.yaml", "--project", "nowhere"), "error: --project {here}/nowhere: there is no such folder"),
        (
            ("run", "line.yaml", "--store", "mysql://me:secret@db/x"),
            "error: the store's URL has the unknown scheme 'my",
        ),
        (("ls", "--store", "line.yaml"), "error: the store {here}/line.yaml is not a SQLite database"),
        (("run", "line.yaml", "--store", "nowhere/x.db"), "error: "),
        (("run", "line.yaml", "--artifacts", "s3://bucket/x"), "error: --artifacts s3:"),
        (
            ("run", "line.yaml", "--set", "resources.accelerator=gpu"),
            "error: --set resources.accelerator=gpu: resources.accelerator: gpu: CUDA shows no GPU on this machine",
        ),
        (("init", "full"), "error: full is there already and not empty: name a new folder"),
        (
            ("trials", "digits", "--where", "lr <"),
            "error: --where: lr <: something is missing at its end. An expression",
        ),
        (
            ("trials", "digits", "--where", "__import__('os').system('touch x')"),
            "error: --where: character 1, __import__('os').system('touch x'): a call is not allowed. An expression ",
        ),
        (("best", "digits", "--where", "lr = 1"), "error: --where: character 4, =: write == to compare\n"),
        (("best", "digits", "--by", "lr,"), "error: --by: a name is missing: names are separated by commas"),
        (("worker", "--until-idle", "--slots", "0"), "Usage: "),
        (("run", "line.yaml", "--trials", "many"), "Usage: "),
        (("replay", "digits"), "Usage: "),
        (("replay", "digits", "first"), "Usage: "),
        (("replay", "digits", "-1"), "Usage: "),
        (("replay", "digits", "0", "--epochs", "0"), "Usage: "),
        (("replay", "digits", "0", "--project", "nowhere"), "error: --project {here}/nowhere: there is no such folder"),
        (("import", "none.zip"), "error: none.zip: there is no such file\n"),
        (("import", "full"), "error: full is a folder: name an archive, a file that 'hpo export --format archive' has"),
        (("import", "line.yaml"), "error: line.yaml is not an archive of a study, or not all of it: 'hpo export STUDY"),
        (("import",), "Usage: "),
        (("export", "digits", "--format", "archive", "--search"), "error: --format archive is the whole study: leave"),
        (("rnu", "line.yaml"), "Usage: "),
        (("run",), "Usage: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_that_cannot_be_ends_with_one_message(
    arguments: tuple[str, ...], message: str, hpo: HpoHere, tmp_path: Path
) -> None:
    (tmp_path / "line.yaml").write_text(MINIMAL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")

    code, printed = hpo(*arguments)

    assert code == 2
    assert printed.startswith(message.format(here=tmp_path))
    assert "secret" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "line.yaml"]


def test_more_slots_than_gpus_are_refused(hpo: HpoHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line.yaml").write_text(MINIMAL)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    code, printed = hpo("run", "line.yaml", "--slots", 3)

    assert (code, printed) == (2, "error: 3 slots of 1 GPU each: at most 2 fit on 2 GPUs\n")


def test_every_error_is_one_that_the_user_can_fix_except_a_failed_run() -> None:
    from hpo.errors import LoadError, RunError, SpecError, StoreError

    assert [error.exit_code for error in (HpoError, SpecError, LoadError, StoreError, RunError)] == [2, 2, 2, 2, 1]
