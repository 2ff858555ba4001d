"""What goes over the wire, and what a variant gets to shape its answer from."""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.model import Prediction, Predictor

MAX_SENTENCE_CHARACTERS = 5000
MAX_BATCH = 64
MAX_BODY_KIB = 64
"""Room for the longest sentence with every character written as \\uXXXX\\uXXXX, and no more."""
MAX_BATCH_BODY_KIB = 512
"""Room for 64 sentences of 5,000 characters at 1.6 bytes each. The gateway accepts as much."""
LOW_COVERAGE = 0.5
"""Below this share of known tokens an answer says more about the training data than about the
sentence; of 40,000 real tweets 0.7 % are below."""

# What `_not_blank` checks, for readers of the OpenAPI document. Spelt out, since every dialect of
# regular expressions has a white space of its own.
NOT_BLANK = (
    r"[^\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680"
    r"\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
)


def _not_blank(sentence: str) -> str:
    if sentence.isspace():
        raise PydanticCustomError("blank", "blank")
    return sentence


Sentence = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SENTENCE_CHARACTERS,
        description="The text to judge, in Unicode characters. Refused when it is nothing but "
        "white space; otherwise the model sees it exactly as sent.",
        examples=["I love the ice cream"],
        json_schema_extra={"pattern": NOT_BLANK},
    ),
    AfterValidator(_not_blank),
]


class Question(BaseModel):
    """The body of `POST /predict`: one sentence and no other field."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sentence: Sentence


class Questions(BaseModel):
    """The body of `POST /predict/batch`: a list of sentences and no other field."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sentences: list[Sentence] = Field(min_length=1, max_length=MAX_BATCH)


AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Answers(BaseModel, Generic[AnswerT]):
    """The answer to a batch."""

    predictions: list[AnswerT] = Field(
        description="One answer for each sentence, in the order of the sentences."
    )


class Error(BaseModel):
    """The body of every error, the gateway's included."""

    error: str = Field(description="A stable code in snake_case, for programs.")
    detail: str = Field(description="One sentence for people: what to do.")
    request_id: str = Field(description="The X-Request-ID of the answer, as in the log.")


@dataclass(frozen=True, slots=True)
class Served:
    """One answered question, before a variant shapes it."""

    sentence: str
    prediction: Prediction
    predictor: Predictor
    replica: str
    duration_ms: float
