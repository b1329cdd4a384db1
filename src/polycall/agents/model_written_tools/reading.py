"""Code that a model wrote, read and never run: its function, its schema, what is wrong with it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Collection, Iterator
from typing import Any

from msgspec import Struct

from polycall.errors import ToolError
from polycall.ir import JSON

CODE_CHARS_MAX = 20_000
_SIMPLE: dict[str, JSON] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "Any": {},
    "list": {"type": "array"},
    "dict": {"type": "object"},
}
_DEPTH_MAX = 8
_KNOWN_NAMES = frozenset({*dir(builtins), "ToolError", "__name__", "_"})


class ReadFunction(Struct, frozen=True):
    """A function as far as its text tells."""

    name: str
    parameters: JSON
    returns: JSON
    is_async: bool


def read_function(name: str, code: str, granted: Collection[str]) -> ReadFunction:
    """The function `name` in the code; `ToolError` lists what is wrong, for the model."""
    tree = parsed(code)
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    if len(functions) != 1:
        raise ToolError(f"the code must define one function {name!r} at its top level")
    function = functions[0]
    problems = [*_other_statements(tree), *_unknown_names(tree, granted)]
    problems += _calls_not_awaited(tree, granted)
    parameters, returns = _schema(function, problems)
    if problems:
        raise ToolError("the tool was not added:\n" + "\n".join(f"- {each}" for each in problems))
    return ReadFunction(name, parameters, returns, isinstance(function, ast.AsyncFunctionDef))


def parsed(code: str) -> ast.Module:
    """The code's syntax; `ToolError` where it has none."""
    if len(code) > CODE_CHARS_MAX:
        raise ToolError(f"the code has {len(code)} characters; {CODE_CHARS_MAX} are the most")
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f"line {line}: " if line else ""
        raise ToolError(f"the code is not Python: {place}{getattr(error, 'msg', error)}") from None


def has_assertion(tests: str) -> bool:
    """Whether the tests assert anything."""
    return any(isinstance(node, ast.Assert) for node in ast.walk(parsed(tests)))


def _other_statements(tree: ast.Module) -> Iterator[str]:
    allowed = (
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Import,
        ast.ImportFrom,
        ast.Assign,
        ast.AnnAssign,
    )
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, allowed) and not is_docstring:
            yield (
                f"line {node.lineno}: only imports, functions, classes and constants belong "
                "here; put checks into `tests`"
            )


def _unknown_names(tree: ast.Module, granted: Collection[str]) -> list[str]:
    """Names that nothing gives: not Python, not the code, not a tool that was granted."""
    defined = set(_KNOWN_NAMES) | set(granted)
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                defined.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                defined.add(name)
            case ast.arg(arg=name):
                defined.add(name)
            case ast.alias(name=name, asname=alias):
                defined.add(alias or name.split(".")[0])
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                defined.add(name)
            case ast.MatchMapping(rest=str(name)):
                defined.add(name)
            case _:
                pass
    tools = ", ".join(sorted(granted)) or "none"
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in defined:
            found.setdefault(node.id, node.lineno)
    return [
        f"line {line}: {name!r} is not defined; the tools that this code may call: {tools}"
        for name, line in found.items()
    ]


def _calls_not_awaited(tree: ast.Module, granted: Collection[str]) -> Iterator[str]:
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    passed_on = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in ast.walk(node)
        if argument is not node
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        is_loose = id(node) not in awaited and id(node) not in passed_on
        if node.func.id in granted and is_loose and not _in_comprehension(tree, node):
            yield f"line {node.lineno}: {node.func.id!r} is a tool; call it with await"


def _in_comprehension(tree: ast.Module, call: ast.Call) -> bool:
    kinds = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
    return any(call in ast.walk(node) for node in ast.walk(tree) if isinstance(node, kinds))


def _schema(
    function: ast.FunctionDef | ast.AsyncFunctionDef, problems: list[str]
) -> tuple[JSON, JSON]:
    arguments = function.args
    if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        problems.append("name all parameters: no *args, no **kwargs, no positional-only ones")
    listed = [*arguments.args, *arguments.kwonlyargs]
    defaults: dict[str, ast.expr | None] = dict.fromkeys(each.arg for each in listed)
    for each, default in zip(reversed(arguments.args), reversed(arguments.defaults), strict=False):
        defaults[each.arg] = default
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        defaults[each.arg] = default
    properties: JSON = {}
    for each in listed:
        properties[each.arg] = _annotated(each.annotation, each.arg, problems)
        default = defaults[each.arg]
        if isinstance(default, ast.Constant) and default.value is not None:
            properties[each.arg] = {**properties[each.arg], "default": default.value}
    returns = _annotated(function.returns, "the return value", problems)
    parameters: JSON = {
        "type": "object",
        "properties": properties,
        "required": [name for name, default in defaults.items() if default is None],
        "additionalProperties": False,
    }
    return parameters, returns


def _annotated(node: ast.expr | None, what: str, problems: list[str]) -> JSON:
    if node is None:
        problems.append(f"{what} needs a type, such as str, int, list[str], dict[str, float]")
        return {}
    try:
        return _type(node, 0)
    except ValueError:
        problems.append(
            f"line {node.lineno}: {what} has the type {ast.unparse(node)}; use str, int, float, "
            "bool, None, Any, Literal, Optional, unions, list[...] and dict[str, ...]"
        )
        return {}


def _type(node: ast.expr, depth: int) -> JSON:
    """The schema of an annotation; `ValueError` for one that JSON has no counterpart of."""
    if depth > _DEPTH_MAX:
        raise ValueError
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _SIMPLE:
            return dict(_SIMPLE[name])
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str(text)):
            return _type(ast.parse(text, mode="eval").body, depth + 1)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([_type(left, depth + 1), _type(right, depth + 1)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, inner, depth)
        case _:
            raise ValueError


def _generic(name: str, inner: ast.expr, depth: int) -> JSON:
    several = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    match name:
        case "list" | "List" | "Sequence":
            return {"type": "array", "items": _type(inner, depth + 1)}
        case "dict" | "Dict" | "Mapping" if len(several) == 2:
            if _type(several[0], depth + 1) != {"type": "string"}:
                raise ValueError
            return {"type": "object", "additionalProperties": _type(several[1], depth + 1)}
        case "Optional":
            return _union([_type(inner, depth + 1), {"type": "null"}])
        case "Union":
            return _union([_type(each, depth + 1) for each in several])
        case "Literal" if all(isinstance(each, ast.Constant) for each in several):
            return {"enum": [each.value for each in several if isinstance(each, ast.Constant)]}
        case _:
            raise ValueError


def _union(schemas: list[JSON]) -> JSON:
    flat: list[Any] = []
    for schema in schemas:
        flat += schema["anyOf"] if list(schema) == ["anyOf"] else [schema]
    return {"anyOf": flat}
