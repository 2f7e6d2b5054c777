"""Concepts, crops, masks and prompt features in whole runs on a tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import draw_pictures
from tests.runs import losses, make_run, train
from trainer import edits
from trainer.events import Started
from trainer.pixels import header_size

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder


def exported(folder: RunFolder) -> dict[str, Any]:
    return load_file(next(folder.export.glob("*.safetensors")))


def test_a_black_mask_teaches_nothing_and_a_white_one_everything(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "pictures", count=2)
    plain = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path / "plain")))
    for grey in (0, 255):
        for path in sorted(pictures.glob("?.png")):
            Image.new("L", header_size(path), grey).save(path.with_name(f"{path.stem}-mask.png"))
        run = make_run(tiny_models["sd1"], pictures, tmp_path / f"run{grey}", masked_loss=True, mask_outside=0)
        found = losses(train(run))
        if grey == 0:
            assert found == [0, 0, 0, 0]
            assert not any(v.any() for k, v in exported(run).items() if k.endswith("lora_up.weight"))
        else:
            assert found == pytest.approx(plain, rel=1e-5)


def test_transparency_can_be_the_mask(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "pictures", count=1)
    path = next(pictures.glob("*.png"))
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    picture.putalpha(0)
    picture.save(path)
    run = make_run(tiny_models["sd1"], pictures, tmp_path, masked_loss=True, mask_outside=0, alpha_mask=True, steps=2)
    assert losses(train(run)) == [0, 0]
    run = make_run(tiny_models["sd1"], pictures, tmp_path, masked_loss=True, mask_outside=0, steps=2)
    assert min(losses(train(run))) > 0


def test_several_concepts_are_trained_together(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    own, second, prior = (draw_pictures(tmp_path / name, count=2) for name in ("own", "second", "prior"))
    concepts = [
        {"folder": str(second), "trigger": "blix", "repeats": 2, "weight": 0.5, "flip": True},
        {"folder": str(prior), "regularization": True},
    ]
    run = make_run(tiny_models["sd1"], own, tmp_path, trigger="zorblin", concepts=concepts, steps=12)
    events = train(run)
    started = next(e for e in events if isinstance(e, Started))
    assert started.pictures == 4  # the regularisation pictures are none to learn
    assert started.steps_per_epoch == 2 + 2 * 2 + 6 // 2 * 2
    assert len(losses(events)) == 12 and exported(run)


def test_crops_change_what_is_trained_and_the_original_stays(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "pictures", count=1)
    path = next(pictures.glob("*.png"))
    before, size = path.read_bytes(), header_size(path)
    made = edits.Edits(tmp_path / "edits")
    plain = losses(train(make_run(tiny_models["sd1"], pictures, tmp_path / "a", edits=str(made.folder))))
    made.set(path.name, edits.Edit(size, (0, 0, size[0] // 2, size[1] // 2)))
    run = make_run(tiny_models["sd1"], pictures, tmp_path / "b", edits=str(made.folder))
    cropped = losses(train(run))
    assert cropped != plain
    assert losses(train(make_run(tiny_models["sd1"], pictures, tmp_path / "c"))) == plain
    assert path.read_bytes() == before
    assert (run.path / "edits" / edits.FILE).is_file()


def test_wildcards_lines_and_weights_are_all_encoded_before_the_first_step(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    pictures = draw_pictures(tmp_path / "pictures", count=1)
    next(pictures.glob("*.txt")).write_text("a {red|blue} hat\n(round:1.4) thing, x, y\n")
    run = make_run(
        tiny_models["sd1"], pictures, tmp_path, steps=20, wildcards=True, prompt_weights=True, caption_lines="variants",
        shuffle_tags=True, caption_variants=9, previews=[{"prompt": "(hat:1.3)", "steps": 1}], preview_every_steps=20,
    )  # fmt: skip
    assert len(losses(train(run))) == 20  # a text that was not encoded would have ended it
