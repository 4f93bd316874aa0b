"""The formula as a pydantic-ai model: it answers where a language model would, and says by its name that it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.models import Model
from pydantic_ai.usage import RequestUsage

from highlights.signals import Baseline, Signals, score

if TYPE_CHECKING:
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

__all__ = ["FORMULA", "Observation", "SignalFormula"]

FORMULA: Final = "signal-formula"


@dataclass(frozen=True)
class Observation:
    """What a model is told of a segment, as JSON at the head of its prompt."""

    start: float
    end: float
    signals: Signals
    usual: Baseline

    def prompt(self) -> str:
        """The JSON; the course of the signals stays here, for it's long and in the signals already."""
        return _observation.dump_json(self, exclude={"signals": {"course"}}).decode()


_observation = TypeAdapter(Observation)


class SignalFormula(Model[None]):
    """Scores the measured signals of a prompt; uses no tokens, no network and no pictures."""

    @property
    def model_name(self) -> str:
        """What it is."""
        return FORMULA

    @property
    def system(self) -> str:
        """Who provides it: this process."""
        return "local"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """The verdict, as a call of the output tool."""
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        prompt = next(part for part in messages[0].parts if isinstance(part, UserPromptPart)).content
        seen = _observation.validate_json(prompt if isinstance(prompt, str) else str(prompt[0]))
        found = score(seen.signals, seen.usual)
        minutes, seconds = divmod(int(seen.signals.peak_seconds), 60)
        verdict = {
            "confidence": found.value,
            "type": found.type,
            "title": f"{found.type.capitalize()} at {minutes}:{seconds:02}",
            "reason": found.reason,
        }
        call = ToolCallPart(parameters.output_tools[0].name, verdict)
        return ModelResponse([call], usage=RequestUsage(), model_name=FORMULA, provider_name=self.system)
