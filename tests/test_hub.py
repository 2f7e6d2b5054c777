"""Base models by name, against a server on loopback: names, listings, sentences, downloads that go on, and training offline."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from huggingface_hub import close_session, constants
from safetensors.torch import load_file, save_file

from app import cli
from tests import hub_server, runs, single_files, tiny_models
from trainer import (
    families,
    forecast,
    hub,
    hub_download,
    hub_listing,
    lora_file,
    metadata,
    preflight,
    run_folder,
    settings_file,
)
from trainer.errors import ConfigError, ModelError
from trainer.metadata_settings import settings_from_metadata
from trainer.tasks import Cancelled, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hub_server import Hub

ROOT = Path(__file__).parents[1]
NAME = "artist/tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers model as they lie on the hub: both precisions, both formats, and much that training has no use for."""
    folder = tiny_models.make("sd1", tmp_path_factory.mktemp("repo") / "tiny")
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        tensors = load_file(folder / part / f"{stem}.safetensors")
        half = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
        save_file(half, folder / part / f"{stem}.fp16.safetensors")
        for name in (
            f"{stem}.bin",
            f"{stem}.fp16.bin",
            f"{stem}.non_ema.safetensors",
            "openvino_model.bin",
            "model.onnx",
        ):
            (folder / part / name).write_bytes(b"not wanted")
    for name in ("tiny.ckpt", "README.md", "safety_checker/model.safetensors", "unet/flax_model.msgpack"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not wanted either")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hf"


@pytest.fixture
def server(model: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, to which this process's own huggingface_hub talks; its variables are read only when it is imported."""
    with hub_server.running({NAME: model}) as made:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        template = made.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", made.url), ("HUGGINGFACE_CO_URL_TEMPLATE", template), ("HF_HUB_OFFLINE", False),
            ("HF_HUB_CACHE", str(home / "hub")), ("HF_TOKEN_PATH", str(home / "token")),
        ):  # fmt: skip
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hub_download, "PAUSE_S", 0.01)
        yield made
        close_session()


def changed(model: Path, folder: Path, change: Callable[[Path], object]) -> Path:
    copy = Path(shutil.copytree(model, folder))
    change(copy)
    return copy


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def stop_after(byte_count: int) -> Callable[[str, int, int], None]:
    def tell(label: str, done: int, total: int) -> None:
        if done >= byte_count:
            raise Cancelled

    return tell


# ---- names


@pytest.mark.parametrize("text", ["owner/name", "stable-diffusion-v1-5/stable-diffusion-v1-5", "a/b.c_d-1.0", "0/1"])
def test_owner_and_name_are_a_name(text: str) -> None:
    assert hub.is_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "demo", "name", "a/b/c", "/a/b", "./a", "../a", "a/..", "~/a", "a//b", "a/b/", r"a\b", "C:/models", "models/x.safetensors",
     "models/X.CKPT", "a/b.git", "a/b-", "a--b/c", "a b/c", "ä/b", "a/b\n", "a/" + "b" * 97],
)  # fmt: skip
def test_paths_and_files_are_none(text: str) -> None:
    assert not hub.is_name(text)


def test_a_folder_that_is_here_wins_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_name("models/mine")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert not hub.is_name("models/mine")


@pytest.mark.parametrize(
    "text",
    [" owner/name ", "https://huggingface.co/owner/name", "huggingface.co/owner/name/tree/main", '"owner/name/"',
     "https://hf-mirror.com/owner/name?not-for-all=true", "http://127.0.0.1:8080/owner/name/blob/main/README.md"],
)  # fmt: skip
def test_the_address_of_a_page_is_understood(text: str) -> None:
    assert hub.name_in(text) == "owner/name"


# ---- listings


def test_a_listing_has_what_training_needs_once_and_nothing_else(server: Hub, home: Path) -> None:
    found = hub_listing.look_up(NAME)
    paths = [file.path for file in found.files]
    weights = {p for p in paths if p.endswith((".safetensors", ".bin", ".ckpt"))}
    assert weights == {
        "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors",
    }  # fmt: skip
    assert {
        "model_index.json",
        "unet/config.json",
        "tokenizer/tokenizer.json",
        "scheduler/scheduler_config.json",
    } <= set(paths)
    assert not any("safety" in p or p.endswith(("msgpack", "onnx", "md")) for p in paths)
    assert len(paths) == len(set(paths))
    assert (found.title, found.resolution, found.licence, found.gated) == (
        "SD 1.x",
        512,
        "creativeml-openrail-m",
        False,
    )
    assert found.folder == home / "hub" / "models--artist--tiny"
    assert found.total_bytes == found.missing_bytes == sum((server.repos[NAME] / p).stat().st_size for p in paths)
    assert not found.folder.exists(), "looking leaves nothing"


def test_what_is_here_is_not_counted_again(server: Hub) -> None:
    hub_download.download(NAME)
    assert hub_listing.look_up(NAME).missing_bytes == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: edit(f / "model_index.json", _class_name="FluxPipeline"), "is a FluxPipeline model, which is not supported; use one of SD 1.x"),
        (lambda f: edit(f / "unet" / "config.json", in_channels=9), "is an inpainting or editing model"),
        (lambda f: shutil.rmtree(f / "vae"), "has no vae that can be used"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "has no tokenizer"),
        (lambda f: (f / "unet" / "config.json").write_text("[]"), "unet/config.json of artist/other is not a configuration file"),
        (lambda f: [p.unlink() for p in (f / "unet").glob("d*") if p.name != "diffusion_pytorch_model.non_ema.safetensors"], "has no unet"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used_is_told_before_anything_is_downloaded(
    change: Callable[[Path], object], sentence: str, server: Hub, model: Path, tmp_path: Path
) -> None:
    server.repos["artist/other"] = changed(model, tmp_path / "other", change)
    with pytest.raises(ModelError, match="artist/other " if "of artist" not in sentence else "artist/other") as caught:
        hub_listing.look_up("artist/other")
    assert sentence in str(caught.value)
    assert not any("safetensors" in path for path in server.sent)


def test_a_repository_of_one_single_file_offers_it(server: Hub, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    file = single_files.write("sd1", tiny_models["sd1"], folder / "dreamy.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, folder / "a_lora.safetensors")
    server.repos["artist/single"] = folder
    found = hub_listing.look_up("artist/single")
    assert [f.path for f in found.files] == ["dreamy.safetensors"] and found.title == "SD 1.x"
    path = hub_download.download("artist/single")
    assert path.name == "dreamy.safetensors" and path.read_bytes() == file.read_bytes()
    assert preflight.base_path("artist/single") == path and families.detect(path).title == "SD 1.x"
    shutil.copy(file, folder / "later.safetensors")
    with pytest.raises(ModelError, match=r"holds 2 models: dreamy.safetensors, later.safetensors. Download the one"):
        hub_listing.look_up("artist/single")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["README.md", "a.png"], "holds no Stable Diffusion model: neither model_index.json nor a checkpoint, only README.md, a.png"),
        (["x_lora.safetensors"], "x_lora.safetensors is a LoRA, not a base model"),
        (["broken.safetensors"], "broken.safetensors of artist/odd is no .safetensors file that can be read"),
        (["a.ckpt", "b.ckpt"], "holds 2 files, none of which is known as a model: a.ckpt, b.ckpt"),
    ],
)  # fmt: skip
def test_a_repository_without_a_model_says_what_there_is(
    names: list[str], sentence: str, server: Hub, tmp_path: Path
) -> None:
    for name in names:
        if "lora" in name:
            save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(b"something of no use")
    server.repos["artist/odd"] = tmp_path
    with pytest.raises(ModelError) as caught:
        hub_listing.look_up("artist/odd")
    assert sentence in str(caught.value)


def test_names_of_files_from_the_hub_cannot_leave_the_folder(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [
        {"rfilename": p, "size": 1, "blobId": "a" * 40}
        for p in ("unet/../../x.json", "unet/..\\x.json", "unet/x:y.json")
    ]
    bad.append({"rfilename": "unet/fine.json", "size": 1, "blobId": "../../x"})
    known = hub_server.siblings
    monkeypatch.setattr(hub_server, "siblings", lambda folder: known(folder) + bad)
    paths = [file.path for file in hub_listing.look_up(NAME).files]
    assert not [p for p in paths if ".." in p or "\\" in p or ":" in p or "fine" in p]


# ---- sentences


@pytest.mark.parametrize(
    ("name", "token", "sentence"),
    [
        ("artist/nothing", "", "There is no artist/nothing on {url}, or it is private. Check the spelling"),
        ("artist/nothing", "", "If you mean a file or folder: there is none at {cwd}"),
        ("artist/nothing", "hf_good", "There is no artist/nothing on {url}, or it is private"),
        ("artist/private", "", "or it is private"),
        ("artist/gated", "", "artist/gated may be downloaded only by who has accepted its licence. Log in and accept it on {url}/artist/gated"),
        ("artist/tiny", "hf_weak", "{url}/artist/tiny refuses your token. Give it the right to read"),
    ],
)  # fmt: skip
def test_what_may_not_be_seen_is_a_sentence_with_what_to_do(
    name: str, token: str, sentence: str, server: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos |= {"artist/private": model, "artist/gated": model}
    server.private, server.gated = {"artist/private"}, {"artist/gated"}
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ModelError) as caught:
        hub_listing.look_up(name)
    assert sentence.format(url=server.url, cwd=Path("artist").absolute()) in str(caught.value)


@pytest.mark.parametrize(("status", "sentence"), [(503, "answered with error 503"), (429, "asks for a pause")])
def test_a_hub_in_trouble_is_a_sentence(status: int, sentence: str, server: Hub) -> None:
    server.answers = status
    with pytest.raises(ModelError, match=sentence):
        hub_listing.look_up(NAME)


def test_a_token_opens_gated_and_private_models(
    server: Hub, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos |= {"artist/closed": model}
    server.private, server.gated = {"artist/closed"}, {"artist/closed"}
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert hub_listing.look_up("artist/closed").gated
    monkeypatch.delenv("HF_TOKEN")
    home.mkdir(exist_ok=True)
    (home / "token").write_text("hf_good")  # as `hf auth login` keeps it
    server.tokens.clear()
    hub_download.download("artist/closed")
    assert set(server.tokens) == {"Bearer hf_good"}


def test_no_network_and_offline_mode_are_sentences(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9 cannot be reached \(.+\). Check the network"):
        hub_listing.look_up(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="was told to stay offline"):
        hub_listing.look_up(NAME)


def test_a_full_disk_is_told_before_and_during_a_download(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))
        with pytest.raises(ModelError, match=r"needs 0.0 GB more, but the disk of .* has only 0.0 GB free"):
            hub_download.download(NAME)
    assert not any("safetensors" in path for path in server.sent)

    def full(_self: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(hub_download._Partial, "sync", full)
    with pytest.raises(ModelError, match=r"is full\. What was downloaded is kept"):
        hub_download.download(NAME)


def test_a_folder_that_cannot_be_written_is_a_sentence(server: Hub, home: Path) -> None:
    home.mkdir()
    (home / "hub").write_text("in the way")
    with pytest.raises(ModelError, match=r"artist/tiny cannot be kept in .*models--artist--tiny"):
        hub_download.download(NAME)


# ---- downloads


def test_a_download_brings_the_files_and_tells_every_byte(server: Hub, model: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    path = hub_download.download(NAME, lambda *words: heard.append(words))
    total = hub_listing.look_up(NAME).total_bytes
    assert [n for _, n, _ in heard] == sorted(n for _, n, _ in heard)
    assert heard[-1] == (f"Downloading {NAME}", total, total) and len(heard) > 20
    for file in hub_listing.look_up(NAME).files:
        assert (path / file.path).read_bytes() == (model / file.path).read_bytes()
    assert hub.cached(NAME) == path and not list(path.parents[1].rglob("*.incomplete"))
    assert (path.parents[1] / "refs" / "main").read_text() == path.name


def test_other_programs_find_what_was_downloaded(server: Hub) -> None:
    from huggingface_hub import hf_hub_download, scan_cache_dir

    path = hub_download.download(NAME)
    file = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert hf_hub_download(NAME, file, local_files_only=True) == str(path / file)
    report = scan_cache_dir()
    assert [repo.repo_id for repo in report.repos] == [NAME] and not report.warnings


def test_a_cancelled_download_goes_on_where_it_stopped(server: Hub) -> None:
    listing = hub_listing.look_up(NAME)
    small = dict(server.sent)
    half = listing.total_bytes // 2
    with pytest.raises(Cancelled):
        hub_download.download(NAME, stop_after(half))
    assert hub.cached(NAME) is None
    seen = hub_listing.look_up(NAME)
    assert half <= seen.here_bytes < listing.total_bytes
    server.sent.clear()
    heard: list[int] = []
    hub_download.download(NAME, lambda _label, done, _total: heard.append(done))
    assert hub.cached(NAME) is not None
    assert server.bytes_sent == seen.missing_bytes + sum(small.values()), "and the two small files of a listing"
    assert heard == sorted(heard)


def test_a_bad_line_is_patched_up(server: Hub) -> None:
    server.drop_after, server.busy = [20_000, 50_000, 0], 1
    path = hub_download.download(NAME)
    listing = hub_listing.look_up(NAME)
    assert hub.cached(NAME) == path and server.drop_after == []
    assert sum((path / f.path).stat().st_size for f in listing.files) == listing.total_bytes


def test_a_line_that_stays_dead_is_a_sentence_and_keeps_what_there_is(server: Hub) -> None:
    server.drop_after = [50_000] + [0] * (hub_download.RETRIES + 1)
    with pytest.raises(ModelError, match="cannot be reached"):
        hub_download.download(NAME)
    kept = [p.stat().st_size for p in hub.folder_of(NAME).rglob("*.incomplete")]
    assert len(kept) == 1 and 0 < kept[0] <= 50_000
    hub_download.download(NAME)


def test_waiting_for_the_network_can_be_cancelled(server: Hub) -> None:
    server.busy = 99
    calls: list[int] = []

    def tell(_label: str, done: int, _total: int) -> None:
        calls.append(done)
        if len(calls) > 3 and calls[-1] == calls[-2] == calls[-3]:
            raise Cancelled

    with pytest.raises(Cancelled):
        hub_download.download(NAME, tell)


def test_a_server_that_cannot_resume_sends_the_file_anew(server: Hub) -> None:
    with pytest.raises(Cancelled):
        hub_download.download(NAME, stop_after(200_000))
    server.ignores_ranges = True
    path = hub_download.download(NAME)
    assert families.detect(path).title == "SD 1.x"


def test_damaged_files_are_never_kept(server: Hub) -> None:
    listing = hub_listing.look_up(NAME)
    server.damaged = True
    for file in listing.files[:3]:  # by git's hash, and by SHA-256
        with pytest.raises(
            ModelError, match=f"{file.path} of artist/tiny was damaged on its way and is removed. Try again"
        ):
            hub_download._fetch(listing, file, hub_download._Told(quiet, listing))
    assert [p for p in hub.folder_of(NAME).rglob("*") if p.is_file()] == []


def test_a_second_download_of_the_same_file_waits_no_longer_than_it_must(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    monkeypatch.setattr(hub_download, "LOCK_PATIENCE_S", 0.05)
    listing = hub_listing.look_up(NAME)
    lock = listing.folder.parent / ".locks" / listing.folder.name / f"{listing.files[0].oid}.lock"
    lock.parent.mkdir(parents=True)
    with WeakFileLock(lock), pytest.raises(ModelError, match="Another program is downloading artist/tiny now"):
        hub_download.download(NAME)


@pytest.mark.parametrize("hard", [True, False])
def test_without_symbolic_links_the_files_are_there_all_the_same(
    hard: bool, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "a privilege is needed")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if not hard:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = hub_download.download(NAME)
    assert not any(p.is_symlink() for p in path.rglob("*"))
    assert hub_listing.look_up(NAME).missing_bytes == 0 and families.detect(path).title == "SD 1.x"


def test_a_newer_version_brings_only_what_has_changed(server: Hub, model: Path, tmp_path: Path) -> None:
    old = hub_download.download(NAME)
    server.repos[NAME] = changed(
        model, tmp_path / "newer", lambda f: edit(f / "scheduler" / "scheduler_config.json", steps_offset=0)
    )
    server.commit, _ = "f" * 40, server.sent.clear()
    new = hub_download.download(NAME)
    assert new.name == "f" * 40 and hub.cached(NAME) == new and old.is_dir()
    assert set(server.sent) == {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"}


def test_a_version_that_another_program_left_unfinished_does_not_count(server: Hub) -> None:
    path = hub_download.download(NAME)
    shutil.copytree(path, path.with_name("e" * 40), symlinks=True)
    (path.parents[1] / "refs" / "main").write_text("e" * 40)
    assert hub.cached(NAME) == path.with_name("e" * 40)
    (path.with_name("e" * 40) / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    assert hub.cached(NAME) == path
    (path.parents[1] / "blobs" / os.path.basename(os.readlink(path / "model_index.json"))).unlink()
    assert hub.cached(NAME) is None


# ---- the name as a base model


def test_a_name_that_is_not_here_is_a_mistake_of_the_base(server: Hub, pictures: Path, tmp_path: Path) -> None:
    settings = settings_file.from_dict({"base": NAME, "data": str(pictures), "runs_folder": str(tmp_path)})
    ((field, error),) = preflight.look(settings).problems
    assert field == "base" and isinstance(error, ConfigError) and error.field == "base"
    assert "no model that was downloaded from Hugging Face yet" in str(
        error
    ) and "lora-atelier fetch artist/tiny" in str(error)
    assert server.requests == [], "nobody is asked"
    assert forecast.kind_of(NAME) == NAME


def test_run_and_file_keep_the_name_not_the_folder(server: Hub, pictures: Path, tmp_path: Path) -> None:
    hub_download.download(NAME)
    settings = settings_file.from_dict({"base": NAME, "data": str(pictures), "runs_folder": str(tmp_path / "runs")})
    assert preflight.look(settings).problems == ()
    folder = run_folder.create(settings)
    assert folder.settings().base == NAME and tomllib.loads(folder.settings_path.read_text())["base"] == NAME
    assert metadata.base_name(settings) == NAME
    assert settings_from_metadata({"ss_sd_model_name": NAME})["base"] == NAME
    assert "base" not in settings_from_metadata({"ss_sd_model_name": "mine.safetensors"})


# ---- the command


def test_fetch_then_train_offline(
    server: Hub, home: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched in a process of its own, which knows the server and the folder by the variables alone."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "fetch", NAME, "--yes", "--json"], cwd=ROOT, env=os.environ | server.environment(home),
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["type"], last["name"]) == (0, "done", NAME), done.stderr
    assert Path(last["path"]).is_relative_to(home)
    server.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = runs.make_run(Path(NAME), pictures, tmp_path / "runs", steps=2)
    preflight.check(folder.settings())
    events = runs.train(folder)
    assert len(runs.losses(events)) == 2 and server.requests == []
    (file,) = folder.export.glob("*.safetensors")
    said = lora_file.read_header(file).metadata
    assert said["ss_sd_model_name"] == NAME and folder.settings().base == NAME
    assert not [value for value in said.values() if str(home) in value]


@pytest.fixture
def fetch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(["fetch", *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


class Keyboard(io.StringIO):
    """Of a terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_downloaded_without_a_yes(server: Hub, fetch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = fetch(NAME)  # no terminal
    assert code == 1 and "SD 1.x, 512 px" in out and "creativeml-openrail-m" in out and "Add --yes" in err
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in out and str(hub.folder_of(NAME)) in out
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Keyboard(answer))
        code, out, _ = fetch(NAME)
        assert code == 1 and "Nothing was downloaded." in out
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, _ = fetch(NAME, "--json")
    assert code == 1 and "Add --yes" in json.loads(out)["message"]
    assert hub.cached(NAME) is None and not any("safetensors" in path for path in server.sent)
    monkeypatch.setattr(sys, "stdin", Keyboard("y\n"))
    code, out, _ = fetch(NAME)
    assert code == 0 and f"--base {NAME}" in out and hub.cached(NAME) is not None
    assert "all of it is here already" in fetch(NAME, "--look")[1]


def test_programs_can_look(server: Hub, fetch: Any) -> None:
    code, out, _ = fetch(f"{server.url}/{NAME}", "--look", "--json")
    said = json.loads(out)
    assert code == 0 and said["type"] == "done" and said["name"] == NAME and said["path"] == ""
    assert (
        said["missing_bytes"] == said["total_bytes"] == sum(f["size_bytes"] for f in said["files"]) < said["free_bytes"]
    )


def test_what_is_here_can_be_used_when_the_hub_cannot_be_asked(server: Hub, fetch: Any) -> None:
    path = hub_download.download(NAME)
    server.answers = 503
    code, out, _ = fetch(NAME, "--yes")
    assert code == 0 and str(path) in out and "Whether there is a newer version is not known" in out
    said = json.loads(fetch(NAME, "--look", "--json")[1])
    assert said["path"] == str(path)
    assert fetch("artist/other", "--yes")[0] == 1


def test_a_stopped_command_says_that_what_is_here_is_kept(
    server: Hub, fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub_download, "download", interrupted)
    code, _, err = fetch(NAME, "--yes")
    assert code == 130 and "is kept; the same command goes on from there" in err
