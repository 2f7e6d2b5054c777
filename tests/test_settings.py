"""settings.py and settings_file.py: every field, every sentence, to a file and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainer import settings_file
from trainer.errors import ConfigError
from trainer.settings import GROUPS, VERSION, Concept, Info, PreviewPrompt, TrainingSettings, field_info, info, notes

FIELDS = list(TrainingSettings.model_fields)
MODELS = (TrainingSettings, PreviewPrompt, Concept)
FOLDER = Path("/Bilder/Zörblin 絵 🦊")

# Another value than the default for every field, all at once; noise_offset and multires_iterations exclude each other.
OTHER: dict[str, Any] = {
    "base": "/Modelle/süß", "vae": FOLDER / "vae.safetensors", "precision": "bf16", "prediction": "v_prediction", "clip_skip": 2, "max_tokens": 225,
    "device": "cuda:1", "packed_weights": "off", "quick_attention": False, "gradient_checkpointing": "some", "quantization": "nf4", "offload": True, "compile": "off", "out_of_memory": "adapt_4bit", "vae_precision": "fp32", "micro_batch": 2, "data": FOLDER, "more_data": (FOLDER / "more", FOLDER / "火.png"), "left_out": ("a/b.png",),
    "concepts": (Concept(folder=FOLDER / "2", trigger="", weight=0.5, regularization=True, flip=False, keep_tokens=2), Concept()),
    "edits": FOLDER / "edits", "masked_loss": True, "mask_outside": 0.2, "alpha_mask": True, "resolution": 768, "buckets": False,
    "bucket_step": 32, "bucket_min": 320, "bucket_max": 1536, "upscale": False, "repeats": 3, "flip": True,
    "background": "rebeccapurple", "regularization": FOLDER / "class", "prior_weight": 0.5,
    "validation": FOLDER / "held out", "cache": "memory", "cache_folder": FOLDER / "cache",
    "trigger": "zörblin, \"q\"", "shuffle_tags": True, "keep_tokens": 2, "tag_dropout": 0.1, "caption_dropout": 0.05,
    "protected_tags": "a, b", "keep_separator": "|||", "caption_lines": "variants", "wildcards": True, "prompt_weights": True,
    "caption_variants": 7, "rank": 8, "alpha": 4.5, "dropout": 0.1, "targets": ("convolutions", "attention"),
    "conv_rank": 4, "conv_alpha": 1.0, "train_text_encoder": True, "dora": True, "rslora": True,
    "start_from": FOLDER / "old.safetensors", "optimizer": "prodigy", "learning_rate": 1.0,
    "text_encoder_learning_rate": 5e-6, "text_encoder_2_learning_rate": 1e-7, "weight_decay": 0.0,
    "schedule": "cosine_restarts", "warmup_steps": 10, "restarts": 2, "batch_size": 4, "accumulation": 2,
    "gradient_clip": 0.5, "loss": "huber", "huber_c": 0.2, "min_snr_gamma": 0.0, "debiased": True,
    "multires_iterations": 6, "multires_discount": 0.4, "input_perturbation": 0.1, "zero_terminal_snr": True,
    "timestep_min": 100, "timestep_max": 900, "steps": 2000, "epochs": 12, "seed": 2**32 - 1, "save_every_steps": 0,
    "save_every_epochs": 3, "keep_checkpoints": 0, "validate_every_steps": 50, "runs_folder": FOLDER / "Läufe",
    "name": "Zörblin\nline two", "preview_every_steps": 25, "export_precision": "fp32", "author": "Ünal & Søn",
    "description": "ひとつ\t\\ 🦊", "license": "CC BY 4.0",
    "previews": (
        PreviewPrompt(prompt="火", negative='"x"', seed=7, width=64, height=96, guidance=3, steps=8, sampler="euler"),
        PreviewPrompt(),
    ),
}  # fmt: skip

# Each belongs under the row of its first key.
SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"rank": 0}, "Rank is 0; it must lie between 1 and 1024."),
    ({"rank": 1025}, "Rank is 1025; it must lie between 1 and 1024."),
    ({"rank": "abc"}, 'Rank is "abc"; it must be a whole number.'),
    ({"rank": 1.5}, "Rank is 1.5; it must be a whole number."),
    ({"rank": [1]}, "Rank is [1]; it must be a whole number."),
    ({"rank": float("inf")}, "Rank is inf; it must be a whole number."),
    ({"learning_rate": "abc"}, 'Learning rate is "abc"; it must be a number, such as 0.0001 or "1e-4".'),
    ({"learning_rate": []}, 'Learning rate is []; it must be a number, such as 0.0001 or "1e-4".'),
    ({"learning_rate": 0}, "Learning rate is 0; it must lie above 0 and at most 10."),
    ({"learning_rate": float("nan")}, "Learning rate is nan; it must lie above 0 and at most 10."),
    ({"dropout": 1}, "Dropout is 1; it must lie at or above 0 and below 1."),
    ({"warmup_steps": -1}, "Warm-up is -1; it must lie at or above 0."),
    ({"seed": -1}, "Seed is -1; it must lie at or above 0 and below 4,294,967,296."),
    ({"flip": "maybe"}, 'Mirror is "maybe"; it must be true or false.'),
    ({"flip": 3}, "Mirror is 3; it must be true or false."),
    (
        {"optimizer": "sgd"},
        'Optimizer is "sgd"; it must be one of adamw, adamw8bit, lion, lion8bit, adafactor, prodigy.',
    ),
    ({"max_tokens": 76}, "Prompt length is 76; it must be one of 75, 150, 225."),
    ({"resolution": 513}, "Resolution is 513; it must be a multiple of 8."),
    (
        {"background": "puce-ish"},
        'Behind transparency is "puce-ish"; it must be a colour such as "#ffffff" or "white".',
    ),
    ({"targets": []}, "Layers is []; it must name at least one kind of layer."),
    ({"targets": ["unet"]}, 'Layers is "unet"; it must be one of attention, feed_forward, projections, convolutions.'),
    ({"targets": "attention"}, 'Layers is "attention"; it must be a list.'),
    ({"base": 5}, "Base model is 5; it must be text."),
    ({"data": 5}, "Pictures is 5; it must be a path."),
    ({"more_data": "/a"}, 'More pictures is "/a"; it must be a list.'),
    ({"more_data": ["/a", 5]}, "More pictures is 5; it must be a path."),
    ({"concepts": [{"folder": "/a", "weight": 11}]}, "Concept 1: Loss weight is 11; it must lie between 0 and 10."),
    ({"concepts": [{}, {"folder": 5}]}, "Concept 2: Folder is 5; it must be a path."),
    ({"concepts": [{"folder": "/a", "wieght": 1}]}, 'Concept 1: Unknown setting "wieght" in run.toml. Did you mean "weight"?'),
    ({"left_out": "a.png"}, 'Left out is "a.png"; it must be a list.'),
    ({"left_out": [5]}, "Left out is 5; it must be text."),
    ({"regularization": False}, "Regularisation pictures is False; it must be a path."),
    ({"rnak": 8}, 'Unknown setting "rnak" in run.toml. Did you mean "rank"?'),
    ({"zzzzzz": 8}, 'Unknown setting "zzzzzz" in run.toml.'),
    ({"previews": "a cat"}, 'Preview prompts is "a cat"; it must be a list.'),
    ({"previews": ["a cat"]}, 'Preview prompts is "a cat"; it must be a table, such as { prompt = "a cat" }.'),
    ({"previews": [{"promt": "x"}]}, 'Preview 1: Unknown setting "promt" in run.toml. Did you mean "prompt"?'),
    ({"previews": [{}, {"width": 13}]}, "Preview 2: Width is 13; it must be a multiple of 8."),
    ({"previews": [{"steps": 0}]}, "Preview 1: Steps is 0; it must lie between 1 and 200."),
    (
        {"previews": [{"sampler": "x"}]},
        'Preview 1: Sampler is "x"; it must be one of dpmpp_2m, dpmpp_2m_karras, ddim, euler, euler_a.',
    ),
    ({"timestep_max": 500, "timestep_min": 500}, "First timestep (500) must lie below last timestep (500)."),
    ({"bucket_min": 600, "bucket_max": 512}, "Smallest side (600 px) is larger than longest side (512 px)."),
    ({"bucket_step": 256, "resolution": 128}, "Bucket step (256 px) is larger than the resolution (128 px)."),
    ({"bucket_max": 504}, "Longest side (504 px) is smaller than the resolution (512 px)."),
    (
        {"debiased": True},
        "Debiased estimation and min-SNR γ both weight the loss; set min-SNR γ to 0 or switch debiased off.",
    ),
    (
        {"noise_offset": 0.1, "multires_iterations": 6},
        "Noise offset and multires noise do the same work; set one of them to 0.",
    ),
    ({"save_every_epochs": 3, "epochs": 2}, "Checkpoint every 3 epochs never happens in a run of 2."),
    ({"warmup_steps": 10, "steps": 10}, "Warm-up (10 steps) must be shorter than the run (10 steps)."),
]  # fmt: skip


def test_the_table_of_other_values_covers_every_field_with_a_value_that_is_not_the_default() -> None:
    assert {*OTHER, "noise_offset"} == set(FIELDS)
    assert [name for name in OTHER if OTHER[name] == TrainingSettings.model_fields[name].default] == []


@pytest.mark.parametrize("model", MODELS)
def test_every_field_tells_a_person_what_it_is(model: type[TrainingSettings]) -> None:
    for name in model.model_fields:
        about = field_info(model, name)
        assert isinstance(about, Info) and about.label.strip() == about.label != "", name
        assert about.group in GROUPS, name
        assert len(about.help.split()) >= 2 and about.help.endswith("."), name


def test_every_group_has_settings_and_a_newcomer_sees_few_of_them() -> None:
    assert {info(name).group for name in FIELDS} == set(GROUPS)
    assert 5 <= sum(not info(name).advanced for name in FIELDS) <= 15


@pytest.mark.parametrize("model", MODELS)
def test_every_default_passes_its_own_validation(model: type[TrainingSettings]) -> None:
    defaults = {name: field.get_default() for name, field in model.model_fields.items()}
    assert model.model_validate(defaults) == model()
    assert settings_file.check({}) == []


def test_every_bound_is_held_and_named_in_the_message() -> None:
    seen = 0
    for name in FIELDS:
        for constraint in TrainingSettings.model_fields[name].metadata:
            for key, nearest_outside in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                bound = getattr(constraint, key, None)
                if bound is None:
                    continue
                seen += 1
                outside = bound + nearest_outside * 8
                (found, *_) = settings_file.check({name: outside})
                shown = f"{bound:g}" if bound < 100_000 else f"{bound:,}"
                assert found.field == name and str(found).startswith(f"{info(name).label} is {outside}; it must")
                assert shown in str(found), str(found)
    assert seen > 60


@pytest.mark.parametrize(("values", "sentence"), SENTENCES, ids=lambda v: next(iter(v)) if isinstance(v, dict) else "")
def test_a_mistake_is_a_sentence_under_its_field(values: dict[str, Any], sentence: str) -> None:
    (found,) = settings_file.check(values, where="run.toml")
    assert (found.field, str(found)) == (next(iter(values)), sentence)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        settings_file.from_dict(values, where="run.toml")


def test_all_mistakes_are_told_together_and_long_values_are_shortened() -> None:
    found = settings_file.check({"rank": "9" * 5000, "flip": "x", "rnak": 1})
    assert sorted(e.field for e in found) == ["flip", "rank", "rnak"]
    assert all(len(str(e)) < 200 for e in found)
    assert all(field in (*FIELDS, "rnak") for field in (e.field for e in found))


def test_rules_just_kept_are_no_mistake() -> None:
    for values in (
        {"timestep_min": 499, "timestep_max": 500}, {"bucket_min": 512, "bucket_max": 512},
        {"bucket_step": 128, "resolution": 128}, {"debiased": True, "min_snr_gamma": 0}, {"noise_offset": 0.1},
        {"multires_iterations": 6}, {"epochs": 3, "save_every_epochs": 3}, {"save_every_epochs": 3},
        {"steps": 10, "warmup_steps": 9}, {"steps": 10, "warmup_steps": 10, "epochs": 1},
        {"bucket_max": 256, "buckets": False}, {"learning_rate": "1e-4"}, {"targets": ["attention", "attention"]},
    ):  # fmt: skip
        assert settings_file.check(values) == [], values
    assert settings_file.from_dict({"targets": ["attention", "attention"]}).targets == ("attention",)


@pytest.mark.parametrize("left_out", [{"noise_offset": 0.05, "multires_iterations": 0}, {}])
def test_all_fields_survive_a_run_file(left_out: dict[str, Any], tmp_path: Path) -> None:
    settings = settings_file.from_dict(OTHER | left_out)
    path = tmp_path / "run.toml"
    path.write_text(settings_file.dumps(settings), encoding="utf-8")
    back = settings_file.read(path)
    for name in FIELDS:
        assert getattr(back, name) == getattr(settings, name), name


def test_the_defaults_survive_a_run_file(tmp_path: Path) -> None:
    """No folder given stays no folder given, rather than the folder that the run file happens to lie in."""
    path = tmp_path / "run.toml"
    path.write_text(settings_file.dumps(TrainingSettings()), encoding="utf-8")
    assert settings_file.read(path) == TrainingSettings(runs_folder=tmp_path / "runs")


def test_relative_paths_in_a_run_file_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    paths = ("data", "regularization", "validation", "start_from", "cache_folder", "runs_folder")
    lines = [f'{name} = "sub/{name}"' for name in paths]
    Path("here/run.toml").write_text("\n".join([*lines, 'base = "model"']), encoding="utf-8")
    settings = settings_file.read(Path("here/run.toml"))
    assert {name: getattr(settings, name) for name in paths} == {name: Path("here/sub", name) for name in paths}
    assert Path(settings.base) == Path("here/model")
    Path("run.toml").write_text(f'data = "{(tmp_path / "there").as_posix()}"\nbase = "stays/a/name"', encoding="utf-8")
    assert settings_file.read(Path("run.toml")).data == tmp_path / "there"
    assert settings_file.read(Path("run.toml")).base == "stays/a/name"


def test_more_pictures_in_a_run_file_are_relative_to_the_file_and_what_is_left_out_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    there = (tmp_path / "there").as_posix()
    lines = f'more_data = ["sub", "sub/one.png", "{there}", "~/pictures"]\nleft_out = ["sub/a.png", "~/b.png"]'
    Path("here").mkdir()
    Path("here/run.toml").write_text(lines, encoding="utf-8")
    settings = settings_file.read(Path("here/run.toml"))
    home = tmp_path / "home" / "pictures"
    assert settings.more_data == (Path("here/sub"), Path("here/sub/one.png"), tmp_path / "there", home)
    assert settings.left_out == ("sub/a.png", "~/b.png")


def test_more_pictures_name_each_place_once_and_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_file.from_dict({"more_data": ["a", "", "b", "a", "."]})
    assert settings.more_data == (Path("a"), Path("b"), tmp_path)


def test_a_tilde_in_a_run_file_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    (tmp_path / "run.toml").write_text('data = "~/pictures"', encoding="utf-8")
    assert settings_file.read(tmp_path / "run.toml").data == tmp_path / "home" / "pictures"


@pytest.mark.parametrize("base", ["demo", ""])
def test_the_words_for_the_demo_model_and_for_none_are_no_paths(base: str, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "run.toml").write_text(f'base = "{base}"', encoding="utf-8")
    assert settings_file.read(tmp_path / "run.toml").base == base


def test_a_run_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbf" + 'trigger = "zörblin"'.encode())
    assert settings_file.read(tmp_path / "run.toml").trigger == "zörblin"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("rank = ", r"run\.toml is not a TOML file: "),
        (b"trigger = '\xff'", r"run\.toml is not a TOML file: "),
        (f"version = {VERSION + 1}", rf"\(file version {VERSION + 1}, this one reads up to {VERSION}\)\."),
        ("version = 0", r"run\.toml has the file version 0"),
        ('version = "1"', r'run\.toml has the file version "1"'),
        ("version = true", r"run\.toml has the file version True"),
        ("rank = 0", "Rank is 0; it must lie between 1 and 1024"),
        ("[lora]\nrank = 8", r'Unknown setting "lora" in run\.toml'),
    ],
)
def test_an_unusable_run_file_is_told_in_a_sentence(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=sentence):
        settings_file.read(tmp_path / "run.toml")


def test_a_run_file_that_is_missing_or_a_folder_or_below_a_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no run file .*nothing\.toml"):
        settings_file.read(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match=r"is a folder; give the run\.toml in it"):
        settings_file.read(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be read: "):
        settings_file.read(tmp_path / "file" / "run.toml")


MIXING = "Shuffle tags and tag dropout have no effect with 1 caption variant."


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"optimizer": "prodigy"},
            "Prodigy finds the learning rate itself; 0.0001 would stop it from learning. 1 is usual.",
        ),
        ({"learning_rate": 0.02}, "A learning rate of 0.02 is very high for adamw; 1e-4 to 1e-3 is usual."),
        ({"shuffle_tags": True, "caption_variants": 1}, MIXING),
        ({"tag_dropout": 0.1, "caption_variants": 1}, MIXING),
        (
            {"dora": True},
            "DoRA files are read by few programs (diffusers ignores what is special in them); try the file where you need it.",
        ),
        ({"conv_rank": 4}, "Convolution rank has no effect: convolutions are not among the layers."),
        (
            {"previews": [{}], "preview_every_steps": 0},
            "Preview prompts are given, but preview every is 0: none will be drawn.",
        ),
    ],
)
def test_a_setting_without_effect_is_noted(values: dict[str, Any], sentence: str) -> None:
    assert notes(settings_file.from_dict(values)) == [sentence]


def test_usual_settings_have_no_notes() -> None:
    for values in (
        {}, {"optimizer": "prodigy", "learning_rate": 1.0}, {"conv_rank": 4, "targets": ["convolutions"]},
        {"previews": [{}]}, {"caption_variants": 1},
    ):  # fmt: skip
        assert notes(settings_file.from_dict(values)) == [], values


def test_the_title_is_the_name_or_the_trigger_or_the_folder() -> None:
    settings = TrainingSettings(name="Fox", trigger="zorblin", data=Path("a/foxes"))
    assert settings.title == "Fox"
    assert settings.model_copy(update={"name": ""}).title == "zorblin"
    assert settings.model_copy(update={"name": "", "trigger": ""}).title == "foxes"
    assert TrainingSettings().title == "lora"
    assert TrainingSettings(more_data=(Path("a/v1.5"), Path("b"))).title == "v1.5"
    assert TrainingSettings(more_data=(Path("a/bears/01.PNG"),)).title == "bears"
    assert TrainingSettings(data=Path("a/foxes"), more_data=(Path("a/bears"),)).title == "foxes"


@pytest.mark.parametrize(
    ("changes", "packing"),
    [
        ({}, "auto"),
        ({"packed_weights": "off"}, "off"),
        ({"packed_weights": "on", "dora": True}, "off"),
        ({"quantization": "nf4"}, "off"),
        ({"quantization": "nf4", "packed_weights": "on"}, "on"),
    ],
)
def test_what_is_short_of_memory_is_not_packed_by_itself(changes: dict[str, Any], packing: str) -> None:
    assert TrainingSettings(**changes).packing == packing
