"""Civitai bundles: which pictures, what readers of other programs find in them, nothing private, the data byte for byte."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.app.run_folders import make_run
from tests.conftest import draw_pictures
from trainer import bundle, bundle_data, bundle_texts, dataset, lora_file, settings_file
from trainer.errors import DataError, RunError
from trainer.tasks import Cancelled, quiet

if TYPE_CHECKING:
    from trainer.run_folder import RunFolder

HASH = "0123456789abcdef" * 4


# What other programs read, written from the grammar: prompt lines, "Negative prompt: ...", a last line of `Key: value` pairs
# of which values with commas or colons are JSON strings.


def pairs(line: str) -> dict[str, str]:
    """The last line, read sign by sign."""
    out: dict[str, str] = {}
    at = 0
    while at < len(line):
        key, colon, _ = line[at:].partition(":")
        assert colon, f"no value: {line[at:]}"
        at += len(key) + 1
        while line[at : at + 1] == " ":
            at += 1
        if line[at : at + 1] == '"':
            value, length = json.JSONDecoder().raw_decode(line[at:])
            at += length
        else:
            value = line[at:].split(",")[0]
            at += len(value)
        assert line[at : at + 1] in ("", ","), f"value of {key} does not end: {line[at:]}"
        at += 1
        out[key.strip()] = str(value)
    return out


def read_parameters(text: str) -> dict[str, Any]:
    """As A1111 and Civitai: prompt, negative, the pairs, the LoRAs in the prompt with their hashes."""
    *lines, last = text.split("\n")
    assert last.startswith("Steps: "), "Civitai finds the line by that"
    words = "\n".join(lines).split("Negative prompt:")
    facts = pairs(last)
    loras = re.findall(r"<lora:([\w.\-]+):([0-9.]+)>", words[0])
    hashes = dict(pair.split(": ") for pair in facts["Lora hashes"].split(", "))
    return {
        "prompt": words[0].strip(), "negative": words[1].strip() if len(words) > 1 else "", "facts": facts,
        "loras": {name: (float(weight), hashes[name]) for name, weight in loras},
    }  # fmt: skip


def parameters(path: Path) -> str:
    with Image.open(path) as picture:
        return str(picture.info["parameters"])


# A run and a bundle


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with a picture folder in the user's home."""
    return make_run(
        tmp_path / "somebody" / "runs", name="zörb lin", base=str(tmp_path / "somebody" / "models" / "my base.safetensors"),
        previews=[{"prompt": "a red cat"}, {"prompt": "zorblin, meadow: at noon, 3", "negative": "blob, ugly", "sampler": "dpmpp_2m_karras"}],
        description=f"See {tmp_path / 'somebody'}/notes.txt", vae=str(tmp_path / "somebody" / "vae.pt"),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Their home folder."""
    (tmp_path / "somebody").mkdir()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "somebody")
    return tmp_path / "somebody"


def lora_in(folder: Path, run: RunFolder, metadata: dict[str, str]) -> Path:
    """The checkpoint's file as an export leaves it."""
    source, path = run.checkpoint(20) / "lora.safetensors", folder / "zorb.safetensors"
    folder.mkdir(exist_ok=True, parents=True)
    told = lora_file.read_header(source).metadata | {
        "sshs_model_hash": HASH, "ss_sd_model_name": "my base.safetensors", "ss_new_sd_model_hash": HASH, "ss_dataset_dirs": '{"a": {"n_repeats": 2, "img_count": 7}}',
        "ss_num_train_images": "14",
    }  # fmt: skip
    save_file(load_file(source), path, told | metadata)
    return path


def filled(folder: Path, run: RunFolder, metadata: dict[str, str] | None = None) -> Path:
    lora = lora_in(folder, run, metadata or {})
    bundle.fill(folder, lora, run, bundle.previews_at(run, 20), data=False, tell=quiet)
    return folder


# Pictures


def test_each_picture_says_how_it_was_drawn_and_with_which_files(run: RunFolder, tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", run, {"ss_clip_skip": "2"})
    read = read_parameters(parameters(folder / "zorb_01.png"))
    assert read["prompt"] == "zorblin, meadow: at noon, 3 <lora:zorb:1>" and read["negative"] == "blob, ugly"
    assert read["loras"] == {"zorb": (1.0, HASH[:12])}
    version = read["facts"].pop("Version")
    assert version.startswith("LoRA Atelier ")
    assert read["facts"] == {
        "Steps": "20", "Sampler": "DPM++ 2M Karras", "CFG scale": "7", "Seed": "42", "Size": "48x32", "Model hash": HASH[:10],
        "Model": "my base", "Clip skip": "2", "Lora hashes": f"zorb: {HASH[:12]}",
    }  # fmt: skip


def test_what_is_not_known_of_the_base_is_left_out(run: RunFolder, tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", run, {"ss_new_sd_model_hash": "", "ss_sd_model_name": ""})
    assert {"Model", "Model hash", "Clip skip"}.isdisjoint(read_parameters(parameters(folder / "zorb_01.png"))["facts"])


def test_the_pixels_are_those_that_were_drawn(run: RunFolder, tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", run)
    for name, source in (("zorb_01.png", run.sample(20, 1, 42)), ("zorb_02.png", run.sample(20, 0, 42))):
        with Image.open(folder / name) as mine, Image.open(source) as drawn:
            assert mine.size == drawn.size and mine.tobytes() == drawn.tobytes()
    assert len(list(folder.glob("*.png"))) == 2, "no picture of another step, none twice"


def drawn(run: RunFolder, prompts: list[str], colours: list[str]) -> None:
    """Another list of previews, one picture each."""
    values = settings_file.read_dict(run.settings_path) | {
        "previews": [{"prompt": p, "seed": i} for i, p in enumerate(prompts)]
    }
    run.settings_path.write_text(settings_file.dumps(settings_file.from_dict(values)), encoding="utf-8")
    for old in run.samples.iterdir():
        old.unlink()
    for i, colour in enumerate(colours):
        Image.new("RGB", (8, 8), colour).save(run.sample(20, i, i))


def chosen(run: RunFolder, **options: Any) -> list[int]:
    return [p.prompt.seed for p in bundle.previews_at(run, 20, **options)]


def test_pictures_are_spread_over_prompts_then_over_seeds(run: RunFolder) -> None:
    prompts = ["zorblin a"] * 5 + ["a cat", "zorblin b", "a dog", "zorblin c"]
    drawn(run, prompts, ["red", "green", "blue", "black", "white", "grey", "pink", "gold", "cyan"])
    assert chosen(run) == [0, 6, 8, 5, 7, 1, 2, 3]
    assert chosen(run, most=3) == [0, 6, 8], "with the trigger word first"
    assert chosen(run, first=run.sample(20, 4, 4))[0] == 4


def test_the_same_picture_is_never_there_twice_and_a_broken_one_not_at_all(run: RunFolder) -> None:
    drawn(run, ["zorblin a", "zorblin b", "zorblin c"], ["red", "red", "blue"])
    run.sample(20, 2, 2).write_bytes(run.sample(20, 2, 2).read_bytes()[:50])
    (run.samples / "000020_p9_s1.png").write_bytes(b"of a prompt that is gone")
    assert chosen(run) == [0]
    assert bundle.previews_at(run, 19) == []


# Words


def test_the_description_says_what_one_must_know(run: RunFolder, tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", run)
    file, text = folder / "zorb.safetensors", (folder / "description.md").read_text(encoding="utf-8")
    raw = file.read_bytes()
    data = raw[8 + int.from_bytes(raw[:8], "little") :]
    whole = hashlib.sha256(raw).hexdigest()
    for row in (
        ("AutoV2", whole[:10]), ("SHA256", whole), ("AutoV3", hashlib.sha256(data).hexdigest()[:12]), ("CRC32", f"{zlib.crc32(raw):08X}"),
        ("Pictures", "7, 14 with repeats"), ("Steps", "20"), ("Rank, alpha", "8, 4"), ("Resolution", "128 px"),
    ):  # fmt: skip
        assert f"| {row[0]} | {row[1]} |" in text
    assert "AutoV1" not in text, "below 1 MiB it is the hash of nothing"
    assert "**Trigger words:** `zorblin`" in text and f"my base.safetensors (SD 1.x) `{HASH[:10]}`" in text
    assert "<lora:zorb:1>" in text and 'weight_name="zorb.safetensors"' in text
    for program in ("A1111", "Forge", "ComfyUI", "InvokeAI", "diffusers"):
        assert f"{program}" in text


def test_a_title_cannot_break_the_table_or_the_page(run: RunFolder, tmp_path: Path) -> None:
    words = {"modelspec.title": "a\n# b", "ss_network_dim": "8 | 9", "modelspec.trigger_phrase": ""}
    text = (filled(tmp_path / "out", run, words) / "description.md").read_text(encoding="utf-8")
    assert text.startswith("# a # b\n") and "| Rank, alpha | 8 \\| 9, 4 |" in text
    assert "**Trigger words:** none" in text and " and ``" not in text


def test_nothing_private_is_in_any_file_of_the_bundle(run: RunFolder, tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", run, {"modelspec.description": f"See {tmp_path / 'somebody'}/notes.txt"})
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            assert b"somebody" not in file.read_bytes(), file.name
    assert "See ~/notes.txt" in (folder / "description.md").read_text(encoding="utf-8")


def test_the_settings_can_be_used_again_and_say_what_was_taken_out(run: RunFolder, tmp_path: Path) -> None:
    home = tmp_path / "somebody"
    changes = {
        "more_data": [home / "x"], "left_out": ["secret.png"], "validation": home / "v", "cache_folder": home / "c", "start_from": home / "old.safetensors",
    }  # fmt: skip
    values = settings_file.to_dict(run.settings()) | {
        "concepts": [{"folder": str(home / "faces")}, {"folder": str(home)}]
    }
    values.pop("version")
    settings = settings_file.from_dict(
        values | {k: [str(x) for x in v] if isinstance(v, list) else str(v) for k, v in changes.items()}
    )
    text = bundle_texts.settings_text(settings)
    found = tomllib.loads(text)
    assert (found["base"], found["vae"], found["data"], found["start_from"]) == (
        "my base.safetensors",
        "vae.pt",
        "pictures",
        "old.safetensors",
    )
    assert {"more_data", "left_out", "validation", "cache_folder", "runs_folder"}.isdisjoint(found)
    assert [c["folder"] for c in found["concepts"]] == ["faces", "pictures"]
    head = [line for line in text.splitlines() if line.startswith("#")]
    for label in ("More pictures", "Left out", "Validation pictures", "Cache folder", "Base model", "Start from LoRA"):
        assert label in " ".join(head)
    assert "somebody" not in text
    (tmp_path / "settings.toml").write_text(text, encoding="utf-8")
    again = settings_file.read(tmp_path / "settings.toml")
    assert (again.rank, again.trigger, again.previews) == (settings.rank, settings.trigger, settings.previews)


@pytest.mark.parametrize(
    ("base", "shown"),
    [("demo", "demo"), ("owner/model", "owner/model"), ("C:\\Users\\anna\\a.ckpt", "a.ckpt"), ("~/models/x", "x"), ("/data/x", "x")],
)  # fmt: skip
def test_of_a_base_only_the_name_stays(base: str, shown: str, run: RunFolder) -> None:
    settings = run.settings().model_copy(update={"base": base})
    assert tomllib.loads(bundle_texts.settings_text(settings))["base"] == shown


# The data set


def test_the_zip_holds_the_pictures_byte_for_byte_and_the_captions_as_trained(tmp_path: Path, run: RunFolder) -> None:
    data = draw_pictures(tmp_path / "5_things")
    (data / "sub").mkdir()
    first, second, out = sorted(data.glob("*.png"))[:3]
    Image.open(first).save(data / f"{first.stem}.jpg")
    (data / "sub" / "deep.png").write_bytes(second.read_bytes())
    out.with_suffix(".txt").write_text("not this one")
    values = settings_file.to_dict(run.settings()) | {
        "data": str(data),
        "left_out": [out.name],
        "more_data": [str(first)],
    }
    values.pop("version")
    settings = settings_file.from_dict(values)
    told: list[tuple[str, int, int]] = []
    bundle_data.write_data(tmp_path / "d.zip", settings, lambda *words: told.append(words))
    trained = dataset.scan_training(settings).pictures
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(map(str.lower, names)))
        pictures = {archive.read(n) for n in names if not n.endswith(".txt")}
        assert pictures == {p.path.read_bytes() for p in trained} and out.read_bytes() not in pictures
        assert len([n for n in names if not n.endswith(".txt")]) == len(trained)
        texts = [archive.read(n).decode() for n in names if n.endswith(".txt")]
        assert len(texts) == len(trained) and all("zorblin" in text for text in texts) and "not this one" not in texts
        assert {n.split("/")[0] for n in names} == {"5_things"} and "5_things/sub/deep.png" in names
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        archive.extractall(tmp_path / "again")
    again = dataset.scan(tmp_path / "again")
    assert sorted(p.repeats for p in again.pictures) == sorted(p.repeats for p in trained)
    assert told[-1][0] == "Packing the pictures" and told[-1][1] == told[-1][2]


def test_the_users_home_folder_gives_no_name(user: Path, run: RunFolder, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(user / "a.png")
    bundle_data.write_data(tmp_path / "d.zip", run.settings().model_copy(update={"data": user}), quiet)
    with zipfile.ZipFile(tmp_path / "d.zip") as archive:
        assert {"pictures/a.png", "pictures/a.txt"} <= set(archive.namelist())
        assert not any("somebody" in name for name in archive.namelist())


def test_a_large_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    with (tmp_path / "large").open("wb") as file:
        file.truncate(40 << 20)
    tracemalloc.start()
    bundle_data.zip_files(tmp_path / "x.zip", [("large", tmp_path / "large"), ("t.txt", "words")], "x", quiet)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.getinfo("large").file_size == 40 << 20 and archive.read("t.txt") == b"words"


def test_pictures_that_are_gone_are_told(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no usable picture"):
        bundle_data.write_data(tmp_path / "d.zip", run.settings(), quiet)


# Where it goes


@pytest.mark.parametrize(
    ("there", "target", "sentence"),
    [
        (["out/zorb.safetensors", "out/zorb_01.png"], "out", "exists already. Choose another name, or add --force"),
        (
            ["out/zorb.safetensors", "out/holiday.png"],
            "out",
            r"holds other files \(holiday.png\), so it is not replaced",
        ),
        (["out/zorb/x"], "out", r"holds other files \(zorb\)"),
        (["out"], "out", "is a file. Give a folder"),
        (["b.zip"], "b.zip", "exists already"),
        (["b.zip/x"], "b.zip", "is a folder; choose another name"),
    ],
)
def test_what_is_there_is_not_replaced_without_leave(
    there: list[str], target: str, sentence: str, tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(RunError, match=sentence):
        bundle.check_target(tmp_path / target, "zorb", overwrite=False)
    if "exists" not in sentence:
        with pytest.raises(RunError, match=sentence):
            bundle.check_target(tmp_path / target, "zorb", overwrite=True)
    else:
        bundle.check_target(tmp_path / target, "zorb", overwrite=True)
    assert all((tmp_path / name).read_bytes() == b"precious" for name in there)


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_a_bundle_is_whole_or_not_there(name: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / name

    def fill(folder: Path) -> None:
        (folder / "one").write_bytes(b"1")

    bundle.write(target, fill, quiet)
    if name.endswith("zip"):
        with zipfile.ZipFile(target) as archive:
            assert archive.namelist() == ["one"] and archive.read("one") == b"1"
    else:
        assert [(p.name, p.read_bytes()) for p in target.iterdir()] == [("one", b"1")]

    def cancelled(folder: Path) -> None:
        (folder / "two").write_bytes(b"2")
        raise Cancelled

    before = list((tmp_path / "new").rglob("*"))
    with pytest.raises(Cancelled):
        bundle.write(target, cancelled, quiet)
    assert list((tmp_path / "new").rglob("*")) == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    bundle.check_target(tmp_path / "b", "zorb", overwrite=False)
    bundle.write(tmp_path / "b", lambda folder: (folder / "one").write_bytes(b"1"), quiet)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["one"]
