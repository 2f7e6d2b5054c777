"""What headers tell of LoRA files, and that what is expected of a new file is what it then is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app import lora_facts
from tests.app.tool_files import write_dora, write_lora, write_peft

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_tells_title_family_names_and_ranks(tmp_path: Path) -> None:
    facts = lora_facts.look(write_lora(tmp_path / "a.safetensors", 8, wide_rank=4, **{"modelspec.title": "Aurora"}))
    assert (facts.title, facts.family, facts.names, facts.precision) == ("Aurora", "SD 1.x", "kohya", "fp16")
    assert facts.ranks == (4, 8) and facts.has_wide and not facts.is_dora and not facts.problem
    assert facts.size_bytes == (tmp_path / "a.safetensors").stat().st_size


def test_other_names_and_magnitudes_are_known(tmp_path: Path) -> None:
    peft = lora_facts.look(write_peft(tmp_path / "peft.safetensors"))
    assert peft.names in ("diffusers", "PEFT") and peft.ranks == (4, 4) and peft.family == "SD 1.x"
    assert lora_facts.look(write_dora(tmp_path / "dora.safetensors")).is_dora


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense!!")
    assert "bad.safetensors is not a .safetensors file" in lora_facts.look(tmp_path / "bad.safetensors").problem
    assert "There is no file" in lora_facts.look(tmp_path / "gone.safetensors").problem
    assert "There is no file" in lora_facts.look_at_model(tmp_path / "gone.safetensors").problem


@pytest.mark.parametrize(("rank", "wide"), [(6, 6), (2, 2), (3, 1)])
def test_a_resized_file_is_as_large_as_expected(tmp_path: Path, rank: int, wide: int) -> None:
    """The golden file is one that was written at these ranks in the first place."""
    file = lora_facts.look(write_lora(tmp_path / "a.safetensors", 8, wide_rank=8))
    golden = write_lora(tmp_path / "b.safetensors", rank, wide_rank=wide)
    expected = lora_facts.resized(file, rank, wide)
    assert expected.ranks == (min(rank, wide), max(rank, wide))
    assert expected.size_bytes == pytest.approx(golden.stat().st_size, abs=100)


def test_the_ranks_of_a_merge_add_up_but_never_beyond_the_layer(tmp_path: Path) -> None:
    files = [lora_facts.look(write_lora(tmp_path / f"{rank}.safetensors", rank)) for rank in (16, 32)]
    assert lora_facts.merged(files[:1] * 2, "fp16").ranks == (32, 32)
    assert lora_facts.merged(files, "fp16").ranks == (32, 32), "a layer of 32 outputs is exact at rank 32"
    assert lora_facts.merged(files, "fp16", 5).ranks == (5, 5)
    half, whole = (lora_facts.merged(files, precision).size_bytes for precision in ("bf16", "fp32"))
    assert 1.9 < whole / half < 2


def test_layers_that_only_one_has_keep_their_rank(tmp_path: Path) -> None:
    short, long = (lora_facts.look(write_lora(tmp_path / f"{n}.safetensors", 4, layers=n)) for n in (1, 3))
    assert lora_facts.merged([short, long], "fp16").ranks == (4, 8)


def test_files_that_do_not_fit_together_are_told_apart(tmp_path: Path) -> None:
    one = lora_facts.look(write_lora(tmp_path / "one.safetensors"))
    other = lora_facts.look(write_lora(tmp_path / "other.safetensors", family="sdxl_base_v1-0"))
    problem = lora_facts.merged([one, other], "fp16").problem
    assert problem == "“one” is made for SD 1.x and “other” for SDXL. Only LoRAs for the same family of models can be merged."  # fmt: skip
    silent = lora_facts.Facts(other.path, other.title, layers=other.layers)
    assert lora_facts.merged([one, silent], "fp16").problem.startswith("other does not fit to the others")
