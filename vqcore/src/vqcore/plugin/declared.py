"""Options as the source of their model declares them: read without importing it, or pydantic.

Importing the models takes a third of the start of a command; help and completion do not need them.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

#: Bases without options.
_ROOTS = ("ComponentConfig", "BaseModel")


@dataclass(frozen=True)
class Declared:
    """One option of a model.

    Attributes:
        name: of the option.
        type: its annotation, as the source has it.
        default: as people write it, ``null`` for None; empty where there is none or it is empty.
        description: the string literal below it.
    """

    name: str
    type: str
    default: str
    description: str


def declared(location: str) -> dict[str, Declared]:
    """The options of ``package.module:Model`` in order, those of its bases first.

    A base is found in that module, or where it is imported from by name.

    Where only bytecode is installed, the model is imported, for its names and types alone.
    """
    module, _, name = location.partition(":")
    spec = importlib.util.find_spec(module)
    loader: Any = spec.loader if spec else None
    source = loader.get_source(module)
    if source is None:
        model = pkgutil.resolve_name(location)
        return {
            field: Declared(field, str(kind), "", "")
            for owner in reversed(model.__mro__)
            for field, kind in vars(owner).get("__annotations__", {}).items()
            if field in model.model_fields
        }
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)  # also those for a type checker alone, as in vqcore
        if isinstance(node, ast.ImportFrom) and not node.level
        for alias in node.names
    }
    return _declared(classes, imported, name)


def described_fields(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.AnnAssign, str]]:
    """The annotated fields of a class that a string literal follows, with that string."""
    for pair in pairwise(body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)) as field, ast.Expr(
                value=ast.Constant(value=str(text))
            ):
                yield name, field, inspect.cleandoc(text)


def _declared(
    classes: Mapping[str, ast.ClassDef], imported: Mapping[str, str], name: str
) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    if name in classes:
        for base in classes[name].bases:
            found |= _declared(classes, imported, ast.unparse(base))
        for field, node, text in described_fields(classes[name].body):
            found[field] = Declared(field, ast.unparse(node.annotation), _written(node.value), text)
    elif name in imported and name not in _ROOTS:
        return declared(imported[name])
    return found


def _written(default: ast.expr | None) -> str:
    match default:
        case None | ast.List(elts=[]) | ast.Dict(keys=[]):
            return ""
        case ast.Constant(value=None | True | False as value):
            return {None: "null", True: "true", False: "false"}[value]
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(keywords=[ast.keyword(arg="name", value=ast.Constant(value=str(text)))]):
            return text.rpartition("/")[2]  # a component
        case ast.Tuple(elts=[ast.Call(), *_] as components):
            return ",".join(map(_written, components))
    return ast.unparse(default)
