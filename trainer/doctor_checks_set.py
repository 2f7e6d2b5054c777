"""What the data set doctor finds in a set as a whole: buckets, how many pictures, repeats, what is in it twice.

Imports no torch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from trainer import buckets, pixel_measures, presets
from trainer.doctor_findings import finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainer.batches import Entry
    from trainer.doctor_findings import Finding
    from trainer.doctor_subject import Subject
    from trainer.pixel_measures import Group, Measures

FEWEST = 5  # pictures, whatever is taught
TIPPED = 3.0  # a folder seen so many times as often as another is a choice to be made knowingly
MUCH_ENLARGED = 1.5  # a picture enlarged more than so many times looks soft, and the LoRA learns that
MUCH_CROPPED = 0.25  # of the area


def check(subject: Subject) -> Iterator[Finding]:
    """All findings about the set as a whole, and about the sizes in it."""
    yield from _sizes(subject)
    yield from _buckets(subject)
    yield from _amount(subject)
    yield from _repeats(subject)
    yield from _twice(subject)
    yield from _overlap(subject)


def _sizes(subject: Subject) -> Iterator[Finding]:
    small: dict[str, str] = {}
    cropped: dict[str, str] = {}
    for entry in subject.entries:
        width, height = entry.picture.seen_px
        enlarged, share = entry.fit.resized[0] / max(1, width), buckets.cropped_share(entry.fit)
        if enlarged > MUCH_ENLARGED:
            small[entry.picture.key] = f"{width} x {height} px, enlarged {enlarged:.1f} times"
        if share > MUCH_CROPPED:
            cropped[entry.picture.key] = f"{width} x {height} px, {share:.0%} cut away"
    if small:
        yield finding(
            "small",
            f"At a resolution of {subject.settings.resolution} px these pictures are enlarged more than {MUCH_ENLARGED:g} times; "
            "they look soft, and softness is learnt. Use larger ones, or a lower resolution.",
            small,
        )
    if cropped:
        hint = "" if subject.settings.buckets else " Switch aspect-ratio buckets on to keep each picture's shape."
        yield finding(
            "cropped",
            "No bucket is as long as these pictures, so that training cuts away much of them. Crop them yourself to what matters."
            + hint,
            cropped,
        )


def _buckets(subject: Subject) -> Iterator[Finding]:
    batch = subject.settings.batch_size
    views: Counter[buckets.Size] = Counter()
    for entry in subject.entries:
        views[entry.fit.size] += entry.picture.repeats
    thin = {size for size, count in views.items() if count < batch}
    if batch == 1 or not thin or len(subject.entries) < batch:
        return
    remarks = {
        entry.picture.key: f"{entry.fit.size[0]} x {entry.fit.size[1]} px: {views[entry.fit.size]} of {batch}"
        for entry in subject.entries
        if entry.fit.size in thin
    }
    yield finding(
        "thin_bucket",
        f"A batch is made of pictures of one shape, and of these shapes there are fewer than the {batch} of a batch; their steps "
        "see fewer pictures and are rougher. Crop them to the shape of others, or use a larger bucket step.",
        remarks,
    )


def _amount(subject: Subject) -> Iterator[Finding]:
    count = len(subject.taught)
    preset = presets.load(subject.preset) if subject.preset else None
    low, high = preset.pictures if preset else (FEWEST, 0)
    what = f"a {preset.title.lower()}" if preset else "a LoRA"
    if count < low:
        usual = f"{low} to {high} are usual" if high else f"at least {low} are usual"
        yield finding(
            "too_few",
            f"{count} {'picture is' if count == 1 else 'pictures are'} few for {what}; {usual}. With few, the LoRA repeats them "
            "instead of learning from them: add varied ones, or train fewer steps.",
        )
    elif high and count > high:
        times = subject.settings.steps * subject.settings.batch_size * subject.settings.accumulation / max(1, count)
        seen = (
            f" In {subject.settings.steps:,} steps each is seen {times:.0f} times."
            if not subject.settings.epochs
            else ""
        )
        yield finding(
            "too_many",
            f"{count} pictures are more than {what} needs; {low} to {high} are usual.{seen} The best ones alone teach better than "
            "all, or take more steps.",
        )


def _repeats(subject: Subject) -> Iterator[Finding]:
    """Only when repeats are the reason: folders of different size alone are as the user sorted them."""
    folders: dict[Path, list[Entry]] = defaultdict(list)
    for entry in subject.taught:
        folders[entry.picture.path.parent].append(entry)
    if len({entry.picture.repeats for entry in subject.taught}) < 2:
        return
    views = {folder: sum(e.picture.repeats for e in entries) for folder, entries in folders.items()}
    most, least = max(views, key=lambda f: views[f]), min(views, key=lambda f: views[f])
    by_files = [len(entries) for entries in folders.values()]
    tipped = views[most] / views[least]
    if tipped > TIPPED and tipped > max(by_files) / min(by_files):
        yield finding(
            "repeats",
            f"With their repeats, the {len(folders[most])} pictures in {most.name} are seen {views[most]} times in an epoch, "
            f"the {len(folders[least])} in {least.name} {views[least]} times. Change the number in front of the folders' "
            "names unless the first shall count for so much more.",
            {e.picture.key: f"{e.picture.repeats} times" for e in folders[most]},
        )


_TWICE = {
    "exact": ("exact_duplicate", "The same bytes under several names."),
    "near": ("near_duplicate", "Nearly the same pixels: another size, another compression, a slightly other crop."),
    "flipped": ("flipped_duplicate", "Mirror images of each other."),
}


def _twice(subject: Subject) -> Iterator[Finding]:
    order = sorted(subject.entries, key=lambda entry: _quality(entry, subject), reverse=True)
    place = {entry.picture.key: i for i, entry in enumerate(order)}
    readable = {key: m for key, m in subject.measures.items() if key in place and not m.problem}
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for group in pixel_measures.near_duplicates(
        {e.picture.key: readable[e.picture.key] for e in order if e.picture.key in readable}
    ):
        found[group.kind].append(tuple(sorted(group.keys, key=place.__getitem__)))
    for kind, groups in found.items():
        name, says = _TWICE[kind]
        groups.sort()
        mirrored = (
            " Mirror is on, so that they are mirrored anyway." if kind == "flipped" and subject.settings.flip else ""
        )
        result = finding(
            name,
            f"{says} What is there twice is learnt twice as strongly, and learnt by heart.{mirrored} Leaving out keeps the best of "
            "each.",
            {key: ("kept" if key == group[0] else f"as {group[0]}") for group in groups for key in group},
        )
        yield replace(result, groups=tuple(groups))


def _quality(entry: Entry, subject: Subject) -> tuple[float, ...]:
    """Of two pictures of the same thing the better one is large enough, then has a caption, then fewer blocks of JPEG.

    More pixels than training needs are no merit in themselves: an enlarged copy has them too.
    """
    width, height = entry.picture.seen_px
    measures = subject.measures[entry.picture.key]
    enough = min(width * height, entry.fit.size[0] * entry.fit.size[1])
    return (enough, bool(entry.picture.caption), -round(measures.blockiness, 1), width * height)


def _overlap(subject: Subject) -> Iterator[Finding]:
    """Pictures of the class that are trained as the subject too: they pull to both sides."""
    taught = {e.picture.key for e in subject.taught}
    prior: dict[str, Measures] = dict(subject.prior_measures)
    prior |= {e.picture.key: subject.measures[e.picture.key] for e in subject.entries if e.picture.key not in taught}
    if not prior:
        return
    both: Mapping[str, Measures] = {k: m for k, m in subject.measures.items() if k in taught} | prior
    remarks: dict[str, str] = {}
    for group in _related(pixel_measures.near_duplicates({k: m for k, m in both.items() if not m.problem})):
        mine = [key for key in group if key in taught]
        if mine:
            remarks |= {key: f"as {mine[0]}" for key in group if key in prior}
    if remarks:
        yield finding(
            "prior_overlap",
            "Regularisation pictures shall show what the model knows already. These show what it is taught, and so hold it back. "
            "Setting them aside moves them into a hidden folder, from where undo brings them back.",
            remarks,
        )


def _related(groups: list[Group]) -> list[tuple[str, ...]]:
    """The groups, joined where they share a picture: a mirrored one names only one of several copies."""
    joined: list[set[str]] = []
    for group in groups:
        own = set(group.keys)
        touching = [other for other in joined if other & own]
        joined = [other for other in joined if not other & own] + [own.union(*touching)]
    return [tuple(sorted(group)) for group in joined]
