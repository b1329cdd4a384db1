"""Twenty drifts in the words of vendors that the sixty have not, each with where it was read.

Read 2026-11-29.  Words are the vendors', names and numbers are those of the drift.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.drift import Drift
from tests.drifts import CHAT, CLAUDE, GEMINI, RESPONSES


class Found(NamedTuple):
    """A drift, whose words they are, and where they were read."""

    drift: Drift
    vendor: str
    source: str


_MALFORMED = "Malformed input request: #{}, please reformat your input and try again."
_HUGGING = "https://github.com/argilla-io/synthetic-data-generator/issues/48"
_BEDROCK = "https://github.com/promptfoo/promptfoo/issues/914"
_VOLCANO = (
    "The parameter {0} specified in the request is not valid: integer above maximum value, "
    "expected a value <= {1}, but got 400 instead. Request id: 0217724325966514087c9e55f8"
)

FOUND = [
    Found(Drift("f1", CHAT, "gone", "reasoning_effort", None,
                "Argument not supported on this model: reasoningEffort"),
          "xAI", "https://github.com/charmbracelet/crush/issues/386"),
    Found(Drift("f2", CHAT, "gone", "presence_penalty", None,
                "Argument not supported on this model: presencePenalty"),
          "xAI", "https://github.com/yym68686/uni-api/issues/105"),
    Found(Drift("f3", CHAT, "gone", "tools.function.strict", None,
                "unknown field: parameter 'strict' is not a valid field. For proper usage, please "
                "refer to https://docs.cohere.com/reference/chat"),
          "Cohere", "https://github.com/OpenRouterTeam/openrouter-examples/issues/71"),
    Found(Drift("f4", CHAT, "gone", "seed", None,
                "unknown field: parameter 'seed' is not a valid field. For proper usage, please "
                "refer to https://docs.cohere.com/reference/chat"),
          "Cohere", "https://github.com/NVIDIA/garak/issues/1202"),
    Found(Drift("f5", CLAUDE, "gone", "top_k", None,
                _MALFORMED.format(": extraneous key [top_k] is not permitted")),
          "Amazon Bedrock", _BEDROCK),
    Found(Drift("f6", CLAUDE, "most", "temperature", 0.8,
                _MALFORMED.format("/temperature: {sent} is not less or equal to 0.8")),
          "Amazon Bedrock", _BEDROCK),
    Found(Drift("f7", CHAT, "values", "temperature", (1, 1.0),
                "invalid temperature: only 1 is allowed for this model"),
          "Moonshot", "https://github.com/HKUDS/nanobot/pull/202"),
    Found(Drift("f8", CHAT, "most", "max_completion_tokens", 200,
                "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be "
                "[1, 200]"),
          "Alibaba", "https://github.com/open-webui/open-webui/issues/10507"),
    Found(Drift("f9", RESPONSES, "most", "max_output_tokens", 150,
                "Range of max_output_tokens should be [1, 150]"),
          "Alibaba", "https://github.com/anomalyco/opencode/issues/40770"),
    Found(Drift("f10", CHAT, "most", "max_completion_tokens", 256,
                _VOLCANO.format("max_completion_tokens", 256), "max_completion_tokens"),
          "Volcengine", "https://github.com/yiliqi78/TOKENICODE/issues/3"),
    Found(Drift("f11", RESPONSES, "most", "top_p", 0.5,
                "Input validation error: `top_p` must be > 0.0 and < 0.51"),
          "Hugging Face", _HUGGING),
    Found(Drift("f12", CHAT, "most", "max_completion_tokens", 192,
                "Input validation error: `max_completion_tokens` must be <= 192"),
          "Hugging Face", "https://github.com/huggingface/transformers/issues/28523"),
    Found(Drift("f13", CLAUDE, "gone", "temperature", None,
                "BAD_REQUEST: Model us.anthropic.claude-opus-5 does not support the temperature "
                "parameter."),
          "Databricks", "https://github.com/databricks-solutions/genie-ontology-readiness/pull/8"),
    Found(Drift("f14", CHAT, "gone", "frequency_penalty", None,
                "Validation error at #/frequency_penalty: Extra inputs are not permitted"),
          "Azure AI", "https://github.com/microsoft/semantic-kernel/issues/10510"),
    Found(Drift("f15", CHAT, "gone", "frequency_penalty", None,
                "body -> frequency_penalty\n  Extra inputs are not permitted "
                "(type=extra_forbidden)"),
          "NVIDIA", "https://github.com/BerriAI/litellm/issues/4558"),
    Found(Drift("f16", CHAT, "most", "temperature", 0.99,
                "Invalid params: temperature must be in range (0, 1.0)"),
          "GigaChat", "https://github.com/ai-forever/gigachain/issues/237"),
    Found(Drift("f17", CHAT, "most", "temperature", 1.0,
                "temperature参数非法。请检查文档。 (request id: 2024031315392281877864286886360)"),
          "Zhipu", "https://github.com/songquanpeng/one-api/issues/1141"),
    Found(Drift("f18", CHAT, "gone", "seed", None,
                "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are "
                "not permitted', 'input': 7}]"),
          "Mistral", "https://github.com/mistralai/client-ts/issues/65"),
    Found(Drift("f19", CHAT, "gone", "seed", None,
                "Unsupported parameter(s): `seed`, `user`"),
          "NVIDIA Dynamo", "https://github.com/ai-dynamo/dynamo/pull/4021"),
    Found(Drift("f20", GEMINI, "gone", "generationConfig.presencePenalty", None,
                "Penalty is not enabled for this model"),
          "Google", "https://github.com/google-gemini/cookbook/issues/1290"),
]  # fmt: skip
