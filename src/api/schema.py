"""What goes over the wire, and what a variant gets to shape its answer from."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.model import Prediction

MAX_SENTENCE_CHARACTERS = 5000


def _not_blank(sentence: str) -> str:
    if sentence.isspace():
        raise PydanticCustomError("blank", "blank")
    return sentence


class Question(BaseModel):
    """The body of `POST /predict`: one sentence and no other field."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sentence: Annotated[str, AfterValidator(_not_blank)] = Field(
        min_length=1,
        max_length=MAX_SENTENCE_CHARACTERS,
        description="The text to judge, in Unicode characters. Refused when it is nothing but "
        "white space; otherwise the model sees it exactly as sent.",
        examples=["I love the ice cream"],
    )


class Error(BaseModel):
    """The body of every error, the gateway's included."""

    error: str = Field(description="A stable code in snake_case, for programs.")
    detail: str = Field(description="One sentence for people: what to do.")
    request_id: str = Field(description="The X-Request-ID of the answer, as in the log.")


@dataclass(frozen=True, slots=True)
class Served:
    """One answered question, before a variant shapes it."""

    prediction: Prediction
    model_version: str
    replica: str
    duration_ms: float
