"""The agents that `bench.append` plays, and what their model does."""

from __future__ import annotations

import random
from typing import Any

from polycall import Client, Limits, tool
from polycall.agents import Agent, Compaction, Handoff, Memory, ToolTree, WrittenTools
from polycall.ir import ToolChoice
from polycall.sandbox import Sandbox
from polycall.sim import Call, Failure, Turn

MODEL = "claude-fable-5-2"
OTHER = "claude-opus-5-5"
AGENTS = (
    *("plain", "tree", "written", "memory", "handoff", "delegate", "programs", "compaction"),
    *("fallback", "edited", "instructions", "mixed", "session"),
)
# Kinds that are no agents: tool choices that change, and answers that the gateway stores.
KINDS = (*AGENTS, "choices", "stored")
HEAD = "Answer in the tone of the house: short, exact, friendly. " * 500
PARTS = {
    "mixed": ("tree", "written", "memory", "handoff", "delegate", "compaction", "instructions")
}
_CODE = "def {name}(x: int) -> int:\n    return x * {number}\n"
_PROGRAM = 'found = [await both(city=city) for city in ("Rome", "Oslo")]\nprint(found[{number}])'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fair in {city}, 12 degrees"


def mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


def both(city: str) -> str:
    """Look a city up, by call or by program."""
    return f"{city}: 12 degrees"


class Trace:
    """One random agent, and what its model does in its runs."""

    def __init__(
        self,
        seed: int,
        kind: str,
        model: str,
        *,
        steps: int,
        sandbox: Sandbox | None,
        alias: str = "",
    ) -> None:
        self.random = random.Random(seed)
        self.kind = kind
        self.parts = PARTS.get(kind, (kind,))
        self.model = model
        if kind == "fallback":
            # By a route of the gateway's; in the library by the client's own chain.
            self.model = alias or f"{model},{model.replace(MODEL, OTHER)}"
        self.number = seed
        self.steps = steps
        self._sandbox = sandbox
        self._opened: set[str] = set()
        self._written = 0
        self._mood = 0
        self._said = 0
        self._speaker = "first"

    def has(self, part: str) -> bool:
        """Whether the agent has this part."""
        return part in self.parts

    def instructions(self, _: Any) -> str:
        """Words that change now and then."""
        self._mood += self.random.random() < 0.1
        return f"{HEAD}Agent {self.number}. Mood {self._mood}."

    def agent(self, client: Client) -> Agent[Any]:
        """The agent of this kind."""
        more: dict[str, Any] = {}
        tools: list[Any] = [add, weather]
        if self.has("tree"):
            branches = {"math": {"add": add}, "world": {"weather": weather, "mail": mail}}
            tools = [ToolTree(branches)]
        if self.has("written") and self._sandbox is not None:
            tools.append(WrittenTools(self._sandbox))
        if self.has("memory"):
            memory = Memory()
            memory.add("the user likes tea", scope="user:u")
            more["memory"] = memory
        if self.has("handoff"):
            words = "You are the other."
            other = Agent(self.model, name="other", instructions=words, tools=[mail])
            more["handoffs"] = [Handoff(other)]
        if self.has("delegate"):
            tools.append(Agent(self.model, name="below", instructions="You look things up."))
        if self.has("programs") and self._sandbox is not None:
            more["sandbox"] = self._sandbox
            more["calling"] = self.random.choice(["auto", "code"])
            tools = [add, tool(allowed_callers=["direct", "code"])(both)]
        if self.model.endswith("/both"):
            more["cache"] = True  # of the gateway's names the client knows nothing
        if self.has("compaction"):
            more["compaction"] = Compaction(tokens_max=7_500 if self.kind != "mixed" else 9_500)
        return Agent(
            self.model,
            name="first",
            instructions=(
                self.instructions if self.has("instructions") else f"{HEAD}Agent {self.number}."
            ),
            tools=tools,
            client=client,
            limits=Limits(steps=self.steps + 8),
            **more,
        )

    def run(self) -> list[Turn]:
        """The model's turns of one run."""
        count = self.random.randrange(self.steps // 2, self.steps)
        turns = [turn for _ in range(count) for turn in self._turn()]
        return [*turns, Turn(reasoning="end", text=self.words())]

    def scripts(self) -> dict[str, list[Turn]]:
        """The turns by model: where the first one fails, the other answers."""
        turns = self.run()
        found: dict[str, list[Turn]] = {MODEL: [], OTHER: []}
        for turn in turns:
            fails = self.kind == "fallback" and self.random.random() < 0.1
            if fails:
                found[MODEL].append(Turn(error=Failure(503, "no room for now")))
            found[OTHER if fails else MODEL].append(turn)
        return {name: each for name, each in found.items() if each}

    def choices(self) -> list[tuple[ToolChoice | None, Turn]]:
        """Tool choices that change, each with the model's answer."""
        arguments = {"add": {"a": 1, "b": 2}, "weather": {"city": "Rome"}, "mail": {"to": "ann"}}
        found: list[tuple[ToolChoice | None, Turn]] = []
        for _ in range(self.random.randrange(self.steps // 2, self.steps)):
            names = self.random.sample(list(arguments), self.random.randrange(1, 4))
            kind = self.random.choice(["none", "auto", "some", "some"])
            if kind == "none":
                turn = Turn(reasoning=self.thought(), text=self.words())
                found.append((ToolChoice("none"), turn))
                continue
            turn = Turn(reasoning=self.thought(), calls=[Call(names[0], arguments[names[0]])])
            found.append((ToolChoice("auto", names) if kind == "some" else None, turn))
        return found

    def words(self) -> str:
        """A text that no other answer has."""
        self._said += 1
        return f"done {self.number}.{self._said}"

    def thought(self) -> str | None:
        """What is thought, nine times out of ten."""
        chance = self.random.random()
        return f"thought {chance:.6f} of what to do next" if chance < 0.9 else None

    def _turn(self) -> list[Turn]:
        """The next turn, and those of an agent below it."""
        chance = self.random
        part = chance.choice(self.parts)
        if self._speaker == "other":
            part = "handoff"  # its tools alone
        calls = [Call("add", {"a": 1, "b": chance.randrange(9)})]
        if self.kind not in ("tree", "mixed", "written", "programs", "delegate"):
            city = chance.choice(["Rome", "서울", "São Paulo"])
            if self._speaker == "first" and chance.random() < 0.5:
                calls.append(Call("weather", {"city": city}))
        if self.has("tree") and self._speaker == "first":
            calls = self._in_tree()
        match part:
            case "written" if chance.random() < 0.25 and self._sandbox is not None:
                calls = self._write()
            case "memory" if chance.random() < 0.3:
                calls = [Call("add_to_memory", {"text": f"fact {chance.randrange(99)}"})]
            case "handoff" if chance.random() < 0.2:
                here = self._speaker
                self._speaker = "other" if here == "first" else "first"
                name = "transfer_to_other" if here == "first" else "return_to_first"
                calls = [Call(name, {"reason": "it is theirs"})]
            case "handoff" if self._speaker == "other":
                calls = [Call("mail", {"to": "ann"})]
            case "delegate" if chance.random() < 0.3:
                calls = [Call("below", {"task": "look it up"})]
                return [
                    Turn(reasoning=self.thought(), calls=calls),
                    Turn(reasoning="below", text=self.words()),
                ]
            case "programs" if self._sandbox is not None:
                calls = [Call("both", {"city": "Rome"}) for _ in range(chance.randrange(1, 4))]
                if chance.random() < 0.5:
                    code = _PROGRAM.format(number=chance.randrange(2))
                    calls = [Call("run_code", {"code": code})]
            case _:
                pass
        return [Turn(reasoning=self.thought(), calls=calls)]

    def _in_tree(self) -> list[Call]:
        names = {"math": "math__add", "world": "world__weather"}
        place = self.random.choice(list(names))
        if place not in self._opened:
            self._opened.add(place)
            return [Call("open_namespace", {"namespace": place})]
        arguments: Any = {"math": {"a": 1, "b": 2}, "world": {"city": "Rome"}}[place]
        return [Call(names[place], arguments)]

    def _write(self) -> list[Call]:
        self._written += 1
        name = f"times_{self._written}"
        code = _CODE.format(name=name, number=self._written)
        tests = f"assert {name}(2) == {2 * self._written}"
        return [Call("add_tool", {"name": name, "code": code, "tests": tests})]
