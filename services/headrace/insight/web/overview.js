// What the mesh does now.

import { h, s, table } from "./dom.js";
import { UNKNOWN, milliseconds, money, quantile, rate, share } from "./format.js";

const WIDTH = 120;
const HEIGHT = 28;

/** Everything but the traces. */
export function overview(figures) {
  return [processes(figures.processes), keys(figures), models(figures.models), sides(figures)];
}

function processes(all) {
  const chips = all.map((one) => h("li", { class: `process ${one.health}` },
    h("span", { class: "dot", "aria-hidden": "true" }), one.name, " ",
    h("span", { class: "state" }, one.health === "up" ? "up" : `${one.health}${age(one.age_s)}`)));
  return h("section", { "aria-labelledby": "processes" },
    h("h2", { id: "processes", class: "quiet" }, "Processes"), h("ul", { class: "processes" }, chips));
}

function age(seconds) {
  return seconds === null ? ", never read" : ` for ${Math.round(seconds)} s`;
}

function keys(figures) {
  const history = figures.history ?? [];
  const sum = (name) => figures.models.every((model) => model[name] === null) ? null
    : figures.models.reduce((total, model) => total + (model[name] ?? 0), 0);
  const edge = figures.gateway;
  const cost = figures.cost === null ? [UNKNOWN]
    : figures.cost.length ? figures.cost.map((one) => `${money(one.nanos_per_minute)} ${one.currency}`) : ["nothing booked"];
  return h("section", { class: "keys", "aria-label": "Key figures" },
    key("Requests", `${rate(sum("requests_per_s"))}`, "/s", line(history.map((point) => point.requests_per_s))),
    key("Without an answer", `${rate(sum("failed_per_s"))}`, "/s", line(history.map((point) => point.failed_per_s), "bad")),
    key("95 of 100 within", latest(history), "", line(history.map((point) => point.p95_s))),
    key("At the edge, 95 of 100", quantile(edge?.latency_s.p95), "",
      h("p", { class: "note" }, edge ? `p50 ${quantile(edge.latency_s.p50)}, p99 ${quantile(edge.latency_s.p99)}; ${edge.connections} connections, `
        + `${rate(edge.refused_per_s)}/s 4xx, ${rate(edge.failed_per_s)}/s 5xx` : "Envoy does not answer")),
    key("Cost per minute", cost.join(", "), "", null));
}

function latest(history) {
  const point = history[history.length - 1];
  return point && point.p95_s !== null ? milliseconds(point.p95_s * 1000) : UNKNOWN;
}

function key(name, value, unit, below) {
  return h("div", { class: "key" }, h("p", { class: "name" }, name),
    h("p", { class: "value" }, value, h("span", { class: "unit" }, unit)), below);
}

/** The last ten minutes. Where nothing is known, there is no line. */
function line(values, kind = "") {
  const known = values.filter((value) => value !== null);
  const top = Math.max(...known, 0) || 1;
  const paths = [];
  let path = "";
  values.forEach((value, at) => {
    if (value === null) {
      if (path) paths.push(path);
      path = "";
      return;
    }
    const x = values.length < 2 ? WIDTH : (at / (values.length - 1)) * WIDTH;
    path += `${path ? "L" : "M"}${x.toFixed(1)} ${(HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1)}`;
  });
  if (path) paths.push(path);
  return s("svg", { class: `line ${known.some((value) => value > 0) ? kind : ""}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    paths.map((d) => s("path", { d, "vector-effect": "non-scaling-stroke" })));
}

function models(all) {
  const rows = all.map((model) => [
    model.model, rate(model.requests_per_s), rate(model.failed_per_s),
    quantile(model.latency_s.p50), quantile(model.latency_s.p95), quantile(model.latency_s.p99),
    quantile(model.queue_s.p95), quantile(model.compute_s.p95),
    model.batch_rows === null ? UNKNOWN : model.batch_rows.toFixed(1),
  ]);
  const columns = ["Model", "req/s", "failed/s", "p50", "p95", "p99", "queue p95", "compute p95", "batch"];
  return h("section", { "aria-labelledby": "models" }, h("h2", { id: "models" }, "Models"),
    rows.length ? table("Models", columns, rows, true) : h("p", { class: "note" }, "No replica answers: nothing is known of its models."));
}

function sides(figures) {
  const { limits, breakers } = figures;
  const levels = figures.cache.map((level) => [level.level, rate(level.lookups_per_s), share(level.hit_rate)]);
  const codes = Object.entries(figures.codes).map(([code, perSecond]) => [code, rate(perSecond)]);
  const rules = [["admitted", rate(limits?.admitted_per_s)], ["refused", rate(limits?.refused_per_s)]];
  const states = breakers === null ? [["not known", UNKNOWN]]
    : breakers.length ? breakers.map((one) => [one.model, one.state.replace("_", " ")]) : [["all closed", ""]];
  if (limits?.alone) rules.push(["replicas without guard", String(limits.alone)]);
  return h("div", { class: "sides" },
    side("Cache", ["Level", "look-ups/s", "hits"], levels),
    side("Answers of the replicas", ["Code", "per second"], codes),
    side("Limits", ["Requests", "per second"], rules),
    side("Breakers", ["Model", "state"], states));
}

function side(name, columns, rows) {
  const id = name.toLowerCase().replaceAll(" ", "-");
  return h("section", { "aria-labelledby": id }, h("h2", { id }, name),
    rows.length ? table(name, columns, rows) : h("p", { class: "note" }, "Nothing is known."));
}
