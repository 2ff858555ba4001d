"""Builds the application that both variants share."""

import asyncio
import logging
import time
from collections.abc import Callable

from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.types import ASGIApp

from api.docs import add_docs
from api.endpoint import JsonEndpoint, describe
from api.errors import ApiError, add_error_handlers
from api.loader import load_predictor
from api.log import configure_logging
from api.metrics import CONTENT_TYPE, Metrics
from api.middleware import RequestMiddleware
from api.model import ModelError, Predictor, agrees
from api.schema import Answers, Question, Questions, Served
from api.settings import Settings, SettingsError

# Room for the longest sentence with every character written as \uXXXX\uXXXX, and no more.
MAX_BODY_KIB = 64
# Room for 64 sentences of 5,000 characters at 1.6 bytes each; the gateway has the same bound.
MAX_BATCH_BODY_KIB = 512

_log = logging.getLogger("api")


def create_app(
    variant: str, answer_model: type[BaseModel], answer: Callable[[Served], BaseModel]
) -> FastAPI:
    """Build one variant from the environment, or end the process with one line in the log.

    Args:
        variant: name of the variant, as in `v1`.
        answer_model: the shape of its answer, for the OpenAPI document.
        answer: makes that answer of a prediction.

    Raises:
        SystemExit: the settings or the model cannot be used (exit status 1).
    """
    configure_logging(Settings.log_level, Settings.replica)
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_level, settings.replica)
        predictor = load_predictor(settings.model_dir)
    except (SettingsError, ModelError) as error:
        _log.critical("cannot start: %s", error)
        raise SystemExit(1) from None
    _log.info("model %s loaded, predictor %s", predictor.manifest.version, predictor.kind)
    if predictor.reason:
        _log.warning("not compiled, so the generic predictor serves: %s", predictor.reason)
    return build_app(variant, answer_model, answer, settings.replica, predictor)


def build_app(
    variant: str,
    answer_model: type[BaseModel],
    answer: Callable[[Served], BaseModel],
    replica: str,
    predictor: Predictor,
) -> FastAPI:
    """Build one variant around a loaded model; see `create_app` for the arguments."""
    manifest = predictor.manifest
    metrics = Metrics(variant, manifest, predictor.kind)
    app = FastAPI(
        title=f"Emotion of a sentence, {variant}",
        version=manifest.version,
        description="Says which of 13 emotions a short text carries. At the gateway the header "
        "`X-Experiment-Group: debug` asks for the debug version, whose answer explains itself.",
        # They would load scripts from a foreign host; `add_docs` serves its own.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # It would record the messages of exceptions, and those may quote a sentence.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    add_error_handlers(app)
    add_docs(app)

    def judge(sentence: str) -> BaseModel:
        started = time.perf_counter()
        prediction = predictor.predict(sentence)
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        metrics.record(prediction)
        return answer(Served(sentence, prediction, predictor, replica, duration_ms))

    # Nothing awaits inside: a prediction costs less than the way to a thread and back, and the
    # GIL would let no second one run meanwhile.
    async def predict(question: Question) -> BaseModel:
        """Say which emotion one sentence carries."""
        return judge(question.sentence)

    answers_model = Answers[answer_model]  # type: ignore[valid-type]

    async def predict_batch(questions: Questions) -> BaseModel:
        """Say which emotion each of up to 64 sentences carries."""
        answers = []
        for sentence in questions.sentences:
            answers.append(judge(sentence))
            # A long batch must not hold up the requests beside it, nor the health check.
            await asyncio.sleep(0)
        return answers_model(predictions=answers)

    endpoints: dict[str, ASGIApp] = {
        "/predict": JsonEndpoint(Question, MAX_BODY_KIB, predict),
        "/predict/batch": JsonEndpoint(Questions, MAX_BATCH_BODY_KIB, predict_batch),
    }
    app.add_middleware(RequestMiddleware, replica=replica, metrics=metrics, endpoints=endpoints)
    # For the document, and for the 405 of other methods; a POST never comes this far.
    app.add_api_route("/predict", predict, **describe(answer_model))
    app.add_api_route("/predict/batch", predict_batch, **describe(answers_model))

    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> dict[str, str]:
        """Tell that the model answers, and rightly."""
        try:
            ready = agrees(predictor, manifest.golden[0])
        except Exception:
            _log.exception("the readiness check failed")
            ready = False
        if not ready:
            raise ApiError(503, "The model's answer is not the recorded one: replace this replica.")
        return {"status": "ready", "replica": replica, "model_version": manifest.version}

    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    # Made now and kept: the first who asks for it would wait, on a slow machine over a second.
    app.openapi()
    return app
