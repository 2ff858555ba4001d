"""Makes the example's model: `python examples/onnx/make_model.py` writes model.onnx and model.json.

It fits a small pipeline on the sample of data/, and has skl2onnx convert it. Models from elsewhere
need the card only: its name, version, SHA-256, classes, and some sentences with their answers.
"""

# scikit-learn and skl2onnx ship no types.
# mypy: disable-error-code="import-untyped"

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from publish import GOLDEN_SENTENCES, write_card  # noqa: E402 (it is found by the line before)
from table import read_table  # noqa: E402


def main(folder: Path) -> None:
    """Write the model and its card to the folder."""
    table = read_table(ROOT / "data/tweet_emotions.csv")
    texts = [text.lower() for text in table.texts]
    # The graph's own lower case would need a locale that images seldom have.
    vectorizer = TfidfVectorizer(lowercase=False, token_pattern="[a-z]+")  # noqa: S106 (no secret)
    pipeline = make_pipeline(vectorizer, LogisticRegression(max_iter=1000))
    pipeline.fit(texts, np.array(table.labels))
    graph = to_onnx(
        pipeline,
        initial_types=[("text", StringTensorType([None, 1]))],
        options={id(pipeline): {"zipmap": False}},
    ).SerializeToString()
    (folder / "model.onnx").write_bytes(graph)
    session = onnxruntime.InferenceSession(graph)
    columns = np.array([[sentence.lower()] for sentence in GOLDEN_SENTENCES])
    labels, rows = session.run(None, {"text": columns})
    sha256 = hashlib.sha256(graph).hexdigest()
    classes = pipeline.classes_.tolist()
    card = {
        "name": "onnx-example",
        "version": sha256[:12],
        "sha256": sha256,
        "classes": classes,
        "golden": [
            {
                "sentence": sentence,
                "prediction": str(label),
                "probabilities": dict(zip(classes, row.tolist(), strict=True)),
            }
            for sentence, label, row in zip(
                GOLDEN_SENTENCES, labels, rows.astype(float), strict=True
            )
        ],
    }
    write_card(card, folder / "model.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
