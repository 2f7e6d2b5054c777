"""Renders every page of the window in its important states to PNG files, to be looked at.

    python -m tests.screens OUT_FOLDER [--run RUN_FOLDER] [--only NAME ...]

--run: a real run of the demo, whose curve and previews are shown; without it, made-up events and the demo's own pictures.
Light and dark, 1280 x 720, small, and with a font of 150 %. Offscreen unless QT_QPA_PLATFORM says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PIL import Image
from PySide6.QtWidgets import QDialog

import resources
from app import places, preferences, theme, window
from app.main_window import MainWindow
from app.run_controller import RunController
from app.widgets.auto_caption_dialog import AutoCaptionDialog
from app.widgets.edit_dialog import EditDialog
from tests import tiny_tagger
from tests.app.tool_files import write_lora
from trainer import run_folder, rungs, settings_file
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QApplication

STEPS, EVERY = 300, 50


class Studio:
    """One window after the other, each in a state, each in both themes."""

    def __init__(self, out: Path, run: Path | None, only: list[str]) -> None:
        self.app: QApplication = window.application()
        self.out, self.only = out, only
        self.run = RunFolder(run) if run else made_up_run(Path(tempfile.mkdtemp()))
        self.font = self.app.font()

    def shoot(
        self,
        name: str,
        arrange: Callable[[MainWindow], object],
        *,
        size: tuple[int, int] = (1280, 720),
        zoom: float = 1,
    ) -> None:
        """Opens a window, brings it into a state, and saves it light and dark."""
        if self.only and not any(name.startswith(o) for o in self.only):
            return
        font = self.app.font()
        font.setPointSizeF(self.font.pointSizeF() * zoom)
        self.app.setFont(font)
        theme.apply(self.app, "light")
        shown = MainWindow()
        shown.resize(*size)
        shown.show()
        arrange(shown)
        for scheme in ("light", "dark"):
            theme.apply(self.app, scheme)
            self.spin(0.6)
            dialog = next((d for d in shown.findChildren(QDialog) if d.isVisible()), shown)
            dialog.grab().save(str(self.out / f"{name}_{scheme}.png"))
        shown.close()
        shown.deleteLater()
        self.spin(0.1)
        print(name, flush=True)

    def spin(self, seconds: float) -> None:
        """Lets the window live for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.app.processEvents()
            time.sleep(0.002)

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Lets the window live until something is so."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "never came"
            self.spin(0.02)

    # ---- states

    def demo(self, shown: MainWindow) -> None:
        """The demo project is open."""
        shown.do.open_demo()
        self.until(lambda: shown.planner.plan.is_ready)

    def place(self, name: str) -> Callable[[MainWindow], None]:
        """A place, with the demo project."""

        def arrange(shown: MainWindow) -> None:
            self.demo(shown)
            shown.go(name)
            self.spin(1)

        return arrange

    def training(self, state: str, run: RunFolder | None = None) -> Callable[[MainWindow], None]:
        """The run of the studio, or another one, in a state."""

        def arrange(shown: MainWindow) -> None:
            self.demo(shown)
            controller = RunController(run or self.run)
            controller.record.state = state
            if state in ("failed", "lost"):
                controller.outcome.returncode = -9 if state == "lost" else 1
            if state == "failed":
                text = "The graphics card ran out of memory. Switch gradient checkpointing on, or take a smaller batch size or resolution."
                controller.outcome.take(_failed(text))
            shown.queue.current = controller
            controller.setParent(shown.queue)
            shown.queue.currentChanged.emit(controller)
            shown.go("training")
            shown.update_title()
            self.spin(1.5)

        return arrange

    def results(self, shown: MainWindow) -> None:
        """The run's checkpoints."""
        self.demo(shown)
        shown.do.show_results(self.run)
        self.spin(2)

    def editor(self, kind: str) -> Callable[[MainWindow], None]:
        """The crop editor or the mask painter, with something done in it."""

        def arrange(shown: MainWindow) -> None:
            self.place("dataset")(shown)
            shown.dataset.grid.select([3])
            if kind == "crop":
                shown.pictures.edits.crop(3, (10, 8, 118, 90), (0.4, 0.5))
                shown.dataset.tools.crop()
            else:
                mask = Image.new("L", (128, 128))
                mask.paste(255, (34, 20, 100, 110))
                shown.pictures.edits.paint(3, lambda: mask)
                self.until(lambda: shown.pictures.items[3].picture.mask is not None)
                shown.dataset.tools.paint()
            dialog = next(d for d in shown.findChildren(EditDialog) if d.isVisible())
            self.until(lambda: dialog.is_loaded)

        return arrange

    def captions(self, described: bool) -> Callable[[MainWindow], None]:
        """Captions by a model: before, and with proposals for all pictures."""

        def arrange(shown: MainWindow) -> None:
            model = tiny_tagger.make(places.home() / "WD tagger")
            preferences.put("captioners", [str(model)])
            self.demo(shown)
            shown.go("dataset")
            shown.dataset.write_captions()
            dialog = shown.findChild(AutoCaptionDialog)
            assert isinstance(dialog, AutoCaptionDialog)
            dialog.resize(min(1160, shown.width()), min(680, shown.height()))
            self.until(lambda: dialog.form.models.kind is not None)
            if described:
                dialog.form.choose_mode("append")
                dialog.start_button.click()
                self.until(lambda: not dialog.task.is_running, 60)

        return arrange

    def library(self, shown: MainWindow) -> None:
        """A few runs."""
        for title in ("zorblin", "aurora style"):
            target = places.runs() / f"2026-11-24_{title.replace(' ', '_')}"
            if not target.exists():
                shutil.copytree(self.run.path, target)
        self.demo(shown)
        shown.go("library")
        self.spin(2)

    def tool(self, kind: str) -> Callable[[MainWindow], None]:
        """One of the LoRA tools, for two files or one."""

        def arrange(shown: MainWindow) -> None:
            for i, title in enumerate(("zorblin", "aurora style")):
                path = write_lora(places.exports() / f"{title}.safetensors", 16 * (i + 1), layers=16)
                picture = resources.path("demo", "character", f"{4 * i + 1:02d}.png")
                shutil.copyfile(picture, path.with_suffix(".preview.png"))
            shown.go("library")
            self.until(lambda: len(shown.library.model.entries) >= 2)
            loras = [entry for entry in shown.library.model.entries if entry.kind == "lora"]
            shown.library.bench.choose(loras[: 2 if kind == "merge" else 1])
            shown.library.bench.open(kind)
            self.spin(1)

        return arrange


def made_up_run(parent: Path, *, adapted: bool = False) -> RunFolder:
    """A run folder with a plausible curve, whose previews are the demo's training pictures. adapted: on a 4-bit base, lowered."""
    values = settings_file.read(resources.path("demo", "character.toml"))
    folder = run_folder.create(values.model_copy(update={"runs_folder": parent}))
    folder.samples.mkdir()
    lines: list[dict[str, object]] = [
        {"type": "hello", "protocol": 1, "version": "0", "run": str(folder.path)},
        {"type": "started", "step": 0, "total_steps": STEPS, "pictures": 16, "steps_per_epoch": 2, "trainable_parameters": 560_000,
         "device": "cpu", "precision": "bf16" if adapted else "fp32", "packed": True, "quantization": "nf4" if adapted else "none"},
    ]  # fmt: skip
    for step in range(STEPS + 1):
        if step:
            loss = 0.06 + 0.15 * 0.985**step + 0.04 * ((step * 7919) % 97 / 97 - 0.5)
            rate = 1e-3 * min(step / 20, 1) * (1 - step / STEPS * 0.95)
            lines.append(
                {
                    "type": "step_done",
                    "step": step,
                    "loss": loss,
                    "learning_rates": {"unet": rate},
                    "seconds": 0.4,
                    "memory_gb": 0.8,
                }
            )
        if step % EVERY == 0:
            lines += _checkpoint(folder, step)
    if adapted:
        what = "frozen weights are no longer kept packed; a batch is computed 2 pictures at a time"
        lines.append({"type": "adapted", "step": STEPS, "what": what, "why": rungs.STEP, "unpacks": True})
    folder.events_path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    folder.log_path.write_text("Loading the base model\nstep 120 of 300\n", encoding="utf-8")
    return folder


def _checkpoint(folder: RunFolder, step: int) -> list[dict[str, object]]:
    folder.checkpoint(step).mkdir(parents=True)
    (folder.checkpoint(step) / "state.json").write_text("{}")
    out: list[dict[str, object]] = [{"type": "checkpoint_saved", "step": step, "path": f"checkpoints/{step:06d}"}]
    out.append({"type": "validated", "step": step, "loss": 0.07 + 0.14 * 0.985**step})
    for prompt in range(4):
        name = f"{1 + (step // EVERY + prompt * 4) % 16:02d}.png" if step else f"{1 + prompt * 5:02d}.png"
        target = folder.sample(step, prompt, prompt + 1)
        shutil.copyfile(resources.path("demo", "character" if step else "base", name), target)
        out.append(
            {
                "type": "preview_drawn",
                "step": step,
                "prompt": prompt,
                "seed": prompt + 1,
                "path": folder.relative(target),
            }
        )
    return out


def _failed(text: str) -> object:
    from trainer.events import Failed

    return Failed(text)


def main() -> int:
    """Renders all states."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LORA_ATELIER_HOME"] = home
        studio = Studio(options.out, options.run, options.only)
        studio.shoot("start_empty", lambda shown: None)
        studio.shoot("start", lambda shown: (studio.demo(shown), shown.start.refresh(), shown.go("start")))
        for name in ("dataset", "recipe"):
            studio.shoot(name, studio.place(name))
        for kind in ("crop", "mask"):
            studio.shoot(f"dataset_{kind}", studio.editor(kind))
        for described in (False, True):
            studio.shoot(f"captions_{'review' if described else 'asked'}", studio.captions(described))
        studio.shoot("training_empty", studio.place("training"))
        for state in ("training", "paused", "finished", "failed", "lost"):
            studio.shoot(f"training_{state}", studio.training(state))
        lowered = made_up_run(Path(tempfile.mkdtemp()), adapted=True)
        studio.shoot("training_adapted", studio.training("training", lowered))
        studio.shoot("small_training_adapted", studio.training("training", lowered), size=(960, 640))
        studio.shoot("results_empty", lambda shown: shown.go("results"))
        studio.shoot("results", studio.results)
        studio.shoot("library_empty", lambda shown: (shown.go("library"), studio.spin(1)))
        studio.shoot("library", studio.library)
        for kind in ("merge", "resize", "convert", "bake", "extract"):
            studio.shoot(f"tool_{kind}", studio.tool(kind))
        for name, arrange in (
            ("dataset", studio.place("dataset")),
            ("recipe", studio.place("recipe")),
            ("training", studio.training("training")),
            ("results", studio.results),
            ("library", studio.library),
            ("dataset_crop", studio.editor("crop")),
            ("dataset_mask", studio.editor("mask")),
            ("captions", studio.captions(True)),
            ("tool_merge", studio.tool("merge")),
        ):
            studio.shoot(f"small_{name}", arrange, size=(960, 640))
            studio.shoot(f"large_font_{name}", arrange, zoom=1.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
