"""How settings are said to people: choices in words, values in words, and which paths are files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.field_numbers import shown
from app.texts import tr
from trainer.settings import TrainingSettings, field_info

if TYPE_CHECKING:
    from pydantic import BaseModel

FILES = {
    "start_from": "*.safetensors",
    "vae": "*.safetensors *.ckpt *.pt",
}  # settings that are a file; other paths are folders
LONG_TEXTS = ("description",)
COLOURS = ("background",)


@dataclass(frozen=True)
class Choice:
    """What a person reads for one of a setting's values, and a sentence about it."""

    words: str
    hint: str = ""


_AUTO = Choice("Automatic", "The app decides; right for nearly everybody.")
_FP32 = Choice("fp32", "Exact, and twice the size.")
_BF16 = Choice("bf16", "Half the size, coarse, never overflows.")
_FP16 = Choice("fp16", "Half the size, fine, what most programs use.")

# fmt: off
CHOICES: dict[str, dict[Any, Choice]] = {
    "precision": {"auto": _AUTO, "fp32": _FP32, "bf16": _BF16, "fp16": _FP16},
    "prediction": {
        "auto": _AUTO,
        "epsilon": Choice("Noise (epsilon)", "What most SD 1.x and SDXL models predict."),
        "v_prediction": Choice("Velocity (v)", "Some SD 2.x models, and SDXL models whose name says v-pred."),
    },
    "max_tokens": {
        75: Choice("75", "About 50 words; enough for most captions."),
        150: Choice("150", "About 100 words."),
        225: Choice("225", "About 150 words."),
    },
    "packed_weights": {
        "auto": Choice("When there is room", "On a CPU with enough free memory."),
        "on": Choice("Always", "Sooner on a CPU; about twice the weights' memory."),
        "off": Choice("Never", "Slower on a CPU, with less memory."),
    },
    "vae_precision": {"auto": _AUTO, "fp32": _FP32, "bf16": _BF16},
    "quantization": {
        "none": Choice("Off", "The base as it is."),
        "nf4": Choice("4 bit (NF4)", "QLoRA: the least memory."),
        "int8": Choice("8 bit", "Half of the memory, nearer to the base."),
    },
    "gradient_checkpointing": {
        "off": Choice("Off", "The quickest."),
        "some": Choice("Largest blocks", "Most of the saving for some of the time."),
        "all": Choice("All blocks", "The least memory; up to a third slower."),
    },
    "compile": {
        "auto": Choice("For long runs", "On a GPU, when it pays."),
        "on": Choice("Always", "On a GPU; the first steps take longer."),
        "off": Choice("Never", "Every step takes the same time."),
    },
    "out_of_memory": {
        "adapt": Choice("Go on with less", "From the last step; the result stays the same."),
        "adapt_4bit": Choice("Go on, also in 4 bits", "As the last resort, the base is quantised."),
        "stop": Choice("Stop", "The run ends; its last checkpoint stays."),
    },
    "caption_lines": {
        "join": Choice("One caption", "The lines are put together."),
        "variants": Choice("Variants", "One of the lines is shown each time."),
    },
    "cache": {
        "disk": Choice("On disk", "The next start is quick."),
        "memory": Choice("In memory", "Nothing is written; made anew at each start."),
    },
    "optimizer": {
        "adamw": Choice("AdamW", "The safe choice."),
        "adamw8bit": Choice("AdamW, 8 bit", "The same in a quarter of the memory; NVIDIA cards."),
        "lion": Choice("Lion", "Wants a learning rate about five times lower."),
        "lion8bit": Choice("Lion, 8 bit", "Lion in less memory; NVIDIA cards."),
        "adafactor": Choice("Adafactor", "Needs the least memory."),
        "prodigy": Choice("Prodigy", "Finds the learning rate itself; set it to 1."),
    },
    "schedule": {
        "constant": Choice("Constant", "The same from start to end."),
        "linear": Choice("Linear", "Falls evenly to 0."),
        "cosine": Choice("Cosine", "Falls gently to 0: quick in the middle, quiet at the end."),
        "cosine_restarts": Choice("Cosine with restarts", "Falls and jumps up again, as often as “Restarts” says."),
    },
    "loss": {
        "mse": Choice("Mean square", "The usual one."),
        "huber": Choice("Huber", "Less moved by odd pictures."),
    },
    "export_precision": {"fp16": _FP16, "bf16": _BF16, "fp32": _FP32},
    "targets": {
        "attention": Choice("Attention", "How parts of the picture and words look at each other; the heart of a LoRA."),
        "feed_forward": Choice("Feed-forward", "What is made of what was seen."),
        "projections": Choice("Projections", "The way in and out of each block."),
        "convolutions": Choice("Convolutions", "Fine texture (LoCon); a larger file."),
    },
    "sampler": {
        "dpmpp_2m": Choice("DPM++ 2M", "Good in few steps."),
        "dpmpp_2m_karras": Choice("DPM++ 2M Karras", "As most web interfaces have it."),
        "ddim": Choice("DDIM", "Plain and predictable."),
        "euler": Choice("Euler", "Soft and quick."),
        "euler_a": Choice("Euler a", "Lively: adds noise on the way."),
    },
}
# fmt: on


def choice(name: str, value: Any) -> Choice:
    """The words for one value of a setting; the value itself when there are none."""
    found = CHOICES.get(name, {}).get(value)
    return Choice(tr(found.words), tr(found.hint) if found.hint else "") if found else Choice(str(value))


def in_words(name: str, value: Any, model: type[BaseModel] = TrainingSettings) -> str:
    """A value as a person would say it: "on", "1e-4", "1,600 steps", "Cosine"."""
    unit = field_info(model, name).unit
    if isinstance(value, bool):
        return tr("on") if value else tr("off")
    if name in CHOICES and isinstance(value, list):
        return ", ".join(choice(name, v).words for v in value)
    if name in CHOICES:
        text = choice(name, value).words
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = shown(value)
    elif isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = str(value)
    if not text:
        return tr("empty")
    return f"{text} {unit}" if unit else text
