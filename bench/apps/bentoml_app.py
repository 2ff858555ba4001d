"""The model behind BentoML: `bentoml serve bentoml_app:Emotions`."""

# mypy: ignore-errors

import os

import bentoml
import joblib


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Emotions:
    def __init__(self) -> None:
        self.model = joblib.load(os.path.join(os.environ["MODEL_DIR"], "model.joblib"))

    @bentoml.api
    def predict(self, sentence: str) -> dict[str, str]:
        row = self.model.predict_proba([sentence])[0]
        return {"prediction value": str(self.model.classes_[row.argmax()])}
