"""The UNet's repeated transformer blocks, compiled for a GPU: all equal blocks share one graph, kept on disk for later runs.

Only these blocks are compiled ("regional" compilation), each in its own place in the plain model, so that compiling takes as
long as for one block of each width. Whatever fails there, at the first step or later, switches it off for all blocks; the
step goes on with the plain ones, whose numbers are the same up to rounding.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention import BasicTransformerBlock

from trainer.user_folders import user_cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_STEPS = 400  # compiling costs a minute or two; a shorter run would not win it back
_MOST_GRAPHS = (
    64  # widths of blocks, times sizes of pictures when those are compiled one by one; torch's own limit is 8
)


def wanted(setting: str, device: torch.device, steps: int) -> bool:
    """Whether to compile: "on" wherever torch can on a GPU, "auto" where it also pays. steps: still to be done."""
    if setting == "off" or device.type != "cuda":
        return False
    return setting == "on" or (steps >= LEAST_STEPS and importlib.util.find_spec("triton") is not None)


def compile_blocks(
    model: torch.nn.Module, warn: Callable[[str], None], *, sizes: int = 1, backend: str = "inductor"
) -> int:
    """Lets the model's transformer blocks be compiled when they first run with gradients; how many there are.

    warn: told in a sentence if it fails. sizes: how many sizes of pictures the run has; several share a graph.
    """
    _keep_on_disk()
    switch = _Switch(warn)
    blocks = [module for module in model.modules() if isinstance(module, BasicTransformerBlock)]
    for block in blocks:
        compiled = torch.compile(block.forward, backend=backend, dynamic=sizes > 1)
        block.forward = _Compiled(block.forward, compiled, switch)
    return len(blocks)


@dataclass
class _Switch:
    """One for all blocks."""

    warn: Callable[[str], None]
    is_on: bool = True

    def off(self, error: Exception) -> None:
        if self.is_on:
            self.is_on = False
            cause = getattr(error, "inner_exception", error)  # torch tells by which backend, and only then what
            reason = (str(cause).strip() or "no reason given").splitlines()[0]
            self.warn(
                f"Compiling the model's blocks failed ({type(cause).__name__}: {reason}); the run goes on without, "
                "a little slower. Set compile to off to skip the attempt."
            )


class _Compiled:
    """A block's forward: compiled in training, plain for previews, whose sizes would be further graphs."""

    def __init__(self, plain: Callable[..., Any], compiled: Callable[..., Any], switch: _Switch) -> None:
        self._plain, self._compiled, self._switch = plain, compiled, switch
        self._was_compiled = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._plain(*args, **options)
        if torch._C._current_graph_task_id() != -1:  # computed again on the way back: as it was on the way there
            return (self._compiled if self._was_compiled else self._plain)(*args, **options)
        self._was_compiled = self._switch.is_on
        if self._was_compiled:
            try:
                return self._compiled(*args, **options)
            except torch.OutOfMemoryError:
                raise  # no failure of compiling; the run has its own answer to it
            except Exception as error:  # compilers fail in any way; a plain block that fails too says so itself
                self._was_compiled = False
                self._switch.off(error)
        return self._plain(*args, **options)


def _keep_on_disk() -> None:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_folder() / "compiled"))
    import torch._dynamo
    import torch._functorch.config

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
    # The way back is compiled together with the way there: inside `_Compiled`, where a failure can still be answered.
    torch._functorch.config.force_non_lazy_backward_lowering = True
