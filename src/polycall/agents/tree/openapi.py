"""OpenAPI 3.0 and Swagger 2.0 as OpenAPI 3.1, whose schemas are JSON Schema; one name an operation.

Sources, read 2026-11-29: https://spec.openapis.org/oas/v3.0.4.html (nullable, exclusiveMinimum,
style and explode), https://spec.openapis.org/oas/v2.0.html (body and form parameters,
collectionFormat, definitions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

from polycall.ir import JSON

_METHODS = ("get", "put", "post", "delete", "patch")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_]+")
# What holds values, and no schemas.
_VALUES = frozenset({"default", "enum", "const", "example", "examples"})
# A parameter of Swagger 2.0 is a schema, but for these.
_OF_PARAMETERS = frozenset(
    {"name", "in", "description", "required", "collectionFormat", "allowEmptyValue"}
)
_SWAGGER_PLACES = {
    "#/definitions/": "#/components/schemas/",
    "#/parameters/": "#/components/parameters/",
}
# Between the values of a list that stands in one parameter, by style.
_SEPARATORS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_COLLECTIONS = {
    "csv": ("form", False),
    "ssv": ("spaceDelimited", False),
    "tsv": ("form", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

# An operation, with its path, its method and what holds it.
_Place: TypeAlias = tuple[str, str, JSON]


def as_openapi_31(document: JSON) -> JSON:
    """The document as OpenAPI 3.1 says the same, each operation with an id of its own.

    An `operationId` that is missing is made of method and path; of those that are there twice, the
    further ones get the path to them as well.  Nothing is changed in the document itself.
    """
    made = _from_swagger(document) if str(document.get("swagger", "")).startswith("2") else document
    made = cast("JSON", _plain_schemas(made))
    return _with_ids(made) if isinstance(made.get("paths"), dict) else made


def separators(parameters: list[JSON]) -> dict[str, str]:
    """The separators of parameters whose list of values is one text, by parameter."""
    found: dict[str, str] = {}
    for each in parameters:
        in_query = each.get("in") in ("query", "cookie")
        style = str(each.get("style") or ("form" if in_query else "simple"))
        if not each.get("explode", style == "form") and style in _SEPARATORS:
            found[str(each.get("name"))] = _SEPARATORS[style]
    return found


def joined(arguments: JSON, between: dict[str, str]) -> JSON:
    """The arguments with lists put together where the document says so."""
    return {
        name: between[name].join(map(_text, cast("list[Any]", value)))
        if name in between and isinstance(value, list)
        else value
        for name, value in arguments.items()
    }


def body_content(content: dict[str, JSON]) -> tuple[str, JSON]:
    """The media type in which a body is sent, JSON where there is a choice, and what it holds."""
    for kind, held in content.items():
        plain = kind.partition(";")[0].strip().lower()
        if plain == "application/json" or plain.endswith("+json"):
            return kind, held
    for kind in (*_FORMS, *content):
        if "schema" in content.get(kind, {}):
            return kind, content[kind]
    return "application/json", {}


def _text(value: Any) -> str:
    return "true" if value is True else "false" if value is False else str(value)


def _plain_schemas(node: Any) -> Any:
    """The node with each schema of OpenAPI 3.0 as JSON Schema has it."""
    if isinstance(node, list):
        return [_plain_schemas(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    made: JSON = {
        key: value if key in _VALUES else _plain_schemas(value)
        for key, value in cast("JSON", node).items()
    }
    for bound, name in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(name), bool):
            is_exclusive = made.pop(name)
            if is_exclusive and bound in made:
                made[name] = made.pop(bound)
    is_nullable = made.get("nullable") is True or made.get("x-nullable") is True
    if isinstance(made.get("nullable"), bool):
        made.pop("nullable")
    if isinstance(made.get("x-nullable"), bool):
        made.pop("x-nullable")
    return _nullable(made) if is_nullable else made


def _nullable(schema: JSON) -> JSON:
    kind = schema.get("type")
    if kind is None or "$ref" in schema or "allOf" in schema:
        about = {key: schema[key] for key in ("description", "title", "default") if key in schema}
        return {**about, "anyOf": [schema, {"type": "null"}]}
    kinds = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    made: JSON = {**schema, "type": [*kinds, *([] if "null" in kinds else ["null"])]}
    values = schema.get("enum")
    if isinstance(values, list) and None not in values:
        made["enum"] = [*cast("list[Any]", values), None]
    return made


def _operations(document: JSON) -> Iterator[_Place]:
    paths = cast("dict[str, Any]", document.get("paths") or {})
    for path, item in sorted(paths.items()):
        for method in _METHODS:
            if isinstance(item, dict) and isinstance(item.get(method), dict):  # pyright: ignore[reportUnknownMemberType]
                yield path, method, cast("JSON", item)


def _with_ids(document: JSON) -> JSON:
    """The document with an id for each operation that no other one has."""
    paths: JSON = {
        path: dict(cast("JSON", item)) if isinstance(item, dict) else item
        for path, item in cast("JSON", document["paths"]).items()
    }
    made: JSON = {**document, "paths": paths}
    taken: set[str] = set()
    for path, method, item in _operations(made):
        names = _names(path, method, str(item[method].get("operationId") or ""))
        name = next(each for each in names if _word(each).lower() not in taken)
        taken.add(_word(name).lower())
        paths[path][method] = {**item[method], "operationId": name}
    return made


def _names(path: str, method: str, given: str) -> Iterator[str]:
    """Names for an operation, the best one first, without an end."""
    parts = [part for part in path.split("/") if part]
    plain = "_".join(part for part in parts if not part.startswith("{"))
    whole = "_".join(f"by_{part[1:-1]}" if part.startswith("{") else part for part in parts)
    if given:
        yield given
    yield f"{given}_{method}" if given else f"{method}_{plain}"
    yield f"{given}_{method}_{whole}" if given else f"{method}_{whole}"
    number = 2
    while True:
        yield f"{given or method}_{whole}_{number}"
        number += 1


def _word(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text).strip("_")


def _from_swagger(document: JSON) -> JSON:
    """A document of Swagger 2.0 in the shape of OpenAPI 3."""
    moved = cast("JSON", _moved(document))
    shared = {
        name: _parameter(cast("JSON", each))
        for name, each in cast("JSON", moved.get("parameters") or {}).items()
    }
    consumes = cast("list[str]", moved.get("consumes") or ["application/json"])
    paths: JSON = {}
    for path, item in cast("JSON", moved.get("paths") or {}).items():
        paths[path] = dict(cast("JSON", item))
        common = _resolved(shared, cast("JSON", item).get("parameters") or [])
        for method in _METHODS:
            operation = cast("JSON", item).get(method)
            if isinstance(operation, dict):
                own = _resolved(shared, cast("JSON", operation).get("parameters") or [])
                kinds = cast("JSON", operation).get("consumes") or consumes
                paths[path][method] = _operation(cast("JSON", operation), common, own, kinds)
        paths[path].pop("parameters", None)
    scheme = (cast("list[str]", moved.get("schemes")) or ["https"])[0]
    base = f"{scheme}://{moved.get('host', 'localhost')}{moved.get('basePath', '')}"
    return {
        "openapi": "3.1.0",
        "info": moved.get("info") or {},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {"schemas": moved.get("definitions") or {}},
    }


def _moved(node: Any) -> Any:
    """The node with references to where OpenAPI 3 has these things."""
    if isinstance(node, list):
        return [_moved(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    made: JSON = {key: _moved(value) for key, value in cast("JSON", node).items()}
    if made.get("type") == "file":
        made["type"] = "string"
    reference = made.get("$ref")
    if isinstance(reference, str):
        for before, after in _SWAGGER_PLACES.items():
            if reference.startswith(before):
                made["$ref"] = after + reference.removeprefix(before)
    return made


def _resolved(shared: JSON, listed: list[JSON]) -> list[JSON]:
    """Parameters, in the shape of OpenAPI 3."""
    found: list[JSON] = []
    for each in listed:
        name = str(each.get("$ref", "")).rpartition("/")[2]
        found.append(shared.get(name, {}) if name else _parameter(each))
    return found


def _parameter(each: JSON) -> JSON:
    if each.get("in") == "body":
        return each
    made = {key: each[key] for key in ("name", "in", "description", "required") if key in each}
    made["schema"] = {key: value for key, value in each.items() if key not in _OF_PARAMETERS}
    if each.get("type") == "array":
        style, explode = _COLLECTIONS.get(str(each.get("collectionFormat", "csv")), ("form", False))
        made |= {"style": style, "explode": explode}
    return made


def _operation(operation: JSON, common: list[JSON], own: list[JSON], kinds: Any) -> JSON:
    """An operation with its body apart from its parameters; its own come before the shared ones."""
    taken = {(each.get("name"), each.get("in")) for each in own}
    listed = [*own, *(each for each in common if (each.get("name"), each.get("in")) not in taken)]
    made = {key: value for key, value in operation.items() if key != "parameters"}
    made["parameters"] = [each for each in listed if each.get("in") not in ("body", "formData")]
    for body in (each for each in listed if each.get("in") == "body"):
        content: JSON = {str(kind): {"schema": body.get("schema") or {}} for kind in kinds}
        made["requestBody"] = {"content": content, "required": bool(body.get("required"))}
    fields = [each for each in listed if each.get("in") == "formData"]
    if fields:
        properties: JSON = {
            str(each["name"]): {
                **each["schema"],
                **({"description": each["description"]} if "description" in each else {}),
            }
            for each in fields
        }
        required = [str(each["name"]) for each in fields if each.get("required")]
        schema: JSON = {"type": "object", "properties": properties, "required": required}
        kind = next((each for each in kinds if each in _FORMS), _FORMS[1])
        made["requestBody"] = {"content": {kind: {"schema": schema}}, "required": bool(required)}
    return made
