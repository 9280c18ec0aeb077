"""Samplers and pruners by name: the options of a study file, and the errors of invalid ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.errors import LoadError, SpecError
from hpo.search.algorithms import LONG, PRUNERS, SAMPLERS, derive_seed, make_pruner, sampler_factory
from hpo.search.bayesian import BayesianSampler
from hpo.search.halving import make_rungs
from hpo.search.tpe import TPE
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.study.spec import StudySpec

LR = Parameter("lr", Float(1e-3, 1.0, log=True))
PLAIN = SearchSpace((LR, Parameter("depth", Int(1, 3))))
CONDITIONAL = SearchSpace(
    (
        LR,
        Parameter("optimizer", Choice("adam", "sgd")),
        Parameter("momentum", Float(0, 1), when={"optimizer": ("sgd",)}),
    )
)


def make_spec(**keys: Any) -> StudySpec:
    plain = {"study": "s", "model": "m:M", "data": "m:D", "objective": {"metric": "loss", "direction": "minimize"}}
    return StudySpec.model_validate(plain | keys)


def sampler(number: int, space: SearchSpace = PLAIN, **keys: Any) -> optuna.samplers.BaseSampler:
    return sampler_factory(make_spec(**keys), space, Path())(number)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_can_be_named(name: str) -> None:
    assert isinstance(sampler(3, sampler=name), SAMPLERS[name].cls)


@pytest.mark.parametrize("name", PRUNERS)
def test_each_pruner_can_be_named(name: str) -> None:
    needed: dict[str, dict[str, object]] = {
        "threshold": {"upper": 1.0},
        "patient": {"patience": 2},
        "percentile": {"percentile": 25.0},
        "asha": {"mode": "stop"},
    }

    pruner = make_pruner(make_spec(pruner={"name": name, **needed.get(name, {})}), Path())

    assert isinstance(pruner, PRUNERS[name].cls)


def test_the_defaults_are_auto_and_asha_that_promotes_from_the_third_epoch_on() -> None:
    rungs = make_rungs(make_spec())

    kinds = [type(sampler(number)) for number in range(6, 10)]
    assert kinds == [type(sampler(number, sampler="auto")) for number in range(6, 10)]
    assert isinstance(make_pruner(make_spec(), Path()), optuna.pruners.NopPruner)
    assert rungs is not None
    assert (rungs.first, rungs._eta, rungs._last) == (3, 3, 50)  # of 100 epochs


def test_auto_takes_gp_and_tpe_in_turns_and_tpe_alone_in_a_long_study() -> None:
    kinds = [type(sampler(number, sampler="auto")) for number in (6, 7, 8, 9, 10, LONG, LONG + 1)]

    assert kinds == [TPE, TPE, BayesianSampler, TPE, BayesianSampler, TPE, TPE]  # at random, then in turns
    at_random = [vars(sampler(number, sampler="auto"))["_n_startup_trials"] > LONG for number in (29, 32, 35, 37, 1001)]
    assert at_random == [False, True, True, False, True]  # each third, from the thirtieth on
    few = sampler(5, sampler={"n_startup_trials": 3})  # of the default
    assert vars(few)["_n_startup_trials"] == 3
    assert vars(sampler(4, sampler={"n_startup_trials": 3}))["_startup"] == 3
    with pytest.raises(SpecError, match=r"auto has no option 'multivariate': name tpe"):
        sampler(0, sampler={"multivariate": True})


@pytest.mark.parametrize(
    ("options", "last"),
    [({}, 6), ({"until": 1}, 12), ({"min_epochs": 8}, 8), ({"min_epochs": 2, "until": 0.25}, 3)],
    ids=str,
)
def test_rungs_are_in_the_first_half_of_a_trial_or_where_a_file_wants_them(options: dict[str, Any], last: int) -> None:
    rungs = make_rungs(make_spec(epochs=12, pruner={"name": "asha", **options}))

    assert rungs is not None
    assert rungs._last == last


def test_options_have_the_names_of_the_field() -> None:
    asha = make_pruner(make_spec(pruner={"name": "asha", "mode": "stop", "eta": 4, "min_epochs": 2}), Path())
    hyperband = make_pruner(make_spec(pruner={"name": "hyperband", "max_epochs": 27}), Path())
    patient = make_pruner(make_spec(pruner={"name": "patient", "patience": 2, "wrapped_pruner": "asha"}), Path())

    assert isinstance(asha, optuna.pruners.SuccessiveHalvingPruner)
    assert (asha._min_resource, asha._reduction_factor) == (2, 4)
    assert isinstance(hyperband, optuna.pruners.HyperbandPruner)
    assert (hyperband._min_resource, hyperband._max_resource) == (3, 27)
    assert isinstance(patient, optuna.pruners.PatientPruner)
    assert isinstance(patient._wrapped_pruner, optuna.pruners.SuccessiveHalvingPruner)


@pytest.mark.parametrize("name", ["median", "threshold"])
def test_a_warm_up_counts_epochs_that_are_not_judged(name: str) -> None:
    options = {"name": name, "n_warmup_steps": 3} | ({"upper": 0.5} if name == "threshold" else {"n_startup_trials": 1})
    pruner = make_pruner(make_spec(pruner=options), Path())
    study = optuna.create_study(pruner=pruner)
    study.add_trial(
        optuna.create_trial(value=0.1, intermediate_values=dict.fromkeys(range(1, 6), 0.1), params={}, distributions={})
    )
    trial = study.ask()

    verdicts = []
    for epoch in (1, 2, 3, 4):
        trial.report(1.0, epoch)
        verdicts.append(trial.should_prune())

    assert verdicts == [False, False, False, True]


def test_hyperband_knows_the_longest_training_from_the_study() -> None:
    pruner = make_pruner(make_spec(pruner="hyperband", epochs={"low": 5, "high": 81}), Path())

    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    assert pruner._max_resource == 81


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sampler", "tpa", "sampler: 'tpa' is not known, did you mean 'tpe'\\? Known: auto, gp, tpe, random"),
        ("pruner", "asher", "pruner: 'asher' is not known, did you mean 'asha'\\? Known: asha, median"),
        (
            "sampler",
            {"name": "tpe", "n_startup": 3},
            "tpe has no option 'n_startup', did you mean 'n_startup_trials'\\?",
        ),
        ("pruner", {"name": "asha", "min_epoch": 3}, "asha has no option 'min_epoch', did you mean 'min_epochs'\\?"),
        ("pruner", {"name": "none", "eta": 3}, "none has no option 'eta'. It has none"),
        ("pruner", {"name": "asha", "eta": 1}, "pruner: asha: eta 1 should be a whole number, 2 or more"),
        ("pruner", {"name": "asha", "mode": "halt"}, "pruner: asha: mode 'halt' should be stop or promote"),
        ("pruner", {"name": "asha", "bootstrap_count": 5}, "has the option 'bootstrap_count' only with mode: stop"),
        ("pruner", {"name": "asha", "mode": "stop", "eta": 1}, "SuccessiveHalvingPruner\\(.*reduction_factor"),
        ("pruner", {"name": "median", "n_startup_trials": -1}, "pruner: MedianPruner\\(n_startup_trials=-1\\)"),
        ("pruner", "patient", "pruner: PatientPruner\\(.*patience"),
        ("pruner", "threshold", "pruner: ThresholdPruner\\(\\): Either lower or upper"),
        ("sampler", {"name": "qmc", "qmc_type": "sobel"}, "sampler: QMCSampler\\(.*qmc_type"),
        ("sampler", {"name": "nsga2", "population_size": 1}, "sampler: NSGAIISampler\\(.*population_size"),
    ],
)
def test_the_error_of_an_invalid_name_or_option_lists_the_valid_ones(key: str, value: object, words: str) -> None:
    spec = make_spec(**{key: value})

    with pytest.raises(SpecError, match=words):
        _ = sampler_factory(spec, PLAIN, Path()), make_pruner(spec, Path())


def test_an_algorithm_of_ones_own_is_given_by_its_class(tmp_path: Path) -> None:
    (tmp_path / "own_algorithms.py").write_text(
        "import optuna\n"
        "class Own(optuna.samplers.RandomSampler):\n"
        "    def __init__(self, favourite, seed=None):\n"
        "        super().__init__(seed)\n"
        "        self.favourite = favourite\n"
    )
    spec = make_spec(sampler={"class": "own_algorithms:Own", "favourite": 7})

    own = sampler_factory(spec, PLAIN, tmp_path)(0)

    assert type(own).__name__ == "Own"
    assert vars(own)["favourite"] == 7


@pytest.mark.parametrize(
    ("key", "label", "base"),
    [("sampler", "optuna.pruners:NopPruner", "BaseSampler"), ("pruner", "optuna.samplers:TPESampler", "BasePruner")],
)
def test_a_class_of_the_wrong_kind_is_refused(key: str, label: str, base: str) -> None:
    spec = make_spec(**{key: {"class": label}})

    with pytest.raises(LoadError, match=f"{key}: {label} is no optuna {base}"):
        _ = sampler_factory(spec, PLAIN, Path()), make_pruner(spec, Path())


def first_draw(number: int, **keys: Any) -> float:
    study = optuna.create_study(sampler=sampler(number, **keys))
    return study.ask().suggest_float("x", 0.0, 1.0)


@pytest.mark.parametrize("name", ["auto", "tpe", "random", "gp", "nsga2"])
def test_a_trial_number_and_a_seed_determine_the_sample(name: str) -> None:
    draws = [first_draw(number, sampler=name) for number in range(20)]

    assert draws == [first_draw(number, sampler=name) for number in range(20)]
    assert len(set(draws)) == 20
    assert first_draw(3, sampler=name, seed=1) not in draws
    assert first_draw(3, sampler={"name": name, "seed": 1}) == first_draw(3, sampler=name, seed=1)


def test_a_derived_seed_is_the_same_everywhere_and_fits_in_32_bits() -> None:
    seeds = [derive_seed(seed, number, what) for seed in range(5) for number in range(50) for what in ("trial", "x")]

    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive_seed(0, 0, "trial") == 3325690193  # studies of old go on as they began


def test_tpe_samples_jointly_within_the_branches_of_a_conditional_space() -> None:
    assert vars(sampler(1, CONDITIONAL, sampler="tpe"))["_group"]
    assert not vars(sampler(1, PLAIN, sampler="tpe"))["_group"]
    assert not vars(sampler(1, CONDITIONAL, sampler={"name": "tpe", "group": False}))["_group"]


def test_a_sampler_that_reads_pickles_from_the_store_is_refused() -> None:
    with pytest.raises(SpecError, match=r"CmaEsSampler keeps pickled objects in the store.*: use tpe or gp"):
        sampler(0, sampler={"class": "optuna.samplers:CmaEsSampler"})
