"""The doctor reads captions and tags: what is missing, odd, too long, misspelt, in all or in only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from trainer import dataset, doctor_checks_captions, doctor_checks_tags, doctor_subject
from trainer.doctor_subject import Subject
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.doctor_findings import Finding


def findings(folder: Path, texts: dict[str, str | bytes | None], **settings: object) -> dict[str, Finding]:
    """What is found in a folder with these captions, by picture name without ending."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        Image.new("RGB", (64, 64), (len(name) * 9 % 256, 40, 90)).save(folder / f"{name}.png")
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return examined(TrainingSettings.model_validate({"data": folder, "resolution": 64} | settings))


def examined(settings: TrainingSettings) -> dict[str, Finding]:
    data = dataset.scan_training(settings)
    entries, raw = doctor_subject.entries_of(data, settings), doctor_subject.raw_captions(data)
    subject = Subject(settings, "", entries, {}, raw, doctor_subject.other_files(data, settings))
    found = [f for check in (doctor_checks_captions, doctor_checks_tags) for f in check.check(subject)]
    assert len({f.id for f in found}) == len(found)
    return {f.id: f for f in found}


def many(count: int, *tags: str) -> dict[str, str | bytes | None]:
    """Captions of `count` pictures, in which no tag but the given ones is in all."""
    return {f"p{i:02d}": ", ".join(["zor", *tags, f"thing {i % 3}", f"place {i % 4}"]) for i in range(count)}


def test_good_captions_give_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path, many(12), trigger="zor") == {}


def test_missing_and_empty_captions_are_told_apart(tmp_path: Path) -> None:
    found = findings(tmp_path, many(8) | {"q": None, "r": b" \r\n", "s": b"\xef\xbb\xbf"}, trigger="zor")
    assert set(found) == {"missing_caption", "empty_caption"}
    assert found["missing_caption"].pictures == ("q.png",) and found["empty_caption"].pictures == ("r.png", "s.png")
    assert found["missing_caption"].explanation == (
        "1 of 11 pictures have no caption file (.txt, .caption) beside them; they are trained with the trigger word alone."
    )
    assert found["missing_caption"].repair == "add_trigger" and found["missing_caption"].severity == "warn"


def test_without_any_words_nothing_would_call_what_is_learnt(tmp_path: Path) -> None:
    found = findings(tmp_path, {"a": None, "b": ""})
    assert list(found) == ["no_captions"] and found["no_captions"].severity == "stop"
    assert list(findings(tmp_path, {}, trigger="zor")) == ["missing_caption", "empty_caption"]
    (tmp_path / "b.txt").unlink()
    only = findings(tmp_path, {}, trigger="zor")["missing_caption"]
    assert only.severity == "note" and "all are trained with the trigger word alone" in only.explanation


def test_without_a_trigger_word_there_is_none_to_write(tmp_path: Path) -> None:
    assert findings(tmp_path, many(5) | {"q": None})["missing_caption"].repair == ""


@pytest.mark.parametrize(
    ("raw", "remark"),
    [
        ("zor, café".encode("cp1252"), "Windows-1252"),
        ("zor, café".encode("utf-16"), "UTF-16"),
        ("zor, ещё".encode("utf-16-le"), "UTF-16-LE"),
        ("zor, café".encode().decode("cp1252").encode(), "UTF-8 that was read as Windows-1252 and saved again"),
        ("zor, caf\ufffd".encode(), "letters that an earlier conversion has lost (\ufffd)"),
    ],
)
def test_odd_encodings_are_named(tmp_path: Path, raw: bytes, remark: str) -> None:
    found = findings(tmp_path, many(6) | {"q": raw}, trigger="zor")
    assert set(found) == {"encoding"} and found["encoding"].remarks == {"q.png": remark}


@pytest.mark.parametrize(
    "text", ["zor, naïve façade", "zor, 日本の城", "zor, Größe", "zor, Ã tale", "zor, “quoted” … – ☃"]
)
def test_captions_in_other_scripts_are_fine(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, many(6) | {"q": text}, trigger="zor") == {}


def test_invisible_characters_are_named(tmp_path: Path) -> None:
    raw = {"q": b"\xef\xbb\xbfzor, thing 1", "r": "zor,\u200b thing 1".encode(), "s": b"zor, thing 1\x00\x07"}
    found = findings(tmp_path, many(6) | raw, trigger="zor")
    assert set(found) == {"invisible"}
    assert found["invisible"].remarks == {
        "q.png": "byte order mark", "r.png": "zero width space", "s.png": "control character 0, control character 7",
    }  # fmt: skip


def test_what_is_readable_is_what_was_meant() -> None:
    for raw in (
        "é, a\nb\n".encode("cp1252"),
        "é, a\r\nb\n".encode("utf-16"),
        "\ufeffé, \x07a\u200b\nb\n".encode(),
        "Ã©, a\nb\n".encode(),
    ):
        assert doctor_checks_captions.readable(raw) == "é, a\nb\n"
    assert doctor_checks_captions.readable(b" \n") == ""


def test_captions_without_a_picture_come_with_a_guess(tmp_path: Path) -> None:
    for name in ("lost.txt", "P01 .txt", "p02.TXT", "p03.png.txt", "README.txt", "gone.caption", "notes.md"):
        (tmp_path / name).write_text("words")
    found = findings(tmp_path, many(6), trigger="zor")["orphan_caption"]
    assert found.remarks == {"P01 .txt": "is it for p01?", "p02.TXT": "write its ending in small letters: .txt"}
    assert found.pictures == ("P01 .txt", "gone.caption", "lost.txt", "p02.TXT")


def test_the_captions_of_an_unreadable_and_of_a_left_out_picture_are_no_orphans(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    (tmp_path / "broken.txt").write_text("words")
    assert findings(tmp_path, many(6), trigger="zor", left_out=["p00.png"]) == {}


def test_captions_over_the_limit_are_counted_by_the_models_own_tokenizer(tmp_path: Path) -> None:
    """A word of CLIP's vocabulary is a token, and so is a comma: with the trigger and its comma 75 words are 77 tokens."""
    texts = many(6) | {"q": " ".join(["house"] * 73), "r": " ".join(["house"] * 75)}
    found = findings(tmp_path, texts, trigger="cat", base=str(tmp_path / "model.safetensors"))
    assert "too_long" in found and found["too_long"].remarks == {"r.png": "about 77 tokens"}
    (tmp_path / "model.safetensors").touch()
    found = findings(tmp_path, {}, trigger="cat", base=str(tmp_path / "model.safetensors"))
    assert found["too_long"].remarks == {"r.png": "77 tokens"}
    assert "too_long" not in findings(
        tmp_path, {}, trigger="cat", base=str(tmp_path / "model.safetensors"), max_tokens=150
    )


def test_a_trigger_that_is_missing_is_told_from_one_within_another_word(tmp_path: Path) -> None:
    texts = many(8) | {
        "q": "thing 1, place 1",
        "r": "zorblin, thing 1",
        "s": "zorblin, zor, thing 1",
        "t": "ZOR, thing 1",
    }
    found = findings(tmp_path, texts, trigger="zor")
    assert set(found) == {"trigger_missing", "trigger_hidden"}
    assert found["trigger_missing"].pictures == ("q.png",) and found["trigger_missing"].severity == "note"
    assert found["trigger_hidden"].remarks == {"r.png": "zorblin"}


def test_a_concept_has_its_own_trigger_and_regularisation_pictures_need_none(tmp_path: Path) -> None:
    findings(tmp_path / "a", many(6), trigger="zor")
    findings(tmp_path / "b", {"x": "blip, a hill", "y": "a hill"})
    findings(tmp_path / "c", {"z": "a person", "n": None})
    concepts = [{"folder": tmp_path / "b", "trigger": "blip"}, {"folder": tmp_path / "c", "regularization": True}]
    found = findings(tmp_path / "a", {}, trigger="zor", concepts=concepts)
    assert set(found) == {"trigger_missing"} and found["trigger_missing"].pictures == (
        (tmp_path / "b/y.png").as_posix(),
    )
    assert '"blip"' in found["trigger_missing"].explanation


def test_a_tag_in_every_caption_is_absorbed_by_the_trigger(tmp_path: Path) -> None:
    found = findings(tmp_path, many(6, "red hat"), trigger="zor")
    assert list(found) == ["tag_everywhere:red hat"]
    assert '"zor" absorbs it' in found["tag_everywhere:red hat"].explanation
    assert findings(tmp_path, {"q": "zor, thing 1, place 1"}, trigger="zor") == {}


def test_without_a_trigger_a_tag_in_every_caption_may_be_meant_as_one(tmp_path: Path) -> None:
    found = findings(tmp_path, many(6))["tag_everywhere:zor"]
    assert found.repair == "" and "set it as trigger word" in found.explanation


def test_tags_of_a_single_caption_are_named_only_where_captions_are_tags(tmp_path: Path) -> None:
    found = findings(tmp_path, many(12) | {"q": "zor, thing 1, grey whale, slim tower"}, trigger="zor")
    assert found["tag_once"].remarks == {"q.png": "grey whale, slim tower"}
    sentences = {f"s{i}": f"zor on hill number {i}" for i in range(12)}
    assert findings(tmp_path / "sentences", sentences, trigger="zor") == {}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("long hair", "long_hair"), ("blue eyes", "blue eye"), ("cherry tree", "cherry trees"), ("t-shirt", "t shirt"),
        ("green meadow", "green meadw"), ("market square", "market sqaure"), ("wooden table", "wooden tabel"),
        ("berry", "berries"), ("wooden box", "wooden boxes"),
    ],
)  # fmt: skip
def test_spellings_of_a_tag_are_brought_together_under_the_more_frequent(
    tmp_path: Path, right: str, wrong: str
) -> None:
    texts = {f"p{i}": f"zor, {right if i else wrong}, thing {i % 2}" for i in range(6)} | {"q": "zor, thing 1"}
    found = findings(tmp_path, texts, trigger="zor")
    assert list(found) == [f"tag_spelling:{right}"]
    assert found[f"tag_spelling:{right}"].spellings == (wrong,) and found[f"tag_spelling:{right}"].remarks == {
        "p0.png": wrong
    }
    assert found[f"tag_spelling:{right}"].severity == "warn"


def test_capitals_alone_are_only_worth_a_note(tmp_path: Path) -> None:
    texts = {f"p{i}": f"zor, {'red hat' if i else 'Red Hat'}" for i in range(6)} | {"q": "zor, thing"}
    found = findings(tmp_path, texts, trigger="zor")["tag_spelling:red hat"]
    assert found.severity == "note" and "reads them alike" in found.explanation


@pytest.mark.parametrize(
    ("frequent", "rare"),
    [
        ("white shirt", "white skirt"), ("1girl", "2girls"), ("short hair", "shorts"), ("glass", "glasses"), ("^_^", "^^"),
        ("arms up", "arm up"), ("brown boots", "brown bots"), ("mountain", "fountain"), ("bus", "busy"), ("walking", "talking"),
    ],
)  # fmt: skip
def test_other_words_are_not_taken_for_slips(tmp_path: Path, frequent: str, rare: str) -> None:
    texts = {f"p{i}": f"zor, {frequent if i else rare}, thing {i % 2}" for i in range(6)} | {"q": "zor, thing 1"}
    assert findings(tmp_path, texts, trigger="zor") == {}


def test_thousands_of_tags_take_no_time() -> None:
    import time

    counts = {
        f"{a}{b} {c}ing": 1 + (ord(a) + ord(c)) % 9
        for a in "abcdefghijklmnop"
        for b in "qrstuvwxyz"
        for c in "bcdfghjklmnpqrstv"
    }
    started = time.perf_counter()
    doctor_checks_tags._spellings(counts)
    assert len(counts) == 2720 and time.perf_counter() - started < 8


def test_weights_separators_and_alternatives_are_no_part_of_a_tag(tmp_path: Path) -> None:
    texts = {f"p{i}": f"zor ||| (red hat:1.2), {{cat|dog}}, thing {i % 2}" for i in range(6)}
    found = findings(tmp_path, texts, trigger="zor", keep_separator="|||", wildcards=True, prompt_weights=True)
    assert list(found) == ["tag_everywhere:red hat"]


def test_lines_that_are_variants_each_need_the_trigger(tmp_path: Path) -> None:
    texts = many(6) | {"q": "zor, thing 1\nplace 1, thing 2"}
    assert findings(tmp_path, texts, trigger="zor") == {}
    found = findings(tmp_path, {}, trigger="zor", caption_lines="variants")
    assert list(found) == ["trigger_missing"] and found["trigger_missing"].pictures == ("q.png",)
