"""Talks beside the rest of agents: what goes together works, what does not is refused."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, AgentContext, tool
from polycall.agents import Guarded, Handoff, Sessions
from polycall.agents.events import HandoffEvent
from polycall.errors import RequestError, ToolDefinitionError
from polycall.instrumentation import ToolCalled, watch
from polycall.ir import Message
from polycall.loop import CallEnd, ToolEvent
from polycall.realtime import Talk, stay_silent
from polycall.realtime.events import Audio
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.testing import FunctionModel
from polycall.voices.audio import PCMU, AudioFormat, decode_mulaw, encode_mulaw
from tests.realtime.harness import GEMINI, LIVE, OPENAI, agent_of, hold
from tests.realtime.test_forty_cases import fast, saying

ROOT = Path(__file__).parents[2]
REALTIME = ROOT / "src" / "polycall" / "realtime"
VOICES = ROOT / "src" / "polycall" / "voices"


@pytest.mark.parametrize("voice", [OPENAI, GEMINI])
def test_a_handoff_changes_instructions_and_tools(voice: str) -> None:
    @tool
    async def repair() -> str:
        """Repair."""
        return "repaired"

    smith = Agent("openai/gpt-5.4", name="smith", instructions="You repair.", tools=[repair])
    desk = agent_of(name="desk", handoffs=[Handoff(smith)])
    turns = [
        Turn("I connect you.", calls=[Call("transfer_to_smith", {"reason": "broken"})]),
        Turn(calls=[Call("repair")]),
        Turn("It is repaired."),
    ]
    outcome = hold(voice, desk, VoiceScript.of(turns), saying(("say", 600), ("wait", 9000)))
    assert [event.target for event in outcome.of(HandoffEvent)] == ["smith"]
    assert outcome.said[-1] == "It is repaired."
    assert outcome.run.agents == ["desk", "smith"]
    assert outcome.run.history.agent == "smith"
    kind = "session.update" if voice == OPENAI else "contextUpdate"
    assert "You repair." in str(outcome.sent(kind)[-1])
    assert not outcome.record.refusals


def test_an_agent_behind_a_voice_hands_over_too() -> None:
    from polycall.ir import ToolCall

    def model(request: Any) -> Any:
        if "You repair." in request.messages[0].text:
            return "It is repaired."
        return [ToolCall("t", "transfer_to_smith", '{"reason": "broken"}')]

    client = FunctionModel(model)
    smith = Agent("openai/gpt-5.4", name="smith", instructions="You repair.", client=client)
    desk = agent_of(name="desk", handoffs=[smith], client=client)
    script = VoiceScript.of([Turn(calls=[Call("x")])])
    outcome = hold(LIVE, desk, script, saying(("say", 600), ("wait", 4000)))
    assert outcome.said == ["It is repaired."]
    assert outcome.run.agents == ["desk", "smith"]


def test_a_guard_in_front_ends_a_talk_before_a_call_runs() -> None:
    def no_cards(messages: list[Message]) -> str | None:
        return "a card number" if "4242" in messages[-1].text else None

    script = VoiceScript.of([Turn("I look.", calls=[Call("fast")])], heard=["My card is 4242"])
    guarded = Guarded(agent_of(fast), inputs=[no_cards])
    outcome = hold(OPENAI, guarded, script, saying(("say", 600), ("wait", 9000)))
    assert (outcome.end.reason, outcome.end.detail) == ("guardrail", "no_cards: a card number")
    assert [end.result.is_error for end in outcome.of(CallEnd)] in ([], [True])


def test_a_history_goes_through_talks_and_text_runs() -> None:
    first = hold(
        OPENAI,
        agent_of(fast),
        VoiceScript.of([Turn(calls=[Call("fast")]), Turn("Done.")], heard=["Do it"]),
        saying(("say", 600), ("wait", 5000)),
    )
    seen: list[Any] = []

    def model(request: Any) -> str:
        seen.extend(request.messages)
        return "It was done."

    run = agent_of(fast, client=FunctionModel(model)).run_sync("What?", history=first.run.history)
    assert [message.role for message in seen] == [
        *["system", "user", "assistant", "tool", "assistant", "user"]
    ]
    script = VoiceScript.of([Turn("Yes.")], heard=["Really?"])
    drive = saying(("say", 600), ("wait", 4000))
    again = hold(GEMINI, agent_of(), script, drive, history=run.history)
    assert [m.text for m in again.run.messages if m.text][-2:] == ["Really?", "Yes."]
    assert again.run.messages[: len(run.messages)] == run.messages


def test_progress_and_deps_and_variables_reach_tools() -> None:
    @tool(background=True)
    async def work(context: AgentContext) -> str:
        """Work."""
        await context.report(0.5, "half")
        context.variables["seen"] = context.deps
        return context.idempotency_key

    script = VoiceScript.of([Turn(calls=[Call("work", id="call_7")]), Turn("Done.")])
    outcome = hold(OPENAI, agent_of(work), script, saying(("say", 600), ("wait", 4000)), deps=5)
    assert [event.event.progress for event in outcome.of(ToolEvent)] == [0.5]
    assert outcome.run.history.variables == {"seen": 5}
    assert outcome.of(CallEnd)[0].result.text.endswith("/call/call_7")


def test_a_talk_is_watched_like_a_run() -> None:
    began: list[Any] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            from contextlib import nullcontext

            return lambda *_: nullcontext() if name == "current" else {}

    class Watcher:
        def begin(self, what: Any, above: Any = None) -> Any:
            began.append(what)
            return Watched()

        def carried(self) -> dict[str, str]:
            return {}

    watch(Watcher())
    try:
        script = VoiceScript.of([Turn(calls=[Call("fast")]), Turn("Done.")])
        hold(OPENAI, agent_of(fast), script, saying(("say", 600), ("wait", 4000)))
    finally:
        watch(None)
    assert [type(each).__name__ for each in began] == ["RunStarted", "ToolCalled"]
    assert isinstance(began[1], ToolCalled)


def refused(words: str, agent: Any = None, voice: str = OPENAI, **options: Any) -> None:
    with pytest.raises(RequestError, match=words):
        Talk(agent_of() if agent is None else agent, voice=voice, **options)


def test_what_no_talk_can_do_is_refused_when_it_is_made(tmp_path: Path) -> None:
    refused("is with an Agent", agent="host")
    polycall_durable: Any = pytest.importorskip("polycall.durable")
    with Sessions(f"sqlite:///{tmp_path}/sessions.db") as sessions:
        refused("begin with history=", agent=sessions.open("talk"))
    durable = polycall_durable.Durable("sqlite:///never.db", agents=[agent_of()])
    refused("start work that must outlive it", agent=durable)
    refused("cannot talk", agent=agent_of(output=int))
    refused("calls tools directly", agent=agent_of(calling="auto"))
    refused("checked before anybody reads", agent=Guarded(agent_of(), outputs=[lambda run: None]))
    refused("cannot pause", approve="pause")
    refused("provider/model", voice="gpt-realtime")
    refused("did you mean 'openai'", voice="opnai/gpt-realtime")
    refused("not a realtime model", voice="openai/gpt-5.4")
    refused("no voices of provider 'anthropic'", voice="anthropic/claude-sonnet-4.6")
    with pytest.raises(ToolDefinitionError, match="tell of 'f' is for background"):

        @tool(tell="silent")
        def f() -> str:
            """F."""
            return ""

    with pytest.raises(ToolDefinitionError, match="'when_idle', 'silent' or 'interrupt'"):
        tool(background=True, tell="never")(fast.function)  # type: ignore[call-overload]
    for wrong in ({"wait_s": 0}, {"wait_s": 1000}, {"silences_max": 0}):
        with pytest.raises(ToolDefinitionError):
            stay_silent(**wrong)  # type: ignore[arg-type]


def test_settings_that_a_voice_does_not_take_are_warnings() -> None:
    outcome = hold(OPENAI, agent_of(temperature=0.5), VoiceScript.of([]), saying(("wait", 500)))
    assert [each.feature for each in outcome.run.warnings] == ["temperature"]


def test_mulaw_passes_without_a_change() -> None:
    script = VoiceScript.of([Turn("Hello.")])
    drive = saying(("wait", 3000))

    async def telephone(talk: Talk, caller: Any) -> None:
        caller.is_gone = True
        for _ in range(60):
            talk.listen(bytes([0x10, 0x90] * 80))
            await caller.wait(20)
        for _ in range(60):
            talk.listen(b"\xff" * 160)
            await caller.wait(20)
        await drive(talk, caller)

    outcome = hold(OPENAI, agent_of(), script, telephone, sound=PCMU)
    sent = outcome.sent("session.update")[0]["session"]["audio"]
    assert sent["input"]["format"] == sent["output"]["format"] == {"type": "audio/pcmu"}
    sounds = [event for _, event in outcome.moments if isinstance(event, Audio)]
    assert {len(set(event.data)) for event in sounds} == {2}
    assert outcome.said == ["Hello."]


def test_mulaw_by_table_is_what_the_standard_says() -> None:
    codes = bytes(range(256))
    assert encode_mulaw(decode_mulaw(codes)) == codes.replace(b"\x7f", b"\xff")
    samples = decode_mulaw(b"\x00\x80\xff\x7f")
    assert [int.from_bytes(samples[at : at + 2], "little", signed=True) for at in (0, 2, 4, 6)] == [
        -32124,
        32124,
        0,
        0,
    ]
    assert not AudioFormat("pcmu", 8000).is_loud(b"\xff\x7f" * 40)
    assert AudioFormat("pcmu", 8000).is_loud(b"\x10\x90" * 40)


def test_nothing_but_the_codecs_and_the_tables_names_a_vendor() -> None:
    names = ("openai", "gemini", "google", "vertex", "azure", "xai", "grok", "gpt_live", "gpt-live")
    allowed = {VOICES / "capabilities.py", VOICES / "routes.py", *(VOICES / "codecs").glob("*.py")}
    found: list[str] = []
    for path in sorted([*REALTIME.rglob("*.py"), *VOICES.rglob("*.py")]):
        if path in allowed:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if _has_doc(node)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else getattr(node, "id", "")
            if isinstance(text, str) and text not in docs:
                found += [f"{path.name}: {text!r}" for name in names if name in text.lower()]
    assert found == []


def _has_doc(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds)


def test_importing_it_loads_no_transport_and_no_sound_library() -> None:
    program = (
        "import sys, polycall.realtime\n"
        "print(sorted({'aiohttp', 'numpy', 'soxr', 'sounddevice'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    import polycall.realtime

    for name in polycall.realtime.__all__:
        assert getattr(polycall.realtime, name) is not None
    with pytest.raises(AttributeError):
        _ = polycall.realtime.nothing
