"""`hpo predict` and predictors in Python, on studies of each kind of data, as people use them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import drawn_folders
from projects.launch import PROJECT, Hpo, finish
from recorded import measured_csv, recorded_npz

import hpo
from hpo import Study
from hpo.study.job import BEST_CHECKPOINT, CONFIG, PREPROCESSING
from models.data import Images, Sequences, Table
from models.data.image_parts import listed

FLATS = Path(__file__).parents[1] / "contracts" / "flats.csv"
STUDIES: dict[str, tuple[str, dict[str, Any]]] = {
    "flats": (
        "models.dnn:DNN",
        {"class": "models.data:Table", "source": str(FLATS), "target": "pets", "ignore": "number"},
    ),
    "shapes": ("models.cnn:CNN", {"class": "models.data:Images", "source": drawn_folders()}),
    "waves": ("models.recurrent:Recurrent", {"class": "models.data:Sequences", "path": recorded_npz("class")}),
    "wind": (
        "models.recurrent:Recurrent",
        {
            "class": "models.data:Series",
            "path": measured_csv(),
            "target": "wind",
            "features": "",
            "horizon": 3,
            "window": 5,
        },
    ),
    "codes": ("models.autoencoder:Autoencoder", {"class": "models.data:Digits"}),
    "line": ("projects.nets:Line", {"class": "projects.nets:Points"}),
}
OBJECTIVES = {"wind": "val_rmse", "codes": "val_loss", "line": "val_loss"}


@dataclass(frozen=True)
class Trained:
    """A store with a study of each kind, of one trial, but two of flats."""

    here: Hpo

    def study(self, name: str) -> Study:
        return hpo.open_study(name, self.here.url, project=PROJECT)

    def predict(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """`hpo predict ARGUMENTS`, with both outputs."""
        command = [sys.executable, "-m", "hpo", "predict", *map(str, arguments), "--store", self.here.url]
        return subprocess.run(
            [*command, "--project", str(PROJECT)], cwd=self.here.folder, capture_output=True, text=True, timeout=300
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("predict")
    here = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    here.run("db", "init")

    def run(name: str) -> None:
        model, data = STUDIES[name]
        metric = OBJECTIVES.get(name, "val_accuracy")
        trials = 2 if name == "flats" else 1
        file = here.study(name, model=model, data=data, objective=metric, budget={"trials": trials})
        code, output = finish(here.start("run", file, "--slots", 1))
        assert code == 0, output

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, STUDIES))
    return Trained(here)


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the folder of the best trial of flats, to be spoiled."""
    checkpoint = trained.study("flats").best(1)[0].checkpoint
    assert checkpoint is not None
    return Path(shutil.copytree(Path(checkpoint).parent, tmp_path / "moved"))


def best_data(trained: Trained, name: str) -> Any:
    """The data module of the best trial, set up."""
    arguments = dict(trained.study(name).best(1)[0].config["data"])
    classes: dict[str, Any] = {"flats": Table, "shapes": Images, "waves": Sequences}
    data = classes[name](**{key: value for key, value in arguments.items() if key != "class"})
    data.setup("fit")
    return data


def new_flats(trained: Trained, folder: Path) -> tuple[Path, list[str]]:
    """The validation rows of flats without their targets, in a file; and these."""
    table = pd.read_csv(FLATS, dtype=str, keep_default_na=False).iloc[best_data(trained, "flats").rows.validation]
    table.drop(columns="pets").to_csv(folder / "new.csv", index=False)
    return folder / "new.csv", table["pets"].tolist()


# ---- each kind of data


def test_a_table_is_predicted_with_the_score_that_the_trial_had(trained: Trained, tmp_path: Path) -> None:
    source, pets = new_flats(trained, tmp_path)

    done = trained.predict("flats", source, "-o", tmp_path / "predictions.csv", "--proba")

    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "predictions.csv")
    best = trained.study("flats").best(1)[0]
    assert found.columns.tolist() == ["row", "number", "prediction", "p_no", "p_yes"]
    assert np.mean(found["prediction"] == pets) == pytest.approx(best.value)
    np.testing.assert_allclose(found["p_no"] + found["p_yes"], 1, rtol=1e-6)
    assert f"flats, trial {best.number}, " in done.stderr
    assert f"{len(pets)} rows predicted in" in done.stderr
    assert not list(tmp_path.glob(".*"))


def test_a_folder_of_images_is_predicted_file_by_file(trained: Trained, tmp_path: Path) -> None:
    data = best_data(trained, "shapes")
    files = listed(Path(drawn_folders())).files
    shapes = {f"{row:03}.png": files[row] for row in data.rows.validation}
    for name, (_, entry) in shapes.items():
        shutil.copy(entry.path, tmp_path / name)

    done = trained.predict("shapes", tmp_path, "-o", tmp_path / "predictions.csv")

    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "predictions.csv")
    right = [shapes[file][0] == shape for file, shape in zip(found["file"], found["prediction"], strict=True)]
    assert found["file"].tolist() == sorted(shapes)
    assert np.mean(right) == pytest.approx(trained.study("shapes").best(1)[0].value)


def test_sequences_are_predicted_to_the_standard_output(trained: Trained, tmp_path: Path) -> None:
    data = best_data(trained, "waves")
    rows = data.rows.validation
    with np.load(recorded_npz("class")) as file:
        arrays = dict(file)
    np.savez(tmp_path / "new.npz", x=arrays["x"][rows], length=arrays["length"][rows])

    done = trained.predict("waves", tmp_path / "new.npz")

    assert done.returncode == 0, done.stderr
    found = pd.read_csv(io.StringIO(done.stdout))
    assert found["sequence"].tolist() == list(range(len(rows)))
    right = np.mean(found["prediction"] == arrays["y"][rows])
    assert right == pytest.approx(trained.study("waves").best(1)[0].value)


def test_a_series_is_forecast_with_its_dates_in_its_own_unit(trained: Trained, tmp_path: Path) -> None:
    table = pd.read_csv(measured_csv())[["time", "wind"]].iloc[:200]
    table.assign(wind=table["wind"] + 1000).to_csv(tmp_path / "new.csv", index=False)

    done = trained.predict("wind", tmp_path / "new.csv", "-o", tmp_path / "predictions.csv")

    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "predictions.csv")
    expected = pd.date_range(table["time"].iloc[-1], periods=4, freq="h")[1:]
    assert pd.to_datetime(found["time"]).tolist() == expected.tolist()
    assert (found["prediction"] - table["wind"].iloc[-1] - 1000).abs().max() < 50


def test_an_autoencoder_tells_how_unlike_the_training_a_sample_is(trained: Trained) -> None:
    predictor = trained.study("codes").predictor()
    noise = np.random.default_rng(0).integers(0, 17, (3, 8, 8))

    found = predictor.predict(np.concatenate([np.zeros((1, 8, 8)), noise]))

    assert found.columns[:3].tolist() == ["image", "error", "code_0"]
    assert found["error"][1:].min() > found["error"][0]


# ---- from Python


def test_a_predictor_gives_data_frames(trained: Trained, tmp_path: Path) -> None:
    source, _ = new_flats(trained, tmp_path)
    predictor = trained.study("flats").predictor()

    from_file, from_frame = predictor.predict(source), predictor.predict(pd.read_csv(source))
    likely = predictor.predict_proba(source)

    pd.testing.assert_frame_equal(from_file[["row", "prediction"]], from_frame[["row", "prediction"]])
    assert likely.columns.tolist() == ["row", "number", "p_no", "p_yes"]
    assert predictor.class_names == ("no", "yes")
    assert not predictor.model.training


def test_another_trial_may_predict(trained: Trained, tmp_path: Path) -> None:
    source, _ = new_flats(trained, tmp_path)
    study = trained.study("flats")
    [other] = {0, 1} - {study.best(1)[0].number}

    done = trained.predict("flats", source, "--trial", other, "--proba")

    assert f"flats, trial {other}, " in done.stderr
    found = pd.read_csv(io.StringIO(done.stdout))
    np.testing.assert_allclose(found["p_yes"], study.predictor(other).predict_proba(source)["p_yes"], rtol=1e-6)


def test_a_folder_that_was_moved_predicts_without_a_store(trained: Trained, copy: Path, tmp_path: Path) -> None:
    source, _ = new_flats(trained, tmp_path)
    config = json.loads((copy / CONFIG).read_text())
    config["data"]["source"] = "/nowhere/flats.csv"  # as on another machine
    (copy / CONFIG).write_text(json.dumps(config))

    moved = hpo.load_predictor(copy).predict_proba(source)

    np.testing.assert_allclose(moved["p_yes"], trained.study("flats").predictor().predict_proba(source)["p_yes"])


# ---- files that are gone, damaged or not those of the trial


def test_without_its_preprocessing_a_trial_is_fitted_again_on_its_own_data(
    trained: Trained, copy: Path, tmp_path: Path
) -> None:
    source, _ = new_flats(trained, tmp_path)
    (copy / PREPROCESSING).unlink()

    predictor = hpo.load_predictor(copy)
    found = predictor.predict_proba(source)

    assert (
        f"{PREPROCESSING} is missing beside the checkpoint: models.data:Table was fitted again" in predictor.remarks[0]
    )
    np.testing.assert_allclose(found["p_yes"], trained.study("flats").predictor().predict_proba(source)["p_yes"])


def test_data_that_have_changed_since_are_not_fitted_again(copy: Path, tmp_path: Path) -> None:
    (copy / PREPROCESSING).unlink()
    pd.read_csv(FLATS).assign(area=lambda table: table["area"] * 2 + 7).to_csv(tmp_path / "flats.csv", index=False)
    config = json.loads((copy / CONFIG).read_text())
    config["data"]["source"] = str(tmp_path / "flats.csv")
    (copy / CONFIG).write_text(json.dumps(config))

    with pytest.raises(hpo.LoadError, match=r"the data of the trial have changed since \(other .*scalings"):
        hpo.load_predictor(copy)


def test_data_that_are_gone_cannot_be_fitted_again(copy: Path) -> None:
    (copy / PREPROCESSING).unlink()
    config = json.loads((copy / CONFIG).read_text())
    config["data"]["source"] = "/nowhere/flats.csv"
    (copy / CONFIG).write_text(json.dumps(config))

    with pytest.raises(hpo.LoadError, match=f"{PREPROCESSING}: there is no such file, and models.data:Table cannot be"):
        hpo.load_predictor(copy)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (PREPROCESSING, b"PK\x03\x04junk", "preprocessing.npz is damaged"),
        (BEST_CHECKPOINT, b"junk", "best.ckpt does not hold the weights of models.dnn:DNN"),
        (BEST_CHECKPOINT, None, "best.ckpt: there is no such file; it is on the machine that trained the trial"),
        (CONFIG, b"{", "config.json cannot be read"),
        (CONFIG, b"[]", "config.json is not the configuration of a trial"),
        (CONFIG, None, "is not the folder of a trial: it has no config.json"),
    ],
)
def test_a_folder_of_a_trial_that_is_not_whole_is_told(
    copy: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)

    with pytest.raises(hpo.LoadError, match=message):
        hpo.load_predictor(copy)


def test_a_checkpoint_that_was_replaced_or_is_gone_is_told(trained: Trained, tmp_path: Path) -> None:
    source, _ = new_flats(trained, tmp_path)
    checkpoint = Path(str(trained.study("flats").best(1)[0].checkpoint))
    before = checkpoint.read_bytes()
    try:
        checkpoint.write_bytes(before + b"x")
        replaced = trained.predict("flats", source, "-o", tmp_path / "predictions.csv")
        checkpoint.unlink()
        gone = trained.predict("flats", source, "-o", tmp_path / "predictions.csv")
    finally:
        checkpoint.write_bytes(before)

    assert (replaced.returncode, gone.returncode) == (2, 2)
    assert "is not the file that trial" in replaced.stderr
    assert "there is no such file; it is on the machine that trained the trial" in gone.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


# ---- mistakes in what is asked for


def test_a_table_that_lacks_columns_is_refused_in_words_and_leaves_no_file(trained: Trained, tmp_path: Path) -> None:
    table = pd.read_csv(FLATS).rename(columns={"area": "are"}).drop(columns=["lift"])
    table.to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "predictions.csv").write_text("before\n")

    done = trained.predict("flats", tmp_path / "new.csv", "-o", tmp_path / "predictions.csv")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: Table: {tmp_path}/new.csv lacks 2 of the ")
    assert "'area' (did you mean 'are'?); 'lift'" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "predictions.csv").read_text() == "before\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_odd_in_the_new_data_is_told_below_the_model(trained: Trained, tmp_path: Path) -> None:
    source, _ = new_flats(trained, tmp_path)
    table = pd.read_csv(source, dtype=str, keep_default_na=False).assign(view="sea", heating="peat")
    table.loc[0, "area"] = "large"
    table.to_csv(source, index=False)

    done = trained.predict("flats", source)

    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert "  not known from the training, and not used: 'view'" in told
    assert any("column 'area': 1 of 32 values are no numbers, such as 'large' in row 1" in line for line in told)
    assert any("column 'heating': 32 of 32 rows have a category that is not" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flats", "neww.csv"), "error: neww.csv: there is no such file or folder, did you mean 'new.csv'?"),
        (
            ("flats", "new.csv", "-o", "new.csv"),
            "error: -o new.csv: is the new data itself, which predictions would rep",
        ),
        (("flats", "new.csv", "-o", "."), "error: -o .: is a folder"),
        (("flats", "new.csv", "-o", "nowhere/p.csv"), "error: -o nowhere/p.csv: there is no folder "),
        (("flats", "new.csv", "--trial", "7"), "error: study flats has no trial 7: 'hpo trials flats' lists them"),
        (("flatss", "new.csv"), "error: the store has no study 'flatss', did you mean 'flats'?"),
        (("wind", "new.csv", "--proba"), "error: probabilities are of classes, and this model predicts values"),
        (("shapes", "new.csv"), "error: Images: "),
        (
            ("line", "new.csv"),
            "error: projects.nets:Points has no method new_data(source, state), which reads new data",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_message(
    trained: Trained, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(measured_csv())[["time", "wind"]].iloc[:60]
    table.to_csv(trained.here.folder / "new.csv", index=False)

    done = trained.predict(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith(message), done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_the_preprocessing_goes_with_the_checkpoint(trained: Trained, tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model, data = STUDIES["flats"]
    file = here.study(
        "few", model=model, data=data, objective="val_accuracy", budget={"trials": 3}, keep={"checkpoints": 1}
    )

    code, output = here.run("run", file, "--slots", 1)

    assert code == 0, output
    kept = [record for record in here.trials("few") if record.checkpoint]
    assert len(kept) == 1
    assert {path.parent for path in tmp_path.rglob(PREPROCESSING)} == {Path(str(kept[0].checkpoint)).parent}
