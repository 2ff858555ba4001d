"""Builds the application that both variants share."""

import asyncio
import logging
import time
from collections.abc import Callable

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Router
from starlette.types import ASGIApp

from api.compiled import DIFFERS
from api.docs import docs_routes
from api.endpoint import GetRoute, JsonRoute
from api.errors import ApiError
from api.loader import load_predictor
from api.log import configure_logging
from api.metrics import CONTENT_TYPE, Metrics
from api.middleware import RequestMiddleware
from api.model import ModelError, Predictor, agrees, all_at_once
from api.schema import (
    MAX_BATCH_BODY_KIB,
    MAX_BODY_KIB,
    Answers,
    Question,
    Questions,
    Served,
)
from api.settings import Settings, SettingsError
from api.worker import Worker

_log = logging.getLogger("api")


def create_app(
    variant: str, answer_model: type[BaseModel], answer: Callable[[Served], BaseModel]
) -> ASGIApp:
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
) -> ASGIApp:
    """Build one variant around a loaded model; see `create_app` for the arguments."""
    manifest = predictor.manifest
    metrics = Metrics(variant, manifest, predictor.kind, differs=predictor.reason == DIFFERS)

    def judge(sentence: str) -> BaseModel:
        started = time.perf_counter()
        prediction = predictor.predict(sentence)
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        metrics.record(prediction)
        return answer(Served(sentence, prediction, predictor, replica, duration_ms))

    # A compiled prediction costs less than the way to a thread and back, so it is made in place.
    # Any other takes a millisecond or more, in which no other request would be answered.
    worker = None
    if predictor.kind != "compiled":
        worker = Worker(all_at_once(predictor), metrics.queue.observe)

    async def judge_beside(worker: Worker, sentences: list[str]) -> list[BaseModel]:
        answered = await worker.predict(sentences)
        duration_ms = round(answered.seconds * 1000, 3)
        answers = []
        for sentence, prediction in zip(sentences, answered.predictions, strict=True):
            metrics.record(prediction)
            answers.append(answer(Served(sentence, prediction, predictor, replica, duration_ms)))
        return answers

    async def predict(question: Question) -> BaseModel:
        """Say which emotion one sentence carries."""
        if worker:
            return (await judge_beside(worker, [question.sentence]))[0]
        return judge(question.sentence)

    answers_model = Answers[answer_model]  # type: ignore[valid-type]

    async def predict_batch(questions: Questions) -> BaseModel:
        """Say which emotion each of up to 64 sentences carries."""
        if worker:
            return answers_model(predictions=await judge_beside(worker, questions.sentences))
        answers = []
        for sentence in questions.sentences:
            answers.append(judge(sentence))
            # A long batch must not hold up the requests beside it, nor the health check.
            await asyncio.sleep(0)
        return answers_model(predictions=answers)

    async def livez(request: Request) -> Response:
        """Tell that the process answers."""
        return JSONResponse({"status": "alive"})

    def check() -> bool:
        return agrees(predictor, manifest.golden[0])

    async def readyz(request: Request) -> Response:
        """Tell that the model answers, and rightly."""
        try:
            ready = await worker.is_ready(check) if worker else check()
        except Exception:
            _log.exception("the readiness check failed")
            ready = False
        if not ready:
            raise ApiError(503, "The model's answer is not the recorded one: replace this replica.")
        return JSONResponse(
            {"status": "ready", "replica": replica, "model_version": manifest.version}
        )

    async def scrape(request: Request) -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    # First, since the router looks at one after the other.
    waits = worker is not None
    predictions = [
        JsonRoute("/predict", Question, MAX_BODY_KIB, predict, answer_model, waits=waits),
        JsonRoute(
            "/predict/batch",
            Questions,
            MAX_BATCH_BODY_KIB,
            predict_batch,
            answers_model,
            waits=waits,
        ),
    ]
    # Made now and kept: the first who asks for it would wait, on a slow machine over a second.
    document = get_openapi(
        title=f"{manifest.name}, {variant}",
        version=manifest.version,
        description=f"Predicts the class of a short text: one of {len(manifest.classes)}. At the "
        "gateway, the header `X-Experiment-Group: debug` selects the debug service, whose "
        "response explains the prediction.",
        routes=predictions,
    )
    router = Router(
        [
            *predictions,
            GetRoute("/livez", livez),
            GetRoute("/readyz", readyz),
            GetRoute("/metrics", scrape),
            *docs_routes(document),
        ],
        redirect_slashes=False,
    )
    return RequestMiddleware(router, replica, metrics)
