// Drawing: elements, scales, axes, marks and labels. Text only ever enters the page as text.

const NAMESPACE = "http://www.w3.org/2000/svg";
const NARROW = 560; // pixels below which labels move from the curves to a legend
const PENCIL = document.createElement("canvas").getContext("2d"); // measures text; draws nothing
PENCIL.font = `12px ${getComputedStyle(document.body).fontFamily}`;
const MARKS = [
  "M-3.6-3.6h7.2v7.2h-7.2z", // square
  "M0-4.8 4.4 3.4H-4.4z", // triangle
  "M0-5 5 0 0 5-5 0z", // diamond
  "M0 4.8 4.4-3.4H-4.4z", // triangle, down
  "M-1.6-4.8h3.2v3.2h3.2v3.2H1.6v3.2h-3.2V1.6h-3.2v-3.2h3.2z", // plus
  "M0-5 4.8-1.5 2.9 4.1H-2.9L-4.8-1.5z", // pentagon
];
const DOT = "M4 0A4 4 0 1 1-4 0 4 4 0 1 1 4 0z";
const COLORS = 6;

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function html(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function canvas(width, height, label) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function write(text, x, y, attributes = {}) {
  return svg("text", { x, y, ...attributes }, text);
}

function hint(text) {
  return svg("title", {}, text);
}

// Return the width of text in pixels.
function wide(text) {
  return PENCIL.measureText(text).width;
}

// Return text of at most `width` pixels.
function cut(text, width) {
  if (wide(text) <= width) return text;
  let letters = text.length - 1;
  while (letters > 3 && wide(`${text.slice(0, letters)}…`) > width) letters -= 1;
  return `${text.slice(0, letters).trimEnd()}…`;
}

// Return round numbers from `low` to `high`, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let tick = Math.ceil(low / step); tick * step <= high + step * 1e-9; tick += 1) found.push(tick * step);
  return found;
}

function linear(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

// A logarithmic scale with a place of its own for 0, before the least positive value.
function logarithmic(values, from, to) {
  const positive = values.filter((value) => value > 0);
  const low = Math.log10(Math.min(...positive, 1e9));
  const high = Math.log10(Math.max(...positive, 1e-9));
  const room = values.length > positive.length ? (to - from) * 0.16 : 0;
  const scale = linear(low, Math.max(high, low + 1), from + room, to);
  return (value) => (value > 0 ? scale(Math.log10(value)) : from);
}

// Return the values themselves if they are few, else 0 and the powers of ten among them.
function logTicks(values) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  if (distinct.length <= 4) return distinct;
  const found = distinct[0] === 0 ? [0] : [];
  const positive = distinct.filter((value) => value > 0);
  for (let power = Math.ceil(Math.log10(positive[0])); 10 ** power <= positive[positive.length - 1]; power += 1) found.push(10 ** power);
  return found;
}

function number(value) {
  return Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

// Draw both axes. `box` has left, right, top and bottom; ticks are [place, text].
function axes(plot, box, xTicks, yTicks, xLabel, yLabel) {
  for (const [y, text] of yTicks) {
    plot.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }));
    plot.append(write(text, box.left - 8, y + 4, { class: "soft", "text-anchor": "end" }));
  }
  plot.append(svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  for (const [x, text] of xTicks) {
    plot.append(svg("line", { class: "axis", x1: x, x2: x, y1: box.bottom, y2: box.bottom + 4 }));
    plot.append(write(text, x, box.bottom + 18, { class: "soft", "text-anchor": "middle" }));
  }
  plot.append(write(xLabel, (box.left + box.right) / 2, box.bottom + 38, { class: "soft", "text-anchor": "middle" }));
  plot.append(write(yLabel, 0, box.top - 12, { class: "soft" }));
}

// The look of a method: Random is ink, full training is quiet, others have a color and a mark each.
function lookOf(method, slot) {
  if (method.always) return method.level ? { color: "quiet", mark: "", dash: "7 4" } : { color: "ink", mark: DOT, dash: "" };
  const dash = ["", "5 2", "2 2"][Math.floor(slot / COLORS) % 3];
  return { color: `c${slot % COLORS}`, mark: MARKS[(slot + Math.floor(slot / COLORS)) % MARKS.length], dash };
}

function markAt(look, x, y, text) {
  const node = svg("path", { d: look.mark || DOT, transform: `translate(${x} ${y})`, class: `mark fill ${look.color}` });
  if (text) node.append(hint(text));
  return node;
}

function sample(look) {
  const plot = svg("svg", { width: 30, height: 14, "aria-hidden": "true" });
  plot.append(svg("line", { class: `curve line ${look.color}`, "stroke-dasharray": look.dash, x1: 1, x2: 29, y1: 7, y2: 7 }));
  if (look.mark) plot.append(markAt(look, 15, 7));
  return plot;
}

function legend(shown) {
  return html("ul", { class: "legend" }, ...shown.map(({ method, look }) => html("li", {}, sample(look), method.title)));
}

// Move labels apart: `wanted` are their heights in pixels; return heights at least `gap` apart.
function apart(wanted, gap, top, bottom) {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a] - wanted[b]);
  const places = [...wanted];
  let before = top - gap;
  for (const index of order) before = places[index] = Math.max(places[index], before + gap);
  let after = bottom + gap;
  for (const index of order.reverse()) after = places[index] = Math.min(places[index], after - gap);
  return places;
}
