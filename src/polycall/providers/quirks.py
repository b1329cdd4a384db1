"""How each known server's use of a dialect differs from the vendor that defined it.

Rows of data.  A difference stands here only with evidence, named in the comment beside it:
*recorded* (a live exchange was seen), *documented* (the vendor's own pages), *reported* (users'
threads with the server's answer).  What is not known to differ is left at the default.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall.translation.quirks import Quirks

# Fields of OpenAI's own Chat Completions that have no place in the middle language.
_OPENAI_OPTIONS = frozenset(
    {
        "audio",
        "logit_bias",
        "metadata",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "store",
        "stream_options",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    }
)

OPENAI = Quirks(
    stream_usage="always",
    # Documented: an unknown field is a 400 ("Unrecognized request argument").
    options=_OPENAI_OPTIONS,
    message_fields=frozenset({"annotations", "audio", "prompt_cache_breakpoint"}),
    # Documented: reasoning is neither shown nor taken back on Chat.
    reasoning_replay="never",
    # Reported: "string too long. Expected a string with maximum length 40".
    call_id_pattern=r"[\s\S]{1,40}",
)

# An unknown server, treated with care: what every known server takes, and nothing else.
COMPATIBLE = Quirks(
    careful=True,
    # Reported of several servers: each of these is an unknown field there, or ignored.
    # An author's name is a documented 400 of Groq's, and may be one of any strict server.
    refused=frozenset({"candidates", "end_user", "logprobs", "messages.name", "service_tier"}),
    stops_max=4,  # as OpenAI: servers that copy its checks take no more
    response_formats=frozenset({"json"}),
    options=frozenset({"logit_bias"}),
    message_fields=frozenset(),
    developer_role=False,
    max_tokens_field="max_tokens",
    # Reported of several servers: stream_options is refused.  Those that count say so unasked.
    stream_usage="never",
    custom_tools=False,
    strict_tools=False,
    legacy_functions=False,
    parallel_switch=False,
    # Reported of several servers: null content is refused; none is known to refuse "".
    empty_content="empty",
    tool_message_name=False,
    # Reported of vLLM, llama.cpp, Ollama and Mistral: their templates parse the text, and answer
    # 400 or 500 to what is no object.
    any_arguments=False,
    content_parts=False,
    media_parts=frozenset({"image_url"}),
    end_user_field="user",
    reasoning_control="none",  # a field that plain servers do not know
    efforts=frozenset({"none", "low", "medium", "high"}),
    reasoning_replay="never",
    tool_choices=frozenset({"auto", "none", "required", "tool"}),
    result_media=False,
    # As OpenAI: servers that copy its checks take no longer one.
    call_id_pattern=r"[\s\S]{1,40}",
)

# Vendors with pages of their own: their extra fields are let through as the caller wrote them.
_KNOWN = replace(
    COMPATIBLE,
    careful=False,
    refused=frozenset(),
    stops_max=0,
    response_formats=frozenset({"json", "json_schema"}),
    options=None,
    content_parts=True,
    stream_usage="always",
    reasoning_control="effort",
)

DEEPSEEK = replace(
    _KNOWN,
    # Documented: "developer" is not among the roles.  What clients echo of other servers' answers
    # (annotations) says nothing there.
    message_fields=frozenset({"prefix", "reasoning_content"}),
    content_parts=False,  # recorded 400: "messages[0]: unknown variant `image_url`"
    media_parts=frozenset({"image_url"}),  # documented for the newest models
    # Documented: strict tools belong to the base URL ending in /beta, all or none.
    strict_tools=False,
    response_formats=frozenset({"json"}),  # documented: json_object only
    reasoning_control="thinking",  # recorded: thinking {"type": "enabled" | "disabled"}
    efforts=frozenset({"low", "medium", "high", "xhigh", "max"}),
    # Documented and recorded: V4 wants the field on every assistant turn while it thinks.
    reasoning_field="reasoning_content",
    reasoning_replay="always",
    # Recorded 400: a thinking model refuses a named or required choice.
    forced_choice_while_reasoning=False,
    end_user_field="",
)

# Reported of DeepSeek's older reasoner: reasoning before the last user message is a 400.
DEEPSEEK_REASONER = replace(
    DEEPSEEK,
    reasoning_control="none",
    reasoning_replay="current_turn",
    tool_choices=frozenset({"auto", "none"}),
)

MISTRAL = replace(
    _KNOWN,
    tool_message_name=True,  # documented
    message_fields=frozenset({"prefix", "prompt_cache_breakpoint"}),  # recorded: prefix
    strict_tools=True,  # documented
    parallel_switch=True,  # recorded
    media_parts=frozenset({"image_url", "input_audio", "document_url"}),  # recorded
    seed_field="random_seed",  # recorded
    end_user_field="",  # reported: unknown fields are a 422, "extra_forbidden"
    # Documented: https://pypi.org/project/mistralai/3.7.0/ (read on 2026-11-30) has none of these.
    refused=frozenset(
        {
            *("store", "logit_bias", "verbosity", "web_search_options", "modalities", "audio"),
            *("moderation", "prompt_cache_options", "prompt_cache_retention"),
        }
    ),
    service_tiers=frozenset({"auto", "standard_only"}),
    top_k=True,
    # Reported: "Tool call id was ... but must be a-z, A-Z, 0-9, with a length of 9".
    call_id_pattern=r"[A-Za-z0-9]{9}",
    call_id_length=9,
    # Reported: "Unexpected role 'user' after role 'tool'", code 3230.
    user_after_tool=False,
    # Recorded: thinking is a part of the content, both ways.
    reasoning_field="thinking",
    reasoning_replay="always",
    reasoning_control="effort",
    efforts=frozenset({"none", "high"}),  # documented for its adjustable models
)

OPENROUTER = replace(
    _KNOWN,
    tool_message_name=True,  # documented
    message_fields=None,  # recorded: cache_control, reasoning_details
    developer_role=True,  # recorded
    strict_tools=True,  # recorded
    parallel_switch=True,  # recorded
    empty_content="null",  # recorded
    media_parts=frozenset({"image_url", "input_audio", "file", "video_url"}),  # recorded
    top_k=True,  # documented
    reasoning_control="reasoning",  # recorded
    efforts=frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "max"}),
    # Documented: reasoning_details go back exactly as they came; foreign text has no place.
    # Reported: "Gemini models require OpenRouter reasoning details to be preserved", a 400.
    reasoning_replay="as_written",
    reasoning_carried=True,
    # Documented for Claude: https://openrouter.ai/docs/guides/best-practices/prompt-caching
    # (quoted in https://github.com/microsoft/vscode/issues/312939, read on 2026-11-29).
    cache_control=True,
)

GROQ = replace(
    _KNOWN,
    # Reported: "json mode cannot be combined with tool/function calling"
    # (https://github.com/vercel/ai/pull/16540, read on 2026-11-29).
    tools_with_json=False,
    tool_message_name=True,  # documented
    max_tokens_field="max_completion_tokens",  # documented: max_tokens is deprecated
    strict_tools=True,  # recorded
    parallel_switch=True,  # recorded
    empty_content="null",  # recorded
    # Documented as a 400; reported for reasoning: "property 'reasoning_content' is unsupported".
    refused=frozenset({"logprobs", "top_logprobs", "candidates", "logit_bias", "messages.name"}),
    message_fields=frozenset(),
    reasoning_replay="never",
    efforts=frozenset({"none", "low", "medium", "high"}),
    # Documented: https://pypi.org/project/groq/1.7.0/ (read on 2026-11-30).
    service_tiers=frozenset({"auto", "on_demand", "flex", "performance"}),
)

XAI = replace(
    _KNOWN,
    message_fields=frozenset({"reasoning_content"}),  # recorded
    strict_tools=True,  # recorded: the field is taken
    parallel_switch=True,  # documented
    empty_content="null",  # recorded
    # Documented: reasoning models answer 400 to penalties and stop sequences.
    refused=frozenset({"presence_penalty", "frequency_penalty", "stop"}),
    efforts=frozenset({"low", "high"}),  # documented
    reasoning_field="reasoning_content",  # recorded beside tool calls
    reasoning_replay="with_calls",
)

TOGETHER = replace(
    _KNOWN,
    top_k=True,  # recorded
    # Documented: https://docs.together.ai/docs/inference/chat/reasoning (read on 2026-11-29)
    reasoning_control="enabled",
    # Documented by its answers' field; unknown fields of messages are ignored.
    reasoning_field="reasoning",
    reasoning_replay="with_calls",
)

FIREWORKS = replace(
    _KNOWN,
    top_k=True,  # documented
    # Documented: https://docs.fireworks.ai/guides/reasoning (read on 2026-11-29)
    reasoning_field="reasoning_content",
    reasoning_replay="with_calls",
)

CEREBRAS = replace(
    _KNOWN,
    max_tokens_field="max_completion_tokens",  # documented
    strict_tools=True,  # documented
    # Documented as a 400.
    refused=frozenset({"frequency_penalty", "presence_penalty", "service_tier"}),
    # Reported: "property 'messages.2.assistant.reasoning_content' is unsupported".
    reasoning_replay="never",
)

MOONSHOT = replace(
    _KNOWN,
    tool_message_name=True,  # documented
    message_fields=frozenset({"partial", "reasoning_content"}),  # documented
    reasoning_control="thinking",  # documented
    # Reported: "tool_choice specified is incompatible with thinking enabled".
    forced_choice_while_reasoning=False,
    # Reported: "reasoning_content is missing in assistant tool call message", also of an empty one
    # (https://github.com/theopenco/llmgateway/pull/2093, read on 2026-11-29).
    reasoning_field="reasoning_content",
    reasoning_replay="with_calls",
    reasoning_blank=" ",
    media_parts=frozenset({"image_url", "video_url"}),  # documented
)

ZAI = replace(
    _KNOWN,
    message_fields=None,  # recorded: reasoning_content
    strict_tools=True,  # recorded: the field is taken
    reasoning_control="thinking",  # recorded
    reasoning_field="reasoning_content",  # recorded on assistant turns with calls
    reasoning_replay="with_calls",
    response_formats=frozenset({"json"}),  # documented
    media_parts=frozenset({"image_url", "video_url", "file"}),  # documented
    end_user_field="",  # documented: user_id instead
)

# Documented: https://platform.minimax.io/docs/api-reference/text-openai-api (read on 2026-11-29):
# `max_tokens` is deprecated, penalties and `n` above 1 are not taken, and the whole message goes
# back in a conversation with calls.
MINIMAX = replace(
    _KNOWN,
    max_tokens_field="max_completion_tokens",
    message_fields=frozenset({"reasoning_content", "reasoning_details"}),
    refused=frozenset({"presence_penalty", "frequency_penalty", "candidates"}),
    response_formats=frozenset({"json"}),
    reasoning_control="thinking",
    reasoning_replay="as_written",
    reasoning_carried=True,
)

# Documented: https://docs.qwencloud.com/api-reference/chat/openai-chat (read on 2026-11-29).
ALIBABA = replace(
    _KNOWN,
    message_fields=frozenset({"partial", "reasoning_content"}),
    top_k=True,
    parallel_switch=True,
    media_parts=frozenset({"image_url", "input_audio", "video_url"}),
    tool_choices=frozenset({"auto", "none", "tool"}),
    # Reported: "does not support being set to required or object in thinking mode".
    forced_choice_while_reasoning=False,
    reasoning_control="switch",
    reasoning_field="reasoning_content",
    reasoning_replay="with_calls",
    end_user_field="",
)

VLLM = replace(
    _KNOWN,
    tool_message_name=True,  # documented
    message_fields=None,  # documented: unknown fields are ignored
    developer_role=False,  # reported: depends on the model's template
    media_parts=frozenset({"image_url", "input_audio", "video_url"}),  # documented
    top_k=True,  # documented
    parallel_switch=True,  # documented
    # Documented: templates that want it read it from either field; others leave it alone.
    reasoning_field="reasoning",
    reasoning_replay="with_calls",
)

OLLAMA = replace(
    _KNOWN,
    message_fields=frozenset({"reasoning"}),  # recorded
    # Documented by their absence from the list of supported fields.
    refused=frozenset({"candidates", "service_tier", "end_user"}),
    efforts=frozenset({"none", "low", "medium", "high", "max"}),  # documented
    # A named choice is read as a word it does not know: only the tool itself is sent then.
    tool_choices=frozenset({"auto", "none", "required"}),
    reasoning_field="reasoning",  # recorded
    reasoning_replay="with_calls",
)

LLAMACPP = replace(
    _KNOWN,
    tool_message_name=True,  # documented
    message_fields=None,  # recorded: reasoning_content; unknown fields are ignored
    empty_content="null",  # recorded
    top_k=True,  # documented
    tool_message_media=True,  # recorded
    media_parts=frozenset({"image_url", "input_audio"}),  # recorded, documented
    parallel_switch=True,  # documented
    # Reported (a server's log): an object is taken for "auto", without a word.
    tool_choices=frozenset({"auto", "none", "required"}),
    reasoning_field="reasoning_content",  # recorded
    reasoning_replay="with_calls",
)

LMSTUDIO = replace(
    _KNOWN,
    top_k=True,  # documented
    # Reported: "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
    # (https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/670, read on 2026-11-29).
    tool_choices=frozenset({"auto", "none", "required"}),
    reasoning_field="reasoning_content",  # documented by its answers' field
    reasoning_replay="with_calls",
)

# Converse takes what botocore 1.44 models (read 2026-11-29); the model decides the rest.
BEDROCK = Quirks(
    # Claude's own `thinking`, in the fields for the model: a profile says which forms it takes.
    thinking_forms=frozenset(),
)

_NAMED: dict[str, Quirks] = {
    "openai": OPENAI,
    "compatible": COMPATIBLE,
    "deepseek": DEEPSEEK,
    "deepseek-reasoner": DEEPSEEK_REASONER,
    "mistral": MISTRAL,
    "openrouter": OPENROUTER,
    "groq": GROQ,
    "xai": XAI,
    "together": TOGETHER,
    "fireworks": FIREWORKS,
    "cerebras": CEREBRAS,
    "moonshot": MOONSHOT,
    "zai": ZAI,
    "minimax": MINIMAX,
    "alibaba": ALIBABA,
    "vllm": VLLM,
    "ollama": OLLAMA,
    "llamacpp": LLAMACPP,
    "lmstudio": LMSTUDIO,
}

NAMED_QUIRKS: dict[str, Quirks] = {
    name: replace(quirks, server=name.removesuffix("-reasoner")) for name, quirks in _NAMED.items()
}
