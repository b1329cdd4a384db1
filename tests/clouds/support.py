"""Providers as the catalogue has them, at simulated clouds."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.sim import Simulation

ACCOUNT = "robot@sim-project.example"
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
ASKED = "What is the weather in 서울? 🌦"


def at(sim: Simulation, row: str, *, name: str = "", region: str = "") -> Provider:
    """The catalogue's row, whose cloud is the simulated one."""
    place = {"region": region or sim.clouds.region}
    url = sim.base_url(row)
    return replace(CATALOGUE[row], name=name or row, base_url=url, place=place)


def service_account(sim: Simulation) -> str:
    """The JSON of a service account that the simulated Google knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    sim.clouds.google_keys[ACCOUNT] = key.public_key()
    # google-auth names Google's own endpoint, wherever it sends.
    sim.clouds.google_audience = "https://oauth2.googleapis.com/token"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "sim-project",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "client_id": "1",
            "token_uri": sim.url + "/vertex/token",
        }
    )


def aws_key(sim: Simulation) -> tuple[str, str]:
    """The id and the secret of a key that lasts."""
    return next(iter(sim.clouds.aws_keys.items()))


def aws_keys(sim: Simulation) -> str:
    """An AWS key as JSON, as AWS's own tools print it."""
    key_id, secret = aws_key(sim)
    return json.dumps({"AccessKeyId": key_id, "SecretAccessKey": secret})
