"""Values for parameters, found in a text: what the simulated model writes as arguments.

A parameter is filled by its kind, read off its schema, its name and its description: choices by
their words, numbers from digits, places and other proper nouns by their names, the rest from
quoted or remaining words.  What is optional and not in the text is left out.
"""

from __future__ import annotations

import re
from typing import Any, cast

from polycall.sim import schemas, vocabulary
from polycall.sim.shape import JSON, list_in, object_in

_DEPTH_MAX = 8
_OBJECTS_MAX = 4
# No schema makes a simulation write more than this.
_ITEMS_MAX = 100
_LENGTH_MAX = 10_000
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w-])|\d+(?=[가-힣])")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+\w")
_URL = re.compile(r"https?://[^\s\"'<>]+")
_CODE = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9][\w-]*\b")
_QUOTED = re.compile("[\"“「『]([^\"”」』]+)[\"”」』]|'([^']{2,})'(?![a-z])|`([^`]+)`")
_EXPRESSION = re.compile(r"[\d(][\d\s.+\-*/x×÷()^%]*[\d)]")
_PROPER = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][a-z]+(?:\s[A-Z][a-z]+)*")
_WORDS = vocabulary.PARAMETER_WORDS
_NEGATIONS = re.compile(r"\b(?:not|no|without|don't|never)\b|말고|없이|빼고")


class Filler:
    """Fills one schema from one text.  `places` narrows which of the text's places count."""

    def __init__(self, root: JSON, text: str, places: list[tuple[int, str, str]]) -> None:
        self.root = root
        self.text = text
        self.low = text.lower()
        self.places = places
        # A number in a date, a code or an address is not a number to fill with.
        bare = _CODE.sub(" ", _DATE.sub(" ", _URL.sub(" ", text)))
        self.numbers = [match.replace(",", "") for match in _NUMBER.findall(bare)]
        self.taken = 0  # of the numbers
        self.depth = 0  # of objects within objects, which a schema may make endless

    def fill_all(self) -> list[JSON]:
        """The arguments; several where the text names several values for one parameter."""
        schema = self.resolve(self.root)
        properties = properties_of(schema)
        required = set(list_in(schema, "required"))
        whole: JSON = {}
        spread: tuple[str, list[Any]] | None = None
        for name, child in properties.items():
            inner = self.resolve(child)
            values = self.matches(name, inner)
            if len(values) > 1 and spread is None and not _is_many(inner):
                spread = name, values
                whole[name] = values[0]
            elif values:
                whole[name] = values[0]
            elif name in required:
                whole[name] = self.fallback(name, inner, 0)
        if spread is None:
            return [whole]
        name, values = spread
        return [{**whole, name: value} for value in values]

    def resolve(self, schema: Any) -> JSON:
        """The schema behind references, and the first that is not null of a union."""
        node = _as_node(schema)
        for _ in range(_DEPTH_MAX):
            if "$ref" in node:
                target = schemas.resolve(self.root, node["$ref"]) or {}
                rest = {name: item for name, item in node.items() if name != "$ref"}
                node = {**target, **rest}
                continue
            branches = list_in(node, "anyOf") or list_in(node, "oneOf")
            if not branches:
                break
            plain = [one for one in map(_as_node, branches) if one.get("type") != "null"]
            rest = {name: item for name, item in node.items() if name not in ("anyOf", "oneOf")}
            node = {**(plain[0] if plain else {}), **rest}
        if len(list_in(node, "allOf")) == 1:
            node = {**self.resolve(node["allOf"][0]), **node}
        return node

    def matches(self, name: str, schema: JSON) -> list[Any]:
        """The values that the text names, in its order; none where it names none."""
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return self._choices(name, schema["enum"])
        match kind_of(schema):
            case "boolean":
                return self._flag(name)
            case "integer" | "number":
                return self._number(name, schema)
            case "array":
                items = self.resolve(object_in(schema, "items"))
                found = self._array(name, items)
                return [found] if found else []
            case "object":
                return self._object(schema)
            case _:
                return self._string(name, schema)

    def fallback(self, name: str, schema: JSON, depth: int) -> Any:
        """A value that fits a required parameter of which the text says nothing."""
        if "default" in schema:
            return schema["default"]
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if schema.get("examples"):
            return schema["examples"][0]
        match kind_of(schema):
            case "boolean":
                return False
            case "integer" | "number":
                return _bounded(schema)
            case "array":
                count = min(int(schema.get("minItems", 0)), _ITEMS_MAX)
                if depth >= _DEPTH_MAX or not count:
                    return []
                item = self.resolve(object_in(schema, "items"))
                return [self.fallback(name, item, depth + 1) for _ in range(count)]
            case "object":
                return self._required_object(schema, depth)
            case "null":
                return None
            case _:
                return self._any_string(schema)

    def instance(self) -> Any:
        """An instance of the root, for structured answers: every property is filled."""
        return self._instance("", self.resolve(self.root), 0)

    def _instance(self, name: str, schema: JSON, depth: int) -> Any:
        if kind_of(schema) != "object" or not properties_of(schema):
            if kind_of(schema) == "array" and depth < _DEPTH_MAX:
                item = self.resolve(object_in(schema, "items"))
                found = self._array(name, item)
                if found and len(found) >= int(schema.get("minItems", 0)):
                    return found[: int(schema.get("maxItems", len(found)))]
                count = min(max(1, int(schema.get("minItems", 1))), _ITEMS_MAX)
                return [self._instance(name, item, depth + 1) for _ in range(count)]
            found = self.matches(name, schema)
            return found[0] if found else self.fallback(name, schema, depth)
        required = set(list_in(schema, "required"))
        result: JSON = {}
        for key, child in properties_of(schema).items():
            # A schema that contains itself is unrolled where it must be, and not further.
            if depth >= 2 and key not in required:
                continue
            if depth < _DEPTH_MAX:
                result[key] = self._instance(key, self.resolve(child), depth + 1)
        return result

    def _required_object(self, schema: JSON, depth: int) -> JSON:
        if depth >= _DEPTH_MAX:
            return {}
        properties = properties_of(schema)
        result: JSON = {}
        for key in list_in(schema, "required"):
            inner = self.resolve(properties.get(key) or {})
            found = self.matches(key, inner)
            result[key] = found[0] if found else self.fallback(key, inner, depth + 1)
        return result

    def _choices(self, name: str, values: list[Any]) -> list[Any]:
        found: list[tuple[int, Any]] = []
        for value in values:
            spots = [vocabulary.find(word, self.low) for word in _spellings(value)]
            hits = [spot for spot in spots if spot >= 0]
            if hits:
                found.append((min(hits), value))
        found.sort(key=lambda pair: pair[0])
        return [value for _, value in found]

    def _flag(self, name: str) -> list[Any]:
        words = [word for word in vocabulary.words_of(name) if word not in vocabulary.EMPTY_WORDS]
        for word in words:
            spot = vocabulary.find(word, self.low)
            if spot >= 0:
                return [_NEGATIONS.search(self.low[max(0, spot - 12) : spot]) is None]
        return []

    def _number(self, name: str, schema: JSON) -> list[Any]:
        whole = kind_of(schema) == "integer"
        while self.taken < len(self.numbers):
            text = self.numbers[self.taken]
            self.taken += 1
            if not whole or "." not in text:
                return [int(text) if "." not in text else float(text)]
        return []

    def _array(self, name: str, items: JSON) -> list[Any]:
        kind = kind_of(items)
        if kind in ("integer", "number"):
            rest, self.taken = self.numbers[self.taken :], len(self.numbers)
            whole = kind == "integer"
            return [
                int(one) if "." not in one else float(one)
                for one in rest
                if not (whole and "." in one)
            ]
        if kind in ("object", "array", "boolean"):
            return []
        return self.matches(name, items)

    def _object(self, schema: JSON) -> list[Any]:
        if self.depth >= _OBJECTS_MAX:
            return []
        self.depth += 1
        result: JSON = {}
        properties = properties_of(schema)
        for key, child in properties.items():
            found = self.matches(key, self.resolve(child))
            if found:
                result[key] = found[0]
        self.depth -= 1
        if not result:
            return []
        for key in list_in(schema, "required"):
            if key not in result:
                result[key] = self.fallback(key, self.resolve(properties.get(key) or {}), 1)
        return [result]

    def _string(self, name: str, schema: JSON) -> list[Any]:
        about = set(vocabulary.words_of(f"{name} {schema.get('description', '')}"))
        own = set(vocabulary.words_of(name))
        match schema.get("format"):
            case "date":
                return _DATE.findall(self.text)
            case "date-time":
                return _DATE_TIME.findall(self.text)
            case "email":
                return _EMAIL.findall(self.text)
            case "uri" | "url":
                return _URL.findall(self.text)
            case _:
                pass
        if isinstance(pattern := schema.get("pattern"), str):
            return _find_pattern(pattern, self.text)
        quoted = ["".join(groups) for groups in _QUOTED.findall(self.text)]
        if own & _WORDS["zone"] or "timezone" in about:
            return [zone for _, _, zone in self.places]
        if own & _WORDS["place"] or (about & _WORDS["place"] and not own & _WORDS["text"]):
            return [place for _, place, _ in self.places] or quoted or self._proper()
        if "email" in own or ("to" in own and _EMAIL.search(self.text)):
            return _EMAIL.findall(self.text)
        if own & {"url", "link", "uri"}:
            return _URL.findall(self.text)
        if own & {"date", "day", "날짜"}:
            return _DATE.findall(self.text)
        if own & _WORDS["math"] or about & _WORDS["math"]:
            return [one.strip() for one in _EXPRESSION.findall(self.text) if re.search(r"\D", one)]
        if own & _WORDS["code"]:
            return _CODE.findall(self.text) or [str(one) for one in self.numbers]
        if own & _WORDS["person"]:
            return quoted or self._proper()
        return quoted

    def _proper(self) -> list[str]:
        known = {place for _, place, _ in self.places}
        return [name for name in _PROPER.findall(self.text) if name not in known]

    def _any_string(self, schema: JSON) -> str:
        named = {
            "date": "2026-01-01",
            "date-time": "2026-01-01T00:00:00Z",
            "time": "00:00:00Z",
            "email": "user@example.com",
            "uri": "https://example.com/",
            "uuid": "00000000-0000-4000-8000-000000000000",
        }
        text = named.get(schema.get("format", ""), self.text.strip() or "text")
        low, high = min(int(schema.get("minLength", 0)), _LENGTH_MAX), schema.get("maxLength")
        return text[: int(high)] if high is not None else text.ljust(low, ".")


def kind_of(schema: JSON) -> str:
    """The type of a schema, `null` aside; a guess where it says none."""
    kind = schema.get("type")
    if isinstance(kind, list):
        names = [name for name in cast("list[str]", kind) if name != "null"]
        return names[0] if names else "null"
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def properties_of(schema: JSON) -> dict[str, Any]:
    """The properties of an object's schema."""
    found = schema.get("properties")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _is_many(schema: JSON) -> bool:
    return kind_of(schema) in ("array", "object")


def _spellings(value: Any) -> list[str]:
    if not isinstance(value, str) or not value:
        return [str(value)] if isinstance(value, int) and not isinstance(value, bool) else []
    low = value.lower()
    names = [low, low.replace("_", " ")]
    names += vocabulary.CONCEPTS.get(low, ())
    if low in ("c", "metric"):
        names += vocabulary.CONCEPTS["celsius"]
    if low in ("f", "imperial"):
        names += vocabulary.CONCEPTS["fahrenheit"]
    if low in vocabulary.PLACES:
        names.append(vocabulary.PLACES[low][0])
    # One letter is a word of its own too seldom to be believed.
    return [name for name in names if len(name) > 1]


def _bounded(schema: JSON) -> int | float:
    value: int | float = schema.get("minimum", 1)
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        value = schema["exclusiveMinimum"] + 1
    if "maximum" in schema:
        value = min(value, schema["maximum"])
    step = schema.get("multipleOf")
    return value if not step else max(step, value - value % step)


def _as_node(schema: Any) -> JSON:
    """The schema; one that is true or false says nothing of what there is to write."""
    return cast("JSON", schema) if isinstance(schema, dict) else {}


def _find_pattern(pattern: str, text: str) -> list[str]:
    try:
        loose = re.compile(pattern.removeprefix("^").removesuffix("$"))
    except re.error:
        return []
    return [match[0] for match in loose.finditer(text) if match[0]]
