// One trace: where its time went. A tree that is walked with the arrow keys; the span in focus is told in full.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { clock, milliseconds } from "./format.js";

const COLOURS = ["gateway", "inference", "guard", "cache", "metering"];

/** The waterfall of `/traces/ID`; `?span=ID` is the span in focus. */
export async function waterfall(id) {
  const { rows } = await ask(`/api/traces/${id}`);
  const own = rows.filter((row) => !row.linked);
  const first = own[0] ?? rows[0];
  const took = Math.max(...own.map((row) => row.offset_ms + row.duration_ms));
  const detail = h("section", { class: "detail", "aria-label": "The span in focus", "aria-live": "polite" });
  const items = rows.map((row, at) => item(row, at));
  const tree = h("div", { class: "waterfall", role: "tree", "aria-label": "Spans", keydown: moved, focusin: chosen }, items);

  function chosen(event) {
    const at = items.indexOf(event.target.closest("[role=treeitem]"));
    if (at >= 0) choose(at);
  }

  function choose(at) {
    items.forEach((one, other) => {
      one.tabIndex = other === at ? 0 : -1;
      one.setAttribute("aria-selected", String(other === at));
    });
    detail.replaceChildren(...told(rows[at], id));
    history.replaceState(null, "", `?span=${rows[at].span_id}`);
  }

  function moved(event) {
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1, ArrowRight: inner(rows, at), ArrowLeft: outer(rows, at) }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    items[Math.min(items.length - 1, Math.max(0, to))].focus();
  }

  const wanted = rows.findIndex((row) => row.span_id === new URLSearchParams(location.search).get("span"));
  choose(Math.max(0, wanted));
  const head = h("header", {}, h("p", {}, h("a", { href: "/" }, "← All traces")), h("h1", {}, first.name),
    h("p", { class: "note" }, `${clock(first.start_ms)}, took ${milliseconds(took)}, ${own.length} ${own.length === 1 ? "span" : "spans"}`
      + (rows.length > own.length ? ` and ${rows.length - own.length} of linked traces` : "")),
    h("p", { class: "note" }, h("code", {}, id)));
  return h("article", { class: "trace" }, head, h("div", { class: "split" }, tree, detail));
}

function item(row, at) {
  const bar = h("span", { class: `fill ${colour(row.service)}${row.linked ? " linked" : ""}${row.failed ? " failed" : ""}` });
  bar.style.left = `${row.bar_start * 100}%`;
  bar.style.width = `${Math.max(0.4, row.bar_width * 100)}%`;
  const name = h("span", { class: "name" }, row.linked ? "↔ " : "", row.name);
  name.style.paddingInlineStart = `${Math.min(row.depth, 12) * 0.8}rem`;
  return h("div", { class: "item", role: "treeitem", tabindex: "-1", "aria-level": row.depth + 1, "aria-posinset": at + 1, click: (event) => event.currentTarget.focus(),
    "aria-label": `${row.name}, ${row.service}, ${milliseconds(row.duration_ms)}${row.failed ? ", failed" : ""}${row.linked ? ", of a linked trace" : ""}` },
    name, h("span", { class: "by" }, row.service), h("span", { class: "n" }, milliseconds(row.duration_ms)),
    h("span", { class: "track", "aria-hidden": "true" }, bar));
}

function colour(service) {
  const at = COLOURS.indexOf(service);
  return at < 0 ? "other" : COLOURS[at];
}

function told(row, id) {
  const facts = [["Service", row.service], ["Kind", row.kind || "not told"], ["Begins", row.offset_ms < 0 ? `${milliseconds(-row.offset_ms)} before it` : `${milliseconds(row.offset_ms)} in`],
    ["Takes", milliseconds(row.duration_ms)], ["Span", row.span_id]];
  if (row.failed) facts.push(["Failed", row.status_message || "yes"]);
  if (row.detached) facts.push(["Parent", "not stored"]);
  const others = [...new Set([...row.links, row.trace_id])].filter((other) => other !== id);
  const links = others.map((other) => h("li", {}, h("a", { href: `/traces/${other}` }, other)));
  return [h("h2", {}, row.name), list(facts), h("h3", {}, "Attributes"),
    Object.keys(row.attributes).length ? list(Object.entries(row.attributes).sort()) : h("p", { class: "note" }, "None."),
    ...(links.length ? [h("h3", {}, "Linked traces"), h("ul", { class: "links" }, links)] : [])];
}

function list(facts) {
  return h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function inner(rows, at) {
  return rows[at + 1]?.depth > rows[at].depth ? at + 1 : at;
}

function outer(rows, at) {
  for (let above = at - 1; above >= 0; above -= 1) if (rows[above].depth < rows[at].depth) return above;
  return at;
}
