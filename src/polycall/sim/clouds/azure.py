"""Azure's door: keys or Entra's tokens, and deployments in the place of models.

From "Azure OpenAI in Microsoft Foundry Models v1 API" (learn.microsoft.com, read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from polycall._support import jsontext
from polycall.sim.clouds.state import CloudState
from polycall.sim.script import Refused
from polycall.sim.shape import JSON

IDENTITY_HEADER = "simulated-identity-header"


def refuse(message: str, status: int, code: str) -> Refused:
    """An error of Azure's."""
    return Refused(status, {"error": {"code": code, "message": message}})


def check(state: CloudState, headers: Mapping[str, str], *names: str) -> None:
    """Raise `Refused` where neither a key (in one of these headers) nor a token is right."""
    given = headers.get("authorization", "")
    if given.startswith("Bearer "):
        if state.token_problem(given[7:]):
            words = (
                "Unauthorized. Access token is missing, invalid, audience is incorrect or expired."
            )
            raise refuse(words, 401, "401")
        return
    if not any(headers.get(name) in state.azure_keys for name in names):
        raise refuse(
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
            "provide a valid key for an active subscription and use a correct regional API "
            "endpoint for your resource.",
            401,
            "401",
        )


def identity(state: CloudState, scope: Mapping[str, Any], headers: Mapping[str, str]) -> JSON:
    """A managed identity's token, as App Service's endpoint gives it.

    From "How to use managed identities for App Service" (learn.microsoft.com, read 2026-11-29).
    """
    query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
    if headers.get("x-identity-header") != IDENTITY_HEADER or "api-version" not in query:
        raise Refused(401, {"message": "the identity header is missing or not right"})
    if state.refuses_tokens or query.get("resource") != "https://ai.azure.com":
        raise Refused(400, {"statusCode": 400, "message": "No managed identity for the resource"})
    token, life_s = state.issue()
    return {
        "access_token": token,
        "expires_on": str(int(state.now() + life_s)),
        "resource": query["resource"],
        "token_type": "Bearer",
    }


def check_deployment(state: CloudState, body: bytes) -> None:
    """Raise `Refused` for the name of no deployment."""
    try:
        fields: Any = jsontext.decode(body)
        name = fields.get("model")
    except (ValueError, AttributeError):
        return  # the vendor says what is wrong
    if state.deployments is not None and name not in state.deployments:
        raise refuse(
            "The API deployment for this resource does not exist. If you created the deployment "
            "within the last 5 minutes, please wait a moment and try again.",
            404,
            "DeploymentNotFound",
        )
