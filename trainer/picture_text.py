"""What a drawn picture says about how it was drawn: generation parameters as A1111 and Civitai read them. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL import Image

    from trainer.settings import PreviewPrompt

SAMPLER_TITLES = {
    "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_karras": "DPM++ 2M Karras", "ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a",
}  # fmt: skip


def parameters_text(prompt: PreviewPrompt, extra: Mapping[str, str]) -> str:
    """The generation parameters as A1111 writes them into PNG files and Civitai reads them.

    Three lines: prompt, negative prompt (left out when empty), then "Steps: 20, Sampler: ..., Size: 512x512, ...".
    """
    facts: dict[str, object] = {
        "Steps": prompt.steps, "Sampler": SAMPLER_TITLES[prompt.sampler], "CFG scale": f"{prompt.guidance:g}", "Seed": prompt.seed,
        "Size": f"{prompt.width}x{prompt.height}",
    }  # fmt: skip
    lines = [prompt.prompt]
    if prompt.negative:
        lines.append(f"Negative prompt: {prompt.negative}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in (facts | dict(extra)).items()))
    return "\n".join(lines)


def save(picture: Image.Image, path: Path, parameters: str) -> None:
    """Writes the PNG with the parameters in its text chunk."""
    text = PngInfo()
    text.add_text("parameters", parameters) if parameters.isascii() else text.add_itxt("parameters", parameters)
    picture.save(path, format="PNG", pnginfo=text)


def _quoted(value: str) -> str:
    """Values with a comma, a colon or a line break stand in quotes, as A1111's reader expects."""
    return (
        '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
        if any(c in value for c in ',:\n"')
        else value
    )
