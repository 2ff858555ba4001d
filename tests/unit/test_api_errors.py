"""Everything that can be wrong with a request gives JSON of one shape, and never the input."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from api.schema import NOT_BLANK

LEAK = "Kx7Leak"
JSON = {"content-type": "application/json"}


def assert_error(answer: Any, status: int, code: str) -> str:
    """Check the one shape of an error and return its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error", "detail", "request_id"]
    assert body["error"] == code
    assert body["detail"].endswith(".")
    assert body["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-served-by"] == "test-1"
    assert LEAK not in answer.text
    assert "Traceback" not in answer.text
    return str(body["detail"])


NOT_JSON = {
    "empty": b"",
    "words": LEAK.encode(),
    "truncated": b'{"sentence": "' + LEAK.encode(),
    "trailing": b'{"sentence": "a"} ' + LEAK.encode(),
    "trailing_comma": b'{"sentence": "a",}',
    "single_quotes": b"{'sentence': 'a'}",
    "raw_line_break": b'{"sentence": "a\nb"}',
    "lone_surrogate": b'{"sentence": "Kx7Leak \\ud800"}',
    "lone_low_surrogate": b'{"sentence": "\\udc00"}',
    "surrogate_in_a_key": b'{"\\ud800": "Kx7Leak"}',
    "surrogate_in_utf8": b'{"sentence": "\xed\xa0\x80"}',
    "invalid_utf8": b'{"sentence": "Kx7Leak \xff"}',
    "invalid_utf8_key": b'{"Kx7Leak\xff": "a"}',
    "overlong_utf8": b'{"sentence": "\xc0\xaf"}',
    "latin_1": '{"sentence": "café"}'.encode("latin-1"),
    "byte_order_mark": b'\xef\xbb\xbf{"sentence": "a"}',
    "utf_16": '{"sentence": "a"}'.encode("utf-16"),
    "deep_arrays": b"[" * 60_000,
    "deep_value": b'{"sentence": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "deep_objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "huge_integer": b'{"sentence": ' + b"9" * 60_000 + b"}",
}

NOT_A_QUESTION = {
    "null": (b"null", "object"),
    "array": (b'["Kx7Leak"]', "object"),
    "text": (b'"Kx7Leak"', "object"),
    "number": (b"1", "object"),
    "nan": (b"NaN", "object"),
    "no_field": (b"{}", "'sentence' is required"),
    "other_field_only": (b'{"Kx7Leak": "a"}', "'sentence' is required"),
    "field_twice": (b'{"sentence": "Kx7Leak", "sentence": "a"}', "'sentence' once"),
    "field_twice_escaped": (b'{"sentence": "a", "\\u0073entence": "a"}', "'sentence' once"),
    "field_twice_huge": (
        b'{"sentence": {"a": [1e999, NaN, -9]}, "sentence": "a"}',
        "'sentence' once",
    ),
    "field_in_capitals": (b'{"Sentence": "a"}', "'sentence' is required"),
    "many_fields": (
        b"{" + b",".join(b'"k%d":1' % n for n in range(5000)) + b"}",
        "'sentence' is required",
    ),
    "unknown_field": (b'{"sentence": "a", "Kx7Leak": "b"}', "no other"),
    "integer": (b'{"sentence": 74287}', "'sentence' must be a string"),
    "float": (b'{"sentence": 1e400}', "'sentence' must be a string"),
    "boolean": (b'{"sentence": true}', "'sentence' must be a string"),
    "field_null": (b'{"sentence": null}', "'sentence' must be a string"),
    "field_nan": (b'{"sentence": NaN}', "'sentence' must be a string"),
    "field_infinity": (b'{"sentence": -Infinity}', "'sentence' must be a string"),
    "field_array": (b'{"sentence": ["Kx7Leak"]}', "'sentence' must be a string"),
    "field_object": (b'{"sentence": {"a": "Kx7Leak"}}', "'sentence' must be a string"),
    "empty_text": (b'{"sentence": ""}', "at least 1 character"),
    "blank": (b'{"sentence": " \\t\\n "}', "white space"),
    "unicode_blank": ('{"sentence": "\u00a0\u3000\u2003"}'.encode(), "white space"),
    "too_long": (b'{"sentence": "' + b"a" * 5001 + b'"}', "at most 5000 characters"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_body_that_is_not_json_is_400(client: TestClient, name: str) -> None:
    answer = client.post("/predict", content=NOT_JSON[name], headers=JSON)
    assert_error(answer, 400, "bad_request")


@pytest.mark.parametrize("name", NOT_A_QUESTION)
def test_json_that_is_no_question_is_422_and_names_the_rule(client: TestClient, name: str) -> None:
    body, rule = NOT_A_QUESTION[name]
    detail = assert_error(
        client.post("/predict", content=body, headers=JSON), 422, "invalid_request"
    )
    assert rule in detail
    assert "74287" not in detail


NOT_A_BATCH = {
    "null": (b"null", "object"),
    "one_sentence": (b'{"sentence": "a"}', "'sentences' is required"),
    "text": (b'{"sentences": "Kx7Leak"}', "must be a list"),
    "object": (b'{"sentences": {"0": "Kx7Leak"}}', "must be a list"),
    "none": (b'{"sentences": []}', "at least 1 sentence"),
    "too_many": (b'{"sentences": [' + b'"a",' * 64 + b'"Kx7Leak"]}', "at most 64 sentences"),
    "unknown_field": (b'{"sentences": ["a"], "Kx7Leak": 1}', "no other"),
    "field_twice": (b'{"sentences": ["a"], "sentences": ["b"]}', "'sentences' once"),
    "number_inside": (
        b'{"sentences": ["a", 7]}',
        "Sentence 2 of the field 'sentences' must be a s",
    ),
    "empty_inside": (b'{"sentences": [""]}', "Sentence 1 of the field 'sentences' must hold at le"),
    "blank_inside": (b'{"sentences": ["a", "a", " "]}', "Sentence 3 of the field 'sentences' must"),
    "long_inside": (b'{"sentences": ["' + b"a" * 5001 + b'"]}', "at most 5000 characters"),
    "list_inside": (b'{"sentences": [["Kx7Leak"]]}', "must be a string"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_batch_that_is_not_json_is_400(client: TestClient, name: str) -> None:
    answer = client.post("/predict/batch", content=NOT_JSON[name], headers=JSON)
    assert_error(answer, 400, "bad_request")


@pytest.mark.parametrize("name", NOT_A_BATCH)
def test_json_that_is_no_batch_is_422_and_names_the_rule(client: TestClient, name: str) -> None:
    body, rule = NOT_A_BATCH[name]
    answer = client.post("/predict/batch", content=body, headers=JSON)
    assert rule in assert_error(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"sentence":' * 100_000, b'{"sentence": "' + b"a" * 10_000_000 + b'"}'],
    ids=["100000_arrays", "100000_objects", "10_megabytes"],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_body_that_is_meant_to_knock_it_over_is_refused(
    client: TestClient, path: str, body: bytes
) -> None:
    answer = client.post(path, content=body, headers=JSON)
    code = {400: "bad_request", 413: "content_too_large"}[answer.status_code]
    assert_error(answer, answer.status_code, code)
    assert client.get("/livez").status_code == 200


nasty = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["sentence", "sentences", "a"]), inner, max_size=3)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    st.tuples(st.binary(max_size=12), st.integers(0, 24)).map(
        lambda piece: (
            b'{"sentence": "I am glad"}'[: piece[1]]
            + piece[0]
            + b'{"sentence": "I am glad"}'[piece[1] :]
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(body=nasty, path=st.sampled_from(["/predict", "/predict/batch"]))
def test_any_body_gets_json_and_never_a_5xx(apps: Any, body: bytes, path: str) -> None:
    answer = TestClient(apps["v2"]).post(path, content=body, headers=JSON)
    assert answer.status_code in (200, 400, 422)
    assert answer.json()


def test_batch_of_512_kib_is_read_and_one_byte_more_is_413(client: TestClient) -> None:
    body = b'{"sentences": ["a"]}'.ljust(512 * 1024)
    assert client.post("/predict/batch", content=body, headers=JSON).status_code == 200
    answer = client.post("/predict/batch", content=body + b" ", headers=JSON)
    assert "512 KiB" in assert_error(answer, 413, "content_too_large")


def test_body_of_64_kib_is_read_and_one_byte_more_is_413(client: TestClient) -> None:
    body = b'{"sentence": "a"}'.ljust(64 * 1024)
    assert client.post("/predict", content=body, headers=JSON).status_code == 200
    answer = client.post("/predict", content=body + b" ", headers=JSON)
    assert_error(answer, 413, "content_too_large")


def test_large_body_without_a_length_is_413(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1024

    answer = client.post("/predict", content=chunks(), headers=JSON)
    assert "content-length" not in answer.request.headers
    assert_error(answer, 413, "content_too_large")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "text/json"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=lambda headers: ",".join(headers.values()) or "none",
)
def test_body_that_is_not_declared_as_plain_json_is_415(
    client: TestClient, headers: dict[str, str]
) -> None:
    answer = client.post("/predict", content=b'{"sentence": "a"}', headers=headers)
    assert_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/", "/predict/", "/Predict", f"/{LEAK}", "/predict/../x"])
def test_unknown_path_is_404_and_never_a_redirect(client: TestClient, path: str) -> None:
    answer = client.post(path, json={"sentence": "a"}, follow_redirects=False)
    assert_error(answer, 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_method_is_405_with_allow(client: TestClient, method: str) -> None:
    answer = client.request(method, "/predict")
    assert_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_post_to_an_operational_path_is_405_with_allow(client: TestClient, path: str) -> None:
    answer = client.post(path)
    assert_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


class BrokenPredictor:
    """Fails with the sentence in the message, as a careless library might."""

    kind = "generic"
    reason = None

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest

    def predict(self, sentence: str) -> None:
        raise ValueError(f"cannot judge {sentence}")

    def explain(self, sentence: str) -> None:
        self.predict(sentence)


@pytest.fixture
def broken(client_of: Callable[[Any], TestClient], manifest: dict[str, Any]) -> TestClient:
    from api.model import Manifest

    return client_of(BrokenPredictor(Manifest.model_validate(manifest)))


def test_unexpected_error_is_500_with_the_trace_in_the_log_only(
    broken: TestClient, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    answer = broken.post("/predict", json={"sentence": LEAK}, headers={"x-request-id": "abc"})
    assert_error(answer, 500, "internal_error")
    assert "ValueError" not in answer.text
    trace, request = log_lines()
    assert trace["exception"] == "ValueError"
    assert any("test_api_errors.py" in frame for frame in trace["traceback"])
    assert (trace["request_id"], request["request_id"]) == ("abc", "abc")
    assert (request["status"], request["level"]) == (500, "error")
    assert LEAK not in json.dumps(log_lines())


def test_service_goes_on_after_an_unexpected_error(broken: TestClient) -> None:
    broken.post("/predict", json={"sentence": "a"})
    assert broken.get("/livez").status_code == 200


def test_readiness_is_503_when_the_model_fails(
    broken: TestClient, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    assert_error(broken.get("/readyz"), 503, "not_ready")
    assert [line["level"] for line in log_lines()] == ["error", "error"]


def test_the_document_calls_blank_what_the_service_refuses() -> None:
    document = re.compile(NOT_BLANK)
    everything = map(chr, range(sys.maxunicode + 1))
    assert [c for c in everything if bool(document.search(c)) == c.isspace()] == []
