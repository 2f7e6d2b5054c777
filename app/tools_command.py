"""`lora-atelier merge`, `resize` and `convert`: new LoRA files from LoRA files. torch is imported only when they run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.export_command import ENDING, PRECISIONS
from trainer.errors import ConfigError, RunError

if TYPE_CHECKING:
    from trainer.lora_tools import Made, Rule


def add(commands: Any) -> None:
    """Adds the sub-commands to the parser."""
    merge = commands.add_parser(
        "merge",
        help="add up several LoRAs, each with a weight",
        description="Writes the weighted sum of LoRA files. It is exact, and its rank is the sum of theirs; --rank makes it smaller.",
    )
    merge.add_argument(
        "files", nargs="+", metavar="FILE[:WEIGHT]", help="a LoRA and its weight, e.g. a.safetensors:0.8"
    )
    merge.add_argument("--rank", type=_rank, metavar="N", help="of the new file, by the best approximation")
    merge.add_argument("--name", metavar="TEXT", help="title in the file; made of theirs unless given")
    merge.add_argument("--precision", choices=PRECISIONS, default="fp16", help="number format; fp16 unless given")
    _add_out(merge, _merge)
    resize = commands.add_parser(
        "resize",
        help="make a LoRA smaller",
        description="Writes the best approximation of a lower rank; its strength stays the same.",
    )
    resize.add_argument("file", type=Path, metavar="FILE")
    how = resize.add_mutually_exclusive_group(required=True)
    how.add_argument("--rank", type=_rank, metavar="N", help="the same for all layers; smaller ones stay as they are")
    how.add_argument(
        "--energy",
        type=_share,
        metavar="SHARE",
        help="the lowest rank of each layer that keeps this share of its squared singular values, e.g. 0.95",
    )
    how.add_argument(
        "--frobenius", type=_share, metavar="SHARE", help="the same for the root of that share (kohya's sv_fro)"
    )
    resize.add_argument("--precision", choices=PRECISIONS, help="number format; the file's unless given")
    _add_out(resize, _resize)
    convert = commands.add_parser(
        "convert",
        help="rename a LoRA's layers for kohya's programs or for PEFT",
        description="Writes the same LoRA under kohya's names (A1111, ComfyUI, Civitai) or those of diffusers and PEFT.",
    )
    convert.add_argument("file", type=Path, metavar="FILE")
    convert.add_argument("--to", choices=("kohya", "peft"), required=True, help="whose names")
    convert.add_argument("--precision", choices=PRECISIONS, help="number format; the file's unless given")
    _add_out(convert, _convert)


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


def _add_out(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new file")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.set_defaults(run=run)


def _merge(options: argparse.Namespace) -> int:
    sources = [file_and_weight(word) for word in options.files]
    out = _out(options)
    from trainer import lora_tools

    rule = lora_tools.Rule("rank", options.rank) if options.rank else None
    made = lora_tools.merge_files(sources, out, options.precision, rule, options.name)
    return _told(out, made)


def _resize(options: argparse.Namespace) -> int:
    out = _out(options)
    from trainer import lora_tools

    made = lora_tools.resize_file(options.file, out, _rule(options), options.precision)
    return _told(out, made)


def _convert(options: argparse.Namespace) -> int:
    out = _out(options)
    from trainer import lora_convert

    return _told(out, lora_convert.convert_file(options.file, out, options.to, options.precision))


def _rule(options: argparse.Namespace) -> Rule:
    from trainer.lora_tools import Rule

    if options.rank is not None:
        return Rule("rank", options.rank)
    return Rule("energy", options.energy) if options.energy is not None else Rule("frobenius", options.frobenius)


def _out(options: argparse.Namespace) -> Path:
    """The file to write."""
    out: Path = options.out.expanduser().absolute()
    if out.suffix != ENDING or out.is_dir():
        raise RunError(f"The new file's name must end in {ENDING}: {out}.")
    if out.exists() and not options.force:
        raise RunError(f"{out} exists already. Choose another name, or add --force to replace it.")
    return out


def _told(out: Path, made: Made) -> int:
    low, high = made.ranks
    rank = f"rank {low}" if low == high else f"ranks {low} to {high}"
    kept = f", {made.kept:.1%} of the change kept" if made.kept < 0.9995 else ""
    print(
        f"{out} ({out.stat().st_size / 1e6:.1f} MB, {made.precision}; {made.layers} layers, {rank}{kept}; read back and compared)."
    )
    return 0


def _rank(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and up to 1, not {text}")
    return value
