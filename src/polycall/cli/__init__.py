"""The command line.  `main` finds the command; each has a module of its own, loaded on use."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
from collections.abc import Container, Iterable, Sequence

from polycall.cli.text import cleaned
from polycall.errors import PolycallError

# Names, each with its line of help.  The module of the same name has `add_arguments`.
COMMANDS = {
    "demo": "the tool cycle through every vendor's protocol, offline",
    "run": "one prompt, with tools, to its answer",
    "chat": "a conversation in the terminal",
    "talk": "a conversation by voice: a microphone, or WAV files",
    "phone": "an agent that answers telephone calls",
    "log": "conversations of run and chat: list, search, show, delete",
    "models": "known models with their capabilities and prices",
    "serve": "the gateway: every client protocol in, every provider out",
    "agents": "settings for coding agents, filled in for this gateway",
    "import": "a polycall.toml from LiteLLM's or Portkey's configuration",
    "config": "the JSON Schema of polycall.toml; check a file",
    "keys": "clients' keys: create, limit, rotate, revoke",
    "admins": "administrators of the gateway: create, key, list, revoke, audit",
    "console": "a link that opens the gateway's console, once",
    "usage": "what was used and what it cost, from the gateway's ledger",
    "runs": "durable runs: list, show, decide, resume, cancel, save",
    "trace": "a run as one file: look at it, continue from a step, compare two",
    "tasks": "background tasks of durable runs: list, show, resume, cancel",
    "mcp": "serve tools by MCP; list other servers' tools, and pin them",
    "doctor": "what this machine offers, what is missing, and what would help",
    "run-code": "run a program in the sandbox, with functions of yours as tools",
    "completion": "completion of commands and options in your shell",
    "bench": "what programs save in tokens, and how well a model does with them",
    "sim": "simulated providers on this machine: for a command, or as a server",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 for success, 1 for failure, 2 for misuse.

    What it prints is cleaned of control characters, wherever it came from.
    """
    _open_streams()
    with cleaned(for_good=arguments is None):
        return _main(arguments)


def _open_streams() -> None:
    """Make both streams fit for any text, before something is put around them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called, as with `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Output that can hold ASCII alone shows the rest as escapes, and does not fail.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def command_parser(loaded: Container[str]) -> argparse.ArgumentParser:
    """The parser of the whole command line; of the commands, those in `loaded` are complete."""
    return _parsers(loaded)[0]


def _parsers(
    loaded: Container[str],
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of its commands."""
    parser = argparse.ArgumentParser(
        prog="polycall",
        description="Call tools through any language model.",
        epilog="polycall COMMAND --help says more.  Example: polycall demo",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        command = subparsers.add_parser(name, help=help_text, add_help=name in loaded)
        if name in loaded:
            module = "import_" if name == "import" else name.replace("-", "_")
            importlib.import_module(f"polycall.cli.{module}").add_arguments(command)
    return parser, subparsers.choices


def _main(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    chosen = words[0] if words else ""
    parser, commands = _parsers({chosen})
    if chosen not in commands and _is_word(chosen) and chosen:
        parser.error(f"no command is called {chosen!r}{_meant(chosen, ['help', *commands])}")
    namespace, more = parser.parse_known_args(words)
    if more and not (hasattr(namespace, "words") and all(_is_word(each) for each in more)):
        own = commands.get(chosen, parser)
        wrong = next((each for each in more if not _is_word(each)), more[0])
        known = re.findall(r"--[a-z-]+", own.format_help())
        own.error(f"unrecognized arguments: {' '.join(more)}{_meant(wrong, known)}")
    if more:
        # A prompt may stand after options as well.
        namespace.words = [*namespace.words, *more]
    if namespace.version:
        from importlib.metadata import version  # noqa: PLC0415 - 10 ms that only this needs

        print(f"polycall {version('polycall')}")
        return 0
    run = getattr(namespace, "run", None)
    if run is None:
        command_parser(()).print_help()
        return 2
    try:
        return run(namespace)
    except PolycallError as error:
        print(f"polycall {chosen}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:  # of an extra that is not installed
        print(f"polycall {chosen}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Our output's reader has left (`| head`); the interpreter must not find that out again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _meant(name: str, names: Iterable[str]) -> str:
    from polycall.tools.problems import near_miss  # noqa: PLC0415 - for mistakes alone

    return near_miss(name.partition("=")[0], names)


def _is_word(argument: str) -> bool:
    return argument == "-" or not argument.startswith("-")
