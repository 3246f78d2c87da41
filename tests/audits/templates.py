"""Every sentence that the audits can write, read from their source: literals, with `{}` for values.

Follows what is passed as message, advice, summary, unit, reason or metric name through conditions,
constants (also imported ones), local names, small functions of the same module and their arguments.
"""

from __future__ import annotations

import ast
from functools import cache
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AUDITS = ROOT / "registry" / "audits"
GAP = "{}"
# Called name -> places of sentences among its arguments: position (None: by name only), name.
SENTENCES: dict[str, tuple[tuple[int | None, str], ...]] = {
    "Finding": ((2, "message"), (3, "advice")),
    "AuditReport": ((4, "summary"),),
    "build_report": ((None, "summary"),),
    "Coverage": ((2, "unit"),),
    "ChildDeath": ((1, "detail"),),
    "ModuleDetail": ((None, "caveat"), (None, "reason")),
    "NoSpectrum": ((0, "reason"),),
}
_PASSED_THROUGH = {"clean_text", "_short", "str", "frozenset", "tuple", "list"}
_DEPTH = 8


def audit_files() -> list[Path]:
    """Return the modules whose sentences may reach a report: the audits, and the algebra below."""
    below = [AUDITS.parent / "updates" / name for name in ("factors.py", "spectra.py")]
    return [*sorted(AUDITS.rglob("*.py")), *below]


def templates_of(path: Path) -> dict[str, int]:
    """Return every template in `path` with the line of the call that it is for."""
    if "report_page" in path.parts:
        return {}
    module = _Module(path)
    found: dict[str, int] = {}
    for call in module.calls:
        for argument in _sentences(call):
            for text in module.texts(argument, call, _DEPTH):
                if any(char.isalpha() for char in text.replace(GAP, "")):
                    found.setdefault(text, call.lineno)
        for keyword in call.keywords:
            if keyword.arg == "metrics":
                for name in module.metric_names(keyword.value, call):
                    found.setdefault(name, call.lineno)
    return found


def _sentences(call: ast.Call) -> list[ast.expr]:
    found = []
    for place, name in SENTENCES.get(_called(call), ()):
        if place is not None and len(call.args) > place:
            found.append(call.args[place])
        found += [keyword.value for keyword in call.keywords if keyword.arg == name]
    return found


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def _module(path: Path) -> _Module:
    return _Module(path)


class _Module:
    """One parsed source file."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text("utf-8"))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self.calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        self.functions = {
            node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)
        }

    def texts(  # noqa: C901, PLR0911, PLR0912 - one case for each kind of expression
        self, node: ast.expr, where: ast.AST, depth: int
    ) -> set[str]:
        """Return the templates that `node` can be; a value that is not known is one gap."""
        if depth == 0:
            return {GAP}
        match node:
            case ast.Constant(value=str() as text):
                return {text}
            case ast.JoinedStr(values=parts):
                return {
                    "".join(part.value if isinstance(part, ast.Constant) else GAP for part in parts)
                }
            case ast.IfExp(body=body, orelse=other):
                return self._all((body, other), where, depth)
            case ast.BoolOp(values=values):
                return self._all(values, where, depth)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                pairs = product(
                    self.texts(left, where, depth - 1), self.texts(right, where, depth - 1)
                )
                return {first + second for first, second in pairs}
            case ast.Subscript(value=value):
                return self._all(self._items(value, where), where, depth) or {GAP}
            case ast.Name(id=name):
                found = self._all(self._values(name, where), where, depth) or {GAP}
                added = self._all(_appended(name, self._function(where)), where, depth)
                return found | {first + more for first in found for more in added}
            case ast.Call(
                func=ast.Attribute(value=ast.Name() as table, attr="get"), args=[_, *rest]
            ):
                return self._all([*self._items(table, where), *rest], where, depth) or {GAP}
            case ast.Call(args=[first, *_]) if _called(node) in _PASSED_THROUGH:
                return self.texts(first, where, depth - 1)
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                return self._all(self._returned(name), self.functions[name], depth) or {GAP}
        return {GAP}

    def metric_names(self, node: ast.expr, where: ast.AST) -> set[str]:
        """Return the first of each pair that `node`, or what it is made from, holds."""
        sources = self._values(node.id, where) if isinstance(node, ast.Name) else [node]
        pending: list[ast.AST] = [*sources]
        seen: set[ast.AST] = set()
        names: set[str] = set()
        while pending:
            source = pending.pop()
            if source in seen:
                continue
            seen.add(source)
            for part in ast.walk(source):
                if isinstance(part, ast.Call) and _called(part) in self.functions:
                    pending.append(self.functions[_called(part)])
                match part:
                    case ast.Tuple(elts=[ast.Constant() | ast.JoinedStr() as first, _]):
                        names |= self.texts(first, source, _DEPTH)
                    case ast.Dict(keys=keys):
                        for key in keys:
                            names |= self.texts(key, source, _DEPTH) if key else set()
        return names - {GAP}

    def _all(self, nodes, where: ast.AST, depth: int) -> set[str]:
        return {text for node in nodes for text in self.texts(node, where, depth - 1)}

    def _function(self, node: ast.AST) -> ast.FunctionDef | None:
        current: ast.AST | None = node
        while current is not None and not isinstance(current, ast.FunctionDef):
            current = self.parents.get(current)
        return current

    def _values(self, name: str, where: ast.AST) -> list[ast.expr]:
        """Return what is given to `name`: in its function, by the function's callers, in the module."""
        function = self._function(where)
        if function is not None:
            local = [
                *_assigned(name, ast.walk(function)),
                *self._looped(name, function),
                *self._looked_up(name, function),
            ]
            if local:
                return local
            if name in _parameters(function):
                return self._arguments(function, name)
        return _assigned(name, self.tree.body) or self._imported(name)

    def _looped(self, name: str, function: ast.FunctionDef) -> list[ast.expr]:
        """Return what a loop in `function` gives to `name`: parts of tables, yields of functions."""
        found: list[ast.expr] = []
        for node in ast.walk(function):
            if not isinstance(node, ast.For | ast.comprehension):
                continue
            match node.iter:
                case ast.Call(func=ast.Name(id=called)):
                    rows = self._yielded(called)
                case ast.Tuple(elts=rows) | ast.List(elts=rows):
                    pass
                case ast.Name(id=table):
                    rows = self._rows(table, function)
                case _:
                    rows = []
            for row in rows:
                plain = isinstance(node.target, ast.Name) and node.target.id == name
                found += [row] if plain else _unpacked(name, node.target, row)
        return found

    def _looked_up(self, name: str, function: ast.FunctionDef) -> list[ast.expr]:
        """Return what `name` gets where a row of a table is taken apart."""
        return [
            part
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
            if isinstance(node.value.value, ast.Name)
            for target in node.targets
            for row in self._rows(node.value.value.id, function)
            for part in _unpacked(name, target, row)
        ]

    def _rows(self, table: str, function: ast.FunctionDef | None) -> list[ast.expr]:
        """Return the rows of what is called `table`: items of a list, values of a dictionary."""
        sources = (
            _assigned(table, ast.walk(function) if function is not None else ())
            or _assigned(table, self.tree.body)
            or self._imported(table)
        )
        return [row for source in sources for row in _elements(source)]

    def _yielded(self, called: str) -> list[ast.expr]:
        """Return what the generator `called`, here or imported, yields; later asked in this module."""
        function = self.functions.get(called) or _imported_function(self.tree, called)
        if function is None:
            return []
        return [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Yield) and node.value is not None
        ]

    def _arguments(self, function: ast.FunctionDef, name: str) -> list[ast.expr]:
        names = [parameter for parameter in _parameters(function) if parameter != "self"]
        found = []
        for call in self.calls:
            if _called(call) != function.name or self._function(call) is function:
                continue
            place = names.index(name)
            if place < len(call.args):
                found.append(call.args[place])
            found += [keyword.value for keyword in call.keywords if keyword.arg == name]
        return [
            argument
            for argument in found
            if not (isinstance(argument, ast.Name) and argument.id == name)
        ]

    def _imported(self, name: str) -> list[ast.expr]:
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(
                "registry"
            ):
                continue
            if any((alias.asname or alias.name) == name for alias in node.names):
                path = ROOT.joinpath(*(node.module or "").split(".")).with_suffix(".py")
                return _assigned(name, _module(path).tree.body) if path.exists() else []
        return []

    def _items(self, node: ast.expr, where: ast.AST) -> list[ast.expr]:
        if isinstance(node, ast.Name):
            return self._rows(node.id, self._function(where))
        return _elements(node)

    def _returned(self, name: str) -> list[ast.expr]:
        return [
            node.value
            for node in ast.walk(self.functions[name])
            if isinstance(node, ast.Return) and node.value is not None
        ]


def _imported_function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            path = ROOT.joinpath(*(node.module or "").split(".")).with_suffix(".py")
            return _module(path).functions.get(name) if path.exists() else None
    return None


def _assigned(name: str, nodes) -> list[ast.expr]:
    found = []
    for node in nodes:
        match node:
            case ast.Assign(targets=targets, value=value):
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    found.append(value)
                for target in targets:
                    found += _unpacked(name, target, value)
            case ast.AnnAssign(target=ast.Name(id=known), value=ast.expr() as value):
                found += [value] if known == name else []
            case ast.AugAssign(target=ast.Name(id=known), value=ast.expr() as value):
                is_text = isinstance(value, ast.JoinedStr | ast.Constant)
                found += [value] if known == name and not is_text else []
            case ast.NamedExpr(target=ast.Name(id=known), value=value):
                found += [value] if known == name else []
    return found


def _elements(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.Dict(values=rows) | ast.Tuple(elts=rows) | ast.List(elts=rows):
            return rows
    return []


def _appended(name: str, function: ast.FunctionDef | None) -> list[ast.expr]:
    """Return the texts that `function` adds to the text `name`."""
    return [
        node.value
        for node in ast.walk(function or ast.Module(body=[], type_ignores=[]))
        if isinstance(node, ast.AugAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == name
        and isinstance(node.value, ast.JoinedStr | ast.Constant)
    ]


def _unpacked(name: str, target: ast.expr, value: ast.expr) -> list[ast.expr]:
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple):
        return []
    return [
        part
        for each, part in zip(target.elts, value.elts, strict=False)
        if isinstance(each, ast.Name) and each.id == name
    ]


def _parameters(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
