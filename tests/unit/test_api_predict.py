"""POST /predict: what each variant promises for a good request."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

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
    ]
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
    v2: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.pipeline import Pipeline

    calls = []
    original = Pipeline.predict_proba

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(Pipeline, "predict_proba", counted)
    monkeypatch.setattr(Pipeline, "predict", lambda *a, **k: pytest.fail("a second run"))
    assert v2.post("/predict", json=SENTENCE).status_code == 200
    assert calls == [1]


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
    for client, keys in ((v1, 1), (v2, 5)):
        document = client.get("/openapi.json").json()
        predict = document["paths"]["/predict"]["post"]
        question = predict["requestBody"]["content"]["application/json"]["schema"]
        assert question["required"] == ["sentence"]
        assert question["additionalProperties"] is False
        assert question["properties"]["sentence"]["maxLength"] == 5000
        answer = document["components"]["schemas"]["Answer"]["properties"]
        assert "prediction value" in answer
        assert len(answer) == keys
        assert set(predict["responses"]) == {"200", "400", "413", "415", "422", "500"}


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_documentation_page_that_loads_foreign_scripts(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
