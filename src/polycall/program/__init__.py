"""Programmatic calling: the model writes a program, and only what that prints returns to it.

programs.py    `Programs`: run_code, what is offered how, pausing; `code_tool`
stubs.py       tools as typed Python stubs; catalogue.py all of them, or a search
nested_calls.py  calls from inside a program, on the one path of all calls
auto.py        direct or by code: the rule and its reasons
report.py      what the model reads of a program; pictures that it shows stay pictures
native.py      programs that run at the provider
records.py     what a run remembers

    async with Sandbox() as sandbox, Programs(tools, sandbox) as programs:
        async for event in programs.run(client, request): ...
"""

from polycall.program.auto import Hints, Seen, Sizes, decide, estimated_tokens
from polycall.program.catalogue import Catalogue
from polycall.program.programs import Bounds, Programs, code_tool, with_result
from polycall.program.records import (
    Calling,
    CallingDecision,
    Form,
    NestedCall,
    Parked,
    PausedProgram,
    PendingCall,
    ProgramRun,
)
from polycall.sandbox import Pause as ResultLater

__all__ = [
    "Bounds",
    "Calling",
    "CallingDecision",
    "Catalogue",
    "Form",
    "Hints",
    "NestedCall",
    "Parked",
    "PausedProgram",
    "PendingCall",
    "ProgramRun",
    "Programs",
    "ResultLater",
    "Seen",
    "Sizes",
    "code_tool",
    "decide",
    "estimated_tokens",
    "with_result",
]
