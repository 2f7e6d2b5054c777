"""Set-up and start (packaging/launch.py): no network, no installation; pip is replaced by a recorder."""

import ast
import errno
import importlib.util
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING
from unittest.mock import Mock, call

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "packaging" / "launch.py"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


launch = _load()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the two files that set-up reads."""
    (tmp_path / "packaging").mkdir()
    (tmp_path / "packaging" / "constraints.txt").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    return tmp_path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that set-up would have run, on a computer without cards and without PyTorch's index."""
    recorded: list[list[str]] = []

    def record(root: Path, title: str, command: list[str]) -> list[str]:
        recorded.append(command)
        if command[1:3] == ["-m", "venv"]:
            python = launch.python_of(Path(command[3]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return ["torch 2.13.0+cpu, training on the processor"]

    monkeypatch.setattr(launch, "run_step", record)
    monkeypatch.setattr(launch, "ask_nvidia", lambda: "")
    monkeypatch.setattr(launch, "choose_torch", lambda *facts: "cpu")
    monkeypatch.setattr(launch, "index_answers", lambda channel: False)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda path: SimpleNamespace(free=50e9))
    monkeypatch.delenv("LORA_ATELIER_TORCH", raising=False)
    return recorded


@pytest.fixture
def working_pip(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose pip answers."""
    python = launch.python_of(project / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    answer = SimpleNamespace(stdout=f"pip 26.0 from somewhere (python {PYTHON})".encode())
    monkeypatch.setattr(launch.subprocess, "run", lambda *args, **kwargs: answer)


# The command line


@pytest.mark.parametrize("version", [(3, 6, 15), (3, 8, 10), (3, 10, 14)])
def test_too_old_a_python_is_named_with_what_to_do(version: tuple[int, ...]) -> None:
    found = re.escape(".".join(map(str, version)))
    with pytest.raises(launch.SetupError, match=rf"64-bit Python 3\.11 or newer; this is Python {found}\. Install"):
        launch.check_python(version, True)


def test_a_32_bit_python_is_refused_and_a_current_one_is_not() -> None:
    launch.check_python((3, 11, 0), True)
    launch.check_python((3, 14, 1), True)
    with pytest.raises(launch.SetupError, match=r"this is Python 3\.12\.1 \(32-bit\)"):
        launch.check_python((3, 12, 1), False)


def test_too_old_a_python_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(launch.sys, "version_info", (3, 9, 2, "final", 0))
        code = launch.main(["demo"])
    assert code == 1
    assert "this is Python 3.9.2" in capsys.readouterr().err


def test_python_3_6_can_read_the_file() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 6))
    annotations = [node.annotation for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.AnnAssign))]
    annotations += [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for annotation in filter(None, annotations):  # A newer type must hide in a string, as 3.6 evaluates the rest.
        assert not isinstance(annotation, (ast.Subscript, ast.BinOp)), ast.unparse(annotation)


def test_the_file_imports_only_the_standard_library() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_only_pytorchs_own_index_is_named() -> None:
    assert set(re.findall(r"https?://([^/\"]+)", SOURCE.read_text(encoding="utf-8"))) == {"download.pytorch.org"}


@pytest.mark.parametrize(
    ("words", "environment", "wish", "command"),
    [
        ([], "", "", []),
        (["demo"], "", "", ["demo"]),
        (["demo"], "rocm", "rocm", ["demo"]),
        (["--torch", "cpu", "demo"], "rocm", "cpu", ["demo"]),
        (["test", "--torch=plain", "-k", "x"], "", "plain", ["test", "-k", "x"]),
        (["train", "a b", "--rank", "8", "-v"], "", "", ["train", "a b", "--rank", "8", "-v"]),
    ],
)
def test_the_torch_wish_is_taken_out_of_the_words(
    words: list[str], environment: str, wish: str, command: list[str]
) -> None:
    assert launch.read_words(words, environment) == (wish, command)


@pytest.mark.parametrize(("words", "environment"), [(["--torch", "gpu"], ""), ([], "gpu")])
def test_an_unknown_torch_build_is_refused_with_the_known_ones(words: list[str], environment: str) -> None:
    with pytest.raises(launch.SetupError, match='torch build is "gpu"; it must be one of cpu, cuda, cuda126, rocm, pl'):
        launch.read_words(words, environment)


def test_help_needs_no_setup(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["--help"]) == 0
    assert "launch.py demo" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "extras"), [(["test", "-x"], ("dev",)), (["demo"], ()), ([], ())])
def test_main_sets_up_then_passes_the_exit_code_on(
    words: list[str], extras: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    set_up, start = Mock(), Mock(return_value=7)
    monkeypatch.setattr(launch, "ROOT", project)
    monkeypatch.delenv("LORA_ATELIER_TORCH", raising=False)
    monkeypatch.setattr(launch, "set_up", set_up)
    monkeypatch.setattr(launch, "start", start)
    assert launch.main(words) == 7
    set_up.assert_called_once_with(project, "", extras)
    start.assert_called_once_with(project, words)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (launch.SetupError("Something is missing."), 1, "Something is missing."),
        (OSError(errno.ENOSPC, "No space left on device", ".venv"), 1, "The disk is full."),
        (OSError(errno.EROFS, "Read-only file system", ".venv"), 1, "folder cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/.venv"), 1, "folder cannot be written"),
        (FileNotFoundError(errno.ENOENT, "No such file", "pyproject.toml"), 1, "Set-up cannot go on.\n    [Errno 2]"),
        (KeyboardInterrupt(), 130, "Stopped. Run the same command again"),
    ],
)
def test_every_end_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(launch, "set_up", fail)
    monkeypatch.delenv("LORA_ATELIER_TORCH", raising=False)
    assert launch.main(["demo"]) == code
    assert sentence in capsys.readouterr().err


# The torch build


@pytest.mark.parametrize(
    ("system", "nvidia", "has_rocm", "choice"),
    [
        ("Linux", "", False, "cpu"),
        ("Windows", "", False, "cpu"),
        ("Darwin", "", False, "plain"),
        ("Linux", "", True, "rocm"),
        ("Windows", "", True, "cpu"),
        ("Linux", "580.65.06, 8.9", True, "cuda"),
        ("Windows", "581.15, 12.0\r\n", False, "cuda"),
        ("Linux", "libcuda", False, "cuda"),
        ("Linux", "580.65.06, 6.1\n", False, "cuda126"),
        ("Linux", "580.65.06, 6.1\n580.65.06, 8.6\n", False, "cuda"),
        ("Linux", "550.54.14, 8.9", False, "cuda126"),
        ("Linux", 'Field "compute_cap" is not a valid field to query.', False, "cuda126"),
    ],
)
def test_the_build_fits_the_computer(system: str, nvidia: str, has_rocm: bool, choice: str) -> None:
    assert launch.choose_torch(system, nvidia, has_rocm) == choice


@pytest.mark.parametrize(
    ("choice", "answers", "arguments"),
    [
        ("cpu", True, ["torch==2.13.0+cpu", "--extra-index-url", "https://download.pytorch.org/whl/cpu"]),
        ("cuda", True, ["torch==2.13.0+cu130", "--extra-index-url", "https://download.pytorch.org/whl/cu130"]),
        ("rocm", True, ["torch==2.13.0+rocm7.2", "--extra-index-url", "https://download.pytorch.org/whl/rocm7.2"]),
        ("cuda", False, ["torch==2.13.0"]),
        ("plain", False, ["torch==2.13.0"]),
    ],
)
def test_the_build_comes_from_pytorchs_index_or_else_from_pips(
    choice: str, answers: bool, arguments: list[str]
) -> None:
    assert launch.torch_arguments(choice, answers, "numpy==2.4.6\ntorch==2.13.0\n") == arguments


def test_the_plain_build_asks_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.subprocess, "run", lambda *args, **kwargs: pytest.fail("asked"))
    assert not launch.index_answers("")


def test_an_index_that_hangs_counts_as_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("python", 6)

    monkeypatch.setattr(launch.subprocess, "run", hang)
    assert not launch.index_answers("cpu")


def test_a_silent_index_is_told_and_pips_own_is_used(
    project: Path, steps: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    launch.set_up(project, "", ())
    assert "torch comes from the index that pip is set to" in capsys.readouterr().err
    assert steps[1][-1] == "torch==2.13.0"


@pytest.mark.usefixtures("steps")
def test_the_user_hears_what_is_loaded_before_it_begins(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch.announce(project, "cuda", True)
    said = capsys.readouterr().err
    assert "torch about 2.9 GB, the rest about 150 MB" in said
    assert "about 9 GB in all; 50 GB are free" in said


def test_too_small_a_disk_is_told_before_anything_is_made(
    project: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "index_answers", lambda channel: True)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda path: SimpleNamespace(free=8.4e9))
    with pytest.raises(launch.SetupError, match=r"too full: 8\.4 GB are free, about 9 GB are needed\. Free some space"):
        launch.set_up(project, "cuda", ())
    assert steps == []


# Once is enough


def test_a_first_setup_makes_the_environment_and_installs_pinned(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "", ("dev",))
    python = str(launch.python_of(project / ".venv"))
    pip = [python, "-m", "pip", "install", "-c", "packaging/constraints.txt"]
    assert steps[0][1:] == ["-m", "venv", str(project / ".venv")]
    assert steps[1] == [*pip, "torch==2.13.0"]
    assert steps[2] == [*pip, "-e", ".[dev]"]
    assert steps[3][:2] == [python, "-c"]


def test_a_second_start_runs_nothing(project: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    launch.set_up(project, "", ())
    steps.clear()
    monkeypatch.setattr(launch, "ask_nvidia", lambda: pytest.fail("the card was asked again"))
    launch.set_up(project, "", ())
    launch.set_up(project, "cpu", ())
    assert steps == []


def test_the_demo_after_the_tests_installs_nothing(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "", ("dev",))
    steps.clear()
    launch.set_up(project, "", ())
    assert steps == []


@pytest.mark.usefixtures("working_pip")
def test_the_tests_after_the_demo_add_what_is_missing(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "", ())
    steps.clear()
    launch.set_up(project, "", ("dev",))
    assert [command[-1] for command in steps[:2]] == ["torch==2.13.0", ".[dev]"]


@pytest.mark.usefixtures("working_pip")
def test_a_renewed_setup_keeps_the_extras_and_the_build(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "rocm", ("dev",))
    (project / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    steps.clear()
    launch.set_up(project, "", ())
    assert steps[1][-1] == ".[dev]"
    assert launch.read_stamp(project / ".venv")[1:] == ("rocm", ("dev",))


@pytest.mark.usefixtures("working_pip")
def test_another_build_makes_the_environment_anew(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "cpu", ())
    leftover = project / ".venv" / "lib" / "torch_of_the_old_build"
    leftover.mkdir(parents=True)
    steps.clear()
    launch.set_up(project, "plain", ())
    assert steps[0][1:3] == ["-m", "venv"]
    assert not leftover.exists()
    assert launch.read_stamp(project / ".venv").torch == "plain"


def test_another_build_that_cannot_be_fetched_leaves_the_present_one(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "cpu", ())
    steps.clear()
    with pytest.raises(launch.SetupError, match=r"cannot be reached\. The present set-up stays"):
        launch.set_up(project, "cuda", ())
    launch.set_up(project, "", ())
    assert steps == []


def test_the_fingerprint_changes_with_each_input(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [
        launch.fingerprint([b"a", b"b"], "3.11", "/x"),
        launch.fingerprint([b"a", b"c"], "3.11", "/x"),
        launch.fingerprint([b"ab", b""], "3.11", "/x"),
        launch.fingerprint([b"a", b"b"], "3.12", "/x"),
        launch.fingerprint([b"a", b"b"], "3.11", "/y"),
    ]
    monkeypatch.setattr(launch, "SETUP_VERSION", launch.SETUP_VERSION + 1)
    marks.append(launch.fingerprint([b"a", b"b"], "3.11", "/x"))
    assert len(set(marks)) == len(marks)


# Interrupted, broken, twice at once


@pytest.mark.usefixtures("working_pip")
def test_a_setup_that_fails_leaves_no_stamp_and_is_made_up_for(
    project: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = launch.run_step

    def fail_at_the_project(root: Path, title: str, command: list[str]) -> list[str]:
        if "-e" in command:
            raise KeyboardInterrupt
        return list(record(root, title, command))

    launch.set_up(project, "", ())
    (project / "packaging" / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(launch, "run_step", fail_at_the_project)
    with pytest.raises(KeyboardInterrupt):
        launch.set_up(project, "", ())
    assert launch.read_stamp(project / ".venv") == launch.Stamp()
    monkeypatch.setattr(launch, "run_step", record)
    launch.set_up(project, "", ())
    assert launch.read_stamp(project / ".venv").torch == "cpu"


@pytest.mark.usefixtures("working_pip")
def test_an_interrupted_setup_goes_on_without_half_installed_packages(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "", ())
    (project / ".venv" / "stamp.json").unlink()
    packages = project / ".venv" / "lib" / f"python{PYTHON}" / "site-packages"
    for name in ("whole-1.0.dist-info", "half-1.0.dist-info", "~orch", "whole"):
        (packages / name).mkdir(parents=True)
    (packages / "whole-1.0.dist-info" / "INSTALLER").write_text("pip\n")
    steps.clear()
    launch.set_up(project, "", ())
    assert [command[-1] for command in steps[:2]] == ["torch==2.13.0", "."]
    assert sorted(path.name for path in packages.iterdir()) == ["whole", "whole-1.0.dist-info"]


def test_a_broken_environment_is_made_anew(project: Path, steps: list[list[str]]) -> None:
    python = launch.python_of(project / ".venv")
    python.parent.mkdir(parents=True)
    python.write_text("no program")
    launch.set_up(project, "", ())
    assert steps[0][1:3] == ["-m", "venv"]
    assert python.read_text() == ""


def test_an_environment_of_another_python_is_made_anew(
    project: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch.set_up(project, "", ())
    (project / ".venv" / "stamp.json").unlink()
    steps.clear()
    answer = SimpleNamespace(stdout=b"pip 26.0 from somewhere (python 3.1)")
    monkeypatch.setattr(launch.subprocess, "run", lambda *args, **kwargs: answer)
    launch.set_up(project, "", ())
    assert steps[0][1:3] == ["-m", "venv"]


def test_a_vanished_python_is_noticed_although_the_stamp_fits(project: Path, steps: list[list[str]]) -> None:
    launch.set_up(project, "", ())
    launch.python_of(project / ".venv").unlink()
    steps.clear()
    launch.set_up(project, "", ())
    assert steps[0][1:3] == ["-m", "venv"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": 1}', '{"fingerprint": "", "torch": "", "extras": 3}'])
def test_a_stamp_that_cannot_be_read_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert launch.read_stamp(tmp_path) == launch.Stamp()


@pytest.mark.usefixtures("steps")
def test_the_stamp_comes_in_one_piece(project: Path) -> None:
    launch.set_up(project, "", ("dev",))
    stamp = json.loads((project / ".venv" / "stamp.json").read_text())
    assert (stamp["torch"], stamp["extras"]) == ("cpu", ["dev"])
    assert not list((project / ".venv").glob("*.tmp"))


def test_a_second_launch_waits_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = launch.only_one_setup(tmp_path)
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: first.close())
    launch.only_one_setup(tmp_path).close()
    assert capsys.readouterr().err.count("Another set-up of LoRA Atelier is at work here") == 1


def test_a_launch_that_waited_uses_what_the_other_made(
    project: Path, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_lock = launch.only_one_setup

    def let_another_finish_first(venv: Path) -> object:
        monkeypatch.setattr(launch, "only_one_setup", take_lock)
        launch.set_up(project, "", ())
        steps.clear()
        return take_lock(venv)

    monkeypatch.setattr(launch, "only_one_setup", let_another_finish_first)
    launch.set_up(project, "", ())
    assert steps == []


# What the user hears when a step fails


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "The disk is full."),
        ("[WinError 112] There is not enough space on the disk", "The disk is full."),
        ("because ensurepip is not\navailable", ""),
        ("created successfully because ensurepip is not available.", "This Python comes without venv."),
        ("/usr/bin/python3: No module named venv", "This Python comes without venv."),
        ("connection broken by 'NewConnectionError('<...>: Failed to establish", "No package index can be reached."),
        (
            "WARNING: Retrying: [Errno -3] Temporary failure in name resolution\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "No package index can be reached.",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cu130", "The package index has nothing for this"),
        ("OSError: [WinError 126] Error loading c10.dll or one of its dependencies.", "torch needs the \"Visual C++"),
        ("[Errno 13] Permission denied: 'numpy'", "LoRA Atelier's folder cannot be written."),
        ("[Errno 130] something else", ""),
        ("everything went well", ""),
    ],
)  # fmt: skip
def test_known_failures_are_explained(output: str, sentence: str) -> None:
    explanation = launch.explain(output)
    assert explanation.startswith(sentence)
    assert bool(explanation) == bool(sentence)


def _step(project: Path, code: str) -> list[str]:
    (project / ".venv").mkdir(exist_ok=True)
    lines: list[str] = launch.run_step(project, "2 of 4  Installing torch", [sys.executable, "-c", code])
    return lines


def test_a_step_keeps_pips_wall_of_text_in_the_log(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    downloads = (
        "  Downloading https://host/whl/torch-2.13.0%2Bcu130-cp311-cp311-win_amd64.whl (2594.5 MB)",
        "  Downloading bitsandbytes-0.50.2-py3-none-any.whl (43.1 MB)",
        "  Downloading zipp-4.1.2-py3-none-any.whl (9.1 kB)",
        "Installing collected packages: a, b, c",
    )
    assert _step(project, f"print(*{downloads!r}, sep='\\n')") == list(downloads)
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4  Installing torch",
        "        downloading torch 2.13.0, 2594 MB",
        "        downloading bitsandbytes 0.50.2, 43 MB",
        "        unpacking 3 packages",
    ]
    assert "zipp-4.1.2" in (project / ".venv" / "setup.log").read_text()


def test_a_failed_step_names_the_reason_the_log_and_its_last_lines(project: Path) -> None:
    with pytest.raises(launch.SetupError) as caught:
        _step(project, "print('early'); print('\\n' * 9 + 'x\\n' * 7 + '[Errno 28] No space left'); exit(1)")
    sentences = str(caught.value)
    assert sentences.startswith("The disk is full.")
    assert f"The last lines of {project / '.venv' / 'setup.log'}:\n    x" in sentences
    assert "early" not in sentences


def test_an_unknown_failure_names_the_step(project: Path) -> None:
    with pytest.raises(launch.SetupError, match=r"^This step failed: Installing torch\.\n.*\n    odd"):
        _step(project, "print('odd'); exit(3)")


def test_temporary_files_stay_off_the_systems_small_disk_and_are_cleared(project: Path) -> None:
    where = _step(project, "import tempfile; print(tempfile.mkdtemp())")[0]
    assert Path(where).parent == project / ".venv" / "tmp"
    assert not (project / ".venv" / "tmp").exists()


def test_ctrl_c_in_a_step_ends_pip_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "say_news", interrupt)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _step(project, "import time; print('begun', flush=True); time.sleep(60)")
    assert time.monotonic() - begin < 10


# The command itself


@pytest.fixture
def run_child(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for the start of the command, which ends with exit code 5."""
    stand_in = Mock(return_value=5)
    monkeypatch.setattr(launch, "run_child", stand_in)
    return stand_in


def test_words_go_to_the_app_and_test_goes_to_pytest(project: Path, run_child: Mock) -> None:
    python = str(launch.python_of(project / ".venv"))
    assert launch.start(project, ["demo"]) == 5
    assert launch.start(project, ["inspect", "a b.safetensors"]) == 5
    assert launch.start(project, ["test", "-k", "loop"]) == 5
    assert run_child.call_args_list == [
        call([python, "-P", "-m", "app", "demo"], None),
        call([python, "-P", "-m", "app", "inspect", "a b.safetensors"], None),
        call([python, "-m", "pytest", "-k", "loop"], str(project)),
    ]


def test_setup_alone_starts_nothing(project: Path, run_child: Mock) -> None:
    assert launch.start(project, ["setup"]) == 0
    run_child.assert_not_called()


def test_no_words_open_the_window(project: Path, run_child: Mock) -> None:
    launch.start(project, [])
    assert run_child.call_args.args[0][1:] == ["-P", "-m", "app"]


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_childs_exit_code_is_passed_on(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.signal, "signal", lambda number, handler: None)
    assert launch.run_child([sys.executable, "-c", f"raise SystemExit({code})"], None) == code


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_a_child_ended_by_a_signal_gives_128_and_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.signal, "signal", lambda number, handler: None)
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert launch.run_child([sys.executable, "-c", code], None) == 128 + signal.SIGKILL


def test_ctrl_c_is_the_childs_to_answer_and_the_launcher_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Child:
        returncode: int | None = None
        presses = 2

        def wait(self) -> None:
            if self.presses:
                self.presses -= 1
                raise KeyboardInterrupt
            self.returncode = 3

    monkeypatch.setattr(launch.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(launch.subprocess, "Popen", lambda command, cwd: Child())
    assert launch.run_child(["app"], None) == 3


def test_a_request_to_end_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Callable[[int, None], None]] = {}
    monkeypatch.setattr(launch.signal, "signal", handlers.__setitem__)
    popen = subprocess.Popen

    def start_and_ask(command: list[str], cwd: str | None) -> object:
        child = popen(command, cwd=cwd)
        wait = child.wait

        def ask_then_wait() -> int:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
            return wait()

        child.wait = ask_then_wait  # type: ignore[method-assign, assignment]
        return child

    monkeypatch.setattr(launch.subprocess, "Popen", start_and_ask)
    begin = time.monotonic()
    assert launch.run_child([sys.executable, "-c", "import time; time.sleep(60)"], None) != 0
    assert time.monotonic() - begin < 10


# The pins


def _pins() -> dict[str, str]:
    lines = (ROOT / "packaging" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_pins_are_exact_and_torch_names_no_build() -> None:
    pins = _pins()
    assert pins["torch"] == re.fullmatch(r"\d+\.\d+\.\d+", pins["torch"])[0]  # type: ignore[index]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in pins)
    assert all(re.fullmatch(r"[0-9][0-9A-Za-z.]*", version) for version in pins.values())
    assert not {"pip", "setuptools"} & set(pins)
    assert list(pins) == sorted(pins)


def test_everything_that_the_project_requires_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower() for requirement in required}
    assert names <= set(_pins()), f"packaging/constraints.txt lacks {sorted(names - set(_pins()))}"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no executable bit")
def test_ci_does_what_a_newcomer_does() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "python3 packaging/launch.py test" in script.read_text()
