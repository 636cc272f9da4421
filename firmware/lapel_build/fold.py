"""Folds integer constants into the code that uses them, before a board's sources are compiled.

A module-level `NAME = 5` costs a device heap three times: the name in the table of interned strings, an entry in the
module's dictionary, and another entry in every module that imports it. Some four hundred of them were an eighth of a
192 KiB heap. MicroPython's own `const()` does the same within one module, but CPython does not have it.

What is folded: names in capitals, bound exactly once, at module level, to an expression of integers. The definitions
and imports of such names vanish, and so do `if TYPE_CHECKING:` blocks and whatever is marked `@gateway_only`. A board
can therefore not look such a constant up by name at run time.

So do the words of a `ProtocolError` that is raised: a device counts what it refuses by its reason and never shows them,
and each string costs it an object.

A table of transitions, {(state, event): (next, effects)}, becomes bytes, which `lapel_protocol.machine` reads as well:
they stay in flash, while a row of the dictionary takes some 110 bytes of heap. Nothing else is touched and every line
keeps its number.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping

_TYPE_CHECKING = "TYPE_CHECKING"
_GATEWAY_ONLY = "gateway_only"
_ERRORS = "lapel_protocol.errors"
_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}

Table = dict[tuple[int, int], tuple[int, tuple[int, ...]]]
"""{(state, event): (next, effects)}, each number 0 to 255."""

# (first line, first column, last line, end column, new text); lines from 1, columns in UTF-8 bytes, as ast counts
_Edit = tuple[int, int, int, int, str]


class _Module:
    """One source file: its tree, the constants that it defines and those that it imports."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text, path)
        parts = path.removesuffix(".py").split("/")
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.defined: dict[str, int] = {}
        self.statements: dict[str, ast.stmt] = {}
        self._bound = _bindings(self.tree)

    def origin(self, node: ast.ImportFrom) -> str:
        """The full name of the module that `from … import` names."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        up = node.level - (1 if self.is_package else 0)
        parts = parts[: len(parts) - up]
        return ".".join([*parts, node.module] if node.module else parts)

    def imports(self) -> Iterator[tuple[ast.ImportFrom, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                yield node, self.origin(node)

    def constants(self, modules: "Mapping[str, _Module]") -> dict[str, int]:
        """Every name that stands for a known integer in this module: its own, and those imported once."""
        known = dict(self.defined)
        for node, origin in self.imports():
            for name in node.names:
                local = name.asname or name.name
                source = modules.get(origin)
                if source is not None and name.name in source.defined and self._bound.get(local) == 1:
                    known[local] = source.defined[name.name]
        return known

    def aliases(self, modules: "Mapping[str, _Module]") -> dict[str, str]:
        """Local names of imported modules."""
        found = {}
        for node, origin in self.imports():
            for name in node.names:
                local = name.asname or name.name
                if f"{origin}.{name.name}" in modules and self._bound.get(local) == 1:
                    found[local] = f"{origin}.{name.name}"
        return found

    def learn(self, modules: "Mapping[str, _Module]") -> bool:
        """Find definitions whose value is known by now; True when there was a new one."""
        known = self.constants(modules)
        before = len(self.defined)
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target, value = statement.targets[0], statement.value
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                target, value = statement.target, statement.value
            else:
                continue
            if not isinstance(target, ast.Name) or not target.id.lstrip("_").isupper() or self._bound[target.id] != 1:
                continue
            number = _evaluate(value, known)
            if number is not None and target.id not in self.defined:
                self.defined[target.id] = known[target.id] = number
                self.statements[target.id] = statement
        return len(self.defined) > before


def _bindings(tree: ast.Module) -> dict[str, int]:
    """How often each name is bound anywhere in a module, in whatever scope."""
    bound: dict[str, int] = {}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names = [node.id]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [name.asname or name.name.split(".")[0] for name in node.names]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)):
            names = [node.name or ""]
        for name in names:
            bound[name] = bound.get(name, 0) + 1
    return bound


def _evaluate(node: ast.expr, known: Mapping[str, int]) -> int | None:
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _evaluate(node.operand, known)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _evaluate(node.left, known), _evaluate(node.right, known)
        if left is not None and right is not None:
            return _OPERATIONS[type(node.op)](left, right)
    return None


def pack_table(table: Table) -> bytes:
    """A table of transitions as `lapel_protocol.machine` reads it from bytes."""
    return b"".join(
        bytes((state, event, after, len(effects), *effects)) for (state, event), (after, effects) in table.items()
    )


def _table(node: ast.expr, known: Mapping[str, int]) -> "Table | None":
    """The transitions that an expression spells, None when it spells something else."""
    if not isinstance(node, ast.Dict) or not node.keys:
        return None
    table: Table = {}
    for key, value in zip(node.keys, node.values, strict=True):
        where = _numbers(key, known)
        if where is None or len(where) != 2 or not isinstance(value, ast.Tuple) or len(value.elts) != 2:
            return None
        after, effects = _evaluate(value.elts[0], known), _numbers(value.elts[1], known)
        if after is None or effects is None:
            return None
        table[where[0], where[1]] = (after, effects)
    return table


def _numbers(node: ast.expr | None, known: Mapping[str, int]) -> tuple[int, ...] | None:
    if not isinstance(node, ast.Tuple):
        return None
    found = [_evaluate(part, known) for part in node.elts]
    return tuple(number for number in found if number is not None) if None not in found else None


def fold(sources: Mapping[str, str]) -> dict[str, str]:
    """The same files with integer constants folded. Keys are paths like `package/module.py`.

    Raises SyntaxError when a file is not Python.
    """
    modules = {module.name: module for module in (_Module(path, text) for path, text in sources.items())}
    learning = True
    while learning:
        learning = False
        for module in modules.values():
            learning |= module.learn(modules)
    return {module.path: _rewrite(module, modules) for module in modules.values()}


def _rewrite(module: _Module, modules: Mapping[str, _Module]) -> str:
    known = module.constants(modules)
    aliases = module.aliases(modules)
    gone: set[ast.AST] = set()
    edits: list[_Edit] = []

    def remove(statement: ast.stmt, replacement: str = "pass") -> None:
        gone.update(ast.walk(statement))
        edits.append(_edit(statement, replacement))

    for statement in module.statements.values():
        remove(statement)
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            table = _table(statement.value, known)
            if table is not None:
                remove(statement, f"{statement.targets[0].id} = {pack_table(table)!r}")
    silent = _silent(module, modules)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            if node.exc.func.id in silent and node not in gone:
                gone.update(ast.walk(node.exc))
                edits.append(_edit(node.exc, node.exc.func.id))
        elif isinstance(node, (ast.If, ast.FunctionDef, ast.ClassDef)) and _is_left_out(node):
            remove(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == _TYPE_CHECKING:
                remove(node)
        elif isinstance(node, ast.AnnAssign) and node not in gone:
            gone.update(ast.walk(node.annotation))
    uses, in_use = _uses(module.tree, gone, known, aliases, modules)
    edits.extend(uses)
    for node, _ in module.imports():
        if node in gone:
            continue
        kept = [
            name
            for name in node.names
            if (name.asname or name.name) not in known
            and name.name != _GATEWAY_ONLY
            and not ((name.asname or name.name) in aliases and (name.asname or name.name) not in in_use)
        ]
        if len(kept) != len(node.names):
            names = ", ".join(name.name + (f" as {name.asname}" if name.asname else "") for name in kept)
            source = "." * node.level + (node.module or "")
            edits.append(_edit(node, f"from {source} import {names}" if kept else "pass"))
    return _apply(module.text, edits)


def _silent(module: _Module, modules: Mapping[str, _Module]) -> set[str]:
    """The names in this module of the protocol's errors."""
    source = modules.get(_ERRORS)
    errors = {node.name for node in source.tree.body if isinstance(node, ast.ClassDef)} if source is not None else set()
    return {
        name.asname or name.name
        for node, origin in module.imports()
        for name in node.names
        if origin == _ERRORS and name.name in errors
    }


def _uses(
    tree: ast.Module,
    gone: set[ast.AST],
    known: Mapping[str, int],
    aliases: Mapping[str, str],
    modules: Mapping[str, _Module],
) -> tuple[list[_Edit], set[str]]:
    """Edits that put numbers in the place of names, and the module aliases that are still needed after them."""
    edits: list[_Edit] = []
    folded: set[ast.AST] = set()
    in_use: set[str] = set()
    for node in ast.walk(tree):  # parents come before their children
        if node in gone or node in folded:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            number = modules[aliases[node.value.id]].defined.get(node.attr)
            if number is None:
                in_use.add(node.value.id)
            else:
                folded.add(node.value)
                edits.append(_edit(node, _literal(number)))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in known:
                edits.append(_edit(node, _literal(known[node.id])))
            elif node.id in aliases:
                in_use.add(node.id)
    return edits, in_use


def _is_left_out(node: ast.If | ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether this is an `if TYPE_CHECKING:` block, a function marked as one that no device calls, or the mark; or a
    class that says `gateway_only = True` of itself.
    """
    if isinstance(node, ast.ClassDef):
        said = [line.targets[0] for line in node.body if isinstance(line, ast.Assign)]
        return any(isinstance(target, ast.Name) and target.id == _GATEWAY_ONLY for target in said)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == _TYPE_CHECKING
    marks = [mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)]
    return node.name == _GATEWAY_ONLY or _GATEWAY_ONLY in marks


def _literal(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def _edit(node: ast.stmt | ast.expr, text: str) -> _Edit:
    # A function's own line is that of its `def`; the `@` of a mark stands in the same column, further up.
    first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", ()))])
    return (first, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0, text)


def _apply(text: str, edits: list[_Edit]) -> str:
    """Carry out edits that do not overlap (those inside another are dropped); line numbers stay."""
    lines = [line.encode() for line in text.split("\n")]
    outer: list[_Edit] = []
    for edit in sorted(edits, key=lambda one: (one[0], one[1], -one[2], -one[3])):
        if not outer or (edit[0], edit[1]) >= (outer[-1][2], outer[-1][3]):
            outer.append(edit)
    for first, start, last, end, replacement in reversed(outer):
        tail = lines[last - 1][end:]
        lines[first - 1] = lines[first - 1][:start] + replacement.encode() + (tail if first == last else b"")
        if first != last:
            for number in range(first, last - 1):
                lines[number] = b""
            lines[last - 1] = tail
    return b"\n".join(lines).decode()
