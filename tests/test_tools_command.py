"""The sub-commands that make files of LoRAs and checkpoints: words, sentences, progress for programs, and giving up."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from app.cli import main
from app.tools_command import file_and_weight
from tests import single_files
from tests.test_lora_tools import LINEAR, WIDE, lora, save, saved

if TYPE_CHECKING:
    from pathlib import Path

PLACE = "lora_unet_mid_block_attentions_0_proj_in"


def test_weights_are_read_after_a_colon() -> None:
    assert [(str(p), w) for p, w in map(file_and_weight, ("a.safetensors", "a.safetensors:-0.5", "C:/x.safetensors:2", "C:/x.safetensors"))] == [("a.safetensors", 1), ("a.safetensors", -0.5), ("C:/x.safetensors", 2), ("C:/x.safetensors", 1)]  # fmt: skip


def test_the_three_commands_write_and_say_what_they_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, out = str(save(tmp_path / "a.safetensors", lora(1), stems="x")), tmp_path / "o.safetensors"
    assert main(["merge", f"{a}:0.8", f"{a}:-0.5", "--rank", "2", "--out", str(out)]) == 0
    assert "(0.0 MB, fp16; 3 layers, rank 2, " in capsys.readouterr().out
    assert main(["resize", a, "--out", str(out), "--frobenius", "0.9", "--force"]) == 0
    assert "fp32; 3 layers, rank" in capsys.readouterr().out
    b = str(save(tmp_path / "b.safetensors", lora(1, stems=(LINEAR, WIDE))))
    assert main(["convert", b, "--to", "peft", "--out", str(out), "--force"]) == 0
    assert "2 layers, rank 4; read back and compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["merge", "{t}/a.safetensors", "{t}/c.safetensors"], "a.safetensors is made for SD 1.x and c.safetensors for SDXL; LoRAs of different families cannot be merged."),
        (["merge", "{t}/a.safetensors:0"], "must be a number other than 0"),
        (["merge", "{t}/a.safetensors:nan"], "must be a number other than 0"),
        (["merge", "{t}/a.safetensors:much"], '"much" after {t}/a.safetensors is no weight'),
        (["merge", "{t}/none.safetensors"], "There is no file {t}/none.safetensors."),
        (["resize", "{t}/a.safetensors", "--rank", "2", "--out", "{t}/a.safetensors", "--force"], "is the file that is read; choose another name"),
        (["resize", "{t}/a.safetensors", "--rank", "2", "--out", "{t}/c.safetensors"], "exists already. Choose another name, or add --force"),
        (["resize", "{t}/a.safetensors", "--rank", "2", "--out", "{t}/c"], "must end in .safetensors"),
        (["resize", "{t}/a.safetensors"], "Say how small it shall be: --rank N, a share such as --energy 0.95, or both"),
        (["resize", "{t}/a.safetensors", "--conv-rank", "2"], "--conv-rank alone does not say which rank the other layers get"),
        (["extract", "{t}/a.safetensors", "{t}/c.safetensors"], "Say how small it shall be"),
        (["extract", "{t}/a.safetensors", "{t}/c.safetensors", "--rank", "2"], "a.safetensors is a LoRA, not a base model."),
        (["bake", "{t}/a.safetensors", "{t}/c.safetensors:x"], '"x" after {t}/c.safetensors is no weight'),
        (["bake", "{t}", "{t}/c.safetensors"], "{t} is a folder; this works on a model that is one file"),
        (["convert", "{t}/a.safetensors", "--to", "kohya"], "a.safetensors has kohya's names already"),
        (["convert", "{t}/d.safetensors", "--to", "peft"], "d.safetensors is a file of 1 tensor of a kind that is not known, e.g. conv_in.weight, not a LoRA. Choose a LoRA file."),
        (["merge", "{t}/a.safetensors", "{t}/d.safetensors"], "d.safetensors is a file of 1 tensor of a kind that is not known"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_changes_nothing(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.safetensors", lora(1), ss_base_model_version="sd_v1")
    save(tmp_path / "c.safetensors", lora(1), ss_base_model_version="sdxl_base_v1-0")
    save(tmp_path / "d.safetensors", {"conv_in.weight": torch.ones(2, 2)})
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    out = [] if "--out" in words else ["--out", "{t}/new.safetensors"]
    assert main([w.replace("{t}", str(tmp_path)) for w in words + out]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and err.count("\n") == 1 and sentence.replace("{t}", str(tmp_path)) in err
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("words", [["--energy", "1.5"], ["--rank", "0"], ["--ratio", "0.5"], ["--ratio", "inf"], ["--energy", "0.5", "--ratio", "4"]])  # fmt: skip
def test_a_rule_must_make_sense(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["resize", str(tmp_path / "a.safetensors"), "--out", "b.safetensors", *words])


@pytest.mark.parametrize(
    ("words", "usual", "wide"),
    [
        (["--rank", "2"], 2, 2),
        (["--rank", "2", "--conv-rank", "3"], 2, 3),
        (["--energy", "1", "--rank", "3", "--conv-rank", "1"], 3, 1),
        (["--ratio", "1000000", "--conv-rank", "2"], 4, 2),
        (["--cumulative", "1"], 4, 4),
    ],
)
def test_ranks_follow_the_flags(words: list[str], usual: int, wide: int, tmp_path: Path) -> None:
    a, out = save(tmp_path / "a.safetensors", lora(1, stems=(LINEAR, WIDE))), tmp_path / "o.safetensors"
    assert main(["resize", str(a), "--out", str(out), *words]) == 0
    tensors, told = saved(out)
    assert [len(tensors[f"{stem}.lora_down.weight"]) for stem in (LINEAR, WIDE)] == [usual, wide]
    assert told["ss_network_dim"] == str(usual) and json.loads(told["ss_network_args"])["conv_dim"] == str(wide)
    assert main(["merge", str(a), str(a), "--out", str(out), "--force", *words]) == 0
    assert [len(saved(out)[0][f"{stem}.lora_down.weight"]) for stem in (LINEAR, WIDE)] == [usual, wide]


def heard(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_programs_hear_of_each_layer_and_get_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr("app.task_command.INTERVAL_S", 0)
    a, out = str(save(tmp_path / "a.safetensors", lora(1))), tmp_path / "o.safetensors"
    assert main(["resize", a, "--rank", "2", "--out", str(out), "--json"]) == 0
    lines = heard(capsys)
    assert [(e["done"], e["total"]) for e in lines if e.get("label") == "Resizing layers"] == [(n, 3) for n in range(4)]
    done = lines[-1]
    assert done.pop("sentence").startswith(f"{out} (0.0 MB, fp32; 3 layers, rank 2, ") and 0.3 < done.pop("kept") < 1
    assert done == {"type": "done", "path": str(out), "size_bytes": out.stat().st_size, "layers": 3, "ranks": [2, 2], "precision": "fp32", "difference": 0.0}  # fmt: skip
    assert main(["merge", a, a, "--out", str(out), "--json"]) == 1
    assert heard(capsys) == [{"type": "failed", "message": f"{out} exists already. Choose another name, or add --force to replace it."}]  # fmt: skip
    assert main(["convert", a, "--to", "kohya", "--out", str(tmp_path / "p.safetensors"), "--json"]) == 1
    assert [e["type"] for e in heard(capsys)] == ["progress", "failed"]


@pytest.mark.parametrize("words", [["merge", "{a}", "{a}"], ["resize", "{a}", "--rank", "1"], ["convert", "{a}", "--to", "peft"], ["bake", "{base}", "{cat}"], ["extract", "{base}", "{base}", "--rank", "1"]])  # fmt: skip
def test_the_word_cancel_ends_each_command_and_nothing_is_left(
    words: list[str], tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    class AtOnce:
        def __init__(self, **_: Any) -> None: ...

        def start(self) -> None: ...

    class Set:
        def is_set(self) -> bool:
            return True

    monkeypatch.setattr("app.task_command.threading.Thread", AtOnce)
    monkeypatch.setattr("app.task_command.threading.Event", Set)
    folder = tmp_path / "in"
    folder.mkdir()
    names = {
        "a": save(folder / "a.safetensors", lora(1, stems=(LINEAR, WIDE))),
        "cat": save(folder / "cat.safetensors", lora(1, stems=(LINEAR,))),
        "base": single_files.write(next(iter(tiny_models)), tiny_models[next(iter(tiny_models))], folder / "b.safetensors"),
    }  # fmt: skip
    before = out_of(tmp_path)
    given = [w.format(**names) for w in words]
    assert main([*given, "--out", str(tmp_path / "new" / "o.safetensors"), "--json"]) == 130
    assert heard(capsys)[-1] == {"type": "cancelled"}
    assert out_of(tmp_path) == before


def out_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_baked_and_extracted_again(
    tmp_path: Path, tiny_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    family = next(iter(tiny_models))
    base = str(single_files.write(family, tiny_models[family], tmp_path / "base.ckpt", dtype=torch.bfloat16))
    tensors = {f"{PLACE}.lora_down.weight": torch.randn(2, 32, 1, 1), f"{PLACE}.lora_up.weight": torch.randn(32, 2, 1, 1)}  # fmt: skip
    a, tuned, out = str(save(tmp_path / "a.safetensors", tensors)), str(tmp_path / "t.safetensors"), str(tmp_path / "o.safetensors")  # fmt: skip
    assert main(["bake", base, f"{a}:0.5", "--out", tuned]) == 0
    assert capsys.readouterr().out == f"{tuned} (2.0 MB, bf16; 1 layers, rank 2; read back and compared).\n".replace("1 layers", "1 layer")  # fmt: skip
    assert main(["extract", tuned, base, "--frobenius", "0.999", "--rank", "4", "--conv-rank", "2", "--name", "Cat", "--out", out]) == 0  # fmt: skip
    assert "fp16; 1 layer, rank" in capsys.readouterr().out
    assert main(["inspect", out]) == 0
    assert capsys.readouterr().out.startswith("Cat\n")


def test_a_file_with_numbers_that_are_not_finite_is_shown_and_named_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16), ("f32", torch.float32), ("f64", torch.float64)):  # fmt: skip
        tensors = {k: v.to(dtype) for k, v in lora(1).items()}
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        assert main(["inspect", str(tmp_path / f"{name}.safetensors")]) == 0
        tensors[f"{WIDE}.lora_up.weight"][3, 2] = -math.inf if name == "f16" else math.nan
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        assert main(["inspect", str(tmp_path / f"{name}.safetensors")]) == 1
        said = capsys.readouterr()
        assert "Hashes" in said.out
        assert said.err == f"Error: {name}.safetensors is damaged: {WIDE}.lora_up.weight holds numbers that are not finite. Do not use this file.\n"  # fmt: skip


def test_help_needs_no_torch() -> None:
    code = "import sys; from app import cli\ntry: cli.main(['merge', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "FILE[:WEIGHT]" in done.stdout, done.stderr
