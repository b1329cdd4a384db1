"""Choosing one of many agents: by a model that hands over, or by a rule that needs none."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from typing_extensions import Unpack

from polycall.agents.agent import Agent
from polycall.agents.checks import listed
from polycall.agents.history import is_users, load_history
from polycall.agents.options import Prompt, ResumeOptions, RunOptions
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentStream, Run
from polycall.agents.spec import Handoff
from polycall.agents.synchronous import Synchronous
from polycall.errors import RequestError
from polycall.ir import Message

AnyAgent: TypeAlias = Agent[Any, Any]
# From the user's words to an agent's name.
Choose: TypeAlias = Callable[[str], str]

_INSTRUCTIONS = """\
You are the first to read what a user wants. Hand the conversation to the one agent whose field \
it is; ask back only where you cannot tell. Do not answer in an agent's place.
The agents:
"""


def triage(
    model: str | Sequence[str],
    agents: Iterable[Handoff | AnyAgent],
    *,
    name: str = "triage",
    instructions: str = "",
    **options: Any,
) -> AnyAgent:
    """An agent that hands over to one of many; their descriptions tell it which.

    Its instructions are the given ones, or a plain rule, and the list of agents.
    """
    handoffs = [each if isinstance(each, Handoff) else Handoff(each) for each in agents]
    lines = [
        f"- {handoff.agent.name}: {handoff.description or handoff.agent.description}"
        for handoff in handoffs
    ]
    reported = instructions or _INSTRUCTIONS
    return Agent(
        model,
        name=name,
        instructions=reported.rstrip() + "\n" + "\n".join(lines),
        handoffs=handoffs,
        **options,
    )


class Router(Synchronous[Any, Any]):
    """Sends each conversation to one of several agents, by a rule and not by a model.

    A conversation stays where it began: a history goes to the agent that it came from.
    """

    def __init__(self, agents: Iterable[AnyAgent], choose: Choose) -> None:
        found = listed(agents, "agents")
        for each in found:
            if not isinstance(each, Agent):
                raise RequestError(f"a Router is of agents, not of {each!r}")
        self.agents: dict[str, AnyAgent] = {agent.name: agent for agent in found}
        if len(self.agents) < len(found):
            raise RequestError("two agents of a Router have one name; give each a name= of its own")
        self._choose = choose

    def __repr__(self) -> str:
        """In a line: between whom it chooses."""
        return f"Router({', '.join(self.agents)})"

    def route(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> AnyAgent:
        """The agent that would answer."""
        frames = load_history(options.get("history") or []).frames
        name = frames[0].agent if frames else self._choose(_words(prompt))
        agent = self.agents.get(name)
        if agent is None:
            known = ", ".join(self.agents)
            raise RequestError(f"the router chose {name!r}, which it does not have; known: {known}")
        return agent

    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> Run[Any]:
        """The run of the agent that was chosen."""
        return await self.route(prompt, **options).run(prompt, **options)

    async def resume(self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]) -> Run[Any]:
        """The run of the agent that has paused."""
        return await self._paused(paused).resume(paused, **options)

    def resume_stream(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> AgentStream[Any]:
        """The events of the agent that has paused."""
        return self._paused(paused).resume_stream(paused, **options)

    def _paused(self, paused: PausedRun) -> AnyAgent:
        agent = self.agents.get(paused.start.agent)
        if agent is None:
            known = ", ".join(self.agents)
            raise RequestError(
                f"the run is of the agent {paused.start.agent!r}, which the router does not have; "
                f"known: {known}"
            )
        return agent

    def stream(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> AgentStream[Any]:
        """The events of the agent that was chosen."""
        return self.route(prompt, **options).stream(prompt, **options)


def by_words(words: Mapping[str, Sequence[str]], *, default: str) -> Choose:
    """A rule for `Router`: the agent most of whose words stand in the text; ties go to the first.

    Words match at the start of a word, so that "refund" finds "refunds" and "환불" finds "환불은".
    """
    patterns = {
        agent: [re.compile(rf"(?<!\w){re.escape(word)}", re.IGNORECASE) for word in each]
        for agent, each in words.items()
    }

    return functools.partial(_by_patterns, patterns, default)


def _by_patterns(patterns: Mapping[str, list[re.Pattern[str]]], default: str, text: str) -> str:
    scores = {
        agent: sum(pattern.search(text) is not None for pattern in each)
        for agent, each in patterns.items()
    }
    best = max(scores, key=lambda agent: scores[agent], default=default)
    return best if scores.get(best) else default


def _words(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    messages = [prompt] if isinstance(prompt, Message) else prompt
    users = [message.text for message in messages if is_users(message)]
    return users[-1] if users else ""
