"""pydantic-ai: agents, models and tools as spans and metrics; what is said stays inside unless it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic_ai import Agent, BinaryContent, ModelRetry, UnexpectedModelBehavior
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel

from tldr_observability import metrics, span
from tldr_observability.integrations import pydantic_ai as integration

SAID = [b"prompt-kestrel", b"instruct-osprey", b"answer-merlin", b"argument-falcon", b"result-harrier", b"aW1hZ2Uta2l0"]
IMAGE = BinaryContent(b"image-kite" * 20, media_type="image/png")


@pytest.fixture
def observed(start, otlp_receiver):
    """Set up with or without content; says everything that has been exported since, as bytes."""

    def begin(**content):
        observability = start()
        integration.instrument(**content)

        def read():
            observability.flush(5)
            return b"".join(request.body for request in otlp_receiver.requests)

        return read

    yield begin
    integration.uninstrument()


def converse(messages, info):
    """A model that calls a tool first and then answers."""
    if len(messages) == 1:
        return ModelResponse([ToolCallPart("look_up", {"word": "argument-falcon"})])
    return ModelResponse([TextPart("answer-merlin")])


def agent():
    made = Agent(FunctionModel(converse), name="finder", instructions="instruct-osprey")

    @made.tool_plain
    def look_up(word: str) -> str:
        """Look a word up."""
        return "result-harrier " + word[:1]

    return made


def run():
    with span("request"):
        assert agent().run_sync(["prompt-kestrel", IMAGE]).output == "answer-merlin"


def test_an_agents_run_is_a_trace(observed, otlp_receiver):
    """The run, both requests of the model and the call of the tool are spans below the caller's."""
    read = observed(content=False)
    run()
    read()
    spans = {each.name for each in otlp_receiver.spans}
    assert spans == {"request", "invoke_agent finder", "chat function:converse:", "execute_tool look_up"}
    assert len({each.trace_id for each in otlp_receiver.spans}) == 1
    (tool,) = [each for each in otlp_receiver.spans if each.name == "execute_tool look_up"]
    assert tool.attributes["gen_ai.tool.name"] == "look_up"


def test_nothing_that_is_said_is_exported(observed):
    """By default no prompt, instruction, answer, argument, result or image is in anything that leaves."""
    read = observed(content=False)
    run()
    sent = read()
    assert b"look_up" in sent
    assert [word for word in SAID if word in sent] == []


def test_what_is_said_is_exported_when_asked_for(observed):
    """With LOGFIRE_PYDANTIC_AI_CONTENT=true all of it is there."""
    read = observed(content=True)
    run()
    sent = read()
    assert [word for word in SAID if word not in sent] == []


def test_tokens_are_counted_by_model(observed, otlp_receiver):
    """`gen_ai.client.token.usage` says how many tokens went in and out."""
    read = observed(content=False)
    run()
    read()
    name = "gen_ai.client.token.usage"
    assert otlp_receiver.total(name, {"gen_ai.token.type": "input"}) == 2
    assert otlp_receiver.total(name, {"gen_ai.token.type": "output"}) == 2


def test_tokens_by_hand_do_not_double(observed, otlp_receiver):
    """What the service records by hand goes to a metric of its own while pydantic-ai records."""
    read = observed(content=False)
    metrics.record_ai_tokens_used(100, "openai", "gpt", "acme", "input")
    read()
    assert otlp_receiver.total("gen_ai.client.token.usage") == 0
    assert otlp_receiver.total("gen_ai.client.token.usage.manual") == 1


def test_a_failing_tool_is_an_error_without_its_words(observed, otlp_receiver):
    """A run that fails reaches the caller as it was; its spans say so by the exception's type alone."""
    read = observed(content=False)
    failing = Agent(TestModel(call_tools=["break_down"]), name="clumsy", retries=0)

    @failing.tool_plain
    def break_down(word: str) -> str:
        raise ModelRetry("argument-falcon " + word)

    with pytest.raises(UnexpectedModelBehavior):
        failing.run_sync("prompt-kestrel")
    sent = read()
    (whole,) = [each for each in otlp_receiver.spans if each.name == "invoke_agent clumsy"]
    assert whole.status == "error"
    assert whole.events[0].attributes["exception.type"].endswith("UnexpectedModelBehavior")
    assert [word for word in SAID if word in sent] == []


def test_an_agents_own_instrumentation_stands(observed, otlp_receiver):
    """An agent that says `instrument=False` is left alone."""
    read = observed(content=False)
    quiet = Agent(TestModel(), name="quiet")
    quiet.instrument = False
    quiet.run_sync("x")
    read()
    assert otlp_receiver.spans == []


def test_it_is_undone(observed, otlp_receiver):
    """Afterwards agents are as they were."""
    read = observed(content=False)
    integration.uninstrument()
    run()
    read()
    assert [each.name for each in otlp_receiver.spans] == ["request"]


def test_loading_the_integration_does_not_load_pydantic_ai():
    """A service without agents doesn't pay for them."""
    source = f"import {integration.__name__}, sys; assert 'pydantic_ai' not in sys.modules"
    subprocess.run([sys.executable, "-c", source], check=True)
