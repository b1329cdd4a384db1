"""The OpenAPI document: routes, keys, headers.  Bodies are the vendors' own, so they are named."""

from __future__ import annotations

from polycall.ir import JSON
from polycall.voices.routes import ROUTES as SESSION_ROUTES

_GENERATIONS = {
    "/v1/chat/completions": ("OpenAI Chat Completions", "chat"),
    "/v1/responses": ("OpenAI Responses", "responses"),
    "/v1/messages": ("Anthropic Messages", "messages"),
    "/v1beta/models/{model}:generateContent": ("Gemini generateContent", "generateContent"),
    "/v1beta/models/{model}:streamGenerateContent": (
        "Gemini streamGenerateContent",
        "streamGenerateContent",
    ),
    "/v1beta/interactions": ("Gemini Interactions", "interactions"),
    "/api/chat": ("Ollama's chat", "ollamaChat"),
    "/api/generate": ("Ollama's completion of a prompt", "ollamaGenerate"),
    "/model/{model}/converse": ("Bedrock Converse", "converse"),
    "/model/{model}/converse-stream": ("Bedrock ConverseStream", "converseStream"),
}
_FORWARDED = {
    "/v1/embeddings": "OpenAI's embeddings, of any provider",
    "/api/embed": "Ollama's embeddings, of any provider",
    "/v2/embed": "Cohere's embeddings, of any provider",
    "/v1beta/models/{model}:embedContent": "Gemini's embeddings, of any provider",
    "/v1beta/models/{model}:batchEmbedContents": "Gemini's embeddings, of any provider",
    "/v1/rerank": "documents in the order of a question",
    "/v1/images/generations": "pictures, passed to the model's provider",
    "/v1/images/edits": "edited pictures, passed to the model's provider",
    "/v1/audio/speech": "speech, passed to the model's provider",
    "/v1/audio/transcriptions": "a transcript, passed to the model's provider",
    "/v1/moderations": "moderation, passed to the model's provider",
    "/v1/files": "a file for the provider of the header polycall-provider",
    "/v1/batches": "a batch at the provider of the header polycall-provider",
    "/v1/fine_tuning/jobs": "a job at the provider of the header polycall-provider",
}
_COUNTS = {
    "/v1/messages/count_tokens": "Anthropic's token count",
    "/v1/responses/input_tokens": "OpenAI's token count",
    "/v1beta/models/{model}:countTokens": "Gemini's token count",
    "/model/{model}/count-tokens": "Bedrock's token count",
    "/api/show": "one model in Ollama's shape",
}
_LOOKUPS = {
    "/v1/models": "all models; the shape follows the caller's headers; ?supports=tools filters",
    "/v1/models/{model}": "one model",
    "/v1beta/models": "all models in Gemini's shape",
    "/v1beta/models/{model}": "one model in Gemini's shape",
    "/metrics": "counters in Prometheus' format",
}
# Answers and conversations that are kept, each its key's own.
_KEPT = {
    "/v1/responses/compact": {"post": "a conversation made short by the model itself"},
    "/v1/responses/{id}": {
        "get": "an answer; ?stream=true&starting_after=N for one in the background",
        "delete": "remove an answer",
    },
    "/v1/responses/{id}/cancel": {"post": "end an answer in the background"},
    "/v1/responses/{id}/input_items": {"get": "what was said before an answer"},
    "/v1beta/interactions/{id}": {"get": "an interaction", "delete": "remove an interaction"},
    "/v1/conversations": {"post": "begin a conversation"},
    "/v1/conversations/{id}": {
        "get": "a conversation",
        "post": "give it other metadata",
        "delete": "remove a conversation",
    },
    "/v1/conversations/{id}/items": {"get": "its items", "post": "add items"},
    "/v1/conversations/{id}/items/{item}": {"get": "one item", "delete": "remove an item"},
}
_OPEN = {"/healthz": "whether the process lives", "/readyz": "whether it takes requests"}
_ERRORS = {
    "400": "the request is malformed, or cannot be said to the provider",
    "401": "the key is missing or unknown",
    "404": "no such model",
    "413": "the body is too large",
    "429": "a limit is reached; see retry-after",
    "502": "the provider's answer makes no sense, or it cannot be reached",
}
_MCP = {
    "/mcp": "the tools of all MCP servers, by the Model Context Protocol; ?mode=code for two tools",
    "/mcp/{server}": "the tools of one MCP server, or of several separated by commas",
}
_REQUEST_HEADERS = {
    "polycall-strict": "'true': refuse a request that would lose something, and name it",
    "polycall-lossy": "'true': drop, with a warning, what is refused by default",
    "polycall-mcp": "MCP servers whose tools the model gets, separated by commas",
}
_RESPONSE_HEADERS = {
    "polycall-request-id": "the request's id, also in the ledger and the log",
    "polycall-model": "the provider and model that answered",
    "polycall-warnings": "a JSON array of what was lost, emulated or adjusted",
    "polycall-cost-usd": "the price of the answer, where it is known before its headers",
}


def document(administration: JSON | None = None) -> JSON:
    """The document, as served; `administration` are the paths of who administers the gateway."""
    paths: JSON = {}
    for path, (summary, name) in _GENERATIONS.items():
        paths[path] = {"post": _operation(summary, name, path, is_generation=True)}
    for path, summary in _MCP.items():
        paths[path] = {"post": _operation(summary, f"mcp-{len(paths)}", path)}
    for path, summary in _COUNTS.items():
        paths[path] = {"post": _operation(summary, f"count-{len(paths)}", path)}
    for path, methods in _KEPT.items():
        paths[path] = {
            method: _operation(summary, f"{method}-{len(paths)}", path)
            for method, summary in methods.items()
        }
    for path, summary in _FORWARDED.items():
        paths[path] = {"post": _operation(summary, f"forward-{len(paths)}", path)}
    for path, summary in _LOOKUPS.items():
        paths[path] = {"get": _operation(summary, f"get-{len(paths)}", path)}
    for path in SESSION_ROUTES:
        operation = _operation("a WebSocket to a realtime voice", f"session-{len(paths)}", path)
        operation["responses"] = {"101": {"description": "the protocol's frames, both ways"}}
        paths[path] = {"get": operation}
    for path, summary in _OPEN.items():
        operation = _operation(summary, f"open-{len(paths)}", path)
        paths[path] = {"get": {**operation, "security": []}}
    paths |= administration or {}
    schemes: JSON = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        "x-goog-api-key": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
        "key": {"type": "apiKey", "in": "query", "name": "key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "polycall", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": schemes},
        "security": [{name: []} for name in schemes],
    }


def _operation(summary: str, name: str, path: str, *, is_generation: bool = False) -> JSON:
    operation: JSON = {
        "summary": summary,
        "operationId": name,
        "responses": {"200": {"description": "the answer, in the protocol's own shape"}},
    }
    parameters: list[JSON] = []
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("model", "server", "id", "item")
        if f"{{{name}}}" in path
    ]
    if is_generation:
        parameters += [
            {"name": key, "in": "header", "description": text, "schema": {"type": "string"}}
            for key, text in _REQUEST_HEADERS.items()
        ]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
        operation["responses"]["200"]["headers"] = {
            key: {"description": text, "schema": {"type": "string"}}
            for key, text in _RESPONSE_HEADERS.items()
        }
        operation["responses"] |= {code: {"description": text} for code, text in _ERRORS.items()}
    if parameters:
        operation["parameters"] = parameters
    return operation
