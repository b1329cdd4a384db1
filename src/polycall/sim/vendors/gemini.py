"""generateContent: answers, streams and errors as Google writes them."""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import fragments
from polycall.sim.dated import Refusal
from polycall.sim.script import Answer, Failure, ModelSpec, Prompt, Refused
from polycall.sim.shape import JSON, parse_object
from polycall.sim.vendors import gemini_checks as checks
from polycall.sim.vendors.base import Headers, Models, Route, Vendor
from polycall.sim.vendors.gemini_contents import SCOPE, refuse, signed_part

_PATH = re.compile(r"/(v1|v1beta)/models/([^/:]+):(\w+)")
_LIST_PATH = re.compile(r"/(?:v1|v1beta)/models(?:/([^/:]+))?")
_FINISH = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "PROHIBITED_CONTENT",
    "pause": "CONTINUATION",
}
_TOKENS_MAX = 1000


class Gemini(Vendor):
    """`/google/{v1,v1beta}/models/...`."""

    name = "google"
    base_path = "/google"
    wire = "gemini"

    def __init__(self) -> None:
        # Tokens of answers that were broken off, and what was asked.
        self._tokens: OrderedDict[str, str] = OrderedDict()

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """The model and the method are in the path."""
        listing = _LIST_PATH.fullmatch(path)
        if listing is not None and method == "GET":
            return Route("model", listing[1]) if listing[1] else Route("models")
        match = _PATH.fullmatch(path)
        if match is None or method != "POST":
            raise refuse("Method not found.", status=404)
        _, model, verb = match.groups()
        match verb:
            case "generateContent":
                return Route("generate", model)
            case "streamGenerateContent":
                return Route("generate", model, stream=True, sse=query.get("alt") == "sse")
            case "countTokens":
                return Route("count", model)
            case _:
                raise refuse(f"Method {verb} not found.", status=404)

    def check_key(self, headers: Headers, query: Mapping[str, str]) -> None:
        """`x-goog-api-key` or `?key=`; a bad key is a 400 here."""
        key = headers.get("x-goog-api-key") or query.get("key") or ""
        if not key.strip():
            raise refuse(
                "Method doesn't allow unregistered callers (callers without established "
                "identity). Please use API Key or other form of API consumer identity to call "
                "this API.",
                status=403,
            )
        if "invalid" in key.lower():
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
            raise refuse("API key not valid. Please pass a valid API key.", details=[info])

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Model, shape, rules."""
        prompt = checks.check(body, models(route.model), counts=route.operation == "count")
        prompt.stream = route.stream
        token = prompt.body.get("continuationToken")
        if token and self._tokens.get(token) != jsontext.encode(prompt.body["contents"]):
            raise refuse("The continuation token does not belong to this request.")
        return prompt

    def _break_off(self, prompt: Prompt, answer: Answer) -> None:
        if answer.turn.finish == "pause":
            self._tokens[_token(answer)] = jsontext.encode(prompt.body["contents"])
            if len(self._tokens) > _TOKENS_MAX:
                self._tokens.popitem(last=False)

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A GenerateContentResponse."""
        self._break_off(prompt, answer)
        return {
            "candidates": _candidates(prompt, _candidate(_parts(prompt, answer), answer)),
            "usageMetadata": _usage(prompt, answer),
            **_frame(prompt, answer),
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Chunks that each are a response; CRLF, and nothing after the last."""
        self._break_off(prompt, answer)
        pieces = list(_split(_parts(prompt, answer), answer.seed))
        early = {"promptTokenCount": answer.tally.prompt, "totalTokenCount": answer.tally.prompt}
        for number, part in enumerate(pieces):
            last = number == len(pieces) - 1
            candidate = _candidate([part], answer)
            if not last:
                del candidate["finishReason"]
                candidate.pop("continuationToken", None)
            yield encode_chunk(
                {
                    "candidates": _candidates(prompt, candidate),
                    "usageMetadata": _usage(prompt, answer) if last else early,
                    **_frame(prompt, answer),
                }
            )

    def render_count(self, prompt: Prompt, tokens: int) -> JSON:
        """`countTokens`."""
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        return {"totalTokens": tokens, "promptTokensDetails": details}

    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """`GET /models`."""
        items: list[JSON] = [
            {
                "name": f"models/{model.name}",
                "version": "1",
                "displayName": f"Simulated {model.name}",
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "thinking": model.reasons != "never",
            }
            for model in models
        ]
        return items[0] if one else {"models": items}

    def render_failure(self, failure: Failure) -> Refused:
        """Google's error object; the hint to wait is in its details."""
        words = {
            429: "Resource has been exhausted (e.g. check quota).",
            503: "The model is overloaded. Please try again later.",
        }
        details: list[JSON] = []
        if failure.retry_after_s is not None:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": f"{failure.retry_after_s:g}s"})
        message = failure.message or words.get(failure.status, "An internal error has occurred.")
        return refuse(message, status=failure.status, details=details)

    def render_stream_failure(self, failure: Failure) -> bytes:
        """An error object in place of a chunk."""
        return encode_chunk(self.render_failure(failure).body)

    def invalid(self, message: str) -> Refused:
        """400."""
        return refuse(f"Invalid JSON payload received. {message}")

    def unknown_model(self, name: str) -> Refused:
        """404."""
        return refuse(
            f"models/{name} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods.",
            status=404,
        )

    def retired_model(self, name: str) -> Refused:
        """404, with a hint."""
        return refuse(
            f"This model models/{name} is no longer available. Please update your code to use a "
            "newer model for the latest features and improvements.",
            status=404,
        )

    def refuse_by(self, refusal: Refusal) -> Refused:
        """400, by the rule's words."""
        return refuse(refusal.message, status=refusal.status)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """None that could be relied on."""
        return {"server-timing": "gfet4t7; dur=1"}


def encode_chunk(body: JSON) -> bytes:
    """One chunk, with the line ends that Google writes."""
    return b"data: " + jsontext.encode_bytes(body) + b"\r\n\r\n"


def join_array(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks as one JSON array: the form without `alt=sse`."""
    opening = b"["
    for chunk in chunks:
        yield opening + chunk.removeprefix(b"data: ").rstrip()
        opening = b"\n,\r\n"
    yield b"]" if opening != b"[" else b"[]"


def _frame(prompt: Prompt, answer: Answer) -> JSON:
    return {"modelVersion": prompt.model, "responseId": answer.nonce}


def _candidate(parts: list[JSON], answer: Answer) -> JSON:
    reason = _FINISH[answer.turn.finish_reason or "stop"]
    content: JSON = {"role": "model", "parts": parts}
    candidate: JSON = {"content": content, "finishReason": reason, "index": 0}
    if answer.turn.finish == "pause":
        candidate["continuationToken"] = _token(answer)
    if _malformed(answer):
        candidate["finishReason"] = "MALFORMED_FUNCTION_CALL"
        candidate["content"] = {"role": "model"}
    return candidate


def _candidates(prompt: Prompt, candidate: JSON) -> list[JSON]:
    return [{**candidate, "index": index} for index in range(prompt.choices)]


def _token(answer: Answer) -> str:
    return base64.b64encode(f"go on after {answer.nonce}".encode()).decode()


def _malformed(answer: Answer) -> bool:
    return any(parse_object(call.arguments_json or "{}") is None for call in answer.turn.calls)


def _parts(prompt: Prompt, answer: Answer) -> list[JSON]:
    turn = answer.turn
    parts: list[JSON] = []
    if turn.reasoning and prompt.shows_reasoning:
        parts.append({"text": turn.reasoning, "thought": True})
    if turn.text or turn.refusal or not turn.calls:
        parts.append({"text": turn.text or turn.refusal})
    for index, call in enumerate(turn.calls):
        call_id = call.id or f"call_{answer.nonce}{index:02d}"
        fields: JSON = {"id": call_id, "name": call.name}
        if arguments := parse_object(call.arguments_json or "{}"):
            fields["args"] = arguments
        parts.append({"functionCall": fields})
    if turn.reasoning is not None:
        # One signature: on the first call, or else on a last part that is otherwise empty.
        bearer = next((part for part in parts if "functionCall" in part), None)
        if bearer is None:
            bearer = {"text": ""}
            parts.append(bearer)
        data = {"scope": SCOPE, "nonce": answer.nonce}
        bearer["thoughtSignature"] = signing.issue(SCOPE, data, signed_part(bearer))
    return parts


def _split(parts: list[JSON], seed: int) -> Iterator[JSON]:
    for part in parts:
        pieces = fragments(part.get("text", ""), seed)
        if len(pieces) < 2:
            yield part
            continue
        for piece in pieces:
            yield {**part, "text": piece}


def _usage(prompt: Prompt, answer: Answer) -> JSON:
    tally = answer.tally
    text, thoughts = tally.text * prompt.choices, tally.reasoning * prompt.choices
    usage: JSON = {
        "promptTokenCount": tally.prompt,
        # Thoughts are counted alongside the candidates, not in them.
        "candidatesTokenCount": text,
        "totalTokenCount": tally.prompt + text + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tally.prompt}],
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if tally.cached:
        usage["cachedContentTokenCount"] = tally.cached
    return usage
