"""Entry point of v2, the debug variant: `uvicorn api.v2.main:app`."""

from pydantic import BaseModel, Field

from api.app import create_app
from api.schema import Served


class Answer(BaseModel):
    """What v2 answers: v1's key, the probabilities and debug fields."""

    prediction_value: str = Field(serialization_alias="prediction value")
    prediction_proba_dict: dict[str, float] = Field(
        description="One probability for each label, in alphabetical order; they sum to 1."
    )
    model_version: str = Field(description="First 12 hex digits of the model file's SHA-256.")
    replica: str = Field(description="The replica that answered, as in X-Served-By.")
    duration_ms: float = Field(description="Time the model took, in milliseconds.")


def answer(served: Served) -> Answer:
    """Shape one prediction for a client of v2."""
    return Answer(
        prediction_value=served.prediction.label,
        prediction_proba_dict=dict(sorted(served.prediction.probabilities.items())),
        model_version=served.model_version,
        replica=served.replica,
        duration_ms=served.duration_ms,
    )


app = create_app("v2", Answer, answer)
