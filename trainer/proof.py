"""Proof of load: reads an exported file as other programs do, and compares what it does with what was trained.

The reading shares no code with the writing. It is done twice: by the rules of A1111, ComfyUI and the others
(`trainer.clients`), and by diffusers' `load_lora_weights` into a model without weights. What was read is put on the base
model by hooks, so the layers that are being trained are neither copied nor touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import safetensors
import safetensors.torch
import torch

from trainer import adapter as adapters
from trainer import checkpoint, clients, comparison, families, loaded_layers, lora_file, preflight
from trainer import device as devices
from trainer.adapter import Adapter
from trainer.errors import AtelierError, ModelError, RunError
from trainer.families import clients as rules
from trainer.families import lora_names
from trainer.tasks import Tell, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.clients import Reading
    from trainer.families.backbone import Backbone
    from trainer.loaded_layers import Layers
    from trainer.run_folder import RunFolder
    from trainer.session import Session
    from trainer.settings import TrainingSettings

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}

# Outputs may differ by this share of what the LoRA does to them (rounding its weights makes 0.0003 of it in fp16, 0.003 in
# bf16), and by this much of their own size, which is how far arithmetic itself scatters on GPUs. Single layers that are
# wrong by less are found by their numbers.
_SHARE_OF_EFFECT, _SCATTER = 0.05, 2e-3
_UNLIKE = "pictures would not look like the previews"
_ROOM, _SPARE_BYTES = 1.2, 1 << 30  # memory beside a model's weights: for what it computes, and for everything else


@dataclass(frozen=True)
class Proof:
    """What was found: the programs that load the file, and how far its effect is from the trained one.

    largest_difference: of an output of UNet or text encoders from the training model's, where 1 is the outputs' usual size
    (root mean square); effect: how much the LoRA itself changes one. Both are nan when they could not be measured, and then
    `skipped` says why. layers: how many were compared. limits: what some programs cannot do with the file.
    """

    programs: tuple[str, ...]
    largest_difference: float
    layers: int
    skipped: str = ""
    effect: float = math.nan
    limits: tuple[str, ...] = ()

    def sentence(self) -> str:
        """E.g. "Loads in A1111, ComfyUI and diffusers; largest difference from the trained model 0.0004, where the LoRA itself changes 0.3."."""
        *most, last = self.programs or ("no program",)
        text = f"Loads in {', '.join(most)} and {last}" if most else f"Loads in {last}"
        if self.skipped:
            text += f" by its names, shapes and numbers; what it does was not compared: {self.skipped.rstrip('.')}"
        else:
            text += f"; largest difference from the trained model {_shown(self.largest_difference)}, where the LoRA itself changes {_shown(self.effect)}"
        return ". ".join([text, *self.limits]) + "."


def _shown(number: float) -> str:
    """The number to one digit that counts, without an exponent."""
    if number == 0 or number >= 1e-6:
        return f"{number:.{max(1, -math.floor(math.log10(number))) if number else 0}f}"
    return "below 0.000001"


def of_session(session: Session, path: Path) -> Proof:
    """Proves a file against the model that was just trained; the model stays as it was, bit for bit.

    Raises:
        ModelError: the file would not load as it was trained; the sentence says which layer, and what would happen.
    """
    return of_adapter(session.trained.adapter, path)


def of_adapter(adapter: Adapter, path: Path) -> Proof:
    """As `of_session`, for the layers on a backbone."""
    empty = loaded_layers.frames(adapter.backbone, adapter.parts, _configs(adapter.backbone))
    reading = _reading(path, adapter.backbone)
    reading, layers = _loaded(path, reading, loaded_layers.of_adapter(adapter), empty)
    return _compared(path, reading, layers, adapter)


def prove_export(folder: RunFolder, step: int, path: Path, tell: Tell = quiet) -> Proof:
    """Proves a file against a checkpoint of a run, whose base model is loaded for it.

    Where that model is gone, or too large for this machine, only names, shapes and numbers are compared, and the proof
    says so.

    Raises:
        ModelError: the file would not load as it was trained; the sentence says which layer, and what would happen.
        ConfigError: the run's settings cannot be read.
        RunError: the checkpoint cannot be read.
        Cancelled: by `tell`.
    """
    tell("Reading the file", 0, 3)
    settings, source = folder.settings(), checkpoint.lora_file(folder, step)
    trained = _tensors(source, RunError(f"The checkpoint {source} is damaged; the file cannot be compared with it."))
    try:
        backbone = families.load(preflight.base_path(settings.base), settings.vae)
        _check_family(backbone, source)
        parts = _parts(trained, backbone)
        empty = loaded_layers.frames(backbone, parts, _configs(backbone))
    except (AtelierError, OSError) as error:
        return _by_numbers(path, trained, str(error))
    size = sum(parameter.numel() for model in empty.values() for parameter in model.parameters())
    reading = _reading(path, backbone)
    reading, layers = _loaded(path, reading, _wanted(path, reading, trained), empty)
    try:
        device, dtype = _place(settings, size)
        tell("Loading the base model", 1, 3)
        adapter = _restored(backbone, settings, trained, source, device, dtype)
    except (AtelierError, OSError, torch.OutOfMemoryError) as error:
        return _unmeasured(reading, len(layers), str(error).splitlines()[0])
    tell("Comparing", 2, 3)
    proof = _compared(path, reading, layers, adapter)
    tell("Comparing", 3, 3)
    return proof


# Reading


def _configs(backbone: Backbone) -> dict[str, dict[str, Any]]:
    return {part: backbone.source.config(part) for part in ("unet", *backbone.family.text_parts)}


def _reading(path: Path, backbone: Backbone) -> Reading:
    """The file by the rules of other programs, for this base model."""
    configs = _configs(backbone)
    text = {part: configs[part] for part in backbone.family.text_parts}
    return clients.read(path, backbone.family, rules.blocks_of(configs["unet"], text))


def _loaded(
    path: Path, reading: Reading, trained: Layers, empty: Mapping[str, torch.nn.Module]
) -> tuple[Reading, Layers]:
    """The file's layers as other programs hold them, and what is then known of it.

    By the rules of the others the trained numbers must be found. What diffusers alone makes of them is its own limit: it
    knows no DoRA, and 0.42 takes one alpha for all attentions.
    """
    layers = loaded_layers.by_rules(reading, _file_tensors(path))
    _check_numbers(path, reading, trained, layers)
    if "diffusers" not in reading.programs:
        return reading, layers
    try:
        theirs = loaded_layers.by_diffusers(path, empty)
    except ModelError as error:
        reason = (str(error.__cause__).splitlines() or ["without a word"])[0]
        return reading.without("diffusers", f"It is refused ({reason[:200]}) by"), layers
    if wrong := loaded_layers.difference(trained, theirs, _DTYPES[reading.dtype]):
        return reading.without("diffusers", f"It is not loaded as it was trained ({wrong}) by"), layers
    return reading, theirs


def _check_numbers(path: Path, reading: Reading, trained: Layers, layers: Layers) -> None:
    if wrong := loaded_layers.difference(trained, layers, _DTYPES[reading.dtype]):
        raise clients.fault(path, f"{wrong}, as A1111 and others read it", _UNLIKE)


# Comparing


def _compared(path: Path, reading: Reading, layers: Layers, adapter: Adapter) -> Proof:
    _check_numbers(path, reading, loaded_layers.of_adapter(adapter), layers)
    try:
        found = comparison.differences(layers, adapter)
    except torch.OutOfMemoryError:
        return _unmeasured(reading, len(layers), "memory is full")
    for change, difference in found:
        if not difference <= _SHARE_OF_EFFECT * change + _SCATTER and not reading.is_dora:
            raise clients.fault(
                path, f"with it the model's answers differ by {difference:.2g} from the training, where the LoRA itself changes {change:.2g}",
                f"{_UNLIKE}. Another file precision may help",
            )  # fmt: skip
    effect, worst = (max(column) for column in zip(*found, strict=True))
    return Proof(reading.programs, worst, len(layers), effect=effect, limits=reading.sentences)


def _unmeasured(reading: Reading, layers: int, why: str) -> Proof:
    return Proof(reading.programs, math.nan, layers, why, limits=reading.sentences)


# A checkpoint's model


def _check_family(backbone: Backbone, source: Path) -> None:
    """Refuses a base model that was put in the place of the one which was trained on."""
    header = lora_file.read_header(source)
    family = lora_names.family_of(header.metadata, header.shapes)
    if family not in (None, backbone.family):
        raise ModelError(f"{backbone.base} is another model now ({backbone.family.title})")


def _parts(trained: Mapping[str, torch.Tensor], backbone: Backbone) -> list[str]:
    """The parts that a checkpoint has layers of."""
    prefixes = {"unet": "lora_unet"} | dict(rules.FACTS[backbone.family.id].prefixes)
    return [part for part, prefix in prefixes.items() if any(key.startswith(f"{prefix}_") for key in trained)]


def _place(settings: TrainingSettings, parameters: int) -> tuple[torch.device, torch.dtype]:
    """Where the base model has room: on the GPU unless something else fills it, or in memory.

    Raises:
        ModelError: nowhere.
    """
    if torch.cuda.is_available() and settings.device != "cpu":
        device = torch.device("cuda")
        dtype = devices.dtype_of(settings.precision, device)
        if parameters * dtype.itemsize * _ROOM + _SPARE_BYTES <= torch.cuda.mem_get_info(device)[0]:
            return device, dtype
    free = psutil.virtual_memory().available
    for dtype in (torch.float32, torch.bfloat16):
        if parameters * dtype.itemsize * _ROOM + _SPARE_BYTES <= free:
            return torch.device("cpu"), dtype
    needed = parameters * 2 * _ROOM + _SPARE_BYTES
    raise ModelError(f"the base model needs {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


def _restored(
    backbone: Backbone, settings: TrainingSettings, trained: Mapping[str, torch.Tensor], source: Path,
    device: torch.device, dtype: torch.dtype,
) -> Adapter:  # fmt: skip
    """The run's model as it was at the checkpoint."""
    backbone.load_unet(dtype, device)
    if len(_parts(trained, backbone)) > 1:
        backbone.load_text_encoders(dtype, device)
    adapter = Adapter(backbone, adapters.sizes_of_file(backbone, trained, source), settings)
    adapter.load(trained)
    return adapter


def _by_numbers(path: Path, trained: Mapping[str, torch.Tensor], reason: str) -> Proof:
    """What can be said without the base model."""
    header = lora_file.read_header(path)
    family = lora_names.family_of(header.metadata, header.shapes)
    if family is None:
        return Proof((), math.nan, 0, f"{reason.rstrip('.')}, and the file does not tell which family it was made for")
    reading = clients.read(path, family, rules.TRUE_SIZE[family.id])
    wanted = _wanted(path, reading, trained)
    layers = loaded_layers.by_rules(reading, _file_tensors(path))
    _check_numbers(path, reading, wanted, layers)
    return _unmeasured(reading, len(layers), reason)


def _wanted(path: Path, reading: Reading, trained: Mapping[str, torch.Tensor]) -> Layers:
    """The checkpoint's layers by the names that the file has for them."""
    try:
        wanted = loaded_layers.by_rules(reading, trained)
    except KeyError as missing:
        raise clients.fault(path, f"its {missing.args[0]} was never trained", "it is not of this checkpoint") from None
    if left := len({key.split(".")[0] for key in trained}) - len(wanted):
        raise clients.fault(path, f"{left} of the trained layers are missing", _UNLIKE)
    return wanted


def _file_tensors(path: Path) -> dict[str, torch.Tensor]:
    return _tensors(path, clients.fault(path, "its tensors cannot be read", "no program loads it"))


def _tensors(path: Path, error: AtelierError) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as reason:
        raise error from reason
