// Reads insight's page as a person does, with the keyboard alone, and prints what it saw as one line of JSON.

import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const { link, page: address, model, hostile, shots, profile } = JSON.parse(process.argv[2]);
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await puppeteer.launch({
  executablePath: await chromium.executablePath(), headless: "shell", args: [...QUIET, `--user-data-dir=${profile}`],
});
const tab = await browser.newPage();
const seen = { problems: [], origins: [] };
const origins = new Set();
tab.on("console", (message) => ["error", "warn"].includes(message.type()) && seen.problems.push(message.text()));
tab.on("pageerror", (error) => seen.problems.push(String(error)));
tab.on("request", (request) => origins.add(new URL(request.url()).origin));
await tab.evaluateOnNewDocument(() => {
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
});
await tab.setViewport({ width: 1280, height: 900 });

const text = (selector) => tab.$eval(selector, (element) => element.textContent);
const focused = () => tab.evaluate(() => ({ role: document.activeElement.getAttribute("role"), href: document.activeElement.href ?? "",
  outline: getComputedStyle(document.activeElement).outlineStyle, text: document.activeElement.textContent }));
const shot = (name) => tab.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
const wide = () => tab.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

async function tabTo(found) {
  for (let presses = 1; presses < 60; presses += 1) {
    await tab.keyboard.press("Tab");
    const now = await focused();
    if (now.outline === "none") seen.problems.push(`no visible focus: ${now.text.slice(0, 40)}`);
    if (found(now)) return presses;
  }
  throw new Error("not reached with the Tab key");
}

// A stranger sees no figure, and is told how to come in.
await tab.goto(address, { waitUntil: "networkidle0" });
seen.stranger = await text("main");
seen.problems = seen.problems.filter((problem) => !problem.includes("401"));
await shot("stranger");

// The link lets in, and leaves the address bar.
await tab.goto(link);
await tab.reload();
await tab.waitForSelector("#leave:not([hidden])");
seen.address = tab.url();

// Figures change: the mesh is asked meanwhile.
const row = (name) => [...document.querySelectorAll("[aria-label=Models] tbody tr")].find((one) => one.firstChild.textContent === name);
await tab.waitForFunction(`parseFloat((${row})(${JSON.stringify(model)})?.children[1].textContent) > 0`, { timeout: 90_000 });
seen.rate = await tab.evaluate(`(${row})(${JSON.stringify(model)}).children[1].textContent`);
seen.live = await text("#pulse");
await shot("light");
await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
await shot("dark");
await tab.setViewport({ width: 320, height: 800 });
seen.overflow = [await wide()];
await shot("narrow");
await tab.setViewport({ width: 1280, height: 900 });
await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);

// A hostile name is shown as it is.
await tab.waitForFunction((name) => [...document.querySelectorAll(".traces a")].some((one) => one.textContent === name), { timeout: 90_000 }, hostile);
seen.hostile = await tab.evaluate(() => ({ title: document.title, images: document.images.length, scripts: document.scripts.length }));

// The keyboard alone finds a trace of the model, opens it, and walks its spans.
await tabTo((now) => now.role === null && now.text === "" && now.href === "");
await tab.keyboard.type(model);
await tab.waitForFunction((name) => {
  const names = [...document.querySelectorAll(".traces a")].map((one) => one.textContent);
  return names.length > 0 && names.every((one) => one === name);
}, { timeout: 90_000 }, model);
await tabTo((now) => now.href.includes("/traces/"));
await tab.keyboard.press("Enter");
await tab.waitForSelector("[role=treeitem]");
await tabTo((now) => now.role === "treeitem");
for (const key of ["Home", "ArrowDown", "ArrowRight", "ArrowLeft", "End"]) await tab.keyboard.press(key);
seen.permalink = tab.url();
seen.span = { spans: (await tab.$$("[role=treeitem]")).length, last: (await focused()).text, detail: await text(".detail h2"), facts: await text(".detail dl") };
seen.overflow.push(await wide());
await shot("trace");
await tab.setViewport({ width: 320, height: 800 });
seen.overflow.push(await wide());
await shot("trace-narrow");

// The permalink shows the same span again.
await tab.reload();
await tab.waitForSelector("[role=treeitem][aria-selected=true]");
seen.again = await text(".detail h2");
seen.violations = await tab.evaluate(() => window.violations);

// Signed out, the page is a stranger's again.
await tab.click("#leave");
await tab.waitForSelector("#token");
seen.left = await text("main");
seen.origins = [...origins];
await browser.close();
console.log(JSON.stringify(seen));
