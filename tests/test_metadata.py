"""What LoRA files say about themselves, read back by the rules of the programs that read them."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer import metadata
from trainer.batches import Entry
from trainer.dataset import Picture
from trainer.families import FAMILIES
from trainer.metadata import Facts
from trainer.pixels import Fit
from trainer.settings import TrainingSettings

HOME = Path("/home/ada/secret")
STARTED = 1_790_000_000.25


def entry(name: str, caption: str, *, repeats: int = 1, size: tuple[int, int] = (64, 64)) -> Entry:
    picture = Picture(HOME / "pictures" / name, *size, caption, repeats)
    return Entry(picture, Fit((64, 64), size, (0, 0)), (caption,))


ENTRIES = (
    entry("a.png", "zorblin, red hat, smiling"),
    entry("b.png", "zorblin, red hat", repeats=5, size=(96, 64)),
    entry("c.png", "zorblin, ünïcode, {braces}"),
)


def settings(**changes: Any) -> TrainingSettings:
    places = {
        "base": str(HOME / "models" / "dreamy-v1-5"),
        "data": HOME / "pictures",
        "regularization": HOME / "other pictures",
        "validation": HOME / "held out",
        "runs_folder": HOME / "runs",
        "cache_folder": HOME / "cache",
        "start_from": HOME / "old.safetensors",
    }
    return TrainingSettings(**places | {"name": "zorblin", "trigger": "zorblin", "rank": 8, "alpha": 4.0} | changes)


def facts(family: str = "sd1", **changes: Any) -> Facts:
    usual = Facts(FAMILIES[family], False, "bf16", ENTRIES, (), 7, 70, STARTED)
    return replace(usual, **changes)


def built(chosen: TrainingSettings | None = None, known: Facts | None = None, *, step: int = 35) -> dict[str, str]:
    return metadata.build(chosen or settings(), known or facts(), step=step, finished=STARTED + 600)


# The readers' rules


def a1111_table(values: dict[str, str]) -> dict[str, Any]:
    """`read_metadata_from_safetensors`: whatever begins with a brace is parsed as JSON if it can be."""
    out: dict[str, Any] = dict(values)
    for key, value in values.items():
        if value[0:1] == "{":
            with contextlib.suppress(ValueError):
                out[key] = json.loads(value)
    return out


def a1111_version(values: dict[str, str]) -> str:
    if values.get("ss_base_model_version", "").startswith("sdxl_"):
        return "sdxl"
    return "sd2" if values.get("ss_v2") == "True" else "sd1"


def forge_version(values: dict[str, str]) -> str:
    architecture = values.get("modelspec.architecture")
    if architecture == "stable-diffusion-xl-v1-base/lora" or values.get("ss_base_model_version", "").startswith(
        "sdxl_"
    ):
        return "sdxl"
    if values.get("ss_v2") == "True":
        return "sd2"
    return "sd1" if architecture == "stable-diffusion-v1/lora" else "unknown"


def sdnext_version(values: dict[str, str]) -> str:
    base, architecture = values.get("ss_base_model_version", ""), values.get("modelspec.architecture", "")
    if base.startswith("sd_v1"):
        return "sd1"
    if base.startswith("sdxl"):
        return "sdxl"
    if architecture.startswith("stable-diffusion-v1"):
        return "sd1"
    if architecture.startswith("stable-diffusion-xl"):
        return "sdxl"
    if "v1-5" in values.get("ss_sd_model_name", ""):
        return "sd1"
    return "sd2" if values.get("ss_v2") == "True" else "unknown"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("v_prediction", [False, True])
@pytest.mark.parametrize("base", ["/models/mine", "/models/v2-1_768-ema"])
def test_a1111_forge_and_sdnext_take_the_file_for_its_family(family: str, v_prediction: bool, base: str) -> None:
    values = built(settings(base=base), facts(family, v_prediction=v_prediction))
    assert [rule(values) for rule in (a1111_version, forge_version, sdnext_version)] == [family] * 3


@pytest.mark.parametrize(
    ("family", "v_prediction", "base_version", "v2", "architecture", "prediction"),
    [
        ("sd1", False, "sd_v1", "False", "stable-diffusion-v1/lora", "epsilon"),
        ("sd2", False, "sd_v2", "True", "stable-diffusion-v2-512/lora", "epsilon"),
        ("sd2", True, "sd_v2_v", "True", "stable-diffusion-v2-768-v/lora", "v"),
        ("sdxl", False, "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "epsilon"),
        ("sdxl", True, "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "v"),
    ],
)
def test_the_base_model_is_named_as_in_kohyas_tables(
    family: str, v_prediction: bool, base_version: str, v2: str, architecture: str, prediction: str
) -> None:
    values = built(known=facts(family, v_prediction=v_prediction))
    assert values["ss_base_model_version"] == base_version
    assert values["ss_v2"] == v2
    assert values["modelspec.architecture"] == architecture
    assert values["modelspec.prediction_type"] == prediction
    implementation = "https://github.com/Stability-AI/generative-models" if family == "sdxl" else "diffusers"
    assert values["modelspec.implementation"] == implementation


# Form


@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_is_a_string_that_safetensors_takes(family: str) -> None:
    values = built(known=facts(family))
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in values.items())
    assert all(re.fullmatch(r"(ss_|modelspec\.)[a-z0-9_]+", key) for key in values)
    assert all(values.values()), "a key without a value says nothing"


def test_booleans_and_absent_values_are_pythons_words() -> None:
    values = built(settings(flip=True))
    assert values["ss_flip_aug"] == "True"
    assert values["ss_debiased_estimation"] == values["ss_lowram"] == "False"
    assert values["ss_clip_skip"] == values["ss_noise_offset"] == values["ss_text_encoder_lr"] == "None"
    assert not {"true", "false", "null", "none", "yes", "no"} & (set(values.values()) - {values["ss_mixed_precision"]})


def test_tables_are_json_objects() -> None:
    tables = {"ss_network_args", "ss_bucket_info", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency"}
    values = built(settings(targets=("convolutions",), conv_rank=2))
    assert {key for key, value in values.items() if value.startswith("{")} == tables
    assert all(isinstance(json.loads(values[key]), dict) for key in tables)


def test_tag_frequency_has_two_levels_and_counts() -> None:
    frequency = json.loads(built()["ss_tag_frequency"])
    expected = {"zorblin": 3, "red hat": 2, "smiling": 1, "ünïcode": 1, "{braces}": 1}
    assert frequency == {"pictures": expected}
    assert all(type(count) is int for count in frequency["pictures"].values())


def test_pictures_from_several_folders_are_counted_under_their_own_ones() -> None:
    """Also single files, under the folder they lie in, and two folders of one name, which no reader could tell apart."""

    def there(path: str, relative: str, caption: str, repeats: int = 1) -> Entry:
        picture = Picture(HOME / path, 64, 64, caption, repeats, relative)
        return Entry(picture, Fit((64, 64), (64, 64), (0, 0)), (caption,))

    entries = (
        there("pictures/a.png", "a.png", "fox"), there("pictures/3_x/b.png", "3_x/b.png", "fox, snow", 3),
        there("bears/deep/er/c.png", "deep/er/c.png", "bear"), there("bears/d.png", "d.png", "bear, snow"),
        there("old/bears/one.png", "one.png", "bear"),
    )  # fmt: skip
    chosen = settings(more_data=(HOME / "bears", HOME / "old" / "bears" / "one.png"), left_out=("secret.png",))
    values = built(chosen, facts(entries=entries))
    assert json.loads(values["ss_dataset_dirs"]) == {
        "1_pictures": {"n_repeats": 1, "img_count": 1},
        "3_pictures": {"n_repeats": 3, "img_count": 1},
        "bears": {"n_repeats": 1, "img_count": 3},
    }
    assert json.loads(values["ss_tag_frequency"]) == {
        "pictures": {"fox": 2, "snow": 1},
        "bears": {"bear": 3, "snow": 1},
    }
    assert values["ss_num_train_images"] == "7"
    assert not any("secret" in value or "old" in value for value in values.values())
    only = built(settings(data=Path(), more_data=(HOME / "bears",), regularization=None), facts(entries=entries[2:4]))
    assert json.loads(only["ss_dataset_dirs"]) == {"bears": {"n_repeats": 1, "img_count": 2}}


def test_dataset_dirs_and_bucket_info_have_kohyas_form() -> None:
    prior = (entry("d.png", "person"),)
    values = a1111_table(built(known=facts(regularization=prior)))
    assert values["ss_dataset_dirs"] == {
        "1_pictures": {"n_repeats": 1, "img_count": 2},
        "5_pictures": {"n_repeats": 5, "img_count": 1},
    }
    assert values["ss_reg_dataset_dirs"] == {"other pictures": {"n_repeats": 1, "img_count": 1}}
    info = values["ss_bucket_info"]
    assert info["buckets"] == {"0": {"resolution": [64, 64], "count": 7}}
    assert info["mean_img_ar_error"] == pytest.approx((0 + 0.5 + 0) / 3)
    assert (values["ss_num_train_images"], values["ss_num_reg_images"]) == ("7", "1")


# Content


def test_numbers_of_the_run_are_those_of_this_checkpoint() -> None:
    values = built(settings(accumulation=2, seed=7), facts(batches_per_epoch=7, total_steps=70), step=35)
    assert values["ss_steps"] == "35"
    assert values["ss_epoch"] == "10"  # 35 steps x 2 batches / 7
    assert values["ss_max_train_steps"] == "70"
    assert values["ss_num_epochs"] == "20"
    assert values["ss_seed"] == "7"
    assert values["ss_training_started_at"] == "1790000000.25"
    assert values["modelspec.date"] == "2026-09-21T14:23:20"
    assert built()["ss_session_id"].isdigit()
    assert built()["ss_session_id"] == built(step=70)["ss_session_id"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"ss_network_dim": "8", "ss_network_alpha": "4.0", "ss_network_args": "{}"}),
        ({"rslora": True, "rank": 16}, {"ss_network_dim": "16", "ss_network_alpha": "16.0"}),  # 4 sqrt(16)
        ({"targets": ("convolutions",)}, {"ss_network_args": '{"conv_dim": "8", "conv_alpha": "4.0"}'}),
        (
            {"targets": ("convolutions",), "conv_rank": 4, "conv_alpha": 1},
            {"ss_network_args": '{"conv_dim": "4", "conv_alpha": "1.0"}'},
        ),
        ({"dora": True}, {"ss_network_args": '{"dora_wd": "True"}'}),
        ({"loss": "huber", "huber_c": 0.2}, {"ss_loss_type": "huber", "ss_huber_c": "0.2"}),
        ({"min_snr_gamma": 0}, {"ss_min_snr_gamma": "None", "ss_loss_type": "l2"}),
        ({"clip_skip": 2}, {"ss_clip_skip": "2", "modelspec.encoder_layer": "2"}),
        ({"max_tokens": 225}, {"ss_max_token_length": "225"}),
        ({"schedule": "cosine_restarts"}, {"ss_lr_scheduler": "cosine_with_restarts"}),
        ({"train_text_encoder": True}, {"ss_text_encoder_lr": "1e-05"}),
        ({"resolution": 768}, {"ss_resolution": "(768, 768)", "modelspec.resolution": "768x768"}),
        ({"timestep_min": 200}, {"modelspec.timestep_range": "200,1000"}),
        ({"author": "Ada", "license": "CC0"}, {"modelspec.author": "Ada", "modelspec.license": "CC0"}),
    ],
    ids=str,
)
def test_settings_are_written_where_readers_look(changes: dict[str, Any], expected: dict[str, str]) -> None:
    values = built(settings(**changes))
    assert {key: values.get(key) for key in expected} == expected


def test_the_file_says_how_to_call_it() -> None:
    values = built()
    assert values["modelspec.trigger_phrase"] == "zorblin"
    assert values["modelspec.tags"] == "zorblin, red hat, smiling, ünïcode, {braces}"
    assert values["modelspec.title"] == values["ss_output_name"] == "zorblin"
    assert values["modelspec.sai_model_spec"] == "1.0.1"


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit", "lion", "lion8bit", "adafactor", "prodigy"])
def test_every_optimizer_has_its_class_name(optimizer: str) -> None:
    written = built(settings(optimizer=optimizer, weight_decay=0.5))["ss_optimizer"]
    assert written.lower().replace("bnb", "").split("(")[0].endswith(optimizer)
    assert written.endswith("(weight_decay=0.5)")


@pytest.mark.parametrize(("precision", "written"), [("fp32", "no"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_mixed_precision_is_kohyas_word(precision: str, written: str) -> None:
    assert built(known=facts(precision=precision))["ss_mixed_precision"] == written


# Privacy and text that would confuse readers


def test_no_value_tells_where_the_user_keeps_things() -> None:
    values = built()
    assert values["ss_sd_model_name"] == "dreamy-v1-5"
    for key, value in values.items():
        assert not re.search(r"\bada\b|home|secret", value), key
    with_separators = {key for key, value in values.items() if "/" in value or "\\" in value.replace("\\u", "")}
    assert with_separators == {"modelspec.architecture"}


@pytest.mark.parametrize("base", [r"C:\Users\ada\models\mine", "/home/ada/models/mine/", "ada/mine", "mine"])
def test_the_base_model_is_named_without_its_folder_on_every_system(base: str) -> None:
    assert built(settings(base=base))["ss_sd_model_name"] == "mine"


@pytest.mark.parametrize("text", ['{"a": 1}', "{masterpiece}, a hat", "{}"])
def test_text_that_looks_like_a_table_stays_text_for_a1111(text: str) -> None:
    texts = dict.fromkeys(("name", "trigger", "description", "author", "license"), text)
    values = built(settings(base=text, **texts), facts(entries=(entry("a.png", text),)))
    read = a1111_table(values)
    free = ["modelspec." + k for k in ("title", "trigger_phrase", "description", "author", "license", "tags")]
    for key in (*free, "ss_output_name", "ss_training_comment", "ss_sd_model_name"):
        assert isinstance(read[key], str), key
    assert values["modelspec.description"].strip() == text


@pytest.mark.parametrize(
    "name", ["none", "None", "Addams", "a:b", "a, b", "<lora:x>", "{x}", "x/y\\z", "a b", "...", "ünï"]
)
def test_the_output_name_can_be_called_in_a_prompt(name: str) -> None:
    """`none` and `Addams` are forbidden, `:`, `,`, `<`, `>` end the alias in `<lora:alias:1>`."""
    values = built(settings(name=name))
    alias = values["ss_output_name"]
    assert alias.lower() not in ("none", "addams", "")
    assert not set(alias) & set(":,<>{}/\\ ")
    assert values["modelspec.title"].strip() == name
