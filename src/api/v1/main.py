"""Entry point of v1: `uvicorn api.v1.main:app`."""

from pydantic import BaseModel, Field

from api.app import create_app
from api.schema import Served


class Answer(BaseModel):
    """What v1 answers: the label, never a probability."""

    prediction_value: str = Field(serialization_alias="prediction value")


def answer(served: Served) -> Answer:
    """Shape one prediction for a client of v1."""
    return Answer(prediction_value=served.prediction.label)


app = create_app("v1", Answer, answer)
