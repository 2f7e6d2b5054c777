"""A model from Hugging Face in the window: looked up, agreed to, downloaded, stopped, gone on with, and then the base."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from huggingface_hub import constants
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QDesktopServices
from PySide6.QtWidgets import QApplication, QLabel, QProgressBar, QPushButton

import resources
from app import plan, task_process
from app.project import Project
from app.token_counter import TokenCounter
from app.widgets.base_choice import BaseChoice
from app.widgets.fetch_dialog import FetchDialog
from tests import hub_server
from trainer import dataset, families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from tests.hub_server import Hub

NAME = "artist/tiny"
OFFER: dict[str, Any] = {
    "type": "done", "name": NAME, "title": "SDXL", "resolution": 1024, "licence": "openrail++", "gated": False, "path": "",
    "page": f"https://huggingface.co/{NAME}", "folder": "/hub/models--artist--tiny", "total_bytes": 7_000_000_000, "missing_bytes": 7_000_000_000,
    "free_bytes": 90_000_000_000, "files": [{"path": "unet/model.safetensors", "size_bytes": 7_000_000_000}],
}  # fmt: skip


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Replaces `lora-atelier fetch` by a program that says these lines and then, unless the last one is an end, waits for `cancel`."""

    def replace(*lines: dict[str, Any]) -> list[list[str]]:
        called: list[list[str]] = []
        code = (
            "import json, sys\n"
            f"for line in json.loads({json.dumps(json.dumps(lines))}): print(json.dumps(line), flush=True)\n"
            "if not lines_end: sys.stdin.readline(); print(json.dumps({'type': 'cancelled'}), flush=True)"
        ).replace("lines_end", str(bool(lines) and lines[-1]["type"] != "progress"))

        def command(words: list[str]) -> list[str]:
            called.append(words)
            return [sys.executable, "-c", code]

        monkeypatch.setattr(task_process, "command_for", command)
        return called

    return replace


@pytest.fixture
def dialog(qtbot: QtBot) -> Iterator[FetchDialog]:
    made = FetchDialog()
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.task.finish()


def click(qtbot: QtBot, dialog: FetchDialog, name: str) -> None:
    found = dialog.findChild(QPushButton, name)
    assert isinstance(found, QPushButton) and found.isVisible() and found.isEnabled(), name
    qtbot.mouseClick(found, Qt.MouseButton.LeftButton)


def text(dialog: FetchDialog, name: str) -> str:
    found = dialog.findChild(QLabel, name) or dialog.findChild(QPushButton, name)
    assert isinstance(found, QLabel | QPushButton)
    return found.text() if found.isVisible() else ""


def looked_up(qtbot: QtBot, dialog: FetchDialog, says: Callable[..., list[list[str]]], **changes: Any) -> None:
    says(OFFER | changes)
    dialog.field.clear()
    qtbot.keyClicks(dialog.field, NAME)
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not dialog.task.is_running)


def test_nothing_happens_before_a_name_is_there(qtbot: QtBot, dialog: FetchDialog, says: Any) -> None:
    called = says()
    start = dialog.findChild(QPushButton, "fetch_start")
    assert start is not None and not start.isEnabled() and text(dialog, "fetch_page") == ""
    qtbot.keyClicks(dialog.field, "just a word")
    click(qtbot, dialog, "fetch_start")
    assert "is no name of a model on Hugging Face" in text(dialog, "fetch_status") and called == []
    qtbot.keyClicks(dialog.field, "s")
    assert text(dialog, "fetch_status") == ""


def test_the_offer_tells_what_it_is_how_large_and_where(qtbot: QtBot, dialog: FetchDialog, says: Any) -> None:
    called = says(OFFER)
    qtbot.keyClicks(dialog.field, "https://huggingface.co/artist/tiny/tree/main")
    click(qtbot, dialog, "fetch_start")
    assert dialog.field.text() == NAME and "Asking Hugging Face" in text(dialog, "fetch_status")
    qtbot.waitUntil(lambda: bool(text(dialog, "fetch_title")))
    assert called == [["fetch", NAME, "--look", "--json"]]
    assert (text(dialog, "fetch_title"), text(dialog, "fetch_family")) == (NAME, "SDXL · 1,024 px")
    assert (text(dialog, "fetch_size"), text(dialog, "fetch_licence")) == ("7.0 GB in 1 file", "openrail++")
    where = dialog.findChild(QLabel, "fetch_where")
    assert where is not None and where.toolTip() == "/hub/models--artist--tiny  (90.0 GB free)"
    assert text(dialog, "fetch_start") == "Download 7.0 GB"


@pytest.mark.parametrize(
    ("changes", "button", "said"),
    [
        ({"missing_bytes": 1_500_000_000}, "Go on, 1.5 GB", "5.5 GB of it are here already"),
        ({"missing_bytes": 0}, "Use it", "all of it is here already"),
        ({"gated": True}, "Download 7.0 GB", "openrail++; its owner wants it accepted on the model's page first"),
        ({"licence": ""}, "Download 7.0 GB", "not told"),
        ({"free_bytes": 1000}, "Look again", "The disk has no room for it"),
        ({"files": []}, "Use it", "It is on this computer already"),
    ],
)
def test_an_offer_that_is_special_says_so(
    changes: dict[str, Any], button: str, said: str, qtbot: QtBot, dialog: FetchDialog, says: Any
) -> None:
    looked_up(qtbot, dialog, says, **changes)
    assert text(dialog, "fetch_start") == button
    assert said in " ".join(text(dialog, f"fetch_{part}") for part in ("size", "licence", "status"))


def test_progress_is_told_in_bytes_with_the_time_that_is_left(
    qtbot: QtBot, dialog: FetchDialog, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up(qtbot, dialog, says)
    called = says({"type": "progress", "label": "Downloading", "done": 1_000_000, "total": 7_000_000})
    click(qtbot, dialog, "fetch_start")
    qtbot.waitUntil(lambda: text(dialog, "fetch_status") == "1.0 GB of 7.0 GB")
    assert called == [["fetch", NAME, "--yes", "--json"]]
    clock = dialog._samples[0][0]
    monkeypatch.setattr("app.widgets.fetch_dialog.time.monotonic", lambda: clock + 10)
    dialog.task.progressed.emit("Downloading", 1_500_000, 7_000_000)
    assert text(dialog, "fetch_status") == "1.5 GB of 7.0 GB · 50.0 MB a second · about 2 min left"
    bar = dialog.findChild(QProgressBar, "fetch_bar")
    assert bar is not None and bar.isVisible() and (bar.value(), bar.maximum()) == (1_500_000, 7_000_000)
    dialog.task.progressed.emit("Checking", 2_000_000, 7_000_000)
    assert text(dialog, "fetch_status") == "2.0 GB of 7.0 GB", "another kind of work has another speed"
    with qtbot.waitSignal(dialog.task.cancelled):
        click(qtbot, dialog, "fetch_close")
    assert "Stopped. What is here is kept" in text(dialog, "fetch_status")
    assert text(dialog, "fetch_start") == "Go on" and dialog.isVisible()


def test_a_failure_is_a_sentence_with_another_try(
    qtbot: QtBot, dialog: FetchDialog, says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    looked_up(qtbot, dialog, says)
    says({"type": "failed", "message": "The network is gone."})
    click(qtbot, dialog, "fetch_start")
    qtbot.waitUntil(lambda: text(dialog, "fetch_status") == "The network is gone.")
    assert text(dialog, "fetch_start") == "Try again" and text(dialog, "fetch_title") == NAME
    click(qtbot, dialog, "fetch_page")
    assert opened == [f"{constants.ENDPOINT}/{NAME}"]
    called = says({"type": "done", "name": NAME, "path": "/x"})
    with qtbot.waitSignal(dialog.fetched) as heard:
        click(qtbot, dialog, "fetch_start")
    assert heard.args == [NAME] and called[0][2] == "--yes" and not dialog.isVisible()


def test_closing_stops_a_download_and_then_closes(qtbot: QtBot, dialog: FetchDialog, says: Any) -> None:
    looked_up(qtbot, dialog, says)
    says({"type": "progress", "label": "Downloading", "done": 1, "total": 7})
    click(qtbot, dialog, "fetch_start")
    qtbot.waitUntil(lambda: " of " in text(dialog, "fetch_status"))
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isVisible() and text(dialog, "fetch_close") == "Stopping…"
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert not dialog.task.is_running


def test_an_often_used_model_is_one_click(qtbot: QtBot, dialog: FetchDialog, says: Any) -> None:
    called = says({"type": "failed", "message": "No."})
    click(qtbot, dialog, "fetch_often_SDXL 1.0")
    qtbot.waitUntil(lambda: not dialog.task.is_running)
    assert called == [["fetch", "stabilityai/stable-diffusion-xl-base-1.0", "--look", "--json"]]


# ---- with the real command, a server, and the project's base


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running({NAME: resources.path("demo", "model")}) as hub:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        for key, value in hub.environment(tmp_path / "hf").items():
            monkeypatch.setenv(key, value)
        yield hub


@pytest.fixture
def project() -> Project:
    made = Project()
    made.create("test", {"base": NAME, "data": str(resources.path("demo", "character"))})
    return made


def make_plan(project: Project) -> plan.Plan:
    return plan.make(project.values, dataset.scan(resources.path("demo", "character")).pictures)


def dialogs() -> list[FetchDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, FetchDialog) and w.isVisible()]


def test_a_base_that_is_not_here_is_downloaded_from_its_card_and_then_known(
    qtbot: QtBot, server: Hub, project: Project
) -> None:
    choice = BaseChoice(project)
    qtbot.addWidget(choice)
    choice.show()
    counter = TokenCounter(project)
    fetch = choice.picker.findChild(QPushButton, "base_fetch")
    assert fetch is not None
    qtbot.waitUntil(fetch.isVisible)
    problems = {problem.field: problem.text for problem in make_plan(project).problems}
    assert "Download it in the window" in problems["base"] and "fetch artist/tiny" in problems["base"]
    error = choice.picker.findChild(QLabel, "base_error")
    assert error is not None and error.text() == "This model is not on this computer yet."
    qtbot.waitUntil(lambda: bool(counter.problem))
    qtbot.mouseClick(fetch, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(fetch, Qt.MouseButton.LeftButton)
    (dialog,) = dialogs()
    qtbot.waitUntil(lambda: text(dialog, "fetch_start").startswith("Download "), timeout=30_000)
    changed: list[frozenset[str]] = []
    project.changed.connect(changed.append)
    click(qtbot, dialog, "fetch_start")
    with qtbot.waitSignal(choice.picker.found, timeout=30_000) as found:
        pass
    assert found.args is not None and found.args[0].family is families.FAMILIES["sd1"]
    assert not fetch.isVisible() and error.isHidden() and dialogs() == []
    assert changed == [frozenset({"base"})], "so that the plan is made anew"
    assert not [p for p in make_plan(project).problems if p.field == "base"]
    assert project.value("base") == NAME
    qtbot.waitUntil(lambda: counter.problem == "")


def test_a_model_of_the_menu_becomes_the_base(qtbot: QtBot, says: Any, project: Project) -> None:
    project.set("base", "demo")
    choice = BaseChoice(project)
    qtbot.addWidget(choice)
    choice.show()
    button = choice.picker.findChild(QPushButton, "base_change")
    assert button is not None and button.menu() is not None
    button.menu().aboutToShow.emit()
    action = button.menu().findChild(QAction, "base_hub")
    assert action is not None
    action.trigger()
    (dialog,) = dialogs()
    says(OFFER)
    qtbot.keyClicks(dialog.field, NAME)
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(text(dialog, "fetch_title")))
    says({"type": "done", "name": NAME, "path": "/x"})
    with qtbot.waitSignal(choice.picker.chosen) as chosen:
        click(qtbot, dialog, "fetch_start")
    assert chosen.args == [NAME] and project.value("base") == NAME and choice.picker.base() == NAME
