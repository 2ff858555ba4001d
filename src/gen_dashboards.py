"""Builds Grafana's dashboards and writes them where the monitoring role finds them.

    python src/gen_dashboards.py            writes them
    python src/gen_dashboards.py --check    writes nothing, fails where a written one differs

The types are those of grafana-foundation-sdk. A panel's description says what to do when it is red.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import bargauge, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d

FOLDER = Path(__file__).resolve().parents[1] / "roles/monitoring/files/dashboards"

EXIT_OK = 0
EXIT_STALE = 1

COLUMNS = 24

ERRORS_ALLOWED = 0.001
"""Share of requests that may fail in seven days: the availability objective is 99.9 %."""

SLOW_ALLOWED = 0.01
SLOW_SECONDS = 0.1
"""The latency objective: 99 % of the predictions within 100 ms."""

FAST_BURN = 8.4
"""How many times the allowed share takes a twentieth of a seven-day budget in an hour."""

AT_LEAST_ONE = 0.5
"""An event or more: Prometheus extrapolates, so one event seldom counts as exactly 1."""

Query = tuple[str, str]
"""PromQL, and the legend of its series."""

Limits = list[d.Threshold]

NO_VALUE = "no data"


# --- parts of a panel -----------------------------------------------------------------------------


def datasource() -> c.DataSourceRef:
    return c.DataSourceRef(type_val="prometheus", uid="prometheus")


def above(red: float, yellow: float | None = None) -> Limits:
    """Limits of a value of which much is bad."""
    middle = [] if yellow is None else [d.Threshold(yellow, "yellow")]
    return [d.Threshold(None, "green"), *middle, d.Threshold(red, "red")]


def below(red: float, yellow: float | None = None) -> Limits:
    """Limits of a value of which little is bad."""
    middle = [] if yellow is None else [d.Threshold(red, "yellow")]
    return [
        d.Threshold(None, "red"),
        *middle,
        d.Threshold(red if yellow is None else yellow, "green"),
    ]


def quantiles(histogram: str, *shares: float) -> list[Query]:
    """Return the queries for quantiles (0 to 1) of a histogram of the replicas, by service."""
    rates = f"sum by (service, le) (rate({histogram}_bucket[$__rate_interval]))"
    return [
        (f"histogram_quantile({share}, {rates})", f"{{{{service}}}} p{share * 100:.0f}")
        for share in shares
    ]


def p50_p95_p99(rule: str, legend: str) -> list[Query]:
    """Return the queries for three recorded quantiles of the last five minutes."""
    return [(f"{rule}:{name}_5m", f"{legend} {name}") for name in ("p50", "p95", "p99")]


def _targets(queries: Sequence[Query], instant: bool, as_table: bool = False) -> list[Dataquery]:
    return [
        prometheus.Dataquery(
            ref_id=chr(ord("A") + index),
            datasource=datasource(),
            editor_mode=prometheus.QueryEditorMode.CODE,
            expr=expr,
            legend_format=legend,
            instant=instant,
            range_val=not instant,
            format_val=prometheus.PromQueryFormat.TABLE if as_table else None,
        )
        for index, (expr, legend) in enumerate(queries)
    ]


def _steps(limits: Limits | None) -> d.ThresholdsConfig:
    return d.ThresholdsConfig(
        mode=d.ThresholdsMode.ABSOLUTE, steps=limits or [d.Threshold(None, "blue")]
    )


def _in_red(names: str) -> d.DashboardFieldConfigSourceOverrides:
    color = {"mode": "fixed", "fixedColor": "red"}
    return d.DashboardFieldConfigSourceOverrides(
        matcher=d.MatcherConfig("byRegexp", names),
        properties=[d.DynamicConfigValue("color", color)],
    )


def _in_unit(column: str, unit: str) -> d.DashboardFieldConfigSourceOverrides:
    return d.DashboardFieldConfigSourceOverrides(
        matcher=d.MatcherConfig("byName", column), properties=[d.DynamicConfigValue("unit", unit)]
    )


def _last_value() -> c.ReduceDataOptions:
    return c.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)


# --- a dashboard ----------------------------------------------------------------------------------

TITLES = {
    "overview": "Overview",
    "gateway": "Gateway",
    "model": "Model",
    "host": "Host",
}
"""Title by uid. The uid is also the file's name, and the overview is Grafana's home page."""


class Board:
    """A dashboard that is filled from top to bottom: headings, and lines of panels."""

    def __init__(self, uid: str, description: str) -> None:
        self.uid = uid
        self.description = description
        self._placed: list[d.Panel | d.RowPanel] = []
        self._line: list[d.Panel] = []
        self._height = 0
        self._y = 0

    def heading(self, title: str) -> None:
        self._end_line()
        self._placed.append(d.RowPanel(title=title, grid_pos=d.GridPos(1, COLUMNS, 0, self._y)))
        self._y += 1

    def line(self, height: int) -> None:
        """Begin a line; the panels that follow share its columns evenly. `height` is Grafana's."""
        self._end_line()
        self._height = height

    def _end_line(self) -> None:
        for column, panel in enumerate(self._line):
            width = COLUMNS // len(self._line)
            panel.grid_pos = d.GridPos(self._height, width, column * width, self._y)
        self._placed += self._line
        self._y += self._height if self._line else 0
        self._line = []

    def stat(
        self,
        title: str,
        description: str,
        unit: str,
        *queries: Query,
        limits: Limits | None = None,
        words: dict[int, tuple[str, str]] | None = None,
        no_value: str = NO_VALUE,
    ) -> None:
        """Add a value for each series; `words` gives values a text and a colour."""
        mappings: dict[str, d.ValueMappingResult] = {
            str(value): d.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate((words or {}).items())
        }
        defaults = d.FieldConfig(
            unit=unit,
            color=d.FieldColor(mode=d.FieldColorModeId.THRESHOLDS),
            thresholds=_steps(limits),
            mappings=[d.ValueMap(mappings)] if mappings else None,
            no_value=no_value,
        )
        options = stat.Options(
            color_mode=c.BigValueColorMode.BACKGROUND if limits else c.BigValueColorMode.VALUE,
            graph_mode=c.BigValueGraphMode.NONE,
            reduce_options=_last_value(),
        )
        self._add("stat", title, description, _targets(queries, instant=True), defaults, options)

    def lines(
        self,
        title: str,
        description: str,
        unit: str,
        *queries: Query,
        limits: Limits | None = None,
        red: str | None = None,
        stacked: bool = False,
        least: float | None = 0,
        most: float | None = None,
        many: bool = False,
        no_value: str = NO_VALUE,
    ) -> None:
        """Add lines over time; limits are dashed, and series whose name matches `red` are red.

        The legend of `many` series is a list beside the picture that scrolls, the highest on top;
        that of a few stands below it.
        """
        style = c.GraphThresholdsStyleMode.DASHED if limits else c.GraphThresholdsStyleMode.OFF
        stacking = c.StackingMode.NORMAL if stacked else c.StackingMode.NONE
        defaults = d.FieldConfig(
            unit=unit,
            min_val=least,
            max_val=most,
            color=d.FieldColor(mode=d.FieldColorModeId.PALETTE_CLASSIC),
            thresholds=_steps(limits),
            no_value=no_value,
            custom=timeseries.FieldConfig(
                fill_opacity=30 if stacked else 5,
                show_points=c.VisibilityMode.NEVER,
                stacking=c.StackingConfig(stacking, "A"),
                thresholds_style=c.GraphThresholdsStyleConfig(style),
            ),
        )
        if many:
            legend = c.VizLegendOptions(
                c.LegendDisplayMode.TABLE,
                c.LegendPlacement.RIGHT,
                show_legend=True,
                calcs=["max"],
                sort_by="Max",
                sort_desc=True,
            )
        else:
            legend = c.VizLegendOptions(
                c.LegendDisplayMode.LIST, c.LegendPlacement.BOTTOM, show_legend=True
            )
        tooltip = c.VizTooltipOptions(c.TooltipDisplayMode.MULTI, c.SortOrder.DESCENDING)
        options = timeseries.Options(legend=legend, tooltip=tooltip)
        targets = _targets(queries, instant=False)
        overrides = [] if red is None else [_in_red(red)]
        self._add("timeseries", title, description, targets, defaults, options, overrides)

    def bars(
        self,
        title: str,
        description: str,
        unit: str,
        *queries: Query,
        limits: Limits | None = None,
        least: float | None = 0,
        most: float | None = None,
        no_value: str = NO_VALUE,
    ) -> None:
        """Add a bar for each series."""
        defaults = d.FieldConfig(
            unit=unit,
            min_val=least,
            max_val=most,
            color=d.FieldColor(mode=d.FieldColorModeId.THRESHOLDS),
            thresholds=_steps(limits),
            no_value=no_value,
        )
        options = bargauge.Options(
            display_mode=c.BarGaugeDisplayMode.BASIC,
            orientation=c.VizOrientation.HORIZONTAL,
            reduce_options=_last_value(),
        )
        targets = _targets(queries, instant=True)
        self._add("bargauge", title, description, targets, defaults, options)

    def table(
        self,
        title: str,
        description: str,
        query: str,
        columns: dict[str, str],
        value_unit: str | None = None,
        newest_first: bool = False,
        no_value: str = "",
    ) -> None:
        """Add the series of a query: `columns` are label: heading in order, "Value" the number.

        The first column sorts, the greatest on top with `newest_first`. A unit in the panel's
        defaults would hold for the labels, too, and turn each text into NaN.
        """
        first = next(iter(columns.values()))
        order = {name: index for index, name in enumerate(columns)}
        options = table.Options(sort_by=[c.TableSortByFieldState(first, newest_first)])
        defaults = d.FieldConfig(no_value=no_value, custom=table.FieldConfig())
        targets = _targets([(query, "")], instant=True, as_table=True)
        overrides = [] if value_unit is None else [_in_unit(columns["Value"], value_unit)]
        self._add("table", title, description, targets, defaults, options, overrides)
        self._line[-1].transformations = [
            d.DataTransformerConfig(
                "filterFieldsByName", options={"include": {"names": list(columns)}}
            ),
            d.DataTransformerConfig(
                "organize", options={"indexByName": order, "renameByName": columns}
            ),
        ]

    def _add(
        self,
        kind: str,
        title: str,
        description: str,
        targets: list[Dataquery],
        defaults: d.FieldConfig,
        options: object,
        overrides: list[d.DashboardFieldConfigSourceOverrides] | None = None,
    ) -> None:
        panel = d.Panel(
            kind,
            title=title,
            description=description,
            datasource=datasource(),
            targets=targets,
            field_config=d.FieldConfigSource(defaults, overrides),
            options=options,
        )
        self._line.append(panel)

    def build(self) -> d.Dashboard:
        self._end_line()
        for number, panel in enumerate(self._placed, start=1):
            panel.id_val = number
        return d.Dashboard(
            uid=self.uid,
            title=TITLES[self.uid],
            description=self.description,
            tags=[],
            editable=False,
            graph_tooltip=d.DashboardCursorSync.CROSSHAIR,
            refresh="15s",
            time=d.DashboardDashboardTime("now-1h", "now"),
            templating=d.DashboardDashboardTemplating([]),
            annotations=d.AnnotationContainer([change_marks()]),
            links=[link(uid) for uid in TITLES if uid != self.uid],
            panels=self._placed,
        )


def change_marks() -> d.AnnotationQuery:
    """A mark at each change of the stack; its value is its time, which Grafana wants in ms."""
    return d.AnnotationQuery(
        name="Changes",
        datasource=datasource(),
        icon_color="purple",
        expr="stack_change_timestamp_seconds * 1000",
        step="60s",
        use_value_for_time=True,
        title_format="{{what}}: {{result}}",
        text_format="release {{release}}",
        tag_keys="what,result",
    )


def link(uid: str) -> d.DashboardLink:
    return d.DashboardLink(title=TITLES[uid], url=f"/d/{uid}", icon="dashboard", keep_time=True)


def render(dashboard: d.Dashboard) -> str:
    """Return the dashboard's JSON as it is committed."""
    found = json.loads(JSONEncoder().encode(dashboard))
    # The SDK's types move links and marks into a menu, always; newer releases than 12.2 obey, and
    # some of them show no link there. Without the field they stand above the panels.
    for part in found["links"] + found["annotations"]["list"]:
        del part["placement"]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


# --- the dashboards -------------------------------------------------------------------------------


def errors_by_service(board: Board) -> None:
    board.lines(
        "Share of requests answered 5xx",
        "Above the red line (1 %): `make logs` shows each error with its request id. One service"
        " only: its last change is the first suspect, `make rollback` undoes it.",
        "percentunit",
        ("service:gateway_errors:ratio_rate5m", "{{service}}"),
        limits=above(0.01, yellow=ERRORS_ALLOWED),
    )


def latency_by_service(board: Board) -> None:
    board.lines(
        "Latency of each service",
        "Predictions as the gateway sees them, first byte to last. p99 above the red line (100 ms)"
        " in one service only: its model or its last change. In both: the machine, see the host"
        " dashboard.",
        "s",
        *p50_p95_p99("service:gateway_duration_seconds", "{{service}}"),
        limits=above(SLOW_SECONDS),
    )


def overview() -> d.Dashboard:
    board = Board("overview", "Is the stack well, what is wrong, and what changed before that?")

    board.line(4)
    board.stat(
        "Is every part up?",
        "Red: this part does not answer Prometheus. `make status` shows its container, `make logs`"
        " its last lines; `make start-project` replaces what is missing. nginx red while gateway is"
        " green: the exporter runs, but the gateway does not answer it.",
        "bool_yes_no",
        ('up{job="api"}', "{{replica}}"),
        ('up{job!="api"}', "{{job}}"),
        ("nginx_up", "nginx"),
        limits=below(1),
        words={0: ("down", "red"), 1: ("up", "green")},
    )

    board.line(5)
    board.stat(
        "Alerts firing",
        "Warnings and critical ones. Red: the table below names them; each alert's description in"
        " Prometheus (Alerts) says what to do.",
        "short",
        # Prometheus keeps a series for a firing alert only: none is a true zero.
        (
            'count(ALERTS{alertstate="firing", severity=~"warning|critical"}) or vector(0)',
            "firing",
        ),
        limits=above(1),
    )
    board.stat(
        "Containers that do not run or are not healthy",
        "Red: the host dashboard and `make status` name them, `make logs` shows their last lines."
        " Docker starts a container again that ended; one that hangs is for you.",
        "short",
        ("sum(1 - stack_container_running * stack_container_healthy)", "containers"),
        limits=above(1),
    )
    board.stat(
        "How much of the error budget is left?",
        "Of seven days: 99.9 % of requests without a 5xx, 99 % of predictions within 100 ms. Red:"
        " spent, the objective is missed; let changes wait, and find the cause among the alerts and"
        " the last changes. Yellow: less than a quarter is left.",
        "percentunit",
        ("slo:error_budget_left:ratio7d", "{{slo}}"),
        limits=below(0, yellow=0.25),
    )

    board.line(8)
    board.lines(
        "Requests per second",
        "Predictions and batches by service, refused ones too. There is no red: a sudden zero under"
        " steady use means that clients do not reach the gateway, see the gateway dashboard.",
        "reqps",
        ("service:gateway_requests:rate5m", "{{service}}"),
    )
    errors_by_service(board)
    latency_by_service(board)

    board.line(8)
    board.table(
        "Which alerts fire?",
        "The newest on top. Prometheus (Alerts) shows each one's description, which says what to"
        " do; start with the critical ones.",
        'ALERTS_FOR_STATE * 1000 and ignoring (alertstate) ALERTS{alertstate="firing"}',
        {
            "Value": "since",
            "severity": "severity",
            "alertname": "alert",
            "service": "service",
            "replica": "replica",
            "container": "container",
            "job": "job",
            "device": "device",
        },
        value_unit="dateTimeAsLocal",
        newest_first=True,
    )
    board.table(
        "What changed?",
        "The last twenty changes, which are also the purple marks in the graphs. Something broke"
        " right after one: `make history` has its commit, `make rollback` undoes a deploy.",
        "stack_change_timestamp_seconds * 1000",
        {
            "Value": "when",
            "what": "what",
            "release": "release",
            "result": "result",
        },
        value_unit="dateTimeAsLocal",
        newest_first=True,
    )

    board.line(8)
    board.lines(
        "How fast is the error budget spent?",
        "1 spends just what seven days allow. Above the red line (14.4) half a day empties the"
        " budget: act now. Above 1 for days: it will be missed, look for the cause in working"
        " hours.",
        "short",
        (f"gateway:availability_errors:ratio_rate1h / {ERRORS_ALLOWED}", "errors, 1 h"),
        (f"gateway:availability_errors:ratio_rate6h / {ERRORS_ALLOWED}", "errors, 6 h"),
        (f"gateway:slow:ratio_rate1h / {SLOW_ALLOWED}", "slow, 1 h"),
        (f"gateway:slow:ratio_rate6h / {SLOW_ALLOWED}", "slow, 6 h"),
        limits=above(FAST_BURN, yellow=1),
    )
    board.lines(
        "Error budget over time",
        "A step down is an incident; a slope is a steady fault. Red, below zero: the objective of"
        " seven days is missed; let changes wait until it has recovered.",
        "percentunit",
        ("slo:error_budget_left:ratio7d", "{{slo}}"),
        limits=below(0, yellow=0.25),
        least=None,
        most=1,
    )
    return board.build()


def gateway() -> d.Dashboard:
    board = Board("gateway", "Who asks what, what is refused, and how long does it take?")

    board.heading("Requests")

    board.line(8)
    board.lines(
        "Requests per second by route and status",
        "Each line of the access log counts. A red line is a 5xx: `make logs` shows the requests"
        " with their ids. 502 or 504: a replica failed or hung; 503: none was free, or maintenance"
        " is on. 000: the client left before it got a response.",
        "reqps",
        (
            "sum by (route, status) (rate(gateway_requests_total[$__rate_interval]))",
            "{{route}} {{status}}",
        ),
        red=".* 5..",
        many=True,
    )
    board.lines(
        "How many requests are refused?",
        "Above the red line (one a second) of 401: passwords are being guessed, or a client has an"
        " old one; `client` in the access log (`make logs`) says who. Of 429: a client asks more"
        " than nginx_rate_limit allows; slow it down or raise the limit.",
        "reqps",
        (
            "sum(rate(gateway_unauthorized_total[$__rate_interval]))",
            "401: no password, or a wrong one",
        ),
        ("sum(rate(gateway_limited_total[$__rate_interval]))", "429: over the rate limit"),
        limits=above(1),
    )

    board.line(8)
    board.lines(
        "Requests per second by replica",
        "The replicas of a service take turns, so their lines lie close together. There is no red:"
        " one at zero while its neighbours work is taken for failed by the gateway; look at it with"
        " `make status`, ask it with `make verify`.",
        "reqps",
        ("service_replica:gateway_requests:rate5m", "{{replica}}"),
    )
    board.lines(
        "Retries per second",
        "Tries at another replica after the first failed; the client sees none of it but the wait."
        " Above the red line a replica fails now and then: the panel beside it and `make logs` say"
        " which one. A few during a deploy are no harm.",
        "reqps",
        ("sum(rate(gateway_retries_total[$__rate_interval]))", "retries"),
        limits=above(0.1),
    )
    errors_by_service(board)

    board.heading("Latency")

    board.line(8)
    latency_by_service(board)
    board.lines(
        "Latency of each replica",
        "One replica above the red line (100 ms) and its neighbours not: it hangs or is starved;"
        " `docker restart` it, then look at its processor time and memory on the host dashboard.",
        "s",
        *p50_p95_p99("service_replica:gateway_duration_seconds", "{{replica}}"),
        limits=above(SLOW_SECONDS),
        many=True,
    )

    board.line(8)
    board.lines(
        "Share of predictions over 100 ms",
        "Above the red line (1 %) the latency objective loses budget. The panel beside it tells"
        " whether the time goes by in the replicas; if not, clients send or read slowly.",
        "percentunit",
        ("gateway:slow:ratio_rate5m", "5 min"),
        ("gateway:slow:ratio_rate1h", "1 h"),
        limits=above(SLOW_ALLOWED),
    )
    board.lines(
        "Time the replicas take",
        "From the gateway's question to the replica's last byte, without the client's part. Above"
        " the red line (50 ms; a prediction takes a few): see whether the machine is short of"
        " processor time, then raise api_cpus or the number of replicas in api_services.",
        "s",
        *quantiles("gateway_upstream_duration_seconds", 0.5, 0.95, 0.99),
        limits=above(0.05),
    )

    board.heading("Connections and certificate")

    board.line(8)
    board.lines(
        "Connections by what they do",
        "A worker holds 4,096: above the red line (3,000) find out who connects (`client` in the"
        " access log, `make logs`) and limit it before the gateway. Many in reading are clients"
        " that send slowly; they are cut off after nginx_client_timeout.",
        "short",
        *(
            (f"nginx_connections_{state}", state)
            for state in ("active", "reading", "writing", "waiting")
        ),
        limits=above(3000),
    )
    board.lines(
        "Connections per second",
        "A red line dropped above zero: Nginx accepted connections and gave them up, as a rule for"
        " want of worker connections or open files; `make logs` has its error. accepted far above"
        " the requests: clients that do not keep their connection.",
        "cps",
        ("rate(nginx_connections_accepted[$__rate_interval])", "accepted"),
        (
            "rate(nginx_connections_accepted[$__rate_interval])"
            " - rate(nginx_connections_handled[$__rate_interval])",
            "dropped",
        ),
        red="dropped",
    )
    board.lines(
        "Bytes sent by route",
        "Bodies of the answers. There is no red: if the network is the narrow place, the greatest"
        " line names what to limit first.",
        "Bps",
        (
            "sum by (route) (rate(gateway_response_bytes_total[$__rate_interval]))",
            "{{route}}",
        ),
    )

    board.line(5)
    board.stat(
        "Days left of the certificate",
        "Of the certificate that the gateway shows. Red: the renewal failed; `make start-project`"
        " signs a new one. One of your own you have to replace.",
        # Grafana's own unit for days becomes weeks and years as they grow.
        "suffix:days",
        ("floor((probe_ssl_earliest_cert_expiry - time()) / 86400)", "days"),
        limits=below(7, yellow=21),
        no_value="no handshake",
    )
    board.stat(
        "Does the gateway greet by TLS?",
        "Red: nobody gets in. `make status` shows whether the gateway runs, `make verify` asks it,"
        " `make logs` has its last lines.",
        "bool_yes_no",
        ("probe_success", "handshake"),
        limits=below(1),
        words={0: ("no", "red"), 1: ("yes", "green")},
    )
    board.stat(
        "Lines of the access log that nobody understood",
        "In the time shown. Red: the log's format and its reader differ, so the metrics of this"
        " dashboard are too low; `make start-project` brings both to what the files say.",
        "short",
        ("increase(gateway_unreadable_lines_total[$__range])", "lines"),
        limits=above(AT_LEAST_ONE),
    )
    return board.build()


def model() -> d.Dashboard:
    board = Board(
        "model",
        "Which model answers, how sure is it, and does the world still look like its training?",
    )

    board.line(8)
    board.table(
        "Which model does each replica serve?",
        "The version is the start of the SHA-256 in model/model.json. Two versions within one"
        " service: a run stopped half-way; `make start-project` brings all to one.",
        "api_model_info",
        {
            "replica": "replica",
            "service": "service",
            "name": "model",
            "version": "version",
            "predictor": "predictor",
        },
    )
    board.stat(
        "Does the compiled model differ?",
        "Red: the compiled model answered otherwise than scikit-learn, which serves in its place:"
        " right, but slower. `make check-model` repeats the comparison. A model of a kind that is"
        " not compiled shows no.",
        "bool_yes_no",
        ("api_model_not_compiled", "{{replica}}"),
        limits=above(1),
        words={0: ("no", "green"), 1: ("yes", "red")},
    )

    board.heading("What it says")

    board.line(9)
    by_version = (
        "sum by ({labels}) (rate(api_predictions_total[$__rate_interval])"
        " * on (service, replica) group_left (version) api_model_info)"
    )
    mix = by_version.format(labels="version, label")
    whole = by_version.format(labels="version")
    board.lines(
        "Label mix by version",
        "Share of each label among the predictions of a version, one on top of the other. There is"
        " no red: a band that grows at a purple mark came with the change, one that grows slowly"
        " with the texts; see the drift below.",
        "percentunit",
        (f"{mix} / on (version) group_left () ({whole} > 0)", "{{version}} {{label}}"),
        stacked=True,
        many=True,
    )
    board.bars(
        "Which labels come more often than they should?",
        "Share in the time shown less the share on held-out data (model card). Red: more than ten"
        " points too many; read some of the sentences. If they are right the world has changed:"
        " train again (`make model`). If not, look at the last deploy. No bar: fewer than 500"
        " predictions in that time.",
        "percentunit",
        (
            "sum by (label) (increase(api_predictions_total[$__range]))"
            " / scalar(sum(increase(api_predictions_total[$__range])))"
            " - avg by (label) (api_model_reference_share)"
            " and on () (sum(increase(api_predictions_total[$__range])) >= 500)",
            "{{label}}",
        ),
        limits=above(0.1, yellow=0.05),
        least=-0.2,
        most=0.2,
        no_value="too few predictions",
    )

    board.line(8)
    board.lines(
        "How sure is the model?",
        "Highest probability of a prediction: the median, and what nine of ten exceed (p10). There"
        " is no red: the more classes, the lower it is. A fall at a purple mark came with the"
        " change; a slow one means unfamiliar texts, see coverage.",
        "percentunit",
        *quantiles("api_prediction_confidence", 0.5, 0.1),
        most=1,
    )
    half = 'api_prediction_coverage_bucket{le="0.5"}[$__rate_interval]'
    sentences = "api_prediction_coverage_count[$__rate_interval]"
    board.lines(
        "Sentences of which the model knows half or less",
        "Share by service, beside that of held-out data (model card). There is no red: a line far"
        " above the model card's means other texts than in training (another language, new words):"
        " read some, then train with such texts (`make model`).",
        "percentunit",
        (
            f"sum by (service) (rate({half})) / (sum by (service) (rate({sentences})) > 0)",
            "{{service}}",
        ),
        ('avg(api_model_reference_coverage{le="0.5"})', "model card"),
        most=1,
    )
    board.lines(
        "Has the world drifted from the training data?",
        "The last hour against the model card. Labels: population stability index, under 0.1 alike,"
        " above the red line (0.25) clearly not. Coverage: Kolmogorov-Smirnov distance, where 0.2"
        " raises the alert. Red: read some sentences, then train with newer data (`make model`)."
        " No line: fewer than 500 predictions in the hour.",
        "short",
        ("service:prediction_label_psi:1h", "{{service}} labels"),
        ("service:prediction_coverage_distance:1h", "{{service}} coverage"),
        limits=above(0.25, yellow=0.1),
        no_value="too few predictions",
    )

    board.heading("How fast")

    board.line(8)
    board.lines(
        "Predictions per second",
        "By service; a batch counts each of its sentences. There is no red: zero while the gateway"
        " counts requests means that they are refused, see the panel on the right.",
        "ops",
        ("sum by (service) (rate(api_predictions_total[$__rate_interval]))", "{{service}}"),
    )
    board.lines(
        "Latency of inference",
        "Time for POST /predict inside a replica. Above the red line (50 ms; a prediction takes a"
        " few): see whether the model is compiled and the machine short of processor time, then"
        " raise api_cpus or the number of replicas in api_services.",
        "s",
        *quantiles("api_request_duration_seconds", 0.5, 0.95, 0.99),
        limits=above(0.05),
    )
    board.lines(
        "How do the replicas answer?",
        "By outcome: ok, or the error's code as the client sees it. A red line is a 5xx: `make"
        " logs` shows it with its request id. Many 4xx: a client sends what the service does not"
        " take; /docs tells how to ask.",
        "reqps",
        (
            "sum by (service, status, outcome) (rate(api_requests_total[$__rate_interval]))",
            "{{service}} {{status}} {{outcome}}",
        ),
        red=".* 5xx .*",
        many=True,
    )
    return board.build()


def host() -> d.Dashboard:
    board = Board("host", "Has the machine enough of everything, and who takes it?")

    board.heading("Machine")

    board.line(8)
    board.lines(
        "Processor time by use",
        "Share of all cores. There is no red, the load beside it has one. Near 100 % for minutes:"
        " the containers' panel below says who takes it. Much steal: the hypervisor gives it to"
        " others. Much iowait: the disk is slow.",
        "percentunit",
        (
            'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$__rate_interval]))'
            " / scalar(count(count by (cpu) (node_cpu_seconds_total)))",
            "{{mode}}",
        ),
        stacked=True,
        most=1,
    )
    board.lines(
        "Memory in use",
        "Share that could not be had at once. Above the red line (90 %) the kernel soon kills"
        " something: the containers' panel below says who grows; lower its limit or give the"
        " machine more.",
        "percentunit",
        ("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "in use"),
        limits=above(0.9, yellow=0.8),
        most=1,
    )
    board.lines(
        "Load per core",
        "Processes that run or wait, per core, mean of a minute. Above the red line (2): work waits"
        " for the processor or the disk; the panels beside it tell which.",
        "short",
        ("node_load1 / scalar(count(count by (cpu) (node_cpu_seconds_total)))", "load"),
        limits=above(2, yellow=1),
    )
    board.lines(
        "Share of time that work waits",
        "For processor, memory or disk, as the kernel counts it. Above the red line (half the"
        " time): that one is the narrow place. No line: the kernel does not count (psi=1 at boot"
        " turns it on).",
        "percentunit",
        *(
            (f"rate(node_pressure_{what}_waiting_seconds_total[$__rate_interval])", what)
            for what in ("cpu", "memory", "io")
        ),
        limits=above(0.5),
        no_value="not counted here",
    )

    board.line(5)
    board.stat(
        "Time since the machine started",
        "There is no red: a short time that nobody expected is a crash or a power cut; `last -x`"
        " and `journalctl -b -1` on the machine say more.",
        "s",
        ("node_time_seconds - node_boot_time_seconds", "up"),
    )
    board.stat(
        "Processes killed for want of memory",
        "In the time shown. Red: a container reached its limit, or the machine ran out; the"
        " containers' panels and `journalctl -k` on the machine say who. Raise its limit"
        " (api_memory and the like).",
        "short",
        ("increase(node_vmstat_oom_kill[$__range])", "kills"),
        limits=above(AT_LEAST_ONE),
    )
    board.stat(
        "Swap in use",
        "Red (more than 1 GiB): the machine has too little memory and everything is slow; find who"
        " grew in the containers' panels.",
        "bytes",
        ("node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes", "swap"),
        limits=above(2**30),
    )

    board.heading("Disk")

    board.line(8)
    board.bars(
        "How full are the file systems?",
        "Those that the stack writes on, by device. Red (90 %): make room; `docker system df` shows"
        " images nobody uses, monitoring_prometheus_retention shortens what is kept.",
        "percentunit",
        ("1 - device:filesystem_available:bytes / device:filesystem_size:bytes", "{{device}}"),
        limits=above(0.9, yellow=0.8),
        most=1,
    )
    # The more hopeful of two windows: what has ended, like an image's build, does not go on.
    hours, minutes = (
        f"predict_linear(device:filesystem_available:bytes[{window}], 4 * 86400)"
        for window in ("6h", "30m")
    )
    board.bars(
        "How full will they be in four days?",
        "If it goes on as in the last six hours and in the last half hour. Red: full before then;"
        " find what grows (`du -x` on the machine, Prometheus' size below) while there is still"
        " room. No bar: the machine is watched for less than six hours.",
        "percentunit",
        (
            f"clamp(1 - ({hours} > {minutes} or {minutes}) / device:filesystem_size:bytes, 0, 1)"
            " and device:filesystem_available:bytes offset 6h",
            "{{device}}",
        ),
        limits=above(1, yellow=0.9),
        most=1,
        no_value="known after six hours",
    )
    board.lines(
        "Share of time that the disks work",
        "By device. Above the red line (90 %) everything that writes waits: the access log and"
        " Prometheus first. Look for the writer with `iotop` on the machine.",
        "percentunit",
        ("rate(node_disk_io_time_seconds_total[$__rate_interval])", "{{device}}"),
        limits=above(0.9),
    )

    board.heading("Containers")

    board.line(8)
    board.stat(
        "Is every container well?",
        "Red: it does not run or fails its health check. `make status` says which of the two,"
        " `make logs` shows its last lines, `make start-project` repairs it.",
        "bool_yes_no",
        ("stack_container_running * stack_container_healthy", "{{container}}"),
        limits=below(1),
        words={0: ("unwell", "red"), 1: ("well", "green")},
    )
    board.bars(
        "Restarts of the containers",
        "In the time shown, by Docker alone. Red: it ended by itself; `make logs` has its last"
        " words. Its memory near the limit below: it was killed for that.",
        "short",
        ("increase(stack_container_restarts_total[$__range])", "{{container}}"),
        limits=above(AT_LEAST_ONE),
    )

    board.line(8)
    board.lines(
        "Processor time of the containers",
        "In cores. There is no red: a replica that stays at api_cpus is the narrow place; raise it"
        " or the number of replicas in api_services.",
        "short",
        ("rate(stack_container_cpu_seconds_total[$__rate_interval])", "{{container}}"),
        many=True,
    )
    board.lines(
        "Memory of the containers",
        "There is no red here: a line that climbs day by day is a leak; see how near it is to the"
        " limit on the right, and what changed when it began.",
        "bytes",
        ("stack_container_memory_bytes", "{{container}}"),
        many=True,
    )
    board.lines(
        "Memory against the limit",
        "At 100 % the kernel kills the container and Docker starts it again. Above the red line"
        " (90 %): raise its limit (api_memory, monitoring_prometheus_memory and the like).",
        "percentunit",
        ("container:memory:ratio", "{{container}}"),
        limits=above(0.9, yellow=0.8),
        most=1,
        no_value="no limits",
        many=True,
    )

    board.heading("Prometheus")

    board.line(5)
    board.stat(
        "Does Prometheus use its newest configuration?",
        "Red: it refused the last one and goes on with the one before. `make logs` has the reason;"
        " `make start-project` writes it again.",
        "bool_yes_no",
        ("prometheus_config_last_reload_successful", "configuration"),
        limits=below(1),
        words={0: ("no", "red"), 1: ("yes", "green")},
    )
    board.stat(
        "Rules that failed",
        "In the time shown. Red: alerts may be missing; Prometheus (Status, Rules) shows the rule"
        " and the error.",
        "short",
        ("sum(increase(prometheus_rule_evaluation_failures_total[$__range]))", "failures"),
        limits=above(AT_LEAST_ONE),
    )
    board.stat(
        "Age of the containers' metrics",
        "Red (two minutes): nobody writes them any more and the containers' panels stand still."
        " Look at the watcher on the machine: `systemctl status` and the name of the stack with"
        " -watch.",
        "s",
        ("time() - node_textfile_mtime_seconds", "age"),
        limits=above(120, yellow=60),
    )
    board.stat(
        "Size of Prometheus' data",
        "Blocks and, for the last hours, the log and chunks that become one. There is no red: if"
        " the disk fills, shorten monitoring_prometheus_retention.",
        "bytes",
        (
            "prometheus_tsdb_storage_blocks_bytes + prometheus_tsdb_wal_storage_size_bytes"
            " + prometheus_tsdb_head_chunks_storage_size_bytes",
            "on disk",
        ),
    )

    board.line(7)
    board.lines(
        "How long does a scrape take?",
        "The slowest target of each job. Above the red line (5 s of 10 allowed) metrics will soon"
        " be missing: the machine is overloaded or that target hangs (`make status`).",
        "s",
        ("max by (job) (scrape_duration_seconds)", "{{job}}"),
        limits=above(5, yellow=1),
    )
    board.lines(
        "Series that Prometheus holds",
        "In memory. There is no red: it should be flat. A climb means a label with ever new values;"
        " Prometheus (Status, TSDB) names it. Its memory is in the containers' panel above.",
        "short",
        ("prometheus_tsdb_head_series", "series"),
    )
    return board.build()


# --- command line ---------------------------------------------------------------------------------


def build_all() -> dict[str, str]:
    """Return the JSON of every dashboard by file name."""
    return {
        f"{found.uid}.json": render(found) for found in (overview(), gateway(), model(), host())
    }


def stale(folder: Path) -> list[str]:
    """Return the names of files in `folder` that are missing, differ, or are no longer built."""
    built = build_all()
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(
        name for name in built.keys() | written.keys() if built.get(name) != written.get(name)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds Grafana's dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if one differs")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: the role's)")
    options = parser.parse_args(arguments)
    if options.check:
        names = stale(options.out)
        for name in names:
            print(
                f"{options.out / name} is not what src/gen_dashboards.py builds:"
                " run `make dashboards` and commit the result",
                file=sys.stderr,
            )
        return EXIT_STALE if names else EXIT_OK
    for name, text in build_all().items():
        (options.out / name).write_text(text, encoding="utf-8")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
