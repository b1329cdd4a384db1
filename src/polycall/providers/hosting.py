"""Clouds that serve a vendor's wire at their own addresses: paths, and fields moved in the body.

A host is a row.  The answers are the vendor's, but for Bedrock's framing, which `unframed` takes
off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import Struct

from polycall.errors import RequestError
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.providers.provider import Provider

_VERSION_HEADER = "anthropic-version"
_BETA_HEADER = "anthropic-beta"
_USUAL_VERSION = "2023-06-01"
PLACE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class Hosting(Struct, frozen=True):
    """One way of serving.  `{model}` stands in paths for the model's name.

    `leaves_out` are the fields that the path says; `version` goes into the body, where the
    vendor's own is in a header; `betas_in_body` likewise for its previews.  At `count_path` tokens
    are counted: of the vendor's own counting body, or of the whole request where `counts_request`.
    """

    path: str
    stream_path: str
    leaves_out: frozenset[str] = frozenset()
    version: str = ""
    betas_in_body: bool = False
    count_path: str = ""
    counts_request: bool = False


HOSTINGS: dict[str, Hosting] = {
    # google-genai 3.6 with vertexai=True (read 2026-11-29)
    "vertex-gemini": Hosting(
        "/models/{model}:generateContent",
        "/models/{model}:streamGenerateContent?alt=sse",
        count_path="/models/{model}:countTokens",
    ),
    # anthropic 2.14, lib/vertex (read 2026-11-29)
    "vertex-anthropic": Hosting(
        "/models/{model}:rawPredict",
        "/models/{model}:streamRawPredict",
        leaves_out=frozenset({"model"}),
        version="vertex-2023-10-16",
        count_path="/models/count-tokens:rawPredict",
    ),
    # anthropic 2.14, lib/bedrock; docs.aws.amazon.com/bedrock, inference-messages-api (2026-11-29)
    "bedrock-invoke": Hosting(
        "/model/{model}/invoke",
        "/model/{model}/invoke-with-response-stream",
        leaves_out=frozenset({"model", "stream"}),
        version="bedrock-2023-05-31",
        betas_in_body=True,
        count_path="/model/{model}/count-tokens",
        counts_request=True,
    ),
}


def vendor_version(version: str) -> str:
    """The vendor's own version for what a cloud's client says."""
    known = {hosting.version for hosting in HOSTINGS.values() if hosting.version}
    return _USUAL_VERSION if version in known else version


class Envelope(Struct, frozen=True):
    """The changes that a host makes to a vendor's request."""

    path: str
    leaves_out: frozenset[str]
    adds: JSON
    headers: dict[str, str]


def enveloped(name: str, model: str, headers: Mapping[str, str], *, stream: bool) -> Envelope:
    """The changes for one request with these headers of the vendor's protocol."""
    hosting = HOSTINGS[name]
    path = hosting.stream_path if stream else hosting.path
    rest = dict(headers)
    adds: JSON = {}
    if hosting.version:
        version = rest.pop(_VERSION_HEADER, _USUAL_VERSION)
        # A newer version goes by its own name, as the vendor's SDK sends it.
        adds["anthropic_version"] = hosting.version if version == _USUAL_VERSION else version
    if hosting.betas_in_body and (betas := rest.pop(_BETA_HEADER, "")):
        adds["anthropic_beta"] = [beta.strip() for beta in betas.split(",") if beta.strip()]
    return Envelope(path.format(model=quote(model, safe="")), hosting.leaves_out, adds, rest)


def base_url(provider: Provider) -> str:
    """The provider's address, with its region, project or resource in place.

    Raises `RequestError` where one of them is not known.
    """
    template = provider.base_url
    if "{" not in template:
        return template
    values = provider.values()
    for name, hosts in provider.hosts.items():
        if (value := values.get(name)) is not None:
            values["host"] = hosts.get(value, hosts["*"]).format(**values)
    try:
        return template.format(**values)
    except KeyError as missing:
        name = str(missing.args[0])
        name = next(iter(provider.hosts), name) if name == "host" else name
        variables = " or ".join(provider.places.get(name, ()))
        raise RequestError(
            f"the provider {provider.name!r} needs its {name!r}: write it under "
            f"[providers.{provider.name}]" + (f", or set {variables}" if variables else "")
        ) from None
