"""What a Converse request must look like: AWS's service model, as data.

From botocore 1.44's model of bedrock-runtime (read 2026-11-29): `*` marks what is needed, `|` a
union, of which exactly one member is set.
"""

from __future__ import annotations

import re
from typing import Any

from polycall.sim.shape import json_type

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_SOURCE = {"|": True, "bytes": "blob", "s3Location": "S3Location"}

SHAPES: dict[str, dict[str, Any]] = {
    "Request": {
        "messages": ["Message"],
        "system": ["System"],
        "inferenceConfig": "Inference",
        "toolConfig": "Tools",
        "guardrailConfig": "document",
        "additionalModelRequestFields": "document",
        "promptVariables": "document",
        "additionalModelResponseFieldPaths": ["string"],
        "requestMetadata": "document",
        "performanceConfig": "document",
        "serviceTier": "Tier",
        "outputConfig": "Output",
        "projectIdentifier": "string",
    },
    "Count": {"*input": "CountInput"},
    "CountInput": {"|": True, "invokeModel": "Invoked", "converse": "Counted"},
    "Invoked": {"*body": "blob"},
    "Counted": {
        "messages": ["Message"],
        "system": ["System"],
        "toolConfig": "Tools",
        "additionalModelRequestFields": "document",
    },
    "Inference": {
        "maxTokens": "integer",
        "temperature": "unit",
        "topP": "unit",
        "stopSequences": ["string"],
    },
    "Message": {"*role": ("user", "assistant", "system"), "*content": ["Block"]},
    "Block": {
        "|": True,
        "text": "string",
        "image": "Image",
        "document": "Document",
        "video": "Video",
        "audio": "Audio",
        "toolUse": "ToolUse",
        "toolResult": "ToolResult",
        "guardContent": "document",
        "cachePoint": "CachePoint",
        "reasoningContent": "Reasoning",
        "citationsContent": "document",
        "searchResult": "document",
        "toolAddition": "document",
        "toolRemoval": "document",
    },
    "System": {
        "|": True,
        "text": "text",
        "guardContent": "document",
        "cachePoint": "CachePoint",
    },
    "CachePoint": {"*type": ("default",), "ttl": ("5m", "1h")},
    "S3Location": {"*uri": "string", "bucketOwner": "string"},
    "Source": _SOURCE,
    "DocumentSource": {**_SOURCE, "text": "string", "content": "document"},
    "Image": {"*format": ("png", "jpeg", "gif", "webp"), "*source": "Source"},
    "Document": {
        "format": ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
        "*name": "text",
        "*source": "DocumentSource",
        "context": "string",
        "citations": "document",
    },
    "Video": {
        "*format": ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"),
        "*source": "Source",
    },
    "Audio": {"*format": "string", "*source": "Source"},
    "ToolUse": {
        "*toolUseId": _ID,
        "*name": _NAME,
        "*input": "document",
        "type": ("server_tool_use",),
    },
    "ToolResult": {
        "*toolUseId": _ID,
        "*content": ["ResultBlock"],
        "status": ("success", "error"),
        "type": "string",
    },
    "ResultBlock": {
        "|": True,
        "json": "document",
        "text": "string",
        "image": "Image",
        "document": "Document",
        "video": "Video",
        "searchResult": "document",
    },
    "Reasoning": {"|": True, "reasoningText": "ReasoningText", "redactedContent": "blob"},
    "ReasoningText": {"*text": "string", "signature": "string"},
    "Tools": {"*tools": ["Tool"], "toolChoice": "Choice"},
    "Tool": {"|": True, "toolSpec": "Spec", "systemTool": "document", "cachePoint": "CachePoint"},
    "Spec": {
        "*name": _NAME,
        "description": "text",
        "*inputSchema": "Schema",
        "strict": "boolean",
    },
    "Schema": {"|": True, "json": "document"},
    "Choice": {"|": True, "auto": "document", "any": "document", "tool": "Named"},
    "Named": {"*name": _NAME},
    "Tier": {"*type": ("priority", "default", "flex", "reserved")},
    "Output": {"textFormat": "TextFormat", "effort": "string"},
    "TextFormat": {"*type": ("json_schema",), "*structure": "Structure"},
    "Structure": {"|": True, "jsonSchema": "JSONSchema"},
    "JSONSchema": {"*schema": "string", "name": "string", "description": "string"},
}


def problem(value: Any, shape: Any = "Request", path: str = "") -> str:
    """What is wrong with a value, or nothing."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{path}: expected a list, got {json_type(value)}"
        items = (problem(v, shape[0], f"{path}[{i}]") for i, v in enumerate(value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return next(filter(None, items), "")
    if isinstance(shape, tuple):
        return "" if value in shape else f"{path}: {value!r} is not one of {shape!r}"
    if isinstance(shape, re.Pattern):
        fits = isinstance(value, str) and shape.fullmatch(value) is not None  # pyright: ignore[reportUnknownMemberType]
        return "" if fits else f"{path}: {value!r} does not satisfy {shape.pattern}"  # pyright: ignore[reportUnknownMemberType]
    if shape in SHAPES:
        return _structure(value, SHAPES[shape], path)
    return _scalar(value, str(shape), path)


def _structure(value: Any, shape: dict[str, Any], path: str) -> str:
    if not isinstance(value, dict):
        return f"{path}: expected a structure, got {json_type(value)}"
    fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    known = {name.removeprefix("*"): kind for name, kind in shape.items() if name != "|"}
    for name in shape:
        if name.startswith("*") and fields.get(name[1:]) is None:
            return f"{path}.{name[1:]}: is required"
    if "|" in shape and len(fields) != 1:
        return f"{path}: exactly one member is set in a union, got {sorted(fields)}"
    for name, each in fields.items():
        if name not in known:
            return f"{path}: extraneous key [{name}] is not permitted"
        if said := problem(each, known[name], f"{path}.{name}" if path else name):
            return said
    return ""


def _scalar(value: Any, kind: str, path: str) -> str:
    found = json_type(value)
    match kind:
        case "document":
            return ""
        case "string" | "blob":
            fits = found == "string"
        case "text":
            fits = found == "string" and bool(value)
        case "unit":
            fits = found in ("number", "integer") and 0 <= value <= 1
        case _:
            fits = found == kind
    return "" if fits else f"{path}: {value!r} is not a {kind}"
