"""Every setting of a run, once: value, label, help, unit, bounds, group, and the rules between settings.

The same model is the form, the command-line flags, run.toml and the metadata of the exported file. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainer.pixels import SUFFIXES

VERSION = 1  # of the file format; settings_file.MIGRATIONS has one function per step

DEMO = "demo"  # the base model that ships with the app, a word where others are paths

GROUPS = ("Base model", "Pictures", "Captions", "LoRA", "Optimizer", "Noise and loss", "Run", "Previews", "Export")


@dataclass(frozen=True)
class Info:
    """What a person reads about a setting. unit: shown after the value, e.g. "px". advanced: hidden from newcomers."""

    label: str
    help: str
    group: str
    unit: str = ""
    advanced: bool = True


def setting(
    default: Any, label: str, group: str, help: str, *, unit: str = "", advanced: bool = True, **bounds: Any
) -> Any:
    """A field of a settings model; bounds are pydantic's ge, gt, le, lt."""
    return Field(default, json_schema_extra={"info": Info(label, help, group, unit, advanced)}, **bounds)  # type: ignore[dict-item]


class PreviewPrompt(BaseModel):
    """One picture that is drawn again at every preview, always from the same noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # fmt: off
    prompt: str = setting("", "Prompt", "Previews", "What to draw. Put the trigger word in to see what was learnt.", advanced=False)
    negative: str = setting("", "Negative prompt", "Previews", "What to keep out of the picture.", advanced=False)
    seed: int = setting(42, "Seed", "Previews", "The same seed gives the same starting noise at every preview.", ge=0, lt=2**32)
    width: int = setting(0, "Width", "Previews", "0 uses the training resolution.", unit="px", ge=0, le=4096, multiple_of=8)
    height: int = setting(0, "Height", "Previews", "0 uses the training resolution.", unit="px", ge=0, le=4096, multiple_of=8)
    guidance: float = setting(7.0, "CFG scale", "Previews", "How strongly the picture follows the prompt.", ge=1, le=30)
    steps: int = setting(20, "Steps", "Previews", "Sampling steps; more is slower and finer.", ge=1, le=200)
    sampler: Literal["dpmpp_2m", "dpmpp_2m_karras", "ddim", "euler", "euler_a"] = setting("dpmpp_2m", "Sampler", "Previews", "How noise becomes a picture.")
    # fmt: on


class Concept(BaseModel):
    """A further folder of a run, with its own way to be trained; what is None is as in the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # fmt: off
    folder: Path = setting(Path(), "Folder", "Pictures", "Its pictures; sub-folders count too.", advanced=False)
    name: str = setting("", "Name", "Pictures", "To tell it from others; empty takes the folder's.", advanced=False)
    regularization: bool = setting(False, "Regularisation", "Pictures", "They keep the base model from forgetting, and get no trigger word.", advanced=False)
    repeats: int = setting(1, "Repeats", "Pictures", "How often each picture is seen in an epoch.", ge=1, le=1000, advanced=False)
    weight: float = setting(1.0, "Loss weight", "Pictures", "How much its pictures count; 1 is usual.", ge=0, le=10)
    trigger: str | None = setting(None, "Trigger word", "Captions", "Word that calls this concept; empty text for none.", advanced=False)
    flip: bool | None = setting(None, "Mirror", "Pictures", "Also train on mirrored pictures.")
    shuffle_tags: bool | None = setting(None, "Shuffle tags", "Captions", "Mix the comma-separated tags of a caption.")
    keep_tokens: int | None = setting(None, "Keep first tags", "Captions", "So many tags in front stay in place.", ge=0, le=50)
    tag_dropout: float | None = setting(None, "Tag dropout", "Captions", "Chance that a tag is left out.", ge=0, le=1)
    caption_dropout: float | None = setting(None, "Caption dropout", "Captions", "Chance that a picture is trained without its caption.", ge=0, le=1)
    # fmt: on

    @property
    def title(self) -> str:
        """Its name, or its folder's."""
        return self.name or self.folder.name or str(self.folder)

    def applied(self, settings: TrainingSettings) -> TrainingSettings:
        """The run's settings as they are for this concept."""
        own = {name: getattr(self, name) for name in _OWN if getattr(self, name) is not None}
        return settings.model_copy(update=own)


_OWN = ("trigger", "flip", "shuffle_tags", "keep_tokens", "tag_dropout", "caption_dropout")

Target = Literal["attention", "feed_forward", "projections", "convolutions"]


class TrainingSettings(BaseModel):
    """The settings of a training run; `run.toml` holds them, and a run can be repeated from that alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # A table, one setting a line, so that it can be read down.
    # fmt: off

    # Base model
    base: str = setting(DEMO, "Base model", "Base model", "The model to teach: a single file (.safetensors, .ckpt), a diffusers folder, a name on Hugging Face (owner/name, see lora-atelier fetch), or demo for the tiny one that ships with the app.", advanced=False)
    vae: Path | None = setting(None, "VAE", "Base model", "Another VAE, a file or folder; empty uses the model's own.")
    vae_precision: Literal["auto", "fp32", "bf16"] = setting("auto", "VAE precision", "Base model", "Number format in which pictures are encoded; auto follows the precision, where bf16 is quicker.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", "Precision", "Base model", "Number format of the frozen base model; adapters are always fp32. auto takes bf16 where the device is good at it.")
    prediction: Literal["auto", "epsilon", "v_prediction"] = setting("auto", "Prediction type", "Base model", "What the base model predicts; auto reads it from the model's own scheduler or file.")
    clip_skip: int = setting(1, "Clip skip", "Base model", "1 uses the last layer of the text encoder, 2 the one before (most anime models). SDXL ignores it.", ge=1, le=12)
    max_tokens: Literal[75, 150, 225] = setting(75, "Prompt length", "Base model", "Longer captions are cut in chunks of 75 tokens.", unit="tokens")
    device: str = setting("auto", "Device", "Base model", "auto, cpu, cuda, cuda:1 or mps.")
    packed_weights: Literal["auto", "on", "off"] = setting("auto", "Packed weights", "Base model", "On a CPU: keeps the frozen weights ready for its arithmetic, a third faster at 256 px, about twice their memory. auto: when there is room.")
    quick_attention: bool = setting(True, "Quick attention", "Base model", "On a CPU that computes in bf16: self-attention by large matrix products, a quarter less of its time at 512 px and above; the same up to rounding.")
    quantization: Literal["none", "nf4", "int8"] = setting("none", "Quantised base", "Base model", "QLoRA (Dettmers et al. 2023): the frozen weights in 4 or 8 bits, for models that would not fit otherwise; a little slower.")
    gradient_checkpointing: Literal["off", "some", "all"] = setting("off", "Gradient checkpointing", "Base model", "Computes parts of the model again instead of keeping them: saves memory, costs up to a third of the speed. some: only the blocks that need most.")
    offload: bool = setting(False, "Offload", "Base model", "Keeps the frozen blocks in the computer's memory and fetches each when its turn comes, for small GPUs.")
    compile: Literal["auto", "on", "off"] = setting("auto", "Compile", "Base model", "On a GPU: compiles the model's repeated blocks; the first steps take longer, the others are quicker. auto: for long runs.")
    out_of_memory: Literal["adapt", "adapt_4bit", "stop"] = setting("adapt", "When memory runs out", "Base model", "adapt goes on from the last step in a way that needs less; adapt_4bit may also quantise the base.")

    # Pictures
    data: Path = setting(Path(), "Pictures", "Pictures", "Folder of pictures; sub-folders count too, and a sub-folder named 5_anything is seen 5 times as often.", advanced=False)
    more_data: tuple[Path, ...] = setting((), "More pictures", "Pictures", "Further folders or single pictures that are trained too.")
    left_out: tuple[str, ...] = setting((), "Left out", "Pictures", "Pictures that are not trained though they are there: paths relative to the folder, with /, or whole ones for more pictures.")
    concepts: tuple[Concept, ...] = setting((), "Further concepts", "Pictures", "Folders that are trained in their own way: other trigger words, repeats, weights, or as regularisation pictures.")
    edits: Path | None = setting(None, "Crops and masks", "Pictures", "Folder with crops and painted masks, as the window makes it.")
    masked_loss: bool = setting(False, "Masked training", "Pictures", "Train what masks show: painted ones, a-mask.png beside a.png, or a.png in a folder masklabel.")
    mask_outside: float = setting(0.1, "Weight outside the mask", "Pictures", "How much the rest of the picture counts.", ge=0, le=1)
    alpha_mask: bool = setting(False, "Transparency as mask", "Pictures", "With masked training: transparent parts are not trained.")
    resolution: int = setting(512, "Resolution", "Pictures", "Training size: pictures are scaled to about its square in area.", unit="px", ge=64, le=4096, multiple_of=8)
    buckets: bool = setting(True, "Aspect-ratio buckets", "Pictures", "Keep each picture's shape. Off: everything is cropped to a square.")
    bucket_step: int = setting(64, "Bucket step", "Pictures", "Widths and heights are multiples of it.", unit="px", ge=8, le=512, multiple_of=8)
    bucket_min: int = setting(256, "Smallest side", "Pictures", "No bucket has a shorter side.", unit="px", ge=32, le=4096)
    bucket_max: int = setting(2048, "Longest side", "Pictures", "No bucket has a longer side.", unit="px", ge=64, le=8192)
    upscale: bool = setting(True, "Enlarge small pictures", "Pictures", "Off: a picture smaller than the resolution is trained at its own size.")
    repeats: int = setting(1, "Repeats", "Pictures", "How often each picture is seen in an epoch.", ge=1, le=1000)
    flip: bool = setting(False, "Mirror", "Pictures", "Also train on mirrored pictures. Not for faces or lettering that must not be mirrored.", advanced=False)
    background: str = setting("#ffffff", "Behind transparency", "Pictures", "Colour that shows through transparent parts.")
    regularization: Path | None = setting(None, "Regularisation pictures", "Pictures", "Pictures of the general class that keep the base model from forgetting it (prior preservation).")
    prior_weight: float = setting(1.0, "Prior weight", "Pictures", "Weight of the regularisation pictures in the loss.", ge=0, le=10)
    validation: Path | None = setting(None, "Validation pictures", "Pictures", "Held-out pictures; their loss shows whether the LoRA generalises.")
    cache: Literal["disk", "memory"] = setting("disk", "Cache", "Pictures", "Where encoded pictures and captions are kept. disk makes the next start quick.")
    cache_folder: Path | None = setting(None, "Cache folder", "Pictures", "Empty uses the user's cache folder.")

    # Captions
    trigger: str = setting("", "Trigger word", "Captions", "Word that calls the concept; put in front of captions that lack it.", advanced=False)
    shuffle_tags: bool = setting(False, "Shuffle tags", "Captions", "Mix the comma-separated tags of a caption.")
    keep_tokens: int = setting(1, "Keep first tags", "Captions", "So many tags in front stay in place when tags are mixed or dropped.", ge=0, le=50)
    tag_dropout: float = setting(0.0, "Tag dropout", "Captions", "Chance that a tag is left out.", ge=0, le=1)
    caption_dropout: float = setting(0.0, "Caption dropout", "Captions", "Chance that a picture is trained without its caption.", ge=0, le=1)
    protected_tags: str = setting("", "Protected tags", "Captions", "Tags that are never dropped, separated by commas.")
    keep_separator: str = setting("", "Keep separator", "Captions", "Such as |||: tags before the first one in a caption, and after a second, stay in place; instead of counting them.")
    caption_lines: Literal["join", "variants"] = setting("join", "Several lines", "Captions", "What the lines of a caption file are: one caption, or variants of which one is shown each time.")
    wildcards: bool = setting(False, "Wildcards", "Captions", "{red|blue} in a caption stands for one of these, another each time.")
    prompt_weights: bool = setting(False, "Prompt weights", "Captions", "(word:1.2) in captions and preview prompts makes a word stronger, as in A1111; off: brackets are text.")
    caption_variants: int = setting(12, "Caption variants", "Captions", "How many mixed or alternative versions of a caption are prepared (and cached) per picture.", ge=1, le=200)

    # LoRA
    rank: int = setting(16, "Rank", "LoRA", "Network dim: size of the adapters. More holds more detail, in a larger file.", ge=1, le=1024, advanced=False)
    alpha: float = setting(16.0, "Alpha", "LoRA", "The adapters work at strength alpha / rank.", gt=0, le=4096)
    dropout: float = setting(0.0, "Dropout", "LoRA", "Chance that an adapter's input is zeroed.", ge=0, lt=1)
    targets: tuple[Target, ...] = setting(("attention", "feed_forward", "projections"), "Layers", "LoRA", "Which layers of the UNet get adapters: attention, feed_forward, projections, convolutions (LoCon).")
    conv_rank: int = setting(0, "Convolution rank", "LoRA", "Rank in convolutions; 0 uses the rank above.", ge=0, le=1024)
    conv_alpha: float = setting(0.0, "Convolution alpha", "LoRA", "Alpha in convolutions; 0 uses the alpha above.", ge=0, le=4096)
    train_text_encoder: bool = setting(False, "Train the text encoder", "LoRA", "Also teach the text encoders; helps with new words, needs a low learning rate.")
    dora: bool = setting(False, "DoRA", "LoRA", "Learns size and direction of weights apart (Liu et al. 2024); slower.")
    rslora: bool = setting(False, "rsLoRA", "LoRA", "Strength alpha / sqrt(rank) (Kalajdzievski 2023), for high ranks.")
    start_from: Path | None = setting(None, "Start from LoRA", "LoRA", "A .safetensors LoRA to train further; its ranks replace the rank above.")

    # Optimizer
    optimizer: Literal["adamw", "adamw8bit", "lion", "lion8bit", "adafactor", "prodigy"] = setting("adamw", "Optimizer", "Optimizer", "adamw is a safe choice; prodigy finds the learning rate itself (set it to 1).")
    learning_rate: float = setting(1e-4, "Learning rate", "Optimizer", "Step size for the UNet's adapters.", gt=0, le=10, advanced=False)
    text_encoder_learning_rate: float = setting(1e-5, "Text encoder learning rate", "Optimizer", "Step size for the first text encoder's adapters.", ge=0, le=10)
    text_encoder_2_learning_rate: float = setting(1e-5, "Text encoder 2 learning rate", "Optimizer", "Step size for the second text encoder's adapters (SDXL).", ge=0, le=10)
    weight_decay: float = setting(0.01, "Weight decay", "Optimizer", "Pulls adapters gently to zero.", ge=0, le=10)
    schedule: Literal["constant", "linear", "cosine", "cosine_restarts"] = setting("cosine", "Schedule", "Optimizer", "How the learning rate falls over the run.")
    warmup_steps: int = setting(0, "Warm-up", "Optimizer", "Steps in which the learning rate rises from 0.", unit="steps", ge=0)
    restarts: int = setting(3, "Restarts", "Optimizer", "Cycles of cosine_restarts.", ge=1, le=100)
    batch_size: int = setting(1, "Batch size", "Optimizer", "Pictures in a step; more is smoother and needs more memory.", ge=1, le=256, advanced=False)
    micro_batch: int = setting(0, "Micro-batch", "Optimizer", "How many pictures of a batch are computed at once: the result is the same, with less memory. 0: all.", ge=0, le=256)
    accumulation: int = setting(1, "Gradient accumulation", "Optimizer", "Batches that are added up to one step.", ge=1, le=256)
    gradient_clip: float = setting(1.0, "Gradient clipping", "Optimizer", "Largest norm of the gradient; 0 switches it off.", ge=0, le=1000)

    # Noise and loss
    loss: Literal["mse", "huber"] = setting("mse", "Loss", "Noise and loss", "huber is less moved by odd pictures.")
    huber_c: float = setting(0.1, "Huber c", "Noise and loss", "Where huber turns from square to straight.", gt=0, le=10)
    min_snr_gamma: float = setting(5.0, "Min-SNR γ", "Noise and loss", "Balances easy and hard timesteps (Hang et al. 2023); 5 is usual, 0 switches it off.", ge=0, le=100)
    debiased: bool = setting(False, "Debiased estimation", "Noise and loss", "Weights the loss by 1 / sqrt(SNR) (Yu et al. 2023).")
    noise_offset: float = setting(0.0, "Noise offset", "Noise and loss", "Lets the model learn very dark and very bright pictures; 0.03 to 0.1.", ge=0, le=1)
    multires_iterations: int = setting(0, "Multires noise", "Noise and loss", "Levels of coarser noise added; 6 to 10 when used, 0 is off.", ge=0, le=16)
    multires_discount: float = setting(0.3, "Multires discount", "Noise and loss", "Weight of each coarser level against the finer one.", ge=0, le=1)
    input_perturbation: float = setting(0.0, "Input perturbation", "Noise and loss", "Extra noise on the input only (Ning et al. 2023); 0.1 when used.", ge=0, le=1)
    zero_terminal_snr: bool = setting(False, "Zero terminal SNR", "Noise and loss", "Makes the last timestep pure noise (Lin et al. 2023). For v-prediction models made that way.")
    timestep_min: int = setting(0, "First timestep", "Noise and loss", "Train from this timestep up.", ge=0, le=999)
    timestep_max: int = setting(1000, "Last timestep", "Noise and loss", "Train below this timestep.", ge=1, le=1000)

    # Run
    steps: int = setting(1600, "Steps", "Run", "Length of the run in optimizer steps; ignored when epochs are given.", unit="steps", ge=1, le=10_000_000, advanced=False)
    epochs: int = setting(0, "Epochs", "Run", "Length of the run in passes over all pictures; 0 counts in steps.", unit="epochs", ge=0, le=100_000)
    seed: int = setting(42, "Seed", "Run", "The same seed gives the same run.", ge=0, lt=2**32)
    save_every_steps: int = setting(200, "Checkpoint every", "Run", "0 saves only at the end.", unit="steps", ge=0)
    save_every_epochs: int = setting(0, "Checkpoint every (epochs)", "Run", "Used instead of steps when not 0.", unit="epochs", ge=0)
    keep_checkpoints: int = setting(5, "Keep checkpoints", "Run", "Older ones are removed; 0 keeps all.", ge=0)
    validate_every_steps: int = setting(100, "Validate every", "Run", "Steps between two measurements on the validation pictures.", unit="steps", ge=1)
    runs_folder: Path = setting(Path("runs"), "Runs folder", "Run", "Where run folders are made.")
    name: str = setting("", "Name", "Run", "Of the LoRA and its file; empty takes the trigger word or the picture folder's name.", advanced=False)

    # Previews
    preview_every_steps: int = setting(200, "Preview every", "Previews", "0 draws none.", unit="steps", ge=0)
    previews: tuple[PreviewPrompt, ...] = setting((), "Preview prompts", "Previews", "Pictures that are drawn at step 0, while training and at the end.", advanced=False)

    # Export
    export_precision: Literal["fp16", "bf16", "fp32"] = setting("fp16", "File precision", "Export", "fp16 is what everybody shares.")
    author: str = setting("", "Author", "Export", "Written into the file.")
    description: str = setting("", "Description", "Export", "Written into the file.")
    license: str = setting("", "License", "Export", "Written into the file.")
    # fmt: on

    @field_validator("data", mode="before")
    @classmethod
    def _dot_is_a_folder(cls, value: object) -> object:
        return Path.cwd() if value == "." else value

    @field_validator("more_data", mode="before")
    @classmethod
    def _dots_are_folders(cls, value: object) -> object:
        return [Path.cwd() if v == "." else v for v in value] if isinstance(value, (list, tuple)) else value

    @field_validator("more_data")
    @classmethod
    def _once_each(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(p for p in value if p != Path()))

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _was_a_switch(cls, value: object) -> object:
        return {True: "all", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        from PIL import ImageColor

        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise PydanticCustomError("colour", 'must be a colour such as "#ffffff" or "white"') from None
        return value

    @field_validator("targets")
    @classmethod
    def _has_a_target(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise PydanticCustomError("targets", "must name at least one kind of layer")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _fit_together(self) -> TrainingSettings:
        for field, message in rule_violations(self):
            raise PydanticCustomError("rule", "{message}", {"field": field, "message": message})
        return self

    @property
    def title(self) -> str:
        """The LoRA's name: given, or the trigger word, or the picture folder's name."""
        concept = self.concepts[0].title if self.concepts else ""
        return self.name or self.trigger or self.data.name or self._name_of_more or concept or "lora"

    @property
    def packing(self) -> str:
        """`packed_weights` as it counts: never with DoRA, and beside a quantised base only on demand.

        Who quantises is short of memory, not of time.
        """
        if self.dora or (self.packed_weights == "auto" and self.quantization != "none"):
            return "off"
        return self.packed_weights

    @property
    def has_memory_to_spare(self) -> bool:
        """Whether nothing was asked for that saves memory and costs time."""
        return self.gradient_checkpointing == "off" and self.quantization == "none"

    @property
    def _name_of_more(self) -> str:
        first = self.more_data[0] if self.more_data else Path()
        return first.parent.name if first.suffix.lower() in SUFFIXES else first.name


def rule_violations(s: TrainingSettings) -> list[tuple[str, str]]:
    """The rules between settings that `s` breaks, as (field, sentence)."""
    out = []
    if s.timestep_min >= s.timestep_max:
        out.append(
            ("timestep_max", f"First timestep ({s.timestep_min}) must lie below last timestep ({s.timestep_max}).")
        )
    if s.bucket_min > s.bucket_max:
        out.append(
            ("bucket_min", f"Smallest side ({s.bucket_min} px) is larger than longest side ({s.bucket_max} px).")
        )
    if s.bucket_step > s.resolution:
        out.append(
            ("bucket_step", f"Bucket step ({s.bucket_step} px) is larger than the resolution ({s.resolution} px).")
        )
    if s.buckets and s.bucket_max < s.resolution:
        out.append(
            ("bucket_max", f"Longest side ({s.bucket_max} px) is smaller than the resolution ({s.resolution} px).")
        )
    if s.debiased and s.min_snr_gamma:
        out.append(
            (
                "debiased",
                "Debiased estimation and min-SNR γ both weight the loss; set min-SNR γ to 0 or switch debiased off.",
            )
        )
    if s.noise_offset and s.multires_iterations:
        out.append(("noise_offset", "Noise offset and multires noise do the same work; set one of them to 0."))
    if s.epochs and s.save_every_epochs > s.epochs:
        out.append(
            (
                "save_every_epochs",
                f"Checkpoint every {s.save_every_epochs} epochs never happens in a run of {s.epochs}.",
            )
        )
    if s.quantization != "none" and s.device == "mps":
        out.append(
            ("quantization", "Quantised base is not possible on Apple GPUs; set it to none, or the device to cpu.")
        )
    if s.warmup_steps >= s.steps and not s.epochs:
        out.append(
            ("warmup_steps", f"Warm-up ({s.warmup_steps} steps) must be shorter than the run ({s.steps} steps).")
        )
    return out


def notes(s: TrainingSettings) -> list[str]:
    """Settings that have no effect or are unusual; sentences for a warning, never an error."""
    out = []
    if s.optimizer == "prodigy" and s.learning_rate < 0.1:
        out.append(
            f"Prodigy finds the learning rate itself; {s.learning_rate:g} would stop it from learning. 1 is usual."
        )
    if s.optimizer != "prodigy" and s.learning_rate > 0.01:
        out.append(f"A learning rate of {s.learning_rate:g} is very high for {s.optimizer}; 1e-4 to 1e-3 is usual.")
    if (s.shuffle_tags or s.tag_dropout) and s.caption_variants == 1:
        out.append("Shuffle tags and tag dropout have no effect with 1 caption variant.")
    if s.dora:
        out.append(
            "DoRA files are read by few programs (diffusers ignores what is special in them); try the file where you need it."
        )
    if s.alpha_mask and not s.masked_loss:
        out.append("Transparency as mask has no effect: masked training is off.")
    if s.conv_rank and "convolutions" not in s.targets:
        out.append("Convolution rank has no effect: convolutions are not among the layers.")
    if s.previews and not s.preview_every_steps:
        out.append("Preview prompts are given, but preview every is 0: none will be drawn.")
    return out


def info(name: str) -> Info:
    """What a person reads about the setting `name`."""
    return field_info(TrainingSettings, name)


def field_info(model: type[BaseModel], name: str) -> Info:
    """What a person reads about a field of any settings model."""
    extra = model.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return extra["info"]  # type: ignore[return-value]
