"""The rules of a Gemini conversation: contents, parts, pairs, thought signatures; and errors."""

from __future__ import annotations

import base64
import re
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.script import Called, Entry, Refused, Returned, Said
from polycall.sim.shape import JSON, list_in, object_in
from polycall.sim.vendors.anthropic_turns import sorted_json
from polycall.sim.vendors.openai_common import sniff_image

SCOPE = "google"
SENTINEL = "skip_thought_signature_validator"
# As text, and as the bytes field of the vendor's SDK sends it.
_SENTINELS = frozenset(
    {
        SENTINEL,
        base64.b64encode(SENTINEL.encode()).decode(),
        base64.urlsafe_b64encode(SENTINEL.encode()).decode(),
        base64.b64encode(SENTINEL.encode()).decode().rstrip("="),
    }
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_MEDIA_TYPES = ("image/", "audio/", "video/", "application/pdf", "text/")
_LONE_FIELDS = frozenset(
    {"executableCode", "codeExecutionResult", "thoughtSignature", "videoMetadata"}
    | {"toolCall", "toolResponse"}
)
_DATA_FIELDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def refuse(
    message: str,
    *,
    status: int = 400,
    reason: str = "",
    field: str = "",
    details: list[JSON] | None = None,
) -> Refused:
    """An error in Google's shape."""
    name = reason or _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    error: JSON = {"code": status, "message": message, "status": name}
    if field:
        violation = {"field": field, "description": message}
        kind = "type.googleapis.com/google.rpc.BadRequest"
        details = [{"@type": kind, "fieldViolations": [violation]}]
    if details:
        error["details"] = details
    return Refused(status, {"error": error})


def read_contents(fields: JSON, *, signs: bool) -> list[Entry]:
    """The conversation, checked; `signs`: the model demands its signatures back."""
    return _Contents(fields, signs=signs).read()


class _Contents:
    """Reads the conversation: roles, parts, pairs of calls and responses, signatures."""

    def __init__(self, fields: JSON, *, signs: bool) -> None:
        self.fields = fields
        self.signs = signs
        self.entries: list[Entry] = []
        self.calls: list[tuple[str, str]] = []  # ids and names of the last model turn
        self.count = 0

    def read(self) -> list[Entry]:
        """All entries."""
        system = self.fields.get("systemInstruction")
        if system:
            texts = [part.get("text", "") for part in list_in(system, "parts")]
            self.entries.append(Said("system", "\n".join(texts)))
        contents: list[JSON] = list_in(self.fields, "contents")
        if not contents:
            raise refuse(
                "* GenerateContentRequest.contents: contents is not specified", field="contents"
            )
        turns = self._turns(contents)
        start = self._last_user(turns)
        for number, (role, parts) in enumerate(turns):
            if role == "model":
                self._read_model(parts, number, strict=self.signs and number > start)
            else:
                self._read_user(parts, number)
        if self.calls:
            raise _counts_differ(len(self.calls), 0)
        return self.entries

    def _turns(self, contents: list[JSON]) -> list[tuple[str, list[JSON]]]:
        turns: list[tuple[str, list[JSON]]] = []
        for index, content in enumerate(contents):
            role = content.get("role") or "user"
            if role not in ("user", "model", "function", "tool"):
                raise refuse(
                    "Please use a valid role: user, model.", field=f"contents[{index}].role"
                )
            parts = content.get("parts")
            if not parts:
                raise refuse(
                    f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not "
                    "be empty.",
                    field=f"contents[{index}].parts",
                )
            for spot, part in enumerate(parts):
                self._check_part(part, f"contents[{index}].parts[{spot}]")
            role = "model" if role == "model" else "user"
            if turns and turns[-1][0] == role:
                turns[-1][1].extend(parts)
            else:
                turns.append((role, list(parts)))
        return turns

    def _check_part(self, part: JSON, place: str) -> None:
        found = [name for name in _DATA_FIELDS if name in part]
        if len(found) > 1:
            raise refuse(
                f"Invalid value at '{place}' (oneof), oneof field 'data' is already set. Cannot "
                f"set '{found[1]}'",
                field=place,
            )
        if not found and not part.keys() & _LONE_FIELDS:
            raise refuse(
                f"* GenerateContentRequest.{place}.data: required oneof field 'data' must have "
                "one initialized field",
                field=place,
            )
        blobs = [part["inlineData"]] if "inlineData" in part else []
        inner = list_in(object_in(part, "functionResponse"), "parts")
        blobs += [piece["inlineData"] for piece in inner if "inlineData" in piece]
        for blob in blobs:
            _check_blob(blob, place)
        signature = part.get("thoughtSignature")
        if signature is not None and not _BASE64.fullmatch(signature):
            raise refuse(
                f"Invalid value at '{place}.thought_signature' (TYPE_BYTES), Base64 decoding "
                f'failed for "{signature[:20]}"',
                field=f"{place}.thought_signature",
            )

    def _last_user(self, turns: list[tuple[str, list[JSON]]]) -> int:
        last = 0
        for number, (role, parts) in enumerate(turns):
            if role == "user" and any("functionResponse" not in part for part in parts):
                last = number
        return last

    def _read_model(self, parts: list[JSON], number: int, *, strict: bool) -> None:
        self._close_calls(0)
        for part in parts:
            if "functionResponse" in part:
                raise refuse(
                    "Please ensure that function response turn comes immediately after a function "
                    "call turn.",
                    field=f"contents[{number}]",
                )
            signature = part.get("thoughtSignature")
            if signature is not None:
                self._check_signature(part, signature, first=not self.calls)
            if "functionCall" in part:
                call = part["functionCall"]
                if strict and not self.calls and signature is None:
                    raise refuse(
                        "Function call is missing a thought_signature in functionCall parts. This "
                        "is required for tools to work correctly, and missing thought_signature "
                        "may lead to degraded model performance. Function call "
                        f"`{call['name']}`, position {number}.",
                        field=f"contents[{number}]",
                    )
                self._add_call(call)
            elif part.get("text") and not part.get("thought"):
                self.entries.append(Said("assistant", part["text"]))

    def _add_call(self, call: JSON) -> None:
        self.count += 1
        call_id = call.get("id") or f"call-{self.count}"
        if call_id in {known for known, _ in self.calls}:
            raise refuse(f"Duplicate function call id: {call_id}")
        self.calls.append((call_id, call["name"]))
        self.entries.append(Called(call_id, call["name"], object_in(call, "args")))

    def _check_signature(self, part: JSON, signature: str, *, first: bool) -> None:
        if signature in _SENTINELS:
            if "functionCall" in part and not first:
                raise refuse(
                    f"{SENTINEL} is only valid on the first function call of a turn.",
                    field="thought_signature",
                )
            return
        if signing.takes_foreign() and signing.read(SCOPE, signature) is None:
            return
        if not signing.holds(SCOPE, signature, signed_part(part)):
            raise refuse("Corrupted thought signature.", field="thought_signature")

    def _read_user(self, parts: list[JSON], number: int) -> None:
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if any("functionCall" in part for part in parts):
            raise refuse(
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn.",
                field=f"contents[{number}]",
            )
        if responses and not self.calls:
            raise refuse(
                "Please ensure that function response turn comes immediately after a function "
                "call turn.",
                field=f"contents[{number}]",
            )
        self._close_calls(len(responses))
        for response in responses:
            self._pair(response)
        self.calls = []
        texts = [part["text"] for part in parts if part.get("text")]
        if len(responses) < len(parts):
            self.entries.append(Said("user", "\n".join(texts)))

    def _close_calls(self, responses: int) -> None:
        if self.calls and responses != len(self.calls):
            raise _counts_differ(len(self.calls), responses)

    def _pair(self, response: JSON) -> None:
        name, wanted = response["name"], response.get("id")
        for position, (call_id, called) in enumerate(self.calls):
            if called == name and wanted in (None, call_id):
                del self.calls[position]
                value = response["response"]
                is_error = "error" in value and "output" not in value
                content = value.get("output", value.get("error", value))
                text = content if isinstance(content, str) else jsontext.encode(content)
                self.entries.append(Returned(call_id, name, text, is_error))
                return
        raise refuse(
            f"Function response '{name}' (id {wanted}) does not match a function call of the "
            "previous turn.",
            field="contents",
        )


def _counts_differ(calls: int, responses: int) -> Refused:
    return refuse(
        "Please ensure that the number of function response parts is equal to the number of "
        f"function call parts of the function call turn. ({responses} of {calls})",
        field="contents",
    )


def signed_part(part: JSON) -> str:
    """The text that a signature is bound to: the call, or the text, of its own part."""
    call = part.get("functionCall")
    if call is None:
        return "text:" + part.get("text", "")
    # Numbers pass through doubles on the way, so 1 and 1.0 are the same.
    plain = jsontext.encode(sorted_json(_doubles(object_in(call, "args"))))
    return f"call:{call['name']}:{plain}"


def _doubles(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case dict():
            return {name: _doubles(item) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [_doubles(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def _check_blob(blob: JSON, place: str) -> None:
    kind, data = blob["mimeType"], blob["data"]
    if not kind.startswith(_MEDIA_TYPES):
        raise refuse(f"Unsupported MIME type: {kind}", field=f"{place}.inline_data.mime_type")
    if not data or not _BASE64.fullmatch(data):
        raise refuse(
            f"Invalid value at '{place}.inline_data.data' (TYPE_BYTES), Base64 decoding failed",
            field=f"{place}.inline_data.data",
        )
    if kind.startswith("image/"):
        standard = data.replace("-", "+").replace("_", "/").rstrip("=")
        if not sniff_image(standard + "=" * (-len(standard) % 4)):
            raise refuse("Unable to process input image. Please retry or report.", field=place)
