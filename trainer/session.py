"""Everything a run needs, made ready in the order that keeps memory low: pictures, encoders, cache, UNet, adapters."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from trainer import adapter as adapters
from trainer import (
    checkpoint,
    checkpointing,
    dataset,
    families,
    heap,
    lora_reading,
    metadata,
    optim,
    preflight,
    quantized_parts,
    quick,
    rungs,
)
from trainer import device as devices
from trainer.batches import Batches, Entry, entries_of
from trainer.cache import Cache
from trainer.content_hashes import ModelHashes
from trainer.diffusion import V_PREDICTION, Schedule
from trainer.errors import DataError
from trainer.events import Phase, Warned
from trainer.families.backbone import Backbone, Conditioning
from trainer.feed import Feed, Maker
from trainer.preview import Painter
from trainer.ranks import ALONE, Ranks
from trainer.settings import PreviewPrompt, TrainingSettings, info, notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.events import Event
    from trainer.quantized_parts import Quantization
    from trainer.run_folder import RunFolder


@dataclass(frozen=True)
class Pictures:
    """The entries of a run by their role."""

    training: tuple[Entry, ...]
    regularization: tuple[Entry, ...]
    validation: tuple[Entry, ...]

    @property
    def all(self) -> tuple[Entry, ...]:
        """Every entry."""
        return self.training + self.regularization + self.validation


@dataclass(frozen=True)
class Session:
    """A run made ready.

    prompts: the preview prompts with their sizes filled in; feed: the batches of the steps; packed: see `trainer.packed`;
    ranks: who trains it together.
    """

    folder: RunFolder
    settings: TrainingSettings
    device: torch.device
    dtype: torch.dtype
    backbone: Backbone
    schedule: Schedule
    pictures: Pictures
    batches: Batches
    cache: Cache
    trained: checkpoint.Trained
    painter: Painter
    prompts: tuple[PreviewPrompt, ...]
    facts: metadata.Facts
    feed: Feed
    packed: bool = False
    ranks: Ranks = ALONE

    def told(self, texts: list[str]) -> Conditioning:
        """What the UNet is told for these texts: from the cache, or from the text encoders while they are trained.

        Without gradients (previews, validation) the encoders' dropout is off.
        """
        if not self.settings.train_text_encoder:
            return Conditioning.cat(self.cache.conditioning(text) for text in texts).to(self.device, self.dtype)
        for encoder in self.backbone.text_encoders.values():
            encoder.train(torch.is_grad_enabled())
        with devices.autocast(self.device, self.dtype):
            return self.backbone.encode_captions(
                texts, clip_skip=self.settings.clip_skip, max_tokens=self.settings.max_tokens,
                weights=self.settings.prompt_weights,
            )  # fmt: skip

    def metadata_at(self, step: int) -> dict[str, str]:
        """The LoRA file's metadata if it were written now."""
        return metadata.build(self.settings, self.facts, step=step, finished=time.time())


def prepare(
    folder: RunFolder, emit: Callable[[Event], None], ranks: Ranks = ALONE, hashes: ModelHashes | None = None
) -> Session:
    """Makes the run of that folder ready; tells what it is doing. hashes: of the base model, when they were begun before.

    Raises:
        AtelierError: a setting, the pictures or the base model cannot be used.
    """
    settings, adapted = rungs.lowered(folder), rungs.read(folder)
    for note in notes(settings):
        emit(Warned(note))
    device = devices.choose(ranks.device_name(settings.device))
    dtype = devices.dtype_of(settings.precision, device)
    quantization = quantized_parts.wanted(settings, device, lambda *told: emit(Phase(*told)))
    backbone = families.load(preflight.base_path(settings.base), settings.vae)
    backbone.tiles = rungs.TILES in adapted.taken
    if ranks.writes and hashes is None:
        hashes = ModelHashes(settings)
    emit(Phase("Reading pictures"))
    pictures = _read_pictures(settings, emit)
    torch.manual_seed(settings.seed)
    ranks.connect(device)
    vae_dtype = devices.vae_dtype_of(settings.vae_precision, device, dtype)
    cache = Cache(backbone, settings, (vae_dtype, dtype), ranks)
    with heap.recycling(device.type == "cpu"):
        pictures = _encode_pictures(pictures, cache, functools.partial(backbone.load_vae, device, vae_dtype), emit)
        backbone.free_vae()
    prompts = _sized(settings)
    _encode_captions(pictures, prompts, cache, backbone, settings, device, dtype, emit, quantization)
    emit(Phase("Loading the base model"))
    backbone.load_unet(dtype, quick.loading_device(settings, device), quantization)
    checkpoint_gradients(backbone, settings)
    adapter = _adapter(backbone, settings, emit)
    batches = Batches(pictures.training + pictures.regularization, settings, ranks.world)
    work = quick.Work(
        device, dtype, batches.total_steps - max(folder.checkpoints(), default=0),
        len({entry.fit.size for entry in pictures.all}), ranks.launch.local_world,
    )  # fmt: skip
    packs = quick.ready(adapter, settings, work, lambda sentence: emit(Warned(sentence)))
    optimizer, warning = optim.build(settings, _groups(adapter, settings), device)
    if warning:
        emit(Warned(warning))
    schedule = Schedule.of(backbone.noise, settings)
    usual = adapter.usual_size
    zero_snr = settings.zero_terminal_snr or bool(backbone.noise.get("rescale_betas_zero_snr"))
    return Session(
        folder, settings, device, dtype, backbone, schedule, pictures, batches, cache,
        checkpoint.Trained(adapter, optimizer, devices.scaler(device, dtype)),
        Painter(backbone, device, dtype, schedule.prediction, zero_snr), prompts,
        metadata.Facts(
            backbone.family, schedule.prediction == V_PREDICTION, devices.precision_name(dtype), pictures.training,
            pictures.regularization, batches.per_epoch, batches.total_steps, time.time(),
            pictures.validation, usual.rank, usual.alpha, *(hashes.result(lambda title: emit(Phase(title))) if hashes else (None, None)),
            ranks.world,
        ),
        Feed(Maker(settings, batches, cache, schedule, device, dtype, ranks).batch, batches.total_steps * settings.accumulation),
        packs, ranks,
    )  # fmt: skip


def checkpoint_gradients(backbone: Backbone, settings: TrainingSettings) -> None:
    """Lets the UNet compute again what the settings say shall not be kept; may be called again for more."""
    assert backbone.unet is not None
    trained = backbone.text_encoders if settings.train_text_encoder else {}
    checkpointing.apply(backbone.unet, trained, settings.gradient_checkpointing, dropout=settings.dropout > 0)


def _read_pictures(settings: TrainingSettings, emit: Callable[[Event], None]) -> Pictures:
    data = dataset.scan_training(settings)
    dataset.require_captions(data, settings)
    sets = {"": data}
    for role in ("regularization", "validation"):
        if folder := getattr(settings, role):
            sets[role] = dataset.scan(folder, what=info(role).label)
    for found in sets.values():
        for problem in found.problems:
            emit(Warned(problem))
    entries = entries_of(data, settings)
    if "regularization" in sets:
        entries += entries_of(sets["regularization"], settings, is_prior=True)
    held_out = entries_of(sets["validation"], settings) if "validation" in sets else []
    return Pictures(
        tuple(e for e in entries if not e.is_prior), tuple(e for e in entries if e.is_prior), tuple(held_out)
    )


def _encode_pictures(
    pictures: Pictures, cache: Cache, load_vae: Callable[[], object], emit: Callable[[Event], None]
) -> Pictures:
    """Fills the cache; what turns out to be unreadable is named and left out."""
    problems = cache.fill_pictures(
        pictures.all, load_vae, lambda done, total: emit(Phase("Encoding pictures", done, total))
    )
    for problem in problems:
        emit(Warned(problem))
    if not problems:
        return pictures
    kept = Pictures(
        *(
            tuple(e for e in some if cache.is_readable(e))
            for some in (pictures.training, pictures.regularization, pictures.validation)
        )
    )
    if not kept.training:
        raise DataError(f"None of the {len(pictures.training)} pictures can be used, e.g. {problems[0]}")
    return kept


def _encode_captions(
    pictures: Pictures, prompts: tuple[PreviewPrompt, ...], cache: Cache, backbone: Backbone, settings: TrainingSettings,
    device: torch.device, dtype: torch.dtype, emit: Callable[[Event], None], quantization: Quantization | None,
) -> None:  # fmt: skip
    """Encodes every text the run will need, then lets the text encoders go; trained ones stay and encode as they go."""
    if settings.train_text_encoder:
        backbone.load_text_encoders(dtype, device, quantization)
        return
    load = functools.cache(lambda: backbone.load_text_encoders(dtype, device))
    texts = ["", *(t for e in pictures.all for t in e.texts), *(t for p in prompts for t in (p.prompt, p.negative))]
    cache.fill_captions(texts, load, lambda done, total: emit(Phase("Encoding captions", done, total)))
    backbone.free_text_encoders()


def _adapter(backbone: Backbone, settings: TrainingSettings, emit: Callable[[Event], None]) -> adapters.Adapter:
    if settings.start_from is None:
        return adapters.Adapter(backbone, adapters.fresh_sizes(backbone, settings), settings)
    path = settings.start_from.expanduser()
    preflight.check_lora(path, backbone.family, dora=settings.dora)
    tensors = lora_reading.read(path, backbone.family).tensors
    if not settings.train_text_encoder and any(key.startswith("lora_te") for key in tensors):
        emit(
            Warned(
                f"{path.name} also holds text-encoder layers; they are left out, because train the text encoder is off."
            )
        )
    adapter = adapters.Adapter(backbone, adapters.sizes_of_file(backbone, tensors, path), settings)
    adapter.load(tensors)
    return adapter


def _groups(adapter: adapters.Adapter, s: TrainingSettings) -> optim.Groups:
    rates = {
        "unet": s.learning_rate,
        "text_encoder": s.text_encoder_learning_rate,
        "text_encoder_2": s.text_encoder_2_learning_rate,
    }
    return [{"params": adapter.parameters(part), "lr": rates[part], "part": part} for part in adapter.parts]


def _sized(settings: TrainingSettings) -> tuple[PreviewPrompt, ...]:
    side = settings.resolution
    return tuple(p.model_copy(update={"width": p.width or side, "height": p.height or side}) for p in settings.previews)
