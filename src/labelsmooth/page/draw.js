
// draw.js: elements and marks. Text from outside is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const svg = /^(svg|g|rect|line|path|text|tspan|circle|polyline|polygon|defs|pattern|title)$/.test(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  element.append(...children.filter((child) => child !== "" && child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

// Writes a sentence; what stands between asterisks is strong. Names come as separate parts and are never read for asterisks.
function say(id, ...parts) {
  byId(id).replaceChildren(...parts.map((part) => (typeof part === "string" ? document.createTextNode(part) : part)));
}
const strong = (text) => make("strong", { class: text.length < 16 && "tight" }, text); // a number is not torn from its sign

const minus = (text) => text.replace(/^-/, "−");
function number(x, digits = 3) {
  if (x === Infinity) return "∞";
  if (x === -Infinity) return "−∞";
  if (!Number.isFinite(x)) return "no number";
  const near = Math.abs(x) < 0.5 * 10 ** -digits ? (x === 0 ? "0" : x.toExponential(1)) : x.toFixed(digits);
  return minus(near);
}
const signed = (x, digits = 3) => (x > 0 ? `+${number(x, digits)}` : number(x, digits));
const trim = (x, digits) => minus(String(Number(x.toFixed(digits))));
const short = (name, room) => (name.length <= room ? name : `${name.slice(0, Math.max(1, room - 1))}…`);

// Figures are drawn in units of a sixteenth of the page's letter size, so that their letters grow with the page's.
const widths = new Map();
let unit = 1;
const FIGURES = ["hero", "target", "prediction", "loss", "push", "stop", "train", "points", "heat"];

function measure() {
  unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  for (const name of FIGURES) {
    const wide = byId(`fig-${name}`).clientWidth;
    if (wide > 0) widths.set(name, Math.max(200, wide / unit));
  }
}

// Replaces a figure by a new one; `says` is the id of the sentence that says in words what it shows.
function figure(name, height, says, draw) {
  const W = widths.get(name) ?? 320;
  const svg = make("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-labelledby": says });
  draw(svg, W);
  byId(`fig-${name}`).replaceChildren(svg);
}

const rect = (x, y, width, height, kind, more = {}) => make("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), class: kind, ...more });
const line = (x1, y1, x2, y2, kind) => make("line", { x1, y1, x2, y2, class: kind });
const text = (x, y, words, kind = "", anchor = "middle") => make("text", { x, y, class: kind, "text-anchor": anchor }, words);
const path = (points, kind) => make("polyline", { points: points.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" "), class: kind });

function arrow(x, from, to, half, kind, more = {}) {
  const head = Math.min(9, Math.abs(to - from)), neck = to + Math.sign(from - to) * head;
  const d = `M${x - half},${from}L${x - half},${neck}L${x - half * 2.2},${neck}L${x},${to}L${x + half * 2.2},${neck}L${x + half},${neck}L${x + half},${from}Z`;
  return make("path", { d, class: kind, ...more });
}

// Columns of classes: where each stands, and how much of its name there is room for.
function columns(W, K, left = 0) {
  const pitch = (W - left) / K;
  return { pitch, at: (k) => left + (k + 0.5) * pitch, roomy: pitch >= 25, named: (name) => short(name, Math.floor(pitch / 7.2)) };
}

// Names under columns; of many classes only the label's.
function nameColumns(svg, grid, names, y, label) {
  names.forEach((name, k) => {
    if (grid.roomy) svg.append(text(grid.at(k), y, grid.named(name), k === label ? "strong" : "soft"));
    else if (k === label) svg.append(text(Math.max(4, grid.at(k) - 20), y, short(name, 20), "strong", "start"));
  });
}

// A bar cut into parts, with a sentence above it. A part is [width in nats, kind].
function stacked(svg, y, scale, sentence, parts) {
  const head = text(0, y, "", "", "start");
  svg.append(head);
  head.replaceChildren(...sentence.map(([words, kind]) => make("tspan", { class: kind ?? "" }, words)));
  let x = 0;
  for (const [size, kind, hatched] of parts) {
    svg.append(rect(x, y + 7, scale(size), 17, kind));
    if (hatched) svg.append(rect(x, y + 7, scale(size), 17, "hatch"));
    x += scale(size);
  }
  svg.append(line(0, y + 5, 0, y + 26, "axis"));
}
