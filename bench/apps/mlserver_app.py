"""The model behind MLServer, as a custom runtime; bench/api.py writes its settings."""

# mypy: ignore-errors

import os

import joblib
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Emotions(MLModel):
    async def load(self) -> bool:
        self.model = joblib.load(os.path.join(os.environ["MODEL_DIR"], "model.joblib"))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        sentences = StringCodec.decode_input(payload.inputs[0])
        row = self.model.predict_proba(sentences)[0]
        label = str(self.model.classes_[row.argmax()])
        output = StringCodec.encode_output("label", [label])
        return InferenceResponse(model_name=self.name, outputs=[output])
