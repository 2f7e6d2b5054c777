"""A base model as a single file (.safetensors, .ckpt, .pt) in the original layout, read part by part without a copy.

Each weight is read from its place in the file straight into a tensor and cast, so that memory holds the part in the compute
dtype and one weight more; parts that are not asked for are never touched. Nothing is unpickled, not even of a .ckpt.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch
from transformers import CLIPTokenizer

import resources
from trainer import quantized_parts
from trainer.errors import ModelError, os_message
from trainer.families import original
from trainer.families.headers import identify_header, read
from trainer.families.tensor_file import Stored, buffer_for, empty_model, read_tensor
from trainer.families.vocabulary import merges, vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainer.quantized_parts import Quantization

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

    def read(
        self, kind: type[Any], part: str, dtype: torch.dtype, device: torch.device, quantization: Quantization | None = None
    ) -> Any:  # fmt: skip
        """A part with its weights.

        Raises:
            ModelError: the file cannot be read, or weights are missing or have another shape.
        """
        config = self.config(part)
        model = empty_model(kind, config)
        shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
        places = self._places(part, shapes, config)
        if quantization is not None:
            tensors, identity = (lambda: self._tensors(places)), self.fingerprint([part])
            return quantized_parts.filled(model, tensors, identity, dtype, device, quantization)
        weights: dict[str, torch.Tensor] = {}
        for name, stored in self._tensors(places):
            weights[name] = torch.empty(shapes[name], dtype=dtype, device=device).copy_(stored)
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

    def _places(
        self, part: str, shapes: dict[str, tuple[int, ...]], config: dict[str, Any]
    ) -> dict[str, tuple[Stored, bool]]:
        """Where each weight of a part lies, and whether rows and columns are exchanged there; all must be there."""
        at = original.place(part, self._header.shapes)
        if at is None:
            raise ModelError(f"{self._path.name} holds no {_TITLES[part]}. {_no_vae(part)}")
        origins = {name: original.origin(name, at, config) for name in shapes}
        missing = [o.name for o in origins.values() if o.name not in self._header.spans]
        if missing:
            raise ModelError(
                f"The {_TITLES[part]} of {self._path.name} lacks {len(missing)} of its weights, e.g. {missing[0]}. "
                "Copy or download the model again, whole."
            )
        return {name: (self._stored(o, shapes[name]), o.transposed) for name, o in origins.items()}

    def _stored(self, origin: original.Origin, shape: tuple[int, ...]) -> Stored:
        """One weight's place, with the shape that the part wants, as it lies there."""
        stored, (start, stop) = self._header.shapes[origin.name], self._header.spans[origin.name]
        if origin.third is not None and stored and stored[0] % 3 == 0:
            stored, start = (stored[0] // 3, *stored[1:]), start + origin.third * (stop - start) // 3
        target = shape[::-1] if origin.transposed else shape
        # Attention of autoencoders is stored as 1x1 convolutions or as matrices.
        squeezed = stored[:2] if len(stored) == 4 and len(target) == 2 and stored[2:] == (1, 1) else stored
        place = Stored(origin.name, self._path.name, start, target, self._header.dtypes[origin.name])
        if place.torch_dtype is None or squeezed != target:
            raise ModelError(
                f"{origin.name} in {self._path.name} is {place.dtype} of shape {list(stored)}; a usual "
                f"{self._identity.title} model has {list(target)}. It is another kind of model, or damaged."
            )
        return place

    def _tensors(self, places: dict[str, tuple[Stored, bool]]) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights in the order of the file, each a view that is good until the next."""
        buffer = buffer_for(place for place, _ in places.values())
        try:
            with self._path.open("rb", buffering=0) as file:
                for name, (place, is_transposed) in sorted(places.items(), key=lambda item: item[1][0].start):
                    tensor = read_tensor(file, place, buffer)
                    yield name, tensor.T if is_transposed else tensor
        except OSError as error:
            raise ModelError(os_message(f"The base model {self._path} cannot be read", error)) from error


def _no_vae(part: str) -> str:
    return "Give a VAE file under VAE." if part == "vae" else "Choose the whole checkpoint."
