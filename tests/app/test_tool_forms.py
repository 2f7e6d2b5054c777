"""What the forms of the LoRA tools ask, say and hand to the sub-commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QCheckBox, QDoubleSpinBox, QFileDialog, QRadioButton, QSlider, QWidget

from app import library, places, recent
from app.lora_facts import ModelFacts
from app.texts import size
from app.widgets.picture_loader import PictureLoader
from app.widgets.tool_bake import BakeForm
from app.widgets.tool_convert import ConvertForm
from app.widgets.tool_extract import ExtractForm
from app.widgets.tool_merge import MergeForm
from app.widgets.tool_resize import ResizeForm
from tests.app.tool_files import write_dora, write_lora, write_model, write_peft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.widgets.tool_form import ToolForm

WAIT = 20_000


@pytest.fixture
def show(qtbot: QtBot) -> Callable[[ToolForm], ToolForm]:
    def act(form: ToolForm) -> ToolForm:
        qtbot.addWidget(form)
        form.show()
        return form

    return act


def until(qtbot: QtBot, form: ToolForm, words: str) -> None:
    """Waits until that is said."""
    qtbot.waitUntil(lambda: words in form.standing().text, timeout=WAIT)


def merge(*paths: Path, known: tuple[Path, ...] = ()) -> MergeForm:
    return MergeForm(PictureLoader(), [library.read_lora(path) for path in known], list(paths))


# ---- merge


def test_a_merge_says_at_once_what_comes_of_it(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    a, b = (write_lora(tmp_path / f"{name}.safetensors", rank) for name, rank in (("a", 4), ("b", 6)))
    form = merge(a, b)
    show(form)
    until(qtbot, form, "rank 4 + 6 = 10; nothing is lost.")
    assert form.standing().ready and form.words() == ["merge", f"{a}:1", f"{b}:1", "--precision", "fp16"]
    assert (form.proposal().folder, form.proposal().name) == (tmp_path, "a + b")
    sliders, numbers = form.findChildren(QSlider, "tool_weight_slider"), form.findChildren(QDoubleSpinBox, "tool_weight")  # fmt: skip
    sliders[0].setValue(70)
    numbers[1].setValue(-0.25)
    assert numbers[0].value() == 0.7 and sliders[1].value() == -25, "slider and number are one"
    assert form.words()[1:3] == [f"{a}:0.7", f"{b}:-0.25"]
    form.smaller.click()
    form.rank.setValue(5)
    until(qtbot, form, "rank 5; what counts least is left out.")
    assert form.words()[3:5] == ["--rank", "5"]


def test_families_that_do_not_mix_and_weights_of_nothing_are_told(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    a, b = write_lora(tmp_path / "a.safetensors"), write_lora(tmp_path / "b.safetensors", family="sdxl_base_v1-0")
    form = merge(a, b)
    show(form)
    until(qtbot, form, "“a” is made for SD 1.x and “b” for SDXL.")
    assert form.standing().wrong and not form.standing().ready
    form.findChildren(QWidget, "tool_remove_lora")[1].click()  # type: ignore[attr-defined]
    until(qtbot, form, "Add another LoRA to mix in, or change the weight")
    assert not form.standing().ready and form.sources() == [a]
    number = form.findChild(QDoubleSpinBox, "tool_weight")
    number.setValue(0)
    assert form.standing().text == "The weight of “a” is 0. Give it another one, or take it away."
    number.setValue(0.5)
    until(qtbot, form, "rank 4; nothing is lost.")
    assert form.standing().ready, "one LoRA can be made weaker"
    form.findChild(QWidget, "tool_remove_lora").click()  # type: ignore[attr-defined]
    assert form.standing().text == "Add the LoRAs to mix." and form.loras.add_button.hasFocus()


def test_loras_are_added_from_the_library_from_files_and_by_dropping(
    qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = (write_lora(places.exports() / f"{name}.safetensors") for name in "abc")
    elsewhere = write_lora(tmp_path / "d.safetensors")
    form = merge(a, known=(a, b, c))
    show(form)
    menu = form.loras._menu
    menu.aboutToShow.emit()
    assert [x.text() for x in menu.actions() if not x.isSeparator()] == ["b", "c", "Choose a file…"]
    menu.actions()[1].trigger()
    assert form.sources() == [a, c]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(elsewhere), str(a)], ""))
    menu.aboutToShow.emit()
    menu.actions()[-1].trigger()
    assert form.sources() == [a, c, elsewhere], "none is listed twice"
    assert form.proposal().folder == places.exports(), "they lie in several folders"
    assert form.proposal().name == "a + c + d"
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in (b, tmp_path / "x.txt")])
    arguments = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPointF(5, 5), *arguments)
    form.loras.dragEnterEvent(enter)
    assert enter.isAccepted()
    form.loras.dropEvent(QDropEvent(QPointF(5, 5), *arguments))
    assert form.sources() == [a, c, elsewhere, b] and form.proposal().name == "a + c + d + …"
    form.wait(10)


def test_files_that_no_tool_can_use_are_told(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense!!")
    for path, words in (
        (write_dora(tmp_path / "dora.safetensors"), "“dora” is a DoRA"),
        (write_peft(tmp_path / "peft.safetensors"), "Use Convert… on it first."),
        (tmp_path / "bad.safetensors", "bad.safetensors is not a .safetensors file"),
    ):
        form = merge(path)
        show(form)
        until(qtbot, form, words)
        assert form.standing().wrong and not form.standing().ready


def test_loras_of_one_title_are_told_apart_by_their_files(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    a, b = (write_lora(tmp_path / f"{name}.safetensors", **{"modelspec.title": "a"}) for name in ("a", "a_rank_4"))
    form = merge(a, known=(a, b))
    show(form)
    form.loras._menu.aboutToShow.emit()
    assert form.loras._menu.actions()[0].text() == "a · a_rank_4"
    form.loras.add([b])
    until(qtbot, form, "nothing is lost.")
    assert [row._about.whole.split(" · ")[0] for row in form.loras._rows] == ["SD 1.x", "a_rank_4"]


# ---- resize


def test_resize_proposes_half_the_rank_and_says_the_size(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    path = write_lora(tmp_path / "a.safetensors", 16, layers=8)
    form = ResizeForm(path, "A")
    show(form)
    until(qtbot, form, f"instead of {size(path.stat().st_size)}.")
    assert form.words() == ["resize", str(path), "--rank", "8"]
    slider = form.choice.findChild(QSlider, "tool_rank_slider")
    assert slider.maximum() == 16 and not form.choice.wide.isVisible(), "there are no convolutions"
    before = form.standing().text
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: form.standing().text != before, timeout=WAIT)
    assert form.words()[-1] == "7" and form.proposal().name == "A rank 7"
    form.precision.setCurrentIndex(form.precision.findData("fp32"))
    assert form.words()[-2:] == ["--precision", "fp32"]


def test_resize_by_share_hands_over_the_energy_that_leaves_it(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    path = write_lora(tmp_path / "a.safetensors", 16, wide_rank=8)
    form = ResizeForm(path, "A")
    show(form)
    until(qtbot, form, "instead of")
    form.findChild(QRadioButton, "tool_by_share").click()
    assert form.words() == ["resize", str(path), "--energy", "0.9025"], "the square of 95 percent"
    assert form.standing().ready and form.standing().text.startswith("Smaller than")
    assert not form.findChild(QWidget, "tool_rank").isVisible() and form.findChild(QWidget, "tool_share").isVisible()
    form.findChild(QCheckBox, "tool_wide").click()
    form.findChild(QWidget, "tool_wide_rank").setValue(2)  # type: ignore[attr-defined]
    assert form.words()[-2:] == ["--conv-rank", "2"]
    form.findChild(QRadioButton, "tool_by_rank").click()
    assert form.words()[2:] == ["--rank", "8", "--conv-rank", "2"]


# ---- convert


def test_convert_chooses_the_names_that_the_file_does_not_have(qtbot: QtBot, tmp_path: Path, show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    kohya, peft = write_lora(tmp_path / "a.safetensors"), write_peft(tmp_path / "b.safetensors")
    for path, to, other in ((kohya, "peft", "kohya"), (peft, "kohya", "peft")):
        form = ConvertForm(path, path.stem)
        show(form)
        until(qtbot, form, "as now.")
        assert form.words() == ["convert", str(path), "--to", to] and form.proposal().name == f"{path.stem} {to}"
        form.findChild(QRadioButton, f"tool_to_{other}").click()
        assert form.standing().text == "It has these names already; there is nothing to convert."
        assert not form.standing().ready


# ---- bake and extract


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "checkpoints").mkdir()
    return {family: write_model(tmp_path / "checkpoints" / f"{family}.safetensors", family) for family in ("sd1", "sdxl")}  # fmt: skip


def test_bake_wants_a_model_of_the_loras_family(qtbot: QtBot, tmp_path: Path, models: dict[str, Path], show: Callable[[ToolForm], ToolForm]) -> None:  # fmt: skip
    recent.add_base(str(models["sdxl"]))
    recent.add_base("/a/folder")
    a, b = write_lora(tmp_path / "a.safetensors"), write_dora(tmp_path / "b.safetensors")
    form = BakeForm(PictureLoader(), [], [a])
    show(form)
    assert [form.model.box.itemText(i) for i in range(form.model.box.count())] == ["sdxl.safetensors"]
    assert form.standing().text == "Choose the model that the LoRA becomes part of."
    form.model.box.setCurrentIndex(0)
    until(qtbot, form, "“a” is made for SD 1.x, but the model is SDXL.")
    form.model.choose(models["sd1"])
    until(qtbot, form, "as the model.")
    assert form.standing().ready and form.words() == ["bake", str(models["sd1"]), f"{a}:1"]
    assert (form.proposal().folder, form.proposal().name) == (models["sd1"].parent, "sd1 + a")
    form.loras.add([b])
    until(qtbot, form, "as the model.")
    assert form.standing().ready, "a DoRA can be baked"
    form.model.choose(a)
    until(qtbot, form, "Choose another model")
    assert form.model.facts == ModelFacts(a, problem="a.safetensors is a LoRA. Choose the file of a whole model, a checkpoint.")  # fmt: skip


def test_extract_wants_two_models_of_one_family(
    qtbot: QtBot, tmp_path: Path, models: dict[str, Path], show: Callable[[ToolForm], ToolForm], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    tuned = write_model(tmp_path / "tuned.safetensors", "sd1")
    form = ExtractForm()
    show(form)
    assert form.standing().text == "Choose both models." and form.proposal().name == "extracted"
    for choice, path in ((form.tuned, tuned), (form.base, models["sdxl"])):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, path=path: (str(path), ""))
        qtbot.mouseClick(choice.browse, Qt.MouseButton.LeftButton)
    until(qtbot, form, "The one is SD 1.x, the other SDXL.")
    form.base.choose(tuned)
    assert form.standing().text == "Both are the same file; there is nothing to extract."
    form.base.choose(models["sd1"])
    until(qtbot, form, "A LoRA for SD 1.x.")
    assert form.words() == ["extract", str(tuned), str(models["sd1"]), "--rank", "32"]
    form.findChild(QCheckBox, "tool_wide").click()
    assert form.words()[-2:] == ["--conv-rank", "32"]
    assert (form.proposal().folder, form.proposal().name) == (places.exports(), "tuned as LoRA")
