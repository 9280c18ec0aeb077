"""The command line: its output, with a terminal and without, as JSON, and its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from projects.launch import PROJECT, Hpo
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import SpecError
from hpo.results.study import Study
from hpo.settings import artifacts_folder, project_folder, store_url
from hpo.store import Store

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TRIAL_KEYS = {"number", "state", "value", "params", "config", "epochs", "seconds", "attempts", "cause", "device"}
TRIAL_KEYS |= {"worker", "checkpoint", "checkpoint_sha256", "before_change"}
SPACE_KEYS = {"name", "kind", "default", "when", "owner"}

Answers = dict[str, subprocess.CompletedProcess[str]]


def look(*arguments: object) -> str:
    """What a verb that only looks prints, in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def look_json(*arguments: object) -> Any:
    return json.loads(look(*arguments, "--json"))


@dataclass(frozen=True)
class Finished:
    """A study of 12 trials, whose command was given twice."""

    hpo: Hpo
    file: Path
    first: tuple[int, str]
    second: tuple[int, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("cli")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    file = hpo.study("line", epochs=5)
    command = ("run", file.name, "--trials", 12, "--set", "epochs=2", "--slots", 2)
    return Finished(hpo, file, hpo.run(*command), hpo.run(*command))


@pytest.fixture(scope="module")
def answers(finished: Finished) -> Answers:
    """What commands answer that need torch, and with it some seconds each: two at a time."""
    here, elsewhere = finished.hpo.folder, finished.hpo.folder / "elsewhere"
    elsewhere.mkdir()
    store, tiny = ("--store", finished.hpo.url), ("--project", str(PROJECT))
    environment = {"HPO_STORE": "sqlite:///other.db", "HPO_PROJECT": str(PROJECT), "HPO_ARTIFACTS": "kept"}
    commands: dict[str, tuple[list[str], Path, dict[str, str]]] = {
        "changed": (["run", "line.yaml", "--set", "epochs=3", "--set", "space.lr.high=0.05", *store, *tiny], here, {}),
        "check": (["check", "line.yaml", "--json", *tiny], here, {}),
        "space of a class": (["space", "projects.nets:Sometimes", "--json", *tiny], here, {}),
        "space of a study": (["space", "line.yaml", "--json", *tiny], here, {}),
        "renamed": (["run", str(finished.file), "--name", "renamed", "--trials", "2"], elsewhere, environment),
    }

    def answer(name: str) -> subprocess.CompletedProcess[str]:
        arguments, folder, environment = commands[name]
        return subprocess.run(
            [sys.executable, "-m", "hpo", *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(answer, commands), strict=True))


# ---- running


def test_a_run_ends_with_all_its_trials_and_the_best_of_them(finished: Finished) -> None:
    code, output = finished.first

    assert code == 0, output
    assert finished.hpo.counts("line") == {"complete": 12}
    assert "study line created: 12 trials; 2 slots" in output
    assert "line: 12 of 12 trials ended (12 complete, 0 pruned, 0 failed)" in output
    assert "best val_loss:" in output
    assert f"hpo best line --store {finished.hpo.url} --json" in output


def test_the_same_command_again_adds_nothing(finished: Finished) -> None:
    code, output = finished.second

    assert code == 0, output
    assert "study line continued: 12 of 12 trials ended" in output
    assert "started on slot" not in output
    assert [record.number for record in finished.hpo.trials("line")] == list(range(12))


def test_a_change_of_the_command_line_goes_over_the_file(finished: Finished) -> None:
    assert {record.epochs for record in finished.hpo.trials("line")} == {2}


def test_without_a_terminal_every_event_is_a_line(finished: Finished) -> None:
    output = finished.first[1]

    assert not ANSI.search(output)
    for number in range(12):
        assert re.search(rf"^\d\d:\d\d:\d\d INFO +trial {number} started on slot [01] \(cpu\)$", output, re.MULTILINE)
        assert re.search(
            rf"^\S+ INFO +trial {number} complete: val_loss [\d.e-]+ at epoch [12], ", output, re.MULTILINE
        )


def test_a_changed_file_is_refused_with_its_changes(finished: Finished, answers: Answers) -> None:
    done = answers["changed"]

    assert done.returncode == 2
    assert "error: study 'line' is in the store already, and searches something else:" in done.stderr
    assert "epochs: 3 here, 2 in the store" in done.stderr
    assert "'lr' is 0.001 to 0.05, log" in done.stderr
    assert "--name" in done.stderr
    assert "Traceback" not in done.stderr
    assert finished.hpo.counts("line") == {"complete": 12}


def test_the_environment_names_store_project_and_artifacts(finished: Finished, answers: Answers) -> None:
    done = answers["renamed"]

    assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = finished.hpo.folder / "elsewhere"
    with Store.open(f"sqlite:///{elsewhere}/other.db") as store:
        records = Study(store, "renamed").trials()
    assert [record.epochs for record in records] == [5, 5]
    assert all(str(record.checkpoint).startswith(f"{elsewhere}/kept/renamed-") for record in records)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["kept", "other.db"]
    assert [status["study"] for status in look_json("ls", "--store", finished.hpo.url)] == ["line"]


def test_a_submitted_study_is_trained_by_a_worker_until_there_is_no_more(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study("later", budget={"trials": 3})

    code, output = hpo.run("submit", file)
    assert (code, output.splitlines()[-1]) == (0, "study later created: 3 trials")
    assert hpo.counts("later") == {}

    code, output = hpo.run("worker", "--until-idle")
    assert code == 0, output
    assert hpo.counts("later") == {"complete": 3}
    assert look_json("status", "later", "--store", hpo.url)["state"] == "done"


def test_a_terminal_shows_slots_trials_epochs_the_best_and_the_budget(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    pruner = {"name": "asha", "min_epochs": 1, "eta": 2}  # of two or three trials, one goes on at once
    file = hpo.study("shown", epochs=3, space={"seconds": 0.25}, budget={"trials": 4}, pruner=pruner)

    code, screen = run_on_terminal(
        ["run", file.name, "--slots", "2", "--store", hpo.url, "--project", str(PROJECT)], cwd=tmp_path
    )

    assert code == 0, screen
    for shown in ("slot", "trial", "epoch", "best val_loss: none yet", "0/4 trials", "0 pruned  0 failed"):
        assert shown in screen
    assert re.search(r"\d complete  0 pruned  0 failed  [1-3] paused", screen)
    assert re.search(r"best val_loss: [\d.e-]+ by trial \d", screen)
    assert re.search(r"[01] cpu +[0-3] +[12]/3 ", screen)
    assert "4 of 4 trials ended" in screen
    assert "INFO" not in screen


def run_on_terminal(arguments: list[str], *, cwd: Path) -> tuple[int, str]:
    """Exit code, and all that a terminal of 120 columns was shown, without its colours and cursor movements."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "CI"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "hpo", *arguments]
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side of a terminal is closed
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=300), ANSI.sub("", shown.decode())


# ---- looking


def test_every_reading_verb_prints_one_json_document(finished: Finished) -> None:
    store = ("--store", finished.hpo.url)

    trials, best = look_json("trials", "line", *store), look_json("best", "line", "-k", 3, *store)
    status, [listed] = look_json("status", "line", *store), look_json("ls", *store)

    assert [trial["number"] for trial in trials] == list(range(12))
    for trial in [*trials, *best, status["best"]]:
        assert trial.keys() >= TRIAL_KEYS
        assert trial["state"] == "complete"
        assert trial["params"].keys() == {"lr"}
        assert trial["config"]["model"] == {"class": "projects.nets:Line", "lr": trial["params"]["lr"], "seconds": 0.0}
        assert (trial["epochs"], trial["attempts"], trial["cause"], trial["device"]) == (2, 1, None, "cpu")
    assert [trial["value"] for trial in best] == sorted(trial["value"] for trial in trials)[:3]
    assert status.keys() >= {"study", "state", "counts", "budget", "best", "workers"}
    assert (status["study"], status["state"], status["workers"]) == ("line", "done", [])
    assert status["counts"] == {
        "complete": 12,
        "pruned": 0,
        "failed": 0,
        "running": 0,
        "paused": 0,
        "idle": 0,
        "waiting": 0,
    }
    assert status["budget"] == {"trials": {"target": 12, "spent": 12}}
    assert (status.pop("seconds_left"), status.pop("running_trials")) == (None, [])
    assert listed == status


@pytest.mark.parametrize(
    ("verb", "words"), [("ls", "(default: HPO_STORE or sqlite:///hpo.db)"), ("curve", "(default: the best five,")]
)
def test_the_help_of_a_verb_says_what_its_options_are_by_default(verb: str, words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "hpo", verb, "--help"], capture_output=True, text=True, check=True)

    assert words in re.sub(r"[│\s]+", " ", done.stdout)


def test_tables_show_the_same_to_people(finished: Finished) -> None:
    store = ("--store", finished.hpo.url)
    [best] = look_json("best", "line", "-k", 1, *store)

    assert f"{best['value']:.4g}" in look("best", "line", "-k", 1, *store)
    assert f"best:    {best['value']:.4g} by trial {best['number']} (lr=" in look("status", "line", *store)
    assert "trials:  12 of 12: 12 complete" in look("status", "line", *store)
    assert len(re.findall(r"^ +\d+ +complete ", look("trials", "line", *store), re.MULTILINE)) == 12
    assert re.search(r"line +done +12/12 +12 +0 +0 +0 ", look("ls", *store))


def test_an_empty_store_shows_how_to_begin(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/hpo.db")

    assert look("db", "init", *store) == f"store ready: sqlite:///{tmp_path}/hpo.db\n"
    assert look("db", "init", *store) == f"store ready: sqlite:///{tmp_path}/hpo.db\n"
    assert "hpo run STUDY.yaml" in look("ls", *store)
    assert look_json("ls", *store) == []


def test_the_module_and_the_command_are_the_same(finished: Finished) -> None:
    arguments = ["best", "line", "--json", "--store", finished.hpo.url]
    command = str(Path(sys.executable).parent / "hpo")

    outputs = [
        subprocess.run([*start, *arguments], capture_output=True, text=True, check=True, timeout=300).stdout
        for start in ([command], [sys.executable, "-m", "hpo"])
    ]

    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])


def test_a_reader_that_stops_early_causes_no_traceback(finished: Finished) -> None:
    command = f"{sys.executable} -m hpo trials line --json --store {finished.hpo.url} | head -1"

    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)

    assert (done.stdout, done.stderr) == ("[\n", "")


# ---- before a search


def test_check_estimates_the_cost_of_the_study(answers: Answers) -> None:
    done = answers["check"]

    assert done.returncode == 0, done.stderr
    checked = json.loads(done.stdout)
    assert checked.keys() >= {"study", "searched", "metrics", "parameters", "trials", "epochs", "slots"}
    assert (checked["study"], checked["metrics"], checked["parameters"]) == ("line", ["val_loss"], 5)
    assert (checked["trials"], checked["epochs"]) == (20, 100)
    assert [parameter["name"] for parameter in checked["searched"]] == ["lr"]


def test_space_prints_what_a_study_searches(answers: Answers) -> None:
    done = answers["space of a study"]

    assert done.returncode == 0, done.stderr
    [parameter] = json.loads(done.stdout)
    assert parameter.keys() >= SPACE_KEYS
    assert (parameter["name"], parameter["kind"], parameter["owner"]) == ("lr", "float", "model")
    assert (parameter["low"], parameter["high"], parameter["log"], parameter["default"]) == (1e-3, 0.1, True, 1e-2)


def test_space_prints_what_a_class_searches(answers: Answers) -> None:
    done = answers["space of a class"]

    assert done.returncode == 0, done.stderr
    [parameter] = json.loads(done.stdout)
    assert parameter.keys() >= SPACE_KEYS
    assert (parameter["name"], parameter["kind"], parameter["default"]) == ("does", "choice", "learn")
    assert parameter["choices"][:2] == ["learn", "raise"]


# ---- help


def verbs(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += verbs(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]
    return found


VERBS = verbs(typer.main.get_command(app))


def test_the_verbs_are_those_that_are_promised() -> None:
    promised = ["init", "check", "space", "run", "submit", "worker", "ls", "status", "trials", "best", "dashboard"]

    assert {" ".join(verb) for verb in VERBS} >= {
        *promised,
        "finalize",
        "predict",
        "export",
        "replay",
        "import",
        "diff",
        "doctor",
        "db init",
        "db upgrade",
        "db check",
        "db backup",
        "db restore",
    }


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_and_option_has_its_help(verb: tuple[str, ...]) -> None:
    shown = look(*verb, "--help")
    command: Any = typer.main.get_command(app)
    for name in verb:
        command = command.commands[name]

    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help] == []
    assert "Usage:" in shown


# ---- what goes before what


def test_an_option_goes_before_the_environment_and_that_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HPO_STORE", "HPO_PROJECT", "HPO_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    project.mkdir()

    # by default beside the models; what somebody typed is meant from where they stand
    assert store_url(None, project).path == project / "hpo.db"
    assert artifacts_folder(None, project) == project / "hpo-artifacts"
    assert project_folder(None) == tmp_path

    monkeypatch.setenv("HPO_STORE", "sqlite:///env.db")
    monkeypatch.setenv("HPO_ARTIFACTS", "env-art")
    monkeypatch.setenv("HPO_PROJECT", "project")
    assert store_url(None, project).path == tmp_path / "env.db"
    assert artifacts_folder(None, project) == tmp_path / "env-art"
    assert project_folder(None) == project

    assert store_url("sqlite:///option.db", project).path == tmp_path / "option.db"
    assert artifacts_folder(Path("option-art"), project) == tmp_path / "option-art"
    assert project_folder(tmp_path) == tmp_path


def test_a_project_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere: there is no such folder$"):
        project_folder(tmp_path / "nowhere")
    with pytest.raises(SpecError, match="should be a folder, or an address such as s3://BUCKET/FOLDER"):
        artifacts_folder(Path("gs://bucket/art"), tmp_path)
