"""The settings of coding agents for one gateway, as data; docs/coding-agents.md is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct


class Gateway(Struct, frozen=True):
    """What the settings are filled in with.  `key` is a variable (`$NAME`) or the key itself."""

    url: str = "http://127.0.0.1:8080"  # without a path
    key: str = "$POLYCALL_KEY"
    model: str = "anthropic/claude-sonnet-4-6"
    small: str = "anthropic/claude-haiku-4-5"

    @property
    def v1(self) -> str:
        """The address as OpenAI's clients take it."""
        return f"{self.url}/v1"


class File(Struct, frozen=True):
    """A file to write, or to add to."""

    path: str
    language: str
    text: str


class Settings(Struct, frozen=True):
    """The settings of one agent: files, variables of the environment, and how it is then run."""

    files: list[File] = []
    environment: dict[str, str] = {}
    command: str = ""
    notes: list[str] = []


class CodingAgent(Struct, frozen=True):
    """One agent.  `package` is what was looked at, `source` where its settings are described."""

    name: str
    title: str
    protocol: str
    package: str
    source: str
    make: Callable[[Gateway], Settings]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _claude_code(gateway: Gateway) -> Settings:
    variables = {
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_AUTH_TOKEN": gateway.key,
        "ANTHROPIC_MODEL": gateway.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": gateway.small,
    }
    notes = [
        "Its own names work unchanged where the gateway has aliases for them; then leave both "
        "models out (see below).",
        "`ANTHROPIC_API_KEY` must not be set as well.",
    ]
    return Settings(environment=variables, command="claude", notes=notes)


def _codex(gateway: Gateway) -> Settings:
    text = (
        f'model = "{gateway.model}"\nmodel_provider = "polycall"\n\n'
        f'[model_providers.polycall]\nname = "polycall"\nbase_url = "{gateway.v1}"\n'
        'env_key = "POLYCALL_KEY"\nwire_api = "responses"\n'
    )
    return Settings(
        [File("~/.codex/config.toml", "toml", text.rstrip())],
        {"POLYCALL_KEY": gateway.key},
        "codex",
        ["It warns that it does not know the model, and works with its defaults."],
    )


def _gemini(gateway: Gateway) -> Settings:
    text = _json({"security": {"auth": {"selectedType": "gemini-api-key"}}})
    variables = {"GEMINI_API_KEY": gateway.key, "GOOGLE_GEMINI_BASE_URL": gateway.url}
    return Settings(
        [File("~/.gemini/settings.json", "json", text)], variables, f"gemini -m {gateway.model}"
    )


def _opencode(gateway: Gateway) -> Settings:
    provider: dict[str, Any] = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": gateway.v1, "apiKey": "{env:POLYCALL_KEY}"},
        "models": {gateway.model: {}, gateway.small: {}},
    }
    settings: dict[str, Any] = {
        "provider": {"polycall": provider},
        "model": f"polycall/{gateway.model}",
        "small_model": f"polycall/{gateway.small}",
    }
    return Settings(
        [File("opencode.json", "json", _json(settings))],
        {"POLYCALL_KEY": gateway.key},
        "opencode",
        ["The small model writes titles; without one the same model is asked."],
    )


def _qwen(gateway: Gateway) -> Settings:
    text = _json({"security": {"auth": {"selectedType": "openai"}}})
    variables = {
        "OPENAI_API_KEY": gateway.key,
        "OPENAI_BASE_URL": gateway.v1,
        "OPENAI_MODEL": gateway.model,
    }
    return Settings([File("~/.qwen/settings.json", "json", text)], variables, "qwen")


def _crush(gateway: Gateway) -> Settings:
    models = [
        {"id": name, "name": name, "context_window": 200000, "default_max_tokens": 16000}
        for name in (gateway.model, gateway.small)
    ]
    provider = {
        "name": "polycall",
        "type": "openai-compat",
        "base_url": gateway.v1,
        "api_key": "$POLYCALL_KEY",
        "models": models,
    }
    settings = {
        "providers": {"polycall": provider},
        "models": {
            "large": {"provider": "polycall", "model": gateway.model},
            "small": {"provider": "polycall", "model": gateway.small},
        },
    }
    return Settings(
        [File("crush.json", "json", _json(settings))], {"POLYCALL_KEY": gateway.key}, "crush"
    )


def _cline(gateway: Gateway) -> Settings:
    notes = [
        "In an editor, its settings: API Provider `OpenAI Compatible`, Base URL "
        f"`{gateway.v1}`, API Key the value of `POLYCALL_KEY`, Model ID `{gateway.model}`."
    ]
    words = (
        f"cline auth -p openai -k $POLYCALL_KEY -b {gateway.v1} -m {gateway.model}\n"
        "cline -P openai-compatible"
    )
    return Settings(environment={"POLYCALL_KEY": gateway.key}, command=words, notes=notes)


def _continue(gateway: Gateway) -> Settings:
    text = (
        "name: polycall\nversion: 1.0.0\nschema: v1\nmodels:\n"
        f"  - name: {gateway.model}\n    provider: openai\n    model: {gateway.model}\n"
        f"    apiBase: {gateway.v1}\n    apiKey: ${{{{ secrets.POLYCALL_KEY }}}}\n"
        "    roles: [chat, edit, apply]\n    capabilities: [tool_use, image_input]"
    )
    file = File("~/.continue/config.yaml", "yaml", text)
    return Settings([file], {"POLYCALL_KEY": gateway.key}, "cn")


def _aider(gateway: Gateway) -> Settings:
    variables = {"OPENAI_API_BASE": gateway.v1, "OPENAI_API_KEY": gateway.key}
    words = f"aider --model openai/{gateway.model} --weak-model openai/{gateway.small}"
    return Settings(
        environment=variables,
        command=words,
        notes=["The first `openai/` is aider's, and does not reach the gateway."],
    )


def _pi(gateway: Gateway) -> Settings:
    models = [
        {"id": name, "input": ["text", "image"], "contextWindow": 200000, "maxTokens": 16000}
        for name in dict.fromkeys((gateway.model, gateway.small))
    ]
    provider = {
        "baseUrl": gateway.v1,
        "api": "openai-completions",
        "apiKey": "POLYCALL_KEY",
        "models": models,
    }
    text = _json({"providers": {"polycall": provider}})
    return Settings(
        [File("~/.pi/agent/models.json", "json", text)],
        {"POLYCALL_KEY": gateway.key},
        f"pi --provider polycall --model {gateway.model}",
        ["Its newer name, `@earendil-works/pi-coding-agent`, takes the same settings."],
    )


def _zed(gateway: Gateway) -> Settings:
    models = [
        {
            "name": gateway.model,
            "display_name": gateway.model,
            "max_tokens": 200000,
            "capabilities": {"tools": True, "images": True},
        }
    ]
    settings = {
        "language_models": {
            "openai_compatible": {"polycall": {"api_url": gateway.v1, "available_models": models}}
        },
        "agent": {"default_model": {"provider": "polycall", "model": gateway.model}},
    }
    return Settings(
        [File("~/.config/zed/settings.json", "json", _json(settings))],
        {"POLYCALL_API_KEY": gateway.key},
        "zed .",
    )


# Packages as they were looked at on 2026-11-29.
AGENTS: tuple[CodingAgent, ...] = (
    CodingAgent(
        "claude-code",
        "Claude Code",
        "Anthropic Messages",
        "@anthropic-ai/claude-code 2.1",
        "https://code.claude.com/docs/en/llm-gateway",
        _claude_code,
    ),
    CodingAgent(
        "codex",
        "Codex CLI",
        "OpenAI Responses",
        "@openai/codex 0.169",
        "https://developers.openai.com/codex/config-reference",
        _codex,
    ),
    CodingAgent(
        "gemini",
        "Gemini CLI",
        "Gemini generateContent",
        "@google/gemini-cli 0.61",
        "https://geminicli.com/docs/get-started/configuration",
        _gemini,
    ),
    CodingAgent(
        "opencode",
        "opencode",
        "OpenAI Chat",
        "opencode-ai 1.18",
        "https://opencode.ai/docs/providers",
        _opencode,
    ),
    CodingAgent(
        "qwen-code",
        "qwen-code",
        "OpenAI Chat",
        "@qwen-code/qwen-code",
        "https://qwenlm.github.io/qwen-code-docs/en/cli/openai-auth",
        _qwen,
    ),
    CodingAgent(
        "crush",
        "crush",
        "OpenAI Chat",
        "@charmland/crush",
        "https://github.com/charmbracelet/crush",
        _crush,
    ),
    CodingAgent(
        "cline",
        "Cline",
        "OpenAI Chat",
        "cline",
        "https://docs.cline.bot/provider-config/openai-compatible",
        _cline,
    ),
    CodingAgent(
        "continue",
        "Continue",
        "OpenAI Chat",
        "@continuedev/cli",
        "https://docs.continue.dev/reference",
        _continue,
    ),
    CodingAgent(
        "pi",
        "pi",
        "OpenAI Chat",
        "@mariozechner/pi-coding-agent 0.73",
        "https://github.com/earendil-works/pi/blob/main/packages/coding-agent/docs/models.md",
        _pi,
    ),
    CodingAgent(
        "aider",
        "aider",
        "OpenAI Chat",
        "aider-chat (PyPI)",
        "https://aider.chat/docs/llms/openai-compat.html",
        _aider,
    ),
    CodingAgent(
        "zed",
        "Zed",
        "OpenAI Chat",
        "the editor",
        "https://zed.dev/docs/ai/llm-providers",
        _zed,
    ),
)


def settings_page(agent: CodingAgent, gateway: Gateway, *, level: str = "##") -> str:
    """One agent's settings as Markdown."""
    settings = agent.make(gateway)
    lines = [f"{level} {agent.title}", "", f"{agent.package}; it speaks {agent.protocol}"]
    lines[-1] += f" ([its page]({agent.source}))."
    for file in settings.files:
        lines += ["", f"`{file.path}`:", "", f"```{file.language}", file.text, "```"]
    words = [f"export {name}={value}" for name, value in settings.environment.items()]
    words.append(settings.command)
    lines += ["", "```sh", *words, "```"]
    for note in settings.notes:
        lines += ["", note]
    return "\n".join(lines)
