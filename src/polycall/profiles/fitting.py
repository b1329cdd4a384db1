"""A profile put to use: as `Quirks` for the dialects, and as checks that no dialect can make."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Media, Message, Request, Text, Warning
from polycall.profiles.profile import Bounds, Profile
from polycall.translation.conversation import note_seen, unseen
from polycall.translation.foreign_words import file_name
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses

_SAMPLING = ("temperature", "top_p", "top_k")
_PENALTIES = ("presence_penalty", "frequency_penalty")
# The words of the feature "cache", by what a request can do about it.
_CACHES: dict[str, frozenset[str]] = {
    "marks, 4 at most": frozenset({"marks"}),
    "by itself, by key": frozenset({"itself", "key"}),
    "by itself, by key, by marks": frozenset({"itself", "key", "marks"}),
}
_TIERS_OF_RESPONSES = frozenset({"ultrafast"})  # which Chat does not have
_FORCED = frozenset({"required", "tool"})
_MARKS = frozenset({"marks"})
_LATE_SYSTEM: dict[str, Any] = {"anywhere": True, "after_user": "after_user", "start": False}


def with_profile(
    quirks: Quirks, profile: Profile, dialect: str, stated: frozenset[str] = frozenset()
) -> Quirks:
    """The quirks of a server, with what this model takes; `stated` fields stay as they are.

    What a model takes of any wire holds in every dialect; how it is said on its vendor's own wire
    holds where that is spoken.
    """
    changes = _of_any_wire(quirks, profile)
    if dialect in profile.dialects:
        changes.update(_of_its_wire(quirks, profile))
        if dialect == "openai-chat":
            if profile.says_no("chat_tools_while_thinking"):
                changes["effort_beside_tools"] = False
            if changes.get("service_tiers"):
                changes["service_tiers"] -= _TIERS_OF_RESPONSES
    kept = {name: value for name, value in changes.items() if name not in stated}
    return replace(quirks, **kept) if kept else quirks


def _of_any_wire(quirks: Quirks, profile: Profile) -> dict[str, Any]:
    changes: dict[str, Any] = {"refused": quirks.refused | _refused(profile)}
    choices = profile.words("tool_choice")
    if choices is not None:
        changes["tool_choices"] = quirks.tool_choices & frozenset(choices)
    thinking = profile.words("tool_choice_thinking")
    if thinking is not None:
        changes["forced_choice_while_reasoning"] = bool(frozenset(thinking) & _FORCED)
    bounds: Any = profile.value("temperature_range")
    if bounds is not None:
        changes["temperature_range"] = tuple(bounds)
    if profile.value("thinking_off") == "no":
        changes["thinks_always"] = True
    if profile.says_no("structured_output"):
        changes["response_formats"] = quirks.response_formats - {"json_schema"}
    if profile.says_no("result_media"):
        changes["result_media"] = False
    if profile.value("prefix_bound"):
        changes["prefix_bound"] = True
    if quirks.cache_control and _CACHES.get(str(profile.value("cache"))) == _MARKS:
        changes["caches"] = _MARKS
    return changes


def _refused(profile: Profile) -> frozenset[str]:
    refused: set[str] = set()
    for feature, fields in (("sampling", _SAMPLING), ("penalties", _PENALTIES)):
        taken = profile.words(feature)
        if taken is None:
            continue
        # Servers of open weights have top_k or not, whatever the model.
        known = [field for field in fields if not (profile.is_open and field == "top_k")]
        refused.update(field for field in known if field not in taken)
    if profile.value("stop_max") == 0:
        refused.add("stop")
    return frozenset(refused)


def _of_its_wire(quirks: Quirks, profile: Profile) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    forms = profile.words("thinking")
    if forms is not None:
        changes["thinking_forms"] = frozenset(forms)
        changes["thinking_unit"] = "level" if "level" in forms else "budget"
        if not forms:
            changes["reasoning_control"] = "none"
    efforts = profile.words("efforts")
    if efforts is not None:
        changes["efforts"] = frozenset(efforts)
    tiers = profile.words("service_tiers")
    if tiers is not None:
        changes["service_tiers"] = frozenset(tiers)
    late = profile.value("late_system")
    if late is not None:
        changes["late_system"] = quirks.late_system and _LATE_SYSTEM[str(late)]
    off = profile.value("thinking_off")
    if off is not None:
        changes["budget_zero"] = off in ("0", "never on")
    for feature in ("effort_max_when_off", "default_effort", "reasoning_replay"):
        found = profile.value(feature)
        if found is not None:
            changes[feature] = found
    for feature in (
        "sampling_without_thinking",
        "temperature_with_top_p",
        "signature_sentinel",
    ):
        found = profile.value(feature)
        if found is not None:
            changes[feature] = bool(found)
    for feature in ("tools_with_json", "json_while_thinking"):
        if profile.says_no(feature):
            changes[feature] = False
    if profile.value("thinking_needs_stream"):
        changes["thinking_needs_stream"] = True
    changes["caches"] = _CACHES.get(str(profile.value("cache")), frozenset())
    changes["budget_min"], changes["budget_max"] = profile.budget
    if profile.number("output_tokens") and not quirks.max_tokens_default:
        changes["max_tokens_default"] = profile.number("output_tokens")
    return changes


# ---------------------------------------------------------------------------------------------
# What is the same on every wire


def fitted(request: Request, profile: Profile) -> tuple[Request, list[Warning]]:
    """The request as the model takes it, and what must be said of that.

    Raises `UnsupportedError`, naming the feature, for what cannot be had of this model and would
    change the answer; where the request allows losses it is left out with a warning.
    """
    bounds = profile.bounds
    if not _is_beyond(request, bounds):
        return request, _NOTHING
    losses = Losses(lossy=request.lossy)
    changes: dict[str, Any] = {}
    name = repr(profile.name)
    if profile.like:
        losses.emulate("model", f"{name} is in no list: the rules of {profile.like!r} are followed")
    if request.candidates is not None:
        changes.update(_candidates(request.candidates, bounds, name, losses))
    if request.logprobs is not None and bounds.no_logprobs:
        losses.refuse("logprobs", f"{name} gives no probabilities", path="logprobs")
        changes["logprobs"] = None
    if len(request.stop) > bounds.stop > 0:
        detail = f"{len(request.stop)} stop sequences; {name} takes {bounds.stop}"
        losses.refuse("stop", detail, path="stop")
        changes["stop"] = request.stop[: bounds.stop]
    if len(request.tools) > bounds.tools > 0:
        detail = f"{len(request.tools)} tools; {name} takes {bounds.tools}"
        losses.refuse("tools", detail, path="tools")
        changes["tools"] = request.tools[: bounds.tools]
    wanted = request.max_output_tokens
    if wanted is not None and 0 < bounds.output_tokens < wanted:
        detail = f"{wanted} is sent as {bounds.output_tokens}, the most of {name}"
        losses.adjust("max_output_tokens", detail)
        changes["max_output_tokens"] = bounds.output_tokens
    strange = _strange_media(request, bounds)
    if strange is not None:
        place = strange
        shown = ", ".join(sorted(bounds.media or ())) or "text alone"
        for kind, where in _strange_kinds(request, bounds, place).items():
            losses.refuse(kind, f"{name} takes {shown}", path=f"messages[{where}]")
        messages = request.messages[:place]
        messages += [_named(message, bounds) for message in request.messages[place:]]
        changes["messages"] = messages
    if bounds.no_prefill and _is_prefilled(request):
        place = len(request.messages) - 1
        detail = f"{name} takes no assistant message at the end"
        losses.refuse("prefill", detail, path=f"messages[{place}]")
        changes["messages"] = [*changes.get("messages", request.messages), _CONTINUE]
    return (replace(request, **changes) if changes else request), losses.warnings


_NOTHING: list[Warning] = []
# What a caller that allows losses has said instead of the beginning of an answer.
_CONTINUE = Message("user", [Text("Continue from where your last message ends.")])


def _named(message: Message, bounds: Bounds) -> Message:
    """A user's message with the names of the media that the model does not take."""
    if message.role != "user" or not any(_is_strange(part, bounds) for part in message.parts):
        return message
    parts: list[Any] = [
        Text(file_name(part)) if isinstance(part, Media) and _is_strange(part, bounds) else part
        for part in message.parts
    ]
    return replace(message, parts=parts)


def _is_strange(part: object, bounds: Bounds) -> bool:
    return bounds.media is not None and isinstance(part, Media) and part.kind not in bounds.media


def _is_beyond(request: Request, bounds: Bounds) -> bool:
    """Whether anything of the request may have to change: the quick look at most requests."""
    return (
        bounds.is_unknown
        or request.candidates is not None
        or request.logprobs is not None
        or len(request.stop) > bounds.stop
        or len(request.tools) > bounds.tools
        or (request.max_output_tokens or 0) > bounds.output_tokens
        or (bounds.no_prefill and _is_prefilled(request))
        or (bounds.media is not None and _strange_media(request, bounds) is not None)
    )


def _candidates(wanted: int, bounds: Bounds, name: str, losses: Losses) -> dict[str, Any]:
    most = bounds.candidates
    if wanted == 1:
        return {"candidates": None}  # which is what none asks for
    if not most or wanted <= most:
        return {}
    detail = f"{wanted} answers; {name} gives {most} a request"
    losses.refuse("candidates", detail, path="candidates")
    return {"candidates": most if most > 1 else None}


def _strange_kinds(request: Request, bounds: Bounds, start: int) -> dict[str, int]:
    """Each kind of medium that the model does not take, and the message where it stands first."""
    kinds: dict[str, int] = {}
    for place, message in enumerate(request.messages[start:], start):
        if message.role == "user":
            for part in message.parts:
                if isinstance(part, Media) and _is_strange(part, bounds):
                    kinds.setdefault(part.kind, place)
    return kinds


def _strange_media(request: Request, bounds: Bounds) -> int | None:
    """The message of the first medium of a user's that the model does not take."""
    if bounds.media is None:
        return None
    look = (_strange_media, bounds.media)
    new = unseen(request.messages, look)
    for place, message in enumerate(new, len(request.messages) - len(new)):
        if message.role == "user" and any(_is_strange(part, bounds) for part in message.parts):
            return place
    note_seen(request.messages, look)
    return None


def _is_prefilled(request: Request) -> bool:
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant" or not last.parts:
        return False
    return all(isinstance(part, Text) for part in last.parts)
