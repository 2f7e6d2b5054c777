"""Captioners that write sentences, BLIP, BLIP-2 and Florence-2, through transformers; always the same for the same picture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
import transformers
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteria, StoppingCriteriaList

from trainer import device
from trainer.caption_plan import Proposal
from trainer.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trainer.captioner_files import Kind

LENGTHS = {"short": "<CAPTION>", "detailed": "<DETAILED_CAPTION>", "long": "<MORE_DETAILED_CAPTION>"}
MOST_TOKENS = {"beginning": 64, "length": 256}
BEAMS = 3  # with fewer, these models repeat themselves
BATCH_GPU, BATCH_CPU = 8, 1  # a CPU gains nothing by batches, and the first captions come sooner
_TASK = re.compile(r"<[A-Z_]+>")


class Writer:
    """A model that writes a sentence for each picture. As `captioner.Captioner`."""

    def __init__(self, folder: Path, kind: Kind, where: torch.device, prompt: str, batch: int) -> None:
        """Loads processor and weights.

        Args:
            folder: where it is.
            kind: what it is.
            where: the device.
            prompt: for Florence-2 short, detailed (the default), long or a task such as `<OCR>`; else how sentences begin, or
                a question that ends in a colon, which is left out of the caption.
            batch: pictures at once; 0 chooses.

        Raises:
            ModelError: it cannot be loaded.
            ConfigError: Florence-2 knows no such prompt.
        """
        self.batch = batch or (BATCH_CPU if where.type == "cpu" else BATCH_GPU)
        self._kind, self._where, self._dtype = kind, where, device.dtype_of("auto", where)
        self._prompt = _task(prompt) if kind.prompt == "length" else " ".join(prompt.split())
        self._processor, self._model = _load(folder, kind, self._dtype)
        self._model.to(where).eval()

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        """The picture as the model wants it, (C, H, W)."""
        pixels: torch.Tensor = self._processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"][0]
        return pixels

    @torch.inference_mode()
    def describe(self, prepared: Sequence[torch.Tensor], still: Callable[[], None]) -> list[Proposal]:
        """A sentence for each picture; `still` is called before every token."""
        inputs: dict[str, Any] = {"pixel_values": torch.stack(list(prepared)).to(self._where, self._dtype)}
        if self._prompt:
            inputs |= self._words(len(prepared))
        said = self._model.generate(
            **inputs, do_sample=False, num_beams=BEAMS, max_new_tokens=MOST_TOKENS[self._kind.prompt],
            stopping_criteria=StoppingCriteriaList([_Listening(still)]),
        )  # fmt: skip
        texts = self._processor.batch_decode(said, skip_special_tokens=True)
        return [Proposal(text=self._cleaned(text)) for text in texts]

    def _words(self, count: int) -> dict[str, torch.Tensor]:
        """The prompt as tokens, once for each picture."""
        blank = [
            Image.new("RGB", (32, 32))
        ] * count  # the processor alone knows how many places a picture takes among the tokens
        both = self._processor(images=blank, text=[self._prompt] * count, return_tensors="pt")
        return {k: both[k].to(self._where) for k in ("input_ids", "attention_mask")}

    def _cleaned(self, text: str) -> str:
        out = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if self._kind.prompt == "length" or not self._prompt:
            return out
        rest = out[len(self._prompt) :] if out.casefold().startswith(self._prompt.casefold()) else out
        rest = rest.strip()
        return rest if self._prompt.endswith(":") else f"{self._prompt} {rest}".strip()


class _Listening(StoppingCriteria):  # type: ignore[misc]
    """Never stops by itself, but lets the work be cancelled between two tokens."""

    def __init__(self, still: Callable[[], None]) -> None:
        self._still = still

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_more: object) -> torch.Tensor:
        self._still()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def _task(prompt: str) -> str:
    task = LENGTHS.get(prompt.lower() or "detailed", prompt)
    if not _TASK.fullmatch(task):
        raise ConfigError("", f'"{prompt}" is nothing that Florence-2 can be told; give {", ".join(LENGTHS)}, or a task such as <OCR>.')  # fmt: skip
    return task


def _load(folder: Path, kind: Kind, dtype: torch.dtype) -> tuple[Any, Any]:
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, said = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"The {kind.title} in {folder} cannot be loaded ({reason}). Download it again, or choose another."
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    if missing := sorted(said["missing_keys"]):
        raise ModelError(
            f"The {kind.title} in {folder} is not whole: {len(missing)} of its weights are missing, e.g. {missing[0]}. "
            "Download it again, or choose another."
        )
    if (
        kind.id == "blip2" and processor.num_query_tokens is None
    ):  # older files do not say how many places a picture takes
        processor.num_query_tokens = model.config.num_query_tokens
    return processor, model
