"""Our own service, log and metrics included, with a predictor that infers nothing."""

from pathlib import Path

import api.app
from api.loader import load_predictor
from api.model import Explanation, Prediction, Predictor
from api.serve import main


class Idle:
    kind = "compiled"
    reason = None

    def __init__(self, predictor: Predictor) -> None:
        self.manifest = predictor.manifest
        self._prediction = predictor.predict("I love the ice cream")

    def predict(self, sentence: str) -> Prediction:
        return self._prediction

    def explain(self, sentence: str) -> Explanation | None:
        return None


def load_idle(model_dir: Path) -> Idle:
    return Idle(load_predictor(model_dir))


if __name__ == "__main__":
    vars(api.app)["load_predictor"] = load_idle
    main()
