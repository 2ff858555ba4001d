"""Entry point of v2, the debug variant: `uvicorn api.v2.main:app`."""

from pydantic import BaseModel, Field

from api.app import create_app
from api.schema import LOW_COVERAGE, Served

TOP_TERMS = 10


class Term(BaseModel):
    """A term of the sentence that the model knows, and what it did."""

    term: str
    contribution: float = Field(description="Its share of the logit; below 0 it speaks against.")


class Answer(BaseModel):
    """What v2 answers: v1's key, the probabilities and debug fields."""

    prediction_value: str = Field(serialization_alias="prediction value")
    prediction_proba_dict: dict[str, float] = Field(
        description="One probability for each label, in alphabetical order; they sum to 1."
    )
    model_version: str = Field(description="First 12 hex digits of the model file's SHA-256.")
    replica: str = Field(description="The replica that answered, as in X-Served-By.")
    duration_ms: float = Field(description="Time the model took, in milliseconds.")
    model_sha256: str = Field(description="SHA-256 of the model file.")
    predictor: str = Field(
        description="`compiled` (plain numbers, equal to scikit-learn's answer) or `generic` "
        "(scikit-learn itself). The five last fields and `coverage` are null for `generic`."
    )
    confidence: float = Field(description="The highest probability.")
    margin: float = Field(description="The highest probability less the second highest.")
    coverage: float | None = Field(
        description="Share of the sentence's tokens that the model knows, from 0 to 1."
    )
    low_coverage: bool | None = Field(
        description=f"The coverage is below {LOW_COVERAGE}: the answer is mostly what the model "
        "says of any text, so do not rely on it."
    )
    top_terms: list[Term] | None = Field(
        description=f"The at most {TOP_TERMS} terms that did most, for the label or against it."
    )
    other_terms: float | None = Field(description="Sum of the contributions of all other terms.")
    intercept: float | None = Field(description="The logit of the label for an unknown text.")
    logit: float | None = Field(description="intercept + contributions of top_terms + other_terms.")


def answer(served: Served) -> Answer:
    """Shape one prediction for a client of v2."""
    prediction, manifest = served.prediction, served.predictor.manifest
    why = served.predictor.explain(served.sentence)
    terms = (
        [Term(term=term, contribution=value) for term, value in why.contributions] if why else []
    )
    return Answer(
        prediction_value=prediction.label,
        prediction_proba_dict=dict(
            sorted(zip(manifest.classes, prediction.probabilities, strict=True))
        ),
        model_version=manifest.version,
        replica=served.replica,
        duration_ms=served.duration_ms,
        model_sha256=manifest.sha256,
        predictor=served.predictor.kind,
        confidence=prediction.confidence,
        margin=prediction.margin,
        coverage=prediction.coverage,
        low_coverage=None if prediction.coverage is None else prediction.coverage < LOW_COVERAGE,
        top_terms=terms[:TOP_TERMS] if why else None,
        other_terms=sum(term.contribution for term in terms[TOP_TERMS:]) if why else None,
        intercept=why.intercept if why else None,
        logit=why.logit if why else None,
    )


app = create_app("v2", Answer, answer)
