"""A slow predictor: the service answers beside it, its queue is bounded, and nothing piles up."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Message

from api.errors import ApiError
from api.model import Prediction
from api.schema import MAX_BATCH
from api.worker import MAX_WAITING, STUCK_SECONDS, Worker

BATCH = [f"sentence {n}" for n in range(MAX_BATCH)]
LIMIT_SECONDS = 30
"""Only a test that hangs waits for so long."""


class Slow:
    """Answers a call when the test lets it, and keeps what it was asked."""

    kind = "generic"
    reason: str | None = None

    def __init__(self, manifest: Any = None) -> None:
        self.manifest = manifest
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.calls: list[list[str]] = []

    def predict_all(self, sentences: list[str]) -> list[Prediction]:
        self.calls.append(sentences)
        self.began.release()
        assert self.go.acquire(timeout=LIMIT_SECONDS)
        if "poison" in sentences:
            raise ValueError("poison")
        return [Prediction(sentence, [0.25, 0.75], None) for sentence in sentences]

    def predict(self, sentence: str) -> Prediction:
        return self.predict_all([sentence])[0]

    def explain(self, sentence: str) -> None:
        return None


@pytest.fixture
def slow(compiled: Any) -> Iterator[Slow]:
    made = Slow(compiled.manifest)
    yield made
    # Let a thread go that a failed test has left waiting.
    for _ in range(1000):
        made.go.release()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def worker(slow: Slow, waits: list[float]) -> Worker:
    return Worker(slow.predict_all, waits.append)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, LIMIT_SECONDS))


async def begun(slow: Slow) -> None:
    assert await asyncio.to_thread(slow.began.acquire, timeout=LIMIT_SECONDS)


async def queued(worker: Worker, *requests: list[str]) -> list[asyncio.Task[Any]]:
    tasks = []
    for sentences in requests:
        tasks.append(asyncio.ensure_future(worker.predict(sentences)))
        # It runs up to its own wait.
        await asyncio.sleep(0)
    return tasks


def labels(task: asyncio.Task[Any]) -> list[str]:
    return [prediction.label for prediction in task.result().predictions]


def app_of(slow: Slow) -> ASGIApp:
    from api.app import build_app
    from api.v1.main import Answer, answer

    return build_app("v1", Answer, answer, "test-1", slow)


def test_health_and_metrics_are_answered_while_a_batch_is_computed(
    slow: Slow, apps: dict[str, ASGIApp]
) -> None:
    slow.manifest = slow.manifest.model_copy(update={"classes": BATCH})

    async def main() -> None:
        transport = httpx.ASGITransport(app_of(slow))
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            batch = asyncio.ensure_future(client.post("/predict/batch", json={"sentences": BATCH}))
            await begun(slow)
            for path in ("/livez", "/readyz", "/metrics"):
                assert (await client.get(path)).status_code == 200, path
            assert not batch.done()
            slow.go.release()
            answer = await batch
            assert [one["prediction value"] for one in answer.json()["predictions"]] == BATCH
            assert "api_queue_seconds_count 1.0" in (await client.get("/metrics")).text

    run(main())
    assert slow.calls == [BATCH]


def test_what_waits_is_answered_together_in_its_order(
    worker: Worker, slow: Slow, waits: list[float]
) -> None:
    async def main() -> None:
        tasks = await queued(worker, ["a"])
        await begun(slow)
        tasks += await queued(worker, ["b"], ["c", "d"], BATCH[:60], ["e", "f"])
        for _ in range(3):
            slow.go.release()
        await asyncio.gather(*tasks)
        assert [labels(t) for t in tasks] == [["a"], ["b"], ["c", "d"], BATCH[:60], ["e", "f"]]

    run(main())
    assert slow.calls == [["a"], ["b", "c", "d", *BATCH[:60]], ["e", "f"]]
    assert len(waits) == 5


def test_a_full_queue_refuses_and_is_open_again_later(worker: Worker, slow: Slow) -> None:
    async def main() -> None:
        tasks = await queued(worker, BATCH)
        await begun(slow)
        tasks += await queued(worker, *[["a"]] * MAX_WAITING)
        with pytest.raises(ApiError) as refusal:
            await worker.predict(["b"])
        assert refusal.value.status == 503
        for _ in range(3):
            slow.go.release()
        await asyncio.gather(*tasks)
        slow.go.release()
        assert (await worker.predict(["b"])).predictions[0].label == "b"

    run(main())


@pytest.mark.parametrize("requests", [[1, 64, 1, 62], [33] * 3, [64, 64], [1] * 128, [63, 2, 63]])
def test_what_a_full_queue_holds_takes_three_rounds_at_most(
    worker: Worker, slow: Slow, requests: list[int]
) -> None:
    async def main() -> None:
        tasks = await queued(worker, ["first"])
        await begun(slow)
        tasks += await queued(worker, *[BATCH[:size] for size in requests])
        for _ in range(10):
            slow.go.release()
        await asyncio.gather(*tasks)

    run(main())
    assert len(slow.calls) <= 1 + 3


def test_a_cancelled_request_leaves_the_queue(worker: Worker, slow: Slow) -> None:
    async def main() -> None:
        (first,) = await queued(worker, ["a"])
        await begun(slow)
        gone = await queued(worker, BATCH, BATCH)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        # Their places are free.
        tasks = await queued(worker, BATCH[:40], BATCH[:40])
        for _ in range(3):
            slow.go.release()
        await asyncio.gather(first, *tasks)

    run(main())
    assert slow.calls == [["a"], BATCH[:40], BATCH[:40]]


def test_a_sentence_that_fails_fails_its_own_request_only(worker: Worker, slow: Slow) -> None:
    async def main() -> None:
        tasks = await queued(worker, ["a"])
        await begun(slow)
        tasks += await queued(worker, ["b"], ["poison"], ["c"])
        for _ in range(5):
            slow.go.release()
        await asyncio.wait(tasks)
        assert isinstance(tasks[2].exception(), ValueError)
        assert [labels(tasks[n]) for n in (0, 1, 3)] == [["a"], ["b"], ["c"]]

    run(main())


def test_readiness_runs_the_check_when_idle_and_not_behind_a_batch(
    worker: Worker, slow: Slow
) -> None:
    async def main() -> None:
        assert await worker.is_ready(lambda: True)
        assert not await worker.is_ready(lambda: False)
        tasks = await queued(worker, BATCH)
        await begun(slow)
        assert await worker.is_ready(lambda: False)
        slow.go.release()
        await asyncio.gather(*tasks)

    run(main())


def test_a_predictor_that_never_ends_is_not_ready(
    worker: Worker, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        tasks = await queued(worker, ["a"])
        await begun(slow)
        assert worker._began is not None
        monkeypatch.setattr(worker, "_began", worker._began - STUCK_SECONDS)
        assert not await worker.is_ready(lambda: True)
        slow.go.release()
        await asyncio.gather(*tasks)

    run(main())


def test_a_client_that_went_away_is_499_and_its_sentences_are_not_judged(
    slow: Slow, apps: dict[str, ASGIApp], log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    app = app_of(slow)
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}

    async def request(sentence: str, gone: asyncio.Event) -> list[Message]:
        body = f'{{"sentence": "{sentence}"}}'.encode()
        messages: list[Message] = [{"type": "http.request", "body": body}]
        sent: list[Message] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(dict(scope), receive, send)
        return sent

    async def main() -> None:
        gone = asyncio.Event()
        first = asyncio.ensure_future(request("happiness", asyncio.Event()))
        await begun(slow)
        second = asyncio.ensure_future(request("b", gone))
        await asyncio.sleep(0)
        gone.set()
        assert await second == []
        slow.go.release()
        assert (await first)[0]["status"] == 200

    run(main())
    assert slow.calls == [["happiness"]]
    statuses = [line["status"] for line in log_lines() if line["message"] == "request"]
    assert sorted(statuses) == [200, 499]


def test_a_full_queue_is_503_with_retry_after(
    client_of: Callable[[Any], TestClient], slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.worker.MAX_WAITING", 0)
    answer = client_of(slow).post("/predict", json={"sentence": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "Retry-After" in answer.json()["detail"]
    assert slow.calls == []


def test_the_compiled_predictor_answers_in_the_event_loop(
    client_of: Callable[[Any], TestClient], compiled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_worker(*_: Any) -> None:
        pytest.fail("the compiled predictor has a worker")

    monkeypatch.setattr("api.app.Worker", no_worker)
    assert client_of(compiled).post("/predict", json={"sentence": "a"}).status_code == 200
