"""A base model as a single file (.safetensors, .ckpt, .pt) in the original layout, read part by part without a copy.

Each weight is read from its place in the file straight into a tensor and cast, so that memory holds the part in the compute
dtype and one weight more; parts that are not asked for are never touched. Nothing is unpickled, not even of a .ckpt.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from transformers import CLIPTokenizer, PreTrainedModel

import resources
from trainer.errors import ModelError, os_message
from trainer.families import original
from trainer.families.headers import identify_header, read
from trainer.families.vocabulary import merges, vocabulary

if TYPE_CHECKING:
    from io import RawIOBase
    from pathlib import Path

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_TITLES = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


def config_folder(family: str) -> Path:
    """Where the configurations of a family's published models lie."""
    return resources.path("configs", family)


class FileSource:
    """Reads parts of a single file."""

    def __init__(self, path: Path, family: str) -> None:
        self._path, self._configs = path, config_folder(family)
        self._header = read(path)
        self._identity = identify_header(self._header, path.name, path.stat().st_size)

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part as published; the scheduler's with what the file says of its prediction.

        A file that does not tell its prediction (SD 2.x) has none in it.
        """
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        config: dict[str, Any] = json.loads((self._configs / part / name).read_text(encoding="utf-8"))
        if part == "scheduler":
            del config["prediction_type"]
            if self._identity.prediction:
                config["prediction_type"] = self._identity.prediction
            config["rescale_betas_zero_snr"] = self._identity.zero_snr
        return config

    def read(self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device) -> Any:
        """A part with its weights.

        Raises:
            ModelError: the file cannot be read, or weights are missing or have another shape.
        """
        config = self.config(part)
        with init_empty_weights():
            is_text = issubclass(kind, PreTrainedModel)
            model = kind(kind.config_class(**config)) if is_text else kind.from_config(config)
        wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        origins = self._origins(part, wanted, config)
        weights: dict[str, torch.Tensor] = {}
        spans = self._header.spans
        # One buffer for all: a fresh one for each weight would leave holes of a third of the part in malloc's heap.
        buffer = torch.empty(
            max(stop - start for start, stop in (spans[o.name] for o in origins.values())), dtype=torch.uint8
        )
        try:
            with self._path.open("rb", buffering=0) as file:
                for name in sorted(origins, key=lambda name: spans[origins[name].name]):
                    stored = self._weight(file, origins[name], wanted[name], buffer)
                    weights[name] = torch.empty(wanted[name], dtype=dtype, device=device).copy_(stored)
        except OSError as error:
            raise ModelError(os_message(f"The base model {self._path} cannot be read", error)) from error
        model.load_state_dict(weights, assign=True)
        return model.to(device)  # buffers

    def tokenizer(self, part: str) -> CLIPTokenizer:
        """The tokenizer of a text encoder: CLIP's own."""
        folder = self._configs / part.replace("text_encoder", "tokenizer")
        if any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return CLIPTokenizer(
            vocab=vocabulary(),
            merges=list(merges()),
            model_max_length=said["model_max_length"],
            pad_token=said["pad_token"],
        )

    def fingerprint(self, parts: list[str]) -> str:
        """Tells models apart without reading gigabytes: names and shapes of the parts' tensors and 16 samples of each part."""
        digest = hashlib.blake2b(digest_size=16)
        with self._path.open("rb") as file:
            for part in parts:
                at = original.place(part, self._header.shapes) if part in original.PLACES else None
                if at is None:
                    continue
                spans = self._header.spans
                names = sorted((n for n in spans if n.startswith(at.prefix)), key=lambda n: spans[n])
                digest.update(repr([(n, self._header.shapes[n], self._header.dtypes[n]) for n in names]).encode())
                for i in range(_SAMPLES):
                    start, stop = spans[names[len(names) * i // _SAMPLES]]
                    file.seek(start)
                    digest.update(file.read(min(_SAMPLE_BYTES, stop - start)))
        return digest.hexdigest()

    def _origins(
        self, part: str, wanted: dict[str, tuple[int, ...]], config: dict[str, Any]
    ) -> dict[str, original.Origin]:
        """Where each weight of a part comes from; all must be there."""
        at = original.place(part, self._header.shapes)
        if at is None:
            raise ModelError(f"{self._path.name} holds no {_TITLES[part]}. {_no_vae(part)}")
        origins = {name: original.origin(name, at, config) for name in wanted}
        missing = [o.name for o in origins.values() if o.name not in self._header.spans]
        if missing:
            raise ModelError(
                f"The {_TITLES[part]} of {self._path.name} lacks {len(missing)} of its weights, e.g. {missing[0]}. "
                "Copy or download the model again, whole."
            )
        return origins

    def _weight(
        self, file: RawIOBase, origin: original.Origin, shape: tuple[int, ...], buffer: torch.Tensor
    ) -> torch.Tensor:
        """One weight as stored in the file, in the shape that the part wants; a view of the buffer, good until the next."""
        stored, (start, stop) = self._header.shapes[origin.name], self._header.spans[origin.name]
        dtype = _DTYPES.get(self._header.dtypes[origin.name])
        if origin.third is not None and stored and stored[0] % 3 == 0:
            size = (stop - start) // 3
            stored, start = (stored[0] // 3, *stored[1:]), start + origin.third * size
        target = shape[::-1] if origin.transposed else shape
        # Attention of autoencoders is stored as 1x1 convolutions or as matrices.
        squeezed = stored[:2] if len(stored) == 4 and len(target) == 2 and stored[2:] == (1, 1) else stored
        if dtype is None or squeezed != target:
            raise ModelError(
                f"{origin.name} in {self._path.name} is {self._header.dtypes[origin.name]} of shape {list(stored)}; a usual "
                f"{self._identity.title} model has {list(target)}. It is another kind of model, or damaged."
            )
        tensor = torch.empty(0, dtype=dtype)
        raw = buffer[: math.prod(stored) * tensor.itemsize]
        file.seek(start)
        left = memoryview(raw.numpy())  # type: ignore[arg-type]
        while len(left):
            count = file.readinto(left) or 0
            if count == 0:
                raise ModelError(f"{self._path.name} is cut off at {origin.name}. Copy it again.")
            left = left[count:]
        tensor = raw.view(dtype).reshape(target)
        return tensor.T if origin.transposed else tensor


def _no_vae(part: str) -> str:
    return "Give a VAE file under VAE." if part == "vae" else "Choose the whole checkpoint."
