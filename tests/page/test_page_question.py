"""The question box: what it sends, what it shows, and what it says when there is no answer."""

import json

import pytest
from playwright.sync_api import Page, expect

from page import canned
from page.conftest import Visit
from page.fake_gateway import FakeGateway

SENTENCE = 'What a "lovely" surprise, 谢谢 🙂!'


def ask(page: Page, sentence: str = SENTENCE, version: str = "v1") -> None:
    page.get_by_role("textbox", name="Sentence").fill(sentence)
    page.get_by_role("radio", name=version).check()
    page.get_by_role("button", name="Ask").click()


def test_v1_answers_with_replica_time_and_id(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url).page
    ask(page)
    answer = page.locator("#answer")
    expect(answer.locator(".label")).to_have_text("love")
    expect(answer).to_contain_text("Replicav1-2")
    expect(answer).to_contain_text(canned.REQUEST_ID)
    assert answer.locator("dd").nth(1).inner_text().endswith(" ms")
    (question,) = gateway.questions()
    assert question.method == "POST"
    assert json.loads(question.body) == {"sentence": SENTENCE}
    assert question.headers["content-type"] == "application/json"
    assert "x-experiment-group" not in question.headers


def test_v2_explains_itself(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers["/predict"] = canned.v2()
    page = visit(gateway.url).page
    ask(page, version="v2")
    answer = page.locator("#answer")
    for words in (
        "love",
        "53.4 %",
        "94 %",
        "0.41 ms",
        "v2-1",
        "lovely +1.28",
        "surprise \u22120.22",
    ):
        expect(answer).to_contain_text(words)
    expect(answer.locator(".chances li")).to_have_count(5)
    expect(answer.locator(".chances li").first).to_have_text("love53.4 %")
    assert gateway.questions()[0].headers["x-experiment-group"] == "debug"


def test_an_answer_not_to_rely_on_says_so(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers["/predict"] = canned.v2(low=True)
    page = visit(gateway.url).page
    ask(page, version="v2")
    expect(page.locator("#answer")).to_contain_text("do not rely on this answer")
    expect(page.locator("#answer")).to_have_attribute("data-state", "warn")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (canned.refusal(401, "unauthorized"), "did not take the password"),
        (canned.refusal(413, "content_too_large"), "too long"),
        (canned.refusal(422, "invalid_request", "No."), "cannot read this sentence. No."),
        (
            canned.refusal(429, "rate_limited", "Slower.", "7"),
            "Too many requests from your address, so the gateway refused this one. "
            "Ask again in 7 seconds.",
        ),
        (canned.refusal(503, "unavailable", "Later.", "1"), "No replica could answer"),
        (canned.refusal(503, "maintenance", "Later.", "60"), "worked on. Ask again in 60 seconds."),
        (canned.refusal(500, "internal_error", "Report it."), "status 500. Report it."),
        (canned.Answer(502, "<html>"), "status 502"),
        (canned.Answer(200, "<html>"), "could not be read"),
        (canned.Answer(200, '{"other": 1}'), "could not be read"),
        (canned.Answer(200, "null"), "could not be read"),
        (canned.HANGS_UP, "The gateway cannot be reached"),
    ],
)
def test_a_refusal_is_told_in_plain_words(
    gateway: FakeGateway, visit: Visit, answer: canned.Answer, words: str
) -> None:
    gateway.answers["/predict"] = answer
    page = visit(gateway.url).page
    ask(page)
    said = page.get_by_role("status").filter(has_text=words)
    expect(said).to_be_visible()
    expect(page.locator("#answer .label")).to_have_count(0)
    if "X-Request-ID" in answer.headers:
        expect(page.locator("#answer")).to_contain_text(canned.REQUEST_ID)


def test_a_failure_replaces_the_answer_before_it(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url).page
    ask(page)
    expect(page.locator("#answer .label")).to_have_text("love")
    gateway.answers["/predict"] = canned.HANGS_UP
    ask(page)
    expect(page.locator("#answer")).to_contain_text("cannot be reached")
    expect(page.locator("#answer")).not_to_contain_text("love")


def test_after_429_nothing_is_asked_until_the_gateway_said(
    gateway: FakeGateway, visit: Visit
) -> None:
    gateway.answers["/predict"] = canned.refusal(429, "rate_limited", "Slower.", "2")
    page = visit(gateway.url).page
    ask(page)
    button = page.locator("#ask")
    expect(button).to_have_text("Wait 2 s")
    expect(button).to_have_attribute("aria-disabled", "true")
    # Still where the keyboard is.
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("textbox", name="Sentence").press("Enter")
    expect(button).to_have_text("Ask")
    assert len(gateway.questions()) == 1
    gateway.answers["/predict"] = canned.v1()
    button.click()
    expect(page.locator("#answer .label")).to_have_text("love")
    assert len(gateway.questions()) == 2


@pytest.mark.parametrize("sentence", ["", "   "])
def test_nothing_is_asked_without_a_sentence(
    gateway: FakeGateway, visit: Visit, sentence: str
) -> None:
    page = visit(gateway.url).page
    ask(page, sentence)
    expect(page.locator("#answer")).to_contain_text("Write a sentence first.")
    expect(page.get_by_role("textbox", name="Sentence")).to_be_focused()
    assert gateway.questions() == []


def test_the_keyboard_alone_asks_v2(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers["/predict"] = canned.v2()
    page = visit(gateway.url).page
    expect(page.locator("#overall-title")).to_have_text("Everything works")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the sentence")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the sentence")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Sentence")).to_be_focused()
    page.keyboard.type("I am glad")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="v1")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="v2")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Ask")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#answer .label")).to_have_text("love")
    expect(page.get_by_role("button", name="Ask")).to_be_focused()
    assert json.loads(gateway.questions()[0].body) == {"sentence": "I am glad"}


def test_enter_in_the_box_asks(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url).page
    page.get_by_role("textbox", name="Sentence").fill("I am glad")
    page.keyboard.press("Enter")
    expect(page.locator("#answer .label")).to_have_text("love")
