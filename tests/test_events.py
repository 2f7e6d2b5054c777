"""events.py: the protocol is stable, survives its own round trip, and answers garbage with a sentence."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_type_hints

import pytest

from trainer import events
from trainer.events import Command, Event, Failed, ProtocolError, Started, StepDone, Stop, Validated, decode, encode

KINDS = [kind for base in (Event, Command) for kind in base.__subclasses__()]
VALUES: dict[object, Any] = {
    int: 7, float: 0.25, bool: False, str: 'Zörblin 絵 🦊 "q" \\ \n\t\u2028',
    dict[str, float]: {"unet": 1e-4, "téxt": 0.0},
}  # fmt: skip

# What is on the wire, by type. Old events.jsonl files and workers of other versions speak it too: a new field needs a
# default, every other change raises PROTOCOL.
GOLDEN = {
    "hello": "protocol: int, version: str, run: str",
    "phase": "title: str, done: int = 0, total: int = 0",
    "warned": "message: str",
    "adapted": "step: int, what: str, why: str, unpacks: bool = False, quantization: str = ''",
    "started": "step: int, total_steps: int, pictures: int, steps_per_epoch: int, trainable_parameters: int, "
    "device: str, precision: str, packed: bool = False, quantization: str = 'none', processes: int = 1",
    "step_done": "step: int, loss: float, learning_rates: dict[str, float], seconds: float, memory_gb: float",
    "validated": "step: int, loss: float",
    "checkpoint_saved": "step: int, path: str",
    "preview_drawn": "step: int, prompt: int, seed: int, path: str",
    "paused": "step: int",
    "resumed": "step: int",
    "exported": "step: int, path: str, largest_difference: float, proof: str = '', programs: str = '', "
    "model_difference: float = -1.0",
    "finished": "step: int, completed: bool, memory_peak_gb: float = 0.0",
    "failed": "message: str, field: str = '', unforeseen: bool = False",
    "pause": "",
    "resume": "",
    "stop": "export: bool = True",
    "save_now": "",
    "sample_now": "",
    "detach": "",
}


def example(kind: type[Event] | type[Command]) -> Event | Command:
    return kind(**{name: VALUES[hint] for name, hint in get_type_hints(kind).items()})


def schema(kind: type[Event] | type[Command]) -> str:
    def default(field: dataclasses.Field[Any]) -> str:
        return "" if field.default is dataclasses.MISSING else f" = {field.default!r}"

    return ", ".join(f"{f.name}: {f.type}{default(f)}" for f in dataclasses.fields(kind))


def test_the_protocol_is_the_one_on_record() -> None:
    assert {events.type_name(kind): schema(kind) for kind in KINDS} == GOLDEN
    assert events.PROTOCOL == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_survives_a_round_trip(kind: type[Event] | type[Command]) -> None:
    message = example(kind)
    back = decode(encode(message))
    assert back == message and type(back) is kind
    assert decode(encode(message) + "\n") == message


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_is_one_line_of_plain_json_that_any_pipe_can_carry(kind: type[Event] | type[Command]) -> None:
    line = encode(example(kind))
    assert len(line.splitlines()) == 1 and line.isascii()
    assert json.loads(line) == {"type": events.type_name(kind)} | dataclasses.asdict(example(kind))


def test_a_file_name_that_is_not_unicode_passes_through() -> None:
    """Linux file names may be any bytes; Python shows the others as lone surrogates, which UTF-8 cannot encode."""
    message = Failed("caf\udce9.png is left out")
    encode(message).encode("utf-8")
    assert decode(encode(message)) == message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_becomes_null_and_comes_back_as_nan(value: float) -> None:
    message = StepDone(3, value, {"unet": value, "text_encoder": 1e-5}, 0.5, 1.0)
    plain = json.loads(encode(message), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert plain["loss"] is None and plain["learning_rates"] == {"unet": None, "text_encoder": 1e-5}
    back = decode(encode(message))
    assert isinstance(back, StepDone) and math.isnan(back.loss) and math.isnan(back.learning_rates["unet"])
    assert back.learning_rates["text_encoder"] == 1e-5 and back.seconds == 0.5


@pytest.mark.parametrize(
    "line",
    ["", "no json", '{"type": "paused", "step": 1', "Downloading: 12%", "9" * 5000, "[" * 100_000, "\x00"],
    ids=lambda line: line[:12],
)
def test_a_line_that_is_no_json_is_told_in_a_sentence(line: str) -> None:
    with pytest.raises(ProtocolError, match="Not a line of the worker's protocol: '") as caught:
        decode(line)
    assert len(str(caught.value)) < 140


@pytest.mark.parametrize(
    "line",
    ["[]", "3", "null", '"paused"', "{}", '{"type": "explode"}', '{"type": ["paused"]}', '{"type": {}}', '{"type": 3}'],
)
def test_an_unknown_type_is_told_in_a_sentence(line: str) -> None:
    with pytest.raises(ProtocolError, match="Unknown message from the worker: "):
        decode(line)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_without_a_default_is_required(kind: type[Event] | type[Command]) -> None:
    whole = json.loads(encode(example(kind)))
    for field in dataclasses.fields(kind):
        line = json.dumps({k: v for k, v in whole.items() if k != field.name})
        if field.default is dataclasses.MISSING:
            with pytest.raises(ProtocolError, match="A field is missing in "):
                decode(line)
        else:
            assert getattr(decode(line), field.name) == field.default


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_wrong_type_is_told_by_name(kind: type[Event] | type[Command]) -> None:
    wrong: dict[object, list[Any]] = {
        int: ["7", 7.5, None, True, []], float: ["0.1", True, {}], bool: [1, "true", None], str: [3, None, ["a"]],
        dict[str, float]: [None, [1], "x", {"unet": "x"}, {"unet": True}, {"unet": {}}],
    }  # fmt: skip
    whole = json.loads(encode(example(kind)))
    for name, hint in get_type_hints(kind).items():
        for value in wrong[hint]:
            with pytest.raises(ProtocolError, match=f"^{name} has the wrong type in "):
                decode(json.dumps(whole | {name: value}))


def test_a_whole_number_is_a_number_too() -> None:
    assert decode('{"type": "validated", "step": 1, "loss": 2}') == Validated(1, 2.0)


def test_a_field_from_a_newer_worker_is_ignored() -> None:
    assert decode('{"type": "stop", "export": false, "gently": true}') == Stop(export=False)


def test_a_long_line_is_shown_by_its_beginning() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode("x" * 1000)
    assert "x" * 77 + "..." in str(caught.value) and "x" * 78 not in str(caught.value)


def test_the_order_of_fields_on_the_wire_is_type_first() -> None:
    assert encode(Started(0, 10, 3, 2, 99, "cpu", "fp32")) == (
        '{"type": "started", "step": 0, "total_steps": 10, "pictures": 3, "steps_per_epoch": 2, '
        '"trainable_parameters": 99, "device": "cpu", "precision": "fp32", "packed": false, "quantization": "none", "processes": 1}'
    )
