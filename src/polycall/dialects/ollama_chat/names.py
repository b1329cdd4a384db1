"""The dialect's name, its path, and the type of its streams."""

from __future__ import annotations

from polycall.translation.word_tables import WordTables

NAME = "ollama-chat"
WORDS = WordTables("polycall.dialects.ollama_chat")
ROUTES = ("/api/chat",)
PATH = "/api/chat"
STREAM_TYPE = "application/x-ndjson"
