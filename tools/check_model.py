"""Holds the compiled predictor against scikit-learn on every sentence of a CSV: `make check-model`.

Labels must be identical and probabilities within 1e-12. Sentences are never printed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from api.compile import compile_pipeline
from api.compiled import CompiledPredictor
from api.model import EXACT_TOLERANCE, read_manifest, read_model
from api.pipeline import load_pipeline
from table import read_table

CHUNK = 2000


def main() -> int:
    """Run the command line; 0 when all agree, else 1."""
    parser = argparse.ArgumentParser(description="Compare both predictors on a CSV.")
    parser.add_argument("--data", type=Path, required=True, help="CSV with the column content")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    given = parser.parse_args()

    manifest = read_manifest(given.model)
    pipeline = load_pipeline(read_model(given.model, manifest), manifest)
    compiled = compile_pipeline(pipeline, manifest)
    if compiled.numbers is None:
        print(f"not compiled: {compiled.reason}")
        return 1
    predictor = CompiledPredictor(manifest, compiled.numbers)
    texts = read_table(given.data).texts
    largest, others, known = 0.0, 0, 0.0
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        ours = [predictor.predict(text) for text in chunk]
        theirs = pipeline.predict_proba(chunk)
        differences = np.abs(theirs - np.array([p.probabilities for p in ours]))
        largest = max(largest, float(differences.max()))
        labels = pipeline.predict(chunk).tolist()
        others += sum(p.label != label for p, label in zip(ours, labels, strict=True))
        known += sum(p.coverage or 0.0 for p in ours)
    print(
        f"{len(texts)} sentences: {others} other labels, largest difference of a probability "
        f"{largest:.1e} (at most {EXACT_TOLERANCE:g}), mean coverage {known / len(texts):.3f}"
    )
    return int(others > 0 or not largest <= EXACT_TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
