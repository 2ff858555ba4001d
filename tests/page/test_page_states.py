"""What the status page says of every state of the stack, held against a fake gateway."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from page import canned
from page.browser import Watched
from page.conftest import Visit
from page.fake_gateway import FakeGateway

NOW, SERIES, ALERTS = (f"/status/{name}.json" for name in ("now", "series", "alerts"))
WELL = "Everything works"
UNSURE = "Unknown at the moment"
MINUTE_MS = 60_000
# An en dash, where a figure would be.
NONE = "\u2013"


def title(page: Page) -> Any:
    return expect(page.locator("#overall-title"))


def why(page: Page) -> Any:
    return expect(page.locator("#overall-why"))


def with_clock(watched: Watched) -> None:
    watched.page.clock.install()


def hide(page: Page, hidden: bool) -> None:
    """Do what a browser does when another tab comes in front, as far as the page can see."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_healthy_stack_is_told_in_full(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url).page
    title(page).to_have_text(WELL)
    expect(page.locator("#overall")).to_have_attribute("data-state", "ok")
    expect(page).to_have_title(re.compile("✓ Everything works"))
    expect(page.locator("#alerts-say")).to_have_text("No alert is firing.")
    rows = page.get_by_role("table", name="What runs").get_by_role("row")
    expect(rows).to_have_count(1 + len(canned.CONTAINERS))
    row = rows.filter(has_text="emotions-api-v1-2")
    expect(row.get_by_role("cell")).to_have_text(
        ["emotions-api-v1-2", "healthy", "a0a4ee1978ed", re.compile(r"\d+ (h|d)"), "1"]
    )
    expect(page.locator("#facts")).to_contain_text("4 of 4")
    expect(page.locator("#facts")).to_contain_text("93 %")
    expect(page.locator("#facts")).to_contain_text("71 %")
    expect(page.locator("#facts")).to_contain_text("271 days")
    expect(page.locator("#changes li")).to_have_count(4)
    expect(page.locator("#changes li").first).to_contain_text("deploy · release")
    expect(page.locator("#targets")).to_have_text("All 8 targets of Prometheus answer it.")
    expect(page.locator(".age:visible")).to_have_count(0)


def test_each_plot_is_drawn_and_summed_up_in_words(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url).page
    for name, unit in (("rate", "/s"), ("errors", "%"), ("p95", "ms")):
        plot = page.locator(f"#plot-{name}")
        expect(plot.locator("canvas").first).to_be_visible()
        expect(plot.locator(".legend li")).to_have_count(2)
        expect(plot.locator(".summary")).to_contain_text(re.compile(rf"v1: between .+{unit}"))
        # Painted: not one colour all over.
        assert page.evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext("2d")
                 .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size > 8""",
            plot.locator("canvas").first.element_handle(),
        )


def test_a_pointer_on_a_plot_reads_its_values(gateway: FakeGateway, visit: Visit) -> None:
    found = canned.series(("v1",))
    for one in found:
        one["values"] = [[t, str(n)] for n, (t, _) in enumerate(one["values"])]
    gateway.answers[SERIES] = canned.matrix(found)
    page = visit(gateway.url).page
    plot = page.locator("#plot-rate")
    expect(plot.locator(".legend")).to_have_text(re.compile(r"v1(60|59)/s"))
    plot.locator("canvas").last.hover(position={"x": 150, "y": 50})
    expect(plot.locator(".legend")).not_to_have_text(re.compile(r"v1(60|59)/s"))
    expect(plot.locator("figcaption")).to_contain_text(re.compile(r"\d\d:\d\d"))


def test_minutes_without_data_are_shown_as_a_gap(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[SERIES] = canned.matrix(canned.series(("v1",), gap=range(40, 61)))
    page = visit(gateway.url).page
    expect(page.locator("#plot-rate .summary")).to_contain_text("no data since")
    expect(page.locator("#plot-rate .legend")).to_have_text(f"v1{NONE}")


def test_values_that_are_no_numbers_are_left_out(gateway: FakeGateway, visit: Visit) -> None:
    found = canned.series(("v1",))
    for one in found:
        one["values"] = [[t, "NaN"] for t, _ in one["values"]]
    gateway.answers[SERIES] = canned.matrix(found)
    page = visit(gateway.url).page
    expect(page.locator("#plot-p95 .summary")).to_contain_text("No data in the last hour")
    expect(page.locator("#plot-p95")).not_to_contain_text("NaN")


def test_without_the_plot_library_the_words_stay(gateway: FakeGateway, visit: Visit) -> None:
    gateway.without.add("/status/dygraph.min.js")
    watched = visit(gateway.url)
    page = watched.page
    title(page).to_have_text(WELL)
    expect(page.locator("#plot-rate")).to_contain_text("The plot library did not load")
    expect(page.locator("#plot-rate .summary")).to_contain_text("v1: between")
    # The browser's own line of the file that is no script.
    assert all("dygraph.min.js" in line for line in watched.console)
    watched.console.clear()


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("stack_container_running", {"container": "emotions-api-v1-1"}, "stopped"),
        ("stack_container_healthy", {"container": "emotions-api-v1-1"}, "unhealthy"),
        ("up", {"job": "api", "replica": "v1-1"}, "no answer"),
    ],
)
def test_a_broken_part_is_named(
    gateway: FakeGateway, visit: Visit, name: str, labels: dict[str, str], words: str
) -> None:
    gateway.answers[NOW] = canned.vector(canned.changed(name, 0, **labels))
    page = visit(gateway.url).page
    title(page).to_have_text("Something is broken")
    why(page).to_contain_text(f"Broken: emotions-api-v1-1 ({words})")
    row = page.get_by_role("row").filter(has_text="emotions-api-v1-1")
    expect(row.get_by_role("cell").nth(1)).to_have_text(words)
    expect(page.locator("#parts-say")).to_have_text("6 of 7 parts are healthy.")


@pytest.mark.parametrize(
    ("name", "value", "labels", "words"),
    [
        ("api_model_not_compiled", 1, {"replica": "v2-1"}, "up, slow predictor"),
        ("slo:error_budget_left:ratio7d", -0.2, {"slo": "latency"}, "Speed budget: spent, missed"),
        ("slo:error_budget_left:ratio7d", 0.1, {"slo": "availability"}, "Error budget: 10 %"),
        ("up", 0, {"job": "access-log"}, "does not reach access-log"),
        (
            "probe_ssl_earliest_cert_expiry",
            1_000_000_000,
            {},
            "Certificate: expired, since 9 Sept 2001",
        ),
    ],
)
def test_what_wants_a_look_is_told(
    gateway: FakeGateway, visit: Visit, name: str, value: float, labels: dict[str, str], words: str
) -> None:
    gateway.answers[NOW] = canned.vector(canned.changed(name, value, **labels))
    page = visit(gateway.url).page
    why(page).to_contain_text(words)
    title(page).not_to_have_text(WELL)


def test_a_stack_without_metrics_is_not_healthy(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[NOW] = canned.vector([])
    gateway.answers[SERIES] = canned.matrix([])
    page = visit(gateway.url).page
    title(page).to_have_text(UNSURE)
    why(page).to_contain_text("Prometheus has no container and no replica")
    expect(page.locator("#facts .value")).to_have_text([NONE] * 4)
    expect(page.locator("#changes-say")).to_have_text("No changes so far.")


def test_replicas_are_shown_where_nothing_is_known_of_containers(
    gateway: FakeGateway, visit: Visit
) -> None:
    found = [s for s in canned.samples() if not s["metric"]["__name__"].startswith("stack_")]
    gateway.answers[NOW] = canned.vector(found)
    page = visit(gateway.url).page
    title(page).to_have_text(WELL)
    row = page.get_by_role("row").filter(has_text="api-v2-1")
    expect(row.get_by_role("cell").nth(1)).to_have_text("answers")


def test_alerts_come_with_what_to_do_the_worst_first(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[ALERTS] = canned.alerts(
        canned.alert(*canned.REPLICA_DOWN, replica="v1-2"),
        canned.alert(*canned.BURN),
        canned.alert("SoonFull", "warning", "The disk fills up", "Make room", state="pending"),
    )
    page = visit(gateway.url).page
    title(page).to_have_text("Something is broken")
    why(page).to_contain_text("1 critical alert; 1 warning alert")
    expect(page.locator("#alerts-say")).to_have_text(
        "2 alerts are firing: ReplicaDown, ErrorBudgetBurnsFast. 1 may follow: SoonFull."
    )
    items = page.locator("#alerts-list li")
    expect(items).to_have_count(2)
    for item, (name, severity, summary, advice) in zip(
        items.all(), (canned.BURN, canned.REPLICA_DOWN), strict=True
    ):
        for words in (name, severity, summary, advice, "(14 min)"):
            expect(item).to_contain_text(words)


def test_an_alert_that_starts_is_read_aloud_once(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url, before=with_clock).page
    expect(page.locator("#alerts-say")).to_have_text("No alert is firing.")
    page.evaluate(
        """() => {
          const said = document.getElementById("alerts-say");
          window.said = [];
          new MutationObserver(() => window.said.push(said.textContent))
            .observe(said, { childList: true, subtree: true, characterData: true });
        }"""
    )
    gateway.answers[ALERTS] = canned.alerts(canned.alert(*canned.REPLICA_DOWN))
    for rounds in (2, 3, 4):
        page.clock.fast_forward(16_000)
        while gateway.paths().count(SERIES) < rounds:
            page.clock.run_for(100)
    assert page.evaluate("window.said") == ["1 alert is firing: ReplicaDown."]
    assert page.locator("#alerts-say").get_attribute("aria-live") == "polite"


def test_prometheus_down_from_the_start_is_told(gateway: FakeGateway, visit: Visit) -> None:
    for path in (NOW, SERIES, ALERTS):
        gateway.answers[path] = canned.DOWN
    page = visit(gateway.url).page
    title(page).to_have_text(UNSURE)
    why(page).to_have_text("Prometheus does not answer.")
    expect(page.locator("#alerts-say")).to_have_text("Unknown: Prometheus does not answer.")
    expect(page.locator("#parts-say")).to_have_text("Unknown: Prometheus does not answer.")
    expect(page.locator("#plot-rate .summary")).to_have_text("Unknown: Prometheus does not answer.")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (canned.DOWN, "Prometheus does not answer"),
        (canned.refusal(503, "maintenance", "Later.", "60"), "the gateway is in maintenance"),
        (canned.refusal(401, "unauthorized"), "the gateway asks for the password again"),
        (
            canned.refusal(429, "rate_limited", "Slower.", "1"),
            "too many requests from your address",
        ),
        (canned.refusal(500, "internal_error"), "status 500"),
        (canned.Answer(200, "<html>"), "could not be read"),
        (canned.Answer(200, "null"), "could not be read"),
        (canned.Answer(200, '{"status":"error"}'), "could not be read"),
        (canned.Answer(200, '{"status":"success","data":{"alerts":7}}'), "could not be read"),
        (canned.HANGS_UP, "the gateway cannot be reached"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_was_known_stays_with_its_age(
    gateway: FakeGateway, visit: Visit, answer: canned.Answer, words: str
) -> None:
    gateway.answers[ALERTS] = canned.alerts(canned.alert(*canned.REPLICA_DOWN))
    page = visit(gateway.url, before=with_clock).page
    title(page).to_have_text("It works, but needs attention")
    expect(page.locator("#plot-rate .summary")).to_contain_text("v1")
    for path in (NOW, SERIES, ALERTS):
        gateway.answers[path] = answer
    page.clock.fast_forward(2 * MINUTE_MS)
    title(page).to_have_text(UNSURE)
    why(page).to_contain_text(re.compile(words, re.IGNORECASE))
    why(page).to_contain_text("The last known values are below.")
    expect(page.locator(".age:visible")).to_have_count(5)
    expect(page.locator(".age").first).to_have_text(re.compile(r"2 min old"))
    expect(page.locator("#updated")).to_have_text("Updated 2 min ago")
    expect(page.locator("#alerts-say")).to_contain_text("Last known: 1 alert is firing")
    expect(page.locator("#parts-say")).to_have_text("Last known: All 7 parts are healthy.")
    expect(page.get_by_role("row")).to_have_count(1 + len(canned.CONTAINERS))
    # Without the colours of health.
    colours = page.evaluate(
        """() => [".state[data-state=ok]", ".quiet"].map(
             name => getComputedStyle(document.querySelector(name)).color)"""
    )
    assert colours[0] == colours[1]


def test_one_feed_that_fails_takes_no_other_along(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[NOW] = canned.DOWN
    page = visit(gateway.url).page
    title(page).to_have_text(UNSURE)
    expect(page.locator("#alerts-say")).to_have_text("No alert is firing.")
    expect(page.locator("#plot-rate .summary")).to_contain_text("v1: between")


def test_cached_metrics_are_as_old_as_they_are(gateway: FakeGateway, visit: Visit) -> None:
    gateway.answers[NOW] = canned.vector(canned.samples(), late=300)
    page = visit(gateway.url).page
    title(page).to_have_text(UNSURE)
    why(page).to_contain_text("The metrics are old")
    expect(page.locator("#updated")).to_have_text("Updated 5 min ago")


def test_it_recovers_by_itself(gateway: FakeGateway, visit: Visit) -> None:
    good = dict(gateway.answers)
    for path in (NOW, SERIES, ALERTS):
        gateway.answers[path] = canned.DOWN
    # The refusal says: again in a second.
    page = visit(gateway.url).page
    title(page).to_have_text(UNSURE)
    gateway.answers.update(good)
    title(page).to_have_text(WELL)


def test_it_asks_again_after_fifteen_seconds(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url, before=with_clock).page
    expect(page.locator("#plot-rate .summary")).to_contain_text("v1")
    page.clock.run_for(1_000)
    assert gateway.paths().count(NOW) == 1
    page.clock.pause_at(page.evaluate("Date.now() / 1000") + 8)
    page.wait_for_timeout(100)
    assert gateway.paths().count(NOW) == 1
    page.clock.run_for(9_000)
    page.wait_for_timeout(200)
    assert gateway.paths().count(NOW) == 2


def test_a_hidden_tab_asks_nothing_and_claims_nothing(gateway: FakeGateway, visit: Visit) -> None:
    page = visit(gateway.url, before=with_clock).page
    title(page).to_have_text(WELL)
    page.clock.run_for(1_000)
    hide(page, True)
    expect(page).to_have_title("Status: paused")
    before = len(gateway.asked)
    page.clock.fast_forward(5 * MINUTE_MS)
    page.wait_for_timeout(200)
    assert len(gateway.asked) == before
    # Back in front with nobody to ask: what is there is five minutes old, and says so.
    for path in (NOW, SERIES, ALERTS):
        gateway.answers[path] = canned.HANGS_UP
    hide(page, False)
    title(page).not_to_have_text(WELL)
    expect(page.locator(".age").first).to_have_text("5 min old")


def test_an_address_with_a_password_in_it_works(gateway: FakeGateway, visit: Visit) -> None:
    watched = visit(gateway.url)
    title(watched.page).to_have_text(WELL)
    before = gateway.paths().count(SERIES)
    watched.page.goto(gateway.url.replace("//", "//user:password@") + "/")
    title(watched.page).to_have_text(WELL)
    assert gateway.paths().count(SERIES) > before
    watched.urls = [u.replace("user:password@", "") for u in watched.urls]


def test_a_first_visit_stays_in_the_budget_of_an_address(
    gateway: FakeGateway, visit: Visit
) -> None:
    page = visit(gateway.url).page
    title(page).to_have_text(WELL)
    expect(page.locator("#plot-rate .summary")).to_contain_text("v1")
    # One and a burst of five at once, ten a second; a browser's first is refused with 401.
    assert sorted(gateway.paths()) == [
        *("/", ALERTS, "/status/dygraph.min.js", NOW, SERIES),
        *("/status/status.css", "/status/status.js"),
    ]
