"""Which paths generate or count, in which protocol, and what a path says besides.

Clouds have paths of their own for the vendors' protocols; their SDKs can be pointed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from polycall.providers.dialects import DIALECTS, load_usual
from polycall.translation.wire import Dialect

# What a cloud changes of a vendor's body: the model and more stand elsewhere.  `prompt`: a text in
# the place of messages.
Envelope: TypeAlias = Literal["", "azure", "vertex", "bedrock", "prompt"]

COUNT = "countTokens"
_STREAMS = "streamGenerateContent"
_GEMINI_METHODS = ("generateContent", _STREAMS, COUNT)
_GEMINI_VERSION = re.compile("/v1(beta1?)?/")
_VERTEX = re.compile(
    r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/([^/]+)/models/(.+):(\w+)"
)
_BEDROCK = re.compile(
    r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)"
)
_AZURE = re.compile(r"/openai/deployments/(.+?)(/chat/completions|/responses)")
# Providers by whose names a cloud's client may mean a model that has none in front.
_OF_PUBLISHER = {
    "google": ("vertex", "google"),
    "anthropic": ("vertex-anthropic", "anthropic"),
}
_OF_BEDROCK = ("bedrock", "bedrock-anthropic", "bedrock-invoke")
_OF_AZURE = ("azure", "foundry", "openai")


class Endpoint(Struct, frozen=True):
    """The meaning of a route: a client's dialect and the values in its path.

    `names` are the models that it may mean, best first, until one is chosen (`model`).  `stream` is
    `None` where the body says it.
    """

    dialect: Dialect
    model: str = ""  # from the path; empty where the body has it
    method: str = ""  # generateContent, streamGenerateContent; empty likewise
    names: tuple[str, ...] = ()
    stream: bool | None = None
    envelope: Envelope = ""
    streams_unasked: bool = False  # where the body does not say

    @property
    def streams(self) -> bool | None:
        """Whether the path asks for a stream; `None` where the body says it."""
        return self.method == _STREAMS if self.method else self.stream

    @property
    def errors(self) -> Dialect:
        """The dialect of the errors that the client reads."""
        return DIALECTS["bedrock-converse"] if self.envelope == "bedrock" else self.dialect


load_usual()
# Routes that hold a model's name are read by `endpoint_for`.
_GENERATES: dict[str, Endpoint] = {
    route: Endpoint(dialect, streams_unasked=dialect.NAME == "ollama-chat")
    for dialect in DIALECTS.values()
    for route in dialect.ROUTES
    if "{" not in route
}
_GENERATES["/api/generate"] = Endpoint(
    DIALECTS["ollama-chat"], envelope="prompt", streams_unasked=True
)
COUNTS: dict[str, Endpoint] = {
    "/v1/messages/count_tokens": Endpoint(DIALECTS["anthropic"], method=COUNT),
    "/v1/responses/input_tokens": Endpoint(DIALECTS["openai-responses"], method=COUNT),
}


def endpoint_for(path: str) -> Endpoint | None:
    """The endpoint of a path; `None` where it neither generates nor counts."""
    found = _GENERATES.get(path) or COUNTS.get(path)
    if found is not None:
        return found
    if path.startswith("/model/"):
        return _bedrock_endpoint(path)
    if path.startswith("/openai/"):
        return _azure_endpoint(path)
    return _vertex_endpoint(path) or gemini_endpoint(path)


def gemini_endpoint(path: str) -> Endpoint | None:
    """The endpoint of a Gemini path: `/v1beta/models/NAME/MODEL:generateContent`.

    Some clients take a model's name with a slash for the whole of what stands there.
    """
    resource, colon, method = path.rpartition(":")
    version = _GEMINI_VERSION.match(resource)
    if not colon or version is None or method not in _GEMINI_METHODS:
        return None
    model = resource[version.end() :].removeprefix("models/")
    if not model:
        return None
    return Endpoint(DIALECTS["gemini"], model, method)


def _vertex_endpoint(path: str) -> Endpoint | None:
    match = _VERTEX.fullmatch(path)
    if match is None:
        return None
    publisher, model, method = match[1], unquote(match[2]), match[3]
    if method in _GEMINI_METHODS:
        names = _names(model, _OF_PUBLISHER["google"], publisher)
        return Endpoint(DIALECTS["gemini"], names[0], method, names)
    if method not in ("rawPredict", "streamRawPredict"):
        return None
    if model == "count-tokens":  # the body has the model that is meant
        return Endpoint(DIALECTS["anthropic"], method=COUNT)
    names = _names(model, _OF_PUBLISHER["anthropic"], publisher)
    is_stream = method == "streamRawPredict" or None
    return Endpoint(DIALECTS["anthropic"], names[0], "", names, is_stream, "vertex")


def _bedrock_endpoint(path: str) -> Endpoint | None:
    match = _BEDROCK.fullmatch(path)
    if match is None:
        return None
    model, operation = unquote(match[1]), match[2]
    names = _names(model, _OF_BEDROCK)
    is_stream = operation.endswith("stream")
    if operation.startswith("converse"):
        return Endpoint(DIALECTS["bedrock-converse"], names[0], "", names, is_stream)
    if operation == "invoke" and names_embeddings(model):
        return None  # see `forwarding`
    if operation == "count-tokens":
        return Endpoint(DIALECTS["bedrock-converse"], names[0], COUNT, names)
    return Endpoint(DIALECTS["anthropic"], names[0], "", names, is_stream, "bedrock")


def _azure_endpoint(path: str) -> Endpoint | None:
    match = _AZURE.fullmatch(path)
    if match is None:
        return None
    names = _names(unquote(match[1]), _OF_AZURE)
    dialect = DIALECTS["openai-responses" if match[2] == "/responses" else "openai-chat"]
    return Endpoint(dialect, names[0], "", names, None, "azure")


def names_embeddings(model: str) -> bool:
    """Whether Bedrock's `invoke` of this name asks for vectors, as far as a name can show it."""
    return "embed" in model.rpartition("/")[2].lower()


def names_at(cloud: Literal["azure", "bedrock", "google"], model: str) -> tuple[str, ...]:
    """The names that a model in a cloud's path may stand for, best first."""
    own = {"azure": _OF_AZURE, "bedrock": _OF_BEDROCK, "google": _OF_PUBLISHER["google"]}
    return _names(model, own[cloud])


def _names(model: str, providers: tuple[str, ...], publisher: str = "") -> tuple[str, ...]:
    """The names that a path's model may stand for."""
    if publisher and publisher not in _OF_PUBLISHER:
        return (f"{publisher}/{model}", model)
    return (model, *(f"{provider}/{model}" for provider in providers))


def dialect_for(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """The dialect that the caller reads, by path or headers."""
    endpoint = endpoint_for(path)
    if endpoint is not None:
        return endpoint.errors
    if path.startswith("/api/"):
        return DIALECTS["ollama-chat"]
    if "/interactions/" in path:
        return DIALECTS["gemini-interactions"]
    if path.startswith(("/v1beta", "/v1beta1")) or b"x-goog-api-key" in headers:
        return DIALECTS["gemini"]
    if path.startswith("/v1/messages") or b"anthropic-version" in headers:
        return DIALECTS["anthropic"]
    is_responses = path.startswith("/v1/responses")
    return DIALECTS["openai-responses" if is_responses else "openai-chat"]


def azure_path(path: str) -> str:
    """Azure's paths that are OpenAI's below another root; deployments are read as they stand."""
    if path.startswith("/openai/v1/"):
        return path.removeprefix("/openai")
    return path if path.startswith("/openai/deployments/") else "/v1" + path.removeprefix("/openai")
