"""Every verb prints hostile texts of users, of other programs' studies and of exceptions as text, nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import sys
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import optuna
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from projects.launch import Hpo
from projects.synthetic import Claimant, create_study
from sqlalchemy import select, update

from hpo.__main__ import main
from hpo.printable import in_a_line, printable
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_epochs, hpo_trials, hpo_workers, studies, trial_params, trials
from hpo.study.job import LOG
from hpo.study.naming import trial_folder

STYLES = re.compile(r"\x1b\[[0-9;]*m")  # what Rich itself sends to a terminal, but for the cursor

MARKUP = ("[/a]", "[bold]x", "[link=file:///etc]x[/link]", "[", "]", "[/]", "\\[x]", ":smile:", "\\")
CONTROLS = ("\x1b[2J", "\x1b]0;t\x07", "\x1b]8;;http://a\x1b\\", "\x9b31m", "\x07", "\r", "\x7f", "\u2028", "\x85")
BIDI = ("\u202a", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f")
STORED = st.lists(st.sampled_from((*MARKUP, *CONTROLS, *BIDI, "\n", "\t", "a", "Z", "9", "é", "日"))).map("".join)
# An argument of a command holds no NUL, and a text of the database no half of a pair; JSON may hold both.
TEXTS = STORED | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = TEXTS | st.sampled_from(("\ud800", "a\udfffb", "\0"))


@dataclass(frozen=True)
class Texts:
    """Where people and programs may put a text."""

    name: str
    choice: str
    parameter: str
    metric: str
    cause: str
    error: str
    host: str
    device: str


HOSTILE = st.builds(
    Texts,
    name=TEXTS.map("s{}".format),
    choice=VALUES,
    parameter=TEXTS.map("p{}".format),
    metric=VALUES,
    cause=TEXTS,
    error=TEXTS.map("ValueError: {}".format),
    host=TEXTS,
    device=TEXTS,
)
ALL = "".join((*MARKUP, *CONTROLS, *BIDI))
WORST = Texts("s" + ALL, ALL + "\ud800\0", "p" + ALL, ALL + "\ud800", ALL, "ValueError: " + ALL, ALL, ALL)

VERBS: list[tuple[str, ...]] = [
    ("ls",),
    ("ls", "--json"),
    *((verb, study) for verb in ("status", "trials", "best") for study in ("OURS", "FOREIGN")),
    ("trials", "FOREIGN", "--csv"),
    ("trials", "OURS", "--json"),
    ("best", "FOREIGN", "--columns", "number,PARAMETER,cause"),
    ("best", "OURS", "--columns", "CHOICE"),
    ("trials", "FOREIGN", "--where", "`PARAMETER` == 'b' or cause == 'CHOICE'"),
    ("trials", "FOREIGN", "--where", "PARAMETER CHOICE"),
    ("trials", "OURS", "--columns", "number,error,cause,device,optimizer", "--sort", "error"),
    ("trials", "OURS", "--columns", "error,optimizer", "--json"),
    ("trials", "OURS", "--sort", "CHOICE"),
    ("best", "FOREIGN", "--by", "PARAMETER"),
    ("diff", "OURS", "FOREIGN"),
    ("diff", "FOREIGN", "OURS", "--json"),
    ("diff", "OURS", "CHOICE"),
    ("show", "OURS", "0"),
    ("show", "OURS", "1"),
    ("show", "FOREIGN", "0"),
    ("show", "FOREIGN", "7"),
    *(("predict", study, "file.yaml") for study in ("OURS", "FOREIGN")),
    ("predict", "OURS", "CHOICE.csv"),
    *(("export", study) for study in ("OURS", "FOREIGN")),
    ("export", "OURS", "--format", "CHOICE"),
    ("importance", "OURS"),
    ("importance", "FOREIGN", "--json"),
    ("report", "OURS", "-o", "-"),
    ("report", "FOREIGN", "-o", "-", "--format", "md"),
    ("report", "FOREIGN", "-o", "CHOICE.html"),
    ("logs", "OURS", "0"),
    ("logs", "OURS", "0", "-f"),
    ("logs", "FOREIGN", "0"),
    ("replay", "OURS", "0"),
    ("replay", "OURS", "7"),
    ("replay", "FOREIGN", "0"),
    *((verb, "FOREIGN") for verb in ("pause", "resume", "stop", "kill")),
    ("pause", "OURS", "7"),
    ("set", "FOREIGN", "trials=CHOICE"),
    ("set", "OURS", "CHOICE=3"),
    ("enqueue", "OURS", "optimizer=CHOICE"),
    ("enqueue", "OURS", "PARAMETER=1"),
    ("rename", "OURS", "CHOICE"),
    ("delete", "FOREIGN"),
    ("delete", "FOREIGN", "--yes"),
    ("clean",),
    ("doctor",),
    ("db", "check"),
    ("db", "init"),
    ("db", "upgrade"),
    ("db", "backup", "CHOICE.db"),
    ("db", "restore", "CHOICE.db"),
    ("dashboard", "--port", "xCHOICE"),
    ("dashboard", "--url", "CHOICE"),
    ("user", "add", "CHOICE", "--role", "viewer"),
    ("user", "remove", "CHOICE"),
    ("token", "create", "xCHOICE", "--role", "CHOICE"),
    ("token", "create", "ci", "--role", "viewer", "--study", "CHOICE"),
    ("audit", "--study", "FOREIGN"),
    ("space", "CHOICE:Class"),
    ("export", "OURS", "--format", "archive", "-o", "CHOICE.zip", "--force"),
    ("export", "FOREIGN", "--format", "archive"),
    ("export", "FOREIGN", "--format", "archive", "-o", "theirs.zip", "--force"),
    ("import", "theirs.zip"),
    ("import", "theirs.zip", "--name", "CHOICE"),
    ("CHOICE",),
    ("ls", "CHOICE"),
    ("status", "FOREIGN", "--CHOICE"),
    ("check", "CHOICE.yaml"),
    ("check", "file.yaml", "--set", "CHOICE=1"),
    ("check", "file.yaml", "--set", "study=CHOICE"),
    ("submit", "file.yaml", "--name", "CHOICE"),
    ("data", "describe", "CHOICE.yaml"),
    ("init", "file.yaml"),
    ("worker", "FOREIGN", "--until-idle"),
]


@dataclass
class Hostile:
    """A store with a study of ours, 'OURS', and one of another program's, 'FOREIGN', whose texts can be changed."""

    hpo: Hpo
    artifacts: Path

    def put(self, texts: Texts) -> None:
        """Have these texts in the store, in the place of the ones before."""
        shutil.copy(self.artifacts.parent / "before.db", self.artifacts.parent / "hpo.db")
        category = {"name": "CategoricalDistribution", "attributes": {"choices": [texts.choice, "b"]}}
        folder = next(path for path in self.artifacts.iterdir() if path.is_dir())
        with Store.open(self.hpo.url) as store, store.write() as connection:
            ids = list(connection.scalars(select(studies.c.study_id).order_by(studies.c.study_id)))
            connection.execute(update(studies).where(studies.c.study_id == ids[1]).values(study_name=texts.name))
            connection.execute(
                update(trial_params)
                .where(trial_params.c.param_name.not_in(("depth", "lr", "dropout")))
                .values(distribution_json=json.dumps(category), param_value=0.0)
            )
            foreign = select(trials.c.trial_id).where(trials.c.study_id == ids[1])
            connection.execute(
                update(trial_params).where(trial_params.c.trial_id.in_(foreign)).values(param_name=texts.parameter)
            )
            connection.execute(update(hpo_epochs).values(metrics=json.dumps({texts.metric: 0.5, "val_accuracy": 0.5})))
            connection.execute(update(hpo_workers).values(host=texts.host))
            connection.execute(update(hpo_attempts).values(cause=texts.cause, error=texts.error, device=texts.device))
            connection.execute(update(hpo_trials).values(cause=texts.cause, error=texts.error))
        log = folder / trial_folder(0) / LOG
        log.write_bytes(f"{texts.error}\n{texts.cause}".encode() + b"\xff\n")

    def arguments(self, verb: tuple[str, ...], texts: Texts) -> list[str]:
        choice = texts.choice.replace("\0", "").encode(errors="replace").decode() or "-"
        words = {"OURS": "synthetic", "FOREIGN": texts.name, "PARAMETER": texts.parameter, "CHOICE": choice}
        pattern = re.compile("|".join(words))
        return [pattern.sub(lambda found: words[found[0]], word) for word in verb]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    with Store.create(hpo.url) as store:
        worker = Claimant(store, create_study(store))
        for value in (0.5, None):
            claim = worker.claim()
            assert claim is not None
            worker.begin(claim)
            assert worker.report(claim, 1, 0.5)[1]
            state = "FAIL" if value is None else "COMPLETE"
            assert worker.finish(claim, value, state=state, cause="x", error="y", best_epoch=1)
        assert worker.claim() is not None  # it runs
        with optuna_storage(store.url) as storage:
            other = optuna.create_study(storage=storage, study_name="other", direction="maximize")
            other.add_trial(
                optuna.create_trial(
                    params={"p": "a"},
                    distributions={"p": optuna.distributions.CategoricalDistribution(["a", "b"])},
                    value=1.0,
                )
            )
    shutil.copy(folder / "hpo.db", folder / "before.db")
    artifacts = folder / "hpo-artifacts"  # where verbs look by themselves
    file = folder / "file.yaml"
    file.write_text("model: projects.nets:Line\ndata: projects.nets:Points\nobjective: val_loss\nepochs: 1\n")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield made_with_a_log(Hostile(hpo, artifacts))
    finally:
        os.chdir(before)


def made_with_a_log(hostile: Hostile) -> Hostile:
    from hpo.service.trial_log import trial_on_this_machine
    from hpo.store.tables import hpo_studies
    from hpo.study.naming import study_folder

    with Store.open(hostile.hpo.url) as store:
        assert trial_on_this_machine(store, "synthetic", 0, artifacts=hostile.artifacts)[1] is None
        with store.read() as connection:
            created = connection.scalar(select(hpo_studies.c.created))
    assert created is not None
    (hostile.artifacts / study_folder("synthetic", created) / trial_folder(0)).mkdir(parents=True)
    return hostile


@contextlib.contextmanager
def a_pipe() -> Iterator[tuple[IO[str], list[bytes]]]:
    with _collected(*os.pipe()) as both:
        yield both


@contextlib.contextmanager
def a_terminal() -> Iterator[tuple[IO[str], list[bytes]]]:
    master, slave = pty.openpty()
    with _collected(master, slave) as both:
        yield both


@contextlib.contextmanager
def _collected(read: int, write: int) -> Iterator[tuple[IO[str], list[bytes]]]:
    """A file to write to, and what came out at the other end, once the block is left."""
    pieces: list[bytes] = []

    def collect() -> None:
        with contextlib.suppress(OSError):  # a terminal whose other end is closed
            while piece := os.read(read, 1 << 16):
                pieces.append(piece)

    reader = threading.Thread(target=collect)
    reader.start()
    with os.fdopen(write, "w", encoding="utf-8") as file:
        yield file, pieces
    reader.join()
    os.close(read)


def output_of(arguments: list[str], hpo: Hpo, kind: str) -> tuple[int, str]:
    """(exit code, what came out, without the styles of a terminal)."""
    options = [] if arguments[0] in ("space", "init", "data") else ["--store", hpo.url]
    place = len(arguments) if arguments[0] not in ("db",) else 2
    code = 0
    before = sys.argv, sys.stdout, sys.stderr
    with (a_terminal if kind == "terminal" else a_pipe)() as (file, pieces):
        sys.argv = ["hpo", *arguments[:place], *options, *arguments[place:]]
        sys.stdout = sys.stderr = file
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv, sys.stdout, sys.stderr = before
    text = b"".join(pieces).decode().replace("\r\n", "\n")
    return code, STYLES.sub("", text) if kind == "terminal" else text


def controls(text: str) -> list[str]:
    """The characters that a terminal obeys, and those that turn the direction of text."""
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return [
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t")
        or unicodedata.bidirectional(character) in turning
        or character in "\u200e\u200f\u061c"
    ]


def joined(text: str) -> str:
    """Without spaces, at which a table may break a text."""
    return "".join(text.split())


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_verb_is_ended_or_steered_by_a_text(hostile: Hostile, kind: str, verb: tuple[str, ...]) -> None:
    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(HOSTILE)
    @example(WORST)
    def check(texts: Texts) -> None:
        hostile.put(texts)

        code, text = output_of(hostile.arguments(verb, texts), hostile.hpo, kind)

        assert code in (0, 1, 2)
        assert 'File "' not in text, text
        assert controls(text) == []

    check()


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
@pytest.mark.parametrize(
    ("verb", "shown"),
    [
        (("ls",), ("name",)),
        (("status", "FOREIGN"), ("name", "choice", "parameter")),
        (("trials", "FOREIGN"), ("choice", "parameter")),
        (("best", "FOREIGN"), ("choice", "parameter")),
        (("best", "OURS"), ("choice",)),
        (("trials", "OURS", "--columns", "optimizer,cause,error,device"), ("choice", "cause", "error", "device")),
        (("diff", "OURS", "FOREIGN"), ("name", "choice", "parameter")),
        (("show", "OURS", "1"), ("choice", "metric", "cause", "error")),
        (("logs", "OURS", "0"), ("error", "cause")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_markup_and_controls_are_shown_as_they_were_written(
    hostile: Hostile, kind: str, verb: tuple[str, ...], shown: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    hostile.put(WORST)

    code, text = output_of(hostile.arguments(verb, WORST), hostile.hpo, kind)

    assert code == 0
    for place in shown:
        whole = getattr(WORST, place)
        one_of = (in_a_line(whole), printable(whole), printable(whole.replace("\r", "\n")))
        assert any(joined(form) in joined(text) for form in one_of), place


def test_the_last_lines_of_a_log_are_those_of_the_trial(hostile: Hostile) -> None:
    """A progress bar writes its lines over each other; in a log, each is a line."""
    hostile.put(WORST)
    log = next(hostile.artifacts.glob(f"*/{trial_folder(0)}/{LOG}"))
    log.write_bytes(b"\r 10 %\r 20 %\r\nend\n")

    assert output_of(["logs", "synthetic", "0"], hostile.hpo, "pipe") == (0, "\n 10 %\n 20 %\nend\n")


def test_a_run_with_markup_and_controls_among_its_choices_ends_well(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study("texts", model="projects.markup:Line", budget={"trials": 3}, sampler="grid")

    code, output = hpo.run("run", file, "--slots", 1)

    assert code == 0, output
    assert "[/a]" in output
    assert "[bold]x" in output
    assert r"ValueError: no kind \x1b[2J\u202ex" in output
    assert controls(output) == []
