"""Batches that are made ready in a thread: the same numbers whoever makes them, errors as themselves, no thread left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch

from tests.runs import make_run
from trainer import diffusion, session
from trainer.batches import torch_seed
from trainer.families.backbone import Conditioning
from trainer.feed import Batch, Feed
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path


def batch_of(number: int, count: int = 5) -> Batch:
    """Numbers that tell which batch, and which picture of it, they belong to."""
    mark = torch.arange(count).float() + 10 * number
    latents = mark.view(-1, 1, 1, 1).expand(count, 4, 2, 2)
    told = Conditioning(mark.view(-1, 1, 1), mark.view(-1, 1))
    return Batch(
        latents, latents + 0.5, mark.long(), mark.view(-1, 1).expand(-1, 6), mark, latents[:, :1],
        tuple(f"text {int(m)}" for m in mark), told, count, number,
    )  # fmt: skip


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]


@pytest.mark.parametrize(("at_most", "sizes"), [(0, [5]), (1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (9, [5])])
def test_slices_hold_every_picture_once_with_all_that_belongs_to_it(at_most: int, sizes: list[int]) -> None:
    whole = batch_of(3)
    parts = list(whole.slices(at_most))
    assert [len(part) for part in parts] == sizes
    assert {part.whole for part in parts} == {5} and {part.seed for part in parts} == {3}
    for name in ("noisy", "target", "t", "size_ids", "weights", "mask"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)), name
    assert sum((part.texts for part in parts), ()) == whole.texts
    told = Conditioning.cat(part.told for part in parts if part.told)
    assert whole.told is not None and torch.equal(told.states, whole.told.states)
    assert told.pooled is not None and whole.told.pooled is not None and torch.equal(told.pooled, whole.told.pooled)


def test_a_batch_moves_with_everything_that_is_in_it() -> None:
    moved = batch_of(1).to(torch.device("meta"))
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert moved.told is not None and moved.told.pooled is not None
    assert {tensor.device.type for tensor in [*tensors, moved.told.states, moved.told.pooled]} == {"meta"}
    assert len(tensors) == 6 and moved.texts == batch_of(1).texts


def test_the_batch_after_is_made_while_this_one_is_used_and_none_after_the_last() -> None:
    made, second = [], threading.Event()

    def make(number: int) -> Batch:
        made.append((number, threading.current_thread() is threading.main_thread()))
        if number == 1:
            second.set()
        return batch_of(number)

    feed = Feed(make, end=3)
    assert feed.batch(0).seed == 0
    assert second.wait(10), "nobody asked for batch 1, but it should be on its way"
    assert [feed.batch(number).seed for number in (1, 2)] == [1, 2]
    feed.close()
    assert made == [(0, False), (1, False), (2, False)]


def test_any_batch_can_be_asked_for() -> None:
    feed = Feed(batch_of, end=100)
    assert [feed.batch(number).seed for number in (7, 8, 3, 3, 99, 0)] == [7, 8, 3, 3, 99, 0]
    feed.close()


def test_an_error_comes_as_itself_where_its_batch_is_asked_for_and_the_batch_can_be_made_again() -> None:
    troubles = {1: [OSError(28, "disk full")], 2: [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")]}

    def make(number: int) -> Batch:
        if troubles.get(number):
            raise troubles[number].pop(0)
        return batch_of(number)

    feed = Feed(make, end=4)
    feed.batch(0)  # batch 1 fails meanwhile, which is not batch 0's matter
    with pytest.raises(OSError, match="disk full"):
        feed.batch(1)
    assert feed.batch(1).seed == 1
    with pytest.raises(MemoryError):
        feed.batch(2)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA"):
        feed.batch(2)
    assert [feed.batch(number).seed for number in (2, 3)] == [2, 3]
    feed.close()


def test_the_thread_ends_when_the_feed_is_closed() -> None:
    before = feed_threads()
    feed = Feed(batch_of, end=10)
    feed.batch(0)
    assert len(feed_threads()) == len(before) + 1
    feed.close()
    assert feed_threads() == before


@pytest.mark.parametrize(
    "changes",
    [{}, {"noise_offset": 0.1}, {"multires_iterations": 4, "input_perturbation": 0.1, "timestep_min": 5}],
)
def test_a_generator_gives_the_numbers_of_the_global_seed_and_leaves_that_alone(changes: dict[str, float]) -> None:
    """Runs of earlier versions, which seeded torch itself, go on with the same noise."""
    settings, x0 = TrainingSettings(**changes), torch.zeros(3, 4, 8, 6)  # type: ignore[arg-type]
    torch.manual_seed(torch_seed(42, 7))
    before = diffusion.draw(x0, settings)
    state = torch.get_rng_state()
    now = diffusion.draw(x0, settings, torch.Generator().manual_seed(torch_seed(42, 7)))
    assert torch.equal(state, torch.get_rng_state())
    for name in ("noise", "input_noise", "t"):
        assert torch.equal(getattr(before, name), getattr(now, name)), name


def test_a_sessions_batches_are_those_of_their_number_ready_for_the_model(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = make_run(tiny_models["sdxl"], pictures, tmp_path, batch_size=2, precision="bf16", min_snr_gamma=5.0)
    made = session.prepare(folder, lambda event: None)
    again = session.prepare(folder, lambda event: None)
    first, other = made.feed.batch(2), again.feed.batch(2)
    assert torch.equal(first.noisy, other.noisy) and first.texts == other.texts
    assert first.noisy.dtype == torch.bfloat16 and first.target.dtype == torch.float32
    assert first.told is not None and first.told.states.dtype == torch.bfloat16 and first.told.pooled is not None
    views = made.batches.batch(2)
    assert first.texts == tuple(view.text for view in views) and len(first) == 2 == first.whole
    x0 = torch.stack([made.cache.latents(view.entry, view.mirrored) for view in views])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(torch_seed(42, 2)))
    assert torch.equal(first.target, noise)
    alpha = made.schedule.alpha_bar[first.t].view(-1, 1, 1, 1)
    assert torch.equal(first.noisy, (alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise).bfloat16())
    assert torch.equal(first.weights, diffusion.loss_weights(made.schedule, first.t, made.settings))
    for closing in (made, again):
        closing.feed.close()
    assert feed_threads() == []


def test_with_trained_text_encoders_the_texts_go_along_and_are_encoded_in_the_step(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    made = session.prepare(
        make_run(tiny_models["sd1"], pictures, tmp_path, train_text_encoder=True), lambda event: None
    )
    batch = made.feed.batch(0)
    made.feed.close()
    assert batch.told is None and batch.texts == tuple(view.text for view in made.batches.batch(0))
