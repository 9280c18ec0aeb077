"""Reads what a person asks of trials, such as `optimizer == 'adam' and seconds < 60`, into a tree without code.

Python's parser reads the text; a tree with anything else than names, values, comparisons and arithmetic is refused.
It is never compiled or evaluated as Python: `hpo.results.condition` turns it into comparisons.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from hpo.errors import SpecError

MOST_CHARACTERS = 4000
MOST_DEPTH = 50  # of parts within parts
LARGEST_NUMBER = 1e308
LONGEST_PART = 40  # characters of what an error quotes

ALLOWED = (
    "An expression compares columns with values, as in optimizer == 'adam' and seconds < 60. It has names, numbers, "
    "texts in quotes, True, False, None, lists, + - * /, comparisons, in, and, or, not"
)

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`([^`]*)`")

_IN_WORDS: dict[type[ast.AST], str] = {
    ast.Call: "a call is not allowed",
    ast.Name: "a name that begins with __ is not allowed",
    ast.Attribute: "an attribute is not allowed",
    ast.Subscript: "an index is not allowed",
    ast.Lambda: "a function is not allowed",
    ast.ListComp: "a loop is not allowed",
    ast.SetComp: "a loop is not allowed",
    ast.DictComp: "a loop is not allowed",
    ast.GeneratorExp: "a loop is not allowed",
    ast.JoinedStr: "a text that is computed is not allowed",
    ast.IfExp: "'if' is not allowed",
    ast.NamedExpr: "an assignment is not allowed; == compares",
    ast.Dict: "a mapping is not allowed",
    ast.Set: "a set is not allowed; a list is written [1, 2]",
    ast.Starred: "* is not allowed here",
    ast.BitAnd: "& is not allowed; write 'and'",
    ast.BitOr: "| is not allowed; write 'or'",
    ast.BitXor: "^ is not allowed",
    ast.Invert: "~ is not allowed; write 'not'",
    ast.Pow: "** is not allowed",
    ast.Mod: "% is not allowed",
    ast.FloorDiv: "// is not allowed; write /",
    ast.MatMult: "@ is not allowed",
    ast.LShift: "<< is not allowed",
    ast.RShift: ">> is not allowed",
}
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_OPERATORS = re.compile(r"&&|\|\||<>|(?<![=!<>])=(?!=)|\b(?:AND|OR|NOT|IN|IS|NULL|LIKE|BETWEEN)\b")
_WRITTEN = {
    "&&": "write 'and' for &&",
    "||": "write 'or' for ||",
    "<>": "write != for <>",
    "=": "write == to compare",
    "NULL": "write None for NULL",
    "LIKE": "write 'part' in NAME for LIKE",
    "BETWEEN": "write 1 <= NAME <= 2 for BETWEEN",
}


@dataclass(frozen=True)
class Expression:
    """What was asked for.

    Attributes:
        text: as it was written, on one line.
        tree: Python's syntax tree, of which every node is an allowed one.
        quoted: names that were written in backticks, by the offset of their node in `text`, in bytes.
        option: what it was given as, for messages.
    """

    text: str
    tree: ast.expr
    quoted: Mapping[int, str]
    option: str

    @property
    def names(self) -> dict[str, ast.expr]:
        """The columns that it reads, each with the first node that names it."""
        found: dict[str, ast.expr] = {}
        for node in _from_the_left(self.tree):
            if (name := self.name_of(node)) is not None:
                found.setdefault(name, node)
        return found

    def name_of(self, node: ast.expr) -> str | None:
        """The column that a node names, such as `lr`, `optim.lr` or `` `val/loss` ``; None for another node."""
        return _name_of(node, self.quoted)

    def error(self, node: ast.expr, problem: str) -> SpecError:
        """The error for a part of it, with the place of that part."""
        place = len(self.text.encode()[: node.col_offset].decode())
        return _error(self.option, place, self.text_of(node), problem)

    def text_of(self, node: ast.expr) -> str:
        """The part of the text that a node was read from."""
        return self.text.encode()[node.col_offset : node.end_col_offset].decode()


def parse(text: str, *, option: str = "where") -> Expression:
    """The expression that a text says.

    Args:
        option: what it was given as, such as `--where`.

    Raises:
        SpecError: it is no expression, or has a part that is not allowed; says where.
    """
    line = " ".join(text.split("\n")).strip()
    if not line:
        raise SpecError(f"{option}: is empty. {ALLOWED}")
    if len(line) > MOST_CHARACTERS:
        raise SpecError(f"{option}: has {len(line):,} characters; at most {MOST_CHARACTERS:,} are read")
    plain, quoted = _without_backticks(line)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for "1is None": what is wrong with it is said below
            tree = ast.parse(plain, mode="eval").body
    except SyntaxError as error:
        raise _of_syntax(error, line, option) from None
    except (RecursionError, MemoryError):
        raise SpecError(f"{option}: is nested too deep; at most {MOST_DEPTH} levels are read") from None
    except ValueError as error:  # a zero byte, or half of a pair of UTF-16
        raise SpecError(f"{option}: is no text that can be read: {error}") from None
    found = Expression(line, tree, quoted, option)
    _check(found, tree)
    return found


def _check(expression: Expression, tree: ast.expr) -> None:
    """Refuse every node that is not allowed, without recursion: a tree may be deep."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise SpecError(f"{expression.option}: is nested too deep; at most {MOST_DEPTH} levels are read")
        if expression.name_of(node) is not None:
            continue
        if (problem := _problem(node)) is not None:
            raise expression.error(node, f"{problem}. {ALLOWED}")
        children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        waiting += [(child, depth + 1) for child in reversed(children)]


def _problem(node: ast.expr) -> str | None:
    """Why this node is not allowed; None where it is."""
    match node:
        case ast.Constant(value=bool() | str() | None):
            return None
        case ast.Constant(value=int() | float() as number):
            return None if -LARGEST_NUMBER <= number <= LARGEST_NUMBER else "the number is too large"
        case ast.Constant(value=value):
            return f"'{type(value).__name__}' is no kind of value here"
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not()) | ast.BoolOp() | ast.List() | ast.Tuple():
            return None
        case ast.BinOp(op=operator):
            return None if isinstance(operator, _ARITHMETIC) else _IN_WORDS[type(operator)]
        case ast.UnaryOp(op=sign):
            return _IN_WORDS[type(sign)]
        case ast.Compare(ops=operators, comparators=compared):
            for compares, right in zip(operators, compared, strict=True):
                is_none = isinstance(right, ast.Constant) and right.value is None
                if isinstance(compares, ast.Is | ast.IsNot) and not is_none:
                    return "'is' compares with None only; write =="
            return None
    return _IN_WORDS.get(type(node), f"{type(node).__name__} is not allowed")


def _name_of(node: ast.expr, quoted: Mapping[int, str]) -> str | None:
    """Names with dots are those of entries, such as `optim.lr`; they are looked up as a whole."""
    if isinstance(node, ast.Name):
        name = quoted.get(node.col_offset, node.id)
        return None if node.id.startswith("__") else name
    if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
        below = _name_of(node.value, quoted)
        return None if below is None else f"{below}.{node.attr}"
    return None


def _from_the_left(tree: ast.expr) -> list[ast.expr]:
    """All nodes, by their place; the parts of a name with dots are behind the whole."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return sorted((node for node in nodes if id(node) not in inner), key=lambda node: node.col_offset)


def _without_backticks(text: str) -> tuple[str, dict[int, str]]:
    """The text with a plain name of the same length for each name in backticks, and those names by their places."""
    quoted: dict[int, str] = {}
    pieces: list[str] = []
    place = end = 0
    for found in _QUOTED.finditer(text):
        if found[1]:
            pieces.append(text[end : found.start()])
            place += len(pieces[-1].encode(errors="surrogatepass"))
            quoted[place] = found[1]
            pieces.append("q" * len(found[0].encode(errors="surrogatepass")))
            place += len(pieces[-1])
            end = found.end()
    return "".join([*pieces, text[end:]]), quoted


def _of_syntax(error: SyntaxError, text: str, option: str) -> SpecError:
    """In words of ours where it is a habit of another language, else in Python's."""
    outside = _QUOTED.sub(lambda found: " " * len(found[0]), text)
    if habit := _OPERATORS.search(outside):
        word = habit[0]
        problem = _WRITTEN.get(word, f"write '{word.lower()}' in small letters")
        return _error(option, habit.start(), word, problem)
    place = (error.offset or 0) - 1
    if not 0 <= place < len(text):
        return SpecError(f"{option}: {text[-LONGEST_PART:]}: something is missing at its end. {ALLOWED}")
    problem = (error.msg or "invalid syntax").partition(". Perhaps")[0]
    return _error(option, place, text[place:], f"{problem}. {ALLOWED}")


def _error(option: str, place: int, part: str, problem: str) -> SpecError:
    shown = part if len(part) <= LONGEST_PART else f"{part[:LONGEST_PART]}..."
    return SpecError(f"{option}: character {place + 1}, {shown}: {problem}")
