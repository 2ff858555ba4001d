"""The usual example: a sync handler, `predict` for the label and `predict_proba` beside it."""

import os

import joblib
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load(os.path.join(os.environ["MODEL_DIR"], "model.joblib"))


class Sentence(BaseModel):
    sentence: str


@app.post("/predict")
def predict(body: Sentence) -> dict[str, object]:
    label = model.predict([body.sentence])[0]
    probabilities = model.predict_proba([body.sentence])[0]
    return {
        "prediction value": str(label),
        "probabilities": dict(zip(model.classes_.tolist(), probabilities.tolist(), strict=True)),
    }


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False)
