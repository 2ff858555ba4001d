"""POST /predict: what each variant promises for a good request."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = (
    "anger boredom empty enthusiasm fun happiness hate love neutral relief sadness surprise worry"
).split()
SENTENCE = {"sentence": "I love the ice cream"}


def test_v1_answers_the_label_and_nothing_else(v1: TestClient) -> None:
    answer = v1.post("/predict", json=SENTENCE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["prediction value"]
    assert answer.json()["prediction value"] in LABELS


def test_v2_adds_probabilities_and_debug_fields(v2: TestClient, manifest: dict[str, Any]) -> None:
    answer = v2.post("/predict", json=SENTENCE).json()
    assert list(answer) == [
        "prediction value",
        "prediction_proba_dict",
        "model_version",
        "replica",
        "duration_ms",
        "model_sha256",
        "predictor",
        "confidence",
        "margin",
        "coverage",
        "low_coverage",
        "top_terms",
        "other_terms",
        "intercept",
        "logit",
    ]
    assert answer["model_sha256"] == manifest["sha256"]
    assert answer["predictor"] == "compiled"
    assert answer["model_version"] == manifest["version"]
    assert answer["replica"] == "test-1"
    assert 0 < answer["duration_ms"] < 1000


def test_v2_probabilities_are_13_floats_in_alphabetical_order_that_sum_to_1(v2: TestClient) -> None:
    answer = v2.post("/predict", json=SENTENCE).json()
    probabilities = answer["prediction_proba_dict"]
    assert list(probabilities) == LABELS
    assert all(type(p) is float and 0 <= p <= 1 for p in probabilities.values())
    assert sum(probabilities.values()) == pytest.approx(1)
    assert answer["prediction value"] == max(probabilities, key=probabilities.__getitem__)


def test_both_variants_give_the_recorded_answers(
    v1: TestClient, v2: TestClient, manifest: dict[str, Any]
) -> None:
    for golden in manifest["golden"]:
        body = {"sentence": golden["sentence"]}
        debug = v2.post("/predict", json=body).json()
        assert v1.post("/predict", json=body).json() == {"prediction value": golden["prediction"]}
        assert debug["prediction value"] == golden["prediction"]
        assert debug["prediction_proba_dict"] == pytest.approx(golden["probabilities"], abs=1e-6)


def test_one_request_runs_the_pipeline_once(
    client_of: Callable[[Any], TestClient], generic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.pipeline import Pipeline

    calls = []
    original = Pipeline.predict_proba

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(Pipeline, "predict_proba", counted)
    monkeypatch.setattr(Pipeline, "predict", lambda *a, **k: pytest.fail("a second run"))
    assert client_of(generic).post("/predict", json=SENTENCE).status_code == 200
    assert calls == [1]


# --- what v2 says of its answer ---------------------------------------------------------------


@pytest.mark.parametrize(
    "sentence", ["I love the ice cream", "qzxvw", "Stop shouting at me, I am so angry! " * 20]
)
def test_top_terms_and_the_rest_sum_with_the_intercept_to_the_logit(
    v2: TestClient, pipeline: Any, sentence: str
) -> None:
    answer = v2.post("/predict", json={"sentence": sentence}).json()
    contributions = [term["contribution"] for term in answer["top_terms"]]
    total = answer["intercept"] + sum(contributions) + answer["other_terms"]
    assert total == pytest.approx(answer["logit"], rel=0, abs=1e-12)
    assert answer["logit"] == pytest.approx(pipeline.decision_function([sentence]).max(), abs=1e-12)
    assert len(contributions) <= 10
    assert (answer["other_terms"] == 0) == (len(contributions) < 10)


def test_top_terms_hold_the_word_that_decides(v2: TestClient) -> None:
    answer = v2.post("/predict", json=SENTENCE).json()
    assert answer["top_terms"][0]["term"] == "love"
    assert answer["top_terms"][0]["contribution"] > 1


def test_confidence_and_margin_come_from_the_probabilities(v2: TestClient) -> None:
    answer = v2.post("/predict", json=SENTENCE).json()
    second, first = sorted(answer["prediction_proba_dict"].values())[-2:]
    assert (answer["confidence"], answer["margin"]) == (first, first - second)


@pytest.mark.parametrize(
    ("sentence", "coverage", "low"),
    [
        ("I love the day", 1.0, False),
        ("love qzxvw", 0.5, False),
        ("love qzxvw kkjhgf", 1 / 3, True),
        ("qzxvw wrtpl kkjhgf", 0.0, True),
        ("\u2603", 0.0, True),
    ],
)
def test_text_that_the_model_does_not_know_is_flagged(
    v2: TestClient, sentence: str, coverage: float, low: bool
) -> None:
    answer = v2.post("/predict", json={"sentence": sentence}).json()
    assert answer["coverage"] == pytest.approx(coverage)
    assert answer["low_coverage"] is low


def test_v2_of_a_generic_predictor_says_null_for_what_it_cannot_know(
    client_of: Callable[[Any], TestClient], generic: Any, v2: TestClient
) -> None:
    answer = client_of(generic).post("/predict", json=SENTENCE).json()
    unknown = {key for key, value in answer.items() if value is None}
    assert answer["predictor"] == "generic"
    assert unknown == set("coverage low_coverage top_terms other_terms intercept logit".split())
    compiled = v2.post("/predict", json=SENTENCE).json()
    assert list(answer) == list(compiled)
    assert answer["prediction_proba_dict"] == pytest.approx(
        compiled["prediction_proba_dict"], rel=0, abs=1e-12
    )


# --- a batch ----------------------------------------------------------------------------------


def test_batch_answers_each_sentence_as_predict_does(client: TestClient) -> None:
    sentences = ["I love the ice cream", "So bored at work", "I love the ice cream", "qzxvw"]
    answer = client.post("/predict/batch", json={"sentences": sentences})
    assert answer.status_code == 200
    assert list(answer.json()) == ["predictions"]
    singles = [client.post("/predict", json={"sentence": s}).json() for s in sentences]
    for batched, single in zip(answer.json()["predictions"], singles, strict=True):
        batched.pop("duration_ms", None)
        single.pop("duration_ms", None)
        assert batched == single


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.lists(
        st.text(min_size=1, max_size=30).filter(lambda text: not text.isspace())
        | st.sampled_from(["I love you", "so sad", "I hate rain", "bored", "what a relief"]),
        min_size=1,
        max_size=64,
    )
)
def test_answers_of_a_batch_never_mix(apps: Any, compiled: Any, sentences: list[str]) -> None:
    answer = TestClient(apps["v2"]).post("/predict/batch", json={"sentences": sentences}).json()
    for sentence, found in zip(sentences, answer["predictions"], strict=True):
        expected = compiled.predict(sentence)
        assert found["prediction value"] == expected.label
        assert list(found["prediction_proba_dict"].values()) == expected.probabilities


def test_batches_at_the_same_time_never_mix(apps: Any, compiled: Any) -> None:
    """Each batch gives way after each sentence, so these are served in turns."""
    moods = ["I love you", "so sad", "I hate rain", "so bored", "what a relief"]
    batches = [[f"{moods[(n + k) % 5]} {n}" for k in range(64)] for n in range(16)]

    async def ask_all() -> list[Any]:
        transport = httpx.ASGITransport(apps["v2"])
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(
                *(client.post("/predict/batch", json={"sentences": batch}) for batch in batches)
            )

    for batch, answer in zip(batches, asyncio.run(ask_all()), strict=True):
        for sentence, found in zip(batch, answer.json()["predictions"], strict=True):
            expected = compiled.predict(sentence).probabilities
            assert list(found["prediction_proba_dict"].values()) == expected


def test_long_batch_gives_way_to_a_single_request(apps: Any) -> None:
    finished: list[str] = []

    async def ask(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        answer = await client.post(path, json=body)
        assert answer.status_code == 200
        finished.append(path)

    async def ask_both() -> None:
        transport = httpx.ASGITransport(apps["v1"])
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            batch = asyncio.create_task(
                ask(client, "/predict/batch", {"sentences": ["so sad"] * 64})
            )
            await asyncio.sleep(0)
            await asyncio.gather(batch, ask(client, "/predict", SENTENCE))

    asyncio.run(ask_both())
    assert finished == ["/predict", "/predict/batch"]


def test_batch_holds_64_sentences_of_5000_characters(client: TestClient) -> None:
    body = {"sentences": ["x" * 5000] * 64}
    assert len(client.post("/predict/batch", json=body).json()["predictions"]) == 64


# --- what is accepted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentence",
    [
        "a",
        "x" * 5000,
        "\U0001f600" * 5000,
        "  spaces around  ",
        "line\nbreak\ttab",
        "nul \x00 inside",
        "‮ right to left",
        "\ufeffmark inside the text",
        "<script>alert(1)</script>",
        "'; DROP TABLE predictions; --",
        "%s %d {0} ${HOME}",
    ],
    ids=lambda s: ascii(s[:12]),
)
def test_any_text_of_1_to_5000_characters_is_answered(client: TestClient, sentence: str) -> None:
    # ensure_ascii writes the emoji as 12 bytes each: the longest body there can be.
    body = json.dumps({"sentence": sentence}).encode()
    answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["prediction value"] in LABELS


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8"],
)
def test_json_content_type_is_accepted_however_written(
    client: TestClient, content_type: str
) -> None:
    answer = client.post(
        "/predict", content=b'{"sentence": "hi"}', headers={"content-type": content_type}
    )
    assert answer.status_code == 200


def test_openapi_document_tells_the_shapes_of_both_variants(v1: TestClient, v2: TestClient) -> None:
    for client, keys in ((v1, 1), (v2, 15)):
        document = client.get("/openapi.json").json()
        schemas = document["components"]["schemas"]
        predict = document["paths"]["/predict"]["post"]
        body = predict["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/Question"}
        question = schemas["Question"]
        assert question["required"] == ["sentence"]
        assert question["additionalProperties"] is False
        assert question["properties"]["sentence"]["maxLength"] == 5000
        answer = schemas["Answer"]["properties"]
        assert "prediction value" in answer
        assert len(answer) == keys
        assert set(predict["responses"]) == {"200", "400", "413", "415", "422", "500"}
        batch = document["paths"]["/predict/batch"]["post"]
        body = batch["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/Questions"}
        assert schemas["Questions"]["properties"]["sentences"]["maxItems"] == 64
        assert "HTTPValidationError" not in schemas
        answers = schemas["Answers_Answer_"]["properties"]
        assert answers["predictions"]["items"] == {"$ref": "#/components/schemas/Answer"}
