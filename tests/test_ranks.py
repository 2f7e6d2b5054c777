"""Several processes that train together: the same numbers as one with the double batch, one writer, one end. Real processes, gloo."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file

from app.worker_process import WorkerProcess
from tests import rank_pair, runs
from tests.conftest import draw_pictures
from tests.test_worker import until
from trainer import cache, ranks
from trainer.errors import RunError
from trainer.events import Failed, Finished, Pause, Paused, Resume, SampleNow, SaveNow, Started, StepDone, Stop, Warned

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.events import Command
    from trainer.run_folder import RunFolder

# Sums in another order give fp32 rounding. In single weights AdamW widens it, where gradients are small (it divides by them),
# so all weights are compared as one vector: the length of the difference against the length of what was learnt.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 2e-6, 1e-4

# Seven pictures in three shapes, 3 + 2 + 2: batches of four pictures are shared 2 + 1 and 1 + 1, of two 1 + 1 and 1 + none.
SETTINGS: dict[str, dict[str, Any]] = {
    "accumulated": {
        "family": "sd1", "batch_size": 2, "accumulation": 2, "epochs": 5, "gradient_checkpointing": "all", "flip": True,
        "caption_dropout": 0.3, "input_perturbation": 0.1, "noise_offset": 0.05, "warmup_steps": 2, "schedule": "cosine",
    },
    "text_encoders": {
        "family": "sdxl", "batch_size": 1, "steps": 6, "train_text_encoder": True, "text_encoder_learning_rate": 1e-3,
        "text_encoder_2_learning_rate": 1e-3, "cache": "memory", "gradient_clip": 0.01,
    },
    "stopped": {"family": "sd2", "batch_size": 1, "steps": 4},
    "half": {"family": "sd1", "batch_size": 2, "steps": 4, "precision": "fp16", "dropout": 0.2},
}  # fmt: skip


class Pair:
    """What both processes saw of each case, and its run folder."""

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        pictures = draw_pictures(folder / "pictures", count=7)
        (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:150])
        (pictures / "broken.txt").write_text("blob", encoding="utf-8")
        self._folder, self._models, self._pictures = folder, models, pictures
        self.folders = {name: self.make(name) for name in SETTINGS}
        cases = [self._case(name) for name in SETTINGS]
        cases[2]["stop_at"], cases[3]["poison"] = 2, True
        names = [*SETTINGS, "resumed"]
        seen = rank_pair.run(folder, [*cases, self._case("stopped")])
        self.first, self.second = (dict(zip(names, each, strict=True)) for each in seen)

    def _case(self, name: str) -> dict[str, Any]:
        return {"run": str(self.folders[name].path), "stop_at": 0, "poison": False}

    def make(self, name: str, cache_name: str = "pair", **changes: Any) -> RunFolder:
        values = {k: v for k, v in SETTINGS[name].items() if k != "family"}
        values |= {"cache_folder": str(self._folder / f"{cache_name}_{name}"), "save_every_steps": 2}
        return runs.make_run(
            self._models[SETTINGS[name]["family"]], self._pictures, self._folder / cache_name, **values | changes
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"), tiny_models)


@pytest.mark.parametrize("name", ["accumulated", "text_encoders", "stopped"])
def test_two_processes_train_as_one_with_the_double_batch(name: str, pair: Pair) -> None:
    double = pair.make(name, "one", batch_size=2 * SETTINGS[name]["batch_size"])
    events = runs.train(double)
    first = pair.first[name] if name != "stopped" else pair.first["resumed"]
    losses = pair.first[name]["losses"] + (first["losses"] if name == "stopped" else [])
    assert len(losses) >= 4 and losses == pytest.approx(runs.losses(events), rel=LOSS_TOLERANCE)
    started = next(e for e in events if isinstance(e, Started))
    assert first["started"] == [[started.total_steps, started.steps_per_epoch, 2]]
    if name != "stopped":
        assert first["rates"] == [e.learning_rates for e in events if isinstance(e, StepDone)]
    ours, theirs = (load_file(f.export / "test.safetensors") for f in (pair.folders[name], double))
    fp32 = [load_file(f.checkpoint(started.total_steps) / "lora.safetensors") for f in (pair.folders[name], double)]
    assert ours.keys() == theirs.keys() and fp32[0].keys() == fp32[1].keys()
    difference = sum(float((fp32[0][key] - tensor).double().square().sum()) for key, tensor in fp32[1].items())
    learnt = sum(float(t.double().square().sum()) for key, t in fp32[1].items() if key.endswith("lora_up.weight"))
    assert learnt > 0 and (difference / learnt) ** 0.5 <= WEIGHT_TOLERANCE


@pytest.mark.parametrize("name", [*SETTINGS, "resumed"])
def test_both_processes_have_the_same_weights_and_one_writes(name: str, pair: Pair) -> None:
    first, second = pair.first[name], pair.second[name]
    assert first["weights"] == second["weights"] and first["scale"] == second["scale"]
    assert {"started", "step_done", "checkpoint_saved", "exported", "finished"} <= set(first["kinds"])
    assert set(second["kinds"]) <= {"phase", "warned"}


def test_the_cache_is_filled_by_both_and_nothing_is_encoded_twice(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[str] = []
    put = cache.DiskStore.put
    monkeypatch.setattr(cache.DiskStore, "put", lambda self, key, tensors: (puts.append(key), put(self, key, tensors)))
    runs.train(pair.make("accumulated", "alone", epochs=0, steps=3))
    first, second = pair.first["accumulated"]["puts"], pair.second["accumulated"]["puts"]
    assert first and second and sorted(first + second) == sorted(puts)
    assert pair.first["resumed"]["puts"] == pair.second["resumed"]["puts"] == []


def test_a_cache_in_memory_is_each_process_s_own(pair: Pair) -> None:
    assert len(pair.first["text_encoders"]["puts"]) == 7  # pictures; the captions' encoders are trained
    assert pair.first["text_encoders"]["puts"] == pair.second["text_encoders"]["puts"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_broken_picture_is_named_once_whoever_found_it(name: str, pair: Pair) -> None:
    told = [warning for warning in pair.first[name]["warnings"] if "broken.png" in warning]
    assert len(told) == 1 and "is left out" in told[0]


def test_an_infinite_gradient_of_one_process_makes_all_skip_the_step(pair: Pair) -> None:
    assert pair.first["half"]["scale"] == pair.second["half"]["scale"] == 2**15  # 2**16, halved once
    assert len(pair.first["half"]["losses"]) == 4


def test_the_file_says_how_large_a_batch_was(pair: Pair) -> None:
    from trainer.lora_file import read_header

    metadata = read_header(pair.folders["accumulated"].export / "test.safetensors").metadata
    assert (metadata["ss_batch_size_per_device"], metadata["ss_total_batch_size"]) == ("2", "4")


# ---- who is who


def test_without_a_launcher_there_is_one_process() -> None:
    assert ranks.launch({}) == ranks.launch({"WORLD_SIZE": "1", "RANK": "0"}) == ranks.Launch()
    assert ranks.ALONE.world == 1 and ranks.ALONE.writes and ranks.ALONE.slice_of(5) == (slice(0, 5), 1.0)


def test_the_launcher_s_words_are_understood() -> None:
    told = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1"}
    assert ranks.launch(told) == ranks.Launch(3, 4, 1, 2)
    assert ranks.launch(told).name == "process 4 of 4"


@pytest.mark.parametrize("wrong", [{"RANK": "4"}, {"RANK": "x"}, {"LOCAL_RANK": "2"}, {"MASTER_ADDR": None}])
def test_a_launcher_that_contradicts_itself_is_told(wrong: dict[str, str | None]) -> None:
    told = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"} | wrong
    with pytest.raises(RunError, match=r"make no sense: RANK=.*, WORLD_SIZE=4.*accelerate launch or torchrun"):
        ranks.launch({k: v for k, v in told.items() if v is not None})


@pytest.mark.parametrize("world", [2, 3, 8])
def test_every_picture_of_a_batch_is_computed_by_one_process(world: int) -> None:
    from trainer.rank_group import RankGroup

    for count in range(1, 20):
        seen: list[int] = []
        for number in range(world):
            member = RankGroup.__new__(RankGroup)
            member.launch = ranks.Launch(number, world)
            part, factor = member.slice_of(count)
            own = list(range(count))[part]
            assert own and (factor == 1 or (factor == 0 and count < world))  # nobody is without a gradient
            seen += own if factor else []
        assert seen == list(range(count))


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        ("auto", 2, "cuda:1"), ("cuda", 2, "cuda:1"), ("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("cuda", 0, "cuda"),
        ("auto", 1, "2 processes on a machine with 1 GPU"), ("cuda:1", 2, 'Device is "cuda:1".*cannot share it'),
        ("mps", 0, 'Device is "mps".*cannot share it'),
    ],
)  # fmt: skip
def test_each_process_takes_its_own_gpu(
    wanted: str, there: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from trainer.errors import ConfigError
    from trainer.rank_group import RankGroup

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    member = RankGroup.__new__(RankGroup)
    member.launch = ranks.Launch(1, 2, 1, 2)
    if " " not in expected:
        assert member.device_name(wanted) == expected
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        assert member.device_name("auto") == "cpu"
        return
    with pytest.raises(ConfigError, match=expected) as caught:
        member.device_name(wanted)
    assert caught.value.field == "device"


# ---- commands


class Heard:
    """A control that hears these commands, one list a look."""

    def __init__(self, *looks: list[Command]) -> None:
        self.looks = list(looks)

    def poll(self) -> list[Command]:
        return self.looks.pop(0) if self.looks else []

    def wait(self) -> Command:
        raise AssertionError("nobody waits here alone")


def test_commands_act_at_the_same_step_in_all_processes() -> None:
    wire: list[str] = []

    def send(text: str) -> str:
        wire.append(text)
        return text

    inner = Heard([], [Pause(), SaveNow()], [], [Resume(), Stop(export=False)])
    first = ranks.SharedControl(True, inner, send, [SampleNow()], lambda: None)
    second = ranks.SharedControl(False, Heard(), lambda _: wire.pop(0), [], lambda: pytest.fail("only the first waits"))
    assert first.poll() == [] and second.poll() == [SampleNow()]  # heard by the first before there were others
    assert first.poll() == second.poll() == [Pause(), SaveNow()]
    assert first.wait() == second.wait() == Resume()
    assert wire == []
    assert first.poll() == second.poll() == [Stop(export=False)]


# ---- the processes as workers

FAKE_RUN = """
import os, signal, sys, types, torch
from pathlib import Path
from trainer.errors import ModelError
from trainer.events import StepDone, Finished
from trainer.ranks import launch
from trainer import rank_group
fake = types.ModuleType("trainer.loop")
guilty, how = int(sys.argv[1]), sys.argv[2]
if how == "early":
    rank_group.WATCH_SECONDS = 1e-5  # so that the watch asks the store at the end, as it does by chance otherwise
def train(folder, tell, control, among, hashes):
    if among.launch.number == guilty and how == "at_once":
        raise ModelError("The base model has gone.")
    among.connect(torch.device("cpu"))
    control = among.control(control)
    parameter = torch.nn.Parameter(torch.zeros(3))
    print("at work", file=sys.stderr)
    for step in range(1, 2000):
        parameter.grad = torch.ones(3)
        if step == 3 and among.launch.number == guilty:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "early":
                tell(Finished(3, completed=False)); return
            raise ModelError("The base model has gone.") if how == "told" else ValueError("surprise")
        among.add_up([parameter], torch.tensor(1.0))
        if among.writes: tell(StepDone(step, 1.0, {"unet": 1.0}, 0.1, 0.1))
        control.poll()
fake.train = train
sys.modules["trainer.loop"] = fake
import trainer; trainer.loop = fake
from trainer.worker import main
sys.exit(main(Path(sys.argv[-1])))
"""


def fail_together(tmp_path: Path, guilty: int, how: str, *, launcher: bool) -> tuple[list[Any], list[int], str]:
    """Events on stdout, which are those in the folder, exit codes and the log of two workers of which one fails."""
    folder = runs.make_run(tmp_path, tmp_path, tmp_path)
    script = tmp_path / "fake.py"
    script.write_text(FAKE_RUN, encoding="utf-8")
    words = [str(script), str(guilty), how, str(folder.path)]
    if launcher:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = rank_pair.environments()[0]
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            del environment[name]
        pair = [subprocess.Popen(
            start + words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )]  # fmt: skip
    else:
        pair = rank_pair.start([sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    said = [process.communicate(timeout=300)[0] for process in pair]
    assert all(not out for out in said[1:]), "only the first one speaks"
    log, kept = folder.log_path.read_text(encoding="utf-8"), folder.events_path.read_text(encoding="utf-8")
    assert said[0] == kept
    return [json.loads(line) for line in said[0].splitlines()], [p.returncode for p in pair], log


@pytest.mark.parametrize(
    ("guilty", "how", "launcher", "sentence"),
    [
        (1, "at_once", True, "In process 2 of 2: The base model has gone."),
        (1, "killed", True, "One of the run's 2 processes ended without a word, often because the system ran out of memory"),
        (1, "unforeseen", True, "In process 2 of 2: The run ended with an unforeseen error (ValueError: surprise)"),
        (0, "told", False, "The base model has gone."),
    ],
)  # fmt: skip
def test_when_one_process_fails_all_end_with_its_sentence(
    guilty: int, how: str, launcher: bool, sentence: str, tmp_path: Path
) -> None:
    events, codes, log = fail_together(tmp_path, guilty, how, launcher=launcher)
    assert [e["type"] for e in events].count("failed") == 1
    assert events[-1]["type"] == "failed" and events[-1]["message"].startswith(sentence)
    assert 0 not in codes
    if how != "killed":
        assert "Traceback" in log and ("surprise" in log or "The base model has gone." in log)


def test_when_the_first_process_stops_early_the_others_go_home(tmp_path: Path) -> None:
    events, codes, _ = fail_together(tmp_path, 0, "early", launcher=True)
    assert events[-1]["type"] == "finished" and codes == [0]


def test_pause_resume_and_stop_through_accelerate_launch(
    tiny_models: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    folder = runs.make_run(tiny_models["sd1"], pictures, tmp_path, steps=10_000)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    worker = WorkerProcess(folder, (*launch, "--main_process_port", "0", "-m", "app"))
    events = worker.events()
    started = until(events, Started)
    assert isinstance(started, Started) and started.processes == 2
    until(events, StepDone)
    worker.tell(Pause())
    paused = until(events, Paused)
    time.sleep(0.7)
    worker.tell(Resume())
    step = until(events, StepDone)
    assert isinstance(paused, Paused) and isinstance(step, StepDone) and step.step == paused.step + 1
    worker.tell(Stop())
    rest = list(events)
    assert isinstance(rest[-1], Finished) and not any(isinstance(e, Failed | Warned) for e in rest)
    assert worker.outcome.was_successful and worker.outcome.returncode == 0
    assert (folder.export / "test.safetensors").is_file()
    assert "Traceback" not in folder.log_path.read_text(encoding="utf-8")
    worker.close()
