"""Language models and agents, by OpenTelemetry's names where it has some."""

from __future__ import annotations

from typing import Final

from tldr_observability.catalogue.attributes import ERROR_TYPE, ORGANIZATION, OUTCOME
from tldr_observability.catalogue.bounds import AI_SECONDS, AI_TOKENS, AI_USD
from tldr_observability.catalogue.spec import Attribute, CounterSpec, HistogramSpec

_PROVIDER: Final = Attribute("gen_ai.provider.name", "provider", "openai, anthropic, ...", optional=True)
_MODEL: Final = Attribute("gen_ai.request.model", "model", "The model that was asked for", optional=True)
_ANSWERED_BY: Final = Attribute("gen_ai.response.model", "response_model", "The model that answered", optional=True)
_SYSTEM: Final = Attribute("gen_ai.system", "system", "The provider, by the attribute's older name", optional=True)
_OPERATION: Final = Attribute("gen_ai.operation.name", "operation", "chat, embeddings, ...", optional=True)
_TOKEN_TYPE: Final = Attribute(
    "gen_ai.token.type", "token_type", "input or output; total where they are not told apart", default="total"
)

_OF_A_CALL: Final = (_PROVIDER, _SYSTEM, _MODEL, _ANSWERED_BY, _OPERATION)

TOKEN_USAGE: Final = HistogramSpec(
    "gen_ai.client.token.usage",
    unit="{token}",
    description="Tokens that a call of a model used",
    attributes=(_PROVIDER, _MODEL, ORGANIZATION, _TOKEN_TYPE, _OPERATION, _ANSWERED_BY, _SYSTEM),
    owner="pydantic_ai",
    facade=("record_ai_tokens_used",),
    bounds=AI_TOKENS,
)
OPERATION_DURATION: Final = HistogramSpec(
    "gen_ai.client.operation.duration",
    unit="s",
    description="Time that a call of a model takes",
    attributes=(_PROVIDER, _MODEL, _OPERATION, _ANSWERED_BY, ERROR_TYPE),
    facade=("record_ai_latency",),
    bounds=AI_SECONDS,
)
TIME_TO_FIRST_CHUNK: Final = HistogramSpec(
    "gen_ai.client.operation.time_to_first_chunk",
    unit="s",
    description="Time until the first piece of a streamed answer",
    attributes=_OF_A_CALL,
    owner="pydantic_ai",
    bounds=AI_SECONDS,
)
COST: Final = HistogramSpec(
    "operation.cost",
    unit="{USD}",
    description="What a call of a model costs by its provider's list, in US dollars",
    attributes=_OF_A_CALL,
    owner="pydantic_ai",
    bounds=AI_USD,
)
CALLS: Final = CounterSpec(
    "tldr.ai.calls",
    unit="{call}",
    description="Calls of models",
    attributes=(_PROVIDER, _MODEL, ORGANIZATION, OUTCOME),
    facade=("increment_ai_api_calls",),
)
AGENT_ERRORS: Final = CounterSpec(
    "tldr.agent.errors",
    unit="{error}",
    description="Runs of agents that failed",
    attributes=(ORGANIZATION, ERROR_TYPE),
    facade=("increment_agent_error",),
)
