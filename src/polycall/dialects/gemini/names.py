"""The dialect's name, and its words for ends and errors."""

from __future__ import annotations

from polycall.translation.word_tables import WordTables

NAME = "gemini"
WORDS = WordTables("polycall.dialects.gemini")
