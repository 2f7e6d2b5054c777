"""Presets: every value can be used, and every value says why."""

from __future__ import annotations

import pytest

from trainer import presets, settings_file
from trainer.errors import ConfigError
from trainer.settings import TrainingSettings

# Values that equal the default: their reason is worth reading, and a preset must outlive a change of defaults.
MEANT_REPEATS = {
    "style": {"alpha", "schedule", "min_snr_gamma", "keep_tokens"},
    "character": {"rank", "schedule", "steps", "min_snr_gamma", "keep_tokens", "flip"},
    "object": {"schedule", "min_snr_gamma", "keep_tokens"},
}


def test_the_list_of_presets_is_the_list_of_preset_files() -> None:
    import resources

    assert sorted(p.stem for p in resources.path("presets").iterdir()) == sorted(presets.NAMES)


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_has_a_title_and_a_summary(name: str) -> None:
    preset = presets.load(name)
    assert preset.name == name and preset.title == name.capitalize()
    assert preset.summary.endswith(".") and len(preset.summary) < 120


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_value_of_a_preset_passes_alone_and_together(name: str) -> None:
    values = presets.load(name).values
    assert settings_file.check(values) == []
    for key, value in values.items():
        assert [e for e in settings_file.check({key: value}) if e.field == key] == []
        assert type(getattr(settings_file.from_dict(values), key)) is type(value), key


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_value_of_a_preset_has_a_reason(name: str) -> None:
    preset = presets.load(name)
    assert preset.reasons.keys() == preset.values.keys()
    for key, reason in preset.reasons.items():
        assert reason.endswith(".") and len(reason.split()) >= 4, key


@pytest.mark.parametrize("name", presets.NAMES)
def test_the_pictures_a_reason_speaks_of_are_steps_times_batch_size(name: str) -> None:
    preset = presets.load(name)
    assert f"{preset.values['steps'] * preset.values['batch_size']:,} pictures seen" in preset.reasons["steps"]


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_repeats_a_default_only_where_that_is_meant(name: str) -> None:
    defaults = TrainingSettings()
    repeated = {key for key, value in presets.load(name).values.items() if value == getattr(defaults, key)}
    assert repeated == MEANT_REPEATS[name]


@pytest.mark.parametrize("name", ["portrait", "", "../presets/style"])
def test_an_unknown_preset_is_told_in_a_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match=f'There is no preset "{name}"; choose one of style, character, object'):
        presets.load(name)
