// The newest traces, and what to look for among them.

import { Refused, ask } from "./api.js";
import { h } from "./dom.js";
import { clock, milliseconds } from "./format.js";

/** The list with its filters; `refresh` asks again and keeps the rows, and the focus, that stay. */
export function traces() {
  const query = new URLSearchParams(location.search);
  const model = h("input", { name: "model", list: "known-models", autocomplete: "off", size: "16", value: query.get("model") ?? "" });
  const slow = h("input", { name: "min_ms", type: "number", min: "0", max: "3600000", step: "1", inputmode: "numeric", value: query.get("min_ms") ?? "" });
  const failed = h("input", { name: "failed", type: "checkbox", value: "1", checked: query.get("failed") === "1" });
  const every = h("input", { name: "all", type: "checkbox", value: "1", checked: query.get("all") === "1" });
  const known = h("datalist", { id: "known-models" });
  const body = h("tbody");
  const note = h("p", { class: "note", role: "status" });
  const rows = new Map();
  let questions = 0;

  async function refresh() {
    const question = ++questions;
    const wanted = new URLSearchParams();
    if (model.value) wanted.set("model", model.value);
    if (slow.value) wanted.set("min_ms", slow.value);
    if (failed.checked) wanted.set("failed", "1");
    if (every.checked) wanted.set("all", "1");
    history.replaceState(null, "", wanted.size ? `?${wanted}` : "/");
    try {
      const found = await ask(`/api/traces?${wanted}`);
      // An older question may be answered later.
      if (question === questions) show(found.traces);
    } catch (problem) {
      if (!(problem instanceof Refused) || problem.status !== 409) throw problem;
      note.textContent = problem.message;
    }
  }

  function show(found) {
    const longest = Math.max(...found.map((trace) => trace.duration_ms), 1e-9);
    const stay = new Set(found.map((trace) => trace.trace_id));
    for (const [id, row] of rows) {
      if (!stay.has(id) && !row.contains(document.activeElement)) {
        row.remove();
        rows.delete(id);
      }
    }
    found.forEach((trace, at) => {
      const fresh = line(trace, longest);
      const old = rows.get(trace.trace_id);
      if (old) old.replaceChildren(old.firstChild, ...[...fresh.childNodes].slice(1));
      const row = old ?? fresh;
      rows.set(trace.trace_id, row);
      // Moving an element takes the focus from it.
      if (body.children[at] !== row && !row.contains(document.activeElement)) body.insertBefore(row, body.children[at] ?? null);
    });
    note.textContent = found.length ? "" : "No trace is like that.";
  }

  const form = h("form", { class: "filter", role: "search", "aria-label": "Traces", input: () => { refresh().catch(() => {}); }, submit: (event) => event.preventDefault() },
    h("label", {}, "Model ", model), known, h("label", {}, "Longer than ", slow, " ms"), h("label", {}, failed, " failed"),
    h("label", {}, every, " batches and direct calls too"));
  const head = h("tr", {}, h("th", { scope: "col" }, "Trace"), h("th", { scope: "col" }, "Started"),
    h("th", { scope: "col", class: "n" }, "Took"), h("th", { scope: "col", class: "wide" }, ""), h("th", { scope: "col", class: "n" }, "Spans"));
  const element = h("section", { "aria-labelledby": "traces" }, h("h2", { id: "traces" }, "Traces"), form,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "List of traces" }, h("table", { class: "traces" }, h("thead", {}, head), body)), note);

  function models(names) {
    if (known.children.length !== names.length) known.replaceChildren(...names.map((name) => h("option", { value: name })));
  }
  return { element, refresh, models };
}

function line(trace, longest) {
  const name = h("a", { href: `/traces/${trace.trace_id}`, title: trace.trace_id }, trace.model || trace.name || "(unnamed)");
  const bar = h("span", { class: "fill" });
  bar.style.width = `${Math.max(1, (trace.duration_ms / longest) * 100)}%`;
  return h("tr", { class: trace.failed ? "failed" : null },
    h("th", { scope: "row" }, name, h("span", { class: "by" }, trace.model ? trace.name : trace.service)),
    h("td", { class: "time" }, clock(trace.start_ms)),
    h("td", { class: "n" }, milliseconds(trace.duration_ms), trace.failed ? h("span", { class: "mark" }, " failed") : null),
    h("td", { class: "wide" }, h("span", { class: "track", "aria-hidden": "true" }, bar)),
    h("td", { class: "n" }, String(trace.spans)));
}
