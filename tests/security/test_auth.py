"""Without the right password no spelling of a path, no method and no protocol predicts."""

from base64 import b64encode

import pytest

from security.gateway import JSON, SENTENCE, Gateway, Replicas
from security.wire import Message

METHODS = ("GET", "HEAD", "POST", "OPTIONS", "post")

# Each is /predict, or its neighbours under the same password, for one reader or another.
SPELLINGS = (
    # slashes and dots
    *("/predict", "//predict", "///predict", "/predict/", "/predict//", "/./predict", "/predict/."),
    *("/../predict", "/predict/..", "/predict/../predict", "/x/../predict", "/docs/../predict"),
    *("/_error/../predict", "/metrics/../predict", "/predict.", "/predict.json", "predict"),
    # encodings, once and twice
    *("/%70redict", "/p%72edict", "/predic%74", "/%50redict", "/%2570redict", "/%2fpredict"),
    *("/predict%2f", "/%2e/predict", "/%2e%2e/predict", "/x/%2e%2e/predict", "/x/..%2fpredict"),
    *("/%252e%252e/predict", "/predict%c0%ae", "/%c0%afpredict", "/predict%ff", "/..%5cpredict"),
    # what a path may end at
    *("/predict?", "/predict?x=1", "/predict?/../x", "/predict#x", "/predict%3f", "/predict%23"),
    *("/predict;", "/predict;x=1", "/;/predict", "/predict;/../predict", "/predict%3b"),
    *("/predict%00", "/predict%00.css", "/%00/predict", "/predict%20", "/predict%09"),
    *("/predict%0a", "/predict%0d%0a", "/predict%7f", "/predict\\", "/\\predict", "/predict%5c"),
    # case
    *("/PREDICT", "/Predict", "/predicT"),
    # absolute form
    *("https://localhost/predict", "http://localhost/predict", "https://localhost:443/predict"),
    *("https://foreign.example/predict", "//localhost/predict", "https://x@localhost/predict"),
    # the other paths of the service
    *("/predict/batch", "/predict//batch", "/predict/batch/", "/predict/%62atch"),
    *("//predict/batch", "/docs", "/docs/", "/docs/swagger-ui.css", "/openapi.json"),
    *("//openapi.json", "/openapi%2ejson", "/_error", "/livez", "/readyz", "/metrics", "/", "*"),
    *("/status/now.json", "/status/status.js", "/status/", "/status/../predict", "/index.html"),
)  # fmt: skip


def credentials(kind: str, right: bytes) -> list[tuple[bytes, bytes]]:
    """Make an Authorization header that must not open, out of the right `user:password`."""
    user, _, password = right.partition(b":")
    known = {
        "right user, wrong password": user + b":not-" + password,
        "wrong user, right password": b"nobody-" + user + b":" + password,
        "no colon": user,
        "empty password": user + b":",
        "6 kB": user + b":" + password * (6000 // len(password)),
        "8 kB": user + b":" + b"x" * 8192,
    }
    if kind in known:
        return [(b"Authorization", b"Basic " + b64encode(known[kind]))]
    return {
        "none": [],
        "malformed": [(b"Authorization", b"Basic !!!")],
        "another scheme": [(b"Authorization", b"Bearer " + b64encode(right))],
        "another header": [(b"Proxy-Authorization", b"Basic " + b64encode(right))],
    }[kind]


KINDS = (
    *("none", "malformed", "no colon", "empty password", "6 kB", "8 kB", "another scheme"),
    *("another header", "right user, wrong password", "wrong user, right password"),
)  # fmt: skip
each_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2"])


def matrix(authorization: list[tuple[bytes, bytes]], methods: tuple[str, ...]) -> list[Message]:
    return [
        Message(method, path, (JSON, *authorization), SENTENCE)
        for path in SPELLINGS
        for method in methods
    ]


@each_protocol
def test_the_right_password_predicts_and_the_replicas_count_it(
    gateway: Gateway, replicas: Replicas, protocol: str
) -> None:
    # Else the counts below would prove nothing.
    before = replicas.counts()
    messages = matrix([gateway.authorization], ("POST",))
    answers = [a for a in gateway.ask_all(protocol, messages) if a]
    predicted = [a for a in answers if a.status == 200 and b"prediction value" in a.body]
    asked = [a for a in answers if a.replica]
    assert len(predicted) >= 8
    assert replicas.settled(before, len(asked)) == (len(asked), len(predicted))
    assert [a for a in answers if a.status >= 500] == []


@pytest.mark.parametrize("kind", KINDS)
@each_protocol
def test_no_spelling_of_a_path_reaches_a_replica_without_the_password(
    gateway: Gateway, replicas: Replicas, protocol: str, kind: str
) -> None:
    before = replicas.counts()
    # Long ones once: the client's own compression of them takes its time.
    methods = ("POST",) if kind.endswith("kB") else METHODS
    messages = matrix(credentials(kind, gateway.right), methods)
    answers = gateway.ask_all(protocol, messages)
    # 429 would be the rate limit's answer and say nothing about the password.
    wrong = [
        (message, answer.status)
        for message, answer in zip(messages, answers, strict=True)
        if answer and (not 400 <= answer.status < 500 or answer.status == 429 or answer.replica)
    ]
    assert wrong == []
    assert replicas.counts().since(before) == (0, 0)
    # Over HTTP/2 a field of that length ends the connection, without an answer on it.
    assert None not in answers or (protocol, kind) == ("h2", "8 kB")
