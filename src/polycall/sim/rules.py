"""The model behind `sim-1`: rules, and no language model.

Plainly, what it does:

* It reads the user's last words and scores each offered tool by the words they share: a word or
  concept of the tool's name counts three, of its description or parameters one.  Tools with
  three points or more are called; a forced choice calls the best one whatever its score.
* It fills arguments from the text (`fill.py`).  Several values for one parameter make several
  calls.  All calls of a turn are made at once, or one after another where the request forbids
  parallel calls.
* Where the vendor runs programs, it writes one for calls of tools that only programs may make, or
  for several calls that they may make; the program prints the results.
* When the results are there, it writes them down as they are, in the language of the user's
  words; where a result is an error it says so.
* A tool that takes a program gets one that calls what its description declares.  Where no tool
  fits and one finds tools, it asks that, and then calls the best one found.  Where the vendor
  searches the web, it does so when the words ask for it; the result is a simulated page.
* Without tools that fit, it says what it is.  Asked for JSON, it gives an instance of the schema,
  also of one that stands in the words.
* Tools that the prompt describes in words are called in words.
* How background tasks ended is not a request, no matter whose words it stands in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import jsonschema_rs
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.sim import vocabulary
from polycall.sim.arguments import Filler, properties_of
from polycall.sim.described import in_words, with_described
from polycall.sim.notes import without_notes
from polycall.sim.script import (
    PROGRAM_NAMES,
    Call,
    Called,
    CallTool,
    Program,
    Prompt,
    Returned,
    Said,
    Search,
    ToolSpec,
    Turn,
)
from polycall.sim.shape import JSON, list_in, parse_object
from polycall.sim.written_code import program as written_program
from polycall.sim.written_code import stubs_of, takes_code

_SCORE_MIN = 3
_CALLS_MAX = 32
_RESULT_LENGTH_MAX = 2000


def answer(prompt: Prompt) -> Turn:
    """The rules' answer, with reasoning where the request has it."""
    turn = _decide(prompt)
    if not prompt.reasons:
        return turn
    return replace(turn, reasoning=_reasoning(prompt, turn))


def _decide(prompt: Prompt) -> Turn:
    described = with_described(prompt)
    if described is None:
        return _ruled(prompt)
    return in_words(_ruled(described), prompt.schema)


def _ruled(prompt: Prompt) -> Turn:
    prompt = replace(prompt, entries=without_notes(prompt.entries))
    text = prompt.user_text()
    since = prompt.since_user()
    results = [entry for entry in since if isinstance(entry, Returned)]
    made = [entry for entry in since if isinstance(entry, Called)]
    program = _program(prompt, text, made)
    if program is not None:
        return Turn(program=program)
    calls = _without_made(plan(prompt, text), made)
    if not calls:
        calls = _found_or_finding(prompt, text, made, results)
    if prompt.choice == "required" and not calls and prompt.offered:
        # Forced to call, and nothing is left to ask: the same again, as a model would.
        calls = plan(prompt, text)
    if calls:
        return Turn(calls=calls[:_CALLS_MAX] if prompt.parallel else calls[:1])
    search = _search(prompt, text)
    if search is not None:
        return Turn(text=f"A simulated search found one page: {search.title}.", search=search)
    schema = prompt.schema or _schema_in_words(prompt)
    if schema is not None:
        prompt = replace(prompt, schema=schema)
        return Turn(text=_instance_text(prompt, text, results))
    if results:
        return Turn(text=_report(text, results, made))
    return Turn(text=_plain(text))


def _search(prompt: Prompt, text: str) -> Search | None:
    """A search of the web, where the vendor runs one and the words or the choice ask for it."""
    if not prompt.search_tool or prompt.choice == "none":
        return None
    forced = prompt.choice == "required" or prompt.allowed == frozenset({prompt.search_tool})
    wanted = {"search", "news"} & set(vocabulary.concepts_of(text)) or "web" in vocabulary.words_of(
        text
    )
    return Search(prompt.search_tool, text) if forced or wanted else None


# Longer texts are searched for no schema.
_WORDS_MAX = 20_000
_KEYS = re.compile(r"\b(?:keys?|fields?)\b|키|필드", re.IGNORECASE)
_QUOTED = re.compile(r"'(\w+)'|[`\"](\w+)[`\"]")
_FINDING = frozenset({"search", "find", "lookup"})


def _found_or_finding(
    prompt: Prompt, text: str, made: list[Called], results: list[Returned]
) -> list[Call]:
    """A search where no tool fits the words, or calls of the best of those that were found."""
    finders = [tool for tool in prompt.offered if _finds_tools(tool)]
    if not finders or prompt.choice == "none":
        return []
    finder = finders[0]
    if not any(call.name == finder.name for call in made):
        names = list_in(finder.parameters, "required") or list(properties_of(finder.parameters))
        return [Call(finder.name, {names[0]: text})] if names else []
    if any(call.name != finder.name for call in made):
        return []
    found = "\n".join(result.text for result in results if result.name == finder.name)
    fresh = [tool for tool in prompt.offered if tool.name != finder.name and tool.name in found]
    if not fresh:
        return []
    best = max(fresh, key=lambda tool: score(tool, text))
    arguments = Filler(best.parameters, text, vocabulary.places_of(text)).fill_all()
    return [Call(best.name, _repair(best, each)) for each in arguments[:1]]


def _finds_tools(tool: ToolSpec) -> bool:
    words = set(vocabulary.words_of(tool.name))
    return bool(words & _FINDING) and bool(words & {"tool", "tools"})


def _schema_in_words(prompt: Prompt) -> JSON | None:
    """The JSON schema that the words hold, where they ask for JSON: the last one; else `None`."""
    asked = "json schema" if prompt.offered else "json"
    texts = [entry.text for entry in prompt.entries if isinstance(entry, Said)]
    for text in reversed(texts):
        if asked in text.lower() and len(text) <= _WORDS_MAX:
            schemas = [each for each in _objects_in(text) if _is_schema(each)]
            if schemas:
                return schemas[-1]
            named = [] if prompt.offered or prompt.schema else _named_keys(text)
            if named:
                properties: JSON = {name: {"type": "string"} for name in named}
                return {"type": "object", "properties": properties, "required": named}
    return prompt.schema


def _named_keys(text: str) -> list[str]:
    """The keys that words ask for: "a JSON object with the keys 'setup' and 'punchline'"."""
    if not _KEYS.search(text):
        return []
    return list(dict.fromkeys(name for pair in _QUOTED.findall(text) for name in pair if name))


def _is_schema(value: JSON) -> bool:
    return "properties" in value or value.get("type") in ("array", "object")


def _objects_in(text: str) -> Iterator[JSON]:
    """The JSON objects that stand in a text, without those inside others."""
    position = 0
    while (start := text.find("{", position)) >= 0:
        end = _end_of_object(text, start)
        value = parse_object(text[start:end])
        position = start + 1 if value is None else end
        if value is not None:
            yield value


def _end_of_object(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += text[position] == "{"
        depth -= text[position] == "}"
        if depth == 0:
            return position + 1
    return len(text)


def _program(prompt: Prompt, text: str, made: list[Called]) -> Program | None:
    """The program for what the user's words ask for; it is written once."""
    offer = prompt.programs
    if offer is None or any(entry.name in PROGRAM_NAMES for entry in made):
        return None
    calls = _without_made(plan(prompt, text, prompt.callable_by_programs), made)
    if len(calls) < 2 and not any(call.name in offer.code_only for call in calls):
        return None

    async def run(call: CallTool, show: Callable[..., None]) -> None:
        for result in await asyncio.gather(*(call(each.name, **each.arguments) for each in calls)):
            show(result)

    lines = [f"print(await {each.name}({each.arguments_json}))" for each in calls]
    return Program("\n".join(lines), run)


def plan(prompt: Prompt, text: str, tools: list[ToolSpec] | None = None) -> list[Call]:
    """All calls that the user's words ask for, in their order; of `tools`, or of those offered."""
    tools = prompt.offered if tools is None else tools
    scores = {tool.name: score(tool, text) for tool in tools}
    chosen = [tool for tool in tools if scores[tool.name] >= _SCORE_MIN]
    for tool in tools:
        if takes_code(tool):
            inner = [score(stub, text) for stub in stubs_of(tool.description)]
            scores[tool.name] = max(inner, default=0)
            chosen = [other for other in chosen if other is not tool]
            chosen += [tool] if scores[tool.name] >= _SCORE_MIN else []
    best = max(scores.values(), default=0)
    # A tool that fits by half of what the best one does was probably not meant.
    chosen = [tool for tool in chosen if scores[tool.name] * 2 > best]
    if prompt.choice == "required" and not chosen and tools:
        chosen = [max(tools, key=lambda tool: scores[tool.name])]
    chosen.sort(key=lambda tool: _position(tool, text))
    shares = _share_places(chosen, text)
    calls: list[Call] = []
    for tool in chosen:
        if tool.freeform:
            calls.append(Call(tool.name, {"input": text}))
            continue
        if takes_code(tool):
            inner = plan(replace(prompt, tools=[]), text, stubs_of(tool.description))
            calls += [Call(tool.name, {"code": written_program(inner)})] if inner else []
            continue
        for arguments in Filler(tool.parameters, text, shares[tool.name]).fill_all():
            calls.append(Call(tool.name, _repair(tool, arguments)))
    return calls


def score(tool: ToolSpec, text: str) -> int:
    """The number of words and concepts that tool and text share, those of its name threefold."""
    words = set(vocabulary.words_of(text)) - vocabulary.EMPTY_WORDS
    concepts = set(vocabulary.concepts_of(text))
    spaced = " ".join(vocabulary.words_of(tool.name))
    name_words = set(vocabulary.words_of(tool.name)) - vocabulary.EMPTY_WORDS
    name_concepts = set(vocabulary.concepts_of(spaced))
    about = f"{tool.description} {_parameter_words(tool.parameters)}"
    about_words = set(vocabulary.words_of(about)) - vocabulary.EMPTY_WORDS - name_words
    about_concepts = set(vocabulary.concepts_of(about)) - name_concepts
    by_name = max(len(words & name_words), len(concepts & name_concepts))
    by_rest = len(words & about_words | concepts & about_concepts)
    return 3 * by_name + by_rest


def _parameter_words(schema: JSON) -> str:
    pieces: list[str] = []
    for name, child in properties_of(schema).items():
        pieces.append(name)
        if isinstance(child, dict):
            inner = cast("JSON", child)
            pieces.append(str(inner.get("description", "")))
            pieces += [str(value) for value in list_in(inner, "enum")]
    return " ".join(pieces)


def _position(tool: ToolSpec, text: str) -> int:
    """The place where the text first names what the tool's name names."""
    low = text.lower()
    spots = [
        spot
        for concept, spot in vocabulary.concepts_of(text).items()
        if concept in vocabulary.concepts_of(" ".join(vocabulary.words_of(tool.name)))
    ]
    words = set(vocabulary.words_of(tool.name)) - vocabulary.EMPTY_WORDS
    spots += [spot for word in words if (spot := vocabulary.find(word, low)) >= 0]
    return min(spots, default=len(text))


def _share_places(tools: list[ToolSpec], text: str) -> dict[str, list[tuple[int, str, str]]]:
    """Which places belong to which tool: "weather in Paris and the time in Tokyo".

    In Korean a place comes before what is asked of it, in English after it.
    """
    places = vocabulary.places_of(text)
    spots = [(_position(tool, text), tool.name) for tool in tools]
    shares: dict[str, list[tuple[int, str, str]]] = {tool.name: [] for tool in tools}
    korean = vocabulary.is_korean(text)
    for place in places:
        before = [name for spot, name in spots if spot <= place[0]]
        after = [name for spot, name in spots if spot > place[0]]
        close = [name for spot, name in spots if 0 <= spot - place[0] - len(place[1]) <= 3]
        order = [*close[:1], *before[-1:], *after[:1]]
        if korean:
            order = [*after[:1], *before[-1:]]
        if order:
            shares[order[0]].append(place)
    return {name: share or places for name, share in shares.items()}


def _repair(tool: ToolSpec, arguments: JSON) -> JSON:
    """The arguments, without optional ones that the schema refuses."""
    if not tool.parameters:
        return arguments
    required = set(list_in(tool.parameters, "required"))
    if _is_valid(tool.parameters, arguments):
        return arguments
    filler = Filler(tool.parameters, "", [])
    properties = properties_of(tool.parameters)
    repaired: JSON = {}
    for name, value in arguments.items():
        child = filler.resolve(properties.get(name))
        if _is_valid({**_definitions(tool.parameters), **child}, value):
            repaired[name] = value
        elif name in required:
            repaired[name] = filler.fallback(name, child, 0)
    return repaired


def _definitions(schema: JSON) -> JSON:
    return {name: schema[name] for name in ("$defs", "definitions") if name in schema}


def _is_valid(schema: JSON, value: Any) -> bool:
    plain = {name: item for name, item in schema.items() if name != "$schema"}
    try:
        return jsonschema_rs.is_valid(plain, value)
    except (ValueError, jsonschema_rs.ReferencingError):
        return True


def _without_made(calls: list[Call], made: list[Called]) -> list[Call]:
    left = [(entry.name, jsontext.encode(entry.arguments)) for entry in made]
    result: list[Call] = []
    for call in calls:
        key = (call.name, jsontext.encode(call.arguments))
        if key in left:
            left.remove(key)
        elif not any(name == call.name for name, _ in left):
            result.append(call)
        # Else the history spells the same call in another way; it was made all the same.
    return result


def _reasoning(prompt: Prompt, turn: Turn) -> str:
    names = ", ".join(dict.fromkeys(call.name for call in turn.calls))
    if vocabulary.is_korean(prompt.user_text()):
        return f"{names} 도구가 필요하다." if names else "도구 없이 답할 수 있다."
    return f"The user's words match {names}." if names else "No further tool is needed."


def _instance_text(prompt: Prompt, text: str, results: list[Returned]) -> str:
    material = " ".join([text, *(result.text for result in results)])
    value = Filler(prompt.schema or {}, material, vocabulary.places_of(material)).instance()
    if not prompt.schema:
        value = {"answer": material}
    return jsontext.encode(value)


def _report(text: str, results: list[Returned], made: list[Called]) -> str:
    korean = vocabulary.is_korean(text)
    subjects = {call.id: _subject(call) for call in made}
    lines = [_line(result, subjects.get(result.call_id, ""), korean) for result in results]
    good = [line for line, is_error in lines if not is_error]
    bad = [line for line, is_error in lines if is_error]
    pieces: list[str] = []
    if good:
        pieces.append("확인한 결과입니다." if korean else "Here is what the tools returned.")
        pieces += good
    if bad:
        words = "도구 호출이 실패했습니다." if korean else "Some tools failed."
        pieces.append(words)
        pieces += bad
    return "\n".join(pieces)


def _subject(call: Called) -> str:
    values = [str(value) for value in call.arguments.values() if isinstance(value, str | int)]
    return ", ".join(value for value in values if len(value) <= 40)


def _line(result: Returned, subject: str, korean: bool) -> tuple[str, bool]:
    content, is_error = _readable(result)
    head = f"{result.name}({subject})" if subject else result.name
    if is_error:
        return f"- {head}: {'오류' if korean else 'error'}: {content}", True
    return f"- {head}: {content}", False


def _readable(result: Returned) -> tuple[str, bool]:
    text = result.text.strip()
    is_error = result.is_error
    try:
        value = jsontext.decode(text)
    except ValueError:
        return _short(text), is_error or text.lower().startswith("error")
    if isinstance(value, dict):
        fields = cast("JSON", value)
        if fields.get("error"):
            return _short(_plain_value(fields["error"])), True
        pairs = [f"{name}: {_plain_value(item)}" for name, item in fields.items()]
        return _short(", ".join(pairs)), is_error
    return _short(_plain_value(value)), is_error


def _plain_value(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.encode(value)


def _short(text: str) -> str:
    return text if len(text) <= _RESULT_LENGTH_MAX else text[:_RESULT_LENGTH_MAX] + "…"


def _plain(text: str) -> str:
    if vocabulary.is_korean(text):
        return "시뮬레이션입니다. 여기에는 언어 모델이 없고, 말씀에 맞는 도구도 없습니다."
    return "This is a simulation: there is no language model here, and no tool fits your words."
