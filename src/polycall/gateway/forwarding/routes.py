"""Which paths stand alongside the chat, and what becomes of each."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from polycall.gateway.generation.endpoints import names_at, names_embeddings

# embed, rerank  translated        json    passed on by the model in the body
# form           passed on by the model in a form           resource  files and jobs of a provider
Kind: TypeAlias = Literal["embed", "rerank", "json", "form", "resource"]


class SideRoute(Struct, frozen=True):
    """The meaning of a path.  `wire` is the client's, of embeddings; `path` is below `/v1`.

    `names` are the models that a cloud's path may mean, best first, until one is chosen (`model`).
    """

    kind: Kind
    wire: str = ""
    path: str = ""
    model: str = ""
    names: tuple[str, ...] = ()


_FIXED: dict[str, SideRoute] = {
    "/v1/embeddings": SideRoute("embed", "openai"),
    "/api/embed": SideRoute("embed", "ollama"),
    "/api/embeddings": SideRoute("embed", "ollama"),
    "/v2/embed": SideRoute("embed", "cohere"),
    "/v1/rerank": SideRoute("rerank"),
    "/v2/rerank": SideRoute("rerank"),
    "/rerank": SideRoute("rerank"),
    **{
        f"/v1{path}": SideRoute("json", path=path)
        for path in ("/images/generations", "/audio/speech", "/moderations", "/completions")
    },
    **{
        f"/v1{path}": SideRoute("form", path=path)
        for path in (
            "/images/edits",
            "/images/variations",
            "/audio/transcriptions",
            "/audio/translations",
        )
    },
}
_RESOURCES = re.compile(
    r"/v1(/files|/batches|/fine_tuning/jobs)((?:/[A-Za-z0-9_.:-]+)?(?:/(?:content|cancel|events|checkpoints|pause|resume))?)"
)
_GEMINI = re.compile(r"/v1(?:beta1?)?/models/(.+):(?:embedContent|batchEmbedContents)")
_BEDROCK = re.compile(r"/model/(.+)/invoke")
_VERTEX = re.compile(
    r"/v1(?:beta1)?/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/(.+):"
    "(predict|embedContent|batchEmbedContents)"
)
# A deployment may be `provider/model`: what follows it is one of the paths above.
_TAILS = "|".join(path.removeprefix("/v1") for path in _FIXED if path.startswith("/v1/"))
_AZURE = re.compile(rf"/openai/deployments/(.+?)({_TAILS})")


def side_route(method: str, path: str) -> SideRoute | None:
    """The route of a path alongside the chat; `None` for any other."""
    if path.startswith("/openai/"):
        match = _AZURE.fullmatch(path)
        inner = None if match is None else side_route(method, "/v1" + match[2])
        if match is None or inner is None:
            return None
        model = unquote(match[1])
        return SideRoute(inner.kind, inner.wire, inner.path, model, names_at("azure", model))
    if method == "POST":
        found = _FIXED.get(path)
        if found is not None:
            return found
        match = _GEMINI.fullmatch(path)
        if match is not None:
            return SideRoute("embed", "google", model=unquote(match[1]))
        match = _BEDROCK.fullmatch(path)
        if match is not None and names_embeddings(unquote(match[1])):
            model = unquote(match[1])
            return SideRoute("embed", "bedrock", model=model, names=names_at("bedrock", model))
        match = _VERTEX.fullmatch(path)
        if match is not None:
            model = unquote(match[1])
            wire = "vertex" if match[2] == "predict" else "google"
            return SideRoute("embed", wire, model=model, names=names_at("google", model))
    match = _RESOURCES.fullmatch(path)
    # Nobody deletes all there is: it is of all keys.
    if match is not None and (method in ("GET", "POST") or (method == "DELETE" and match[2])):
        return SideRoute("resource", path=path.removeprefix("/v1"))
    return None


def is_side_path(path: str) -> bool:
    """Whether a path is one of these, whatever the method."""
    return side_route("POST", path) is not None


def is_upload(path: str) -> bool:
    """Whether a body of this path is passed on as it comes, and may be large."""
    route = side_route("POST", path)
    return route is not None and (route.kind == "form" or route.path == "/files")
