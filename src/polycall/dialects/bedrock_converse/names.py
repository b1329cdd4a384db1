"""The dialect's name, its paths and limits; from botocore 1.44's model of Bedrock's runtime."""

from __future__ import annotations

from polycall.translation.word_tables import WordTables

NAME = "bedrock-converse"
WORDS = WordTables("polycall.dialects.bedrock_converse")
ROUTES = ("/model/{model}/converse", "/model/{model}/converse-stream")
TOOL_NAME_LENGTH_MAX = 64
CALL_ID = r"[A-Za-z0-9_.:-]{1,64}"
CALL_ID_LENGTH = 24
DOCUMENT_NAME_LENGTH_MAX = 200
