"""`polycall completion`: a script that completes commands and options in bash, zsh or fish.

The script is made from the parsers of all commands, so it offers what they accept.  It starts no
Python while it completes.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

PLACES = {
    "bash": "~/.local/share/bash-completion/completions/polycall",
    "zsh": "~/.zfunc/_polycall",
    "fish": "~/.config/fish/completions/polycall.fish",
}


class Option(Struct, frozen=True):
    """One option of a command.  `values` are its choices; `is_file`: it takes a path."""

    names: tuple[str, ...]
    about: str
    takes_value: bool
    values: tuple[str, ...] = ()
    is_file: bool = False


class Command(Struct, frozen=True):
    """One command or action by its words, such as `keys create`; the root is `""`.

    `words` are what may follow: actions, or choices of an argument.  `runs_another`: the rest of
    the line is a command of its own.
    """

    path: str
    options: list[Option]
    words: list[tuple[str, str]]
    actions: frozenset[str] = frozenset()
    runs_another: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Print a script that completes commands, actions, options and their values. Write it "
        "where your shell finds it: "
        + "; ".join(f"{shell}: {place}" for shell, place in PLACES.items())
        + ". zsh needs that folder in fpath."
    )
    parser.epilog = f"Example: polycall completion bash > {PLACES['bash']}"
    parser.add_argument("shell", choices=list(PLACES), help="whose script to print")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    print(script(options.shell), end="")
    return 0


def script(shell: str) -> str:
    """The whole script for `bash`, `zsh` or `fish`."""
    from polycall.cli import COMMANDS, command_parser  # noqa: PLC0415 - it imports this module

    commands = list(_commands(command_parser(COMMANDS), ""))
    return _SCRIPTS[shell](commands)


def _commands(parser: argparse.ArgumentParser, path: str) -> Iterator[Command]:
    """The parser's command, then those of its actions."""
    options: list[Option] = []
    words: list[tuple[str, str]] = []
    inner: dict[str, argparse.ArgumentParser] = {}
    runs_another = False
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage] - argparse has no other list
        if action.option_strings:
            options.append(_option(action))
        elif isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            inner = dict(action.choices)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            words += [(each.dest, _line(each.help)) for each in action._choices_actions]  # pyright: ignore[reportPrivateUsage]
        else:
            words += [(str(each), "") for each in action.choices or ()]
            runs_another |= action.nargs == argparse.REMAINDER
    yield Command(path, options, words, frozenset(inner), runs_another)
    for name, each in inner.items():
        yield from _commands(each, f"{path} {name}".strip())


def _option(action: argparse.Action) -> Option:
    return Option(
        names=tuple(action.option_strings),
        about=_line(action.help),
        takes_value=action.nargs != 0,
        values=tuple(str(each) for each in action.choices or ()),
        is_file=action.type is Path,
    )


def _filled(shell: str, **parts: list[str] | str) -> str:
    """The shell's script, with lines and words where `<<name>>` stands for them."""
    script = (files("polycall.cli") / "shells" / f"polycall.{shell}").read_text(encoding="utf-8")
    for name, part in parts.items():
        if isinstance(part, str):
            script = script.replace(f"<<{name}>>", part)
        else:
            script = script.replace(f"<<{name}>>\n", "".join(f"{line}\n" for line in part))
    return script


def _line(text: str | None) -> str:
    """A help text on one line, without argparse's `%%`."""
    return " ".join((text or "").replace("%%", "%").split())


def _key(path: str, word: str) -> str:
    return shlex.quote(f"{path} {word}".strip())


def _steps(commands: list[Command], line: Callable[[str, str], str]) -> list[str]:
    """The cases that follow the words of a line: `line(pattern, assignments)` for each."""
    lines: list[str] = []
    for command in commands:
        for name in sorted(command.actions):
            path = f"{command.path} {name}".strip()
            lines.append(line(_key(command.path, name), f"path={shlex.quote(path)}"))
        for option in command.options:
            if option.takes_value:
                lines += [line(_key(command.path, n), 'option="$word"') for n in option.names]
    return lines


def _bash(commands: list[Command]) -> str:
    steps = _steps(commands, lambda pattern, act: f"            {pattern}) {act} ;;")
    values = [
        f"            {_key(command.path, name)}) offered={shlex.quote(' '.join(option.values))} ;;"
        for command in commands
        for option in command.options
        if option.values
        for name in option.names
    ]
    options = [
        f"            {shlex.quote(command.path)}) offered="
        f"{shlex.quote(' '.join(name for option in command.options for name in option.names))} ;;"
        for command in commands
    ]
    words = [
        f"            {shlex.quote(command.path)}) offered="
        f"{shlex.quote(' '.join(word for word, _ in command.words))} ;;"
        for command in commands
        if command.words
    ]
    another = "|".join(shlex.quote(each.path) for each in commands if each.runs_another)
    # A word that none of these knows: nothing after it can be offered.
    closed = "|".join(
        shlex.quote(each.path) for each in commands if each.runs_another or each.actions
    )
    return _filled(
        "bash",
        steps=steps,
        values=values,
        options=options,
        words=words,
        closed=closed,
        another=another,
    )


def _zsh_list(entries: list[tuple[str, str]]) -> str:
    """Words with what they are, as `_describe` takes them."""
    escaped = [word.replace(":", "\\:") + (f":{about}" if about else "") for word, about in entries]
    return " ".join(map(shlex.quote, escaped))


def _zsh(commands: list[Command]) -> str:
    steps = _steps(commands, lambda pattern, act: f"            ({pattern}) {act} ;;")
    steps = [step.replace("path=", "at=") for step in steps]
    values: list[str] = []
    options: list[str] = []
    words: list[str] = []
    for command in commands:
        at = shlex.quote(command.path)
        for option in command.options:
            if option.values:
                listed = _zsh_list([(value, "") for value in option.values])
                values += [
                    f"            ({_key(command.path, name)}) offered=({listed}) ;;"
                    for name in option.names
                ]
        named = [(name, option.about) for option in command.options for name in option.names]
        options.append(f"            ({at}) offered=({_zsh_list(named)}) ;;")
        if command.words:
            words.append(f"            ({at}) offered=({_zsh_list(command.words)}) ;;")
    another = "|".join(shlex.quote(command.path) for command in commands if command.runs_another)
    return _filled("zsh", steps=steps, values=values, options=options, words=words, another=another)


def _fish_option(command: Command, option: Option) -> str:
    words = ["complete -c polycall", f"-n {_fish_at(command.path)}"]
    for name in option.names:
        words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
    if option.values:
        words.append(f"-x -a {_fish_text(' '.join(option.values))}")
    elif option.takes_value:
        words.append("-r -F" if option.is_file else "-r")
    return " ".join([*words, f"-d {_fish_text(option.about)}"])


def _fish_at(path: str) -> str:
    return _fish_text(f"__polycall_at '{path}'")


def _fish_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _fish(commands: list[Command]) -> str:
    steps: list[str] = []
    for command in commands:
        for name in sorted(command.actions):
            path = f"{command.path} {name}".strip()
            steps.append(f"            case {_key(command.path, name)}; set at {shlex.quote(path)}")
        for option in command.options:
            if option.takes_value:
                keys = " ".join(_key(command.path, name) for name in option.names)
                steps.append(f"            case {keys}; set option $word")
    lines = [_fish_option(command, option) for command in commands for option in command.options]
    lines += [
        f"complete -c polycall -f -n {_fish_at(command.path)} -a {word}"
        + (f" -d {_fish_text(about)}" if about else "")
        for command in commands
        for word, about in command.words
    ]
    lines += [
        f"complete -c polycall -n {_fish_at(command.path)} -a '(__fish_complete_subcommand)'"
        for command in commands
        if command.runs_another
    ]
    return _filled("fish", steps=steps, lines=lines)


_SCRIPTS: dict[str, Callable[[list[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
