"""The open project: its settings as the user gave them, undo, and saving by itself. QtCore only.

projects/zorblin/
  project.toml     version, title, preset, [settings] (only what differs from the default)
  captions.jsonl   the history of edits of captions, crops and masks (see app/caption_history.py)
  edits/           crops and masks (see trainer/edits.py)
"""

from __future__ import annotations

import tomllib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import BaseModel
from PySide6.QtCore import QObject, QTimer, Signal

from app import places
from app.background import Background
from app.texts import tr
from trainer import presets, settings_file
from trainer.errors import ConfigError, os_message
from trainer.run_folder import safe_name, write_atomically
from trainer.settings import VERSION, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

AUTOSAVE_MS = 600
UNDO_STEPS = 200


class Project(QObject):
    """One object for the life of the window; opening another project changes what it holds.

    Values are plain TOML types (text, numbers, booleans, lists, tables), perhaps not valid yet: what the user typed is kept.

    Signals:
        opened: another project is open, or none (see `is_open`); everything must be read anew.
        changed(frozenset of setting names): these values changed, by the user, by undo, or by opening.
        saveFailed(str): the project could not be saved; a sentence.
    """

    opened = Signal()
    changed = Signal(object)
    saveFailed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._folder: Path | None = None
        self._values: dict[str, Any] = {}
        self._title = ""
        self._preset = ""
        self._past: list[tuple[dict[str, Any], str]] = []  # values and preset
        self._future: list[tuple[dict[str, Any], str]] = []
        self._last_edited = ""
        self._saved = True  # or about to be
        self._timer = QTimer(self, singleShot=True, interval=AUTOSAVE_MS)
        self._timer.timeout.connect(self._on_time_to_save)
        self._autosaved: deque[str] = deque()  # what came of it: why it could not be, or empty
        self._background = Background("save project", must_finish=True)
        self._background.done.connect(self._on_autosaved)

    # ---- what it holds

    @property
    def is_open(self) -> bool:
        """Whether there is a project."""
        return self._folder is not None

    @property
    def folder(self) -> Path:
        """The project's own folder (not the pictures')."""
        assert self._folder is not None
        return self._folder

    @property
    def path(self) -> Path:
        """The project file."""
        return self.folder / "project.toml"

    @property
    def title(self) -> str:
        """The project's name, for people."""
        return self._title

    @property
    def preset(self) -> str:
        """Name of the preset that was applied last, or empty."""
        return self._preset

    @property
    def values(self) -> dict[str, Any]:
        """What differs from the defaults, as given."""
        return dict(self._values)

    def value(self, name: str) -> Any:
        """The value of a setting as a plain type; the default when the user gave none. Paths are text, "" when not given."""
        return self._values[name] if name in self._values else default(name)

    def is_changed(self, name: str) -> bool:
        """Whether the setting differs from its default."""
        return name in self._values

    def mistakes(self) -> list[ConfigError]:
        """All mistakes in the values, in the words of their labels; empty when the settings can be used."""
        return settings_file.check(self._values, where=tr("the project"))

    def settings(self) -> TrainingSettings:
        """The checked settings.

        Raises:
            ConfigError: of the first mistake.
        """
        return settings_file.from_dict(self._values, where=tr("the project"))

    def folders(self) -> tuple[list[Path], tuple[str, ...]]:
        """Where the training pictures are (folders or single files), and which of them are left out."""
        places_given = [self.value("data"), *self.value("more_data")]
        return [Path(p) for p in places_given if p], tuple(self.value("left_out"))

    # ---- changing it

    def set(self, name: str, value: Any) -> None:
        """Changes one setting. Repeated changes of the same one are undone together."""
        self._change({name: value}, merge=name)

    def set_many(self, values: Mapping[str, Any]) -> None:
        """Changes several settings as one step of undo."""
        self._change(dict(values))

    def keep(self, name: str, value: Any) -> None:
        """Sets what is no choice of the user's: no step of undo, and no step of undo changes it back."""

        def with_it(values: dict[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in (values | {name: value}).items() if k != name or v != default(name)}

        self._past, self._future = ([(with_it(v), p) for v, p in steps] for steps in (self._past, self._future))
        if (after := with_it(self._values)) != self._values:
            self._swap(after, self._preset, keep_merging=True)

    def reset(self, names: Iterable[str]) -> None:
        """Back to the defaults."""
        self._change({name: default(name) for name in names})

    def apply_preset(self, name: str) -> None:
        """Takes the preset's values; what the preset does not name stays."""
        self._change(presets.load(name).values, preset=name)

    def rename(self, title: str) -> None:
        """Another title; the folder keeps its name."""
        if title.strip() and title != self._title:
            self._title = title.strip()
            self._touch()
            self.changed.emit(frozenset())

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a change was taken back."""
        return bool(self._future)

    def undo(self) -> None:
        """Takes the last change back."""
        if self._past:
            self._future.append((self._values, self._preset))
            self._swap(*self._past.pop())

    def redo(self) -> None:
        """Makes the change again."""
        if self._future:
            self._past.append((self._values, self._preset))
            self._swap(*self._future.pop())

    def forget_history(self) -> None:
        """Nothing can be undone from here on: a project's beginning."""
        self._past, self._future, self._last_edited = [], [], ""

    # ---- files

    def create(self, title: str, values: Mapping[str, Any], *, preset: str = "") -> None:
        """A new project in a fresh folder, saved at once.

        Raises:
            ConfigError: the folder cannot be made.
        """
        self.close()
        stem, parent = safe_name(title), places.projects()
        try:
            for number in range(1, 10_000):
                folder = parent / (stem if number == 1 else f"{stem}_{number}")
                try:
                    folder.mkdir(parents=True)
                    break
                except FileExistsError:
                    continue
        except OSError as error:
            raise ConfigError(
                "", os_message(tr("The project folder {parent} cannot be used", parent=parent), error)
            ) from None
        self._open(folder, title, preset, dict(values))
        self._saved = False
        self.save()

    def open(self, path: Path) -> None:
        """Opens a project file, or the project in a folder; the one that was open is saved first.

        Raises:
            ConfigError: it is missing or no project file; the open project stays.
        """
        path = path / "project.toml" if path.is_dir() else path
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError("", tr("There is no project {path}.", path=path)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError("", tr("{path} is not a project file: {error}.", path=path, error=error)) from None
        except OSError as error:
            raise ConfigError("", os_message(tr("{path} cannot be read", path=path), error)) from None
        values = raw.get("settings", {})
        if not isinstance(values, dict) or raw.get("version", 1) > VERSION:
            raise ConfigError("", tr("{path} was written by a newer LoRA Atelier, or is no project file.", path=path))
        self.close()
        self._open(path.parent, str(raw.get("title") or path.parent.name), str(raw.get("preset", "")), values)

    def close(self) -> None:
        """Saves and leaves the project."""
        self.save()
        self._folder, self._values, self._title, self._preset = None, {}, "", ""
        self._past, self._future, self._last_edited = [], [], ""

    def save(self) -> bool:
        """Writes the project file if anything changed since; returns whether all is on disk."""
        self._timer.stop()
        self._background.wait()  # or older values would come after these
        self._saved = self._saved and not any(self._autosaved)
        self._autosaved.clear()
        if self._saved or self._folder is None:
            return True
        if reason := _write(self.path, self._content):
            self.saveFailed.emit(reason)
            return False
        self._saved = True
        return True

    @property
    def _content(self) -> dict[str, Any]:
        return {"version": VERSION, "title": self._title, "preset": self._preset, "settings": self._values}

    def _on_time_to_save(self) -> None:
        """Saves in the background, as a disk that is busy, with captions perhaps, makes us wait."""
        if not self._saved and self._folder is not None:
            path, content, self._saved = self.path, self._content, True
            self._background.run(lambda: self._autosaved.append(_write(path, content)))

    def _on_autosaved(self, _nothing: object) -> None:
        while self._autosaved:
            if reason := self._autosaved.popleft():
                self._saved = False
                self.saveFailed.emit(reason)

    # ---- inside

    def _open(self, folder: Path, title: str, preset: str, values: dict[str, Any]) -> None:
        self._folder, self._title, self._preset = folder, title, preset
        self._values = {k: v for k, v in values.items() if k not in TrainingSettings.model_fields or v != default(k)}
        self._past, self._future, self._last_edited, self._saved = [], [], "", True
        self.opened.emit()
        self.changed.emit(frozenset(TrainingSettings.model_fields))

    def _change(self, changes: dict[str, Any], merge: str = "", preset: str | None = None) -> None:
        before, preset = self._values, self._preset if preset is None else preset
        after = {
            k: v for k, v in (before | changes).items() if k not in TrainingSettings.model_fields or v != default(k)
        }
        if after == before and preset == self._preset:
            return
        if not (merge and merge == self._last_edited and not self._future):
            self._past = [*self._past[-UNDO_STEPS + 1 :], (before, self._preset)]
        self._last_edited, self._future = merge, []
        self._swap(after, preset, keep_merging=True)

    def _swap(self, values: dict[str, Any], preset: str, *, keep_merging: bool = False) -> None:
        before, self._values, self._preset = self._values, values, preset
        if not keep_merging:
            self._last_edited = ""
        self._touch()
        missing = object()
        names = before.keys() | values.keys()
        self.changed.emit(frozenset(n for n in names if before.get(n, missing) != values.get(n, missing)))

    def _touch(self) -> None:
        self._saved = False
        if self._folder is not None:
            self._timer.start()


def _write(path: Path, content: dict[str, Any]) -> str:
    """Writes a project file; why it could not be, or empty."""
    try:
        text = tomli_w.dumps(content).encode("utf-8")
        write_atomically(path, lambda p: p.write_bytes(text))
    except OSError as error:
        return os_message(tr("The project could not be saved"), error)
    except UnicodeEncodeError as error:
        return str(error)
    return ""


def default(name: str) -> Any:
    """The default of a setting as a plain TOML type; "" for a path that is not given."""
    return plain(TrainingSettings.model_fields[name].default)


def plain(value: Any) -> Any:
    """A settings value as a plain TOML type."""
    if value is None or value == Path():
        return ""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def recent() -> list[Path]:
    """The project files that exist, the last used first."""
    return sorted(places.projects().glob("*/project.toml"), key=lambda p: p.stat().st_mtime, reverse=True)
