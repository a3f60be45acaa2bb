// Which view, who may see it, and the beat at which it is renewed.

import { Refused, ask, enter, entered, leave } from "./api.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { overview } from "./overview.js";
import { traces } from "./traces.js";
import { waterfall } from "./waterfall.js";

const BEAT_MS = 2000;
const SECRET = /^#[A-Za-z0-9_-]{43}$/;
const main = document.getElementById("main");
const pulse = document.getElementById("pulse");
const out = document.getElementById("leave");

out.addEventListener("click", () => leave().catch(() => {}).finally(() => location.assign("/")));
await start();

async function start() {
  try {
    await redeem();
    if (!entered()) return welcome();
    const trace = /^\/traces\/([^/]+)$/.exec(location.pathname);
    await (trace ? one(trace[1]) : all());
    out.hidden = false;
  } catch (problem) {
    if (problem instanceof Refused && problem.status === 401) welcome(problem.message);
    else if (problem instanceof Refused) main.replaceChildren(h("p", { role: "alert" }, problem.message), h("p", {}, h("a", { href: "/" }, "All traces")));
    else throw problem;
  }
}

/** A link from `headrace top --web`: its secret is used up, and leaves the address bar. */
async function redeem() {
  if (!SECRET.test(location.hash)) return;
  const secret = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  await enter("Link", secret);
}

async function one(id) {
  const view = await waterfall(id);
  document.title = `Trace ${id.slice(0, 8)} · Headrace`;
  main.replaceChildren(view);
}

async function all() {
  const list = traces();
  const figures = h("div", { class: "figures" });
  main.replaceChildren(h("h1", { class: "quiet" }, "What the mesh does now"), figures, list.element);
  await Promise.all([beat(), list.refresh()]);
  let busy = false;
  setInterval(async () => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      await Promise.all([beat(), list.refresh()]);
    } catch (problem) {
      late(problem);
    }
    busy = false;
  }, BEAT_MS);

  async function beat() {
    try {
      const found = await ask("/api/overview?history=1");
      renewed(figures, overview(found));
      list.models(found.models.map((model) => model.model));
      figures.classList.remove("old");
      pulse.className = "pulse live";
      pulse.textContent = `live, ${clock(found.time_ns / 1e6)}`;
    } catch (problem) {
      if (!(problem instanceof Refused) || problem.status !== 409) throw problem;
      figures.replaceChildren(h("p", { class: "note" }, problem.message));
    }
  }

  function late(problem) {
    if (problem.status === 401) location.reload();
    figures.classList.add("old");
    pulse.className = "pulse";
    pulse.textContent = `${problem.message}: what is shown is old`;
  }
}

/** New figures in place of the old ones; a table that is scrolled or in focus stays so. */
function renewed(figures, sections) {
  const regions = [...figures.querySelectorAll(".scroll")].map((one) => [one.getAttribute("aria-label"), one.scrollLeft, one === document.activeElement]);
  figures.replaceChildren(...sections);
  for (const [label, left, focused] of regions) {
    const same = [...figures.querySelectorAll(".scroll")].find((one) => one.getAttribute("aria-label") === label);
    if (!same) continue;
    same.scrollLeft = left;
    if (focused) same.focus({ preventScroll: true });
  }
}

function welcome(problem = "") {
  const token = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true });
  const told = h("p", { role: "alert", class: "problem" }, problem);
  const form = h("form", { class: "welcome", submit: (event) => {
    event.preventDefault();
    enter("Bearer", token.value.trim()).then(() => location.reload(), (refused) => { told.textContent = refused.message; });
  } }, h("h1", {}, "Who is there?"),
  h("p", {}, "Run ", h("code", {}, "headrace top --web"), " for a link that lets you in, or paste a token that may observe."),
  h("label", { for: "token" }, "Token"), token, h("button", {}, "Enter"), told);
  main.replaceChildren(form);
  token.focus();
}
