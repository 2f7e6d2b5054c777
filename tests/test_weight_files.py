"""Which files of a folder are the weights: one format, one variant, all shards; everything else that lies there is left alone."""

from __future__ import annotations

import pytest

from trainer.families.weight_files import choose, is_index

UNET = "diffusion_pytorch_model"
SHARDS = [f"{UNET}-0000{n}-of-00002.safetensors" for n in (1, 2)]
HALF_SHARDS = [f"{UNET}.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
OLD_HALF_SHARDS = [f"model-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)]


@pytest.mark.parametrize(
    ("names", "plain", "small"),
    [
        ([f"{UNET}.safetensors"], [f"{UNET}.safetensors"], [f"{UNET}.safetensors"]),
        ([f"{UNET}.fp16.safetensors", f"{UNET}.safetensors"], [f"{UNET}.safetensors"], [f"{UNET}.fp16.safetensors"]),
        (["model.safetensors", "pytorch_model.fp16.bin"], ["model.safetensors"], ["model.safetensors"]),
        (["pytorch_model.bin", "pytorch_model.fp16.bin"], ["pytorch_model.bin"], ["pytorch_model.fp16.bin"]),
        ([*SHARDS, f"{UNET}.safetensors.index.json"], [*SHARDS, f"{UNET}.safetensors.index.json"], None),
        ([*HALF_SHARDS, f"{UNET}.safetensors.index.fp16.json"], [*HALF_SHARDS, f"{UNET}.safetensors.index.fp16.json"], None),
        ([*OLD_HALF_SHARDS, "model.safetensors.index.fp16.json"], [*OLD_HALF_SHARDS, "model.safetensors.index.fp16.json"], None),
        ([*SHARDS[:1], f"{UNET}.safetensors.index.json", f"{UNET}.bin"], [f"{UNET}.bin"], [f"{UNET}.bin"]),
        ([f"{UNET}.fp16.safetensors", "openvino_model.bin", f"{UNET}.non_ema.safetensors"], [f"{UNET}.fp16.safetensors"], None),
    ],
)  # fmt: skip
def test_one_whole_set_is_chosen(names: list[str], plain: list[str], small: list[str] | None) -> None:
    for wanted, is_small in ((plain, False), (plain if small is None else small, True)):
        found = choose(reversed(names), small=is_small)
        assert found is not None and sorted(found.files) == sorted(wanted)
        assert found.is_safe == wanted[0].endswith(".safetensors")
        assert found.variant == ("fp16" if "fp16" in wanted[0] else "")


@pytest.mark.parametrize(
    "names",
    [
        [], ["config.json"], [f"{UNET}.non_ema.safetensors"], SHARDS, [*SHARDS[1:], f"{UNET}.safetensors.index.json"],
        [*HALF_SHARDS, f"{UNET}.safetensors.index.json"], ["openvino_model.bin", "model.onnx", "flax_model.msgpack"], [f"my_{UNET}.safetensors"],
    ],
)  # fmt: skip
def test_what_is_not_whole_or_no_weights_is_none(names: list[str]) -> None:
    assert choose(names) is None


def test_indexes_are_told_from_configurations() -> None:
    assert is_index(f"{UNET}.safetensors.index.json") and is_index("model.safetensors.index.fp16.json")
    assert not is_index("config.json") and not is_index("tokenizer.json")
