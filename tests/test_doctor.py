"""The doctor finds what is planted and leaves clean pictures alone; it looks again only at what changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests import planted, planted_sets
from tests.benchmarks import doctor as benchmark
from tests.conftest import draw_pictures
from trainer import dataset, doctor, pixel_measures
from trainer.doctor_findings import KINDS, SEVERITIES, Report
from trainer.doctor_measures import MeasureCache
from trainer.doctor_subject import path_of
from trainer.errors import DataError
from trainer.settings import TrainingSettings
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (600, 480)  # quickly drawn, and no smaller than the training size


@dataclass(frozen=True)
class Spoilt:
    """A folder with clean pictures and one with each defect, and what was found in it."""

    folder: Path
    files: dict[str, set[str]]
    settings: TrainingSettings
    report: Report


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    folder = tmp_path_factory.mktemp("spoilt")
    files = planted.plant(folder, ["clean"], 8, 11, SIZE)
    files |= planted.plant(folder, planted.PICTURE_KINDS | planted.CAPTION_KINDS, 1, 12, SIZE)
    settings = planted.settings(folder)
    cache = MeasureCache(tmp_path_factory.mktemp("cache") / "measures.json")
    return Spoilt(folder, files, settings, doctor.examine(None, settings, cache))


@pytest.fixture
def cache(tmp_path: Path) -> MeasureCache:
    return MeasureCache(tmp_path / "cache" / "measures.json")


def test_what_is_planted_is_found_and_clean_pictures_are_left_alone(spoilt: Spoilt) -> None:
    """The full measurement, of hundreds of pictures, is tests/benchmarks/doctor.py."""
    scores = benchmark.score_files(spoilt.report, spoilt.files)
    assert set(scores) == {*planted.PICTURE_KINDS, *planted.CAPTION_KINDS}
    assert {kind: s.missed for kind, s in scores.items() if s.missed} == {}
    assert {kind: s.false for kind, s in scores.items() if s.false} == {}


@pytest.mark.parametrize("kind", planted_sets.KINDS)
def test_what_is_wrong_with_a_whole_set_is_found(kind: str, tmp_path: Path, cache: MeasureCache) -> None:
    score = benchmark.score_sets(tmp_path, kind, 1, 5, cache)
    assert (score.missed, score.false) == ((), ())


def test_every_kind_is_planted_somewhere() -> None:
    assert {*planted.PICTURE_KINDS, *planted.CAPTION_KINDS, *planted_sets.KINDS} == set(KINDS)


def test_a_report_survives_being_told_to_a_program(spoilt: Spoilt) -> None:
    told = json.loads(json.dumps(spoilt.report.to_json()))
    assert Report.from_json(told) == spoilt.report and told["blocks"] is False
    assert all(f["id"] and f["title"] and f["explanation"].endswith(".") for f in told["findings"])
    places = [SEVERITIES.index(f.severity) for f in spoilt.report.findings]
    assert places == sorted(places) and len(set(places)) == 2


def test_every_key_in_a_report_names_a_file(spoilt: Spoilt) -> None:
    for finding in spoilt.report.findings:
        assert set(finding.remarks) | {k for g in finding.groups for k in g} <= set(finding.pictures)
        assert all(path_of(key, spoilt.settings).is_file() for key in finding.pictures)


def test_only_what_changed_is_looked_at_again(
    pictures: Path, cache: MeasureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingSettings(data=pictures, resolution=64)
    first = doctor.examine(None, settings, cache)
    assert first.measured == 6
    again = MeasureCache(cache.path)
    monkeypatch.setattr(pixel_measures, "measure", None)
    second = doctor.examine(None, settings, again)
    assert second.measured == 0 and second.findings == first.findings
    monkeypatch.undo()
    Image.new("RGB", (64, 64)).save(pictures / "0.png")
    os.utime(pictures / "0.png", ns=(1, 1))
    Image.new("RGB", (64, 96), "red").save(pictures / "new.png")
    assert doctor.examine(None, settings, again).measured == 2
    assert doctor.examine(None, settings.model_copy(update={"resolution": 96}), again).measured == 7, (
        "another training size"
    )


def test_a_damaged_cache_is_made_anew(pictures: Path, cache: MeasureCache) -> None:
    settings = TrainingSettings(data=pictures, resolution=64)
    for text in (
        "",
        "{",
        "[]",
        '{"version": -1, "files": {}}',
        json.dumps({"version": pixel_measures.VERSION, "files": {"a": 1}}),
    ):
        cache.path.parent.mkdir(exist_ok=True)
        cache.path.write_text(text)
        assert doctor.examine(None, settings, MeasureCache(cache.path)).measured == 6


def test_giving_up_keeps_what_was_measured(pictures: Path, cache: MeasureCache) -> None:
    def tell(label: str, done: int, total: int) -> None:
        if label == "Looking at pictures" and done == 3:
            assert total == 6
            raise Cancelled

    settings = TrainingSettings(data=pictures, resolution=64)
    with pytest.raises(Cancelled):
        doctor.examine(None, settings, cache, tell)
    assert doctor.examine(None, settings, MeasureCache(cache.path)).measured == 3


def test_the_scan_that_is_known_already_is_not_done_again(pictures: Path, cache: MeasureCache) -> None:
    settings = TrainingSettings(data=pictures, resolution=64)
    data = dataset.scan_training(settings)
    shutil.copy(pictures / "0.png", pictures / "later.png")
    assert doctor.examine(data, settings, cache).pictures == 6


def test_a_folder_without_a_usable_picture_says_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "c.txt").write_text("words")
    report = doctor.examine(None, TrainingSettings(data=tmp_path))
    assert report.blocks and report.pictures == 0
    assert [f.kind for f in report.findings] == ["nothing_usable", "unreadable", "other_format", "orphan_caption"]
    assert "holds no usable picture" in report.findings[0].explanation


@pytest.mark.parametrize("values", [{}, {"data": "/nowhere/at/all"}])
def test_a_folder_that_is_missing_is_an_error(values: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"no folder was given|does not exist"):
        doctor.examine(None, TrainingSettings.model_validate(values))


def test_what_is_left_out_is_not_examined(pictures: Path, cache: MeasureCache) -> None:
    shutil.copy(pictures / "0.png", pictures / "twin.png")
    shutil.copy(pictures / "0.txt", pictures / "twin.txt")
    settings = TrainingSettings(data=pictures, resolution=64)
    assert doctor.examine(None, settings, cache).of("exact_duplicate")[0].groups == (("0.png", "twin.png"),)
    settings = TrainingSettings(data=pictures, resolution=64, left_out=("twin.png",))
    assert doctor.examine(None, settings, cache).of("exact_duplicate") == ()


def test_of_duplicates_the_one_with_words_is_kept_even_if_the_other_was_enlarged(
    tmp_path: Path, cache: MeasureCache
) -> None:
    planted.plant(tmp_path, ["clean"], 2, 3, SIZE)
    first, second = sorted(p for p in tmp_path.iterdir() if p.suffix != ".txt")
    with Image.open(first) as picture:
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.LANCZOS).save(tmp_path / "z_large.png")
    shutil.copy(second, tmp_path / f"a_without_words{second.suffix}")
    report = doctor.examine(None, planted.settings(tmp_path), cache)
    assert report.of("exact_duplicate")[0].groups == ((second.name, f"a_without_words{second.suffix}"),)
    assert report.of("near_duplicate")[0].groups == ((first.name, "z_large.png"),)


def test_masks_are_no_pictures_to_complain_about(tmp_path: Path, cache: MeasureCache) -> None:
    folder = draw_pictures(tmp_path / "pictures")
    Image.new("L", (64, 64), 255).save(folder / "0-mask.png")
    kinds = {f.kind for f in doctor.examine(None, TrainingSettings(data=folder, resolution=64), cache).findings}
    assert not kinds & {"unreadable", "other_format", "missing_caption"}


def test_further_folders_and_concepts_are_examined_with_whole_paths_as_keys(
    tmp_path: Path, cache: MeasureCache
) -> None:
    draw_pictures(tmp_path / "a")
    draw_pictures(tmp_path / "b", 2)
    (tmp_path / "b" / "0.txt").unlink()
    (tmp_path / "c").mkdir()
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "c" / "person.png")
    values = {
        "data": tmp_path / "a",
        "more_data": [tmp_path / "b"],
        "concepts": [{"folder": tmp_path / "c", "regularization": True}],
    }
    report = doctor.examine(None, TrainingSettings.model_validate({"resolution": 64} | values), cache)
    assert report.pictures == 9
    assert report.of("missing_caption")[0].pictures == ((tmp_path / "b/0.png").as_posix(),)
    assert report.of("prior_overlap")[0].pictures == ((tmp_path / "c/person.png").as_posix(),)
