"""YAML that others wrote, no larger than it looks: its aliases may repeat it a billion times.

Needs pyyaml, an extra: import this where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import yaml

_PLACES_MIN = 10_000
_TAGS = "tag:yaml.org,2002:"
_SEQUENCE, _MAPPING, _MERGE, _TEXT = (_TAGS + each for each in ("seq", "map", "merge", "str"))
_SCALARS = {_TAGS + each for each in ("bool", "float", "int", "null", "str", "timestamp")}
_NUMBERS = {_TAGS + each for each in ("float", "int")}
_DIGITS_MAX = 4_300  # as Python reads; to read `1:1:1...` takes the square of its length
_TEXT_CHARS_PER_MERGED = 16  # of the text: a key in a mapping takes as much room


class _Reader:
    """Makes values while it reads: lists, dicts and scalars alone.

    PyYAML's own way keeps a node of each value, which takes ten times the value's room, and copies
    what is merged without a bound.
    """

    def __init__(self, text: str | bytes, values_max: int, collections_max: int) -> None:
        self._loader: Any = yaml.SafeLoader(text)
        self._named: dict[str, Any] = {}
        self._values_max, self._collections_max = values_max, collections_max
        self._values = self._collections = self._merged = 0
        self._merged_max = max(len(text) // _TEXT_CHARS_PER_MERGED, _PLACES_MIN)

    def document(self) -> Any:
        """The one document of the text; `None` where it is empty."""
        loader = self._loader
        loader.get_event()  # the stream begins
        if loader.check_event(yaml.StreamEndEvent):
            return None
        loader.get_event()  # the document begins
        value = self._value(loader.get_event())
        loader.get_event()  # the document ends
        if not loader.check_event(yaml.StreamEndEvent):
            raise ValueError(f"line {_line(loader.peek_event())} begins a second document")
        return value

    def _value(self, event: Any) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._of_alias(event)
        if event.anchor in self._named:
            raise ValueError(f"line {_line(event)} names {event.anchor[:100]!r} a second time")
        self._values += 1
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            self._name(event, value)
            self._check_count()
            return value
        self._collections += 1
        self._check_count()
        is_list = isinstance(event, yaml.SequenceStartEvent)
        _check_tag(event, event.tag, _SEQUENCE if is_list else _MAPPING)
        return self._list(event) if is_list else self._dict(event)

    def _of_alias(self, event: Any) -> Any:
        if event.anchor not in self._named:
            raise ValueError(f"line {_line(event)} has the unknown alias {event.anchor[:100]!r}")
        return self._named[event.anchor]

    def _name(self, event: Any, value: Any) -> None:
        if event.anchor is not None:
            self._named[event.anchor] = value

    def _check_count(self) -> None:
        if self._values > self._values_max or self._collections > self._collections_max:
            raise ValueError(
                f"more than {self._values_max} values or {self._collections_max} lists and mappings"
            )

    def _scalar(self, event: Any) -> Any:
        tag = self._tag(event)
        tag = _TEXT if tag == f"{_TAGS}value" else tag  # "=", which is no value of its own here
        _check_tag(event, tag, *_SCALARS)
        if tag in _NUMBERS and len(event.value) > _DIGITS_MAX:
            raise ValueError(
                f"line {_line(event)} has a number of {len(event.value)} characters; "
                f"{_DIGITS_MAX} are read"
            )
        make: Callable[[Any, Any], Any] = yaml.SafeLoader.yaml_constructors[tag]
        try:
            return make(self._loader, yaml.ScalarNode(tag, event.value, event.start_mark))
        except (AttributeError, LookupError):  # such as of `!!bool 5`
            raise _misplaced(event, tag) from None

    def _tag(self, event: Any) -> str:
        if event.tag in (None, "!"):
            tag: str = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            return tag
        return event.tag

    def _list(self, start: Any) -> list[Any]:
        made: list[Any] = []
        self._name(start, made)  # before its parts: it may hold itself
        loader = self._loader
        while not loader.check_event(yaml.SequenceEndEvent):
            made.append(self._value(loader.get_event()))
        loader.get_event()
        return made

    def _dict(self, start: Any) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        self._name(start, made)
        merged: list[dict[Any, Any]] = []
        loader = self._loader
        while not loader.check_event(yaml.MappingEndEvent):
            event = loader.get_event()
            if isinstance(event, yaml.ScalarEvent) and self._tag(event) == _MERGE:
                merged += _mappings(event, self._value(loader.get_event()))
                continue
            key = self._value(event)
            if isinstance(key, list | dict):
                raise ValueError(  # noqa: TRY004 - of the text, not of an argument
                    f"line {_line(event)} has a key that is a list or a mapping"
                )
            made[key] = self._value(loader.get_event())
        loader.get_event()
        for each in merged:
            self._merge(made, each)
        return made

    def _merge(self, made: dict[Any, Any], other: dict[Any, Any]) -> None:
        """Merge `other` into `made`; present keys stay."""
        self._merged += len(other)
        if self._merged > self._merged_max:
            raise ValueError(f"more than {self._merged_max} keys that are merged (<<)")
        for key, value in other.items():
            made.setdefault(key, value)


def load_yaml(
    text: str | bytes, *, values_max: int | None = None, collections_max: int | None = None
) -> Any:
    """The value of the text.

    Raises `ValueError` where it is not plain, too deep, too large or too repetitive.
    """
    # Each place but those of aliases takes a character at least.
    most = max(len(text), _PLACES_MIN)
    values_max, collections_max = values_max or most, collections_max or most
    try:
        value = _Reader(text, values_max, collections_max).document()
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"not plain YAML: {error}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _has_more_places(value, most):
        raise ValueError(f"more than {most} values, since its aliases repeat so much")
    return value


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _mappings(event: Any, value: Any) -> list[dict[Any, Any]]:
    """The values that `<<` merges: a mapping, or a list of them."""
    found = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise ValueError(
            f"line {_line(event)} merges (<<) something else than mappings; put << in quotes "
            "where it is the name of a key"
        )
    return found


def _check_tag(event: Any, tag: str | None, *expected: str) -> None:
    if tag in (None, "!", *expected):
        return
    assert tag is not None
    if tag in (_SEQUENCE, _MAPPING, *_SCALARS):
        raise _misplaced(event, tag)
    raise ValueError(
        f"line {_line(event)} has the tag {_short(tag)!r}, which is not read; write lists and "
        "mappings without a tag, and texts in quotes"
    )


def _misplaced(event: Any, tag: str) -> ValueError:
    return ValueError(
        f"line {_line(event)} has the tag {_short(tag)!r} before another value; write it without"
    )


def _short(tag: str) -> str:
    return tag.replace(_TAGS, "!!")[:100]


def _has_more_places(value: Any, most: int) -> bool:
    """Whether there are more, aliases counted as often as they stand; one may hold itself."""
    layers = [iter([value])]
    count = 0
    while layers:
        item = next(layers[-1], layers)
        if item is layers:
            layers.pop()
            continue
        count += 1
        if count > most:
            return True
        if isinstance(item, dict):
            layers.append(iter(cast("dict[Any, Any]", item).values()))
        elif isinstance(item, list):
            layers.append(iter(cast("list[Any]", item)))
    return False
