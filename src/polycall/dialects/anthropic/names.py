"""The dialect's name, and the limits of its wire."""

from __future__ import annotations

from polycall.translation.word_tables import WordTables

NAME = "anthropic"
WORDS = WordTables("polycall.dialects.anthropic")

# Tool names on this wire, as one character of a regular expression, and their length.
TOOL_NAME_CHARACTER = "[A-Za-z0-9_-]"
TOOL_NAME_LENGTH_MAX = 64

CACHE_BREAKPOINTS_MAX = 4

# The vendor refuses a request with more strict tools, or more optional properties in them.
STRICT_TOOLS_MAX = 20
STRICT_OPTIONAL_MAX = 24

THINKING_BUDGET_MIN = 1024

# `max_tokens` must be sent, and a caller may have said nothing.  A known model gets its own most,
# by `Quirks.max_tokens_default`; this is for servers of which nothing is known.
MAX_TOKENS_DEFAULT = 8192
