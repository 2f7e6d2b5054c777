"""run_folder.py: names, whole files or none, and one worker at a time."""

from __future__ import annotations

import datetime
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from trainer import run_folder
from trainer.errors import RunError
from trainer.run_folder import RunFolder, create, safe_name, write_atomically, write_folder_atomically
from trainer.settings import TrainingSettings

DAY = datetime.date(2026, 11, 24)
ROOT = Path(__file__).parents[1]
RESERVED = {"none", "addams", "con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt9"}


def settings(tmp_path: Path, **values: object) -> TrainingSettings:
    return TrainingSettings(runs_folder=tmp_path / "runs", **values)  # type: ignore[arg-type]


def everything_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_a_run_is_named_by_date_and_title_and_no_name_is_used_twice(tmp_path: Path) -> None:
    wanted = settings(tmp_path, name="Zörblin: fox")
    names = [create(wanted, today=DAY).path.name for _ in range(3)]
    assert names == ["2026-11-24_Zörblin_fox", "2026-11-24_Zörblin_fox_2", "2026-11-24_Zörblin_fox_3"]
    assert create(wanted).path.name.startswith(datetime.date.today().isoformat())


def test_a_file_in_the_way_of_a_name_is_stepped_over_and_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "2026-11-24_a").write_text("mine")
    assert create(settings(tmp_path, name="a"), today=DAY).path.name == "2026-11-24_a_2"
    assert (tmp_path / "runs" / "2026-11-24_a").read_text() == "mine"


@effort(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
@example('Zörblin/..\\..: a,b <lora:x:1> {y} | "z" ?*')
@example("../../etc/passwd")
@example("...")
@example("a" * 79 + ". x")
@example("絵" * 100)
@example("🦊" * 100)
@example("nul")
@example("COM1.txt")
@example("None")
@example("addams")
@example("caf\udce9")
@example("a\x7f\x85b")
def test_any_title_makes_a_file_name_for_every_system(title: str) -> None:
    name = safe_name(title)
    assert 1 <= len(name) <= 85
    assert not set(name) & set('/\\:*?"<>|,{} \t\n\x00') and name == name.strip("._ ")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in name)
    assert name.split(".")[0].lower() not in RESERVED
    # The longest file that is made of it: a temporary one beside the export; file systems take 255 bytes.
    assert len(f".{name}.safetensors.1234567.part".encode()) <= 255
    assert len(f"2026-11-24_{name}_9999".encode()) <= 255
    assert safe_name(name) == name


def test_a_plain_title_keeps_its_name() -> None:
    for title in ("zorblin", "Zörblin", "絵", "fox-2", "v1.5", "null", "console", "com10"):
        assert safe_name(title) == title
    assert safe_name("a, b: c") == "a_b_c"
    assert {safe_name(name) for name in RESERVED} == {f"lora_{name}" for name in RESERVED}
    for title, name in (("", "lora"), ("None", "lora_None"), ("nul", "lora_nul"), ("aux.b", "lora_aux.b")):
        assert safe_name(title) == name


def test_paths_in_the_runs_settings_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    (tmp_path / "model").mkdir()
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    wanted = TrainingSettings(
        runs_folder=Path("runs"), data=Path("pictures"), validation=Path("~/held out"),
        start_from=Path("old.safetensors"), base="model", name="a",
    )  # fmt: skip
    folder = create(wanted, today=DAY)
    monkeypatch.chdir("/")
    kept = folder.settings()
    assert kept.data == tmp_path / "pictures" and kept.start_from == tmp_path / "old.safetensors"
    assert kept.validation == tmp_path / "home" / "held out" and kept.regularization is None
    assert kept.base == str(tmp_path / "model") and kept.runs_folder == tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    assert create(wanted.model_copy(update={"base": "demo"}), today=DAY).settings().base == "demo"
    assert create(wanted.model_copy(update={"data": Path()}), today=DAY).settings().data == Path()


def test_more_pictures_in_the_runs_settings_are_absolute_and_what_is_left_out_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    more = (Path("bears"), Path("a/one.png"), Path("~/foxes"), Path("/there"))
    folder = create(TrainingSettings(more_data=more, left_out=("a/b.png",)), today=DAY)
    assert folder.path.name == "2026-11-24_bears"
    kept = folder.settings()
    assert kept.more_data == (
        tmp_path / "bears",
        tmp_path / "a" / "one.png",
        tmp_path / "home" / "foxes",
        Path("/there"),
    )
    assert kept.left_out == ("a/b.png",) and kept.data == Path()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, "No run folder can be made in .*: no permission to write there .*Choose another folder"),
        (errno.ENOSPC, "No run folder can be made in .*: the disk is full .*Free some space"),
        (errno.EIO, "No run folder can be made in .*: Input/output error"),
    ],
)
@pytest.mark.parametrize("where", ["mkdir", "write"])
def test_a_runs_folder_that_cannot_be_written_is_told_in_a_sentence(
    number: int, sentence: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    for name in ("mkdir",) if where == "mkdir" else ("write_text", "write_bytes"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(RunError, match=sentence):
        create(settings(tmp_path, name="a"), today=DAY)


def test_a_runs_folder_that_is_a_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match=r"The runs folder .*runs is a file; choose a folder\."):
        create(settings(tmp_path, name="a"), today=DAY)


def test_a_path_that_is_not_unicode_is_told_in_a_sentence_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="characters that are not Unicode"):
        create(settings(tmp_path, name="a", data=Path("/caf\udce9")), today=DAY)
    assert everything_below(tmp_path) == []


def test_the_layout_is_the_one_in_the_design(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    files = (folder.settings_path, folder.events_path, folder.commands_path, folder.log_path)
    assert [folder.relative(p) for p in (*files, folder.checkpoint(200), folder.sample(200, 0, 42), folder.export)] == [
        "run.toml", "events.jsonl", "commands.jsonl", "log.txt", "checkpoints/000200", "samples/000200_p0_s42.png", "export",
    ]  # fmt: skip
    assert folder.checkpoint(1_234_567).name == "1234567"


def test_only_whole_checkpoints_count_and_they_are_in_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.checkpoints() == []
    for name in ("000200", "000020", "1000000", ".000300.part", "000400", "notes", "²"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        if name != "000400":
            (tmp_path / "checkpoints" / name / "state.json").touch()
    (tmp_path / "checkpoints" / "000500").touch()
    assert folder.checkpoints() == [20, 200, 1_000_000]


def test_a_file_is_written_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        write_atomically(target, lambda p, text=text: p.write_text(text))
        assert target.read_text() == text and everything_below(tmp_path) == ["new", "new/a.txt"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write(partial: Path) -> None:
        partial.write_text("half")
        assert target.read_text() == "old" and partial.parent == tmp_path and partial.name.startswith(".")
        partial.write_text("new")

    write_atomically(target, write)
    assert target.read_text() == "new"


def test_a_writer_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        write_atomically(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_text() == "old" and everything_below(tmp_path) == ["a.txt"]


def test_a_folder_is_written_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for names in (("a", "b"), ("b", "c")):
        write_folder_atomically(tmp_path / "new" / "x", lambda p, names=names: [(p / n).write_text(n) for n in names])
        assert everything_below(tmp_path) == ["new", "new/x", *(f"new/x/{n}" for n in names)]


def test_a_folder_writer_that_fails_leaves_the_old_folder_and_no_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "old").touch()
    (tmp_path / ".x.part").mkdir()
    (tmp_path / ".x.part" / "left by a worker that was killed").touch()

    def fail(partial: Path) -> None:
        assert everything_below(partial) == []
        (partial / "half").touch()
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        write_folder_atomically(tmp_path / "x", fail)
    assert everything_below(tmp_path) == ["x", "x/old"]


def test_a_second_worker_is_refused_until_the_first_is_gone_even_by_kill_9(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from trainer.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = RunFolder(tmp_path)
    with holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            assert folder.is_held()
            sentence = r"Another worker is training in .* Stop it first, or start a new run\."
            with pytest.raises(RunError, match=sentence), folder.locked(patience_s=0.1):
                pytest.fail("two workers in one folder")
            assert folder.is_held(), "the question and the refusal must not break the lock"
        finally:
            holder.kill()
            holder.wait()
        assert not folder.is_held()
        with folder.locked():
            assert folder.is_held()
    assert not folder.is_held()


def test_asking_who_holds_a_folder_makes_no_file_and_minds_no_folder_that_is_gone(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).is_held() and everything_below(tmp_path) == []
    assert not RunFolder(tmp_path / "gone").is_held()


def test_a_lock_that_is_held_for_a_moment_only_is_waited_for(tmp_path: Path) -> None:
    """As it is by `is_held`, of a window that looks just when a worker starts."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with RunFolder(tmp_path).locked():
            held.set()
            let_go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    threading.Timer(0.1, let_go.set).start()
    with RunFolder(tmp_path).locked(patience_s=10):
        assert let_go.is_set()
    thread.join()


def test_the_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(KeyError), RunFolder(tmp_path).locked():
        raise KeyError
    with RunFolder(tmp_path).locked():
        pass


def test_a_run_folder_that_cannot_be_written_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match=r"run folder .* cannot be used: no permission"), RunFolder(tmp_path).locked():
        pytest.fail("entered")
    monkeypatch.undo()
    with pytest.raises(RunError, match="cannot be used: No such file"), RunFolder(tmp_path / "no").locked():
        pytest.fail("entered")


def test_ten_thousand_runs_of_one_name_are_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()

    def taken(path: Path, **_: object) -> None:
        raise FileExistsError(errno.EEXIST, "File exists", str(path))

    monkeypatch.setattr(Path, "mkdir", taken)
    with pytest.raises(RunError, match="already holds 10,000 runs named 2026-11-24_a; give the LoRA another name"):
        run_folder.create(settings(tmp_path, name="a"), today=DAY)
