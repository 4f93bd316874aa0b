"""Settings: where values come from, what is refused and how it is said."""

from __future__ import annotations

import pytest

from tldr_observability import ConfigurationError, ObservabilitySettings
from tldr_observability.asgi.excluded import DEFAULT
from tldr_observability.settings import PRESETS, load


def test_an_argument_wins_over_the_environment_and_the_environment_over_the_preset(monkeypatch):
    """The order of precedence is argument, environment, preset, default."""
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", "development")
    assert load().flush_interval == PRESETS["development"]["flush_interval"]
    monkeypatch.setenv("LOGFIRE_FLUSH_INTERVAL", "7")
    assert load().flush_interval == 7
    assert load({"flush_interval": 3}).flush_interval == 3


@pytest.mark.parametrize("name", list(PRESETS))
def test_an_environment_sets_its_preset(monkeypatch, name):
    """LOGFIRE_ENVIRONMENT chooses every value of its preset."""
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", name)
    settings = load()
    assert {key: getattr(settings, key) for key in PRESETS[name]} == PRESETS[name]


def test_short_environment_names_are_understood_and_others_take_productions_preset(monkeypatch):
    """`dev` is development; a name of one's own is kept and is as careful as production."""
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", "Dev")
    assert load().environment == "development"
    assert load({"environment": "prod"}).environment == "production"
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", "qa-3")
    assert load().environment == "qa-3"
    assert load().console_enabled is PRESETS["production"]["console_enabled"]


def test_a_variable_wins_over_the_preset_under_each_of_its_names(monkeypatch):
    """Logfire's own LOGFIRE_CONSOLE counts as LOGFIRE_CONSOLE_ENABLED does."""
    monkeypatch.setenv("LOGFIRE_ENVIRONMENT", "development")
    monkeypatch.setenv("LOGFIRE_CONSOLE", "false")
    assert load().console_enabled is False


def test_all_bad_values_are_reported_at_once(monkeypatch):
    """One ConfigurationError names each setting, what was expected and what was given."""
    monkeypatch.setenv("LOGFIRE_BATCH_SIZE", "lots")
    monkeypatch.setenv("LOGFIRE_SAMPLE_RATE", "2")
    monkeypatch.setenv("LOGFIRE_LOG_LEVEL", "loud")
    monkeypatch.setenv("LOGFIRE_BASE_URL", "nowhere")
    monkeypatch.setenv("LOGFIRE_ENABLED", "maybe")
    levels = "'trace', 'debug', 'info', 'notice', 'warn', 'warning', 'error' or 'fatal'"
    with pytest.raises(ConfigurationError) as caught:
        load({"flush_intervall": 3, "slow_threshold": "soon"})
    assert list(caught.value.problems) == [
        "flush_intervall: no such setting; did you mean flush_interval?",
        "LOGFIRE_ENABLED: expected true or false, got 'maybe'",
        "LOGFIRE_BASE_URL: expected http(s)://host[:port] without user and password, got 'nowhere'",
        f"LOGFIRE_LOG_LEVEL: expected one of {levels}, got 'loud'",
        "LOGFIRE_SAMPLE_RATE: expected a number from 0 to 1, got '2'",
        "LOGFIRE_BATCH_SIZE: expected a whole number from 1 to 10000, got 'lots'",
        "slow_threshold: expected a number of at least 0, got 'soon'",
    ]


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_a_flush_interval_is_a_positive_and_finite_time(monkeypatch, value):
    """Numbers that make no sense as a time are refused."""
    monkeypatch.setenv("LOGFIRE_FLUSH_INTERVAL", value)
    with pytest.raises(ConfigurationError, match="LOGFIRE_FLUSH_INTERVAL: expected a number above 0 and up to 3600"):
        load()


def test_a_secret_is_shown_nowhere(monkeypatch):
    """Neither the settings' text nor an error about a token holds the token."""
    monkeypatch.setenv("LOGFIRE_TOKEN", "very-secret")
    assert "very-secret" not in repr(load())
    with pytest.raises(ConfigurationError) as caught:
        load({"api_key": ["very-secret"]})
    assert "very-secret" not in str(caught.value)


def test_empty_variables_count_as_unset(monkeypatch):
    """A variable left empty in a deployment file is no value."""
    monkeypatch.setenv("LOGFIRE_BATCH_SIZE", "")
    assert load().batch_size == ObservabilitySettings.model_fields["batch_size"].default


def test_the_api_key_is_the_write_token_only_where_there_is_no_other(monkeypatch):
    """LOGFIRE_API_KEY stands in for LOGFIRE_TOKEN, and is not sent beside it."""
    monkeypatch.setenv("LOGFIRE_API_KEY", "key")
    assert load().write_tokens == ("key",)
    monkeypatch.setenv("LOGFIRE_TOKEN", "one, two")
    assert load().write_tokens == ("one", "two")


def test_settings_can_not_be_changed():
    """Settings are frozen once they are made."""
    with pytest.raises(ValueError, match="frozen"):
        load().batch_size = 5


def test_variables_of_others_are_not_taken_for_ours(monkeypatch):
    """TOKEN or ENVIRONMENT belong to somebody else; only LOGFIRE_* and the OTEL_* listed are read."""
    monkeypatch.setenv("TOKEN", "of-somebody-else")
    monkeypatch.setenv("SAMPLE_RATE", "0.5")
    settings = load()
    assert (settings.token, settings.sample_rate) == (None, 1.0)


def test_a_problem_names_the_variable_that_was_set(monkeypatch):
    """Where a setting has several variables the message names the one to mend."""
    monkeypatch.setenv("LOGFIRE_TRACE_SAMPLE_RATE", "7")
    with pytest.raises(ConfigurationError, match="LOGFIRE_TRACE_SAMPLE_RATE: expected a number from 0 to 1"):
        load()


def test_credentials_in_a_url_are_refused_and_not_shown(monkeypatch):
    """A base URL with a password is a mistake, and the password is not repeated."""
    monkeypatch.setenv("LOGFIRE_BASE_URL", "https://ada:very-secret@host")
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert "without user and password" in str(caught.value)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["tök en", "two\nlines"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    """A token with a line break or other than ASCII is found at set-up, not at the first export."""
    with pytest.raises(ConfigurationError, match="visible ASCII"):
        load({"token": token})


def test_the_middleware_alone_excludes_what_the_settings_do():
    """Without setup() the middleware leaves out the same paths; it can't ask the settings, which load pydantic."""
    assert ObservabilitySettings().excluded_paths == DEFAULT
