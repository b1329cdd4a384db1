"""Real requests and what became of them: the simulation of their day says the same.

Recorded data is read from where POLYCALL_SHARED says; without it these tests skip.  Requests of
servers that are not simulated (routers, other hosts, local servers) are left out.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from polycall.sim.dated import READ_ON, Refusal, load
from polycall.sim.judge import Judge, RecordedRequest
from polycall.sim.vendors.relatives import RELATIVES
from tests.support import corpus

PROVIDERS = {
    "openai-chat": {"openai", "deepseek"},
    "openai-responses": {"openai"},
    "anthropic": {"anthropic"},
    "gemini": {"google"},
}
LISTS = {"openai-chat": "openai", "openai-responses": "openai", "gemini": "google"}
# What is refused here and was taken there, by the words of the refusal, with the reason.
EXCEPTIONS = {
    "Unsupported parameter: 'audio'": "the simulation has no voice",
    "Invalid schema for response_format": "formats that the vendor had not closed yet",
    "requires_confirmation": "a field that the vendor let pass once",
    "llama-cpp-reasoning-model": "another server's answer, kept under OpenAI's name",
    "does not exist": "a day of recording before the model's",
    "model: claude-opus": "a day of recording before the model's",
    "is no longer available": "a preview that was served for longer than announced",
    "Unable to process input image": "pictures that were replaced in the recording",
    "The image was specified using": "pictures that were replaced in the recording",
    "requires that tool in `tools`": "tools that were left out of the recording",
    "unexpected `tool_use_id`": "pairs that the vendor did not check in 2024",
    "No tool call found": "a call that the vendor had kept",
    "Function calling config is set": "a field that an image model ignores",
}
# Refusals that no rule can decide.
UNDECIDABLE = (
    "Error while downloading",
    "Test error",
    "Schema is too complex for compilation",
    "API key not valid",
)


def judged(dialect: str) -> Iterator[tuple[dict[str, Any], Refusal | None]]:
    """Every record that a simulated vendor can judge, and what it says on the record's day."""
    judges: dict[datetime.date, Judge] = {}
    for record in corpus(dialect):
        if record["provider"] not in PROVIDERS[dialect]:
            continue
        if record.get("authenticity") not in ("recorded", "recorded_sanitised"):
            continue
        if not isinstance(record.get("request"), dict):
            continue
        wire = "deepseek" if record["provider"] == "deepseek" else dialect
        name = (record.get("model") or "").removeprefix("models/")
        day = _day(record, LISTS.get(wire, wire), name)
        headers = record.get("request_headers") or None
        plain = None if headers is None else {key: str(text) for key, text in headers.items()}
        request = RecordedRequest(wire, record["request"], name, plain)
        yield record, judges.setdefault(day, Judge(day)).refusal(request)


def _day(record: dict[str, Any], vendor: str, name: str) -> datetime.date:
    """The day of recording; without one, the last on which the model answered for itself."""
    if record.get("recorded_date"):
        return datetime.date.fromisoformat(record["recorded_date"][:10])
    model = load().models[vendor].get(record["request"].get("model") or name)
    end = (model.until or model.routed_since) if model is not None else None
    return READ_ON if end is None else min(READ_ON, end - datetime.timedelta(days=1))


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_what_vendors_took_is_taken_and_the_exceptions_are_few_and_known(dialect: str) -> None:
    count = 0
    exceptions: Counter[str] = Counter()
    unknown: list[str] = []
    for record, refusal in judged(dialect):
        if record["status"] != 200:
            continue
        count += 1
        if refusal is None:
            continue
        reason = next((why for words, why in EXCEPTIONS.items() if words in refusal.message), "")
        exceptions[reason] += 1
        if not reason:
            unknown.append(f"{record['id']} {record['model']}: {refusal.message[:120]}")
    assert unknown == []
    assert count > 1_000
    assert sum(exceptions.values()) <= count * 0.0125


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_what_vendors_refused_is_refused(dialect: str) -> None:
    missed: list[str] = []
    for record, refusal in judged(dialect):
        if record["status"] not in (400, 404) or refusal is not None:
            continue
        words = str(record.get("response"))
        if not any(known in words for known in UNDECIDABLE):
            missed.append(f"{record['id']} {record['model']}: {words[:120]}")
    assert missed == []


def related() -> Iterator[tuple[dict[str, Any], Refusal | None]]:
    """The same for the vendors and hosts of Chat that have rules of their own."""
    judges: dict[datetime.date, Judge] = {}
    for record in corpus("openai-chat"):
        wire, asked = record["provider"], record.get("request")
        if wire not in RELATIVES or not isinstance(asked, dict):
            continue
        recorded = record.get("recorded_date")
        day = datetime.date.fromisoformat(recorded[:10]) if recorded else READ_ON
        request = RecordedRequest(wire, asked, record.get("model") or "")
        yield record, judges.setdefault(day, Judge(day)).refusal(request)


def test_what_relatives_took_is_taken_and_what_their_lists_refused_is_refused() -> None:
    taken: Counter[str] = Counter()
    wrong: list[str] = []
    for record, refusal in related():
        line = f"{record['id']} {record['model']}: {refusal and refusal.message[:100]}"
        if record["status"] == 200:
            taken[record["provider"]] += 1
            # Ids that were taken out of the recording are no ids of Mistral's, and a model may have
            # ended since a recording that has no date.
            is_old = not record.get("recorded_date") and "does not exist" in line
            if refusal is not None and "REDACTED" not in refusal.message and not is_old:
                wrong.append(line)
        elif record["status"] == 400 and record["provider"] == "mistral" and refusal is None:
            wrong.append(line)
    assert wrong == []
    assert sum(taken.values()) > 900
    assert len(taken) >= 8
