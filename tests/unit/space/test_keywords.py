"""Constructors with **kwargs: what reaches a base class has the base's ranges; what is kept takes any name."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from hpo.space import Float, SearchSpace, arguments_of, takes_any_name


class Base:
    def __init__(self, lr: Annotated[float, Float(0, 1)] = 0.1) -> None: ...


class PassesOn(Base):
    def __init__(self, width: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class NamesTheBase(Base):
    def __init__(self, width: int = 3, **rest: Any) -> None:
        Base.__init__(self, **rest)


class TakesSome(Base):
    def __init__(self, **kwargs: Any) -> None:
        self.width = kwargs.pop("width", 3)
        super().__init__(**kwargs)


class Keeps(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.kept = kwargs


class LeavesUnused(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()


class TwiceRemoved(PassesOn):
    def __init__(self, depth: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)


# What has no source that can be read, as in a notebook.
MADE: dict[str, Any] = {"Base": Base}
exec(
    "class Child(Base):\n    def __init__(self, width=3, **kwargs):\n        super().__init__(**kwargs)\n"
    "class Alone:\n    def __init__(self, **kwargs):\n        self.kept = kwargs\n",
    MADE,
)


@pytest.mark.parametrize(
    ("cls", "names", "takes_any"),
    [
        (PassesOn, ("width", "lr"), False),
        (NamesTheBase, ("width", "lr"), False),
        (TakesSome, ("lr",), True),
        (Keeps, (), True),
        (LeavesUnused, (), True),
        (TwiceRemoved, ("depth", "width", "lr"), False),
        (Base, ("lr",), False),
        (MADE["Child"], ("width", "lr"), False),
        (MADE["Alone"], (), True),
    ],
)
def test_keywords_are_followed_to_where_they_go(cls: type[Any], names: tuple[str, ...], *, takes_any: bool) -> None:
    assert tuple(argument.name for argument in arguments_of(cls)) == names
    assert takes_any_name(cls) is takes_any
    assert SearchSpace.of(cls).names == (("lr",) if "lr" in names else ())
