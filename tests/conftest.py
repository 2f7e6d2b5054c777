"""Fixtures: tiny models of each family, small picture folders, an isolated cache. No network, no downloads."""

from __future__ import annotations

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a core; tests' own workers too
    os.environ.setdefault("OMP_NUM_THREADS", "1")


from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageDraw

import app  # noqa: F401  its workaround for PySide6 must come before the first Qt call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's cache or another test's."""
    monkeypatch.setenv("LORA_ATELIER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> None:
    """Collections pass over what was there before, such as torch: all of it would take up to a second, in every run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model folder for every row of the family table."""
    from tests import tiny_models as makers

    root = tmp_path_factory.mktemp("models")
    return {family: makers.make(family, root / family) for family in makers.MAKERS}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six captioned pictures of three shapes (square, wide, tall)."""
    return draw_pictures(tmp_path / "pictures")


def draw_pictures(folder: Path, count: int = 6) -> Path:
    """Distinct pictures with captions, 64 to 96 px."""
    folder.mkdir(parents=True)
    for i in range(count):
        size = ((64, 64), (96, 64), (64, 96))[i % 3]
        picture = Image.new("RGB", size, (40 * i % 256, 90, 200 - 20 * i))
        ImageDraw.Draw(picture).ellipse((10, 8 + i, 50, 50), fill=(250, 30 * i, 60))
        picture.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"blob, number {i}, round thing", encoding="utf-8")
    return folder
