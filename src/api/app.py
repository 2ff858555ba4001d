"""Builds the application that both variants share."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError

from api.docs import add_docs
from api.errors import ApiError, add_error_handlers, refusal
from api.log import configure_logging
from api.metrics import CONTENT_TYPE, Metrics
from api.middleware import RequestMiddleware
from api.model import ModelError, Predictor, agrees, load_predictor
from api.schema import Answers, Error, Question, Questions, Served
from api.settings import Settings, SettingsError

# Room for the longest sentence with every character written as \uXXXX\uXXXX, and no more.
MAX_BODY_KIB = 64
# Room for 64 sentences of 5,000 characters at 1.6 bytes each; the gateway has the same bound.
MAX_BATCH_BODY_KIB = 512

_log = logging.getLogger("api")

ModelT = TypeVar("ModelT", bound=BaseModel)


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
    metrics = Metrics(variant, manifest.name, manifest.version, manifest.classes, predictor.kind)
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
    app.add_middleware(RequestMiddleware, replica=replica, metrics=metrics)
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
    @app.post("/predict", **_describe(Question, answer_model))
    async def predict(request: Request) -> Response:
        """Say which emotion one sentence carries."""
        question = parse(Question, await read_body(request, MAX_BODY_KIB))
        return _json(judge(question.sentence))

    answers_model = Answers[answer_model]  # type: ignore[valid-type]

    @app.post("/predict/batch", **_describe(Questions, answers_model))
    async def predict_batch(request: Request) -> Response:
        """Say which emotion each of up to 64 sentences carries."""
        questions = parse(Questions, await read_body(request, MAX_BATCH_BODY_KIB))
        answers = []
        for sentence in questions.sentences:
            answers.append(judge(sentence))
            # A long batch must not hold up the requests beside it, nor the health check.
            await asyncio.sleep(0)
        return _json(answers_model(predictions=answers))

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Error}})
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

    return app


def _describe(body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a route that reads and writes by itself."""
    return {
        "response_model": answer,
        "responses": {code: {"model": Error} for code in (400, 413, 415, 422, 500)},
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": body.model_json_schema()}},
            }
        },
    }


def _json(answer: BaseModel) -> Response:
    """Serialise at once: left to the framework, a checked answer is checked again."""
    return Response(answer.__pydantic_serializer__.to_json(answer, by_alias=True), media_type=_JSON)


_JSON = "application/json"


async def read_body(request: Request, limit_kib: int) -> bytes:
    """Read the body of a request that says it is JSON.

    Raises:
        ApiError: 413 or 415.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != _JSON or "content-encoding" in request.headers:
        raise ApiError(415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_kib * 1024:
            raise ApiError(413, f"Send a body of at most {limit_kib} KiB.")
    return bytes(body)


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """Check a body, which is to be an object of one field.

    The framework's own reading would quote the input in its errors and let through what JSON
    forbids (NaN, lone surrogates). Here one parser checks all of it but a field that is sent
    twice, of which it takes the last in silence.

    Raises:
        ApiError: 400 (not JSON) or 422 (JSON, but not a `model`).
    """
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        raise refusal(model, error) from None
    if json.loads(body, object_pairs_hook=len, parse_int=len) > 1:
        raise ApiError(422, f"Send the field '{next(iter(model.model_fields))}' once.")
    return found
