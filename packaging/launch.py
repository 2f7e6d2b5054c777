"""Sets LoRA Atelier up in the folder .venv and starts it.

    python packaging/launch.py           opens the window
    python packaging/launch.py demo      trains the demo character and exports the .safetensors file
    python packaging/launch.py test      runs the tests; further words go to pytest
    python packaging/launch.py setup     only sets up
    python packaging/launch.py WORDS     runs `lora-atelier WORDS`
    --torch cpu|cuda|cuda126|rocm|plain  chooses the torch build (so does LORA_ATELIER_TORCH); plain: pip's own index

Standard library only, and nothing that Python 3.6 cannot read, so that a Python that is too old ends in a sentence.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
SETUP_VERSION = 1  # Raise it when this file installs something else than before: every .venv is then renewed.
TORCH_INDEX = "https://download.pytorch.org/whl/"


class SetupError(Exception):
    """The reason why set-up cannot go on, as a sentence for the user."""


class Build(NamedTuple):
    """One torch build. channel: last part of the index's address and of the wheel's version; "" is pip's own index."""

    channel: str
    words: str
    download: str
    disk_gb: int


BUILDS = {
    "cpu": Build("cpu", "torch for the processor", "200 MB", 3),
    "cuda": Build("cu130", "torch for NVIDIA cards", "2.9 GB", 9),
    "cuda126": Build("cu126", "torch for older NVIDIA cards or drivers", "2.9 GB", 9),
    "rocm": Build("rocm7.2", "torch for AMD cards", "4.5 GB", 16),
    "plain": Build("", "torch from pip's own index", "90 MB (Mac) to 2.9 GB (Linux)", 3),
}
TRY_TORCH = """import torch
cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
device = torch.cuda.get_device_name(0) if cuda else "the Apple graphics chip" if mps else "the processor"
print("torch %s, training on %s" % (torch.__version__, device))"""


class Stamp(NamedTuple):
    """What a finished set-up was made from; empty where none was finished."""

    fingerprint: str = ""
    torch: str = ""
    extras: "tuple[str, ...]" = ()


def main(words: "list[str]") -> int:
    """Exit code: the command's own, 1 after a sentence about set-up, 130 after Ctrl-C."""
    try:
        check_python(sys.version_info[:3], sys.maxsize > 2**32)
        if words[:1] in (["-h"], ["--help"]):
            print(__doc__)
            return 0
        wish, command = read_words(words, os.environ.get("LORA_ATELIER_TORCH", ""))
        set_up(ROOT, wish, ("dev",) if command[:1] == ["test"] else ())
        return start(ROOT, command)
    except SetupError as error:
        say(str(error))
    except OSError as error:
        say((explain(str(error)) or "Set-up cannot go on.") + f"\n    {error}")
    except KeyboardInterrupt:
        say("\nStopped. Run the same command again and set-up goes on.")
        return 130
    return 1


def check_python(version: "tuple[int, ...]", is_64_bit: bool) -> None:
    """Raises SetupError for a Python that cannot run LoRA Atelier."""
    if tuple(version[:2]) < (3, 11) or not is_64_bit:
        found = ".".join(str(part) for part in version) + ("" if is_64_bit else " (32-bit)")
        advice = "Install a current one (python.org has it for every system) and run this command with it."
        raise SetupError(f"LoRA Atelier needs a 64-bit Python 3.11 or newer; this is Python {found}. {advice}")


def read_words(words: "list[str]", wish: str) -> "tuple[str, list[str]]":
    """The wished torch build ("": to be detected) and the other words. Raises SetupError for an unknown build."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, usage="launch.py [--torch BUILD] [WORDS]")
    parser.add_argument("--torch", default=wish)
    options, command = parser.parse_known_args(words)
    if options.torch not in ("", *BUILDS):
        raise SetupError(f'The torch build is "{options.torch}"; it must be one of {", ".join(BUILDS)}.')
    return options.torch, command


def set_up(root: Path, wish: str, extras: "tuple[str, ...]") -> None:
    """Leaves a complete .venv, at the cost of reading three small files where it is complete. Raises SetupError."""
    venv, version = root / ".venv", f"{sys.version_info[0]}.{sys.version_info[1]}"
    inputs = [(root / name).read_bytes() for name in ("packaging/constraints.txt", "pyproject.toml")]
    mark = fingerprint(inputs, version, str(root))
    if not is_complete(venv, mark, wish, extras):
        venv.mkdir(exist_ok=True)
        with only_one_setup(venv):
            if not is_complete(venv, mark, wish, extras):  # The set-up that this one waited for may have done it all.
                install(root, mark, wish, extras)


def fingerprint(inputs: "list[bytes]", version: str, root: str) -> str:
    """A hash that changes with whatever a set-up is made from, the project's own folder included."""
    parts = [*inputs, str(SETUP_VERSION).encode(), version.encode(), os.fsencode(root)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def is_complete(venv: Path, mark: str, wish: str, extras: "tuple[str, ...]") -> bool:
    """Whether a finished set-up covers the wish; more extras than asked for do no harm."""
    stamp = read_stamp(venv)
    covers = stamp.fingerprint == mark and wish in ("", stamp.torch) and set(extras) <= set(stamp.extras)
    return covers and python_of(venv).exists()


def install(root: Path, mark: str, wish: str, extras: "tuple[str, ...]") -> None:
    """Installs everything into .venv, the stamp last, so that an interrupted set-up is seen as one."""
    venv, old, begin = root / ".venv", read_stamp(root / ".venv"), time.monotonic()
    has_rocm = bool(shutil.which("rocminfo")) or any(os.path.exists(path) for path in ("/opt/rocm", "/dev/kfd"))
    choice = wish or old.torch or choose_torch(platform.system(), ask_nvidia(), has_rocm)
    extras = tuple(sorted({*extras, *old.extras}))
    answers = index_answers(BUILDS[choice].channel)
    if old.torch not in ("", choice) and not answers and choice != "plain":
        raise SetupError("PyTorch's package index cannot be reached. The present set-up stays as it is.")
    announce(root, choice, answers)
    if old.fingerprint:
        (venv / "stamp.json").unlink()
    (venv / "setup.log").write_text("", encoding="utf-8")
    if old.torch not in ("", choice) or not repair(venv):
        empty(venv)
        python = getattr(sys, "_base_executable", None) or sys.executable
        run_step(root, "1 of 4  Making the Python environment", [python, "-m", "venv", str(venv)])
    pip = [str(python_of(venv)), "-m", "pip", "install", "-c", "packaging/constraints.txt"]
    torch = torch_arguments(choice, answers, (root / "packaging" / "constraints.txt").read_text(encoding="utf-8"))
    run_step(root, "2 of 4  Installing torch", pip + torch)
    project = f".[{','.join(extras)}]" if extras else "."
    run_step(root, "3 of 4  Installing LoRA Atelier and what it needs", [*pip, "-e", project])
    found = run_step(root, "4 of 4  Trying torch", [str(python_of(venv)), "-c", TRY_TORCH])[-1]
    (venv / "stamp.json.tmp").write_text(json.dumps(Stamp(mark, choice, extras)._asdict()), encoding="utf-8")
    os.replace(str(venv / "stamp.json.tmp"), str(venv / "stamp.json"))
    say(f"Ready after {time.monotonic() - begin:.0f} s: {found}.")
    if choice in ("cuda", "cuda126", "rocm") and found.endswith("processor"):
        say("torch cannot use the graphics card, so training will be slow. A newer driver for the card may help.")


def ask_nvidia() -> str:
    """A line "driver version, compute capability" for each card, "libcuda" where only the driver answers, or ""."""
    question = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(question, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        if answer.returncode == 0 or b"not a valid field" in answer.stdout:  # the latter: a driver from before 2022
            return answer.stdout.decode("utf-8", "replace")
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        return "libcuda" if driver.cuInit(0) == 0 else ""
    return ""


def choose_torch(system: str, nvidia: str, has_rocm: bool) -> str:
    """The key in BUILDS for a computer. CUDA 13 needs driver 580 and a card of the RTX 20 series or newer."""
    if system == "Darwin":
        return "plain"
    if nvidia:
        cards = re.findall(r"^(\d+)[\d.]*, *(\d+\.\d+)", nvidia, re.MULTILINE)
        is_new = any(int(driver) >= 580 and float(capability) >= 7.5 for driver, capability in cards)
        return "cuda" if is_new or nvidia == "libcuda" else "cuda126"
    return "rocm" if has_rocm and system == "Linux" else "cpu"


def index_answers(channel: str) -> bool:
    """Whether one of PyTorch's package indexes answers within seconds, a hanging name look-up included."""
    ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=4)"
    command = [sys.executable, "-c", ask, TORCH_INDEX + channel + "/torch/"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return channel != "" and subprocess.run(command, stderr=subprocess.DEVNULL, timeout=6).returncode == 0
    return False


def announce(root: Path, choice: str, answers: bool) -> None:
    """Says what is about to happen and what it costs. Raises SetupError where the disk has too little room."""
    source, free_gb = BUILDS[choice if answers else "plain"], shutil.disk_usage(str(root)).free / 1e9
    is_new = not python_of(root / ".venv").exists()
    say(f"{'Setting up' if is_new else 'Completing'} LoRA Atelier in {root / '.venv'}; later starts skip this.")
    say(f"  Computer   {platform.system()} {platform.machine()}, Python {platform.python_version()}")
    say(f"  Build      {BUILDS[choice].words} (to choose another: --torch {'|'.join(BUILDS)})")
    say(f"  Download   torch about {source.download}, the rest about 150 MB{'' if is_new else ' (less what is here)'}")
    say(f"  Disk       about {source.disk_gb} GB in all; {free_gb:.0f} GB are free")
    if BUILDS[choice].channel and not answers:
        say("  PyTorch's own package index cannot be reached, so torch comes from the index that pip is set to.")
    if free_gb < source.disk_gb and is_new:
        room = f"{free_gb:.1f} GB are free, about {source.disk_gb} GB are needed"
        raise SetupError(f"The disk is too full: {room}. Free some space and run this command again.")


def torch_arguments(choice: str, answers: bool, constraints: str) -> "list[str]":
    """What pip is to install. PyTorch's index is an extra one: it lacks the versions that our constraints pin."""
    pin, channel = re.findall(r"^torch==\S+", constraints, re.MULTILINE)[0], BUILDS[choice].channel
    return [pin + "+" + channel, "--extra-index-url", TORCH_INDEX + channel] if answers else [pin]


def run_step(root: Path, title: str, command: "list[str]") -> "list[str]":
    """The output of one command; it goes to .venv/setup.log, and calm news to the screen. Raises SetupError."""
    say(title)
    venv, lines, ended = root / ".venv", [], threading.Event()  # type: Path, list[str], threading.Event
    tmp = str(venv / "tmp")  # The system's own is often a small one in memory; a torch build does not fit there.
    shutil.rmtree(tmp, ignore_errors=True)
    os.mkdir(tmp)
    environment = dict(os.environ, TMPDIR=tmp, TEMP=tmp, TMP=tmp, PYTHONIOENCODING="utf-8")
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_PROGRESS_BAR="off", PIP_ONLY_BINARY=":all:")
    pipe, close_fds = subprocess.PIPE, os.name == "nt"  # Elsewhere pip holds the lock too, should we be killed.
    child = subprocess.Popen(
        command, cwd=str(root), env=environment, close_fds=close_fds, stdout=pipe, stderr=subprocess.STDOUT
    )
    with child, (venv / "setup.log").open("a", encoding="utf-8") as log:
        threading.Thread(target=tell_progress, args=(venv, ended), daemon=True).start()
        try:
            for raw in child.stdout or ():
                lines.append(raw.decode("utf-8", "replace").rstrip())
                print(lines[-1], file=log, flush=True)
                say_news(lines[-1])
        except BaseException:
            child.kill()
            raise
        finally:
            ended.set()
    shutil.rmtree(tmp, ignore_errors=True)
    if child.returncode:
        reason = explain("\n".join(lines)) or f"This step failed: {title[8:]}."
        last = "".join(["\n    " + line for line in lines if line][-8:])
        raise SetupError(f"{reason}\nThe last lines of {venv / 'setup.log'}:{last}")
    return lines


def tell_progress(venv: Path, ended: threading.Event) -> None:
    """Says now and then how far a long step has come; pip loads each file into a pip-unpack folder."""
    begin, loaded_mb = time.monotonic(), 0.0
    while not ended.wait(15):
        with contextlib.suppress(OSError):
            loaded_mb = sum(path.stat().st_size for path in venv.glob("tmp/pip-unpack-*/*")) / 1e6
        loaded = f"{loaded_mb:.0f} MB loaded, " if loaded_mb >= 20 else ""
        say(f"        {loaded}{time.monotonic() - begin:.0f} s so far")


def say_news(line: str) -> None:
    """Says the few lines of pip that a person wants: large downloads, and when unpacking begins."""
    download = re.match(r" *(Downloading|Using cached) (?:\S*/)?(\w+)-([\d.]+)\S* \((\d+)[.\d]* MB\)", line)
    if download and int(download.group(4)) >= 20:
        verb, name, version, size_mb = download.groups()
        say(f"        {verb.lower()} {name} {version}, {size_mb} MB")
    elif line.startswith("Installing collected packages:") and "," in line:
        say(f"        unpacking {line.count(',') + 1} packages")


REASONS = (
    (
        r"No space left|Errno 28\b|WinError 112|not enough space on the disk|quota exceeded",
        "The disk is full. Free some space and run this command again; set-up goes on where it can.",
    ),
    (
        r"ensurepip is not available|No module named '?(?:ensurepip|venv)\b",
        "This Python comes without venv. On Debian and Ubuntu `sudo apt install python3-venv` adds it.",
    ),
    (
        r"NewConnectionError|Failed to establish|Max retries|name resolution|getaddrinfo|ConnectTimeout|ReadTimeout"
        r"|ProxyError|Connection (?:refused|broken|aborted|reset)|Network is unreachable|SSLError|Failed to connect",
        "No package index can be reached. Check the internet connection (or the proxy) and run this command again.",
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies",
        "The package index has nothing for this computer. Python 3.11 to 3.14 and the option `--torch cpu` fit most.",
    ),
    (
        r"DLL load failed|WinError (?:126|1114)\b",
        'torch needs the "Visual C++ Redistributable (x64)" from Microsoft. Install it and run this command again.',
    ),
    (
        r"Permission denied|not permitted|Read-only file system|Errno (?:1|13|30)\b|WinError (?:5|32)\b",
        "LoRA Atelier's folder cannot be written. Close LoRA Atelier, or move it to your home folder; then try again.",
    ),
)


def explain(output: str) -> str:
    """A sentence about why something failed, from what was printed; empty where the reason is not known."""
    return next((sentence for pattern, sentence in REASONS if re.search(pattern, output)), "")


def only_one_setup(venv: Path) -> BinaryIO:
    """The lock of .venv, held until it is closed; says so and waits where another launch holds it."""
    lock = (venv / "setup.lock").open("ab")
    if not take_lock(lock.fileno()):
        say("Another set-up of LoRA Atelier is at work here; this one waits until it has ended.")
        while not take_lock(lock.fileno()):
            time.sleep(0.5)
    os.set_inheritable(lock.fileno(), True)
    return lock


def take_lock(handle: int) -> bool:
    """Whether the lock is ours now; the system lets go of it when the process ends, however it ends."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # Any other error: a file system that knows no locks, which must not stop the set-up.
        return not isinstance(error, (BlockingIOError, PermissionError))
    return True


def python_of(venv: Path) -> Path:
    """The environment's Python."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def repair(venv: Path) -> bool:
    """Whether pip can go on in this environment; first removes what an interrupted pip leaves half made."""
    command = [str(python_of(venv)), "-m", "pip", "--version"]
    try:
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    for entry in [*venv.glob("lib/python*/site-packages/*"), *venv.glob("Lib/site-packages/*")]:
        # pip sets replaced packages aside as "~...", and writes INSTALLER when all files of a package are there.
        is_half = entry.suffix == ".dist-info" and not (entry / "INSTALLER").exists()
        if entry.is_dir() and (is_half or entry.name.startswith("~")):
            shutil.rmtree(str(entry))
    return b"(python %d.%d)" % sys.version_info[:2] in answer.stdout


def empty(venv: Path) -> None:
    """Removes the environment but for the lock and the log, which are in use."""
    for entry in venv.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        elif entry.name not in ("setup.lock", "setup.log"):
            entry.unlink()


def read_stamp(venv: Path) -> Stamp:
    """The stamp of the last finished set-up; an empty one where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((venv / "stamp.json").read_text(encoding="utf-8"))
        return Stamp(str(found["fingerprint"]), str(found["torch"]), tuple(found["extras"]))
    return Stamp()


def say(sentence: str) -> None:
    """Tells the user; standard output belongs to the command that is started."""
    print(sentence, file=sys.stderr, flush=True)


def start(root: Path, command: "list[str]") -> int:
    """The exit code of the command, run in the environment; pytest runs in the project's folder."""
    python = str(python_of(root / ".venv"))
    if command[:1] == ["test"]:
        return run_child([python, "-m", "pytest", *command[1:]], str(root))
    if command != ["setup"]:
        # -P: a folder `app` where the user happens to be must not be taken for ours.
        return run_child([python, "-P", "-m", "app", *command], None)
    return 0


def run_child(command: "list[str]", folder: "str | None") -> int:
    """The child's exit code, 128 + N where signal N ended it. Ctrl-C reaches the child by itself; this waits for it."""
    child = subprocess.Popen(command, cwd=folder)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    while child.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):
            child.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # While setting up, met like Ctrl-C.
    sys.exit(main(sys.argv[1:]))
