"""The search space is read from constructors, narrowed by study files, and drawn from by trials."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import optuna
import pytest
from ruamel.yaml import YAML

import hpo.space
from hpo.errors import SpecError
from hpo.space import (
    Argument,
    Choice,
    Float,
    Int,
    Parameter,
    SearchSpace,
    SpaceProblems,
    When,
    arguments_of,
)

if TYPE_CHECKING:
    from collections import NotThereAtRunTime  # type: ignore[attr-defined]

LearningRate = Annotated[float, Float(1e-5, 1e-1, log=True)]


class Base:
    def __init__(
        self,
        optimizer: Annotated[Literal["adam", "sgd", "rmsprop"], Choice()] = "adam",
        momentum: Annotated[float, Float(0.5, 0.99), When(optimizer="sgd")] = 0.9,
        nesterov: Annotated[bool, Choice(), When(optimizer="sgd")] = False,
        lr: LearningRate = 1e-3,
    ) -> None: ...


class Net(Base):
    def __init__(
        self,
        in_features: int,
        layers: Annotated[int, Int(1, 3)] = 1,
        dropout: Annotated[float, Float(0, 0.5), When(layers=(2, 3))] = 0,
        lr: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)


class Data:
    def __init__(self, batch_size: Annotated[int, Choice(32, 64)] = 32, root: str = ".") -> None: ...


class Foreign:
    """Somebody else's module: no ranges, few hints, one name that only a type checker knows."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        backbone: NotThereAtRunTime,
        alpha: float,
        weight_decay=0,
        depth: int | None = None,
        shuffle=True,
        norm: Literal["batch", "layer"] | None = None,
        loss: Any = print,
    ) -> None: ...


SPACE = SearchSpace.of(Net)
ARGUMENTS = arguments_of(Net)


def override(**changes: Any) -> hpo.space.Resolved:
    return SPACE.override(changes, ARGUMENTS, label="models.net:Net")


def problem_with(**changes: Any) -> str:
    with pytest.raises(SpaceProblems) as caught:
        override(**changes)
    return str(caught.value)


class TestRanges:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: Float(2, 1), "low 2.0 is above high 1.0"),
            (lambda: Float(0, 1, log=True), "must start above 0"),
            (lambda: Int(0, 8, log=True), "must start above 0"),
            (lambda: Float(1, 2, log=True, step=0.1), "either log or has a step"),
            (lambda: Float(0, 1, step=0), "step is 0.0"),
            (lambda: Int(0, 4, step=-1), "step is -1"),
            (lambda: Float(0, 1, step=2), "wider than the range"),
            (lambda: Float(0, 1, step=1e-300), "too fine"),
            (lambda: Float(float("nan"), 1), "finite"),
            (lambda: Float(0, float("inf")), "finite"),
            (lambda: Float(0, 10**400), "finite"),
            (
                lambda: Float("1e-4", 1),  # type: ignore[arg-type]
                "low is the text '1e-4', not a number; write it without quotes, .*1.0e-4",
            ),
            (lambda: Float(False, 1), "low is False, which is not a number"),
            (lambda: Float(0, 1, log="yes"), "true or false"),  # type: ignore[arg-type]
            (lambda: Int(1, 6.5), "high is 6.5, which is not an integer"),  # type: ignore[arg-type]
            (lambda: Int(1, 64.0), "not an integer; write 64"),  # type: ignore[arg-type]
            (lambda: Int(0, 2**60), "2\\*\\*53"),
            (lambda: Choice("a", "b", "a"), "'a' is listed twice"),
            (lambda: Choice(True, 1), "cannot distinguish the choices True and 1"),
            (lambda: Choice({"a", "b"}), "write Choice\\('a', 'b'\\)"),  # type: ignore[arg-type]
            (lambda: Choice(float("nan")), "not nan"),
            (lambda: When(), "needs a condition"),
            (lambda: When(layers=()), "can never hold"),
            (lambda: When(layers=(2, 2)), "twice"),
        ],
    )
    def test_invalid_values_are_refused_with_a_reason(self, make: Any, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            make()

    def test_true_and_one_are_different_choices(self) -> None:
        assert Choice(True, False) != Choice(1, 0)
        assert Choice(1, 2) != Choice(1.0, 2.0)
        assert Choice(True, False).problem(1) == "is not one of True, False"
        assert Choice(1, 2).problem(True) == "is not one of 1, 2"

    def test_an_integer_is_taken_for_a_real_number(self) -> None:
        assert Float(0, 1) == Float(0.0, 1.0)
        assert repr(Float(0, 1).take(1)) == "1.0"
        assert repr(Choice(0.5, 1.0).take(1)) == "1.0"

    def test_a_grid_ends_at_its_last_point(self) -> None:
        assert Float(0, 1, step=0.3).high == 0.9
        assert Float(0, 0.3, step=0.1).high == 0.3
        assert Int(16, 100, step=16).high == 96
        assert Int(1, 6, step=1) == Int(1, 6)

    def test_points_on_and_beside_the_grid_are_distinguished(self) -> None:
        grid = Float(0, 1, step=0.1)

        assert grid.problem(0.1 + 0.2) is None
        assert grid.problem(0.25) == "is not on the grid 0.0 to 1.0, step 0.1"
        assert Int(16, 64, step=16).problem(40) == "is not on the grid 16 to 64, step 16"
        assert grid.nearest(0.44) == 0.4

    def test_a_text_is_no_number(self) -> None:
        assert Float(0, 1).problem("1e-4") == "is a text, not a number; write it without quotes, such as 1.0e-4"
        assert Int(0, 1).problem("many") == "is a text, not an integer"
        assert Int(1, 128).problem(64.0) == "is not an integer; write 64"

    @pytest.mark.parametrize(
        ("narrow", "wide", "holds"),
        [
            (Float(0.1, 0.2), Float(0, 1), True),
            (Float(0.1, 0.2, log=True), Float(0, 1), True),
            (Float(0, 1.1), Float(0, 1), False),
            (Float(0.2, 0.8, step=0.2), Float(0, 1, step=0.1), True),
            (Float(0.25, 0.85, step=0.2), Float(0, 1, step=0.1), False),
            (Float(0, 1), Float(0, 1, step=0.1), False),
            (Float(0.3, 0.3), Float(0, 1, step=0.1), True),
            (Int(2, 3), Int(1, 6), True),
            (Int(16, 64, step=32), Int(16, 64, step=16), True),
            (Int(16, 64), Int(16, 64, step=16), False),
            (Int(0, 1), Float(0, 1), False),
            (Choice(2, 4), Int(1, 6), True),
            (Choice(True), Int(0, 1), False),
            (Choice(0.5), Float(0, 1), True),
            (Choice(0.5, "a"), Float(0, 1), False),
            (Choice("a"), Choice("b", "a"), True),
            (Choice(1), Choice(True, False), False),
            (Int(1, 2), Choice(1, 2), False),
        ],
    )
    def test_a_range_lies_within_another_or_not(self, narrow: Any, wide: Any, holds: bool) -> None:
        assert narrow.within(wide) is holds

    def test_the_middle_of_a_log_range_is_geometric(self) -> None:
        assert Float(1e-4, 1e-2, log=True).middle() == pytest.approx(1e-3)
        assert Int(1, 100, log=True).middle() == 10
        assert Float(0, 1, step=0.3).middle() in (0.3, 0.6)


class TestReading:
    def test_a_space_has_the_annotated_arguments_in_order(self) -> None:
        assert SPACE.names == ("layers", "dropout", "lr", "optimizer", "momentum", "nesterov")
        assert SPACE["layers"] == Parameter("layers", Int(1, 3), default=1, has_default=True)
        assert SPACE["nesterov"].range == Choice(False, True)
        assert SPACE["dropout"].when == {"layers": (2, 3)}
        assert repr(SPACE["dropout"].default) == "0.0"

    def test_a_class_wins_over_the_base_that_it_hands_its_kwargs_to(self) -> None:
        assert SPACE["lr"].range == Float(1e-4, 1e-2, log=True)
        assert SearchSpace.of(Base)["lr"].range == Float(1e-5, 1e-1, log=True)

    def test_a_base_is_not_read_without_kwargs(self) -> None:
        class Closed(Base):
            def __init__(self, width: Annotated[int, Int(1, 4)] = 1) -> None:
                super().__init__()

        assert SearchSpace.of(Closed).names == ("width",)

    def test_a_class_without_a_constructor_has_that_of_its_base(self) -> None:
        class Silent(Base):
            pass

        assert SearchSpace.of(Silent) == SearchSpace.of(Base)
        assert len(SearchSpace.of(object)) == 0

    def test_a_parameter_may_depend_on_one_of_the_base(self) -> None:
        class Child(Base):
            def __init__(
                self, beta: Annotated[float, Float(0, 1), When(optimizer="adam")] = 0.5, **kwargs: Any
            ) -> None:
                super().__init__(**kwargs)

        assert SearchSpace.of(Child).names == ("optimizer", "beta", "momentum", "nesterov", "lr")

    def test_a_function_is_read_like_a_constructor(self) -> None:
        def train(lr: LearningRate = 1e-2, *, width: Annotated[int, Int(1, 4)]) -> None: ...

        space = SearchSpace.of(train, "data")

        assert space.names == ("lr", "width")
        assert not space["width"].has_default
        assert space["width"].owner == "data"

    def test_a_wrapped_constructor_is_read_through_its_wrapper(self) -> None:
        class Wrapped:
            def __init__(self, lr: LearningRate = 1e-2) -> None: ...

        original = Wrapped.__init__

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)

        Wrapped.__init__ = wrapper  # type: ignore[method-assign]

        assert SearchSpace.of(Wrapped).names == ("lr",)

    def test_none_may_be_a_choice(self) -> None:
        def train(schedule: Annotated[Literal["cosine"] | None, Choice()] = None) -> None: ...

        schedule = SearchSpace.of(train)["schedule"]

        assert schedule.range == Choice("cosine", None)
        assert schedule.has_default
        assert schedule.default is None

    @pytest.mark.parametrize(
        ("annotation", "default", "words"),
        [
            (Annotated[int, Int(1, 6)], 9, "the default 9 of 'x' lies outside 1 to 6"),
            (Annotated[float, Float(0, 1)], None, "the default None of 'x' is not a number"),
            (Annotated[float, Float(0, 1), When(layers=2)], 3.0, "the default 3.0 of 'x'"),
            (Annotated[float, Float(0, 1), When(layer=2)], 0.5, "'layer', which is not searched.*'layers'"),
            (Annotated[float, Float(0, 1), When(later=2)], 0.5, "'later', which is declared after it"),
            (Annotated[float, Float(0, 1), When(x=2)], 0.5, "'x', which is declared after it"),
            (Annotated[float, Float(0, 1), When(layers=4)], 0.5, "'layers' is 4, but 'layers' is 1 to 3"),
            (Annotated[float, Float(0, 1), When(layers=True)], 0.5, "'layers' is True, but 'layers' is 1 to 3"),
            (Annotated[float, Float(0, 1), When(rate=0.5)], 0.5, "needs a choice or an integer"),
            (Annotated[float, Float(0, 1), When(layers=2)], ..., "it needs a default"),
            (Annotated[float, When(layers=2)], 0.5, "needs one range"),
            (Annotated[float, Float(0, 1), Float(0, 2)], 0.5, "needs one range"),
            (Annotated[bool, Choice], True, "write Choice\\(...\\), not Choice"),
            (Annotated[str, Choice()], "a", "needs its choices here"),
            (
                Annotated[Literal["a", "b"], Choice("a", "c")],
                "a",
                "not within the hint, one of 'a', 'b'",
            ),
            (Annotated[int, Float(0, 1)], 0, "Float\\(...\\) contradicts the hint of type int"),
            (Annotated[bool, Int(0, 1)], 0, "Int\\(...\\) contradicts the hint of type bool"),
            (Annotated[float, Float(0, 1)] | None, 0.5, "the range must be outermost"),
            ("Annotated[float, Float(2, 1)]", 0.5, "'x': low 2.0 is above high 1.0"),
            ("Annotated[Unheard, Float(2, 1)]", 0.5, "'x': its annotation cannot be read.*Unheard"),
        ],
    )
    def test_an_error_names_the_class_and_the_parameter(self, annotation: Any, default: Any, words: str) -> None:
        class Wrong:
            def __init__(self, layers, rate, x, later): ...  # type: ignore[no-untyped-def]

        Wrong.__init__.__defaults__ = None if default is ... else (default, 2)
        Wrong.__init__.__annotations__ = {
            "layers": Annotated[int, Int(1, 3)],
            "rate": Annotated[float, Float(0, 1)],
            "x": annotation,
            "later": Annotated[int, Int(1, 3)],
        }

        with pytest.raises(SpecError, match=f"test_space:.*Wrong: .*{words}") as caught:
            SearchSpace.of(Wrong)

        assert "'x'" in str(caught.value)

    def test_a_positional_only_argument_cannot_be_searched(self) -> None:
        def train(lr: LearningRate = 1e-2, /) -> None: ...

        with pytest.raises(SpecError, match="positional-only"):
            SearchSpace.of(train)

    def test_arguments_are_described_in_plain_data(self) -> None:
        assert arguments_of(Foreign) == (
            Argument("backbone", hint="other", takes_entries=True),
            Argument("alpha", hint="float"),
            Argument("weight_decay", hint="other", has_default=True, default=0),
            Argument("depth", hint="int", has_default=True),
            Argument("shuffle", hint="bool", has_default=True, default=True, choices=(False, True)),
            Argument("norm", hint="choice", has_default=True, choices=("batch", "layer", None)),
            Argument("loss", hint="other", has_default=True),
        )
        assert len(SearchSpace.of(Foreign)) == 0

    def test_arguments_include_the_searched_ones_and_those_of_the_base(self) -> None:
        names = [argument.name for argument in ARGUMENTS]

        assert names == ["in_features", "layers", "dropout", "lr", "optimizer", "momentum", "nesterov"]
        assert ARGUMENTS[0] == Argument("in_features", hint="int")
        assert ARGUMENTS[4].choices == ("adam", "sgd", "rmsprop")

    def test_importing_the_space_imports_no_library(self) -> None:
        script = "import sys, hpo.space; print({'torch', 'optuna', 'numpy', 'pydantic'} & set(sys.modules))"

        shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

        assert shown.stdout.strip() == "set()"


class TestOverride:
    def test_bounds_that_are_not_named_stay(self) -> None:
        space = override(lr={"high": 5e-3}).space

        assert space["lr"] == Parameter("lr", Float(1e-4, 5e-3, log=True), default=1e-3, has_default=True)
        assert space.names == SPACE.names

    def test_a_default_that_fell_out_moves_inside(self) -> None:
        space = override(lr={"low": 2e-3}, layers={"low": 2}, optimizer=["sgd", "rmsprop"]).space

        assert space["lr"].default == 2e-3
        assert space["layers"].default == 2
        assert space["optimizer"].default == "sgd"

    def test_a_default_can_be_asked_for(self) -> None:
        assert override(lr={"default": 5e-3}).space["lr"].default == 5e-3
        assert problem_with(lr={"default": 5}) == "'lr': the default 5 lies outside 0.0001 to 0.01, log"

    def test_numbers_can_be_listed(self) -> None:
        space = override(layers=[3, 1], momentum=[0.9, 0.95], dropout={"choices": [0, 0.5], "default": 0.5}).space

        assert space["layers"].range == Choice(3, 1)
        assert space["layers"].default == 1
        assert space["momentum"].range == Choice(0.9, 0.95)
        assert space["dropout"].range == Choice(0.0, 0.5)
        assert space["dropout"].default == 0.5

    def test_values_are_taken_as_a_yaml_reader_gives_them(self) -> None:
        text = "{lr: {high: 5.0e-3}, layers: [1, 2], optimizer: 'sgd', momentum: [0.9, 0.95], in_features: 0x10}"
        reader = YAML()
        reader.preserve_quotes = True

        resolved = SPACE.override(reader.load(text), ARGUMENTS)

        assert resolved.space["lr"].range == Float(1e-4, 5e-3, log=True)
        assert resolved.space["momentum"].range == Choice(0.9, 0.95)
        assert resolved.pins == {"optimizer": "sgd", "in_features": 16}
        assert {type(value) for value in resolved.pins.values()} == {str, int}

    def test_a_pinned_parameter_is_no_longer_searched(self) -> None:
        space, pins = override(lr=0.01, in_features=64).space, override(lr=0.01, in_features=64).pins

        assert "lr" not in space
        assert pins == {"lr": 0.01, "in_features": 64}

    def test_a_pin_decides_the_conditions_on_it(self) -> None:
        met = override(optimizer="sgd").space
        missed = override(optimizer="adam", layers=1).space

        assert met["momentum"].when == met["nesterov"].when == {}
        assert missed.names == ("lr",)

    def test_a_narrowed_parent_takes_with_it_what_can_no_longer_exist(self) -> None:
        assert "dropout" not in override(layers=[1]).space
        assert "dropout" not in override(layers={"high": 1}).space
        assert override(layers={"high": 2}).space["dropout"].when == {"layers": (2,)}
        assert override(optimizer=["adam", "rmsprop"]).space.names == ("layers", "dropout", "lr", "optimizer")

    def test_children_of_what_cannot_exist_go_too(self) -> None:
        chain = _chain()

        assert chain.override({"a": False}).space.names == ()
        assert chain.override({"a": True}).space.names == ("b", "c")
        assert chain.override({"a": True}).space["b"].when == {}

    def test_the_child_of_a_pinned_parent_depends_on_its_grandparent(self) -> None:
        chain = _chain()

        space = chain.override({"b": "on"}).space

        assert space["c"].when == {"a": (True,)}
        assert chain.override({"b": "on", "a": False}).space.names == ()
        assert chain.override({"b": "off"}).space.names == ("a",)

    def test_a_range_can_be_added_to_somebody_elses_class(self) -> None:
        changes = {
            "alpha": {"low": 0, "high": 1},
            "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
            "depth": {"low": 1, "high": 4, "default": 2},
            "norm": ["batch", None],
            "loss": [1, 2],
            "shuffle": {"choices": [False, True]},
        }

        space = SearchSpace().override(changes, arguments_of(Foreign)).space

        assert list(space.values()) == [
            Parameter("alpha", Float(0, 1)),
            Parameter("weight_decay", Float(1e-6, 1e-2, log=True), default=1e-6, has_default=True),
            Parameter("depth", Int(1, 4), default=2, has_default=True),
            Parameter("norm", Choice("batch", None), default=None, has_default=True),
            Parameter("loss", Choice(1, 2), default=1, has_default=True),
            Parameter("shuffle", Choice(False, True), default=True, has_default=True),
        ]

    def test_the_trainer_may_have_parameters_too(self) -> None:
        epochs = Argument("epochs", "trainer", "int")

        space = SPACE.override({"epochs": {"low": 5, "high": 20}}, [*ARGUMENTS, epochs]).space

        assert space["epochs"] == Parameter("epochs", Int(5, 20), owner="trainer")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            (
                {"lr": {"high": "1e-3"}},
                "'lr': high is the text '1e-3', not a number; write it without quotes",
            ),
            ({"lr": {"hihg": 1e-3}}, "'lr': 'hihg' is not known here, did you mean 'high'?"),
            ({"lr": {"low": 5e-3, "high": 1e-3}}, "'lr': low 0.005 is above high 0.001"),
            ({"lr": "1e-3"}, "'lr': '1e-3' is a text, not a number; write it without quotes"),
            ({"lr": None}, "'lr': None is not a number"),
            ({"lr": []}, "'lr': choices are a list of at least one value"),
            ({"lr": {"choices": [1e-3], "low": 1e-4}}, "'lr': it has either choices or bounds, not both"),
            ({"layers": 2.0}, "'layers': 2.0 is not an integer; write 2"),
            ({"layers": [1, 4.0]}, "'layers': 4.0 is not an integer; write 4"),
            ({"optimizer": "lion"}, "'optimizer': 'lion' is not one of 'adam', 'sgd', 'rmsprop'"),
            ({"optimizer": ["adam", "adam"]}, "'optimizer': the choice 'adam' is listed twice"),
            ({"optimizer": {"low": 1}}, "'optimizer': it is one of 'adam', 'sgd', 'rmsprop': list choices"),
            ({"nesterov": 1}, "'nesterov': 1 is not one of False, True"),
            ({"in_features": {"high": 3}}, "'in_features': it has no range yet, so give low and high"),
            ({"in_features": 3.5}, "'in_features': 3.5 is not an integer"),
        ],
    )
    def test_a_wrong_change_is_refused_with_a_reason(self, changes: dict[str, Any], words: str) -> None:
        assert words in problem_with(**changes)

    def test_values_beyond_the_range_of_a_class_are_taken_and_told(self) -> None:
        changes: dict[str, Any] = {"lr": {"high": 1}, "layers": [1, 9]}

        found = SPACE.override(changes, ARGUMENTS)

        assert found.space["lr"].range == Float(1e-4, 1.0, log=True)
        assert found.space["layers"].range == Choice(1, 9)
        assert found.beyond == (
            "'lr': 0.0001 to 1.0, log goes beyond 0.0001 to 0.01, log",
            "'layers': one of 1, 9 goes beyond 1 to 3",
        )
        pinned = SPACE.override({"layers": 7, "lr": 0.5}, ARGUMENTS)
        assert pinned.pins == {"layers": 7, "lr": 0.5}
        assert pinned.beyond == ("'layers': 7 lies outside 1 to 3", "'lr': 0.5 lies outside 0.0001 to 0.01, log")

    def test_choices_beyond_those_of_a_class_are_numbers_or_in_its_hint(self) -> None:
        hinted = Argument("optimizer", hint="choice", choices=("adam", "sgd", "rmsprop", "nadam"))
        few = SearchSpace((Parameter("optimizer", Choice("adam", "sgd")), Parameter("batch", Choice(16, 32))))

        found = few.override({"optimizer": ["adam", "nadam"], "batch": 64}, [hinted])

        assert found.space["optimizer"].range == Choice("adam", "nadam")
        assert found.pins == {"batch": 64}
        with pytest.raises(SpaceProblems, match="'lion' is not one of 'adam', 'sgd', 'rmsprop', 'nadam'"):
            few.override({"optimizer": "lion"}, [hinted])

    def test_a_wider_range_keeps_the_grid_of_the_class(self) -> None:
        odd = SearchSpace((Parameter("kernel", Int(3, 7, step=2)),))

        assert odd.override({"kernel": {"high": 11}}).space["kernel"].range == Int(3, 11, step=2)
        assert odd.override({"kernel": 15}).pins == {"kernel": 15}
        with pytest.raises(SpaceProblems, match="4 to 6, step 2 is not on the grid of 3 to 7, step 2"):
            odd.override({"kernel": {"low": 4}})
        with pytest.raises(SpaceProblems, match="8 is not on the grid 3 to 7, step 2"):
            odd.override({"kernel": 8})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"norm": "group"}, "'norm': 'group' is not one of 'batch', 'layer', None"),
            ({"norm": {"low": 0, "high": 1}}, "'norm': it is not a number, so list its choices"),
            ({"root": 3}, "'root': 3 is not a text; write it in quotes"),
            ({"alpha": ["much"]}, "'alpha': 'much' is a text, not a number"),
            ({"loss": {1}}, "'loss': {1} is not a text, a finite number, true, false, null, a list or a mapping"),
        ],
    )
    def test_a_plain_argument_keeps_its_type(self, changes: dict[str, Any], message: str) -> None:
        arguments = [*arguments_of(Foreign), *arguments_of(Data, "data")]

        with pytest.raises(SpaceProblems) as caught:
            SearchSpace().override(changes, arguments)

        assert str(caught.value) == message

    def test_a_plain_argument_is_pinned_in_its_type(self) -> None:
        changes = {"alpha": 1, "norm": None, "depth": None, "root": "/data"}

        resolved = SearchSpace().override(changes, [*arguments_of(Foreign), *arguments_of(Data, "data")])

        assert resolved.pins == changes
        assert isinstance(resolved.pins["alpha"], float)

    def test_an_unknown_name_gets_the_names_that_there_are(self) -> None:
        message = problem_with(optimiser="sgd")

        assert message == (
            "'optimiser' is not searched by models.net:Net, which searches layers, dropout, lr, optimizer, "
            "momentum, nesterov, did you mean 'optimizer'?"
        )

    def test_an_argument_of_two_owners_is_unclear(self) -> None:
        arguments = [Argument("seed", "model", "int"), Argument("seed", "data", "int")]

        with pytest.raises(SpaceProblems, match="'seed' is ambiguous: it is an argument of model and data"):
            SPACE.override({"seed": 3}, arguments)

    def test_all_problems_are_reported_at_once(self) -> None:
        with pytest.raises(SpaceProblems) as caught:
            override(lr="1", layers={"high": "9"}, width=64, optimizer="sgd")

        assert [name for name, _ in caught.value.problems] == ["lr", "layers", "width"]
        assert str(caught.value).count("\n") == 2
        assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems

    def test_the_space_that_is_overridden_stays_as_it_was(self) -> None:
        before = SPACE.to_json()

        override(lr=0.01, layers=[1], optimizer=["sgd"])

        assert SPACE.to_json() == before


class TestPoints:
    def test_union_keeps_both_spaces(self) -> None:
        space = SearchSpace.union(SPACE, SearchSpace.of(Data, "data"))

        assert space.names == (*SPACE.names, "batch_size")
        assert space["batch_size"].owner == "data"

    def test_a_name_that_two_owners_claim_is_an_error_that_names_both(self) -> None:
        other = SearchSpace((Parameter("lr", Float(0, 1), owner="data"),))

        with pytest.raises(SpecError, match="'lr' is searched by both the model and the data"):
            SearchSpace.union(SPACE, other)

    def test_the_defaults_are_the_first_point(self) -> None:
        assert SPACE.defaults() == {"layers": 1, "lr": 1e-3, "optimizer": "adam"}
        assert override(optimizer=["sgd"]).space.defaults()["momentum"] == 0.9
        assert SearchSpace((Parameter("x", Float(1, 100, log=True)),)).defaults() == {"x": pytest.approx(10)}

    def test_inactive_parameters_complete_a_point(self) -> None:
        point: dict[str, Any] = {"layers": 2, "dropout": 0.1, "lr": 1e-3, "optimizer": "adam"}

        assert SPACE.inactive_defaults(point) == {"momentum": 0.9, "nesterov": False}
        assert SPACE.complete(point) == {**point, "momentum": 0.9, "nesterov": False}

    @pytest.mark.parametrize(
        ("changes", "problems"),
        [
            ({}, []),
            ({"lr": 1}, ["'lr': 1 lies outside 0.0001 to 0.01, log"]),
            ({"layers": 2}, ["'dropout' is missing (0.0 to 0.5)"]),
            ({"dropout": 0.1}, ["'dropout' is given, but is active only when layers is one of 2, 3"]),
            ({"optimizer": "sdg"}, ["'optimizer': 'sdg' is not one of 'adam', 'sgd', 'rmsprop'"]),
            (
                {"optimizer": "sdg", "momentum": 0.9},
                ["'optimizer': 'sdg' is not one of 'adam', 'sgd', 'rmsprop'"],
            ),
            ({"layer": 2}, ["'layer' is not searched, did you mean 'layers'?"]),
        ],
    )
    def test_problems_of_a_point_are_described_in_words(self, changes: Any, problems: list[str]) -> None:
        point = {**SPACE.defaults(), **changes}

        assert SPACE.problems(point) == problems
        assert SPACE.contains(point) is (not problems)

    def test_a_partial_point_leaves_the_rest_open(self) -> None:
        assert SPACE.problems({"momentum": 0.9}, partial=True) == []
        assert SPACE.problems({"momentum": 0.9, "optimizer": "adam"}, partial=True) != []
        assert "'lr' is missing (0.0001 to 0.01, log)" in SPACE.problems({})

    def test_a_trial_is_asked_only_for_active_parameters(self) -> None:
        trial = optuna.trial.FixedTrial({"layers": 2, "dropout": 0.25, "lr": 1e-3, "optimizer": "adam"})

        assert SPACE.suggest(trial) == trial.params

    def test_json_gives_the_space_back(self) -> None:
        text = json.dumps(SPACE.to_json())

        space = SearchSpace.from_json(json.loads(text))

        assert space == SPACE
        assert space.names == SPACE.names
        assert json.loads(text)[1] == {
            "name": "dropout",
            "kind": "float",
            "low": 0.0,
            "high": 0.5,
            "log": False,
            "step": None,
            "default": 0.0,
            "has_default": True,
            "when": {"layers": [2, 3]},
            "owner": "model",
        }

    def test_spaces_and_arguments_travel_between_processes(self) -> None:
        assert pickle.loads(pickle.dumps(SPACE)) == SPACE
        assert pickle.loads(pickle.dumps(ARGUMENTS)) == ARGUMENTS

    def test_differences_are_described_in_words(self) -> None:
        other = override(lr={"high": 5e-3}, optimizer="sgd").space

        differences = SPACE.differences(other, mine="the code", theirs="the study")

        assert differences[0] == (
            "'lr' is 0.0001 to 0.01, log, default 0.001, of the model in the code, "
            "but 0.0001 to 0.005, log, default 0.001, of the model in the study"
        )
        assert differences[1] == "'optimizer' is searched in the code only"
        assert differences[2].startswith("'momentum' is 0.5 to 0.99, default 0.9, when optimizer is 'sgd', ")
        assert SPACE.differences(SPACE) == []

    @pytest.mark.parametrize(
        "other",
        [
            Parameter("x", Choice(True, 2), default=True, has_default=True, when={"a": (1,)}),
            Parameter("x", Choice(1, 2), default=2, has_default=True, when={"a": (1,)}),
            Parameter("x", Choice(1, 2), when={"a": (1,)}),
            Parameter("x", Choice(1, 2), default=1, has_default=True, when={"a": (1, 2)}),
            Parameter("x", Choice(1, 2), default=1, has_default=True),
            Parameter("x", Choice(1, 2), default=1, has_default=True, when={"a": (1,)}, owner="data"),
        ],
    )
    def test_every_part_of_a_parameter_can_differ(self, other: Parameter) -> None:
        parent = Parameter("a", Int(1, 2))
        one = Parameter("x", Choice(1, 2), default=1, has_default=True, when={"a": (1,)})

        assert one != other
        assert len(SearchSpace((parent, one)).differences(SearchSpace((parent, other)))) == 1

    def test_equality_does_not_ask_for_an_order(self) -> None:
        a, b = Parameter("a", Int(1, 2)), Parameter("b", Int(1, 2))

        assert SearchSpace((a, b)) == SearchSpace((b, a))

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ((Parameter("a", Int(1, 2)), Parameter("a", Int(1, 3))), "'a' is searched twice"),
            ((Parameter("a", Int(1, 2), when={"b": (1,)}),), "'b', which is not searched"),
        ],
    )
    def test_a_space_that_cannot_be_drawn_from_is_refused(self, parameters: Any, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            SearchSpace(parameters)


def _chain() -> SearchSpace:
    return SearchSpace(
        (
            Parameter("a", Choice(False, True)),
            Parameter("b", Choice("on", "off"), when={"a": (True,)}),
            Parameter("c", Int(1, 3), when={"b": ("on",)}),
        )
    )
