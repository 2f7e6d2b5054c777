"""The number formats of weights, by the names that model files give them."""

from __future__ import annotations

import torch

# As in .safetensors headers, https://github.com/huggingface/safetensors#format; `trainer.lora_file.DTYPE_BYTES` has their sizes.
FLOATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
INTEGERS = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}
