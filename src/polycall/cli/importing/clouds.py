"""Models at Azure, Bedrock and Vertex, as LiteLLM's configuration names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from polycall.cli.importing.found import expect
from polycall.errors import RequestError
from polycall.ir import JSON

ENVIRONMENT = "os.environ/"
PREFIXES = (
    *("azure", "azure_ai", "bedrock", "bedrock_converse", "bedrock_mantle"),
    *("vertex_ai", "vertex_ai_beta"),
)
# What stands between the prefix and the model, and says which of Bedrock's endpoints is meant.
_ENDPOINTS = {
    "converse": "bedrock",
    "invoke": "bedrock-invoke",
    "mantle": "bedrock-mantle",
    # How an imported model of that family is asked; Converse asks all alike.
    **dict.fromkeys(("llama", "deepseek_r1", "qwen3", "nova", "openai"), "bedrock"),
    "": "bedrock",
}
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
# How LiteLLM asks a deployment of that family; the address is one here.
_AZURE_FAMILIES = ("responses/", "o_series/", "gpt5_series/", "chat/")
_OWN_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_PLACES = {
    "aws_region_name": "region",
    "aws_profile_name": "profile",
    "vertex_project": "project",
    "vertex_ai_project": "project",
    "vertex_location": "location",
    "vertex_ai_location": "location",
}
# Who asks Entra for tokens, and the variables of Azure's own libraries.
_IDENTITY = {
    "tenant_id": "AZURE_TENANT_ID",
    "client_id": "AZURE_CLIENT_ID",
    "client_secret": "AZURE_CLIENT_SECRET",
}
READ = {
    *_PLACES,
    *_IDENTITY,
    "aws_bedrock_runtime_endpoint",
    "azure_ad_token",
    "model_id",
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
    """A model at a cloud: the built-in row, and what its table says alongside the key."""

    kind: str
    model: str
    base_url: str = ""
    place: dict[str, str] = field(default_factory=dict[str, str])
    key: str = ""  # a reference, where the cloud's own words name one
    serves: str = ""  # the model behind a deployment's name
    auth: str = ""  # where it is not the row's own


def hosted(written: str, params: JSON, info: Any, place: str, note: Note) -> Hosted | None:
    """The model as it is served here; `None` where it cannot be, which is noted."""
    prefix, _, model = written.partition("/")
    if prefix in ("azure", "azure_ai"):
        about: JSON = expect(info or {}, dict, f"{place}.model_info")
        found = _azure(prefix, model, {**about, **params}, place, note)
    elif prefix.startswith("bedrock"):
        found = _bedrock(prefix, model, params, place, note)
    else:
        found = _vertex(model, params, place, note)
    if found is None:
        return None
    for theirs, ours in _PLACES.items():
        value = params.get(theirs)
        if value is None:
            continue
        text = expect(value, str, f"{place}.{theirs}")
        found.place[ours] = referred(text)
    return found


def referred(text: str) -> str:
    """A reference to the environment in our own words; any other text as it is."""
    return f"env:{text.removeprefix(ENVIRONMENT)}" if text.startswith(ENVIRONMENT) else text


def _azure(prefix: str, model: str, params: JSON, place: str, note: Note) -> Hosted | None:
    usual = (
        f"{ENVIRONMENT}AZURE_API_BASE" if prefix == "azure" else f"{ENVIRONMENT}AZURE_AI_API_BASE"
    )
    given: Any = params.get("api_base") or params.get("base_url") or usual
    base: str = expect(given, str, f"{place}.api_base")
    is_anthropic = prefix == "azure_ai" and model.startswith("claude")
    kind = "azure" if prefix == "azure" else "foundry"
    kind = "foundry-anthropic" if is_anthropic else kind
    for family in _AZURE_FAMILIES:
        model = model.removeprefix(family)
    found = Hosted(kind, model)
    tail = "anthropic" if is_anthropic else "openai/v1"
    if base.startswith(ENVIRONMENT):
        found.base_url = f"{referred(base)}/{tail}"
        name = base.removeprefix(ENVIRONMENT)
        note(f"{place}.api_base", f"{name} must hold the resource's address without a path")
    else:
        _azure_address(found, base, tail, place)
    _azure_identity(found, params, place, note)
    if "api_version" in params:
        note(f"{place}.api_version", "is not sent: Azure's v1 addresses have no versions")
    serves = params.get("base_model")
    if serves:
        # LiteLLM writes azure/gpt-4o for its own price table.
        found.serves = expect(serves, str, f"{place}.base_model").rpartition("/")[2]
    elif kind == "azure" and "*" not in model:
        note(f"{place}.model", "a deployment; which model stands behind it: 'serves' of its table")
    return found


def _azure_address(found: Hosted, base: str, tail: str, place: str) -> None:
    try:
        host = (urlsplit(base).hostname or "").lower()
    except ValueError as error:
        raise RequestError(f"{place}.api_base: {base!r} is not an address: {error}") from None
    ending = next((each for each in _OWN_HOSTS if host.endswith(each)), "")
    if ending and ending != _OWN_HOSTS[2]:
        if (ending == _OWN_HOSTS[1]) == (found.kind != "azure"):
            found.place["resource"] = host.removesuffix(ending)
        else:
            found.base_url = f"https://{host}/{tail}"
    else:
        found.base_url = f"{base.rstrip('/').removesuffix(f'/{tail}')}/{tail}"


def _azure_identity(found: Hosted, params: JSON, place: str, note: Note) -> None:
    """Entra: a token that is given, or who asks for one."""
    if params.get("api_key") is not None:
        return
    token: Any = params.get("azure_ad_token")
    if isinstance(token, str) and token.startswith(ENVIRONMENT):
        found.auth, found.key = "bearer", referred(token)
        return
    named = [name for name in _IDENTITY if params.get(name) is not None]
    if named or token is not None:
        found.auth = "entra"
        variables = ", ".join(_IDENTITY[name] for name in named or _IDENTITY)
        note(f"{place}.{(named or ['azure_ad_token'])[0]}", f"put them into {variables}")


def _bedrock(prefix: str, model: str, params: JSON, place: str, note: Note) -> Hosted | None:
    head, slash, rest = ("", "", "") if model.startswith("arn:") else model.partition("/")
    region = ""
    if slash and _REGION.fullmatch(head):
        region, model = head, rest
        head, slash, rest = model.partition("/")
    if slash and head not in _ENDPOINTS:
        note(f"{place}.model", f"{model!r}: of Bedrock's endpoints not this one; left out")
        return None
    endpoint, name = (head, rest) if slash else ("", model)
    kind = "bedrock-mantle" if prefix == "bedrock_mantle" else _ENDPOINTS[endpoint]
    if kind == "bedrock-invoke" and "claude" not in name:
        kind = "bedrock"  # Converse takes the models of all vendors
    found = Hosted(kind, name, place={"region": region} if region else {})
    if model_id := params.get("model_id"):  # a profile or a provisioned model, asked by its ARN
        text = expect(model_id, str, f"{place}.model_id")
        if text.startswith(ENVIRONMENT):
            note(
                f"{place}.model_id", "a model's name cannot be a variable; write it into the route"
            )
            return None
        found.model, found.serves = text, name
    address: Any = params.get("aws_bedrock_runtime_endpoint") or params.get("api_base")
    if address is not None:
        found.base_url = referred(expect(address, str, f"{place}.api_base"))
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
    if params.get("api_base") is not None:
        note(
            f"{place}.api_base", "Vertex's own address is used; another one: base_url of the table"
        )
    credentials = params.get("vertex_credentials") or params.get("vertex_ai_credentials")
    if credentials is None:
        return found
    if isinstance(credentials, str) and credentials.startswith(ENVIRONMENT):
        found.key = referred(credentials)
        note(f"{place}.vertex_credentials", "the variable must hold the JSON itself, not its path")
    elif isinstance(credentials, str) and not credentials.lstrip().startswith("{"):
        found.key = f"file:{credentials}"
    else:
        note(f"{place}.vertex_credentials", "stand in the file; put them into GOOGLE_CREDENTIALS")
        found.key = "env:GOOGLE_CREDENTIALS"
    return found
