"""Two processes that train together on this machine, without a launcher: how tests start them, and what each of them runs.

As a script (`python -m tests.rank_pair CASES.json`) it trains each case and writes what it saw beside that file.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def environments() -> list[dict[str, str]]:
    """What a launcher would say to each of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    return [os.environ | common | {"RANK": str(n), "LOCAL_RANK": str(n)} for n in range(2)]


def start(words: list[str], **options: Any) -> list[subprocess.Popen[str]]:
    """Both processes."""
    return [
        subprocess.Popen(words, env=environment, cwd=ROOT, text=True, stderr=subprocess.PIPE, **options)
        for environment in environments()
    ]


def run(folder: Path, cases: list[dict[str, Any]], timeout_s: float = 540) -> list[list[dict[str, Any]]]:
    """Trains the cases in two processes; what each process saw of each case."""
    file = folder / "cases.json"
    file.write_text(json.dumps(cases), encoding="utf-8")
    pair = start([sys.executable, "-m", "tests.rank_pair", str(file)])
    said = [process.communicate(timeout=timeout_s)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n\n".join(text[-3000:] for text in said)
    return [json.loads(file.with_suffix(f".{n}").read_text(encoding="utf-8")) for n in range(2)]


def main(file: Path) -> None:
    """Trains every case: {"run": folder, "stop_at": step or 0, "poison": whether process 2 has one infinite gradient}."""
    from trainer import cache, ranks
    from trainer.rank_group import RankGroup

    group = RankGroup(ranks.launch(), lambda failed: print(failed, file=sys.stderr))
    puts: list[str] = []
    for store in (cache.DiskStore, cache.MemoryStore):
        _count(store, puts)
    out = []
    for case in json.loads(file.read_text(encoding="utf-8")):
        puts.clear()
        out.append(_train(group, case) | {"puts": list(puts)})
    file.with_suffix(f".{group.launch.number}").write_text(json.dumps(out), encoding="utf-8")


def _count(store: Any, puts: list[str]) -> None:
    put = store.put

    def counted(self: Any, key: str, tensors: Any) -> None:
        puts.append(key)
        put(self, key, tensors)

    store.put = counted


def _train(group: Any, case: dict[str, Any]) -> dict[str, Any]:
    import hashlib

    from tests.runs import AtPoll
    from trainer import loop
    from trainer.events import Started, Stop, Warned, type_name
    from trainer.run_folder import RunFolder

    sessions: list[Any] = []
    prepare, add_up = loop.prepare, group.add_up
    events: list[Any] = []
    control = AtPoll({case["stop_at"]: [Stop()]} if case["stop_at"] else {})

    def prepared(*words: Any) -> Any:
        sessions.append(prepare(*words))
        return sessions[-1]

    def poisoned(parameters: Any, loss: Any) -> Any:
        sessions.append("step")
        if case["poison"] and len(sessions) == 3 and not group.writes:
            parameters[0].grad.fill_(float("inf"))
        return add_up(parameters, loss)

    def tell(event: Any) -> None:
        events.append(event)
        control.armed = control.armed or isinstance(event, Started)

    loop.prepare, group.add_up = prepared, poisoned
    loop.train(RunFolder(Path(case["run"])), tell, control, group)
    loop.prepare, group.add_up = prepare, add_up
    trained = sessions[0].trained
    weights = b"".join(t.numpy().tobytes() for t in trained.adapter.tensors().values())
    return {
        "kinds": [type_name(type(e)) for e in events],
        "losses": [e.loss for e in events if hasattr(e, "learning_rates")],
        "rates": [e.learning_rates for e in events if hasattr(e, "learning_rates")],
        "started": [[e.total_steps, e.steps_per_epoch, e.processes] for e in events if isinstance(e, Started)],
        "warnings": [e.message for e in events if isinstance(e, Warned)],
        "weights": hashlib.sha256(weights).hexdigest(),
        "scale": trained.scaler.get_scale(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
