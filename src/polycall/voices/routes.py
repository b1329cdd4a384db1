"""Routes of the clients of each protocol: the path, the model's place, the form of errors.

Sources (2026-11-29): openai 3.57.0 `resources/realtime`, `resources/live` and their types;
google-genai 3.6.1 `live.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import InvalidRequestError
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.voices.capabilities import CodecName

_KEY_PROTOCOL = "openai-insecure-api-key."
_GOOGLE = "/ws/google.ai.generativelanguage.{}.GenerativeService.BidiGenerateContent"
_MODELS = "models/"
# An escape of a letter of `model`, or of what may stand between two of them.
_HIDDEN = re.compile(rb"\\u00(?:[46][45cdf]|5f)", re.IGNORECASE)
_ESCAPED = tuple(b"\\u00%d" % number for number in range(2, 8))  # how an escape of ASCII begins
# An object, to some reader, in any encoding: with a mark or without, behind any white space.
_OBJECT = re.compile(rb"[\0\xfe\xff\xef\xbb\xbf \t\r\n\v\f]*\{")


class ClientRoute(Struct, frozen=True):
    """One protocol as clients connect to it.

    | field | meaning |
    |---|---|
    | `name` | what the ledger calls it |
    | `dialect` | the wire format of errors before the WebSocket is open |
    | `model_at` | the fields of the first frame that lead to the model's name; else `?model=` |
    | `marks` | a provider's frame that is read has one of these: the others are passed by |
    | `protocol` | the sub-protocol that is spoken, where a client asks for one |
    | `resumes_at` | the fields of the first frame that lead to the session that it continues with |
    | `asks` | a client's frame that asks for a reply has one of these texts |
    | `handle_at` | the fields of a provider's frame that lead to what names this session |
    """

    codec: CodecName
    name: str
    dialect: Literal["openai-chat", "gemini"]
    model_at: tuple[str, ...] = ()
    marks: tuple[bytes, ...] = ()
    protocol: str = ""
    resumes_at: tuple[str, ...] = ()
    handle_at: tuple[str, ...] = ()
    asks: tuple[bytes, ...] = ()

    def model(self, frame: JSON) -> str:
        """The model that a first frame names; empty where it names none."""
        found: Any = frame
        for field in self.model_at:
            found = found.get(field) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return found.removeprefix(_MODELS) if isinstance(found, str) else ""

    def with_model(self, frame: JSON, model: str) -> JSON:
        """The first frame with another model in it."""
        outer, inner = self.model_at
        prefix = _MODELS if str(frame[outer][inner]).startswith(_MODELS) else ""
        return {**frame, outer: {**frame[outer], inner: prefix + model}}

    def misspelt(self, frame: JSON) -> str:
        """A name in a first frame that some servers take for one that leads to the model."""
        found: JSON = frame
        for field in self.model_at:
            for name in found:
                if name != field and _is_field(name, field):
                    return name
            inner: Any = found.get(field)
            if not isinstance(inner, dict):
                break
            found = inner  # pyright: ignore[reportUnknownVariableType]
        return ""

    def resumes(self, frame: JSON) -> list[str]:
        """The earlier sessions that a first frame resumes, however their fields are spelt."""
        found: list[JSON] = [frame]
        for name in self.resumes_at:
            values = [each[field] for each in found for field in each if _is_field(field, name)]
            if name == self.resumes_at[-1]:
                return [value for value in values if isinstance(value, str)]
            found = [value for value in values if isinstance(value, dict)]
        return []

    def resumable(self, frame: str | bytes) -> str:
        """The handle by which the session can be resumed, as a provider's frame gives it."""
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        if not self.handle_at or f'"{self.handle_at[-1]}"' not in text:
            return ""
        try:
            found: Any = jsontext.decode(text)
            for name in self.handle_at:
                found = found[name]
        except (ValueError, KeyError, TypeError):
            return ""
        return found if isinstance(found, str) else ""

    def may_name_model(self, frame: bytes) -> bool:
        """Whether a later frame may name a model, or is written so that this cannot be seen."""
        if b"\\u00" in frame and _HIDDEN.search(frame) is not None:
            return True
        return b"model" in frame.lower().replace(b"_", b"") or _is_wide(frame)

    def to_provider(self, frame: bytes, asked: str, model: str) -> bytes:
        """A later frame, in which clients may repeat the model by the name that they asked for.

        What a provider reads is what was read here, whatever it takes of fields that stand twice.
        Raises `InvalidRequestError` for another model: the key, the limits and the price are those
        of the one that was asked for.
        """
        named = self.with_one_model(frame, asked, model) if self.may_name_model(frame) else None
        return frame if named is None else jsontext.encode_bytes(named)

    @property
    def ask_marks(self) -> tuple[bytes, ...]:
        """A client's frame that may ask for a reply has one of these; in escapes any may."""
        return (*self.asks, *_ESCAPED) if self.asks else ()

    def with_one_model(self, frame: bytes, asked: str, model: str) -> JSON | None:
        """The replacement of a frame that may name a model; `None`: the frame as it is."""
        try:
            body: Any = jsontext.decode(frame)
        except ValueError as error:
            if not _may_be_object(frame):
                return None  # an object in no encoding
            raise InvalidRequestError(f"a frame is not JSON in UTF-8: {error}") from None
        if not isinstance(body, dict):
            return None  # the provider says what is wrong with it
        fields: JSON = body  # pyright: ignore[reportUnknownVariableType]
        return {
            name: _with_one_model(value, asked, model)
            for name, value in _with_one_model(fields, asked, model).items()
        }

    def error(self, error: JSON, event_id: str) -> str:
        """A frame that says what is wrong; empty where the protocol has none.

        `error` has `message`, and may have `type`, `code` and `param`.
        """
        shown = {"type": "invalid_request_error", "code": None, "param": None, **error}
        match self.codec:
            case "openai_realtime":
                shown["event_id"] = None
            case "gpt_live":
                shown["client_event_id"] = None
            case "gemini_live":
                return ""
        return jsontext.encode({"type": "error", "event_id": event_id, "error": shown})


_OPENAI = ClientRoute(
    "openai_realtime",
    "openai-realtime",
    "openai-chat",
    marks=(
        b'"usage"',
        b'"response.created"',
        b'"function_call"',
        b'"error"',
        b'"session.updated"',
    ),
    protocol="realtime",
    asks=(b'"response.create"',),
)
_LIVE = ClientRoute(
    "gpt_live",
    "openai-live",
    "openai-chat",
    model_at=("session", "model"),
    marks=(b'"usage"', b'"error"'),
)
_GEMINI = ClientRoute(
    "gemini_live",
    "gemini-live",
    "gemini",
    model_at=("setup", "model"),
    marks=(b'"usageMetadata"', b'"turnComplete"', b'"toolCall"', b'"sessionResumptionUpdate"'),
    resumes_at=("setup", "sessionResumption", "handle"),
    handle_at=("sessionResumptionUpdate", "newHandle"),
    asks=(b'"turnComplete"', b'"turn_complete"'),
)

ROUTES: dict[str, ClientRoute] = {
    "/v1/realtime": _OPENAI,
    "/v1/live/sessions": _LIVE,
    **{_GOOGLE.format(version): _GEMINI for version in ("v1", "v1beta", "v1alpha")},
}


def _is_wide(frame: bytes) -> bool:
    """Whether a frame may be JSON in UTF-16 or UTF-32, which some servers detect."""
    return b"\0" in frame[:8] and _may_be_object(frame)


def _may_be_object(frame: bytes) -> bool:
    """Whether a frame may be a JSON object to somebody, in any encoding, with a mark or without."""
    return _OBJECT.match(frame) is not None


def _with_one_model(holder: Any, asked: str, model: str) -> Any:
    """An object with the provider's name of the model, where it names it."""
    if not isinstance(holder, dict):
        return holder
    fields: JSON = holder  # pyright: ignore[reportUnknownVariableType]
    named = {name: value for name, value in fields.items() if _is_field(name, "model")}
    if not named:
        return fields
    plain = {_without_prefix(value) for value in named.values()}
    if not plain <= {asked, model}:
        raise InvalidRequestError(
            f"the session is one with {asked!r}; open another for another model",
            param="session.model",
        )
    prefix = _MODELS if str(next(iter(named.values()))).startswith(_MODELS) else ""
    rest = {name: value for name, value in fields.items() if name not in named}
    return {**rest, "model": prefix + model}


def _without_prefix(value: Any) -> str:
    return value.removeprefix(_MODELS) if isinstance(value, str) else ""


def _is_field(name: str, field: str) -> bool:
    """Whether some servers take a name for the field's."""
    return name.casefold().replace("_", "") == field.casefold()


def key_of(protocols: str) -> str:
    """The key that a browser sends among the sub-protocols, since it can send no header."""
    for each in protocols.split(","):
        if each.strip().startswith(_KEY_PROTOCOL):
            return each.strip().removeprefix(_KEY_PROTOCOL)
    return ""
