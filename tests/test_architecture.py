"""The rules of DESIGN.md that no single module can hold: who imports whom, what is too long, what is never called."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.families import FAMILIES

ROOT = Path(__file__).parents[1]
LIGHT_BY_DESIGN = {f"trainer.{name}" for name in (
    "settings", "settings_file", "presets", "events", "run_folder", "dataset", "captions", "pixels", "buckets", "pixel_measures", "pixel_hashes", "pixel_alignment", "pixel_defects", "pixel_sharpness", "pixel_overlays", "pixel_strokes", "pixel_lettering", "pixel_letters", "pixel_letter_trees",
    "batches", "ranks", "rungs", "lora_file", "weights_file", "metadata_tools", "tasks", "families.checkpoint_layers", "lora_kinds", "lora_description", "control", "metadata", "metadata_settings", "content_hashes", "user_folders", "errors", "families", "families.clients", "clients", "families.lora_keys", "families.lora_names", "families.anatomy", "forecast", "forecast_memory", "forecast_run", "memory_model", "adapter_sizes", "machine", "heap", "hub", "hub_download", "hub_listing", "preflight",
    "doctor", "doctor_findings", "doctor_subject", "doctor_measures", "doctor_repairs", "doctor_undo",
    "doctor_checks_files", "doctor_checks_captions", "doctor_checks_tags", "doctor_checks_set",
    "caption_plan", "captioner_files", "bundle", "bundle_data", "bundle_texts", "cover", "picture_text", "sidecar",
)}  # fmt: skip
LIGHT_APP = (
    "app.arguments", "app.progress", "app.worker_process", "app.places", "app.run_record", "app.cli", "app.__main__",
)  # fmt: skip
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "bitsandbytes")
QT = ("PySide6", "PySide2", "PyQt6", "PyQt5", "shiboken6", "qtpy")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {module_name(p): p for top in ("app", "trainer", "resources") for p in sorted((ROOT / top).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
TRAINER = [name for name in SOURCES if name.split(".")[0] == "trainer"]
LIGHT = [name for name in TRAINER if "imports no torch" in (ast.get_docstring(TREES[name]) or "").lower()]
FUNCTIONS = [
    (name, node)
    for name, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]


def imports(node: ast.AST) -> list[str]:
    """What an import statement names: for `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def imported_at_start(body: list[ast.stmt]) -> list[str]:
    """Imports that run when the module is imported: not those in functions, nor those for type checkers only."""
    out = []
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            out += imported_at_start(node.orelse)
            continue
        out += imports(node)
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                out += imported_at_start(getattr(node, inner, []))
        for handler in getattr(node, "handlers", []):
            out += imported_at_start(handler.body)
    return out


def test_the_readers_of_source_code_below_see_what_they_should() -> None:
    """Otherwise every test here would pass on an empty folder or for a blind reader."""
    assert {"trainer", "trainer.loop", "trainer.families", "trainer.families.sd", "app.cli"} <= set(SOURCES)
    assert len(FUNCTIONS) > 200
    source = (
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import never\nelse:\n    import e\n"
        "try:\n    import f\nexcept ImportError:\n    import g\ndef h():\n    import later\nclass I:\n    import j\n"
    )
    assert imported_at_start(ast.parse(source).body) == ["a.b", "c", "c.d", "e", "f", "g", "j"]


def test_the_trainer_imports_neither_qt_nor_the_app() -> None:
    wrong = {
        name: found
        for name in TRAINER
        if (found := [i for node in ast.walk(TREES[name]) for i in imports(node) if i.split(".")[0] in (*QT, "app")])
    }
    assert wrong == {}


def test_no_import_of_the_trainer_goes_in_a_circle() -> None:
    graph = {name: {i for i in imported_at_start(TREES[name].body) if i in TRAINER and i != name} for name in TRAINER}
    assert sum(map(len, graph.values())) > 50
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # a cycle is an error that names its modules
    assert order.index("trainer.settings") < order.index("trainer.settings_file") < order.index("trainer.loop")


def test_light_modules_and_the_command_line_import_nothing_heavy_not_even_through_others() -> None:
    """In a fresh interpreter, one module after the other, so that the first guilty one is named."""
    assert set(LIGHT) >= LIGHT_BY_DESIGN, "their docstrings say 'Imports no torch.'"
    modules = ["resources", *LIGHT, *LIGHT_APP]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = sorted({{m.split('.')[0] for m in sys.modules}} & set({[*HEAVY, *QT]}))\n"
        "    if heavy: sys.exit(f'{name} imports {heavy}')\n"
        "print('light', len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("light")


def test_the_window_imports_nothing_heavy_not_even_through_others() -> None:
    """All of app/, with Qt, in one fresh interpreter: the window opens at once, and its process never holds a GPU."""
    modules = [name for name in SOURCES if name.split(".")[0] == "app"]
    assert {"app.main_window", "app.run_controller", "app.pages.training"} <= set(modules)
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = sorted({{m.split('.')[0] for m in sys.modules}} & set({[*HEAVY]}))\n"
        "    if heavy: sys.exit(f'{name} imports {heavy}')\n"
        "print('light', 'PySide6.QtWidgets' in sys.modules)"
    )
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "light True\n"), done.stderr


def test_the_app_names_nothing_heavy_not_even_for_later() -> None:
    """An import in a function would only wait for its hour; the worker alone may have it, in its own process."""
    wrong = {
        name: found
        for name, tree in TREES.items()
        if name.split(".")[0] == "app"
        and (found := [i for node in ast.walk(tree) for i in imports(node) if i.split(".")[0] in HEAVY])
    }
    assert wrong == {}


def test_no_page_imports_another_page_nor_the_window() -> None:
    """What pages have in common belongs to app/ or app/widgets/; app/main_window.py alone knows all pages."""
    pages = [name for name in SOURCES if name.startswith("app.pages.")]
    assert len(pages) >= 3
    wrong = {
        name: found
        for name in SOURCES
        if name.startswith(("app.pages.", "app.widgets."))
        and (
            found := [
                i
                for node in ast.walk(TREES[name])
                for i in imports(node)
                if i in (*pages, "app.main_window") and i != name
            ]
        )
    }
    assert wrong == {}


@pytest.mark.parametrize("name", TRAINER)
def test_every_module_of_the_trainer_says_what_it_owns(name: str) -> None:
    text = ast.get_docstring(TREES[name])
    assert text, f"{name} has no docstring"
    assert 20 < len(text.splitlines()[0]) <= 130 and text[0].isupper()


def test_no_family_is_named_outside_of_the_families() -> None:
    ids = re.compile(rf"\b({'|'.join(map(re.escape, FAMILIES))})\b")
    wrong = [
        (name, node.value)
        for name in TRAINER
        if not name.startswith("trainer.families")
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ids.search(node.value)
    ]
    assert wrong == []
    assert ids.search("if family == 'sdxl'") and not ids.search("SDXL ignores it.")


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_is_too_long_to_read(name: str) -> None:
    assert len(SOURCES[name].read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_no_function_is_too_long_to_read() -> None:
    long = {f"{m}.{f.name}": f.end_lineno - f.lineno + 1 for m, f in FUNCTIONS if f.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION_LINES} == {}


def test_nothing_is_unpickled_and_no_text_is_run_as_code() -> None:
    """Weights come from strangers; a pickle of theirs could do anything."""
    modules = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if modules & {i.split(".")[0] for i in imports(node)}:
                wrong.append((name, ast.unparse(node)))
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                if called in ("eval", "exec", "compile", "__import__") or (called == "torch.load" and not safe):
                    wrong.append((name, ast.unparse(node)))
                if any(k.arg == "shell" for k in node.keywords) or called == "os.system":
                    wrong.append((name, ast.unparse(node)))
    assert wrong == []


def test_no_port_is_opened() -> None:
    """Nothing is sent anywhere: the worker speaks through pipes only."""
    network = {"socket", "socketserver", "http", "urllib", "requests", "httpx", "aiohttp", "ssl", "ftplib", "smtplib"}
    found = {n for n in TREES for node in ast.walk(TREES[n]) if network & {i.split(".")[0] for i in imports(node)}}
    assert found == set()
