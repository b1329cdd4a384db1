"""The model that `run` and `chat` ask where none is named: `polycall models default`."""

from __future__ import annotations

import os
from pathlib import Path

from polycall.client import Client
from polycall.errors import RequestError

VARIABLE = "POLYCALL_DEFAULT_MODEL"
_CHARACTERS_MAX = 2000


def default_file() -> Path:
    """The file with the default model: in the user's folder for configuration."""
    folder = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(folder) if folder else Path.home() / ".config") / "polycall" / "default_model"
    except RuntimeError as error:  # a user without a home
        raise RequestError(f"{error}; set {VARIABLE} instead") from None


def default_model() -> str:
    """`POLYCALL_DEFAULT_MODEL`, or what was set; empty where neither is."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return named
    try:
        return default_file().read_text("utf-8")[:_CHARACTERS_MAX].strip()
    except (OSError, UnicodeDecodeError, RequestError):
        return ""


def set_default_model(model: str, client: Client) -> None:
    """Keep the model, if it is one here."""
    for each in client.chain(model):
        client.resolve(each)
    path = default_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{model}\n", "utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {str(path)!r}: {error.strerror}") from None


def named_model(words: list[str], option: str | None, client: Client) -> tuple[str, str | None]:
    """The model, and the prompt, from the words of a command and its `-m`.

    Without `-m` the first word is the model where one is meant; else the default answers.
    """
    if option:
        return option, " ".join(words) if words else None
    if len(words) > 1 or (words and _is_model(words[0], client)):
        return words[0], " ".join(words[1:]) if len(words) > 1 else None
    chosen = default_model()
    if not chosen:
        hint = f"{words[0]!r} is no model here, and there" if words else "there"
        raise RequestError(
            f"{hint} is no default model; write the model before the prompt, or choose one with "
            "'polycall models default PROVIDER/MODEL'"
        )
    return chosen, words[0] if words else None


def _is_model(word: str, client: Client) -> bool:
    """Whether a single word names a model; a misspelt one is for `resolve` to explain."""
    if any(letter.isspace() for letter in word.replace(", ", ",").strip()):
        return False
    return "/" in word or word in client.routes
