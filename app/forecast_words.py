"""What a forecast says to people: one line, the verdict, the details, and each change that would make the run fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import texts
from app.texts import counted, tr
from trainer.forecast_memory import judged

if TYPE_CHECKING:
    from trainer.forecast_memory import Mend, Outlook, Verdict
    from trainer.forecast_run import Forecast
    from trainer.memory_model import Stage

_HALF, _THIRD, _QUARTER, _TENTH = 1.45, 1.29, 1.18, 1.07


def verdict(found: Verdict) -> str:
    """The verdict in a word or two; empty when it is not known."""
    return {"fits": tr("Fits"), "tight": tr("Tight"), "no": tr("Does not fit"), "unknown": ""}[found]


def verdict_colour(found: Verdict) -> str:
    """Its colour, a name of `theme.Colours`."""
    return {"fits": "good", "tight": "warn", "no": "bad", "unknown": "muted"}[found]


def line(forecast: Forecast) -> str:
    """As "About 3.2 GB memory, 15.1 GB free · LoRA file 13.7 MB"."""
    found = forecast.memory
    memory = found.spot.memory
    name = tr(found.spot.memory_name)
    parts = [
        tr("About {need} {name}", need=_gb(found.bytes), name=name)
        if memory is None
        else tr("About {need} {name}, {free} free", need=_gb(found.bytes), free=_gb(memory.free), name=name)
    ]
    parts.append(tr("LoRA file {size}", size=texts.size(forecast.disk.file)))
    if forecast.disk.is_short:
        parts.append(tr("the disk is short of room"))
    return " · ".join(parts)


def details(forecast: Forecast) -> list[tuple[str, str]]:
    """Everything that is foretold, as (what, how much)."""
    found, disk = forecast.memory, forecast.disk
    factor = found.bytes / max(1, found.need.peak.bytes)
    rows = [(tr("Most memory"), f"{_gb(found.bytes)}, {tr(found.need.peak.title)}")]
    if found.spot.memory is not None:
        rows.append((tr("Free now"), f"{_gb(found.spot.memory.free)} ({tr(found.spot.memory_name)})"))
    rows += [(tr(stage.title).capitalize(), _stage(stage, factor)) for stage in found.need.stages]
    rows.append((tr("Length"), counted(forecast.length.total_steps, "step", "steps")))
    if forecast.seconds is not None:
        rows.append((tr("Time"), tr("about {time}", time=texts.duration(forecast.seconds))))
    rows.append((tr("Trained numbers"), f"{forecast.trained:,}"))
    rows.append((tr("LoRA file"), texts.size(disk.file)))
    rows.append((tr("Run folder"), tr("{all} in the end: checkpoints {checkpoints}, previews {previews}", all=texts.size(disk.run), checkpoints=texts.size(disk.checkpoints), previews=texts.size(disk.previews))))  # fmt: skip
    rows.append((tr("Cache"), texts.size(disk.cache)))
    if disk.free is not None:
        rows.append((tr("Free on the disk"), texts.size(disk.free)))
    return rows


def problem(found: Outlook) -> str:
    """What stands in the way, a sentence; empty when the run fits or nobody knows."""
    if found.spot.memory is None or found.verdict in ("fits", "unknown"):
        return ""
    values = {
        "need": _gb(found.bytes), "free": _gb(found.spot.memory.free), "phase": tr(found.need.peak.title),
        "name": tr(found.spot.memory_name), "most": tr(_largest(found.need.peak)),
    }  # fmt: skip
    if found.verdict == "tight":
        return tr(
            "It will be tight: {phase} needs about {need} and {free} of {name} are free. Most of it is {most}.",
            **values,
        )
    return tr(
        "It does not fit: {phase} needs about {need}, but {free} of {name} are free. Most of it is {most}.", **values
    )


def mend(change: Mend, found: Outlook) -> str:
    """As "Gradient checkpointing: 5.1 GB instead of 8.2 GB, about a third slower"."""
    names = [_change(name, value) for name, value in change.changes.items()]
    words = tr(
        "{changes}: {now} instead of {before}",
        changes=" + ".join(names),
        now=_gb(change.bytes),
        before=_gb(found.bytes),
    )
    pace = slower(change.slower)
    if not change.exact:
        pace = tr("{pace}, a slightly different result", pace=pace) if pace else tr("a slightly different result")
    if "resolution" in change.changes:
        pace = tr("quicker, but less fine detail is learnt")
    if judged(change.bytes, found.spot) == "tight":
        pace = tr("{pace}; still tight", pace=pace)
    return f"{words}, {pace}"


def slower(factor: float) -> str:
    """As "about a third slower"."""
    if factor < _TENTH:
        return tr("about as quick")
    if factor >= 1.9:
        return tr("about {factor:.1f} times as long", factor=factor)
    for least, words in (
        (_HALF, tr("about half slower")), (_THIRD, tr("about a third slower")), (_QUARTER, tr("about a quarter slower")),
    ):  # fmt: skip
        if factor >= least:
            return words
    return tr("about a tenth slower")


def _change(name: str, value: object) -> str:
    match name, value:
        case "packed_weights", _:
            return tr("Packed weights off")
        case "gradient_checkpointing", "some":
            return tr("Gradient checkpointing in some blocks")
        case "gradient_checkpointing", _:
            return tr("Gradient checkpointing")
        case "micro_batch", _:
            return tr("Micro-batch {n}", n=value)
        case "quantization", "int8":
            return tr("Base model in 8 bits")
        case "quantization", _:
            return tr("Base model in 4 bits")
        case "offload", _:
            return tr("Offload to the computer's memory")
        case "resolution", _:
            return tr("Resolution {side} px", side=value)
    return f"{name} {value}"


def _stage(stage: Stage, factor: float) -> str:
    parts = sorted(((n, round(b * factor)) for n, b in stage.parts.items()), key=lambda item: -item[1])
    shown = ", ".join(f"{tr(name)} {_gb(size)}" for name, size in parts if size >= 5e6)
    return f"{_gb(stage.bytes * factor)}: {shown}"


def _largest(stage: Stage) -> str:
    return max(stage.parts, key=lambda name: stage.parts[name])


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e8 else texts.size(size)
