"""A study file, a `--set` and a point that no person writes are refused in one message, before anything is built."""

from __future__ import annotations

import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml.error import YAMLError

from hpo.errors import SpecError
from hpo.space import Choice
from hpo.space.from_text import value_of_text
from hpo.space.parameter import Parameter
from hpo.study.study_file import MOST_PROBLEMS, Source, read_study
from hpo.yaml_text import MOST_CHARACTERS, MOST_DEPTH, MOST_VALUES, YamlLimitError, read_yaml

LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip(string.ascii_lowercase, string.ascii_lowercase[1:12], strict=False)
)
TOO_LARGE = {
    "aliases of aliases": (LAUGHS, "with those that aliases repeat"),
    "merged aliases": (
        "a: &a {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\nb: {<<: [" + "*a, " * 9 + "*a]}",
        "aliases",
    ),
    "an alias of itself": ("a: &a [1, *a]", "inside of what it repeats"),
    "brackets": ("a: " + "[" * 40_000, "in each other"),
    "nested blocks": ("\n".join(" " * depth + "a:" for depth in range(400)), "in each other"),
    "values": ("a: [" + "1, " * MOST_VALUES + "1]", "values"),
    "characters": ("# comment\n" * MOST_CHARACTERS, "characters"),
    "digits": ("a: " + "9" * 90_000, "an integer beyond"),
    "hexadecimal digits": ("a: 0x" + "f" * 90_000, "an integer beyond"),
    "an integer of 65 bits": (f"a: {2**64}", "an integer beyond 9,223,372,036,854,775,807: 18446744073709551616"),
}


@pytest.mark.parametrize(("text", "why"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_study_file_beyond_the_limits_is_one_line_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(text)

    with pytest.raises(SpecError, match=why) as refused:
        read_study(file)

    message = str(refused.value)
    assert message.startswith(f"{file}:")
    assert len(message.splitlines()) == 1
    assert len(message) < 300


@pytest.mark.parametrize(("text", "why"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_value_of_an_option_beyond_the_limits_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("model: a.b:C\n")

    with pytest.raises(SpecError, match=f"--set space.x=...: too large for a value: .*{why}"):
        read_study(file, changes=[f"space.x={text}"])


def test_a_key_of_thousands_of_parts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("model: a.b:C\n")

    with pytest.raises(SpecError, match="a key of 5000 parts"):
        read_study(file, changes=[".".join("a" * 5000) + "=1"])


def test_a_point_beyond_the_limits_is_no_value_of_a_choice() -> None:
    layers = Parameter("layers", Choice([64, 64], [32]), default=[32], has_default=True)

    assert value_of_text(layers, "[64, 64]") == [64, 64]
    for text in ("[" * 5000, "[" + "9" * 5000 + "]", "{a: &a [*a]}"):
        assert value_of_text(layers, text) == text


def test_keys_of_python_that_hold_themselves_are_refused() -> None:
    keys: dict[str, object] = {}
    keys["space"] = keys

    with pytest.raises(SpecError, match="hold themselves"):
        Source.of_mapping(keys, call="hpo.run()")


def test_of_many_problems_the_first_are_told(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("".join(f"key{number}: 1\n" for number in range(500)))

    with pytest.raises(SpecError) as refused:
        read_study(file)

    assert MOST_PROBLEMS / 2 < len(str(refused.value).splitlines()) <= MOST_PROBLEMS + 1
    assert str(refused.value).endswith("and more, which a second try tells")


def test_aliases_and_merges_of_a_study_file_are_read() -> None:
    text = "a: &few [1, 2]\nb: *few\nc: &base {x: 1}\nd: {<<: *base, y: 0x10}\ne: 007\nf: -9223372036854775807\n"

    read = read_yaml(text)

    assert read == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"x": 1},
        "d": {"x": 1, "y": 16},
        "e": 7,
        "f": -9223372036854775807,
    }


def test_the_limits_are_beyond_what_is_allowed() -> None:
    assert read_yaml("[" * MOST_DEPTH + "]" * MOST_DEPTH)
    with pytest.raises(YamlLimitError):
        read_yaml("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1))


@given(st.text("&*[]{}:,-<>|?!%'\"#ab01xT \n", max_size=60))
@example("a: 2024-13-45")
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(YAMLError, YamlLimitError):
        read_yaml(text)
