"""Settings from a mapping."""

import pytest

from headrace.inference.settings import InferenceSettings
from headrace.insight import settings as insight
from headrace.runtime.settings import SettingsError, SettingsReader


def test_every_mistake_is_told_at_once() -> None:
    """Wrong kinds, values out of range and unknown names, each in its line."""
    reader = SettingsReader(
        {"X_PORT": "a", "X_RATIO": "7", "X_ON": "maybe", "X_MODE": "h3", "X_TYPO": "1", "OTHER": "1"}, "X"
    )
    reader.integer("PORT", 1, low=0, high=10)
    reader.number("RATIO", 0.5, low=0, high=1)
    reader.flag("ON", default=False)
    reader.choice("MODE", "h1", ("h1", "h2"))
    with pytest.raises(SettingsError) as error:
        reader.finish()
    assert error.value.problems == [
        "X_PORT: must be a whole number, not 'a'",
        "X_RATIO: must be between 0 and 1, not 7.0",
        "X_ON: must be true or false, not 'maybe'",
        "X_MODE: must be one of h1, h2, not 'h3'",
        "X_TYPO: no such setting",
    ]


def test_an_empty_mapping_is_all_defaults() -> None:
    """A service starts with no environment at all."""
    settings = InferenceSettings.read({})
    assert settings.listen == "127.0.0.1:9100"
    assert settings.hot_socket is None


def test_an_empty_value_is_the_default() -> None:
    """But for a text that may be none: there it says so, and only a missing one is the default."""
    reader = SettingsReader({"X_LISTEN": "", "X_PORT": "", "X_METRICS": ""}, "X")
    assert reader.text("LISTEN", "here") == "here"
    assert reader.integer("PORT", 7, low=0, high=10) == 7
    assert reader.text_or_none("METRICS", "here") == ""
    assert reader.text_or_none("OTHER", "here") == "here"
    reader.finish()


def test_metrics_may_be_served_nowhere() -> None:
    """METRICS_LISTEN set to nothing is no address; left out it is the default one."""
    name = "METRICS_LISTEN"
    assert InferenceSettings.read({f"HEADRACE_INFERENCE_{name}": ""}).metrics_listen == ""
    assert InferenceSettings.read({}).metrics_listen == "127.0.0.1:9101"
    assert insight.Settings.read({f"HEADRACE_INSIGHT_{name}": ""}).metrics_listen == ""
    assert insight.Settings.read({}).metrics_listen == "127.0.0.1:9601"


def test_a_replicas_model_settings_are_checked() -> None:
    """A misspelt key of a model is an error that names the setting."""
    with pytest.raises(SettingsError, match="HEADRACE_INFERENCE_MODELS: must be"):
        InferenceSettings.read({"HEADRACE_INFERENCE_MODELS": '{"linear": {"max_bach": 1}}'})
    good = InferenceSettings.read({"HEADRACE_INFERENCE_MODELS": '{"linear": {"max_queue": 5}}'})
    assert good.models["linear"].max_queue == 5
