"""Which tools a model is offered directly and which through programs, and why."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import ToolDefinitionError
from polycall.ir import Request, Tool
from polycall.program.auto import Hints, Seen, Sizes, decide, estimated_tokens
from polycall.program.native import Native
from polycall.program.records import Calling, CallingDecision, Form
from polycall.tools import AbstractToolset
from polycall.tools.toolset import AnyTool

# Rules that no later step of a run can change.
_SETTLED = ("asked", "no_code", "code_only", "native")
# After so many answers with calls, the model is likely to come back for more.
_STEPS_MIN = 2


def callers_of(tool: AnyTool) -> set[str]:
    """The allowed callers of a tool; without any named, the model alone."""
    return set(tool.allowed_callers or ("direct",))


def opened_to_programs(toolset: AbstractToolset, overrides: Mapping[str, Form]) -> list[AnyTool]:
    """The tools of programs.  An override chooses among what a tool allows, and opens nothing."""
    for name, form in overrides.items():
        if form not in callers_of(toolset[name]):
            raise ToolDefinitionError(
                f"{name!r} cannot be offered as {form!r}: its allowed_callers do not have it"
            )
    return [
        tool
        for tool in toolset
        if "code" in callers_of(tool) and overrides.get(tool.name) != "direct"
    ]


class Offer:
    """Decides before each step, and remembers its reasons in `decisions`."""

    def __init__(
        self,
        toolset: AbstractToolset,
        opened: Mapping[str, AnyTool],
        code_tool: Tool,
        *,
        calling: Calling,
        hints: Hints,
        overrides: Mapping[str, Form],
        seen: Seen,
        native: Native | None,
    ) -> None:
        self.calling = calling
        self.native = native
        self.decisions: list[CallingDecision] = []
        self._toolset = toolset
        self._opened = opened
        self._code_tool = code_tool
        self._hints = hints
        self._overrides = dict(overrides)
        self._seen = seen

    def tools(self, decision: CallingDecision) -> list[Tool]:
        """The tools as the model is to see them."""
        if decision.rule == "native":
            assert self.native is not None
            return self.native.tools(self._toolset)
        direct = [_plain(tool) for tool in self._toolset if self._is_direct(tool, decision.form)]
        has_own = any(
            callers_of(tool) == {"code"} or self._overrides.get(name) == "code"
            for name, tool in self._opened.items()
        )
        has_code = bool(self._opened) and self.calling != "direct"
        wants_code = decision.form == "code" or has_own
        return [*direct, self._code_tool] if has_code and wants_code else direct

    def everything(self) -> list[Tool]:
        """The tools of all decisions together, but for the vendor's own."""
        direct = [_plain(tool) for tool in self._toolset if self._is_direct(tool, "direct")]
        has_code = bool(self._opened) and self.calling != "direct"
        return [*direct, self._code_tool] if has_code else direct

    def decide(self, request: Request, steps: int, parked_bytes: int = 0) -> CallingDecision:
        """The decision for the next step.  A run changes its form seldom, and for a reason."""
        last = self.decisions[-1] if self.decisions else None
        if last is not None and last.rule in _SETTLED:
            return last
        fresh = self._fresh(request, parked_bytes)
        if last is None or (last.form != fresh.form and _may_change(last, fresh, steps)):
            self.decisions.append(replace(fresh, overrides=self._overrides))
        return self.decisions[-1]

    def _is_direct(self, tool: AnyTool, form: Form) -> bool:
        if "direct" not in callers_of(tool) or self._overrides.get(tool.name) == "code":
            return False
        return form == "direct" or tool.name not in self._opened

    def _fresh(self, request: Request, parked_bytes: int) -> CallingDecision:
        if self.calling == "direct":
            return CallingDecision("direct", "asked", "direct calling was asked for")
        if not self._opened:
            return CallingDecision("direct", "no_code", "no tool is open to programs")
        reason = ""
        if self.native is not None:
            definitions = [tool.definition for tool in self._opened.values()]
            reason = self.native.why_not(request, definitions)
            if not reason:
                words = f"the vendor of {self.native.dialect!r} runs the programs"
                return CallingDecision("code", "native", words)
        note = f"; not by the vendor: {reason}" if reason else ""
        if self.calling == "code":
            return CallingDecision("code", "asked", f"programs were asked for{note}")
        both = [tool for tool in self._opened.values() if "direct" in callers_of(tool)]
        if not both:
            return CallingDecision("code", "code_only", f"the tools are for programs alone{note}")
        if parked_bytes:
            reason = f"a result of {parked_bytes} bytes was put into the session{note}"
            return CallingDecision("code", "parked", reason)
        sizes = Sizes(
            direct=estimated_tokens(jsontext.encode([_plain(tool) for tool in both])),
            code=estimated_tokens(jsontext.encode(self._code_tool)),
            prompt=estimated_tokens(jsontext.encode(request.messages)),
        )
        return decide(sizes, self._hints, self._seen, model=request.model)


def _may_change(last: CallingDecision, fresh: CallingDecision, steps: int) -> bool:
    # Another list of tools costs the prompt cache.
    if last.form == "direct":
        return fresh.rule == "parked" or steps >= _STEPS_MIN
    return fresh.rule == "ability"


def _plain(tool: AnyTool) -> Tool:
    """The definition without what concerns programs, which no provider needs to hear of."""
    return replace(tool.definition, allowed_callers=[], output_schema=None)
