"""Names of OpenTelemetry's GenAI conventions, and ours where it has none.

Written out, since the package that has them marks them as moved and may drop them; a test compares
them with it.
"""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_STOP = "gen_ai.request.stop_sequences"
REQUEST_PRESENCE = "gen_ai.request.presence_penalty"
REQUEST_FREQUENCY = "gen_ai.request.frequency_penalty"
REQUEST_CHOICES = "gen_ai.request.choice.count"
OUTPUT_TYPE = "gen_ai.output.type"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
CONVERSATION = "gen_ai.conversation.id"
AGENT = "gen_ai.agent.name"
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
CALL_ID = "gen_ai.tool.call.id"
# Content: only where it was asked for.
CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
CALL_RESULT = "gen_ai.tool.call.result"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
INSTRUCTIONS = "gen_ai.system_instructions"

CHAT = "chat"
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"

ERROR_TYPE = "error.type"

RUN_ID = "polycall.run.id"
RUN_REASON = "polycall.run.reason"
COST = "polycall.cost_usd"
OUTCOME = "polycall.outcome"
STEP_NUMBER = "polycall.step.number"
CALLER = "polycall.tool.caller"
TASK_ID = "polycall.task.id"
HANDOFF_ORIGIN = "polycall.handoff.origin"
HANDOFF_TARGET = "polycall.handoff.target"
HANDOFF_IS_RETURN = "polycall.handoff.is_return"
HANDOFF_REASON = "polycall.handoff.reason"
PROGRAM_STATUS = "polycall.program.status"
PROGRAM_CALLS = "polycall.program.calls"
PROGRAM_CODE = "polycall.program.code"
PROGRAM_OUTPUT = "polycall.program.output"

NAME_CHARS_MAX = 200

_PROVIDERS = {"google": "gcp.gemini", "xai": "x_ai", "mistral": "mistral_ai"}


def provider_name(name: str) -> str:
    """A provider of ours, as the conventions call it."""
    return _PROVIDERS.get(name, name)
