"""What a download from the Hugging Face Hub would bring: the files of a model or captioner that are needed. Imports no torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import captioner_files, families, hub
from trainer.errors import ModelError
from trainer.families.headers import identify_header
from trainer.families.weight_files import choose, is_index
from trainer.hub import ROOT_FILE, WEIGHT_PARTS, page_of
from trainer.lora_file import Header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from huggingface_hub import ModelInfo

_PLAIN_FILE = re.compile(r"[\w-][\w.-]*\.(json|txt)", re.ASCII)
_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_EXAMINED = 8  # so many single files of a repository are looked into
_SHOWN = 6  # so many are named in a message


@dataclass(frozen=True)
class HubFile:
    """A file to download. path: inside the repository; oid: SHA-256 of its bytes, or git's SHA-1 of a small file."""

    path: str
    size_bytes: int
    oid: str


@dataclass(frozen=True)
class Listing:
    """What a download brings. title: of the family or kind of captioner, empty if unknown yet; resolution: 0 of captioners.

    folder: where it is kept; here_bytes: of it already.

    commit: of the repository; licence: its short name, may be empty; gated: its owner wants a licence accepted.
    """

    name: str
    commit: str
    files: tuple[HubFile, ...]
    title: str
    resolution: int
    licence: str
    gated: bool
    folder: Path
    here_bytes: int

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """Still to be downloaded."""
        return self.total_bytes - self.here_bytes


def look_up(name: str) -> Listing:
    """What training needs of a base model, or the app of a captioner, asked of the hub; only a few kilobytes are transferred.

    Raises:
        ModelError: there is no such model, it cannot be used, or the hub cannot be asked.
    """
    from huggingface_hub import HfApi, constants

    if not hub.is_name(name):
        raise ModelError(f'"{name}" is no name of a model on Hugging Face; it should look like owner/name.')
    family: families.Family | None
    with hub.sentences(name):
        info = HfApi().model_info(name, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        files = _files(info, name)
        title = ""
        if captioner := _captioner(files, str(info.sha), name):
            wanted, title, family = *captioner, None
        elif "model_index.json" in files:
            index = _read_json(name, str(info.sha), "model_index.json")
            wanted = _parts(files, index, name)
            unet = _read_json(name, str(info.sha), "unet/config.json")
            family = families.family_of(index, unet, name)
        else:
            file, family = _single_file(files, info, name)
            wanted = [file]
    licence = next((tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:")), "")
    folder = hub.folder_of(name)
    here = sum(_bytes_here(folder, str(info.sha), file) for file in wanted)
    return Listing(
        name, str(info.sha), tuple(wanted), family.title if family else title, family.resolution if family else 0, licence,
        bool(info.gated), folder, here,
    )  # fmt: skip


def _files(info: ModelInfo, name: str) -> dict[str, HubFile]:
    """The repository's files by path."""
    out = {}
    for found in info.siblings or ():
        oid, size = (found.lfs.sha256, found.lfs.size) if found.lfs else (found.blob_id, found.size)
        if oid is not None and size is not None and _OID.fullmatch(oid):
            out[found.rfilename] = HubFile(found.rfilename, size, oid)
    if (info.siblings and not out) or not _OID.fullmatch(str(info.sha)):
        raise ModelError(f"The answer for {page_of(name)} tells no sizes of files. Try another HF_ENDPOINT, or none.")
    return out


def _captioner(files: Mapping[str, HubFile], commit: str, name: str) -> tuple[list[HubFile], str] | None:
    """The files of a captioner and its kind; None when the repository holds something else."""
    if "model_index.json" in files:
        return None
    config = _read_json(name, commit, "config.json") if "config.json" in files else None
    kind = captioner_files.kind_in(files, config)
    if kind is None:
        return None
    wanted = captioner_files.wanted(files, config)
    if wanted is None:
        raise ModelError(
            f"{name} is a {kind.title} in a format that this program does not read. Choose another, e.g. "
            f"{captioner_files.EXAMPLES[kind.id]}; see {page_of(name)}."
        )
    return [files[path] for path in wanted], kind.title


def _parts(files: Mapping[str, HubFile], index: Mapping[str, Any], name: str) -> list[HubFile]:
    """Of a diffusers model: the index, and of each part the configuration and one set of weights."""
    out = [files["model_index.json"]]
    for part in families.parts_of(index, name):
        names = [p.removeprefix(f"{part}/") for p in files if p.startswith(f"{part}/") and p.count("/") == 1]
        chosen = [n for n in names if _PLAIN_FILE.fullmatch(n) and not is_index(n)]
        if part in WEIGHT_PARTS:
            weights = choose(names, small=True)
            if weights is None or "config.json" not in names:
                raise ModelError(f"{name} has no {part} that can be used. Choose another model; see {page_of(name)}.")
            chosen += weights.files
        elif not chosen:
            raise ModelError(f"{name} has no {part}. Choose another model; see {page_of(name)}.")
        out += [files[f"{part}/{n}"] for n in chosen]
    return out


def _single_file(files: Mapping[str, HubFile], info: ModelInfo, name: str) -> tuple[HubFile, families.Family | None]:
    """The one checkpoint in the original layout; its family is not known of a .ckpt, which must be here to be read."""
    found = [file for path, file in files.items() if ROOT_FILE.fullmatch(path)]
    safe = [file for file in found if file.path.endswith(".safetensors")]
    if not found:
        raise ModelError(
            f"{name} holds no Stable Diffusion model: neither model_index.json nor a checkpoint, only {_named(list(files))}."
        )
    if not safe and len(found) == 1:
        return found[0], None
    seen = [(file, _identity(file, str(info.sha), name)) for file in safe[:_EXAMINED]]
    fitting = [(file, identity.family) for file, identity in seen if identity.kind == "base"]
    if len(fitting) == 1:
        return fitting[0][0], families.FAMILIES[fitting[0][1]]
    if len(seen) == 1:
        raise ModelError(f"{name}: {seen[0][1].sentence}")
    what = f"{len(fitting)} models" if fitting else f"{len(found)} files, none of which is known as a model"
    raise ModelError(
        f"{name} is no diffusers model but holds {what}: {_named([f.path for f, _ in fitting] or [f.path for f in found])}. "
        f"Download the one that you want from {page_of(name)} and choose the file."
    )


def _identity(file: HubFile, commit: str, name: str) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        said = HfApi().parse_safetensors_file_metadata(name, file.path, revision=commit)
    except (SafetensorsParsingError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file.path} of {name} is no .safetensors file that can be read ({error}).") from None
    shapes = {key: tuple(tensor.shape) for key, tensor in said.tensors.items()}
    dtypes = {key: str(tensor.dtype) for key, tensor in said.tensors.items()}
    return identify_header(Header(said.metadata, shapes, dtypes, 0), file.path, file.size_bytes)


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (", ".join(paths[:_SHOWN]) + more) or "nothing"


def _read_json(name: str, commit: str, path: str) -> dict[str, Any]:
    """A small configuration file, straight from the hub."""
    with hub.opened(name, commit, path) as answer:
        content = answer.read()
    try:
        values = json.loads(content)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ModelError(f"{path} of {name} is not a configuration file. Choose another model; see {page_of(name)}.")
    return values


def _bytes_here(folder: Path, commit: str, file: HubFile) -> int:
    """How much of a file is here: all of it, or what an earlier download left."""
    if (folder / "blobs" / file.oid).is_file() or (folder / "snapshots" / commit / file.path).is_file():
        return file.size_bytes
    try:
        return min(file.size_bytes, partial_of(folder, file).stat().st_size)
    except OSError:
        return 0


def partial_of(folder: Path, file: HubFile) -> Path:
    """Where a file grows while it is downloaded."""
    return folder / "blobs" / f"{file.oid}.incomplete"
