"""The dialect's name and paths; from google-genai 3.6 and recordings (read 2026-11-29)."""

from __future__ import annotations

from polycall.translation.word_tables import WordTables

NAME = "gemini-interactions"
WORDS = WordTables("polycall.dialects.gemini_interactions")
PATH = "/v1beta/interactions"
ROUTES = (PATH, "/v1beta1/interactions", "/v1/interactions")
TOOL_NAME_LENGTH_MAX = 64
