// Elements out of text. Nothing here parses HTML: whatever a client named its models, it stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `props` are attributes; a function is a listener; null and false leave the attribute out. */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** A table whose first column is text and whose others are numbers; a wide one can be scrolled with the keys. */
export function table(label, columns, rows, wide = false) {
  const head = columns.map((column, at) => h("th", { scope: "col", class: at ? "n" : null }, column));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, at) =>
    at ? h("td", { class: "n" }, cell) : h("th", { scope: "row" }, cell))));
  return h("div", { class: "scroll", "aria-label": label, role: "region", tabindex: wide ? "0" : null },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}
