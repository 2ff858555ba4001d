"""Serves a classifier in ONNX by onnxruntime: an example of the protocol `api.model.Predictor`."""

# onnxruntime ships no types.
# mypy: disable-error-code="import-untyped"

from pathlib import Path

import numpy as np
import onnxruntime

from api.model import Explanation, Manifest, Prediction, check_golden

MODEL_FILE = "model.onnx"
CARD_FILE = "model.json"


class OnnxPredictor:
    """Asks a graph that takes a column of lower-case texts and gives labels and probabilities."""

    kind = "onnx"
    reason: str | None = None

    def __init__(self, folder: Path) -> None:
        """Load `model.onnx` and its card `model.json`.

        Raises:
            ModelError: the model does not answer the golden sentences of its card.
        """
        self.manifest = Manifest.model_validate_json((folder / CARD_FILE).read_bytes())
        options = onnxruntime.SessionOptions()
        # A replica has one CPU.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), options)
        self._input = self._session.get_inputs()[0].name
        check_golden(self)

    def predict(self, sentence: str) -> Prediction:
        """Judge one sentence."""
        return self.predict_all([sentence])[0]

    def predict_all(self, sentences: list[str]) -> list[Prediction]:
        """Judge several sentences by one run of the graph."""
        texts = np.array([[sentence.lower()] for sentence in sentences])
        _, rows = self._session.run(None, {self._input: texts})
        return [
            Prediction(self.manifest.classes[int(row.argmax())], row.tolist(), coverage=None)
            for row in rows.astype(float)
        ]

    def explain(self, sentence: str) -> Explanation | None:
        """Not known: a graph has no weights by term."""
        return None
