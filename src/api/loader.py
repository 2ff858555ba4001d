"""Opens the model of a folder and chooses what answers for it.

Two predictors answer alike. The compiled one (`api.compiled`) serves a TF-IDF vectorizer with a
logistic regression from plain numbers; the generic one (`api.pipeline`) serves any scikit-learn
pipeline with `predict_proba`. Which one it is, is settled before serving, in a process of its own
(`api.compile`): scikit-learn costs a second and 80 MB, and the compiled path has no use for it.
"""

import os
import subprocess
import sys
from pathlib import Path

from api.compiled import Compiled, CompiledPredictor, read_compiled
from api.model import (
    COMPILED_FILE,
    Manifest,
    ModelError,
    Predictor,
    check_golden,
    read_manifest,
    read_model,
)

COMPILE_SECONDS = 60
"""How long the process that compiles may take."""


def load_predictor(model_dir: Path) -> Predictor:
    """Load the model of `model_dir` if it is what its `model.json` says.

    The numbers to serve come from `compiled.jsonl` where an image build has put them; without
    one that belongs to this model, a short-lived process makes them now.

    Raises:
        ModelError: a file is missing or altered, the libraries do not fit, or the model does
            not answer as it did in training.
    """
    manifest = read_manifest(model_dir)
    content = read_model(model_dir, manifest)
    path = model_dir / COMPILED_FILE
    compiled = read_compiled(path.read_bytes(), manifest) if path.is_file() else None
    if compiled is None:
        compiled = read_compiled(_compile(model_dir), manifest)
    if compiled is None:
        raise ModelError("model.json was changed while the model was being compiled")
    predictor = _choose(manifest, content, compiled)
    check_golden(predictor)
    return predictor


def _choose(manifest: Manifest, content: bytes, compiled: Compiled) -> Predictor:
    if compiled.numbers is not None:
        return CompiledPredictor(manifest, compiled.numbers)
    # Here, for who needs it: it imports scikit-learn.
    from api.pipeline import GenericPredictor, load_pipeline

    return GenericPredictor(manifest, load_pipeline(content, manifest), compiled.reason)


def _compile(model_dir: Path) -> bytes:
    """Compile the model in a process that takes scikit-learn's memory with it when it ends."""
    source = str(Path(__file__).resolve().parents[1])
    try:
        ended = subprocess.run(  # noqa: S603 (our own module, by our own interpreter)
            [sys.executable, "-m", "api.compile", str(model_dir.resolve())],
            env=os.environ | {"PYTHONPATH": source},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMPILE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"the model was not compiled within {COMPILE_SECONDS} s") from None
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ModelError(*last or [f"compiling the model ended with status {ended.returncode}"])
    return ended.stdout
