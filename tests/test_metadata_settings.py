"""Settings to metadata and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_metadata import built, facts, settings
from trainer import settings_file
from trainer.metadata import Words, retold
from trainer.metadata_settings import settings_from_metadata
from trainer.settings import TrainingSettings

MAPPED = {
    "rank": 24, "alpha": 12.0, "dropout": 0.1, "learning_rate": 3e-4, "train_text_encoder": True, "text_encoder_learning_rate": 2e-5,
    "schedule": "cosine_restarts", "warmup_steps": 7, "optimizer": "lion8bit", "weight_decay": 0.2, "gradient_clip": 0.5, "accumulation": 3,
    "gradient_checkpointing": "all", "batch_size": 5, "seed": 9, "clip_skip": 2, "max_tokens": 150, "resolution": 768, "buckets": False, "upscale": False,
    "bucket_min": 320, "bucket_max": 1536, "flip": True, "keep_tokens": 2, "shuffle_tags": True, "caption_dropout": 0.05, "tag_dropout": 0.25,
    "multires_iterations": 6, "multires_discount": 0.4, "input_perturbation": 0.1, "zero_terminal_snr": True, "loss": "huber", "huber_c": 0.3, "prior_weight": 0.5, "dora": True,
    "author": "Ada", "description": "A thing.", "license": "CC0", "trigger": "zrb", "name": "My thing", "min_snr_gamma": 0.0, "debiased": True,
    "targets": ("attention", "feed_forward", "projections", "convolutions"), "conv_rank": 4, "conv_alpha": 2.0,
}  # fmt: skip


def back(**changes: Any) -> dict[str, Any]:
    chosen = settings(**changes)
    return settings_from_metadata(built(chosen, facts(total_steps=70)))


@pytest.mark.parametrize("name", MAPPED)
def test_each_setting_comes_back_from_the_metadata(name: str) -> None:
    """All of them changed at once, so that none comes back by being the default."""
    values = back(**MAPPED)
    expected = MAPPED[name]
    assert values[name] == (list(expected) if isinstance(expected, tuple) else expected)
    assert type(values[name]) in (str, int, float, bool, list)


def test_what_comes_back_can_be_used() -> None:
    values = back(**MAPPED)
    assert isinstance(settings_file.from_dict(values), TrainingSettings)
    assert values["steps"] == 70
    assert (
        not {"data", "more_data", "regularization", "validation", "start_from", "runs_folder", "cache_folder"}
        & values.keys()
    )


def test_plain_settings_come_back_plain() -> None:
    plain = TrainingSettings(data=Path("/x"), base="demo", name="a", trigger="b")
    values = settings_from_metadata(built(plain, facts(precision="fp32")))
    again = settings_file.from_dict(values)
    differing = {n for n in TrainingSettings.model_fields if getattr(plain, n) != getattr(again, n)}
    assert differing <= {"data", "steps"}
    assert values["base"] == "demo"


def test_the_strength_of_rslora_is_kept() -> None:
    values = back(rank=16, alpha=2.0, rslora=True)
    assert values["alpha"] == 8.0 and "rslora" not in values


def test_kohyas_own_words_are_understood() -> None:
    """As sd-scripts writes them: sizes with a comma, Prodigy by its module, text for numbers."""
    values = settings_from_metadata(
        {
            "ss_resolution": "(1024, 768)", "ss_optimizer": "prodigyopt.prodigy.Prodigy(decouple=True,weight_decay=0.5)", "ss_unet_lr": "1.0",
            "ss_network_dim": "32", "ss_network_alpha": "16.0", "ss_network_args": '{"conv_dim": "8", "conv_alpha": "4"}', "ss_text_encoder_lr": "0.5",
            "ss_lr_scheduler": "cosine_with_restarts", "ss_max_train_steps": "2000",
        }
    )  # fmt: skip
    assert values == {
        "rank": 32, "alpha": 16.0, "learning_rate": 1.0, "text_encoder_learning_rate": 0.5, "schedule": "cosine_restarts", "optimizer": "prodigy",
        "weight_decay": 0.5, "steps": 2000, "resolution": 888, "train_text_encoder": True, "conv_rank": 8, "conv_alpha": 4.0,
        "targets": ["attention", "feed_forward", "projections", "convolutions"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {}, {"ss_network_dim": "Dynamic"}, {"ss_network_dim": "0"}, {"ss_optimizer": "some.NewOptimizer()"}, {"ss_lr_scheduler": "polynomial"},
        {"ss_network_args": "{"}, {"ss_network_args": "[1]"}, {"ss_network_args": '{"conv_dim": "x"}'}, {"ss_clip_skip": "None"}, {"ss_unet_lr": "1e999"},
        {"ss_loss_type": "smooth_l1"}, {"ss_flip_aug": "maybe"}, {"ss_resolution": "large"}, {"ss_seed": "nan"}, {"ss_max_token_length": "77"},
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_left_out(said: dict[str, str]) -> None:
    assert settings_from_metadata(said) == {}


def test_min_snr_that_is_off_is_not_switched_on() -> None:
    assert settings_from_metadata({"ss_min_snr_gamma": "None"}) == {"min_snr_gamma": 0.0}
    assert settings_from_metadata({"ss_min_snr_gamma": "3"}) == {"min_snr_gamma": 3.0}
    assert back(noise_offset=0.05)["noise_offset"] == 0.05


def test_one_bad_value_takes_no_other_with_it() -> None:
    assert settings_from_metadata({"ss_network_dim": "0", "ss_seed": "7"}) == {"seed": 7}


def test_other_words_change_title_description_and_tags_alone() -> None:
    before = built()
    after = retold(before, Words(" My thing: 2 ", "It is\ngood.", "a,, b ,c"))
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert changed == {
        "modelspec.title",
        "ss_output_name",
        "modelspec.description",
        "ss_training_comment",
        "modelspec.tags",
    }
    assert (after["modelspec.title"], after["ss_output_name"]) == ("My thing: 2", "My_thing_2")
    assert after["modelspec.description"] == after["ss_training_comment"] == "It is\ngood."
    assert after["modelspec.tags"] == "a, b, c"


def test_words_that_are_not_given_stay_and_empty_ones_are_taken_out() -> None:
    before = built(settings(description="old"))
    assert retold(before, Words()) == before
    after = retold(before, Words("", "", ""))
    assert after["modelspec.title"] == before["modelspec.title"], "a file is never without a title"
    assert (
        "modelspec.description" not in after
        and "modelspec.tags" not in after
        and after["ss_training_comment"] == "None"
    )


def test_text_that_a1111_would_take_for_a_table_is_kept_from_it() -> None:
    assert retold(built(), Words(description="{a}"))["modelspec.description"] == " {a}"
