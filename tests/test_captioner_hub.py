"""Captioners by name, against a server on loopback: what a download brings, that it works offline then, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import close_session, constants

from app import cli
from tests import hub_server, tiny_captioners, tiny_tagger
from trainer import captioner, hub_download, hub_listing
from trainer.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.hub_server import Hub


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Captioners as they lie on the hub, with much that is not needed, and one of a format that is not read."""
    root = tmp_path_factory.mktemp("repos")
    out = {"artist/tags": tiny_tagger.make(root / "tags"), "artist/words": tiny_captioners.blip(root / "words")}
    for folder in out.values():
        for name in ("README.md", "tf_model.h5", "pytorch_model.bin", "more/model.safetensors"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"not wanted")
    (out["artist/tags"] / "model.safetensors").write_bytes(b"not wanted either")
    (out["artist/tags"] / "config.json").write_text('{"architecture": "vit_base"}')
    old = root / "old"
    old.mkdir()
    config = {"architectures": ["Florence2ForConditionalGeneration"], "vision_config": {"dim_embed": [1]}}
    (old / "config.json").write_text(json.dumps(config))
    (old / "model.safetensors").write_bytes(b"weights")
    return out | {"artist/old": old}


@pytest.fixture
def server(repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running(repos) as made:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        template = made.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", made.url), ("HUGGINGFACE_CO_URL_TEMPLATE", template), ("HF_HUB_OFFLINE", False),
            ("HF_HUB_CACHE", str(tmp_path / "hub")), ("HF_TOKEN_PATH", str(tmp_path / "token")),
        ):  # fmt: skip
            monkeypatch.setattr(constants, name, value)
        yield made
        close_session()


def test_a_download_brings_what_the_captioner_needs_and_it_works_then(server: Hub, repos: dict[str, Path]) -> None:
    listing = hub_listing.look_up("artist/tags")
    assert (listing.title, listing.resolution) == ("WD tagger", 0)
    assert {file.path for file in listing.files} == {"model.onnx", "selected_tags.csv"}
    hub_download.download("artist/tags")
    assert hub_download.download("artist/words") == captioner.find("artist/words")
    assert not {"tf_model.h5", "pytorch_model.bin", "more/model.safetensors"} & set(server.sent)
    for name in ("artist/tags", "artist/words"):
        assert captioner.load(captioner.find(name)).batch > 0
    assert hub_listing.look_up("artist/words").missing_bytes == 0


def test_the_command_line_says_what_it_is_and_how_it_is_used(server: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fetch", "artist/words", "--look"]) == 0
    assert "artist/words (BLIP)" in capsys.readouterr().out
    assert cli.main(["fetch", "artist/words", "--yes"]) == 0
    assert "lora-atelier caption FOLDER --model artist/words" in capsys.readouterr().out


def test_a_captioner_in_a_format_that_is_not_read_is_refused_before_the_download(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"artist/old is a Florence-2 in a format .* florence-community/Florence-2-base"
    ):
        hub_listing.look_up("artist/old")
    assert not list(tmp_path.glob("hub/*"))
