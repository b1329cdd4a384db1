"""Models at Azure, Bedrock and Vertex, as LiteLLM's configuration names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from polycall.cli.importing.found import expect
from polycall.errors import RequestError
from polycall.ir import JSON

ENVIRONMENT = "os.environ/"
PREFIXES = ("azure", "azure_ai", "bedrock", "bedrock_converse", "vertex_ai", "vertex_ai_beta")
# What stands between the prefix and the model, and says which of Bedrock's endpoints is meant.
_ENDPOINTS = {"converse": "bedrock", "invoke": "bedrock-invoke", "": "bedrock"}
_OWN_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_PLACES = {
    "aws_region_name": "region",
    "aws_profile_name": "profile",
    "vertex_project": "project",
    "vertex_ai_project": "project",
    "vertex_location": "location",
    "vertex_ai_location": "location",
}
READ = {
    *_PLACES,
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "vertex_credentials",
    "vertex_ai_credentials",
    "api_version",
    "base_model",
}

Note = Callable[[str, str], None]


@dataclass
class Hosted:
    """A model at a cloud: the built-in row, and what its table says beside the key."""

    kind: str
    model: str
    base_url: str = ""
    place: dict[str, str] = field(default_factory=dict[str, str])
    key: str = ""  # a reference, where the cloud's own words name one
    serves: str = ""  # the model behind a deployment's name


def hosted(written: str, params: JSON, info: Any, place: str, note: Note) -> Hosted | None:
    """The model as it is served here; `None` where it cannot be, which is noted."""
    prefix, _, model = written.partition("/")
    if prefix in ("azure", "azure_ai"):
        about: JSON = expect(info or {}, dict, f"{place}.model_info")
        found = _azure(prefix, model, {**about, **params}, place, note)
    elif prefix.startswith("bedrock"):
        found = _bedrock(model, params, place, note)
    else:
        found = _vertex(model, params, place, note)
    if found is None:
        return None
    for theirs, ours in _PLACES.items():
        value = params.get(theirs)
        if value is None:
            continue
        text = expect(value, str, f"{place}.{theirs}")
        if text.startswith(ENVIRONMENT):
            note(f"{place}.{theirs}", f"cannot be a variable here; write {ours!r} into the table")
        else:
            found.place[ours] = text
    return found


def _azure(prefix: str, model: str, params: JSON, place: str, note: Note) -> Hosted | None:
    given: Any = params.get("api_base") or params.get("base_url") or ""
    base: str = expect(given, str, f"{place}.api_base")
    if base.startswith(ENVIRONMENT) or not base:
        note(f"{place}.model", "which resource of Azure's is not written here; left out")
        return None
    try:
        host = (urlsplit(base).hostname or "").lower()
    except ValueError as error:
        raise RequestError(f"{place}.api_base: {base!r} is not an address: {error}") from None
    is_anthropic = prefix == "azure_ai" and model.startswith("claude")
    kind = "azure" if prefix == "azure" else "foundry"
    kind = "foundry-anthropic" if is_anthropic else kind
    found = Hosted(kind, model.removeprefix("responses/"))
    ending = next((each for each in _OWN_HOSTS if host.endswith(each)), "")
    if ending and ending != _OWN_HOSTS[2]:
        if (ending == _OWN_HOSTS[1]) == (kind != "azure"):
            found.place["resource"] = host.removesuffix(ending)
        else:
            found.base_url = f"https://{host}/{'anthropic' if is_anthropic else 'openai/v1'}"
    else:
        tail = "anthropic" if is_anthropic else "openai/v1"
        root = base.rstrip("/").removesuffix(f"/{tail}")
        found.base_url = f"{root}/{tail}"
    if "api_version" in params:
        note(f"{place}.api_version", "is not sent: Azure's v1 addresses have no versions")
    serves = params.get("base_model")
    if serves:
        # LiteLLM writes azure/gpt-4o for its own price table.
        found.serves = expect(serves, str, f"{place}.base_model").rpartition("/")[2]
    elif kind == "azure":
        note(f"{place}.model", "a deployment; which model stands behind it: 'serves' of its table")
    return found


def _bedrock(model: str, params: JSON, place: str, note: Note) -> Hosted | None:
    head, slash, rest = model.partition("/")
    if slash and head not in _ENDPOINTS:
        note(f"{place}.model", f"{model!r}: of Bedrock's endpoints not this one; left out")
        return None
    endpoint, name = (head, rest) if slash else ("", model)
    kind = _ENDPOINTS[endpoint]
    if kind == "bedrock-invoke" and "claude" not in name:
        kind = "bedrock"  # Converse takes the models of all vendors
    found = Hosted(kind, name)
    given = [params.get(each) for each in ("aws_access_key_id", "aws_secret_access_key")]
    if all(given):
        usual = f"{ENVIRONMENT}AWS_ACCESS_KEY_ID", f"{ENVIRONMENT}AWS_SECRET_ACCESS_KEY"
        if tuple(given) != usual:
            note(
                f"{place}.aws_access_key_id",
                "put the pair into the variable AWS_KEYS, as JSON: "
                '{"AccessKeyId": ..., "SecretAccessKey": ...}',
            )
            found.key = "env:AWS_KEYS"
    return found


def _vertex(model: str, params: JSON, place: str, note: Note) -> Hosted | None:
    if model.startswith("claude"):
        kind = "vertex-anthropic"
    elif model.startswith("gemini"):
        kind = "vertex"
    else:
        note(f"{place}.model", f"{model!r}: of Vertex, Gemini and Claude are served; left out")
        return None
    found = Hosted(kind, model, place={"location": "us-central1"})
    credentials = params.get("vertex_credentials") or params.get("vertex_ai_credentials")
    if credentials is None:
        return found
    if isinstance(credentials, str) and credentials.startswith(ENVIRONMENT):
        found.key = f"env:{credentials.removeprefix(ENVIRONMENT)}"
    elif isinstance(credentials, str) and not credentials.lstrip().startswith("{"):
        found.key = f"file:{credentials}"
    else:
        note(f"{place}.vertex_credentials", "stand in the file; put them into GOOGLE_CREDENTIALS")
        found.key = "env:GOOGLE_CREDENTIALS"
    return found
