"""Zip files and video frames: what is taken out, what is refused, and what the window makes of them."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageDraw
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton

from app import importer, intake, places
from app.importer import Importer, keep_different, unpack
from tests.conftest import draw_pictures
from trainer.errors import DataError
from trainer.tasks import Cancelled, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytestqt.qtbot import QtBot

WAIT = 20_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "source", 3)


def pack(path: Path, files: Mapping[str, bytes | Path]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_pictures_and_captions_are_taken_out_and_nothing_else(source: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "My cats.zip", {
        "a.png": source / "0.png", "a.txt": b"a cat", "5_side/b.PNG": source / "1.png", "run.exe": b"MZ", "__MACOSX/._a.png": b"x",
        ".hidden/c.png": source / "2.png", "what: this?/d.png": source / "2.png",
    })  # fmt: skip
    found = unpack(archive, tmp_path / "into", quiet)
    assert found.folder == tmp_path / "into" / "My_cats"
    assert names(found.folder) == ["5_side/b.PNG", "a.png", "a.txt", "what_ this_/d.png"]
    assert (found.folder / "a.png").read_bytes() == (source / "0.png").read_bytes()
    assert found.sentence == "3 pictures of My cats.zip unpacked, with 1 caption."


@pytest.mark.parametrize("path", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"])
def test_a_path_that_leads_elsewhere_refuses_the_file(path: str, source: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "bad.zip", {"a.png": source / "0.png", path: source / "0.png"})
    with pytest.raises(DataError, match=r"it wants to write to .*, outside of its folder"):
        unpack(archive, tmp_path / "deep" / "into", quiet)
    assert not list(tmp_path.rglob("evil.png")) and not (tmp_path / "deep").exists()


def test_links_in_an_archive_are_no_pictures(source: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as out:
        out.writestr(link, "/etc/passwd")
        out.write(source / "0.png", "a.png")
    assert names(unpack(tmp_path / "links.zip", tmp_path / "into", quiet).folder) == ["a.png"]


def test_bombs_are_refused_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = pack(tmp_path / "bomb.zip", {"a.png": source / "0.png", "b.png": bytes(importer.BOMB_BYTES + 1)})
    with pytest.raises(DataError, match=r"b.png would grow more than 100 times, which no picture does"):
        unpack(bomb, tmp_path / "into", quiet)
    many = pack(tmp_path / "many.zip", {f"{n}.png": source / "0.png" for n in range(5)})
    monkeypatch.setattr(importer, "MOST_FILES", 4)
    with pytest.raises(DataError, match=r"it holds 5 files of 0 GB. Unpack what you need"):
        unpack(many, tmp_path / "into", quiet)
    monkeypatch.setattr(importer, "MOST_BYTES", 10)
    with pytest.raises(DataError, match=r"is not unpacked: it holds"):
        unpack(many, tmp_path / "into", quiet)
    assert not (tmp_path / "into").exists()


def test_what_is_no_zip_file_is_damaged_or_holds_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip file")
    with pytest.raises(DataError, match=r"text.zip cannot be unpacked \(File is not a zip file\). Pack it again"):
        unpack(tmp_path / "text.zip", tmp_path / "into", quiet)
    with pytest.raises(DataError, match=r"none.zip holds no pictures \(.png, "):
        unpack(pack(tmp_path / "none.zip", {"a.txt": b"a"}), tmp_path / "into", quiet)
    stored = tmp_path / "damaged.zip"
    with zipfile.ZipFile(stored, "w") as out:
        out.write(source / "0.png", "a.png")
    data = bytearray(stored.read_bytes())
    data[60] ^= 255
    stored.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged.zip cannot be unpacked .*CRC"):
        unpack(stored, tmp_path / "into", quiet)


def test_an_archive_with_a_password_is_told(source: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "locked.zip", {"a.png": source / "0.png"})
    data = archive.read_bytes()
    central = data.index(b"PK\x01\x02")
    archive.write_bytes(data[:6] + b"\x01" + data[7 : central + 8] + b"\x01" + data[central + 9 :])
    with pytest.raises(DataError, match=r"locked.zip is locked with a password. Unpack it and drop the folder."):
        unpack(archive, tmp_path / "into", quiet)


# ---- frames


def draw_frames(folder: Path, scenes: int = 3, each: int = 4) -> Path:
    """Scenes that differ, each of frames that differ by a little noise; numbered without leading zeros."""
    folder.mkdir(parents=True)
    for n in range(scenes * each):
        scene = n // each
        picture = Image.new("RGB", (96, 64), [(200, 80, 60), (40, 90, 180), (70, 160, 90)][scene % 3])
        draw = ImageDraw.Draw(picture)
        draw.ellipse((10 + 20 * scene, 8, 50 + 20 * scene, 50), fill=(250, 240, 60 * scene))
        draw.rectangle((60 - 15 * scene, 30, 90 - 10 * scene, 60), fill=(20, 20, 90))
        draw.point((n, 3), fill=(255, 255, 255))
        picture.save(folder / f"frame_{n + 7}.png")
    return folder


def test_one_of_each_run_of_alike_frames_is_kept(tmp_path: Path) -> None:
    folder = draw_frames(tmp_path / "walk")
    (folder / "frame_11.txt").write_text("the second scene")
    (folder / "frame_9.png").write_bytes(b"cut off")
    told: list[tuple[int, int]] = []
    found = keep_different(folder, tmp_path / "into", lambda _label, done, total: told.append((done, total)))
    assert names(found.folder) == ["frame_11.png", "frame_11.txt", "frame_15.png", "frame_7.png"]
    assert found.sentence == "3 of 12 frames kept: one of each run that shows the same."
    assert told[0] == (0, 12) and told[-1] == (12, 12)
    assert len(names(folder)) == 13


def test_a_scene_that_comes_back_and_a_mirrored_one_are_kept(tmp_path: Path) -> None:
    folder = draw_frames(tmp_path / "walk", 2, 2)
    with Image.open(folder / "frame_7.png") as picture:
        picture.save(folder / "frame_11.png")
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "frame_12.png")
    found = keep_different(folder, tmp_path / "into", quiet)
    assert names(found.folder) == ["frame_11.png", "frame_12.png", "frame_7.png", "frame_9.png"]


def test_a_folder_without_frames(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no pictures \(.png"):
        keep_different(tmp_path / "empty", tmp_path / "into", quiet)
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"None of the 1 frames in .*empty can be read."):
        keep_different(tmp_path / "empty", tmp_path / "into", quiet)


# ---- what is dropped


def test_zip_files_and_videos_are_known(source: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "cats.ZIP", {"a.png": source / "0.png"})
    assert intake.classify([archive]).kind == "archive"
    with pytest.raises(DataError, match=r"Drop one zip file at a time"):
        intake.classify([archive, archive])
    video = tmp_path / "walk.mp4"
    video.write_bytes(b"x")
    with pytest.raises(DataError) as error:
        intake.classify([video])
    sentence = str(error.value)
    assert sentence.startswith("walk.mp4 is a video, which cannot be read here.")
    assert f'ffmpeg -i "{video}" -vf fps=2 "{tmp_path / "walk" / "frame_%05d.png"}"' in sentence


# ---- the thread


def test_the_importer_cancels_and_leaves_nothing(qtbot: QtBot, tmp_path: Path) -> None:
    out = Importer()

    def endless(source: Path, into: Path, tell: Any) -> Any:
        (into / source.name).mkdir(parents=True)
        while True:
            tell("Working", 0, 0)

    with qtbot.waitSignal(out.progressed, timeout=WAIT):
        out.start(endless, tmp_path)
    with qtbot.waitSignal(out.cancelled, timeout=WAIT):
        out.cancel()
    assert not out.is_running and not (places.projects() / importer.STAGED).exists()


def test_a_disk_that_refuses_is_told(qtbot: QtBot, tmp_path: Path) -> None:
    out = Importer()

    def full(_source: Path, _into: Path, _tell: Any) -> Any:
        raise OSError(28, "No space left on device")

    with qtbot.waitSignal(out.failed, timeout=WAIT) as told:
        out.start(full, tmp_path)
    assert told.args[0].startswith(f"{tmp_path.name} could not be imported: the disk is full")


def test_unpacking_can_be_cancelled(source: Path, tmp_path: Path) -> None:
    def tell(_label: str, done: int, _total: int) -> None:
        if done == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        unpack(pack(tmp_path / "a.zip", {f"{n}.png": source / f"{n}.png" for n in range(3)}), tmp_path / "into", tell)


# ---- the window


def settle(window: Any, qtbot: QtBot, pictures: int) -> None:
    qtbot.waitUntil(lambda: len(window.pictures.items) == pictures and not window.pictures.scanning, timeout=WAIT)


def test_a_dropped_zip_file_becomes_a_project_and_is_added_to_an_open_one(
    window: Any, qtbot: QtBot, source: Path, tmp_path: Path
) -> None:
    archive = pack(tmp_path / "cats.zip", {p.name: p for p in sorted(source.iterdir())})
    with qtbot.waitSignal(window.do.imports.importer.done, timeout=WAIT):
        window.do.take([archive])
        assert window.banner.text == "Importing cats.zip…"
    settle(window, qtbot, 3)
    folder = window.project.folder / "imported" / "cats"
    assert window.project.value("data") == str(folder) and window.project.title == "cats" and window.place == "dataset"
    assert window.pictures.items[0].caption == "blob, number 0, round thing"
    assert window.project.value("previews") and not window.project.can_undo
    assert window.banner.text == "3 pictures of cats.zip unpacked, with 3 captions."
    with qtbot.waitSignal(window.do.imports.importer.done, timeout=WAIT):
        window.do.take([archive])
    settle(window, qtbot, 6)
    assert window.project.value("more_data") == [str(folder.with_name("cats_2"))]
    qtbot.mouseClick(window.banner.findChild(QPushButton, "banner_action_0"), Qt.MouseButton.LeftButton)
    settle(window, qtbot, 3)
    assert folder.with_name("cats_2").is_dir()
    assert not list((places.projects() / importer.STAGED).glob("*"))


def test_a_project_that_was_opened_meanwhile_gets_nothing(
    window: Any, qtbot: QtBot, source: Path, tmp_path: Path
) -> None:
    window.project.create("first", {"data": str(source)})
    window.go("dataset")
    settle(window, qtbot, 3)
    with qtbot.waitSignal(window.do.imports.importer.done, timeout=WAIT):
        window.do.take([pack(tmp_path / "cats.zip", {"a.png": source / "0.png"})])
        window.project.create("second", {"data": str(source)})
    settle(window, qtbot, 1)
    assert window.project.title == "cats"
    assert "imported" not in (places.projects() / "second" / "project.toml").read_text(encoding="utf-8")


def test_a_zip_file_that_cannot_be_used_leaves_the_window_as_it_is(window: Any, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip file")
    with qtbot.waitSignal(window.do.imports.importer.failed, timeout=WAIT):
        window.do.take([tmp_path / "text.zip"])
    assert window.banner.text.startswith("text.zip cannot be unpacked") and not window.project.is_open


def test_frames_are_imported_from_the_menu(
    window: Any, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_frames(tmp_path / "walk")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_a, **_k: str(folder))
    action = next(a for a in window._menu_button.menu().actions() if a.text() == "Import video frames…")
    with qtbot.waitSignal(window.do.imports.importer.done, timeout=WAIT):
        action.trigger()
    settle(window, qtbot, 3)
    assert window.project.title == "walk"
