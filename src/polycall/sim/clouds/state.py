"""The state of the simulated clouds: keys, tokens, clocks, and regions that are out."""

from __future__ import annotations

import hashlib
import time
from typing import Any


class CloudState:
    """The settings of a simulation's clouds; a test changes them while they serve.

    `clock_offset_s` is how far the clouds' clocks are ahead.  `token_life_s` bounds new tokens.
    `refuses_tokens` makes the token endpoints refuse.  `regions_out` answer 503.
    """

    def __init__(self) -> None:
        self.aws_keys: dict[str, str] = {"AKIDSIMULATED0001": "simulated-secret-0001"}
        self.aws_sessions: dict[str, float] = {}  # session token: when it ends
        self.region = "eu-west-1"
        self.regions_out: set[str] = set()
        self.profiles: dict[str, str] = {}  # Bedrock's inference profiles: the model of each
        self.bedrock_keys = {"simulated", "bedrock-api-key-simulated"}
        self.azure_keys = {"simulated", "azure-key-simulated"}
        self.deployments: set[str] | None = None  # Azure's; `None`: any name
        self.google_keys: dict[str, Any] = {}  # service account's address: its public key
        self.google_audience = ""  # what an assertion must name; "": any
        self.clock_offset_s = 0.0
        self.token_life_s = 3600.0
        self.refuses_tokens = False
        self.tokens_issued = 0
        self._tokens: dict[str, float] = {"simulated": float("inf")}

    def now(self) -> float:
        """Seconds since 1970, by the clouds' clocks."""
        return time.time() + self.clock_offset_s

    def issue(self) -> tuple[str, float]:
        """A new access token, and how many seconds it lives."""
        self.tokens_issued += 1
        digest = hashlib.sha256(f"{id(self)}:{self.tokens_issued}".encode()).hexdigest()
        token = f"ya29.sim-{digest}"
        self._tokens[token] = self.now() + self.token_life_s
        return token, self.token_life_s

    def revoke_all(self) -> None:
        """End every token now."""
        for token in self._tokens:
            self._tokens[token] = 0.0

    def token_problem(self, token: str) -> str:
        """Why a token is not taken: `unknown` or `expired`; "" where it is."""
        ends = self._tokens.get(token)
        if ends is None:
            return "unknown"
        return "" if self.now() < ends else "expired"
