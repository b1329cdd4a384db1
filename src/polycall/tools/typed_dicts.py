"""Typed dictionaries that pydantic takes.

Before Python 3.12 it refuses those of `typing`, which forget which keys of a base are required.
What they do remember is enough for a schema, so they are made anew.
"""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Union, get_args, get_origin

import typing_extensions


def typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """A typed dictionary with any names as its keys."""
    make: Any = typing_extensions.TypedDict
    return make(name, fields)


def known_to_pydantic(hint: Any) -> Any:
    """The annotation, with typed dictionaries of `typing` in it made anew."""
    return _renewed(hint, {})


def _renewed(hint: Any, made: dict[Any, Any]) -> Any:
    if typing.is_typeddict(hint) and type(hint).__module__ == "typing":
        return made[hint] if hint in made else _remade(hint, made)
    arguments = get_args(hint)
    origin = get_origin(hint)
    if not arguments or origin in (typing.Literal, None):
        return hint
    renewed = tuple(_renewed(argument, made) for argument in arguments)
    if all(new is old for new, old in zip(renewed, arguments, strict=True)):
        return hint
    if origin is Annotated:
        for remark in arguments[1:]:
            renewed = (Annotated[renewed[0], remark],)
        return renewed[0]
    if origin in (Union, types.UnionType):
        return Union[renewed]  # noqa: UP007 - built from a tuple
    return origin[renewed]


def _remade(hint: Any, made: dict[Any, Any]) -> Any:
    made[hint] = hint  # one that contains itself stays as it is inside
    fields: dict[str, Any] = {}
    for key, annotation in typing.get_type_hints(hint, include_extras=True).items():
        marker = get_origin(annotation)
        if marker in (typing.Required, typing.NotRequired):
            wanted = marker is typing.Required
            annotation = get_args(annotation)[0]  # noqa: PLW2901 - without its marker
        else:
            wanted = key in hint.__required_keys__
        inner = _renewed(annotation, made)
        fields[key] = (
            typing_extensions.Required[inner] if wanted else typing_extensions.NotRequired[inner]
        )
    made[hint] = typed_dict(hint.__name__, fields)
    made[hint].__doc__ = hint.__doc__
    return made[hint]
