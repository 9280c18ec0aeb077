"""Reads a study file: YAML 1.2 with line numbers, changes from the command line, and all problems in one error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpo.errors import HpoError, SpecError, nearest
from hpo.space.narrowing import KEYS
from hpo.study.contradictions import contradictions, foreign_keys
from hpo.study.notify import Target, Targets
from hpo.study.section import Section
from hpo.study.spec import StudySpec
from hpo.study.trainer_options import NOT_IN_A_TRIAL, SET_ELSEWHERE
from hpo.yaml_text import MOST_DEPTH, YamlLimitError, read_yaml

KeyPath = tuple[str | int, ...]

MOST_PROBLEMS = 50  # that one error tells

# The key that a section's short form, a single word, stands for.
SHORT_FORMS = {"model": "class", "data": "class", "sampler": "name", "pruner": "name"}


class Source:
    """The keys of a study with their origin, so that a problem can name its file and line."""

    def __init__(self, file: str, tree: CommentedMap) -> None:
        self.file = file
        self._tree = tree
        self._set_by_option: dict[KeyPath, str] = {}

    @classmethod
    def of_file(cls, path: Path) -> Source:
        """For a study file; the study's default name is that of the file.

        Raises:
            SpecError: the file cannot be read, or is not a mapping in YAML.
        """
        return cls.of_text(text_of(path), str(path))

    @classmethod
    def of_text(cls, text: str, file: str) -> Source:
        """For the text of a study file that is elsewhere; the study's default name is that of the file.

        Args:
            file: its path there, for errors.

        Raises:
            SpecError: it is not a mapping in YAML.
        """
        tree = _parse(text, file)
        if "study" not in tree:
            tree["study"] = PurePath(file).stem
        return cls(file, tree)

    @classmethod
    def of_mapping(cls, keys: Mapping[str, Any], *, call: str) -> Source:
        """For keys given in a Python call.

        Args:
            call: the name of the called function, for errors.
        """
        try:
            return cls(call, CommentedMap({str(key): _copied(value) for key, value in keys.items()}))
        except RecursionError:
            raise SpecError(f"{call}: its keys hold lists or mappings that hold themselves, or are too deep") from None

    @classmethod
    def of_stored(cls, name: str) -> Source:
        """For a study read from the store, which has no file."""
        return cls(f"study {name}", CommentedMap())

    @property
    def is_stored(self) -> bool:
        """Whether the study was read from the store."""
        return not self._tree

    def set(self, path: KeyPath, value: Any, option: str) -> None:
        """Override a value of the file by one from the command line."""
        path = self._spelled(path)
        node: Any = self._tree
        for key in path[:-1]:
            before = node.get(key)
            if not isinstance(before, dict):
                # `pruner: asha` with --set pruner.eta=4 is still asha
                short = SHORT_FORMS.get(str(key)) if node is self._tree and isinstance(before, str) else None
                node[key] = CommentedMap({short: before} if short else {})
            node = node[key]
        node[path[-1]] = value
        self._set_by_option[path] = option

    def _spelled(self, path: KeyPath) -> KeyPath:
        """The path as the file spells it: `space.optim.lr.low` may be the bound `low` of `optim.lr`."""
        if path[0] not in ("space", "model", "data") or len(path) < 3:
            return path
        node: Any = self._tree
        place = 0
        while place < len(path) - 1 and isinstance(node.get(path[place]), dict):
            node, place = node[path[place]], place + 1
        place = max(place, 1)
        is_bound = path[0] == "space" and path[-1] in KEYS and len(path) - place > 1
        end = len(path) - is_bound
        return (*path[:place], ".".join(map(str, path[place:end])), *path[end:])

    def _written(self, path: KeyPath) -> KeyPath:
        """The path as the file has it: the objectives of a list are `objective.0`, `objective.1`."""
        if path[:1] != ("objective",) or len(path) == 1 or not isinstance(self._tree.get("objective"), list):
            return path
        if path[1] == "further" and len(path) > 2:
            return ("objective", int(path[2]) + 1, *path[3:])
        return ("objective", 0, *path[1:])

    def study(self) -> StudySpec:
        """The study, validated.

        Raises:
            SpecError: a key or a value is invalid; all problems at once.
        """
        try:
            spec = StudySpec.model_validate(_plain(self._tree))
        except ValidationError as error:
            more = "" if error.error_count() <= MOST_PROBLEMS else f"\n{self.file}: and more, which a second try tells"
            raise SpecError(f"{self.error(_problems(error))}{more}") from None
        if refused := contradictions(spec) + foreign_keys(spec):
            raise self.error(refused)
        return spec

    def targets(self) -> tuple[Target, ...]:
        """The `notify:` section alone, validated, of a file that need not be a study's.

        Raises:
            SpecError: there is none, or a key or a value is invalid; all problems at once.
        """
        if not self._tree.get("notify"):
            raise SpecError(f"{self.file}: has no notify: with a list of targets, such as [{{webhook: https://...}}]")
        try:
            return _NotifySection.model_validate({"notify": _plain(self._tree["notify"])}).notify
        except ValidationError as error:
            raise self.error(_problems(error)) from None

    def where(self, path: KeyPath) -> str:
        """`studies/x.yaml:12`, or the option that set it; the line of the nearest enclosing key if it has none."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._set_by_option:
                return self._set_by_option[path[:length]]
        below = [option for key, option in self._set_by_option.items() if key[: len(path)] == path]
        if below and path[0] not in (self._tree.lc.data or {}):
            return below[0]
        return f"{self.file}:{self._line(path)}" if self._tree.lc.data else self.file

    def _line(self, path: KeyPath) -> int:
        node: Any = self._tree
        line = 0
        for key in path:
            if not isinstance(node, CommentedMap | CommentedSeq) or key not in (node.lc.data or {}):
                break
            line = node.lc.data[key][0]
            node = node[key]
        return line + 1

    def error(self, problems: Iterable[tuple[KeyPath, str]]) -> SpecError:
        """One error for all problems, a line each, in the order of the file."""
        lines = [
            (self._line(path), f"{self.where(path)}: {'.'.join(map(str, path))}: {text}")
            for path, text in ((self._written(path), text) for path, text in problems)
        ]
        return SpecError("\n".join(text for _, text in sorted(lines, key=lambda pair: pair[0])))

    def place(self, key: str, error: HpoError) -> HpoError:
        """The same error with the file and line of the key, or of the key below it that the message begins with."""
        first, colon, rest = str(error).partition(": ")
        is_named = bool(colon) and first.split(".")[0] == key
        path, text = (first.split("."), rest) if is_named else ([key], str(error))
        return type(error)(str(self.error([(tuple(path), text)])))


class _NotifySection(Section):
    notify: Targets


def read_study(path: Path, *, changes: Sequence[str] = (), name: str | None = None) -> tuple[StudySpec, Source]:
    """The study of a file, overridden by `key=value` changes from the command line.

    Raises:
        SpecError: the file cannot be read, is not valid YAML, or has invalid values; all problems at once.
    """
    source = Source.of_file(path)
    apply_changes(source, changes)
    if name is not None:
        source.set(("study",), name, "--name")
    return source.study(), source


def apply_changes(source: Source, changes: Sequence[str]) -> None:
    """Override values by `key=value` changes from the command line.

    Raises:
        SpecError: a change is not of that form, or too large.
    """
    for change in changes:
        _apply(change, source)


def text_of(path: Path) -> str:
    """The text of a study file.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f" {path.parent}/ holds {', '.join(beside)}." if beside else ""
        raise SpecError(f"{path}: there is no such file{nearest(path.name, beside)}{hint}") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a folder, not a study file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as text: {error}") from None


def _parse(text: str, path: str) -> CommentedMap:
    try:
        tree = read_yaml(text, has_lines=True)
    except YamlLimitError as error:
        raise SpecError(f"{path}:{error.line}: too large for a study file: {error}") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}:{line}: {str(error.problem).split(' (')[0]}: write it once") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else path
        raise SpecError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise SpecError(f"{path}: not valid YAML: {error}") from None
    if tree is None:
        raise SpecError(f"{path}: the file is empty: it needs at least model, data and objective")
    if not isinstance(tree, CommentedMap):
        raise SpecError(f"{path}: a study file is a mapping of keys such as 'model:' and 'objective:'")
    return tree


def _apply(change: str, source: Source) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {change}: write it as key=value, for example --set epochs=5 or --set pruner.eta=4")
    path = tuple(key.strip().split("."))
    if len(path) > MOST_DEPTH:
        raise SpecError(f"--set {change[:40]}...: a key of {len(path)} parts: no study file has more than {MOST_DEPTH}")
    try:
        value = read_yaml(text)
    except YamlLimitError as error:
        raise SpecError(f"--set {key[:40]}=...: too large for a value: {error}") from None
    except YAMLError:
        value = text
    # A URL may hold a password.
    may_be_secret = path[0] == "start_from" or "://" in change
    source.set(path, value, f"--set {key.strip()}=..." if may_be_secret else f"--set {change}")


def _copied(node: Any) -> Any:
    """A copy of the tree, which may be changed."""
    if isinstance(node, Mapping):
        return {str(key): _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list | tuple) else node


def _plain(node: Any) -> Any:
    """Plain dicts, lists and scalars: ruamel's own scalar types would leak into what we store."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _problems(error: ValidationError) -> list[tuple[KeyPath, str]]:
    """Pydantic's first problems in the user's words and keys, in the order of the keys."""
    problems: dict[KeyPath, str] = {}
    for item in error.errors()[:MOST_PROBLEMS]:
        path = _file_path(item["loc"])
        if item["type"] == "extra_forbidden":
            known = _keys_at(path[:-1])
            if path[:-1] == ("trainer",) and (elsewhere := _not_an_option(str(path[-1]))):
                problems[path] = elsewhere
                continue
            problems[path] = f"unknown key{nearest(str(path[-1]), known) or '.'} Known here: {', '.join(known)}"
        elif item["type"] == "missing":
            problems[path] = "is missing"
        elif "pattern" in item["type"] and path[-1:] in (("model",), ("data",), ("class",)):
            problems[path] = f"'{item['input']}' does not name a class: write it as package.module:Class"
        elif path in (("model",), ("data",)) and item["type"] != "value_error":
            problems[path] = f"should name a class: write it as package.module:Class (it is {item['input']!r})"
        elif path in problems and item["type"] != "value_error":
            problems[path] += f"; or {_message(item)}".replace("; or should be", " or")
        else:
            shown = "" if isinstance(item["input"], dict | list) else f" (it is {item['input']!r})"
            problems[path] = _message(item) + shown
    paths = list(problems)
    # One member of a union reports problems of its own keys, the other only that the type is wrong.
    is_explained = {p for p in paths for q in paths if p != q and q[: len(p)] == p}
    return [(path, text) for path, text in problems.items() if path not in is_explained]


def _not_an_option(key: str) -> str | None:
    """Why a key of Lightning's Trainer is not one of the `trainer:` section; None for other keys."""
    if key in SET_ELSEWHERE:
        return f"is set by {SET_ELSEWHERE[key]}"
    return f"cannot be combined with a search: {NOT_IN_A_TRIAL[key]}" if key in NOT_IN_A_TRIAL else None


def _message(item: ErrorDetails) -> str:
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if "a valid dictionary" in message:
        message = "should be a mapping of keys"
    return message[0].lower() + message[1:]


def _file_path(location: Sequence[str | int]) -> KeyPath:
    """The path in the file: pydantic's path without the names of a union's members."""
    path: list[str | int] = []
    model: Any = StudySpec
    for part in location:
        if isinstance(part, int):
            path.append(part)
            continue
        fields = _fields(model)
        if fields is not None and part not in fields and path and (part[:1].isupper() or "[" in part or part in KINDS):
            continue
        if fields is None and (part[:1].isupper() or "[" in part or part in KINDS):
            continue
        path.append(part)
        model = fields.get(part) if fields else None
    return tuple(path)


# Pydantic's names for the members of our unions: int | Literal["auto"], int | LengthRange, Objective | list[Objective].
KINDS = frozenset({"int", "constrained-int", "float", "str", "literal['auto']"})


def _fields(model: Any) -> dict[str, Any] | None:
    """The keys of a section of the file, each with the section below it, if any."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    found = {}
    for name, info in model.model_fields.items():
        members = [info.annotation, *getattr(info.annotation, "__args__", ())]
        sections = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        found[info.alias or name] = sections[0] if sections else None
    return found


def _keys_at(path: KeyPath) -> list[str]:
    model: Any = StudySpec
    for part in path:
        if not isinstance(part, int):
            model = (_fields(model) or {}).get(part)
    return list(_fields(model) or {})
