"""Predictions of a slow predictor, beside the event loop.

Scikit-learn takes about as long for a call as for a sentence, so what waits is answered together:
one thread takes up to MAX_BATCH sentences of whatever requests wait, and asks the predictor once.
One thread and no more: the GIL and the replica's CPU limit would let no second one run.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from api.errors import ApiError
from api.model import Prediction
from api.schema import MAX_BATCH

MAX_WAITING = 2 * MAX_BATCH
"""Most sentences that wait. Two rounds in a row hold more than MAX_BATCH, so these are at most
three rounds, and the gateway waits for four (`ROUNDS` in plugins/filter/cost.py)."""

STUCK_SECONDS = 60.0
"""A call of the predictor that takes longer than any time-out of the gateway never ends."""

_FULL = "Too many sentences wait for this replica: try again as Retry-After says."


@dataclass(frozen=True, slots=True)
class Answered:
    """The predictions of one request."""

    predictions: list[Prediction]
    seconds: float
    """What the predictor took for one sentence of the round, on average."""


@dataclass(frozen=True, slots=True)
class _Job:
    sentences: list[str]
    answer: "Future[Answered]" = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class Worker:
    """A thread that predicts, and the bounded queue before it."""

    def __init__(
        self,
        predict_all: Callable[[list[str]], list[Prediction]],
        record_wait: Callable[[float], None],
    ) -> None:
        """Take what makes the worker.

        Args:
            predict_all: judges at most MAX_BATCH sentences; the thread calls it.
            record_wait: told of each request how many seconds it waited; the thread calls it.
        """
        self._predict_all = predict_all
        self._record_wait = record_wait
        self._thread = ThreadPoolExecutor(1, "predictor")
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._began: float | None = None

    async def predict(self, sentences: list[str]) -> Answered:
        """Judge the sentences of one request, at most MAX_BATCH. Cancelled, they leave the queue.

        Raises:
            ApiError: 503, the queue is full.
        """
        job = _Job(sentences)
        with self._lock:
            if self._count() + len(sentences) > MAX_WAITING:
                raise ApiError(503, _FULL)
            self._waiting.append(job)
        # One round for each request: those whose work an earlier round has done find nothing.
        self._thread.submit(self._serve_round)
        return await asyncio.wrap_future(job.answer)

    async def is_ready(self, check: Callable[[], bool]) -> bool:
        """Run `check` in the thread; while the predictor is busy, tell only whether it is stuck.

        Behind a long batch the check would come too late for who asks, and the replica would
        pass for broken because it works.
        """
        began = self._began
        if began is not None or self._waiting:
            return began is None or time.monotonic() - began < STUCK_SECONDS
        return await asyncio.wrap_future(self._thread.submit(check))

    def _count(self) -> int:
        return sum(len(job.sentences) for job in self._waiting if not job.answer.cancelled())

    def _take(self) -> list[_Job]:
        taken: list[_Job] = []
        room = MAX_BATCH
        with self._lock:
            while self._waiting and len(self._waiting[0].sentences) <= room:
                job = self._waiting.popleft()
                # False for a request whose client went away.
                if job.answer.set_running_or_notify_cancel():
                    taken.append(job)
                    room -= len(job.sentences)
        return taken

    def _serve_round(self) -> None:
        if not (jobs := self._take()):
            return
        self._began = time.monotonic()
        now = time.perf_counter()
        for job in jobs:
            self._record_wait(now - job.since)
        try:
            self._answer(jobs)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            # One request's sentence must not fail the others'.
            for job in jobs:
                try:
                    self._answer([job])
                except Exception as its_own:
                    job.answer.set_exception(its_own)
        finally:
            self._began = None

    def _answer(self, jobs: list[_Job]) -> None:
        sentences = [sentence for job in jobs for sentence in job.sentences]
        started = time.perf_counter()
        predictions = self._predict_all(sentences)
        seconds = (time.perf_counter() - started) / len(sentences)
        first = 0
        for job in jobs:
            last = first + len(job.sentences)
            job.answer.set_result(Answered(predictions[first:last], seconds))
            first = last
