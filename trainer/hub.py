"""Base models and captioners by their name on the Hugging Face Hub: which are here, and how the hub is asked. Imports no torch.

Where they are kept, from which server they come and with which token is up to huggingface_hub and its environment
variables (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE), so that other programs share what is here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import captioner_files, families
from trainer.errors import ModelError, os_message
from trainer.families.weight_files import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub.errors import HfHubHTTPError

_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_ADDRESS = re.compile(r"^(https?://[^/\s]+|(www\.)?(huggingface\.co|hf\.co|hf-mirror\.com))/", re.IGNORECASE)
_FILE_ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".zip", ".toml")
WEIGHT_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
ROOT_FILE = re.compile(r"\w[^/\\]*\.(safetensors|ckpt)", re.ASCII)


def name_in(text: str) -> str:
    """The name in what was typed or pasted, which may be the address of the model's page."""
    text = _ADDRESS.sub("", text.strip().strip("\"'")).split("?")[0].strip("/")
    parts = text.split("/")
    return "/".join(parts[:2]) if parts[2:3] in (["tree"], ["blob"], ["resolve"]) else text


def is_name(text: str) -> bool:
    """Whether it is owner/name as the hub knows it, and no file or folder that is here."""
    if not _NAME.fullmatch(text) or "--" in text or ".." in text or text.lower().endswith(_FILE_ENDINGS):
        return False
    return not text.endswith((".", "-", ".git")) and not Path(text).exists()


def folder_of(name: str) -> Path:
    """Where everything of a model is kept. It need not exist."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{name.replace('/', '--')}"


def page_of(name: str) -> str:
    """The address of its page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{name}"


def cached(name: str) -> Path | None:
    """The folder or single file of a model that is here as a whole, from wherever it was downloaded; no network."""
    folder = folder_of(name)
    try:
        snapshots = sorted((folder / "snapshots").iterdir(), key=lambda p: -p.stat().st_mtime)
    except OSError:
        return None
    main = ""
    with contextlib.suppress(OSError):  # who asked for a certain version keeps no note of the main one
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    snapshots.sort(key=lambda p: p.name != main)
    return next((found for snapshot in snapshots if (found := _whole(snapshot)) is not None), None)


def not_here(name: str) -> str:
    """The sentence for a model that must be downloaded first."""
    return (
        f'"{name}" is no file or folder here, and no model that was downloaded from Hugging Face yet. Download it in the '
        f"window, or with: lora-atelier fetch {name}"
    )


@contextlib.contextmanager
def sentences(name: str) -> Iterator[None]:
    """What goes wrong between here and the hub, as a sentence.

    Raises:
        ModelError: of anything that the user, the hub, the network or the disk can cause.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise ModelError(
            f"{name} cannot be looked up or downloaded: this program was told to stay offline (HF_HUB_OFFLINE or "
            "TRANSFORMERS_OFFLINE). Unset that variable and start it again."
        ) from None
    except HfHubHTTPError as error:
        raise ModelError(_answer(name, error)) from error
    except network_error() as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"{constants.ENDPOINT} cannot be reached ({reason}). Check the network and try again; where it is blocked, HF_ENDPOINT can name a mirror."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"The disk of {folder_of(name)} is full. What was downloaded is kept; free some space and try again."
            ) from error
        raise ModelError(os_message(f"{name} cannot be kept in {folder_of(name)}", error)) from error


@contextlib.contextmanager
def opened(name: str, commit: str, path: str, start: int = 0) -> Iterator[Any]:
    """The hub's answer to the wish for a file from byte `start` on, to be read as it comes (`iter_bytes`, `read`).

    Its `status_code` is not 206 when the server sends the file from its beginning all the same.
    """
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    # What is packed on its way cannot be asked for from the middle.
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    url, patience = hf_hub_url(name, path, revision=commit), constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=patience) as answer:
        hf_raise_for_status(answer)
        yield answer


def network_error() -> type[Exception]:
    """What the hub's client raises when there is no answer, whichever library it stands on."""
    from huggingface_hub.errors import HfHubHTTPError

    found = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    assert issubclass(found, Exception)
    return found


def _answer(name: str, error: HfHubHTTPError) -> str:
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import GatedRepoError

    status, page = error.response.status_code, page_of(name)
    token_page = f"{constants.ENDPOINT}/settings/tokens"
    if isinstance(error, GatedRepoError):
        return (
            f"{name} may be downloaded only by who has accepted its licence. Log in and accept it on {page}, make a token "
            f"on {token_page}, and give it with the command hf auth login or as HF_TOKEN; then try again."
        )
    if status == 401 and get_token() is not None:
        return (
            f"There is no {name} on {constants.ENDPOINT} that your token may see. Check the spelling on {page}; if it is "
            f"right, make a new token on {token_page} and give it with hf auth login or as HF_TOKEN."
        )
    if status in (401, 404):
        return (
            f"There is no {name} on {constants.ENDPOINT}, or it is private. Check the spelling; for a private model give a "
            f"token with hf auth login or as HF_TOKEN. If you mean a file or folder: there is none at {Path(name).absolute()}."
        )
    if status == 403:
        return (
            f"{page} refuses your token. Give it the right to read this model (for a fine-grained token: also gated "
            f"repositories) on {token_page}; then try again."
        )
    if status == 429:
        return f"{constants.ENDPOINT} asks for a pause, as too much was asked of it. Try again in a few minutes."
    return f"{constants.ENDPOINT} answered with error {status} for {name}. Try again later."


def _whole(snapshot: Path) -> Path | None:
    """A version's folder, or its single file, if nothing of it is missing."""
    try:
        names = [p.name for p in snapshot.iterdir() if p.is_file()]
        if "model_index.json" not in names:
            if captioner_files.is_whole(snapshot):
                return snapshot
            found = [n for n in names if ROOT_FILE.fullmatch(n)]
            return snapshot / found[0] if len(found) == 1 else None
        index = json.loads((snapshot / "model_index.json").read_text(encoding="utf-8"))
        for part in families.parts_of(index, snapshot.name):
            inside = [p.name for p in (snapshot / part).iterdir() if p.is_file()]
            if not inside or (part in WEIGHT_PARTS and choose(inside) is None):
                return None
    except ModelError:  # of another kind, which is told when it is used
        return snapshot
    except (OSError, ValueError, AttributeError):
        return None
    return snapshot
