"""Asks a model in a process of its own: `python src/try_model.py open|cost FOLDER`.

    open FOLDER   open FOLDER/given.joblib safely, and answer texts by it
    cost FOLDER   load the model of FOLDER as a replica does, and measure it

Standard input is a JSON list of texts. The last line of standard output is a JSON object; a model
that cannot be served ends it with one line on standard error and status 1.
"""

import json
import pickle
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 64
"""Sentences of a batch, the most that the service takes at once."""
MEASURE_S = 1.0
"""Longest time that one measurement repeats."""
MOST_RUNS = 200
SHORTEST = "?"
"""A text that holds no word: the service passes such texts on."""


def open_model(folder: Path, texts: list[str]) -> dict[str, Any]:
    """Open the model, and write what serves of it to `pipeline.pickle` in the same folder.

    Returns:
        `classes`, and `rows`: the probabilities of each text, in the classes' order.

    Raises:
        ModelError: it cannot be served.
    """
    import numpy as np

    from api.model import ModelError
    from api.pipeline import class_texts, open_pipeline

    pipeline = open_pipeline((folder / "given.joblib").read_bytes())
    # One by one, as a server asks.
    rows = [pipeline.predict_proba([text])[0] for text in texts]
    if not np.isfinite(rows).all():
        raise ModelError("the model answers with probabilities that are not finite numbers")
    for text, row in zip(texts, rows, strict=True):
        if np.abs(pipeline.predict_proba([text])[0] - row).max() > 1e-9:
            raise ModelError(
                "the model answers the same text differently each time: set its random_state, "
                "or use a classifier that does not draw random numbers"
            )
    try:
        pipeline.predict_proba([SHORTEST])
    except Exception as error:
        raise ModelError(
            f"the model fails on a text without a word, such as {SHORTEST!r} "
            f"({type(error).__name__}): clients would get an error"
        ) from None
    (folder / "pipeline.pickle").write_bytes(pickle.dumps(pipeline))
    return {"classes": class_texts(pipeline), "rows": [list(map(float, row)) for row in rows]}


def milliseconds(run: Callable[[int], Any]) -> float:
    """Return the median time of `run`, which gets the number of the turn, in milliseconds."""
    run(0)
    times: list[float] = []
    end = time.perf_counter() + MEASURE_S
    while len(times) < MOST_RUNS and (not times or time.perf_counter() < end):
        started = time.perf_counter()
        run(len(times))
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 3)


def cost(folder: Path, texts: list[str], started: float) -> dict[str, Any]:
    """Load the model as a replica does, and measure it.

    Args:
        folder: the model, its card, and its compiled numbers.
        texts: what to ask; they repeat as often as needed.
        started: when the process started, by `time.perf_counter`.

    Returns:
        `cost`: time of a sentence and of a batch of 64 (ms), most resident memory (MB), and time
        until the model is loaded (s); `predictor` and `reason`; `coverage`: the share of each text
        that the model knows, None where it does not tell.

    Raises:
        ModelError: it cannot be served.
    """
    import uvicorn  # noqa: F401 (a replica holds it, too)

    import api.app  # noqa: F401
    from api.loader import load_predictor
    from api.model import all_at_once

    predictor = load_predictor(folder)
    start_seconds = round(time.perf_counter() - started, 2)
    batch = [texts[number % len(texts)] for number in range(BATCH)]
    together = all_at_once(predictor)
    sentence_ms = milliseconds(lambda turn: predictor.predict(texts[turn % len(texts)]))
    batch_ms = milliseconds(lambda _: together(batch))
    return {
        "cost": {
            "milliseconds_per_sentence": sentence_ms,
            "milliseconds_per_batch": batch_ms,
            "memory_mb": most_resident_mb(),
            "start_seconds": start_seconds,
        },
        "predictor": predictor.kind,
        "reason": predictor.reason,
        "coverage": [predictor.predict(text).coverage for text in texts],
    }


def most_resident_mb() -> int:
    """Return the most memory that this process has had resident, in MB."""
    # Not getrusage: its value outlives exec, and may be that of the process before.
    return round(_kib("/proc/self/status", "VmHWM:") / 1024)


def _kib(path: str, name: str) -> int:
    """Return a value in KiB of one of Linux's tables."""
    lines = Path(path).read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def limit_memory() -> None:
    """Let this process use what the machine has free, and no more: it ends, and not another."""
    free = _kib("/proc/meminfo", "MemAvailable:") * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (free, free))


def main(arguments: list[str], started: float) -> int:
    """Run the command line and return its exit code."""
    action, folder = arguments[0], Path(arguments[1])
    texts = json.load(sys.stdin)
    limit_memory()
    from api.model import ModelError

    try:
        found = open_model(folder, texts) if action == "open" else cost(folder, texts, started)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print("the model needs more memory than this machine has free", file=sys.stderr)
        return 1
    print()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], time.perf_counter()))
