"""A task of ten steps for a coding agent, and the simulated model that has the agent do it.

The model uses each agent's own tools: it searches, reads, writes, edits three times, looks at a
picture, runs commands, and prints so much that the agent compacts its conversation half-way.  It
checks before each step that the result of the step before has reached it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from polycall.sim import Call, Failure, Prompt, Turn
from polycall.sim.script import Returned, Said

FINAL = "All of it is done."
SUMMARY = "SUMMARY-7: notes.txt is written and mended; the picture is red; go on at step 7."
FILLER = "cat much.txt && echo END-OF-IT"


class Step(NamedTuple):
    """A call, and what of its result has to reach the model."""

    call: Call
    wants: str


class Tools(NamedTuple):
    """An agent's own tools: each makes a call."""

    search: Callable[[str], Call]
    read: Callable[[Path], Call]
    write: Callable[[Path, str], Call]
    edit: Callable[[Path, str, str], Call]
    look: Callable[[Path], Call] | None
    shell: Callable[[str], Call]


def _codex_patch(path: Path, old: str, new: str) -> Call:
    patch = f"*** Begin Patch\n*** Update File: {path.name}\n@@\n-{old}\n+{new}\n*** End Patch"
    return Call("apply_patch", {"input": patch})


def _codex_add(path: Path, text: str) -> Call:
    added = "\n".join(f"+{line}" for line in text.splitlines())
    patch = f"*** Begin Patch\n*** Add File: {path.name}\n{added}\n*** End Patch"
    return Call("apply_patch", {"input": patch})


def _shell(name: str, **more: Any) -> Callable[[str], Call]:
    return lambda words: Call(name, {"command": words, **more})


def _grep(shell: Callable[[str], Call]) -> Callable[[str], Call]:
    return lambda words: shell(f"grep -rn {words} .")


def _written(name: str, path_name: str) -> Callable[[Path, str], Call]:
    return lambda path, text: Call(name, {path_name: str(path), "content": text})


def _edited(
    name: str, path_name: str, old_name: str, new_name: str, **more: Any
) -> Callable[[Path, str, str], Call]:
    return lambda path, old, new: Call(
        name, {path_name: str(path), old_name: old, new_name: new, **more}
    )


def _opened(name: str, path_name: str) -> Callable[[Path], Call]:
    return lambda path: Call(name, {path_name: str(path)})


def _cline_read(path: Path) -> Call:
    return Call(
        "read_files", {"files": [{"path": str(path), "start_line": None, "end_line": None}]}
    )


_CLAUDE_SHELL = _shell("Bash", description="do it")
TOOLS: dict[str, Tools] = {
    "claude-code": Tools(
        _grep(_CLAUDE_SHELL),
        _opened("Read", "file_path"),
        _written("Write", "file_path"),
        _edited("Edit", "file_path", "old_string", "new_string"),
        _opened("Read", "file_path"),
        _CLAUDE_SHELL,
    ),
    "codex": Tools(
        lambda words: Call("exec_command", {"cmd": f"grep -rn {words} ."}),
        lambda path: Call("exec_command", {"cmd": f"cat {path}"}),
        _codex_add,
        _codex_patch,
        _opened("view_image", "path"),
        lambda words: Call("exec_command", {"cmd": words, "max_output_tokens": 20_000}),
    ),
    "gemini": Tools(
        lambda words: Call("grep_search", {"pattern": words}),
        _opened("read_file", "file_path"),
        _written("write_file", "file_path"),
        _edited("replace", "file_path", "old_string", "new_string", instruction="mend it"),
        _opened("read_file", "file_path"),
        _shell("run_shell_command"),
    ),
    "opencode": Tools(  # its own search downloads ripgrep
        _grep(_shell("bash", description="do it")),
        _opened("read", "filePath"),
        _written("write", "filePath"),
        _edited("edit", "filePath", "oldString", "newString"),
        _opened("read", "filePath"),
        _shell("bash", description="do it"),
    ),
    "qwen-code": Tools(
        lambda words: Call("grep_search", {"pattern": words}),
        _opened("read_file", "file_path"),
        _written("write_file", "file_path"),
        _edited("edit", "file_path", "old_string", "new_string"),
        _opened("read_file", "file_path"),
        _shell("run_shell_command", is_background=False),
    ),
    "cline": Tools(
        lambda words: Call("search_codebase", {"queries": [words]}),
        _cline_read,
        lambda path, text: Call("editor", {"path": str(path), "new_text": text}),
        _edited("editor", "path", "old_text", "new_text"),
        _cline_read,
        lambda words: Call("run_commands", {"commands": [words]}),
    ),
    "pi": Tools(
        _grep(_shell("bash")),
        _opened("read", "path"),
        _written("write", "path"),
        lambda path, old, new: Call(
            "edit", {"path": str(path), "edits": [{"oldText": old, "newText": new}]}
        ),
        _opened("read", "path"),
        _shell("bash"),
    ),
    "continue": Tools(
        _grep(_shell("Bash")),
        _opened("Read", "filepath"),
        _written("Write", "filepath"),
        _edited("Edit", "file_path", "old_string", "new_string"),
        None,  # its command line reads no pictures
        _shell("Bash"),
    ),
}


def steps(agent: str, work: Path) -> list[Step]:
    """The ten steps."""
    tools = TOOLS[agent]
    notes, picture = work / "notes.txt", work / "red.png"
    look = (
        Step(tools.look(picture), "")
        if tools.look is not None
        else Step(tools.shell("wc -c red.png"), "red.png")
    )
    return [
        Step(tools.search("NEEDLE"), "NEEDLE"),
        Step(tools.read(work / "seed.txt"), "바늘"),
        Step(tools.write(notes, "one 안녕\nend\n"), ""),
        Step(tools.read(notes), "one 안녕"),
        Step(tools.edit(notes, "one 안녕", "two 안녕"), ""),
        look,
        Step(tools.shell(FILLER), "END-OF-IT"),
        Step(tools.read(notes), "two 안녕"),
        Step(tools.edit(notes, "two 안녕", "three 안녕"), ""),
        Step(tools.shell("cat notes.txt && cp notes.txt out.txt"), "three 안녕"),
    ]


def prepare(work: Path) -> None:
    """What stands in the folder before."""
    (work / "seed.txt").write_text("a NEEDLE, 바늘\n", "utf-8")
    (work / "red.png").write_bytes(picture())
    lines = [f"line {number} of much output, 가나다\n" for number in range(1, 701)]
    (work / "much.txt").write_text("".join(lines), "utf-8")


def picture() -> bytes:
    """A red square as PNG."""
    side = 64
    rows = b"".join(b"\0" + b"\xff\0\0" * side for _ in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


_COMPACTED = "Earlier context was compacted"
_COMPACTS = re.compile(r"summar|compact|snapshot|checkpoint|condens", re.IGNORECASE)


class Model:
    """Has an agent do the steps.  `faults` is what did not reach it."""

    def __init__(
        self, steps: list[Step], *, pauses_after: int = 0, overflows_after: int = 0
    ) -> None:
        """`pauses_after` is after which step it waits for the user's next words, and
        `overflows_after` after which it says once that the conversation is too long for it."""
        self._steps = steps
        self._pauses_after = pauses_after
        self._overflows_after = overflows_after
        self.made = 0
        self.compactions: list[int] = []  # before which step each was asked
        self.carried_on = False  # a summary came back in a later request
        self.faults: list[str] = []

    def __call__(self, prompt: Prompt) -> Turn:
        """The turn for one request."""
        offered = {tool.name for tool in prompt.tools}
        if self._is_summary(prompt, offered):
            self.compactions.append(self.made)
            return Turn(f"<state_snapshot><summary>{SUMMARY}</summary></state_snapshot>")
        said = "\n".join(each.text for each in prompt.entries if isinstance(each, Said))
        if _COMPACTED in said and not self.compactions:  # by the agent itself
            self.compactions.append(self.made)
        self.carried_on = self.carried_on or SUMMARY in said or _COMPACTED in said
        if self.made:
            self._check(prompt)
        if self.made == len(self._steps):
            return Turn(FINAL)
        if self.made and self.made == self._pauses_after:
            self._pauses_after = 0
            return Turn("Half of it is done.")
        if self.made and self.made == self._overflows_after:
            self._overflows_after = 0
            return Turn(error=Failure(400, "prompt is too long: 210000 tokens > 200000 maximum"))
        step = self._steps[self.made]
        if step.call.name not in offered:
            self.faults.append(f"no tool {step.call.name} among {sorted(offered)}")
        self.made += 1
        return Turn(f"Step {self.made}.", calls=[step.call])

    def _is_summary(self, prompt: Prompt, offered: set[str]) -> bool:
        if not offered:
            return True
        last = prompt.entries[-1]
        return (
            isinstance(last, Said)
            and bool(_COMPACTS.search(last.text))
            and self.made > 0
            and (SUMMARY not in last.text and _COMPACTED not in last.text)
        )

    def _check(self, prompt: Prompt) -> None:
        wants = self._steps[self.made - 1].wants
        results = [each.text for each in prompt.entries if isinstance(each, Returned)]
        found = any(wants in text for text in results)
        if not found and not (self.compactions and self.compactions[-1] == self.made):
            self.faults.append(f"step {self.made}: {wants!r} is not in {results[-1:]!r}"[:600])
