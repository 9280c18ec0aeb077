"""Reading a study file: defaults, short forms, changes by options, and problems with their lines."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from pydantic import ValidationError

from hpo.errors import SpecError
from hpo.study.spec import EarlyStopping, LengthRange, StudySpec
from hpo.study.states import Direction
from hpo.study.study_file import Source, read_study
from hpo.study.trainer_options import NOT_IN_A_TRIAL, SET_ELSEWHERE, TrainerOptions

MINIMAL = """\
model: models.dnn:DNN
data: models.data:Digits
objective: {metric: val_accuracy, direction: maximize}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file with the three keys that it needs, named as a user in its folder would."""
    monkeypatch.chdir(tmp_path)
    path = Path("digits.yaml")
    path.write_text(MINIMAL)
    return path


def refusal(file: Path, text: str = "", *changes: str) -> list[str]:
    """The lines of the message that refuses the minimal file with this text below it."""
    file.write_text(MINIMAL + text)
    with pytest.raises(SpecError) as caught:
        read_study(file, changes=changes)
    return str(caught.value).splitlines()


def read(file: Path, text: str = "", *changes: str) -> StudySpec:
    file.write_text(MINIMAL + text)
    return read_study(file, changes=changes)[0]


# ---- what it says


def test_three_keys_are_enough(file: Path) -> None:
    spec = read(file)

    assert spec.study == "digits"
    assert (spec.models[0].label, spec.data.label) == ("models.dnn:DNN", "models.data:Digits")
    assert (spec.objective.metric, spec.objective.direction) == ("val_accuracy", "maximize")
    assert (spec.epochs, spec.budget.trials_target, spec.keep.checkpoints, spec.seed) == (100, 20, 5, 0)
    assert (spec.sampler.name, spec.pruner.name) == ("auto", "asha")
    assert spec.early_stopping == EarlyStopping(patience="auto", min_delta="auto")


def test_a_name_on_the_command_line_goes_before_the_files(file: Path) -> None:
    file.write_text(f"study: other\n{MINIMAL}")

    assert read_study(file)[0].study == "other"
    assert read_study(file, name="mine")[0].study == "mine"


def test_further_keys_of_a_class_are_its_arguments(file: Path) -> None:
    spec = read(file, "", "model={class: 'models.dnn:DNN', depth: 3}", "data.split_seed=7")

    assert spec.models[0].arguments == {"depth": 3}
    assert spec.data.label == "models.data:Digits"
    assert spec.data.arguments == {"split_seed": 7}


@pytest.mark.parametrize(
    ("text", "name", "label", "options"),
    [
        ("pruner: median\n", "median", None, {}),
        ("pruner: {name: asha, eta: 4}\n", "asha", None, {"eta": 4}),
        ("pruner: {eta: 4}\n", "asha", None, {"eta": 4}),
        ("pruner: {class: my_lab.pruners:Mine, strict: true}\n", None, "my_lab.pruners:Mine", {"strict": True}),
        ("pruner:\n", "none", None, {}),
        ("pruner: none\n", "none", None, {}),
    ],
)
def test_an_algorithm_is_a_name_or_a_class_with_options(
    text: str, name: str | None, label: str | None, options: dict[str, object], file: Path
) -> None:
    pruner = read(file, text).pruner

    assert (pruner.name, pruner.label, pruner.options) == (name, label, options)


def test_epochs_are_a_number_or_a_range(file: Path) -> None:
    assert read(file, "epochs: 7\n").max_epochs == 7
    assert read(file, "epochs: {low: 3, high: 27, log: true}\n").epochs == LengthRange(low=3, high=27, log=True)
    assert read(file, "epochs: {low: 3, high: 27}\n").max_epochs == 27


@pytest.mark.parametrize(
    ("written", "meant"), [("32", "32-true"), ("bf16", "bf16-mixed"), ("16-true", "16-true"), ("64", "64-true")]
)
def test_precision_has_short_forms(written: str, meant: str, file: Path) -> None:
    assert read(file, f"resources: {{precision: {written}}}\n").resources.precision == meant


def test_numbers_are_read_as_in_yaml_1_2(file: Path) -> None:
    spec = read(file, "space:\n  lr: {low: 1e-4, high: 1.0e-1}\n  mode: [on, no, yes]\n  flag: true\n  width: 0o10\n")

    assert spec.space["lr"] == {"low": 1e-4, "high": 0.1}
    assert spec.space["mode"] == ["on", "no", "yes"]
    assert spec.space["flag"] is True
    assert spec.space["width"] == 8


def test_plain_values_are_read(file: Path) -> None:
    # ruamel's own scalars remember how they were written, and would be pickled or compared as such
    spec = read(file, "space:\n  lr: 1.0e-3\n  width: 0x10\n  name: 'quoted'\n  list: [1, 2.0, true]\n")

    types = [type(value) for value in spec.space.values()]

    assert types == [float, int, str, list]
    assert [type(value) for value in spec.space["list"]] == [int, float, bool]


def test_a_spec_survives_the_way_into_the_store_and_back(file: Path) -> None:
    spec = read(file, "epochs: {low: 1, high: 3}\npruner: {name: asha, eta: 4}\nspace: {optimizer: [adam, sgd]}\n")

    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_a_spec_does_not_change(file: Path) -> None:
    spec = read(file)

    with pytest.raises(ValidationError, match="frozen"):
        spec.seed = 3  # type: ignore[misc]


# ---- changes from the command line


def test_changes_go_over_the_file(file: Path) -> None:
    spec = read(file, "epochs: 30\nbudget: {trials: 40}\n", "epochs=5", "budget.trials=7", "space.lr={low: 1e-4}")

    assert (spec.epochs, spec.budget.trials) == (5, 7)
    assert spec.space == {"lr": {"low": 1e-4}}


@pytest.mark.parametrize("text", ["", "pruner: asha\n", "pruner: {name: asha, min_epochs: 2}\n"])
def test_an_option_can_be_set_however_the_file_wrote_its_section(text: str, file: Path) -> None:
    pruner = read(file, text, "pruner.eta=4").pruner

    assert pruner.name == "asha"
    assert pruner.options["eta"] == 4


def test_the_last_change_wins(file: Path) -> None:
    assert read(file, "", "epochs=5", "epochs=6").epochs == 6


def test_a_wrong_change_is_named_as_it_was_typed(file: Path) -> None:
    assert refusal(file, "epochs: 3\n", "epochs=many") == [
        "--set epochs=many: epochs: should be a valid integer (it is 'many') or a mapping of keys"
    ]
    assert refusal(file, "", "budget.trails=3")[0].startswith("--set budget.trails=3: budget.trails: unknown key")
    assert refusal(file, "", "epochs") == [
        "--set epochs: write it as key=value, for example --set epochs=5 or --set pruner.eta=4"
    ]


def test_a_name_that_cannot_be_is_named_by_its_option(file: Path) -> None:
    with pytest.raises(SpecError, match=r"^--name: study: "):
        read_study(file, name="a/b")


# ---- problems


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bugdet: {trials: 3}\n", "digits.yaml:4: bugdet: unknown key, did you mean 'budget'? Known here: study, mod"),
        ("budget:\n  trials: 3\n  hour: 2\n", "digits.yaml:6: budget.hour: unknown key, did you mean 'hours'? Known"),
        ("epochs: many\n", "digits.yaml:4: epochs: should be a valid integer (it is 'many') or a mapping of keys"),
        ("epochs: true\n", "digits.yaml:4: epochs: should be a valid integer (it is True) or a mapping of keys"),
        ("epochs: {low: 5, high: 2}\n", "digits.yaml:4: epochs: low 5 is above high 2"),
        ("budget: {trials: 3.5}\n", "digits.yaml:4: budget.trials: should be a valid integer (it is 3.5)"),
        ("budget: {trials: 0}\n", "digits.yaml:4: budget.trials: should be greater than or equal to 1 (it is 0)"),
        ("budget: 3\n", "digits.yaml:4: budget: should be a mapping of keys (it is 3)"),
        ("space: [lr]\n", "digits.yaml:4: space: should be a mapping of keys"),
        ("resources: {slots: all}\n", "digits.yaml:4: resources.slots: should be a valid integer (it is 'all') or 'a"),
        ("resources: {precision: 8}\n", "digits.yaml:4: resources.precision: should be one of 32, 64, 16, bf16"),
        ("sampler: {name: tpe, class: a:B}\n", "digits.yaml:4: sampler: takes either 'name' or 'class', not both"),
        ("study: a/b\n", "digits.yaml:4: study: "),
        ("seed: -1\n", "digits.yaml:4: seed: should be greater than or equal to 0 (it is -1)"),
    ],
)
def test_a_problem_names_its_file_line_and_key(text: str, line: str, file: Path) -> None:
    lines = refusal(file, text)

    assert len(lines) == 1
    assert lines[0].startswith(line)


@pytest.mark.parametrize("value", ["", "3", "nets", "nets/cnn.py", "{depth: 3}", "[a, b]"])
def test_a_model_is_named_by_its_import_path(value: str, file: Path) -> None:
    file.write_text(MINIMAL.replace("models.dnn:DNN", value))

    with pytest.raises(SpecError, match=r"^digits.yaml:1: model.*(package.module:Class|is missing)"):
        read_study(file)


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(file: Path) -> None:
    lines = refusal(file, "resources:\n  slotz: 2\nepochs: many\nbugdet: 1\n")

    assert [line.split(": ")[:2] for line in lines] == [
        ["digits.yaml:5", "resources.slotz"],
        ["digits.yaml:6", "epochs"],
        ["digits.yaml:7", "bugdet"],
    ]


def test_missing_keys_are_all_named(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("epochs: 3\n")

    with pytest.raises(SpecError) as caught:
        read_study(file)

    assert [line.partition(": ")[2] for line in str(caught.value).splitlines()] == [
        "model: is missing",
        "objective: is missing",
    ]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("{trials_per_device: 2, devices_per_trial: 2}", "is for trials on one GPU: a trial with several devices"),
        ("{trials_per_device: auto, accelerator: cpu}", "is for GPUs: on the CPU, slots says how many trials"),
        ("{trials_per_device: 0}", "should be greater than or equal to 1"),
        ("{trials_per_device: many}", "should be a valid integer (it is 'many') or 'auto'"),
    ],
)
def test_a_number_of_trials_a_device_that_would_do_nothing_is_refused(file: Path, resources: str, message: str) -> None:
    line = refusal(file, f"resources: {resources}\n")[0]

    assert line.startswith("digits.yaml:4: resources.trials_per_device: ")
    assert message in line


ONE = "{metric: val_accuracy, direction: maximize}"


def test_an_objective_may_be_a_list_of_one_or_several(file: Path) -> None:
    file.write_text(MINIMAL.replace(ONE, f"[{ONE}]"))
    assert read_study(file)[0].objective.metric == "val_accuracy"

    file.write_text(MINIMAL.replace(ONE, f"[{ONE}, val_loss, parameters]"))
    objectives = read_study(file)[0].objectives
    assert objectives.metrics == ("val_accuracy", "val_loss", "parameters")
    assert objectives.directions == (Direction.MAXIMIZE, Direction.MINIMIZE, Direction.MINIMIZE)


TWO = f"[{ONE}, parameters]"


@pytest.mark.parametrize(
    ("objective", "more", "message"),
    [
        (f"[{ONE}, val_loss, val_loss]", "", "3: objective.2.metric: val_loss is an objective twice"),
        (f"[{ONE}, {{metric: val_loss}}]", "", "3: objective.1.direction: is missing"),
        ("[{metric: val_accuracy}, val_loss]", "", "3: objective.0.direction: is missing"),
        (f"[{ONE}, speed]", "", "3: objective: the name speed does not show whether higher or lower is better"),
        (f"[{ONE}, {{metric: val_loss, direction: minimize, weight: 2}}]", "", "3: objective.1.weight: unknown key"),
        ("[]", "", "3: objective: is an empty list"),
        ("[parameters, val_loss]", "", "3: objective.0.metric: parameters is measured, and the first objective is one"),
        (TWO, "budget: {target: 0.9}\n", "4: budget.target: 0.9 is one number, and there are 2 objectives: write {hyp"),
        (ONE, "budget: {target: {hypervolume: 1, reference: {val_accuracy: 0}}}\n", "4: budget.target: is a hypervol"),
        (
            TWO,
            "budget: {target: {hypervolume: 1, reference: {val_accuracy: 0, val_loss: 1}}}\n",
            "4: budget.target.reference: should have a value for each objective (val_accuracy, parameters), and",
        ),
        (TWO, "pruner: median\n", "4: pruner: median compares one objective"),
        (TWO, "folds: 3\n", "4: folds: judges a trial by the mean of one objective"),
        (TWO, "budget: {auto: true}\n", "4: budget.auto: is for one objective"),
        (f"[{ONE}, seconds_per_epoch]", "steps: 100\n", "3: objective.1.metric: seconds_per_epoch counts epochs"),
    ],
)
def test_what_cannot_be_with_several_objectives_is_refused_where_it_stands(
    file: Path, objective: str, more: str, message: str
) -> None:
    file.write_text(MINIMAL.replace(ONE, objective) + more)

    with pytest.raises(SpecError) as refused:
        read_study(file)

    assert str(refused.value).startswith(f"digits.yaml:{message}")


# ---- files that are no study


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^digits.yaml: the file is empty"),
        ("# only a comment\n", "^digits.yaml: the file is empty"),
        ("- a\n- b\n", "^digits.yaml: a study file is a mapping of keys"),
        ("hello\n", "^digits.yaml: a study file is a mapping of keys"),
        ("model: [1, 2\n", "^digits.yaml:2: not valid YAML: "),
        ("space:\n\tlr: 3\n", "^digits.yaml:2: not valid YAML: .*'.t' that cannot start"),
        ("a: 1\n---\nb: 2\n", "^digits.yaml:2: not valid YAML: but found another document"),
        ("epochs: 3\nseed: 1\nepochs: 4\n", '^digits.yaml:3: found duplicate key "epochs".*: write it once'),
        ("budget:\n  trials: 3\n  trials: 4\n", '^digits.yaml:3: found duplicate key "trials".*: write it once'),
        ("model: !!python/object:os.system x\n", "^digits.yaml:1: model"),
    ],
)
def test_a_file_that_is_no_study_is_refused(text: str, message: str, file: Path) -> None:
    file.write_text(text)

    with pytest.raises(SpecError, match=message):
        read_study(file)


def test_the_error_of_a_missing_file_lists_the_files_beside_it(file: Path) -> None:
    with pytest.raises(SpecError, match=r"^digit.yaml: there is no such file, did you mean 'digits.yaml'\? "):
        read_study(Path("digit.yaml"))
    with pytest.raises(SpecError, match=r"^nowhere/digits.yaml: there is no such file$"):
        read_study(Path("nowhere/digits.yaml"))


def test_a_folder_and_a_binary_file_are_no_study(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"is a folder, not a study file$"):
        read_study(tmp_path)

    file.write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(SpecError, match=r"^digits.yaml: cannot be read as text"):
        read_study(file)


def test_problems_of_a_stored_study_name_the_study() -> None:
    source = Source.of_stored("digits")

    assert str(source.error([(("space", "lr"), "is gone")])) == "study digits: space.lr: is gone"


# ---- options of the Trainer


def test_options_of_the_trainer_are_lightnings(file: Path) -> None:
    text = (
        "trainer: {accumulate_grad_batches: 2, limit_train_batches: 0.5, limit_val_batches: 3, callbacks: [mine:Watch]}"
    )

    options = read(file, f"{text}\n").trainer

    assert options.given == {
        "accumulate_grad_batches": 2,
        "limit_train_batches": 0.5,
        "limit_val_batches": 3,
        "callbacks": ({"class": "mine:Watch"},),
    }
    assert read(file).trainer.given == {}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_epochs: 3", "trainer.max_epochs: is set by epochs: 20"),
        ("devices: 2", "trainer.devices: is set by resources: {devices_per_trial: 2}"),
        ("max_time: 3", "trainer.max_time: is set by budget: {trial_minutes: 30}"),
        ("precision: 16", "trainer.precision: is set by resources: {precision: bf16}"),
        ("profiler: simple", "trainer.profiler: cannot be combined with a search: profile"),
        (
            "acumulate_grad_batches: 3",
            "unknown key, did you mean 'accumulate_grad_batches'? Known here: ",
        ),
        ("limit_train_batches: 1.5", "trainer.limit_train_batches: should be a whole number of batches"),
        ("limit_val_batches: 0", "trainer.limit_val_batches: should be a whole number of batches"),
        ("gradient_clip_algorithm: l2", "should be 'norm' or 'value'"),
        (
            "callbacks: [{patience: 3}]",
            "trainer.callbacks: {'patience': 3} does not name a class: write it as",
        ),
        ("callbacks: mine:Watch", "trainer.callbacks: is a list of classes"),
        ("check_val_every_n_epoch: null", "trainer.check_val_every_n_epoch: null counts the batches of all epochs"),
    ],
)
def test_an_option_that_a_trial_cannot_have_is_refused(option: str, message: str, file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(file, f"trainer: {{{option}}}\n")

    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_options_and_refused_keys_are_names_of_lightnings_trainer() -> None:
    from pytorch_lightning import Trainer

    refused = [*SET_ELSEWHERE, *NOT_IN_A_TRIAL]

    assert {*TrainerOptions.model_fields, *refused} <= set(inspect.signature(Trainer).parameters)
    assert len({*TrainerOptions.model_fields, *refused}) == len(TrainerOptions.model_fields) + len(refused)


def test_a_study_may_have_no_data(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("data:")))

    assert read_study(file)[0].data.label == "hpo.training.own_loaders:OwnLoaders"
