"""dataset.py: a folder as a list of pictures, the same on every machine, and every fault in a sentence."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import draw_pictures
from trainer import edits, pixels
from trainer.dataset import DataSet, Picture, require_captions, scan, scan_training
from trainer.errors import DataError
from trainer.settings import Concept, TrainingSettings

UNKNOWN = "it is not a picture, or of an unknown kind"


def shown(data: DataSet, folder: Path) -> list[str]:
    return [p.path.relative_to(folder).as_posix() for p in data.pictures]


def put(path: Path, size: tuple[int, int] = (8, 8), caption: str | bytes | None = "a thing") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_bytes(caption if isinstance(caption, bytes) else caption.encode())
    return path


def test_pictures_come_with_size_and_caption(pictures: Path) -> None:
    data = scan(pictures)
    assert data.problems == () and data.views == 6
    assert data.pictures[1] == Picture(pictures / "1.png", 96, 64, "blob, number 1, round thing", 1)
    assert [(p.width_px, p.height_px) for p in data.pictures] == 2 * [(64, 64), (96, 64), (64, 96)]


def test_pictures_at_any_depth_are_sorted_by_path(tmp_path: Path) -> None:
    names = ["B.png", "Z/a.png", "a/b/c/d/e.png", "a/b.png", "a/c.png", "a b.png", "a.png", "b/a.png", "é.png"]
    for name in reversed(names):
        put(tmp_path / name)
    assert shown(scan(tmp_path), tmp_path) == names


def test_every_kind_of_picture_that_this_machine_reads_is_found_whatever_the_case(tmp_path: Path) -> None:
    names = [*sorted(f"x{s}" for s in pixels.supported_suffixes()), "y.PNG"]
    for name in names:
        put(tmp_path / name)
    assert shown(scan(tmp_path), tmp_path) == names


def test_a_kind_that_this_machine_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "b.avif").touch()
    monkeypatch.setattr(pixels, "supported_suffixes", lambda: (".png",))
    assert scan(tmp_path).problems == ("b.avif is left out: this machine's Pillow cannot read .avif files.",)


def test_hidden_files_and_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    for name in (".b.png", "._a.png", ".thumbnails/c.png", "sub/.d.png"):
        put(tmp_path / name)
    for name in ("notes.md", "a.psd", "png", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert shown(scan(tmp_path), tmp_path) == ["a.png"] and scan(tmp_path).problems == ()


def test_numbers_in_folder_names_multiply_the_repeats(tmp_path: Path) -> None:
    root = tmp_path / "2_root"
    for name in ("a", "3_x/b", "3_x/5_y/c", "x_4/d", "0_z/e", "7/f", "12345_v/g", "6_/h"):
        put(root / f"{name}.png")
    repeats = {p.path.stem: p.repeats for p in scan(root, repeats=10).pictures}
    assert repeats == {"a": 20, "b": 60, "c": 300, "d": 20, "e": 20, "f": 20, "g": 20, "h": 120}
    assert scan(root, repeats=10).views == sum(repeats.values())
    assert [p.repeats for p in scan(root / "3_x" / "5_y").pictures] == [5]  # only from the given folder down


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p / "nowhere", r"Pictures folder .*nowhere does not exist\. Check the path\."),
        (lambda p: put(p / "a.png"), r"Pictures: .*a\.png is a file\. Give the folder that holds the pictures\."),
        (lambda p: p, r"Pictures folder .* holds no usable picture \(\.png, \.jpg, .*\)\.$"),
        (lambda p: Path(), r"Pictures: no folder was given\. Choose the folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(make: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        scan(make(tmp_path))  # type: ignore[operator]
    with pytest.raises(DataError, match=sentence.replace("Pictures", "Validation pictures", 1)):
        scan(make(tmp_path), what="Validation pictures")  # type: ignore[operator]


def test_broken_pictures_are_named_and_the_others_kept(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bad.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    data = scan(tmp_path)
    assert shown(data, tmp_path) == ["good.png"]
    assert data.problems == tuple(
        f"{name} is left out: {Path(name).name} cannot be read as a picture ({UNKNOWN})."
        for name in ("empty.png", "sub/bad.jpg")
    )


def test_a_folder_of_broken_pictures_only_says_why_the_first_is_broken(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no")
    with pytest.raises(DataError, match=r"All 2 pictures in it are unusable, e\.g\. a\.png is left out: a\.png cannot"):
        scan(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_that_leads_nowhere_is_named_without_the_systems_jargon(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "a.png")
    data = scan(tmp_path)
    assert shown(data, tmp_path) == ["a.png", "c.png"]
    sentence = "b.png is left out: b.png cannot be read as a picture (No such file or directory)."
    assert [p for p in data.problems if "caption" not in p] == [sentence]


def test_a_caption_that_cannot_be_read_leaves_its_picture_out(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"All 6 pictures .* 0\.png is left out: 0\.png: no permission"):
        scan(pictures)


def test_a_sub_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "locked" / "b.png")
    real = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    data = scan(tmp_path)
    assert shown(data, tmp_path) == ["a.png"]
    (problem,) = data.problems
    assert problem.startswith(f"A folder in {tmp_path} cannot be read: no permission") and "locked" in problem


def test_a_caption_that_is_not_utf_8_is_read_and_noted(tmp_path: Path) -> None:
    put(tmp_path / "sub" / "a.png", caption="Bär".encode("cp1252"))
    put(tmp_path / "b.png", caption="\ufeffBär".encode("utf-16-le"))
    data = scan(tmp_path)
    assert [p.caption for p in data.pictures] == ["Bär", "Bär"]
    assert data.problems == ("The caption sub/a.txt is not UTF-8; it was read as cp1252.",)


def test_captions_may_be_in_caption_files(tmp_path: Path) -> None:
    put(tmp_path / "a.png", caption=None)
    (tmp_path / "a.caption").write_text("a fox", encoding="utf-8")
    put(tmp_path / "b.png", caption=None)
    (tmp_path / "b.png.txt").write_text("a bear", encoding="utf-8")
    assert [p.caption for p in scan(tmp_path).pictures] == ["a fox", "a bear"]


def test_missing_captions_are_counted_unless_all_are_missing(pictures: Path) -> None:
    (pictures / "0.txt").unlink()
    assert scan(pictures).problems == ("1 of 6 pictures has no caption.",)
    (pictures / "1.txt").write_text(" \n")
    assert scan(pictures).problems == ("2 of 6 pictures have no caption.",)
    for file in pictures.glob("*.txt"):
        file.unlink()
    assert scan(pictures).problems == ()


def test_pictures_without_any_words_are_refused_unless_there_is_a_trigger(pictures: Path) -> None:
    require_captions(scan(pictures), TrainingSettings(data=pictures))
    for file in sorted(pictures.glob("*.txt"))[1:]:
        file.unlink()
    require_captions(scan(pictures), TrainingSettings(data=pictures))
    (pictures / "0.txt").write_text("")
    data = scan(pictures)
    require_captions(data, TrainingSettings(data=pictures, trigger="zorblin"))
    with pytest.raises(DataError, match=r"No picture in .* has a caption, and there is no trigger word\. Write"):
        require_captions(data, TrainingSettings(data=pictures))


def test_without_a_folder_of_their_own_pictures_without_words_are_counted(pictures: Path) -> None:
    for file in pictures.glob("*.txt"):
        file.unlink()
    data = scan(Path(), more=[pictures])
    with pytest.raises(DataError, match=r"^None of the 6 pictures has a caption, and there is no trigger word\. Write"):
        require_captions(data, TrainingSettings())
    put(pictures.parent / "more" / "a.png", caption=None)
    with pytest.raises(DataError, match=r"^None of the 7 pictures has a caption"):
        require_captions(scan(pictures, more=[pictures.parent / "more"]), TrainingSettings(data=pictures))


def test_more_folders_and_single_files_come_after_the_folder_in_the_order_given(tmp_path: Path) -> None:
    for name in ("one/b.png", "one/a.png", "two/sub/a.png", "three/x.png", "three/y.png"):
        put(tmp_path / name, caption=name)
    data = scan(tmp_path / "one", more=[tmp_path / "three" / "y.png", tmp_path / "two"])
    assert shown(data, tmp_path) == ["one/a.png", "one/b.png", "three/y.png", "two/sub/a.png"]
    assert [p.relative for p in data.pictures] == ["a.png", "b.png", "y.png", "sub/a.png"]
    assert [p.caption for p in data.pictures] == shown(data, tmp_path) and data.problems == ()
    only = scan(Path(), more=[tmp_path / "two", tmp_path / "three" / "x.png"])
    assert shown(only, tmp_path) == ["two/sub/a.png", "three/x.png"]


def test_a_picture_that_is_found_twice_counts_once(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png"):
        put(tmp_path / name)
    (tmp_path / "sub" / "bad.png").touch()
    twice = [tmp_path / "sub", tmp_path / "sub" / "b.png", tmp_path / "sub" / ".." / "a.png", tmp_path]
    data = scan(tmp_path, more=twice)
    assert shown(data, tmp_path) == ["a.png", "sub/b.png"] and data.views == 2
    assert len(data.problems) == 1, "a broken file is told once"


def test_repeats_count_for_more_folders_too(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "3_more" / "2_b" / "c.png")
    data = scan(tmp_path / "3_more", more=[tmp_path / "a.png"], repeats=5)
    assert [p.repeats for p in data.pictures] == [30, 5]


def test_what_is_left_out_is_not_trained_but_known(pictures: Path) -> None:
    (pictures / "1.txt").unlink()
    data = scan(pictures, left_out=("1.png", "4.png", "no such picture.png"))
    assert shown(data, pictures) == ["0.png", "2.png", "3.png", "5.png"] and data.views == 4
    assert [p.relative for p in data.left_out] == ["1.png", "4.png"]
    assert data.problems == (), "a missing caption of a picture that is left out matters to nobody"


def test_what_is_left_out_of_more_folders_is_named_in_full_so_that_one_name_means_one_picture(tmp_path: Path) -> None:
    for name in ("one/sub/a.png", "one/a.png", "two/sub/a.png", "two/b.png"):
        put(tmp_path / name)
    data = scan(tmp_path / "one", more=[tmp_path / "two"], left_out=("sub/a.png",))
    assert shown(data, tmp_path) == ["one/a.png", "two/b.png", "two/sub/a.png"]
    key = (tmp_path / "two" / "sub" / "a.png").as_posix()
    data = scan(tmp_path / "one", more=[tmp_path / "two"], left_out=("sub/a.png", key))
    assert shown(data, tmp_path) == ["one/a.png", "two/b.png"] and [p.key for p in data.left_out] == ["sub/a.png", key]


def test_when_everything_is_left_out_the_sentence_says_so(pictures: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    with pytest.raises(DataError, match=r"Pictures folder .* All its pictures are left out; take some in again\.$"):
        scan(pictures, left_out=names)
    with pytest.raises(DataError, match=r"^Pictures: .* in .*0\.png\. All the pictures are left out; take some"):
        scan(Path(), more=[pictures / "0.png"], left_out=[(pictures / "0.png").as_posix()])


def test_more_pictures_that_cannot_be_used_are_told_in_a_sentence(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^Pictures: there is no folder or picture .*gone\.png\. Check the path, or take it"
    ):
        scan(pictures, more=[tmp_path / "gone.png"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    data = scan(pictures, more=[tmp_path / "notes.md", tmp_path / "empty"])
    assert len(data.pictures) == 6 and len(data.problems) == 1
    assert data.problems[0].startswith("notes.md is left out: it is no picture (.png, .jpg")
    with pytest.raises(
        DataError, match=r"^Pictures: there is no usable picture \(.*\) in .*/empty, .*/notes\.md\. All 1 "
    ):
        scan(Path(), more=[tmp_path / "empty", tmp_path / "notes.md"])
    with pytest.raises(DataError, match=r"^Pictures folder .*empty holds no usable picture"):
        scan(Path(), more=[tmp_path / "empty"])
    with pytest.raises(DataError, match=r"0\.png is a file\. Give the folder"):
        scan(pictures / "0.png", more=[pictures])


def test_a_run_trains_what_its_settings_name(pictures: Path, tmp_path: Path) -> None:
    one = put(tmp_path / "one.png")
    settings = TrainingSettings(data=pictures, more_data=(one,), left_out=("0.png",), repeats=2)
    data = scan_training(settings)
    assert shown(data, tmp_path) == [*(f"pictures/{i}.png" for i in range(1, 6)), "one.png"] and data.views == 12
    assert len(scan_training(TrainingSettings(more_data=(one,))).pictures) == 1
    with pytest.raises(DataError, match="no folder was given"):
        scan_training(TrainingSettings())


def test_a_copy_of_the_folder_elsewhere_gives_the_same_list(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "one" / "3_a")
    draw_pictures(tmp_path / "one" / "b", count=2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (scan(tmp_path / name) for name in ("one", "two"))
    assert shown(one, tmp_path / "one") == shown(two, tmp_path / "two")
    assert [(p.caption, p.repeats) for p in one.pictures] == [(p.caption, p.repeats) for p in two.pictures]


def test_concepts_are_further_folders_with_their_own_repeats(tmp_path: Path) -> None:
    for name in ("own/a.png", "b/2_x/b.png", "c/c.png"):
        put(tmp_path / name)
    concepts = (Concept(folder=tmp_path / "b", repeats=3), Concept(folder=tmp_path / "c", regularization=True))
    given = TrainingSettings(data=tmp_path / "own", repeats=10, concepts=concepts)
    found = scan_training(given).pictures
    assert [(p.path.name, p.concept, p.repeats) for p in found] == [("a.png", 0, 10), ("b.png", 1, 6), ("c.png", 2, 1)]
    assert [p.key for p in found] == ["a.png", (tmp_path / "b/2_x/b.png").as_posix(), (tmp_path / "c/c.png").as_posix()]
    alone = scan_training(given.model_copy(update={"data": Path(), "left_out": (found[1].key,)}))
    assert [p.path.name for p in alone.pictures] == ["c.png"] and [p.path.name for p in alone.left_out] == ["b.png"]
    with pytest.raises(
        DataError, match=r"^All pictures are regularisation pictures; there is none to learn from\. Add"
    ):
        require_captions(alone, given)
    gone = given.model_copy(update={"concepts": (Concept(folder=tmp_path / "gone"),)})
    with pytest.raises(DataError, match=r"^Pictures, concept 1 folder .*gone does not exist\. Check the path\.$"):
        scan_training(gone)


def test_a_concept_needs_words_or_a_trigger_of_its_own(tmp_path: Path) -> None:
    put(tmp_path / "a.png", caption=None)
    with_trigger = TrainingSettings(concepts=(Concept(folder=tmp_path, trigger="blix"),))
    require_captions(scan_training(with_trigger), with_trigger)
    without = TrainingSettings(concepts=(Concept(folder=tmp_path, trigger=""),), trigger="zorblin")
    with pytest.raises(DataError, match="has a caption, and there is no trigger word"):
        require_captions(scan_training(without), without)


def test_masks_belong_to_pictures_and_are_none_themselves(tmp_path: Path) -> None:
    for name in (
        "a.png",
        "a-mask.png",
        "b.jpg",
        "b-masklabel.png",
        "masklabel/c.png",
        "c.png",
        "lone-mask.png",
        "masklabel/d.png",
    ):
        put(tmp_path / name)
    found = {p.relative: p.mask for p in scan(tmp_path).pictures}
    assert found == {
        "a.png": tmp_path / "a-mask.png", "b.jpg": tmp_path / "b-masklabel.png", "c.png": tmp_path / "masklabel/c.png",
        "lone-mask.png": None, "masklabel/d.png": None,
    }  # fmt: skip


def test_crops_and_painted_masks_are_applied_to_pictures_that_are_still_the_same(tmp_path: Path) -> None:
    for name in ("pictures/a.png", "pictures/b.png", "pictures/c.png"):
        put(tmp_path / name)
    width, height = scan(tmp_path / "pictures").pictures[0].seen_px
    made = edits.Edits(tmp_path / "edits")
    made.set("a.png", edits.Edit((width, height), (1, 2, width, height), (0.2, 0.7)))
    made.paint("b.png", (width, height), Image.new("L", (width, height), 255))
    made.set("c.png", edits.Edit((9, 9), (0, 0, 5, 5)))
    data = scan_training(TrainingSettings(data=tmp_path / "pictures", edits=tmp_path / "edits"))
    a, b, c = data.pictures
    assert (a.box, a.focus, a.seen_px) == ((1, 2, width, height), (0.2, 0.7), (width - 1, height - 2))
    assert b.mask is not None and b.mask.is_file() and b.mask.parent == tmp_path / "edits" / "masks"
    assert (c.box, c.seen_px) == (None, (width, height))
    assert any(f"c.png is {width} x {height} px now and was 9 x 9 px when" in problem for problem in data.problems)


def test_the_lines_of_a_caption_file_are_kept_when_there_are_several(tmp_path: Path) -> None:
    put(tmp_path / "a.png", caption="a red fox\n\n  a fox \n")
    put(tmp_path / "b.png", caption="one line\n")
    a, b = scan(tmp_path).pictures
    assert (a.caption, a.lines) == ("a red fox a fox", ("a red fox", "a fox"))
    assert (b.caption, b.lines) == ("one line", ())
