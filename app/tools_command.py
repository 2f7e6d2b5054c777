"""`lora-atelier merge`, `resize`, `convert`, `bake` and `extract`: new files from LoRAs and checkpoints. torch is imported only when they run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import task_command
from app.export_command import ENDING, PRECISIONS
from trainer.errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainer.lora_rank import Kind, Rule
    from trainer.lora_tools import Made
    from trainer.tasks import Tell

_KINDS: tuple[Kind, ...] = ("energy", "frobenius", "cumulative", "ratio")  # each a flag


def add(commands: Any) -> None:
    """Adds the sub-commands to the parser."""
    merge = commands.add_parser(
        "merge",
        help="add up several LoRAs, each with a weight",
        description="Writes the weighted sum of LoRA files. It is exact, and its rank is the sum of theirs; --rank or a share makes it smaller.",
    )
    merge.add_argument("files", nargs="+", metavar="FILE[:WEIGHT]", help="a LoRA and its weight, e.g. a.safetensors:0.8")  # fmt: skip
    _add_rule(merge)
    merge.add_argument("--name", metavar="TEXT", help="title in the file; made of theirs unless given")
    _add_precision(merge, "fp16")
    _add_out(merge, _merge)
    resize = commands.add_parser(
        "resize",
        help="make a LoRA smaller",
        description="Writes the best approximation of a lower rank; its strength stays the same.",
    )
    resize.add_argument("file", type=Path, metavar="FILE")
    _add_rule(resize)
    _add_precision(resize)
    _add_out(resize, _resize)
    convert = commands.add_parser(
        "convert",
        help="rename a LoRA's layers for kohya's programs or for PEFT",
        description="Writes the same LoRA under kohya's names (A1111, ComfyUI, Civitai) or those of diffusers and PEFT.",
    )
    convert.add_argument("file", type=Path, metavar="FILE")
    convert.add_argument("--to", choices=("kohya", "peft"), required=True, help="whose names")
    _add_precision(convert)
    _add_out(convert, _convert)
    bake = commands.add_parser(
        "bake",
        help="merge LoRAs into a base model",
        description="Writes a base model, one file of SD 1.x, SD 2.x or SDXL, with LoRAs merged into it. All else in it stays as it is; a .ckpt becomes .safetensors.",
    )
    bake.add_argument("base", type=Path, metavar="BASE", help="the model, .safetensors or .ckpt")
    bake.add_argument("files", nargs="+", metavar="LORA[:WEIGHT]", help="a LoRA and its weight, e.g. a.safetensors:0.8")
    _add_out(bake, _bake)
    extract = commands.add_parser(
        "extract",
        help="make a LoRA of the difference between two models",
        description="Writes the LoRA that turns BASE nearly into TUNED. Both are single files of one family.",
    )
    extract.add_argument("tuned", type=Path, metavar="TUNED", help="the model that was trained")
    extract.add_argument("base", type=Path, metavar="BASE", help="the model it was trained from")
    _add_rule(extract, convolutions="also make layers for convolutions (ResNet blocks), of at most this rank where they are 3x3")  # fmt: skip
    extract.add_argument("--name", metavar="TEXT", help="title in the file; the tuned model's file name unless given")
    _add_precision(extract, "fp16")
    _add_out(extract, _extract)


def file_and_weight(word: str) -> tuple[Path, float]:
    """A file and its weight, 1 unless given after a colon.

    Raises:
        ConfigError: the weight is zero or no finite number.
    """
    head, colon, tail = word.rpartition(":")
    if not colon or not head or tail.endswith(ENDING) or Path(word).is_file():
        return Path(word), 1.0
    try:
        weight = float(tail)
    except ValueError:
        if head.endswith(ENDING):
            raise ConfigError("", f'"{tail}" after {head} is no weight; write a number, e.g. {head}:0.8.') from None
        return Path(word), 1.0
    if not math.isfinite(weight) or weight == 0:
        raise ConfigError("", f"The weight of {head} is {tail}; it must be a number other than 0.")
    return Path(head), weight


def _add_rule(parser: argparse.ArgumentParser, convolutions: str = "of 3x3 convolutions; the other rank unless given") -> None:  # fmt: skip
    parser.add_argument("--rank", type=_rank, metavar="N", help="the same for all layers; with a share or ratio, at most so many")  # fmt: skip
    parser.add_argument("--conv-rank", type=_rank, metavar="N", help=convolutions)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--energy",
        type=_share,
        metavar="SHARE",
        help="the lowest rank of each layer that keeps this share of its squared singular values, e.g. 0.95",
    )
    how.add_argument("--frobenius", type=_share, metavar="SHARE", help="the same for the root of that share (sv_fro)")
    how.add_argument("--cumulative", type=_share, metavar="SHARE", help="the same for the plain sum of singular values (sv_cumulative)")  # fmt: skip
    how.add_argument("--ratio", type=_ratio, metavar="X", help="keeps singular values of at least the layer's largest / X (sv_ratio)")  # fmt: skip


def _add_precision(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    words = f"number format; {default or 'the file' + chr(39) + 's'} unless given"
    parser.add_argument("--precision", choices=PRECISIONS, default=default, help=words)


def _add_out(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace, Path, Tell], Made]) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new file")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    task_command.add_json(parser)

    def run(options: argparse.Namespace) -> int:
        return task_command.run(options, lambda tell: _told(options, work, tell), lambda made: str(made["sentence"]))

    parser.set_defaults(run=run)


def _merge(options: argparse.Namespace, out: Path, tell: Tell) -> Made:
    sources = [file_and_weight(word) for word in options.files]
    rule = _rule(options)
    from trainer import lora_tools

    return lora_tools.merge_files(sources, out, options.precision, rule, options.name, tell)


def _resize(options: argparse.Namespace, out: Path, tell: Tell) -> Made:
    rule = _required(_rule(options))
    from trainer import lora_tools

    return lora_tools.resize_file(options.file, out, rule, options.precision, tell)


def _convert(options: argparse.Namespace, out: Path, tell: Tell) -> Made:
    tell(f"Converting {options.file.name}", 0, 0)
    from trainer import lora_convert

    return lora_convert.convert_file(options.file, out, options.to, options.precision)


def _bake(options: argparse.Namespace, out: Path, tell: Tell) -> Made:
    loras = [file_and_weight(word) for word in options.files]
    from trainer import lora_bake

    return lora_bake.bake_file(options.base, loras, out, tell)


def _extract(options: argparse.Namespace, out: Path, tell: Tell) -> Made:
    rule = _required(_rule(options))
    from trainer import lora_extract

    return lora_extract.extract_file(options.tuned, options.base, out, rule, options.precision, options.name, tell)


def _rule(options: argparse.Namespace) -> Rule | None:
    """What the flags say about ranks; None when they say nothing."""
    from trainer.lora_rank import Rule

    for kind in _KINDS:
        if (amount := getattr(options, kind)) is not None:
            return Rule(kind, amount, options.rank, options.conv_rank)
    if options.rank is not None:
        return Rule("rank", options.rank, None, options.conv_rank)
    if options.conv_rank is not None:
        raise ConfigError("", "--conv-rank alone does not say which rank the other layers get; add --rank, or a share such as --energy 0.95.")  # fmt: skip
    return None


def _required(rule: Rule | None) -> Rule:
    if rule is None:
        raise ConfigError("", "Say how small it shall be: --rank N, a share such as --energy 0.95, or both (the share, at most N).")  # fmt: skip
    return rule


def _out(options: argparse.Namespace) -> Path:
    """The file to write."""
    out: Path = options.out.expanduser().absolute()
    if out.suffix != ENDING or out.is_dir():
        raise RunError(f"The new file's name must end in {ENDING}: {out}.")
    if out.exists() and not options.force:
        raise RunError(f"{out} exists already. Choose another name, or add --force to replace it.")
    return out


def _told(
    options: argparse.Namespace, work: Callable[[argparse.Namespace, Path, Tell], Made], tell: Tell
) -> Mapping[str, Any]:
    """Does the work; what programs want to know of it, and a sentence for people."""
    out = _out(options)
    made = work(options, out, tell)
    size = out.stat().st_size
    low, high = made.ranks
    rank = f"rank {low}" if low == high else f"ranks {low} to {high}"
    kept = f", {made.kept:.1%} of the change kept" if made.kept < 0.9995 else ""
    amount = f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
    sentence = f"{out} ({amount}, {made.precision}; {made.layers} layer{'s' * (made.layers != 1)}, {rank}{kept}; read back and compared)."
    return {
        "path": str(out), "size_bytes": size, "layers": made.layers, "ranks": [low, high], "kept": made.kept,
        "precision": made.precision, "difference": made.difference, "sentence": sentence,
    }  # fmt: skip


def _rank(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and up to 1, not {text}")
    return value


def _ratio(text: str) -> float:
    value = _number(text)
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"a number of at least 1, not {text}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
