"""A project with pictures, for the tests of the dataset page and its parts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import resources
from app.pictures import Pictures
from app.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

COUNT = 16


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    """The demo's 16 pictures of 128 px, captioned."""
    return shutil.copytree(resources.path("demo", "character"), tmp_path / "character")


@pytest.fixture(name="project")
def project_fixture(folder: Path, qtbot: QtBot) -> Project:
    """A project with them."""
    out = Project()
    values = {
        "data": str(folder),
        "base": "demo",
        "trigger": "zorblin",
        "resolution": 128,
        "bucket_step": 8,
        "bucket_min": 64,
    }
    out.create("Zorblin", values)
    return out


@pytest.fixture(name="pictures")
def pictures_fixture(project: Project, qtbot: QtBot) -> Iterator[Pictures]:
    """Its pictures, scanned."""
    out = Pictures(project)
    with qtbot.waitSignal(out.scanned, timeout=10_000):
        out.rescan()
    yield out
    assert out.finish_writing(10)
    project.save()


def captions(pictures: Pictures) -> list[str]:
    """As they are shown."""
    return [item.caption for item in pictures.items]
