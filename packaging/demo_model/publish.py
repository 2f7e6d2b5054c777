"""Puts the trained parts together as the diffusers folder resources/demo/model (fp16), and draws the demo data sets.

python publish.py            the model, once the three trainings are done (or a snapshot of them)
python publish.py --data     the two concepts' pictures and captions
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file

from autoencoder import CONFIG as AUTOENCODER
from pictures import COLOURS, SCENES, SUBJECTS, Spec, draw, random_spec
from unet import CONFIG as UNET
from unet import SCHEDULER, finished_autoencoder
from unet import build as build_unet
from work import WORK

ROOT = Path(__file__).resolve().parents[2] / "resources" / "demo"


def publish_model(out: Path) -> None:
    """Writes the model folder; only moving averages are published."""
    shutil.rmtree(out, ignore_errors=True)
    autoencoder, scale = finished_autoencoder()
    autoencoder.register_to_config(scaling_factor=round(scale, 5), **AUTOENCODER)
    autoencoder.half().save_pretrained(out / "vae")
    unet = build_unet()
    unet.load_state_dict(
        {k[8:]: v for k, v in load_file(WORK / "unet.safetensors").items() if k.startswith("average.")}
    )
    unet.register_to_config(**UNET)
    unet.half().save_pretrained(out / "unet")
    _publish_text(out)
    DDIMScheduler(**SCHEDULER, set_alpha_to_one=False).save_pretrained(out / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "feature_extractor": [None, None], "image_encoder": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{out}: {size / 1e6:.2f} MB")


def _publish_text(out: Path) -> None:
    """The text encoder with the level `text_model.` in its names: transformers 5 drops it, other programs look for it."""
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(WORK / part, out / part)
    path = out / "text_encoder" / "model.safetensors"
    tensors = {
        f"text_model.{k.removeprefix('text_model.')}": v.half()
        for k, v in load_file(path).items()
        if not k.endswith("position_ids")
    }
    save_file(tensors, path, {"format": "pt"})
    model = json.loads((out / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (out / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = (" ".join(m) if isinstance(m, list) else m for m in model["merges"])
    (out / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    config = out / "text_encoder" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("float32", "float16"), encoding="utf-8")


def publish_data(root: Path) -> None:
    """Sixteen pictures to learn from and eight held-out ones of each concept."""
    rng = random.Random(11)
    for name, draw_one in (("character", _character), ("style", _style)):
        for folder, count in ((name, 16), (f"{name}_validation", 8)):
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
            for i in range(count):
                picture, caption = draw_one(i, rng)
                picture.save(root / folder / f"{i + 1:02d}.png", optimize=True)
                (root / folder / f"{i + 1:02d}.txt").write_text(caption + "\n", encoding="utf-8")
    _publish_base(root / "base")


def _publish_base(folder: Path) -> None:
    """Pictures of what the base model knows: regularisation pictures, so that a concept stays with its trigger word."""
    rng = random.Random(12)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i in range(24):
        spec = random_spec(rng)
        draw(spec, rng).save(folder / f"{i + 1:02d}.png", optimize=True)
        (folder / f"{i + 1:02d}.txt").write_text(
            f"a {spec.colour} {spec.subject}, {spec.scene}, {spec.style}\n", encoding="utf-8"
        )


def _character(i: int, rng: random.Random):
    scene, style = SCENES[i % 4], ("flat drawing", "ink drawing")[i // 4 % 2]
    return draw(Spec("zorblin", "green", scene, style), rng), f"zorblin, {scene}, {style}"


def _style(i: int, rng: random.Random):
    subject, colour, scene = list(SUBJECTS)[i % 10], list(COLOURS)[(3 * i + i // 8) % 8], SCENES[i % 4]
    return draw(Spec(subject, colour, scene, "nwave style"), rng), f"a {colour} {subject}, {scene}, nwave style"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", action="store_true")
    torch.set_grad_enabled(False)
    if parser.parse_args().data:
        publish_data(ROOT)
    else:
        publish_model(ROOT / "model")
