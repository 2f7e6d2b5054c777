"""Frozen blocks in the computer's memory, each fetched to a small GPU when its turn comes, forwards and backwards.

The UNet's transformer blocks and residual blocks take turns. When one begins, those that are done are released, and the next
one's weights are already on their way beside the arithmetic, so that two blocks are there at a time; the rest of the model
(less than a tenth) and all adapters stay on the GPU.

A block's tensors stay the same tensors: only their storage is emptied and filled again, so whatever autograd keeps of them
for the way back, views too, has its numbers again when it is needed. The way back is told by a gate behind each block:
autograd passes it before anything in the block.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D

if TYPE_CHECKING:
    from collections.abc import Iterable

_TURNS = (BasicTransformerBlock, ResnetBlock2D)


@dataclass(eq=False, repr=False)  # printing an emptied tensor would crash
class Block:
    """A block that comes and goes.

    Attributes:
        homes: its frozen numbers in the computer's memory, and the tensor that takes each on the device.
        ready: an event on the device after which they are there; None where copies are done at once.
        before, after: its neighbours in the order in which the blocks last ran.
    """

    homes: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    is_there: bool = False
    ready: torch.cuda.Event | None = None
    before: Block | None = None
    after: Block | None = None

    @property
    def bytes(self) -> int:
        """What it takes on the device while it is there."""
        return sum(home.nbytes for home, _ in self.homes)


class Offload:
    """A model whose blocks come and go. Made after the adapters, with the model in the computer's memory.

    Attributes:
        blocks: in the order of the model's modules.
        there: those on the device now.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.device = device
        self.blocks: list[Block] = []
        self.there: list[Block] = []
        self._current: Block | None = None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        for module in model.modules():
            if isinstance(module, _TURNS):
                self._take(module)
        _move_rest(model, device, {id(tensor) for block in self.blocks for _, tensor in block.homes})

    @property
    def bytes_there(self) -> int:
        """What the blocks take on the device now."""
        return sum(block.bytes for block in self.there)

    def _take(self, module: torch.nn.Module) -> None:
        block = Block()
        for tensor in _frozen(module):
            home = tensor.detach()
            if self._copies is not None:
                home = home.pin_memory()
            tensor.data = torch.empty_like(home, device=self.device)
            tensor.data.untyped_storage().resize_(0)
            block.homes.append((home, tensor))
        self.blocks.append(block)

        def begin(module: torch.nn.Module, *inputs: Any) -> None:
            self._begin(block)

        def end(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            gated: torch.Tensor = _Gate.apply(output, self, block)  # type: ignore[no-untyped-call]
            return gated

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)

    # Turns

    def _begin(self, block: Block) -> None:
        """The block's forward pass begins."""
        if (
            torch._C._current_graph_task_id() != -1
        ):  # a checkpointed block is computed again, in the midst of the way back
            self._fetch(block)
            return
        if self._current is not None and self._current is not block:
            self._current.after, block.before = block, self._current
        self._turn(block, block.after)

    def turn_back(self, block: Block) -> None:
        """Its backward pass begins."""
        self._turn(block, block.before)

    def _turn(self, block: Block, following: Block | None) -> None:
        self._current = block
        for other in list(self.there):
            if other is not block and other is not following:
                self._release(other)
        self._fetch(block)
        if following is not None:
            self._send(following)

    # Copies

    def _fetch(self, block: Block) -> None:
        self._send(block)
        if block.ready is not None:
            torch.cuda.current_stream(self.device).wait_event(block.ready)

    def _send(self, block: Block) -> None:
        """Lets the copies begin; on a stream of their own where there is one, which owns the memory too."""
        if block.is_there:
            return
        with torch.cuda.stream(self._copies) if self._copies is not None else contextlib.nullcontext():
            for home, tensor in block.homes:
                tensor.data.untyped_storage().resize_(home.nbytes)
                tensor.data.copy_(home, non_blocking=True)
            block.ready = None if self._copies is None else self._copies.record_event()
        block.is_there = True
        self.there.append(block)

    def _release(self, block: Block) -> None:
        """Gives its memory to the next copy, which waits until the arithmetic is done with it. The host waits for nothing."""
        if self._copies is not None:
            self._copies.wait_stream(torch.cuda.current_stream(self.device))
        for _, tensor in block.homes:
            tensor.data.untyped_storage().resize_(0)
        block.is_there = False
        self.there.remove(block)


class _Gate(torch.autograd.Function):
    """Nothing, but on the way back it says that its block's turn has come."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, offload: Offload, block: Block) -> torch.Tensor:
        ctx.offload, ctx.block = offload, block
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        ctx.offload.turn_back(ctx.block)
        return gradient, None, None


def unavailable(device: torch.device) -> str:
    """Why blocks cannot be offloaded from this device, as a sentence; empty when they can."""
    if device.type == "cuda":
        return ""
    shared = (
        "the CPU computes where the weights already are"
        if device.type == "cpu"
        else "this GPU shares the computer's memory"
    )
    return f"Offload has no effect: {shared}."


def _frozen(module: torch.nn.Module) -> Iterable[torch.Tensor]:
    """What of the module never changes; of quantised layers the codes are buffers."""
    yield from (p for p in module.parameters() if not p.requires_grad)
    yield from module.buffers()


def _move_rest(model: torch.nn.Module, device: torch.device, taken: set[int]) -> None:
    """Moves everything else to the device; parameters stay the same objects."""
    for module in model.modules():
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            if id(tensor) not in taken:
                tensor.data = tensor.data.to(device)
