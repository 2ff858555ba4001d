"""Only the value `debug`, exactly so written, in exactly that header asks for version 2."""

import pytest

from security.gateway import Gateway
from security.wire import Message

NAME = b"X-Experiment-Group"
OTHER_VALUES = (
    *(b"", b"DEBUG", b"Debug", b"dEbug", b"debuG", b"debug2", b"debugx", b"xdebug", b"de bug"),
    *(b"debug debug", b"debug,", b",debug", b"debug,debug", b"debug, a", b"a, debug", b"debug;q=1"),
    *(b'"debug"', b"'debug'", b"<debug>", b"debug\\", b"debug/", b"debug.", b"debug-", b"debug_"),
    *(b"debug=1", b"debug:", b"debug%00", b"debug%20", b"%64ebug", b"debug?", b"debug#"),
    *(b"d\xc3\xa9bug", b"debug\xc2\xa0", b"\xef\xbb\xbfdebug", b"\xd0\xb4ebug", b"debu", b"ebug"),
    *(b"~^debug$", b".*", b"*", b"$service", b"v1", b"v2", b"true", b"1", b"A", b"B", b"control"),
    *(b"production", b"null", b"debug" * 100),
)
OTHER_NAMES = (
    *(b"X_Experiment_Group", b"Experiment-Group", b"X-Experiment", b"X-Experiment-Groups"),
    *(b"X-Experimentgroup", b"X-Forwarded-Experiment-Group", b"XX-Experiment-Group", b"X-Debug"),
)
each_protocol = pytest.mark.parametrize("protocol", ["http/1.1", "h2"])


def versions(gateway: Gateway, protocol: str, messages: list[Message]) -> list[str]:
    """Return which version answered each, as v1 or v2, or the status where none did."""
    found = []
    for answer in gateway.ask_all(protocol, messages):
        assert answer
        version = answer.replica.partition("-")[0]
        # What the header says is what the answer holds.
        assert (b"proba" in answer.body) == (version == "v2")
        found.append(version if answer.status == 200 else str(answer.status))
    return found


@each_protocol
@pytest.mark.parametrize("name", [NAME, NAME.upper(), NAME.lower()])
def test_debug_reaches_v2_whatever_the_case_of_the_name(
    gateway: Gateway, protocol: str, name: bytes
) -> None:
    assert versions(gateway, protocol, [gateway.predict((name, b"debug"))]) == ["v2"]


def test_blanks_around_the_value_are_none_of_it(gateway: Gateway) -> None:
    messages = [gateway.predict((NAME, value)) for value in (b" debug", b"debug ", b"  debug  ")]
    assert versions(gateway, "http/1.1", messages) == ["v2"] * 3


@each_protocol
def test_every_other_value_is_answered_by_v1(gateway: Gateway, protocol: str) -> None:
    assert len(OTHER_VALUES) >= 50
    found = versions(gateway, protocol, [gateway.predict((NAME, v)) for v in OTHER_VALUES])
    assert [value for value, by in zip(OTHER_VALUES, found, strict=True) if by != "v1"] == []


@each_protocol
def test_a_control_character_behind_the_value_does_not_reach_v2(
    gateway: Gateway, protocol: str
) -> None:
    messages = [
        gateway.predict((NAME, b"debug" + end)) for end in (b"\x0b", b"\x0c", b"\x7f", b"\0")
    ]
    assert "v2" not in versions(gateway, protocol, messages)


@each_protocol
def test_every_other_place_is_answered_by_v1(gateway: Gateway, protocol: str) -> None:
    messages = [gateway.predict((name, b"debug")) for name in OTHER_NAMES]
    messages += [
        gateway.predict((NAME, b"debug"), (NAME, b"debug")),
        gateway.predict((NAME, b"debug"), (NAME, b"a")),
        gateway.predict((NAME, b""), (NAME, b"debug")),
        gateway.predict((b"Cookie", NAME + b"=debug")),
        *(
            Message("POST", f"/predict{query}", like.headers, like.body)
            for like in [gateway.predict()]
            for query in ("?X-Experiment-Group=debug", "?x_experiment_group=debug", "?debug")
        ),
    ]
    assert versions(gateway, protocol, messages) == ["v1"] * len(messages)
