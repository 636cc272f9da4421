"""Gives the private names of a board's modules short names that all modules share, before the sources are compiled.

Every name that a program uses is interned: its text and an entry in a table that doubles when it is full. On a 192 KiB
heap the table's next doubling would cost 13 KiB. A name with one leading underscore that is bound and used in one
module only means nothing to the others, so the n-th of each module is called the same, `_n`: some 330 names fewer.

Left alone: names that a second module uses, also only by attribute; names that the module does not bind itself (they
are somebody else's); names of arguments; names that stand in a string of their own (`getattr`); and every module in
which a class inherits from another module's, with that module, because their names meet in one object. Line numbers
stay. What is not part of the build (a test's program on the board) cannot use a private name of what is.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

_Place = tuple[int, int]
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def shorten(sources: Mapping[str, str]) -> dict[str, str]:
    """The same files with short private names. Keys are paths like `package/module.py`.

    Raises SyntaxError when a file is not Python.
    """
    trees = {path: ast.parse(text, path) for path, text in sources.items()}
    used_in: dict[str, set[str]] = defaultdict(set)
    kept: set[str] = set()
    for path, tree in trees.items():
        for node in ast.walk(tree):
            for name in _names(node):
                used_in[name].add(path)
            kept.update(_fixed(node))
    related = _related(trees)
    short_of = {
        path: _short_names(tree, {name for name, paths in used_in.items() if len(paths) > 1} | kept, set(used_in))
        for path, tree in trees.items()
        if path not in related
    }
    return {path: _renamed(text, trees[path], short_of.get(path, {})) for path, text in sources.items()}


def _names(node: ast.AST) -> Iterator[str]:
    """The names that a node uses or binds."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, (*_FUNCTION, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield node.name
        yield node.asname or node.name


def _fixed(node: ast.AST) -> Iterator[str]:
    """Names that must stay because of what a node is."""
    if isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.keyword):
        yield node.arg or ""
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
    elif isinstance(node, ast.ExceptHandler):
        yield node.name or ""
    elif isinstance(node, ast.alias):
        yield from _names(node)
    elif isinstance(node, ast.JoinedStr):
        for inner in ast.walk(node):
            yield from _names(inner)


def _related(trees: Mapping[str, ast.Module]) -> set[str]:
    """Modules between which classes inherit."""
    defining: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                defining[node.name].add(path)
    found: set[str] = set()
    for path, tree in trees.items():
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
                if name in defining and name not in own:
                    found |= {path, *defining[name]}
    return found


def _short_names(tree: ast.Module, foreign: set[str], taken: set[str]) -> dict[str, str]:
    """A short name for each private name that this module binds and that is its own, in the order of first binding."""
    bound: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            bound[node.name] = None
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            bound[node.id if isinstance(node, ast.Name) else node.attr] = None
    mine = [name for name in bound if re.match(r"_[^_]", name) and name not in foreign]
    fresh = (f"_{number}" for number in range(len(mine) + len(taken)))
    free = (name for name in fresh if name not in taken)
    return dict(zip(mine, free, strict=False))


def _renamed(text: str, tree: ast.Module, short_of: Mapping[str, str]) -> str:
    lines = [line.encode() for line in text.split("\n")]
    places: dict[_Place, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in short_of:
            places[node.lineno, node.col_offset] = node.id
        elif isinstance(node, ast.Attribute) and node.attr in short_of:
            places[node.end_lineno or 0, (node.end_col_offset or 0) - len(node.attr.encode())] = node.attr
        elif isinstance(node, (*_FUNCTION, ast.ClassDef)) and node.name in short_of:
            line = lines[node.lineno - 1]
            places[node.lineno, line.index(node.name.encode(), line.index(b" ", node.col_offset))] = node.name
    for (number, column), name in sorted(places.items(), reverse=True):
        line, end = lines[number - 1], column + len(name.encode())
        if line[column:end] != name.encode():
            raise SyntaxError(f"{name} is not where it should be in line {number}")
        lines[number - 1] = line[:column] + short_of[name].encode() + line[end:]
    return b"\n".join(lines).decode()
