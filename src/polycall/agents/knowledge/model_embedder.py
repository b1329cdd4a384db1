"""An embedder that is a model of some provider, by its name."""

from __future__ import annotations

from polycall.client import Client


class ModelEmbedder:
    """Asks a model for vectors, by the configuration and the keys that a `Client` finds."""

    def __init__(self, model: str) -> None:
        self.name = model  # the index keeps it: vectors of two models cannot be compared

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        with Client() as client:
            return client.embed_sync(self.name, texts)
