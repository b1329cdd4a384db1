"""The dialect's name, its path, and the type of its streams."""

from __future__ import annotations

NAME = "ollama-chat"
ROUTES = ("/api/chat",)
PATH = "/api/chat"
STREAM_TYPE = "application/x-ndjson"
