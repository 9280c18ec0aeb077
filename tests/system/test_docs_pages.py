"""The commands of pages of docs/ run as they are written, in order, and so does their Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True)
class Page:
    """A page whose commands have run: the project folder, what each printed, and what its Python printed."""

    folder: Path
    printed: dict[str, str]
    python: list[str]


def run_page(name: str, folder: Path, *, programs: Path | None = None) -> Page:
    """Run all of it; what begins with the path of a study file in a comment becomes that file.

    Args:
        programs: folder of programs that the commands find before the system's.
    """
    page = (DOCS / name).read_text(encoding="utf-8")

    def blocks(language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["COLUMNS"] = "200"  # no line is wrapped
    if programs is not None:
        environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    printed, python = {}, []
    for command in ["hpo init .", *commands]:
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed[command] = done.stdout
        if command == "hpo init .":
            for text in blocks("yaml"):
                if named := re.match(r"# (studies/\S+\.yaml)\n", text):
                    (folder / named[1]).write_text(text)
    for script in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        python += done.stdout.splitlines()
    return Page(folder, printed, python)


@pytest.fixture(scope="module")
def managing(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return run_page("managing-studies.md", tmp_path_factory.mktemp("managing"))


def test_the_page_about_managing_studies_does_what_it_says(managing: Page) -> None:
    printed = managing.printed

    assert len(printed) > 12
    assert "trial 2 waits for a worker" in printed["hpo enqueue quickstart lr=3e-3 depth=2"]
    assert "trials 3, 4 wait for a worker" in printed["hpo enqueue quickstart --from points.csv"]
    assert "was renamed to digits-first" in printed["hpo rename quickstart digits-first"]
    assert "study digits-first deleted: 6 trials" in printed["hpo delete digits-first --yes"]
    assert "executor: " in printed["hpo logs quickstart 0"]
    assert printed["hpo logs quickstart 1 -f"]
    assert [path.name.rsplit("-", 2)[0] for path in (managing.folder / "hpo-artifacts").iterdir()] == ["quickstart"]
    assert managing.python[-1] == "study ended None"


def test_the_page_about_watching_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("watching.md", tmp_path)

    printed = page.printed
    assert [study["name"] for study in json.loads(printed["hpo top --json"])["studies"]] == ["quickstart"]
    assert json.loads(printed["hpo status quickstart --json"])["running_trials"] == []
    assert "val_accuracy of quickstart" in printed["hpo curve quickstart"]
    assert "val_loss of quickstart" in printed["hpo curve quickstart 0 1 --metric val_loss"]
    assert "executor: " in printed["hpo logs quickstart 0"]
    assert page.python[-1] == "done None"


def test_the_page_about_faults_has_commands_that_run(tmp_path: Path) -> None:
    page = run_page("faults.md", tmp_path)

    assert "leases" in page.printed["hpo doctor"]


def test_the_page_about_the_end_of_a_search_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("ending.md", tmp_path)

    checked = page.printed["hpo check studies/quickstart.yaml --set budget='{hours: 0.01}'"]
    assert "budget      no limit of trials, 0.01 hours; a trial has at most " in checked
    paid = " ".join(page.printed["hpo status paid"].split())  # by its noise, or by its price
    assert re.search(
        r"paid: done \(as much time again would improve val_accuracy .* less than (its noise|the price) of", paid
    )
    assert "study short: trials 30, " in page.printed["hpo set short trials=30 hours=none"]
    [value, *_] = page.python[-1].split()
    assert f"{float(value):.4g} by trial" in page.printed["hpo status short"]
    assert "short, trial 0: " in page.printed["hpo show short 0"]


def test_the_page_about_querying_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("querying.md", tmp_path)

    printed = page.printed
    assert "trial  " in printed["hpo trials quickstart --where \"optimizer == 'adam' and seconds < 60\""]
    groups = printed["hpo best quickstart --by optimizer,depth -k 2 --columns optimizer,depth,number,value,val_loss"]
    assert groups.split()[:5] == ["optimizer", "depth", "number", "value", "val_loss"]
    compared = printed["hpo diff quickstart quickstart-sgd"]
    assert re.search(r"^ epochs +15 +3 *$", compared, flags=re.MULTILINE)
    assert re.search(r"^ model\.optimizer +- +sgd *$", compared, flags=re.MULTILINE)
    assert page.python[-1] == "[('epochs', 15, 3), ('budget.trials', 8, 4), ('model.optimizer', None, 'sgd')]"


def test_the_page_about_samplers_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("searching.md", tmp_path)

    best = {line.split()[0]: float(line.split()[-1]) for line in page.python}
    assert list(best) == ["random", "tpe", "gp", "auto"]
    assert min(best.values()) > 0.85


def test_the_page_about_notebooks_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("notebooks.md", tmp_path)

    assert page.python == ["history curves importance parallel slice contour timeline"]
    assert (tmp_path / "history.html").stat().st_size > 1_000_000  # with plotly itself


def test_the_page_about_several_objectives_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("several-objectives.md", tmp_path)

    assert page.printed["hpo best small"].split()[:3] == ["trial", "val_accuracy", "parameters"]
    assert "front.svg written" in page.printed["hpo pareto small -o front.svg"]
    assert "on the front" in page.printed["hpo pareto small -o front.svg"]
    assert page.python[0].startswith("('val_accuracy', 'parameters') ")
    assert page.python[1] == "True"
    assert "target 20000" in page.printed["hpo set target target=20000"]


def test_the_page_about_the_server_has_commands_that_run(tmp_path: Path) -> None:
    page = run_page("server.md", tmp_path)

    assert "ann   operator" in page.printed["hpo user list"]
    assert "ci    viewer  valid" in page.printed["hpo token list"]
    assert "nothing was changed" in page.printed["hpo audit"]
    assert (tmp_path / "token.txt").read_text().startswith("hpo_")
    assert (tmp_path / "token.txt").stat().st_mode & 0o077 == 0


def test_the_page_about_trackers_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("trackers.md", tmp_path)

    assert "2 trials" in "".join(page.printed.values())
    assert len(list((tmp_path / "hpo-artifacts").rglob("events.out.tfevents.*"))) == 2


def test_the_page_about_full_disks_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("full-disks.md", tmp_path)

    assert "of which no trial needs" in page.printed["hpo clean --yes"]
    assert "executor: " in page.printed["hpo logs quickstart 0"]


def test_the_page_about_sequences_and_series_names_studies_that_can_run(tmp_path: Path) -> None:
    page = run_page("sequences-and-series.md", tmp_path)

    for study in ("japanese_vowels_conv1d", "co2_forecast_linear"):
        assert page.printed[f"hpo check studies/{study}.yaml"].startswith(f"studies/{study}.yaml: fine")


def test_the_page_about_images_names_studies_that_can_run(tmp_path: Path) -> None:
    page = run_page("images.md", tmp_path)

    for study in ("digits_cnn", "digits_autoencoder"):
        assert page.printed[f"hpo check studies/{study}.yaml"].startswith(f"studies/{study}.yaml: fine")


def test_the_page_about_finalizing_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("finalize.md", tmp_path)

    tested = page.printed["hpo finalize quickstart --test"]
    assert "on 269 samples of the test part (95 % interval)" in tested
    assert "The best of 20 trials was trial" in tested
    assert "logistic regression: accuracy 0.9703" in tested
    both = page.printed["hpo finalize quickstart --retrain train+val --ensemble"]
    assert "The final model is the average of 5 models: trials 0, 1, 2, 3, 4 of quickstart.retrained" in both
    together = page.printed["hpo finalize quickstart --ensemble"]
    assert re.search(r"An ensemble of \d+ of \d+ kept models: accuracy|No ensemble of \d+ kept models is", together)
    assert re.match(r"-?[\d.e-]+ \(-?[\d.e-]+ to -?[\d.e-]+\) ", page.python[0])
    assert (tmp_path / "together" / "predict.py").exists()


def test_the_page_about_small_data_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("small-data.md", tmp_path)

    assert "88 samples" not in page.printed["hpo check studies/few.yaml"]
    assert "complete" in page.printed["hpo run studies/few.yaml"]
    tested = page.printed["hpo finalize wine --top 1 --seeds 2 --retrain train+val --test"]
    assert "The final model is trial 0 of wine.retrained, trained on train+validation." in tested


def test_the_page_about_the_whole_way_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("auto.md", tmp_path)

    assert "wine.csv is a table of 178 rows" in page.printed["hpo auto wine.csv --target target --minutes 0.5"]
    assert len((tmp_path / "wine-auto" / "predictions.csv").read_text().splitlines()) == 179
    assert "accuracy" in page.python[0]


def test_the_page_about_predictions_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("predict.md", tmp_path)

    predicted = (tmp_path / "predictions.csv").read_text().splitlines()
    assert predicted[0] == "row,prediction"
    assert len(predicted) == 6
    assert page.printed["hpo predict diabetes-dnn new.csv --trial 1"].startswith("row,prediction\n1,")
    assert "row  prediction" in page.python[0]
    assert page.python[-1] == "True"


def test_the_page_about_reports_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("report.md", tmp_path)

    assert re.search(r"quickstart-report\.html written \(\d+ kB\)", page.printed["hpo report quickstart"])
    assert (tmp_path / "results.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "\n## Model card\n" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "too few trials to tell" in page.printed["hpo importance quickstart"]
    assert page.python[0] == "results.md"


def test_the_page_about_exports_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("export.md", tmp_path)

    exported = page.printed["hpo export diabetes-dnn --format onnx"]
    assert "takes x (batch, 10); gives prediction" in exported
    assert "largest difference from the original: " in exported
    checked = page.printed["python diabetes-dnn-onnx/predict.py --check"]
    assert float(checked.split()[-1]) < 1e-4
    assert (tmp_path / "predictions.csv").read_text().startswith("row,prediction\n1,")
    assert "'largest_difference': " in page.python[0]


def test_the_page_about_gpus_does_what_it_says_with_a_driver_that_lists_two(tmp_path: Path) -> None:
    programs, project = tmp_path / "bin", tmp_path / "project"
    programs.mkdir()
    project.mkdir()
    lines = "".join(f"GPU {number}: NVIDIA L4 (UUID: GPU-of-the-page-{number})\\n" for number in (0, 1))
    (programs / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    (programs / "nvidia-smi").chmod(0o755)

    page = run_page("gpus.md", project, programs=programs)

    assert "2 slots by default, on GPU" in page.printed["hpo doctor"]
    assert "2: 0, 1 (NVIDIA L4)" in page.printed["hpo doctor"]
    assert "1: 0 (NVIDIA L4)" in page.printed["CUDA_VISIBLE_DEVICES=0 hpo doctor"]


def test_the_page_about_sharing_gpus_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("sharing-gpus.md", tmp_path)

    assert "gpu 0" in page.printed["hpo show packed 0"]
    assert re.search(r"memory +\d+ MiB at its peak", page.printed["hpo show packed 0"])


def test_the_page_about_several_devices_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("several-devices.md", tmp_path)

    assert "(cpu x2)" in "".join(page.printed.values())


def test_the_page_about_replays_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("replay.md", tmp_path)

    whole = page.printed["hpo replay quickstart 0"]
    assert whole.startswith("quickstart, trial 0: trained again for 15 epochs on cpu\n  bit-equal: ")
    assert "\nreproduced bit by bit: all of its " in whole
    assert "for 3 epochs of 15 on cpu" in page.printed["hpo replay quickstart 1 --epochs 3"]
    assert page.python[-1].startswith("True reproduced bit by bit: all of its ")


def test_the_page_about_archives_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("archive.md", tmp_path)

    written = page.printed["hpo export quickstart --format archive -o quickstart.zip"]
    assert written.startswith(f"{tmp_path}/quickstart.zip: study quickstart, 4 trials, ")
    imported = page.printed["hpo import quickstart.zip --store sqlite:///other.db"]
    assert imported.startswith("study quickstart was imported: 4 trials, ")
    here, there, again = (
        subprocess.run(
            [sys.executable, "-m", "hpo", *words, "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for words in (
            ("trials", "quickstart"),
            ("trials", "quickstart", "--store", "sqlite:///other.db"),
            ("trials", "again", "--store", "sqlite:///other.db"),
        )
    )
    before = [_without_path(trial) for trial in json.loads(here)]
    assert before == [_without_path(trial) for trial in json.loads(there)]
    # None of them is trained a second time; the checkpoint of one may no longer be among the best.
    assert before == [_without_path(trial) for trial in json.loads(again)][:4]
    continued = page.printed["hpo run studies/quickstart.yaml --name again --trials 5 --store sqlite:///other.db"]
    assert "again: 5 of 5 trials ended" in continued
    assert page.python[-1] == "4 4"


def test_the_page_about_workers_does_what_it_says(tmp_path: Path) -> None:
    run_page("workers.md", tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "hpo", "status", "quickstart"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "2 of 2" in done.stdout


def test_the_page_about_launchers_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("launchers.md", tmp_path)

    started = page.printed["hpo run studies/quickstart.yaml --trials 2 --launcher local --workers 2"]
    assert "2 workers by local" in started
    assert "kind: Job" in (tmp_path / "job.yaml").read_text()


def _without_path(trial: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trial.items() if name not in ("checkpoint", "checkpoint_sha256")}


def test_the_page_about_earlier_studies_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("earlier-studies.md", tmp_path)

    printed = page.printed
    told = "start_from quickstart: 6 of its 6 finished trials fit, with activation='relu', "
    assert told in printed["hpo check studies/started.yaml"]
    assert printed["hpo run studies/started.yaml"].startswith(told)
    assert "study started created: 6 trials; 5 points are tried first" in printed["hpo run studies/started.yaml"]
    forked = printed["hpo fork quickstart wider --set space.lr.high=0.1 --set budget.trials=8"]
    assert forked.startswith("study wider was forked from quickstart: 6 of 6 trials are taken over, with ")
    assert page.python[-1].startswith("[0, 1")


def test_the_page_about_constraints_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("constraints.md", tmp_path)

    assert "refused: parameters < 2e4" in page.printed['hpo trials small --where "not feasible"']
    assert "more refused for a constraint" in page.printed["hpo run studies/small.yaml"]
    assert json.loads(page.python[0])
    assert page.python[1].startswith("True {'inference_ms': -")


def test_the_page_about_noise_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("noise.md", tmp_path)

    assert re.search(r"\d ± 0\.", page.printed["hpo best quickstart --by expected"])
    columns = "number,value,expected,expected_low,expected_high"
    assert "expected_low" in page.printed[f"hpo trials quickstart --columns {columns} --sort=-expected"]
    number, value, expected, low, high = page.python[-1].split()
    assert float(low) < float(expected) < float(high)
    assert float(value) > 0.5
    assert number in {line.split()[0] for line in page.python[:-1]}


def test_the_page_about_programs_does_what_it_says(tmp_path: Path) -> None:
    try:
        page = run_page("api.md", tmp_path)
    finally:
        if (pid := tmp_path / "server.pid").exists():
            subprocess.run(["kill", pid.read_text().strip()], capture_output=True)

    def answer(words: str) -> Any:
        return json.loads(
            next(said for command, said in page.printed.items() if "curl" in command and words in command)
        )

    assert [study["study"] for study in answer("studies?state=running")] == ["quickstart"]
    assert answer("sort=-value")["total"] == 1
    assert answer("best?k=3")["trials"] == []
    assert answer("quickstart/pause")["message"].startswith("study quickstart is paused")
    assert answer("PATCH")["message"] == "study quickstart: trials 24, priority 1"
    assert answer('"points"')["trials"] == [1]
    assert answer("second.yaml")["message"] == "study second created: 20 trials"
    assert (answer("quickstat")["status"], "quickstart" in answer("quickstat")["detail"]) == (404, True)
    assert page.python == ["paused 2"]


def test_the_page_about_notifications_does_what_it_says(tmp_path: Path) -> None:
    page = run_page("notifications.md", tmp_path)

    events = [json.loads(line)["event"] for line in page.printed["cat events.jsonl"].splitlines()]
    assert events[-1] == "finished"
    assert set(events) == {"new_best", "finished"}
    assert f"notifications: {len(events)} sent" in page.printed["hpo status quickstart"]
    assert page.printed["hpo notify test quickstart"].splitlines() == ["the command tee: sent"] * 2
    assert [json.loads(line)["event"] for line in (tmp_path / "team.jsonl").read_text().splitlines()] == ["test"]
    assert page.python == ["True"]
