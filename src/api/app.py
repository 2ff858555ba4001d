"""Builds the application that both variants share."""

import logging
import time
from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError

from api.errors import ApiError, add_error_handlers, refusal
from api.log import configure_logging
from api.metrics import CONTENT_TYPE, Metrics
from api.middleware import RequestMiddleware
from api.model import ModelError, Predictor, load_predictor
from api.schema import Error, Question, Served
from api.settings import Settings, SettingsError

# Room for the longest sentence with every character written as \uXXXX\uXXXX, and no more.
MAX_BODY_BYTES = 64 * 1024

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
    _log.info("model %s loaded", predictor.manifest.version)
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
    metrics = Metrics(variant, manifest.name, manifest.version, manifest.classes)
    app = FastAPI(
        title=f"Emotion of a sentence, {variant}",
        version=manifest.version,
        # The documentation pages load scripts from a foreign host; /openapi.json stays.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # It would record the messages of exceptions, and those may quote a sentence.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(RequestMiddleware, replica=replica, metrics=metrics)
    add_error_handlers(app)

    # Nothing awaits inside: about a millisecond of CPU on the event loop costs less than the
    # way to a thread and back, and the GIL would let no second prediction run meanwhile.
    @app.post(
        "/predict",
        response_model=answer_model,
        responses={code: {"model": Error} for code in (400, 413, 415, 422, 500)},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": Question.model_json_schema()}},
            }
        },
    )
    async def predict(request: Request) -> BaseModel:
        """Say which emotion one sentence carries."""
        question = await read_question(request)
        started = time.perf_counter()
        prediction = predictor.predict(question.sentence)
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        metrics.predictions.labels(prediction.label).inc()
        return answer(Served(prediction, manifest.version, replica, duration_ms))

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Error}})
    async def readyz() -> dict[str, str]:
        """Tell that the model answers, and rightly."""
        try:
            ready = predictor.agrees_with(manifest.golden[0])
        except Exception:
            _log.exception("the readiness check failed")
            ready = False
        if not ready:
            raise ApiError(503, "The model's answer is not the recorded one: replace this replica.")
        return {"status": "ready", "replica": replica, "model_version": manifest.version}

    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return app


async def read_question(request: Request) -> Question:
    """Read and check the body of a request.

    The framework's own reading would quote the input in its errors, take any size and let
    through what JSON forbids (NaN, lone surrogates). Here one parser checks all of it.

    Raises:
        ApiError: 413, 415, 400 (not JSON) or 422 (JSON, but not a `Question`).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != "application/json" or "content-encoding" in request.headers:
        raise ApiError(415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413)
    try:
        return Question.model_validate_json(bytes(body))
    except ValidationError as error:
        raise refusal(error) from None
