"""Numbers as people write them are read, or refused with the argument that reads them; identifiers stay as they are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from models.data.numerals import Numerals, read_numbers
from models.data.table import Table

NONE = float("nan")


def values(*texts: str, **written: Any) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = read_numbers(pd.Series(texts, name="x", dtype=object), Numerals(**written), who="Table")
    return [value if value == value else None for value in found.tolist()]  # type: ignore[misc]


def table(folder: Path, text: str, **arguments: Any) -> Table:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    data = Table(**({"source": str(folder / "t.csv"), "target": "y"} | arguments))
    data.setup(None)
    return data


@pytest.mark.parametrize(
    ("texts", "written", "expected"),
    [
        (["2,500", "999", "1,234,567"], {}, [2500, 999, 1234567]),
        (["1,234.50", "-0.5"], {"separator": ";"}, [1234.5, -0.5]),
        (["1,234,567", "1,000"], {"separator": ";"}, [1234567, 1000]),
        (["12,34,567", "1,00,000"], {}, [1234567, 100000]),
        (["8.580,50", "999,5", "7"], {"decimal": ","}, [8580.5, 999.5, 7]),
        (["8.580", "1.234.567"], {"decimal": ","}, [8580, 1234567]),
        (["1 234", "12 345 678"], {}, [1234, 12345678]),
        (["1\u202f234", "12\u00a0345"], {}, [1234, 12345]),
        (["1'234.5", "1\u2019000"], {}, [1234.5, 1000]),
        (["$1,200", "-$5", "($7.50)", "$ 3"], {}, [1200, -5, -7.5, 3]),
        (["1.200,00 €", "5 €"], {"decimal": ","}, [1200, 5]),
        (["CHF 1'200", "EUR"], {}, [1200, None]),
        (["45%", "12.5 %", "-3%", "0"], {}, [45, 12.5, -3, 0]),
        (["US$ 5", "US$1,500"], {}, [5, 1500]),
        (["\u22125,000", "+2,000"], {}, [-5000, 2000]),
        (["1,500", "2,250"], {"separator": ";", "thousands": ","}, [1500, 2250]),
        (["1,500", "2,250"], {"separator": ";", "decimal": ","}, [1.5, 2.25]),
        (["12,5%", "7 %", "-0,25%"], {"decimal": ","}, [12.5, 7, -0.25]),
        (["1e3", "2.5E-2", "-1E+05"], {}, [1000, 0.025, -100000]),
        (["1,5e3", "2e-1"], {"decimal": ","}, [1500, 0.2]),
        (["1,200", "1e3"], {}, [1200, 1000]),
        (["12 kg", "5 kg", "0.5 kg"], {}, [12, 5, 0.5]),
        (["5m", "-2m", "1e3m"], {}, [5, -2, 1000]),
        (["1,200 km/h", "90 km/h"], {}, [1200, 90]),
        (["12,5 °C", "-3 °C"], {"decimal": ","}, [12.5, -3]),
        (["1 year", "2 years", "10 years"], {}, [1, 2, 10]),
        (["80 m²", "65 m²"], {}, [80, 65]),
        (["3 Zimmer", "4 Zimmer"], {}, [3, 4]),
        (["8 GB", "16 GB", "many"], {}, [8, 16, None]),
    ],
)
def test_numbers_are_read_as_they_are_written(
    texts: list[str], written: dict[str, str], expected: list[float | None]
) -> None:
    assert values(*texts, **written) == expected


@pytest.mark.parametrize(
    "texts",
    [
        ["1-2", "3-4"],
        ["1,23,4", "5,6,7"],
        ["079 123 456", "a"],
        ["12A", "14B"],  # houses
        ["7b", "12a"],
        ["1st", "2nd"],
        ["2XL", "L"],
        ["4x4", "6x6"],
        ["2 PM", "3 PM"],
        ["3 Zimmer", "many"],
    ],
)
def test_other_texts_are_no_numbers(texts: list[str]) -> None:
    assert values(*texts) == [None, None]


@pytest.mark.parametrize(
    ("texts", "written", "message"),
    [
        (["1,5", "2,75"], {}, r'has decimal commas, such as \'1,5\': give \{decimal: ","\}'),
        (["1,5", "60", "70"], {}, r'has decimal commas, such as \'1,5\': give \{decimal: ","\}'),
        (["1.234,56", "2,00"], {"separator": ";"}, r'has decimal commas, such as \'1.234,56\': give \{decimal: ","\}'),
        (
            ["2,500", "1,250"],
            {"separator": ";"},
            r'such as \'2,500\': give \{thousands: ","\} if this is 2500, or \{decimal: ","\} if it is 2.500',
        ),
        (["0.25", "1.5"], {"decimal": ","}, r"has decimal points, such as '0.25', but decimal is ','"),
        (["1.125", "0.25", "3"], {"decimal": ","}, r"has decimal points, such as '0.25', but decimal is ','"),
        (["1.100.000", "2.500"], {}, r'has points between thousands, such as \'1.100.000\': give \{decimal: ","\}'),
        (["45%", "0.45"], {}, r"has a percent sign in some rows, as '45%', and none in others"),
        (["$5", "€7"], {}, r"holds amounts in \$, €: convert them to one currency"),
        (["1,5%", "2%"], {}, r'has decimal commas, such as \'1,5%\': give \{decimal: ","\}'),
        (
            ["12 kg", "500 g"],
            {},
            r"has numbers in several units, such as '500 g' and '12 kg': write all of them",
        ),
        (["12 kg", "5"], {}, r"has a unit behind some numbers only, such as '12 kg' and '5': write all of them in one"),
    ],
)
def test_numbers_with_two_readings_are_refused_with_the_argument_that_decides(
    texts: list[str], written: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^Table: column 'x' .*{message}"):
        values(*texts, **written)


def test_a_column_of_written_numbers_is_an_input_and_said(tmp_path: Path) -> None:
    lines = [f'"{1000 + 37 * row:,}",{row % 7}.5' for row in range(60)]
    with pytest.warns(UserWarning, match="column 'x' is read as numbers: '1,000' as 1000; if they are names, give"):
        data = table(tmp_path, "\n".join(["x,y", *lines]))
    assert data.feature_names == ("x",)


def test_a_target_of_written_numbers_has_their_unit(tmp_path: Path) -> None:
    lines = [f'{row},"${1000 + row:,}"' for row in range(60)]
    with pytest.warns(UserWarning, match=r"column 'y' is read as numbers: '\$1,000' as 1000$"):
        data = table(tmp_path, "\n".join(["x,y", *lines]))
    assert data.task == "regression"
    assert 1000 < data.target_mean[0] < 1060


def test_classes_keep_their_texts_without_a_word(tmp_path: Path) -> None:
    lines = [f"{row},{['$5', '$10', '$20'][row % 3]}" for row in range(60)]
    assert set(table(tmp_path, "\n".join(["x,y", *lines])).class_names) == {"$5", "$10", "$20"}


def test_a_unit_is_said_and_its_numbers_are_an_input(tmp_path: Path) -> None:
    lines = [f"{row * 0.5} kg,{row / 7}" for row in range(60)]
    with pytest.warns(
        UserWarning, match=r"^Table: column 'w' is read as numbers, in kg: '0.0 kg' as 0; if they are names, give"
    ):
        data = table(tmp_path, "\n".join(["w,y", *lines]))
    assert data.feature_names == ("w",)


def test_classes_with_units_are_named_as_they_are_written_where_they_are_declared(tmp_path: Path) -> None:
    text = "\n".join(["x,y", *(f"{row},{['1 h', '30 min', '15 min'][row % 3]}" for row in range(60))])
    with pytest.raises(ValueError, match=r"if they are names of classes, give \{task: multiclass\}$"):
        table(tmp_path, text)
    assert set(table(tmp_path, text, task="multiclass").class_names) == {"1 h", "30 min", "15 min"}


@pytest.mark.parametrize(
    ("yes", "no"),
    [("yes", "no"), ("Yes", "NO"), ("ja", "nein"), ("Oui", "Non"), ("sí", "no"), ("T", "F"), ("да", "нет")],
)
def test_words_for_yes_and_no_are_1_and_0(tmp_path: Path, yes: str, no: str) -> None:
    lines = [f"{['', yes, no][row % 3]},{row % 3 + row / 1000}" for row in range(90)]

    data = table(tmp_path, "\n".join(["x,y", *lines]), scaling="none", missing="indicator")

    assert (data.feature_names, data.cardinalities) == (("x", "no x"), ())
    numbers = data.part("train").inputs
    assert isinstance(numbers, torch.Tensor)
    known = numbers[numbers[:, 1] == 0, 0]
    values = data.part("train").targets[:, 0] * data.target_scale[0] + data.target_mean[0]
    assert torch.equal(known, (values[numbers[:, 1] == 0] < 1.5).float())


def test_yes_and_no_in_several_spellings_are_the_same(tmp_path: Path) -> None:
    words = ["yes", "Y", "YES", "no", "N", "No"]
    data = table(tmp_path, "\n".join(["x,y", *(f"{words[row % 6]},{row / 7}" for row in range(60))]), scaling="none")
    numbers = data.part("train").inputs
    assert isinstance(numbers, torch.Tensor)
    assert set(numbers[:, 0].tolist()) == {0.0, 1.0}


def test_one_separator_for_decimals_and_thousands_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Table: decimal and thousands are both '.': give the other one too"):
        Table("t.csv", thousands=".")


def test_the_error_without_a_usable_column_gives_the_reasons(tmp_path: Path) -> None:
    lines = [f"box {row},{row / 7}" for row in range(60)]
    with pytest.raises(
        ValueError, match="no column is left to learn from of w: column 'w' is left out: none of its 39"
    ):
        table(tmp_path, "\n".join(["w,y", *lines]))


def test_one_text_among_written_numbers_is_named(tmp_path: Path) -> None:
    lines = [f'"{1000 + row:,}",{row / 3}' for row in range(59)]
    with pytest.raises(ValueError, match=r"column 'x' holds numbers, but 'many' in row 60. Correct it"):
        table(tmp_path, "\n".join(["x,y", *lines, "many,1.25"]))


@pytest.mark.parametrize("digits", [10, 16, 17, 18, 19, 25])
@pytest.mark.parametrize("ending", ["", ".0"])
def test_identifiers_of_any_length_stay_apart(tmp_path: Path, digits: int, ending: str) -> None:
    first = int("1234567890123456789012345"[:digits]) // 100 * 100
    lines = [f"{first + row % 20}{ending},{row},{row / 7}" for row in range(240)]
    text = "\n".join(["id,x,y", *lines])

    assert table(tmp_path, text, categorical="id").cardinalities == (21,)
    parts = table(tmp_path, text, group="id").rows
    assert [len(rows) for rows in parts] == [13 * 12, 4 * 12, 3 * 12]
    names = table(tmp_path, text, target="id", task="multiclass").class_names if digits > 15 else ()
    assert len(set(names)) == (20 if digits > 15 else 0)


def test_long_whole_numbers_are_categories_without_being_asked_for(tmp_path: Path) -> None:
    lines = [f"{10**17 + row % 5},{row},{row / 7}" for row in range(60)]
    with pytest.warns(UserWarning, match="column 'id' has whole numbers of more than 15 digits, such as '1000"):
        assert table(tmp_path, "\n".join(["id,x,y", *lines])).cardinalities == (6,)


def test_leading_zeros_stay_where_numbers_are_names(tmp_path: Path) -> None:
    lines = [f"{['7', '07', '007'][row % 3]},{row},{row / 7}" for row in range(90)]
    text = "\n".join(["zip,x,y", *lines])

    assert table(tmp_path, text, target="zip").class_names == ("007", "07", "7")
    assert table(tmp_path, text, categorical="zip").cardinalities == (4,)
    assert set(table(tmp_path, text, categorical="zip").read().inputs["zip"]) == {"7", "07", "007"}
    with pytest.warns(UserWarning, match="column 'zip' has leading zeros, such as '07': .*if they are names, give"):
        assert table(tmp_path, text).feature_names == ("x",)  # all of them are 7


def test_a_column_of_which_every_text_is_unknown_is_left_out_and_said(tmp_path: Path) -> None:
    lines = [f"box {row},{row},{row / 7}" for row in range(60)]
    with pytest.warns(UserWarning, match="column 'w' is left out: none of its 39 different texts is in two rows"):
        data = table(tmp_path, "\n".join(["w,x,y", *lines]))
    assert data.cardinalities == ()


def test_a_column_that_is_one_number_or_missing_is_left_out_and_said(tmp_path: Path) -> None:
    lines = [f"{'3' if row % 2 else ''},{row},{row / 7}" for row in range(60)]
    text = "\n".join(["sensor,x,y", *lines])
    with pytest.warns(UserWarning, match=r"column 'sensor' is left out: it has a single value or none.*indicator"):
        assert table(tmp_path, text).feature_names == ("x",)
    assert table(tmp_path, text, missing="indicator").feature_names == ("x", "no sensor")


@pytest.mark.parametrize("header", ["a,a ,y", " a,a,y", "a,\ta,y"])
def test_names_that_differ_in_blanks_are_one_name(tmp_path: Path, header: str) -> None:
    with pytest.raises(ValueError, match="has several columns named a: names must be unique"):
        table(tmp_path, "\n".join([header, *(f"{row},{row},{row / 7}" for row in range(60))]))


def test_parquet_names_that_differ_in_blanks_are_one_name(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": range(60), "a ": range(60), "y": [row / 7 for row in range(60)]}).to_parquet(path)
    with pytest.raises(ValueError, match="has several columns named a: names must be unique"):
        table(tmp_path, "", source=str(path))
