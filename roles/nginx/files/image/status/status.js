// The status page: reads three ready-made answers of Prometheus, asks the service for one sentence.
//
// Whatever came over the network becomes text by textContent; nothing here writes HTML. A value is
// shown with its age as soon as it is not of the last round, and never in the colours of health.
"use strict";

(() => {
  const REFRESH_S = 15;
  // Two rounds and their answers' time. Older is old, whatever the reason.
  const OLD_S = 40;
  // The gateway counts requests for each address: asked one by one, the page stays far below it.
  const SPACING_MS = 200;
  const PATIENCE_MS = 10000;
  const STEP_S = 60;
  const HOUR_S = 3600;
  const SERIES_MOST = 4;
  const CHANGES_MOST = 8;
  const CERTIFICATE_SOON_DAYS = 14;

  const id = (name) => document.getElementById(name);
  const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

  // ---- text -----------------------------------------------------------------------------------

  /** Make an element; children are elements or text, and text stays text. */
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  }

  const stateMark = (state, words) => make("span", { class: "state", "data-state": state }, words);

  /** Write text only where it differs, so that a screen reader hears what is new and nothing else. */
  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  const drawn = new WeakMap();

  /** Fill an element again only where what it shows differs: a selection in it survives a round. */
  function fill(element, shown, build) {
    const key = JSON.stringify(shown);
    if (drawn.get(element) === key) return;
    drawn.set(element, key);
    element.replaceChildren(...build());
  }

  // From an address with a password in it, which people type, a browser asks no relative one.
  const ask = (path, options) =>
    fetch(location.origin + path, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS), ...options });

  const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

  function span(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 2 * 86400) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  }

  const clock = (seconds, options) => new Date(seconds * 1000).toLocaleTimeString([], options);
  const hourMinute = (seconds) => clock(seconds, { hour: "2-digit", minute: "2-digit", hour12: false });
  const day = (seconds) =>
    new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

  /** A few digits, as many as tell something. */
  function digits(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 0.0005) return "<0.001";
    return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  }

  // Rounded down: 99.96 % of a budget is not all of it, and a spent one is no "0 %" that is left.
  const share = (value) => `${Math.floor(value * 100)} %`;

  // ---- feeds ----------------------------------------------------------------------------------

  /** What a refusal means, in words for the people who look at this page. */
  async function refusal(response) {
    const body = await response.json().catch(() => ({}));
    const code = body && typeof body.error === "string" ? body.error : "";
    if (response.status === 401) return "the gateway asks for the password again: reload the page";
    if (response.status === 429) return "the gateway gets too many requests from your address";
    if (code === "maintenance") return "the gateway is in maintenance";
    if (response.status === 503) return "Prometheus does not answer";
    return `the gateway answered with status ${response.status}`;
  }

  /** One address that is asked again and again, with its last good answer and what is wrong now. */
  class Feed {
    constructor(name, read) {
      this.name = name;
      this.read = read;
      this.value = null;
      this.failure = "";
      this.waitS = 0;
    }

    async refresh() {
      this.waitS = 0;
      try {
        const response = await ask(`/status/${this.name}.json`);
        if (!response.ok) {
          this.waitS = Number(response.headers.get("Retry-After")) || 0;
          this.failure = await refusal(response);
          return;
        }
        const answer = await response.json();
        shape(answer?.status === "success");
        const value = this.read(answer.data);
        // Both by the server's clock: an answer out of a cache is as old as it is.
        const sent = Date.parse(response.headers.get("Date") ?? "") / 1000 || Date.now() / 1000;
        this.lag = value.time ? Math.max(0, sent - value.time) : 0;
        this.sent = sent;
        this.value = value;
        this.wall = Date.now();
        this.steady = performance.now();
        this.failure = "";
      } catch (error) {
        this.failure =
          error instanceof SyntaxError || error instanceof TypeError && error.message === "shape"
            ? "an answer of Prometheus could not be read"
            : error.name === "TimeoutError"
              ? "the gateway takes too long to answer"
              : "the gateway cannot be reached";
      }
    }

    /** Seconds since the metrics were current. The steady clock may stand still while a machine sleeps. */
    age() {
      if (this.value === null) return Infinity;
      const passed = Math.max(Date.now() - this.wall, performance.now() - this.steady);
      return this.lag + passed / 1000;
    }

    /** Now by the server's clock, in Unix seconds. */
    now() {
      return this.sent + Math.max(0, performance.now() - this.steady) / 1000;
    }

    get fresh() {
      return this.value !== null && this.failure === "" && this.age() <= OLD_S;
    }
  }

  function shape(good) {
    if (!good) throw new TypeError("shape");
  }

  const number = (text) => {
    const value = Number(text);
    return Number.isFinite(value) ? value : null;
  };

  /** Samples of an instant query: {name: [{labels, value}]}, and when it was evaluated. */
  function readNow(data) {
    shape(data?.resultType === "vector" && Array.isArray(data.result));
    const named = new Map();
    let time = 0;
    for (const { metric, value } of data.result) {
      shape(metric && Array.isArray(value));
      time = Math.max(time, Number(value[0]) || 0);
      const found = number(value[1]);
      if (found === null) continue;
      if (!named.has(metric.__name__)) named.set(metric.__name__, []);
      named.get(metric.__name__).push({ labels: metric, value: found });
    }
    return { time, of: (name) => named.get(name) ?? [] };
  }

  /** {name: {service: Map(time -> value)}}. Its newest point may be a step old by rights. */
  function readSeries(data) {
    shape(data?.resultType === "matrix" && Array.isArray(data.result));
    const named = new Map();
    for (const { metric, values } of data.result) {
      shape(metric && Array.isArray(values));
      if (!named.has(metric.__name__)) named.set(metric.__name__, new Map());
      const points = new Map();
      for (const [time, text] of values) points.set(Math.round(time / STEP_S) * STEP_S, number(text));
      named.get(metric.__name__).set(String(metric.service ?? "all"), points);
    }
    return { time: 0, of: (name) => named.get(name) ?? new Map() };
  }

  function readAlerts(data) {
    shape(Array.isArray(data?.alerts));
    return {
      time: 0,
      alerts: data.alerts.map((alert) => ({
        labels: alert.labels ?? {},
        annotations: alert.annotations ?? {},
        state: alert.state,
        since: Date.parse(alert.activeAt) / 1000 || 0,
      })),
    };
  }

  const feeds = {
    now: new Feed("now", readNow),
    alerts: new Feed("alerts", readAlerts),
    series: new Feed("series", readSeries),
  };

  const when = (feed, sentence) => (feed.fresh ? sentence : `Last known: ${sentence}`);

  const unknown = (feed) => `Unknown${feed.failure ? `: ${feed.failure}` : " so far"}.`;

  // ---- what runs ------------------------------------------------------------------------------

  const natural = (a, b) => a.localeCompare(b, "en", { numeric: true });

  /** One row for each container and for each replica that Prometheus asks. */
  function partsOf(now) {
    const parts = new Map();
    for (const [field, metric] of [
      ["running", "stack_container_running"],
      ["healthy", "stack_container_healthy"],
      ["restarts", "stack_container_restarts_total"],
      ["started", "stack_container_started_timestamp_seconds"],
    ]) {
      for (const { labels, value } of now.of(metric)) {
        const name = String(labels.container ?? labels.component ?? "?");
        if (!parts.has(name)) parts.set(name, { name, component: String(labels.component ?? "") });
        parts.get(name)[field] = value;
      }
    }
    const ofReplica = (replica) => {
      for (const part of parts.values()) {
        if (part.component === "api" && (part.name === replica || part.name.endsWith(`-${replica}`))) return part;
      }
      const name = `api-${replica}`;
      if (!parts.has(name)) parts.set(name, { name, component: "api" });
      return parts.get(name);
    };
    for (const { labels, value } of now.of("up")) {
      if (labels.job === "api" && labels.replica) ofReplica(String(labels.replica)).up = value;
    }
    for (const { labels } of now.of("api_model_info")) {
      if (labels.replica) Object.assign(ofReplica(String(labels.replica)), { version: labels.version, predictor: labels.predictor });
    }
    for (const { labels, value } of now.of("api_model_not_compiled")) {
      if (labels.replica && value === 1) ofReplica(String(labels.replica)).differs = true;
    }
    const rank = (part) => ["nginx", "api", "prometheus"].indexOf(part.component) >>> 0;
    return [...parts.values()]
      .map((part) => Object.assign(part, judge(part)))
      .sort((a, b) => rank(a) - rank(b) || natural(a.name, b.name));
  }

  function judge(part) {
    if (part.running === 0) return { state: "bad", words: "stopped" };
    if (part.healthy === 0) return { state: "bad", words: "unhealthy" };
    if (part.up === 0) return { state: "bad", words: "no answer" };
    if (part.differs) return { state: "warn", words: "up, slow predictor" };
    if (part.running === 1 && part.healthy === 1) return { state: "ok", words: "healthy" };
    if (part.running === 1) return { state: "ok", words: "running" };
    if (part.up === 1) return { state: "ok", words: "answers" };
    return { state: "unknown", words: "unknown" };
  }

  function cell(name, content) {
    const attributes = { role: "cell", "data-name": name };
    if (content === "") attributes["data-none"] = "";
    return make("td", attributes, content === "" ? "–" : content);
  }

  function drawParts() {
    const feed = feeds.now;
    if (feed.value === null) {
      say(id("parts-say"), unknown(feed));
      return;
    }
    const parts = partsOf(feed.value);
    const well = parts.filter((part) => part.state === "ok").length;
    say(
      id("parts-say"),
      when(feed, parts.length === 0
        ? "Prometheus has no metrics of containers or replicas."
        : well === parts.length
          ? `All ${plural(parts.length, "part")} are healthy.`
          : `${well} of ${plural(parts.length, "part")} are healthy.`),
    );
    id("parts").hidden = parts.length === 0;
    const rows = parts.map((part) => ({
      name: part.name,
      state: part.state,
      words: part.words,
      version: [part.version, part.predictor === "generic" ? "generic" : ""].filter(Boolean).join(", "),
      up: part.started && part.running !== 0 ? span(feed.now() - part.started) : "",
      restarts: part.restarts === undefined ? "" : String(part.restarts),
    }));
    fill(id("parts").tBodies[0], rows, () => rows.map((row) => make(
      "tr",
      { role: "row" },
      cell("Part", row.name),
      make("td", { role: "cell", "data-name": "State" }, stateMark(row.state, row.words)),
      cell("Version", row.version),
      cell("Up for", row.up),
      cell("Restarts", row.restarts),
    )));

    const others = feed.value.of("up");
    const silent = others.filter(({ value }) => value !== 1)
      .map(({ labels }) => [labels.job, labels.replica ?? labels.instance].filter(Boolean).join(" "));
    say(
      id("targets"),
      others.length === 0
        ? ""
        : silent.length === 0
          ? `All ${plural(others.length, "target")} of Prometheus answer it.`
          : `Targets that do not answer Prometheus: ${silent.sort(natural).join(", ")}.`,
    );
  }

  // ---- at a glance ----------------------------------------------------------------------------

  function certificateFact(now, time) {
    const ends = now.of("probe_ssl_earliest_cert_expiry").map(({ value }) => value);
    if (ends.length === 0) return { name: "Certificate", state: "unknown", value: "–", note: "unknown" };
    const end = Math.min(...ends);
    const days = Math.floor((end - time) / 86400);
    if (end <= time) return { name: "Certificate", state: "bad", value: "expired", note: `since ${day(end)}` };
    return {
      name: "Certificate",
      state: days < CERTIFICATE_SOON_DAYS ? "warn" : "ok",
      value: plural(days, "day"),
      note: days < CERTIFICATE_SOON_DAYS ? `ends soon: ${day(end)}` : `until ${day(end)}`,
    };
  }

  function budgetFact(now, slo, name) {
    const found = now.of("slo:error_budget_left:ratio7d").find(({ labels }) => labels.slo === slo);
    if (!found) return { name, state: "unknown", value: "–", note: "unknown" };
    const left = found.value;
    return {
      name,
      state: left < 0 ? "bad" : left < 0.25 ? "warn" : "ok",
      value: left < 0 ? "spent" : share(left),
      note: left < 0 ? "missed in 7 days" : left < 0.25 ? "little left of 7 days" : "left of 7 days",
      bar: Math.min(1, Math.max(0, left)),
    };
  }

  function factsOf(now, time) {
    const replicas = now.of("up").filter(({ labels }) => labels.job === "api");
    const up = replicas.filter(({ value }) => value === 1).length;
    return [
      replicas.length === 0
        ? { name: "Replicas", state: "unknown", value: "–", note: "unknown" }
        : {
            name: "Replicas",
            state: up === replicas.length ? "ok" : up === 0 ? "bad" : "warn",
            value: `${up} of ${replicas.length}`,
            note: up === replicas.length ? "answer" : up === 0 ? "none answers" : "not all answer",
          },
      budgetFact(now, "availability", "Error budget"),
      budgetFact(now, "latency", "Speed budget"),
      certificateFact(now, time),
    ];
  }

  function drawFacts() {
    const feed = feeds.now;
    const facts = feed.value === null
      ? ["Replicas", "Error budget", "Speed budget", "Certificate"]
          .map((name) => ({ name, state: "unknown", value: "–", note: "unknown" }))
      : factsOf(feed.value, feed.now());
    fill(id("facts"), facts, () => facts.map((fact) => {
      const bar = fact.bar === undefined ? null : make("dd", { class: "bar", "aria-hidden": "true" }, make("span"));
      // By the object model: a style attribute would be against the page's policy.
      if (bar) bar.firstChild.style.width = `${fact.bar * 100}%`;
      return make(
        "div",
        { "data-state": fact.state },
        make("dt", {}, fact.name),
        make("dd", { class: "value" }, fact.value),
        bar,
        make("dd", { class: "note" }, stateMark(fact.state, fact.note)),
      );
    }));
  }

  // ---- alerts ---------------------------------------------------------------------------------

  const severityState = { critical: "bad", warning: "warn", info: "unknown" };

  const firing = () => (feeds.alerts.value?.alerts ?? []).filter((alert) => alert.state === "firing");

  function drawAlerts() {
    const feed = feeds.alerts;
    if (feed.value === null) {
      say(id("alerts-say"), unknown(feed));
      return;
    }
    const alight = firing();
    const waiting = feed.value.alerts.filter((alert) => alert.state === "pending");
    const names = (alerts) => [...new Set(alerts.map((alert) => alert.labels.alertname ?? "without a name"))].join(", ");
    const sentence =
      (alight.length === 0
        ? "No alert is firing."
        : `${plural(alight.length, "alert")} ${alight.length === 1 ? "is" : "are"} firing: ${names(alight)}.`) +
      (waiting.length === 0 ? "" : ` ${waiting.length} may follow: ${names(waiting)}.`);
    say(id("alerts-say"), when(feed, sentence));

    const weight = (alert) => ["critical", "warning", "info"].indexOf(alert.labels.severity) >>> 0;
    const rows = alight
      .sort((a, b) => weight(a) - weight(b) || a.since - b.since)
      .map((alert) => {
        const { alertname, severity, ...labels } = alert.labels;
        return {
          state: severityState[severity] ?? "warn",
          severity: severity ?? "no severity",
          title: alert.annotations.summary ?? alertname ?? "Alert without a name",
          advice: alert.annotations.description ?? "",
          meta: [
            alert.annotations.summary ? alertname : "",
            alert.since ? `since ${hourMinute(alert.since)} (${span(feed.now() - alert.since)})` : "",
            Object.entries(labels).filter(([name]) => !["instance", "job"].includes(name))
              .map(([name, value]) => `${name} ${value}`).join(", "),
          ].filter(Boolean).join(" · "),
        };
      });
    fill(id("alerts-list"), rows, () => rows.map((row) => make(
      "li",
      { "data-state": row.state },
      make("h3", {}, stateMark(row.state, row.severity), make("span", {}, row.title)),
      row.advice ? make("p", { class: "advice" }, row.advice) : null,
      make("p", { class: "meta quiet" }, row.meta),
    )));
  }

  // ---- changes --------------------------------------------------------------------------------

  function drawChanges() {
    const feed = feeds.now;
    if (feed.value === null) {
      say(id("changes-say"), unknown(feed));
      return;
    }
    const changes = feed.value.of("stack_change_timestamp_seconds")
      .sort((a, b) => b.value - a.value)
      .slice(0, CHANGES_MOST);
    say(id("changes-say"), changes.length === 0 ? "No changes so far." : "");
    id("changes-say").hidden = changes.length > 0;
    const rows = changes.map(({ labels, value }) => {
      // The watch's is "restarted NAME".
      const said = String(labels.result ?? "");
      const [result, whom] = said.startsWith("restarted ") ? ["restarted", said.slice(10)] : [said, ""];
      return {
        state: /^(done|restarted)/.test(result) ? "ok" : /^(failed|cut off)/.test(result) ? "bad" : "unknown",
        result: result || "unknown",
        what: [labels.what ?? "change", whom, labels.release ? `release ${labels.release}` : ""]
          .filter(Boolean).join(" · "),
        at: value,
        when: `${span(feed.now() - value)} ago`,
      };
    });
    fill(id("changes"), rows, () => rows.map((row) => make(
      "li",
      {},
      stateMark(row.state, row.result),
      make("span", {}, row.what),
      Number.isFinite(row.at) && Math.abs(row.at) < 8e12
        ? make("time", { datetime: new Date(row.at * 1000).toISOString(), title: `${day(row.at)} ${hourMinute(row.at)}` }, row.when)
        : make("span", { class: "when" }, "unknown"),
    )));
  }

  // ---- plots ----------------------------------------------------------------------------------

  const plots = [
    {
      box: id("plot-rate"), metric: "service:gateway_requests:rate5m", least: 1,
      title: "Requests", unit: "a second", words: (v) => `${digits(v)}/s`, axis: (v) => digits(v),
    },
    {
      box: id("plot-errors"), metric: "service:gateway_errors:ratio_rate5m", least: 0.01,
      title: "Errors", unit: "share of 5xx", words: (v) => `${digits(v * 100)} %`, axis: (v) => `${digits(v * 100)} %`,
    },
    {
      box: id("plot-p95"), metric: "service:gateway_duration_seconds:p95_5m", least: 0.01,
      title: "Time to answer", unit: "p95", words: (v) => `${digits(v * 1000)} ms`, axis: (v) => `${digits(v * 1000)} ms`,
    },
  ];

  const schemes = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const DASHES = [null, [6, 4], [2, 3], [10, 3, 2, 3]];

  // The legend of the library writes HTML and a style attribute; ours does neither.
  if (typeof Dygraph === "function") Dygraph.PLUGINS = [Dygraph.Plugins.Axes, Dygraph.Plugins.Grid];

  for (const plot of plots) {
    const name = `${plot.box.id}-title`;
    plot.at = make("span", { class: "quiet small" });
    plot.legend = make("ul", { class: "legend" });
    plot.canvas = make("div", { class: "plot", "aria-hidden": "true" });
    plot.summary = make("p", { class: "summary quiet" }, "Unknown so far.");
    plot.box.setAttribute("aria-labelledby", name);
    plot.box.append(
      make("figcaption", {}, make("h3", { id: name }, `${plot.title}, ${plot.unit}`), plot.at),
      plot.legend,
      plot.canvas,
      plot.summary,
    );
  }

  /** Rows of a regular grid, so that a minute without a value is a gap and not a straight line. */
  function gridOf(series, end) {
    const last = Math.floor(end / STEP_S) * STEP_S;
    const rows = [];
    for (let time = last - HOUR_S; time <= last; time += STEP_S) {
      rows.push([time, ...series.map(([, points]) => points.get(time) ?? null)]);
    }
    return rows;
  }

  function summaryOf(plot, series, rows) {
    return series.map(([name], n) => {
      const seen = rows.filter((row) => row[n + 1] !== null);
      if (seen.length === 0) return `${name}: no data in this hour.`;
      const values = seen.map((row) => row[n + 1]);
      const [low, high] = [Math.min(...values), Math.max(...values)].map(plot.words);
      const newest = seen[seen.length - 1][0];
      const silent = (rows[rows.length - 1][0] - newest) / STEP_S > 2;
      return `${name}: ${low === high ? low : `between ${low} and ${high}`}` +
        `${silent ? `, no data since ${hourMinute(newest)}` : ""}.`;
    }).join(" ");
  }

  function showValues(plot, row) {
    const rows = plot.rows;
    const chosen = rows[row ?? rows.length - 1];
    plot.values.forEach((element, n) => {
      // The newest step may not be in yet.
      let value = chosen[n + 1];
      if (row === undefined && value === null) value = rows[rows.length - 2][n + 1];
      say(element, value === null ? "–" : plot.words(value));
    });
    say(plot.at, row === undefined ? "" : hourMinute(chosen[0]));
  }

  function look() {
    return {
      colors: DASHES.map((_, n) => colour(`--series-${n}`)),
      gridLineColor: colour("--grid"),
      axisLineColor: colour("--line"),
    };
  }

  function drawPlot(plot) {
    const feed = feeds.series;
    if (feed.value === null) {
      say(plot.summary, unknown(feed));
      return;
    }
    const series = [...feed.value.of(plot.metric)].sort(([a], [b]) => natural(a, b)).slice(0, SERIES_MOST);
    const names = series.map(([name]) => name);
    const rows = gridOf(series, feed.sent);
    plot.rows = rows;
    const any = rows.some((row) => row.slice(1).some((value) => value !== null));

    fill(plot.legend, names, () => {
      plot.values = names.map(() => make("b"));
      return names.map((name, n) => make(
        "li", {}, make("span", { class: `swatch s${n}`, "aria-hidden": "true" }), make("span", {}, name), plot.values[n]));
    });
    say(plot.summary, any ? summaryOf(plot, series, rows) : "No data in the last hour: no requests, or no metrics.");
    if (any) showValues(plot);

    if (!any || typeof Dygraph !== "function") {
      plot.graph?.destroy();
      plot.graph = null;
      plot.canvas.className = "plot plot-none";
      plot.canvas.textContent = any ? "The plot library did not load. The values are below." : "No data";
      return;
    }
    const top = Math.max(plot.least, ...rows.flatMap((row) => row.slice(1)).filter((value) => value !== null)) * 1.1;
    // Names of our own: the library gets nothing that came over the network but numbers.
    const labels = ["time", ...names.map((_, n) => `s${n}`)];
    const file = rows.map(([time, ...values]) => [new Date(time * 1000), ...values]);
    const dateWindow = [rows[0][0] * 1000, rows[rows.length - 1][0] * 1000];
    if (plot.graph && plot.graph.getLabels().length === labels.length) {
      plot.graph.updateOptions({ file, dateWindow, valueRange: [0, top] });
      return;
    }
    plot.graph?.destroy();
    plot.canvas.className = "plot";
    plot.canvas.replaceChildren();
    plot.graph = new Dygraph(plot.canvas, file, {
      ...look(),
      labels,
      dateWindow,
      valueRange: [0, top],
      series: Object.fromEntries(names.map((_, n) => [`s${n}`, { strokePattern: DASHES[n] }])),
      strokeWidth: 1.75,
      highlightCircleSize: 3.5,
      gridLineWidth: 1,
      axes: {
        x: { drawGrid: false, pixelsPerLabel: 64, axisLabelFormatter: (at) => hourMinute(at / 1000) },
        y: { axisLabelWidth: 52, pixelsPerLabel: 34, axisLabelFormatter: (value) => plot.axis(value) },
      },
      axisLabelFontSize: 12,
      rightGap: 12,
      // Neither zoom nor pan: a finger on a plot scrolls the page.
      interactionModel: {},
      highlightCallback: (event, x, points, row) => showValues(plot, row),
      unhighlightCallback: () => showValues(plot),
    });
  }

  schemes.addEventListener("change", () => {
    for (const plot of plots) plot.graph?.updateOptions(look());
  });

  // ---- the sum of it --------------------------------------------------------------------------

  function verdict() {
    const all = Object.values(feeds);
    if (all.every((feed) => feed.value === null && feed.failure === "")) {
      return { state: "unknown", title: "Asking", why: "The first metrics are loading." };
    }
    const worst = [];
    const note = (state, words) => worst.push({ state, words });
    if (feeds.alerts.fresh) {
      const grave = firing().filter((alert) => severityState[alert.labels.severity] !== "unknown");
      const critical = grave.filter((alert) => alert.labels.severity === "critical").length;
      if (critical) note("bad", plural(critical, "critical alert"));
      if (grave.length > critical) note("warn", `${plural(grave.length - critical, "warning alert")}`);
    }
    if (feeds.now.fresh) {
      const now = feeds.now.value;
      const parts = partsOf(now);
      for (const [state, words] of [["bad", "broken"], ["warn", "not as it should be"]]) {
        const some = parts.filter((part) => part.state === state);
        if (some.length) note(state, `${words}: ${some.map((part) => `${part.name} (${part.words})`).join(", ")}`);
      }
      for (const fact of factsOf(now, feeds.now.now())) {
        if (fact.name !== "Replicas" && (fact.state === "bad" || fact.state === "warn")) {
          note(fact.state, `${fact.name}: ${fact.value}, ${fact.note}`);
        }
      }
      const deaf = now.of("up").filter(({ labels, value }) => value !== 1 && labels.job !== "api");
      if (deaf.length) note("warn", `Prometheus does not reach ${deaf.map(({ labels }) => labels.job).join(", ")}`);
      if (parts.length === 0) note("unknown", "Prometheus has no container and no replica");
    }
    const missing = all.filter((feed) => !feed.fresh);
    const reasons = [...new Set(missing.map((feed) => feed.failure || (feed.value ? "the metrics are old" : "a response is pending")))];
    const why = [...worst.map(({ words }) => words), ...reasons].join("; ");
    const sentence = `${why.charAt(0).toUpperCase()}${why.slice(1)}.`;
    if (worst.some(({ state }) => state === "bad")) return { state: "bad", title: "Something is broken", why: sentence };
    if (missing.length) {
      const kept = all.some((feed) => feed.value !== null);
      return {
        state: "unknown",
        title: missing.some((feed) => feed.failure || feed.value) ? "Unknown at the moment" : "Asking",
        why: `${sentence}${kept && missing.some((feed) => feed.failure) ? " The last known values are below." : ""}`,
      };
    }
    if (worst.some(({ state }) => state === "unknown")) return { state: "unknown", title: "Unknown at the moment", why: sentence };
    if (worst.length) return { state: "warn", title: "It works, but needs attention", why: sentence };
    return { state: "ok", title: "Everything works", why: "All parts are healthy. No alert is firing." };
  }

  const marks = { ok: "✓", warn: "!", bad: "✕", unknown: "?" };

  function drawOverall() {
    const found = verdict();
    id("overall").dataset.state = found.state;
    say(id("overall-title"), found.title);
    say(id("overall-why"), found.why);
    // Nobody looks and nothing is asked: the tab must not go on saying that all is well.
    say(document.querySelector("title"), document.hidden ? "Status: paused" : `${marks[found.state]} ${found.title}`);
    const known = Object.values(feeds).filter((feed) => feed.value !== null);
    say(id("updated"), known.length === 0 ? "" : `Updated ${span(Math.max(...known.map((feed) => feed.age())))} ago`);
  }

  function drawAges() {
    for (const section of document.querySelectorAll("[data-feed]")) {
      const feed = feeds[section.dataset.feed];
      const old = feed.value !== null && !feed.fresh;
      section.toggleAttribute("data-old", old);
      const badge = section.querySelector(".age");
      badge.hidden = !old;
      say(badge, old ? `${span(feed.age())} old` : "");
    }
  }

  function tick() {
    drawAges();
    drawOverall();
  }

  function draw() {
    drawFacts();
    drawParts();
    drawAlerts();
    drawChanges();
    plots.forEach(drawPlot);
    tick();
  }

  // ---- rounds ---------------------------------------------------------------------------------

  let next = 0;
  let asking = false;

  async function round() {
    if (asking || document.hidden) return;
    asking = true;
    clearTimeout(next);
    const started = performance.now();
    for (const feed of Object.values(feeds)) {
      await feed.refresh();
      draw();
      await pause(SPACING_MS);
    }
    asking = false;
    const wait = Math.max(...Object.values(feeds).map((feed) => feed.waitS));
    const left = REFRESH_S - (performance.now() - started) / 1000;
    // Where the gateway said when, then; a second at least, a round at most.
    next = setTimeout(round, 1000 * Math.max(1, wait ? Math.min(wait, REFRESH_S) : left));
  }

  setInterval(() => { if (!document.hidden) tick(); }, 1000);
  document.addEventListener("visibilitychange", () => {
    // First say how old everything became, then ask.
    draw();
    round();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) { draw(); round(); }
  });

  // ---- the question ---------------------------------------------------------------------------

  const form = id("try");
  const button = id("ask");
  let pending = false;
  let blockedUntil = 0;

  function show(state, sentence, details = [], more = []) {
    id("answer").dataset.state = state;
    id("answer-say").replaceChildren(...sentence);
    id("answer-more").replaceChildren(
      ...(details.length ? [make("dl", {}, ...details.flatMap(([name, value, kind]) => [
        make("dt", {}, name), make("dd", kind ? { class: kind } : {}, value)]))] : []),
      ...more,
    );
  }

  /** Hold the button for as long as the gateway said. It stays focusable: nobody loses the place. */
  function hold(seconds) {
    blockedUntil = performance.now() + seconds * 1000;
    const count = () => {
      const left = Math.ceil((blockedUntil - performance.now()) / 1000);
      if (left > 0) {
        button.setAttribute("aria-disabled", "true");
        say(button, `Wait ${left} s`);
        setTimeout(count, 250);
      } else {
        button.removeAttribute("aria-disabled");
        say(button, "Ask");
      }
    };
    count();
  }

  function chances(probabilities) {
    const best = Object.entries(probabilities).filter(([, value]) => typeof value === "number")
      .sort(([, a], [, b]) => b - a).slice(0, 5);
    if (best.length === 0) return [];
    return [make("h3", {}, "Most likely"), make("ul", { class: "chances" }, ...best.map(([label, value]) => {
      const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
      bar.firstChild.style.width = `${Math.min(1, Math.max(0, value)) * 100}%`;
      return make("li", {}, make("span", {}, label), bar, make("span", {}, `${(value * 100).toFixed(1)} %`));
    }))];
  }

  function terms(found) {
    if (!Array.isArray(found) || found.length === 0) return [];
    const shown = found.slice(0, 5).map(({ term, contribution }) =>
      `${term} ${contribution < 0 ? "−" : "+"}${digits(Math.abs(Number(contribution) || 0))}`);
    return [make("h3", {}, "Terms that did most"), make("p", { class: "terms" }, shown.join(", "))];
  }

  function showAnswer(body, details) {
    const label = String(body["prediction value"]);
    const parts = [make("span", { class: "label" }, label)];
    const more = [];
    if (typeof body.confidence === "number") {
      details.unshift(["Confidence", `${(body.confidence * 100).toFixed(1)} %`]);
      if (typeof body.coverage === "number") details.splice(1, 0, ["Known words", share(body.coverage)]);
      if (typeof body.duration_ms === "number") details.splice(-1, 0, ["In the model", `${digits(body.duration_ms)} ms`]);
    }
    if (body.low_coverage === true) {
      parts.push(stateMark("warn", "The model knows too few of these words: do not rely on this answer."));
    }
    if (body.prediction_proba_dict) more.push(...chances(body.prediction_proba_dict));
    more.push(...terms(body.top_terms));
    show(body.low_coverage === true ? "warn" : "ok", parts, details, more);
  }

  function showRefusal(response, body, details) {
    const wait = Number(response.headers.get("Retry-After")) || 0;
    const detail = typeof body.detail === "string" ? body.detail : "";
    const again = wait ? `Ask again in ${plural(wait, "second")}.` : "Ask again in a moment.";
    const words = {
      401: ["bad", "The gateway did not take the password. Reload the page and enter it again."],
      413: ["warn", "The sentence is too long for the gateway. Send a shorter one."],
      422: ["warn", `The service cannot read this sentence. ${detail}`],
      429: ["warn", `Too many requests from your address, so the gateway refused this one. ${again}`],
      503: ["bad", body.error === "maintenance"
        ? `The service is being worked on. ${again}`
        : `No replica could answer: the service is down or just starting. ${again}`],
    }[response.status] ?? ["bad", `The gateway answered with status ${response.status}. ${detail}`];
    show(words[0], [stateMark(words[0], words[1])], details);
    if ([429, 503].includes(response.status)) hold(wait || 1);
  }

  async function submit(event) {
    event.preventDefault();
    if (pending || performance.now() < blockedUntil) return;
    const sentence = form.elements.sentence.value;
    if (sentence.trim() === "") {
      show("warn", [stateMark("warn", "Write a sentence first.")]);
      form.elements.sentence.focus();
      return;
    }
    pending = true;
    button.setAttribute("aria-disabled", "true");
    const headers = { "Content-Type": "application/json" };
    if (form.elements.version.value === "v2") headers["X-Experiment-Group"] = "debug";
    const started = performance.now();
    let failure = "";
    try {
      const response = await ask("/predict", { method: "POST", headers, body: JSON.stringify({ sentence }) });
      const took = performance.now() - started;
      failure = "unreadable";
      // An error may come without a body that can be read; its status says enough.
      const body = response.ok ? await response.json() : (await response.json().catch(() => null)) ?? {};
      const details = [
        ["Replica", response.headers.get("X-Served-By") ?? "none: the gateway itself"],
        ["Time", `${digits(took)} ms`],
        ["Request id", response.headers.get("X-Request-ID") ?? "none", "mono"],
      ];
      if (!response.ok) showRefusal(response, body, details);
      else if (typeof body?.["prediction value"] === "string") showAnswer(body, details);
      else throw new SyntaxError("no prediction");
    } catch (error) {
      const words = failure
        ? "The answer could not be read."
        : error.name === "TimeoutError"
          ? `No answer in ${PATIENCE_MS / 1000} seconds. The service may be overloaded.`
          : "The gateway cannot be reached: the network or the gateway is down. Nothing was answered.";
      show("bad", [stateMark("bad", words)]);
    } finally {
      pending = false;
      if (performance.now() >= blockedUntil) button.removeAttribute("aria-disabled");
    }
  }

  form.addEventListener("submit", submit);
  // Our own words instead of the browser's bubble, which a screen reader may miss.
  form.noValidate = true;

  draw();
  round();
})();
