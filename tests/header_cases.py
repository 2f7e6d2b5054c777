"""Files that no program wrote: damaged ones, lying ones and invented ones, for the readers of headers to refuse in a sentence."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from trainer import lora_kinds
from trainer.errors import ModelError
from trainer.families import headers
from trainer.families.torch_file import is_torch_file, read_torch_header
from trainer.lora_file import MAX_HEADER_BYTES, read_header

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
KEYS = (
    f"{STEM}.lora_down.weight", f"{STEM}.lora_up.weight", f"{STEM}.alpha", f"{STEM}.dora_scale", f"{STEM}.lora_mid.weight", f"{STEM}.hada_w1_a",
    "unet.mid_block.attentions.0.proj_in.lora_A.weight", "unet.mid_block.attentions.0.proj_in.lora_B.default.weight", "unet.down_blocks.x.resnets.y.conv1.lora_A.weight",
    "base_model.model.down_blocks.99999999999999999999.resnets.0.conv1.lora_B.weight", "clip_g.text_model.encoder.layers.0.mlp.fc1.alpha", "lora_.lora_down.weight", ".lora_up.weight",
    "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.input_blocks.1.1.proj_in.weight", "model.diffusion_model.label_emb.0.0.weight", "model.diffusion_model.input_blocks..",
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight", "cond_stage_model.model.positional_embedding", "first_stage_model.encoder.down.0.block.0.conv1.weight",
    "first_stage_model.decoder.conv_in.weight", "emb_params", "clip_l", "bundle_emb.", "bundle_emb", "v_pred", "model_ema.x", "string_to_param.*", "", ".", "\0", "x" * 5000, "é",
    "lora_" + "_" * 3000, ".lora_A" * 300, "base_model.model." * 200 + "x.lora_A.weight", "lora_unet_" + "a_" * 2000 + ".lora_down.weight",
)  # fmt: skip
DTYPES = ("F16", "F32", "BF16", "I64", "F8_E4M3", "F4", "", "f16", None, 3, [], {})
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    77,
    320,
    768,
    1024,
    2048,
    -1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    10**300,
    1.0,
    1e308,
    True,
    None,
    "4",
    [],
    {},
)
TEXTS = (
    "",
    "True",
    "sdxl_base_v1-0",
    "{",
    "[" * 3000,
    '{"a": 1}',
    '{"name": "ai-toolkit"}',
    "\x1b[2J",
    "9" * 5000,
    "é" * 400,
    "stable-diffusion-v1/lora",
)
METADATA = ("ss_base_model_version", "ss_v2", "modelspec.architecture", "ss_tag_frequency", "software", "ss_network_module", "ot_branch", "lora_adapter_metadata", "modelspec.prediction_type", "x")  # fmt: skip


def real_files() -> list[bytes]:
    """What safetensors and torch themselves write: LoRAs, a bit of a checkpoint, an embedding."""
    half = torch.float16
    lora = {f"{STEM}.lora_down.weight": torch.ones(2, 768, dtype=half), f"{STEM}.lora_up.weight": torch.ones(4, 2, dtype=half), f"{STEM}.alpha": torch.tensor(1.0)}  # fmt: skip
    checkpoint = {key: torch.zeros(2, 4, 1, 1, dtype=half) for key in KEYS if key.startswith(("model.diffusion", "first_", "cond_"))}  # fmt: skip
    said = {key: text for key, text in zip(METADATA, TEXTS, strict=False) if text.isprintable()}
    files = [safetensors.torch.save(lora, said), safetensors.torch.save(checkpoint), safetensors.torch.save({"emb_params": torch.ones(1, 768)})]  # fmt: skip
    embedding = {"string_to_param": {"*": torch.ones(1, 8)}, "step": 3, "name": "x"}
    for content in (lora, {"state_dict": checkpoint, "callbacks": [(1, {2})]}, embedding, {768: [lora, lora]}):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            files.append(file.getvalue())
    return files


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """A real file with some bytes changed, cut off, doubled or put elsewhere; mostly in its header."""
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        near = min(len(out), 1500 if rng.random() < 0.8 else len(out))
        at = rng.randrange(max(1, near))
        what = rng.random()
        if what < 0.45 and out:
            out[at : at + 1] = bytes([rng.choice(b'"{}[]:,0123456789-eE.\\u \x00\xff\x80c(tQRqhX') if rng.random() < 0.6 else rng.randrange(256)])  # fmt: skip
        elif what < 0.6:
            out[at : at + rng.randrange(1, 30)] = b""
        elif what < 0.7:
            out[at:at] = out[at : at + rng.randrange(1, 60)]
        elif what < 0.8:
            del out[at:]
        elif what < 0.9:
            out[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**16, 9_000_000_000, 2**63, 2**64 - 1, len(out))))
        else:
            out[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 255, 2**31 - 1, 2**32 - 1)))
    return bytes(out)


def lying(rng: random.Random) -> bytes:
    """A .safetensors file whose header is well-formed JSON (mostly) and says what it likes."""
    table: dict[str, Any] = {}
    end = 0
    for _ in range(rng.randrange(0, 8)):
        key = rng.choice(KEYS) if rng.random() < 0.9 else "".join(chr(rng.randrange(1, 0x3000)) for _ in range(9))
        shape: Any = [rng.choice((1, 2, 4, 768, 1024, 2048)) for _ in range(rng.choice((0, 1, 2, 2, 2, 4)))]
        count = 1
        for n in shape:
            count *= n
        span: Any = [end, end + 2 * count]
        dtype: Any = "F16"
        end = span[1]
        if rng.random() < 0.25:  # one thing is wrong
            shape, dtype, span = _one_wrong(rng, shape, dtype, span)
        table[key] = {"dtype": dtype, "shape": shape, "data_offsets": span}
        if rng.random() < 0.03:
            table[key] = rng.choice((None, [], {}, 3, "x", {"shape": []}))
    if rng.random() < 0.5:
        table["__metadata__"] = {rng.choice(METADATA): rng.choice(TEXTS) for _ in range(rng.randrange(5))}
        if rng.random() < 0.1:
            table["__metadata__"] = rng.choice(([], "x", 3, {"a": 1}, {"a": None}, {"a": {}}))
    raw = json.dumps(table, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        raw = rng.choice((b"[" * 30_000, b'{"a":' * 9000, raw + b" " * 99, b" " + raw, raw.decode().encode("utf-16"), raw.replace(b'"a', b'"\\ud800'), b"{" + raw[1:-1] + b"," + raw[1:]))  # fmt: skip
    length = rng.choice((0, 1, 9_000_000_000, 2**64 - 1, MAX_HEADER_BYTES, len(raw) - 1)) if rng.random() < 0.05 else len(raw)  # fmt: skip
    data = bytes(min(end, 4096)) if end <= 4096 and rng.random() < 0.9 else bytes(rng.randrange(64))
    return max(0, length).to_bytes(8, "little") + raw + data


def _one_wrong(rng: random.Random, shape: Any, dtype: Any, span: Any) -> tuple[Any, Any, Any]:
    match rng.randrange(5):
        case 0:
            dtype = rng.choice(DTYPES)
        case 1:
            shape = rng.choice((None, "22", 4, {}, [rng.choice(NUMBERS) for _ in range(rng.randrange(4))], [2**62] * rng.choice((3, 2000))))  # fmt: skip
        case 2:
            span = rng.choice((None, [], [1], [0, 1, 2], "x", [rng.choice(NUMBERS), rng.choice(NUMBERS)]))
        case 3:
            span = [span[0] + rng.choice((-8, 8)), span[1]]
        case _:
            shape = [*shape, rng.choice(NUMBERS)]
    return shape, dtype, span


OPCODES = [op.encode() if isinstance(op, str) else op for op in (
    pickle.MARK, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.SETITEM, pickle.SETITEMS,
    pickle.APPEND, pickle.APPENDS, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.BINPERSID, pickle.DUP, pickle.POP, pickle.POP_MARK,
    pickle.MEMOIZE, pickle.NONE, pickle.NEWTRUE, pickle.DICT, pickle.LIST, pickle.STACK_GLOBAL, pickle.FROZENSET, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.STOP,
)]  # fmt: skip
ARGUMENTS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda r: pickle.BINPUT + bytes([r.randrange(4)]), lambda r: pickle.BINGET + bytes([r.randrange(4)]), lambda r: pickle.BININT1 + bytes([r.randrange(256)]),
    lambda r: pickle.BINUNICODE + struct.pack("<I", 7) + b"storage", lambda r: pickle.BINUNICODE + struct.pack("<I", r.choice((2**31, 2**32 - 1, 3))) + b"abc",
    lambda r: pickle.BINUNICODE8 + struct.pack("<Q", r.choice((9_000_000_000, 2**62, 3))) + b"abc", lambda r: pickle.BINBYTES8 + struct.pack("<Q", r.choice((9_000_000_000, 2**62, 3))) + b"abc",
    lambda r: pickle.BYTEARRAY8 + struct.pack("<Q", r.choice((9_000_000_000, 2**62, 3))) + b"abc", lambda r: pickle.LONG4 + struct.pack("<i", r.choice((2**31 - 1, -1, 3))) + b"abc", lambda r: pickle.FRAME + struct.pack("<Q", 2**60),
    lambda r: pickle.GLOBAL + r.choice((b"torch._utils\n_rebuild_tensor_v2\n", b"torch\nFloatStorage\n", b"collections\nOrderedDict\n", b"os\nsystem\n", b"a\\q\nb\n")),
    lambda r: pickle.INT + r.choice((b"1", b"9" * 5000, b"x")) + b"\n", lambda r: pickle.LONG + b"12L\n", lambda r: pickle.STRING + r.choice((b"'a'", b"'a\\q'", b"a")) + b"\n",
    lambda r: pickle.UNICODE + b"\\ud800\n", lambda r: pickle.FLOAT + b"1e999\n", lambda r: pickle.EXT1 + b"\x01", lambda r: pickle.PERSID + b"x\n", lambda r: pickle.INST + b"os\nsystem\n",
)  # fmt: skip


def invented(rng: random.Random) -> bytes:
    """A checkpoint of torch around a pickle of arbitrary instructions."""
    steps = [
        rng.choice(OPCODES) if rng.random() < 0.6 else rng.choice(ARGUMENTS)(rng) for _ in range(rng.randrange(60))
    ]
    if rng.random() < 0.1:  # tuples of tuples: as text they would fill the memory
        steps = [pickle.EMPTY_TUPLE, *[pickle.DUP + pickle.TUPLE2] * 200, *steps]
    body = b"\x80\x02" + b"".join(steps) + pickle.STOP
    if rng.random() < 0.3:
        magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        return magic + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + body + pickle.dumps(["0"], 2) + rng.randbytes(16)
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        archive.writestr("a/data.pkl", body)
        archive.writestr("a/data/0", bytes(64))
    raw = file.getvalue()
    return damaged(rng, raw) if rng.random() < 0.3 else raw


def case(rng: random.Random, real: list[bytes]) -> tuple[str, bytes]:
    """One file, and how it was made."""
    what = rng.random()
    if what < 0.4:
        return "damaged", damaged(rng, rng.choice(real))
    return ("lying", lying(rng)) if what < 0.75 else ("invented", invented(rng))


def read_all(path: Path) -> str:
    """Reads a file in every way that there is: "read" or "refused"; any other error than a sentence comes through."""
    outcome = "refused"
    for read in (read_header, read_torch_header if is_torch_file(path) else read_header):
        try:
            header = read(path)
        except ModelError as error:
            _check_sentence(str(error), path)
            continue
        outcome, size = "read", path.stat().st_size
        assert all(0 <= start <= stop <= size for start, stop in header.spans.values())
        assert header.shapes.keys() == header.dtypes.keys() == header.spans.keys()
        _check_sentence(headers.identify_header(header, path.name, size).sentence, path)
        _check_sentence(lora_kinds.identify_header(header, path.name, size).sentence, path)
    return outcome


def _check_sentence(text: str, path: Path) -> None:
    assert path.name in text or text.endswith(("GB", "VAE", "aside")), text
    assert len(text) < 700 and text.count("\n") == 0, text
    text.encode()
