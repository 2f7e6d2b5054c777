"""Every optimizer learns and goes on exactly after an interruption; learning rates rise and fall as they should."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer import optim
from trainer.checkpoint import _packed, _unpacked
from trainer.settings import TrainingSettings

CPU = torch.device("cpu")
# Rates that suit a quadratic with gradients around 1, and how many steps that optimizer may take to halve the loss.
RATES = {"adamw": 0.05, "adamw8bit": 0.05, "lion": 0.02, "lion8bit": 0.02, "adafactor": 0.05, "prodigy": 1.0}
STEPS = {"prodigy": 400}


def goals() -> list[torch.Tensor]:
    """A matrix, large enough that the 8-bit optimizers really keep 8 bits (from 4096 numbers on), and a vector."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(64, 64, generator=generator), torch.randn(8, generator=generator)]


class Quadratic:
    """sum (p - goal)^2, its parameters in two groups as those of a UNet and a text encoder."""

    def __init__(self, optimizer: str, *, start: list[torch.Tensor] | None = None, **settings: Any) -> None:
        self.parameters = [p.detach().clone().requires_grad_() for p in start or map(torch.zeros_like, goals())]
        self.settings = TrainingSettings(optimizer=optimizer, weight_decay=0, **settings)
        names = ("unet", "text_encoder")
        groups = [
            {"params": [p], "lr": RATES[optimizer], "part": n} for p, n in zip(self.parameters, names, strict=True)
        ]
        self.optimizer, self.warning = optim.build(self.settings, groups, CPU)

    def loss(self) -> torch.Tensor:
        return torch.stack([(p - g).square().sum() for p, g in zip(self.parameters, goals(), strict=True)]).sum()

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.loss().backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def test_the_tables_hold_exactly_what_the_settings_offer() -> None:
    fields = TrainingSettings.model_fields
    assert set(optim.OPTIMIZERS) == set(get_args(fields["optimizer"].annotation)) == set(RATES)
    assert set(optim.SCHEDULES) == set(get_args(fields["schedule"].annotation))


# Optimizers


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_optimizer_reduces_a_quadratic(name: str) -> None:
    problem = Quadratic(name)
    before = float(problem.loss().detach())
    problem.step(STEPS.get(name, 60))
    assert float(problem.loss().detach()) < before / 2
    assert problem.warning == ""


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_optimizer_goes_on_bit_for_bit_after_its_state_was_saved_as_json_and_tensors(name: str) -> None:
    unbroken = Quadratic(name)
    unbroken.step(7)
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_packed(unbroken.optimizer.state_dict(), "optimizer", tensors))
    assert tensors, "an optimizer without moments would prove nothing"
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # as the file holds them

    resumed = Quadratic(name, start=unbroken.parameters)
    resumed.optimizer.load_state_dict(_unpacked(json.loads(text), tensors))
    unbroken.step(5)
    resumed.step(5)
    for a, b in zip(unbroken.parameters, resumed.parameters, strict=True):
        assert torch.equal(a, b)

    forgetful = Quadratic(name, start=resumed.parameters)
    resumed.step()
    forgetful.step()
    assert not torch.equal(resumed.parameters[0], forgetful.parameters[0]), "the state makes no difference"


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_weight_decay_reaches_the_optimizer(name: str) -> None:
    groups = [{"params": [torch.zeros(3, requires_grad=True)], "lr": 1.0, "part": "unet"}]
    optimizer, _ = optim.build(TrainingSettings(optimizer=name, weight_decay=0.25), groups, CPU)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.25]


@pytest.mark.parametrize("name", ["adamw8bit", "lion8bit"])
def test_8_bit_optimizers_keep_8_bit_moments(name: str) -> None:
    problem = Quadratic(name)
    problem.step()
    assert problem.optimizer.state[problem.parameters[0]]["state1"].dtype is torch.uint8


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_without_bitsandbytes_the_plain_optimizer_is_taken_and_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim.devices, "missing_bitsandbytes", lambda device: "bitsandbytes is not installed.")
    problem, plain = Quadratic(name), Quadratic(name.removesuffix("8bit"))
    assert type(problem.optimizer) is type(plain.optimizer)
    if name.endswith("8bit"):
        assert problem.warning == (
            f"bitsandbytes is not installed. The plain {name.removesuffix('8bit')} optimizer is used instead; "
            "it needs a little more memory."
        )
        problem.step(3)
    else:
        assert problem.warning == ""


def test_prodigy_takes_one_rate_for_all_parts_and_says_so() -> None:
    """prodigyopt raises in its first step when groups have different rates."""
    parameters = [torch.ones(3, requires_grad=True) for _ in range(3)]
    rates = {"unet": 1.0, "text_encoder": 1e-5, "text_encoder_2": 0.0}
    groups = [{"params": [p], "lr": r, "part": n} for p, (n, r) in zip(parameters, rates.items(), strict=True)]
    optimizer, warning = optim.build(TrainingSettings(optimizer="prodigy", learning_rate=1), groups, CPU)
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 1.0, 0.0]
    assert warning == "Prodigy has one learning rate for all parts, so 1 is used for text encoder too."
    torch.stack([p.square().sum() for p in parameters]).sum().backward()
    optimizer.step()
    assert parameters[1].lt(1).all()


# Learning rates


def factors(total: int, **settings: Any) -> list[float]:
    chosen = TrainingSettings(**{"steps": total} | settings)
    return [optim.schedule_factor(chosen, step, total) for step in range(total)]


def test_constant_stays() -> None:
    assert set(factors(50, schedule="constant")) == {1.0}


def test_linear_falls_in_a_line_from_1_and_would_reach_0_after_the_last_step() -> None:
    assert factors(4, schedule="linear") == [1.0, 0.75, 0.5, 0.25]
    assert optim.schedule_factor(TrainingSettings(schedule="linear"), 4, 4) == 0


def test_cosine_starts_at_1_passes_one_half_in_the_middle_and_would_end_at_0() -> None:
    """(1 + cos(pi x)) / 2 at x = 0, 1/4, 1/2, 3/4, 1: 1, 0.853553, 0.5, 0.146447, 0."""
    assert factors(4, schedule="cosine") == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert optim.schedule_factor(TrainingSettings(schedule="cosine"), 4, 4) == pytest.approx(0, abs=1e-12)


def test_cosine_restarts_begins_again_at_1_so_many_times() -> None:
    values = factors(300, schedule="cosine_restarts", restarts=3)
    one = [0.5 * (1 + math.cos(math.pi * i / 100)) for i in range(100)]
    assert values == pytest.approx(one * 3, abs=1e-9)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
def test_warm_up_rises_in_a_line_from_above_0_and_its_last_step_is_1(schedule: str) -> None:
    values = factors(20, schedule=schedule, warmup_steps=4)
    assert values[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert values[4:] == factors(16, schedule=schedule)  # the schedule has the rest of the run to itself


def test_a_warm_up_longer_than_the_run_ends_with_it() -> None:
    settings = TrainingSettings(epochs=1, warmup_steps=100, schedule="cosine")
    assert [optim.schedule_factor(settings, step, 5) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@given(
    st.sampled_from(sorted(optim.SCHEDULES)), st.integers(1, 5000), st.integers(0, 6000), st.integers(1, 100), st.data()
)
def test_no_step_has_a_factor_outside_0_and_1(name: str, total: int, warmup: int, restarts: int, data: Any) -> None:
    settings = TrainingSettings(epochs=1, schedule=name, warmup_steps=warmup, restarts=restarts)
    step = data.draw(st.integers(0, total - 1))
    assert 0 <= optim.schedule_factor(settings, step, total) <= 1


def test_each_part_has_its_own_learning_rate() -> None:
    problem = Quadratic("adamw", schedule="linear", steps=4)
    problem.optimizer.param_groups[1]["initial_lr"] = 1e-5
    for step, factor in enumerate([1.0, 0.75, 0.5, 0.25]):
        rates = optim.set_learning_rates(problem.optimizer, problem.settings, step, 4)
        assert rates == pytest.approx({"unet": 0.05 * factor, "text_encoder": 1e-5 * factor})
        assert [g["lr"] for g in problem.optimizer.param_groups] == list(rates.values())


def test_a_part_with_rate_0_does_not_move() -> None:
    parameters = [torch.ones(3, requires_grad=True) for _ in range(2)]
    groups = [{"params": [p], "lr": r, "part": n} for p, r, n in zip(parameters, (0.1, 0.0), "ab", strict=True)]
    optimizer, _ = optim.build(TrainingSettings(optimizer="adamw"), groups, CPU)
    torch.stack([p.square().sum() for p in parameters]).sum().backward()
    optimizer.step()
    assert parameters[1].tolist() == [1, 1, 1]
    assert parameters[0].lt(1).all()
