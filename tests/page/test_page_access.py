"""The page for everybody: hostile figures, screen readers, contrast, phones, little motion."""

import json
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from page import canned
from page.conftest import Visit
from page.fake_gateway import FakeGateway

NOW, SERIES, ALERTS = (f"/status/{name}.json" for name in ("now", "series", "alerts"))
# Deque's checker of accessibility.
AXE = files("axe_playwright_python") / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
}
HOSTILE = (
    "<img src=x onerror=window.hit=1>",
    "<script>window.hit=2</script>",
    '"><svg onload=window.hit=3>',
    "javascript:window.hit=4//<b>",
)
LONG = "W" * 300


def loaded(page: Page) -> None:
    expect(page.locator(".summary", has_text="Unknown so far")).to_have_count(0)


def everything_is(gateway: FakeGateway, text: str) -> None:
    """Put the text wherever the network can bring one."""
    now = []
    for one in canned.samples():
        labels = {k: text if k not in ("__name__", "job") else v for k, v in one["metric"].items()}
        now.append({**one, "metric": labels})
    now.append(canned.sample("up", 0, job=text, replica=text, instance=text))
    now.append(canned.sample("up", 0, job="api", replica=text, service=text))
    gateway.answers[NOW] = canned.vector(now)
    gateway.answers[SERIES] = canned.matrix(canned.series((text, "v2")))
    gateway.answers[ALERTS] = canned.alerts(
        canned.alert(text, "critical", text, text, service=text, **{"other": text}),
        canned.alert(text, text, text, text),
        canned.alert(text, text, text, text, state="pending"),
    )
    answer = canned.v2(text, term=text)
    body = json.loads(answer.body)
    body["prediction_proba_dict"] = {text: 0.9, **body["prediction_proba_dict"]}
    headers = {**answer.headers, "X-Served-By": text, "X-Request-ID": text}
    gateway.answers["/predict"] = canned.Answer(body=json.dumps(body), headers=headers)


def ask(page: Page) -> None:
    page.get_by_role("textbox", name="Sentence").fill("I am glad")
    page.get_by_role("button", name="Ask").click()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_over_the_network_stays_text(
    gateway: FakeGateway, visit: Visit, text: str
) -> None:
    everything_is(gateway, text)
    watched = visit(gateway.url)
    page = watched.page
    loaded(page)
    ask(page)
    expect(page.locator("#answer .label")).to_have_text(text)
    for place in (
        "#alerts-list li >> nth=0",
        "#parts",
        "#changes",
        "#plot-rate .legend",
        "#targets",
    ):
        expect(page.locator(place)).to_contain_text(text)
    assert page.locator("img, svg, iframe, object, b b, body script").count() == 0
    assert page.evaluate("window.hit") is None
    # A refusal as well.
    gateway.answers["/predict"] = canned.refusal(500, text, text)
    ask(page)
    expect(page.locator("#answer-say")).to_contain_text(text)
    assert page.locator("img, svg, iframe, object, b b, body script").count() == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize("text", ["fine", LONG, "a word " * 60])
def test_nothing_is_wider_than_a_phone(gateway: FakeGateway, visit: Visit, text: str) -> None:
    if text != "fine":
        everything_is(gateway, text)
    page = visit(gateway.url, **PHONE).page
    loaded(page)
    ask(page)
    expect(page.locator("#answer .label")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
             .filter((e) => !e.closest(".plot, thead") && e.getBoundingClientRect().right > 361)
             .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["well", "alert", "down"])
def test_axe_finds_nothing(gateway: FakeGateway, visit: Visit, scheme: str, kind: str) -> None:
    if kind == "alert":
        gateway.answers[ALERTS] = canned.alerts(
            canned.alert(*canned.REPLICA_DOWN), canned.alert(*canned.BURN)
        )
        gateway.answers[NOW] = canned.vector(canned.changed("up", 0, replica="v1-2"))
        gateway.answers["/predict"] = canned.v2(low=True)
    if kind == "down":
        gateway.answers[ALERTS] = gateway.answers[SERIES] = gateway.answers["/predict"] = (
            canned.DOWN
        )
        gateway.answers[NOW] = canned.vector(canned.samples(), late=300)
    page = visit(gateway.url, color_scheme=scheme, reduced_motion="reduce").page
    loaded(page)
    ask(page)
    expect(page.locator("#answer-say")).not_to_be_empty()
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "rules => axe.run({ runOnly: rules }).then(result => result.violations)", RULES
    )
    assert [(v["id"], v["help"], [n["html"] for n in v["nodes"]][:3]) for v in found] == []


def test_the_schemes_differ_and_the_plots_follow(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url, color_scheme="light").page
    loaded(page)
    pixels = """() => {
      const canvas = document.querySelector("#plot-rate canvas");
      return [getComputedStyle(document.body).backgroundColor, canvas.toDataURL()];
    }"""
    light = page.evaluate(pixels)
    page.emulate_media(color_scheme="dark")
    # The page hears of it with the next frame.
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    dark = page.evaluate(pixels)
    assert light[0] != dark[0]
    assert light[1] != dark[1]


def test_little_motion_is_none(gateway: FakeGateway, visit: Visit) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((e) => {
      const style = getComputedStyle(e);
      return style.transitionDuration !== "0s" || style.animationName !== "none";
    }).length"""
    page = visit(gateway.url, reduced_motion="reduce").page
    loaded(page)
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0


def test_a_screen_reader_finds_its_way(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[ALERTS] = canned.alerts(canned.alert(*canned.REPLICA_DOWN))
    page = visit(gateway.url).page
    loaded(page)
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - link "Skip to the sentence"
        - banner:
          - heading "Status" [level=1]
          - navigation "Elsewhere":
            - link "API documentation"
        - main:
          - region "It works, but needs attention":
            - status:
              - heading "It works, but needs attention" [level=2]
          - region "Alerts":
            - heading "Alerts" [level=2]
            - list:
              - listitem:
                - heading "warning Replica v1-2 does not answer Prometheus" [level=3]
          - region "At a glance":
            - term: Replicas
            - definition: 4 of 4
          - region "The last hour":
            - figure "Requests, a second"
            - figure "Errors, share of 5xx"
            - figure "Time to answer, p95"
          - region "What runs":
            - table "What runs"
          - region "Last changes":
            - list
          - region "Try a sentence":
            - textbox "Sentence"
            - group "Service":
              - radio "v1, the prediction only" [checked]
              - radio "v2, with an explanation"
            - button "Ask"
        - contentinfo
        """
    )


def test_a_state_is_never_told_by_colour_alone(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[NOW] = canned.vector(canned.changed("up", 0, replica="v1-2"))
    page = visit(gateway.url).page
    loaded(page)
    signs = page.evaluate(
        """() => [...document.querySelectorAll(".state")].map((e) => [
             e.dataset.state, getComputedStyle(e, "::before").content, e.textContent !== ""])"""
    )
    assert {state for state, _, _ in signs} >= {"ok", "warn", "bad"}
    assert len({sign for _, sign, _ in signs}) == len({state for state, _, _ in signs})
    assert all(worded for _, _, worded in signs)
    dashes = page.evaluate(
        """() => [...document.querySelectorAll("#plot-rate .swatch")]
             .map((e) => getComputedStyle(e).borderTopStyle)"""
    )
    assert dashes == ["solid", "dashed"]
