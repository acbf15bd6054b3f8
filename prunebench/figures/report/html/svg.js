// Drawing: elements, scales, axes, marks and labels. Text only ever enters the page as text.

const NAMESPACE = "http://www.w3.org/2000/svg";
const NARROW = 560; // pixels below which names move from the curves to a legend
const PENCIL = document.createElement("canvas").getContext("2d"); // measures text, draws nothing
PENCIL.font = `12px ${getComputedStyle(document.body).fontFamily}`;
const DOT = "M4 0A4 4 0 1 1-4 0 4 4 0 1 1 4 0z";
const DOWN = "M0 4.8 4.4-3.4H-4.4z";
const MARKS = [
  "M-3.6-3.6h7.2v7.2h-7.2z", // square
  "M0-4.8 4.4 3.4H-4.4z", // triangle
  "M0-5 5 0 0 5-5 0z", // diamond
  DOWN,
  "M-1.6-4.8h3.2v3.2h3.2v3.2H1.6v3.2h-3.2V1.6h-3.2v-3.2h3.2z", // plus
  "M0-5 4.8-1.5 2.9 4.1H-2.9L-4.8-1.5z", // pentagon
];
const COLORS = 6;
const DASHES = ["", "5 2", "2 2"];

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(NAMESPACE, name), attributes, children);
}

function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function canvas(width, height, label) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

// Return a text; `side` is start, middle or end.
function write(text, x, y, side = "start", kind = "") {
  return svg("text", { x, y, "text-anchor": side, class: kind }, text);
}

function line(kind, x1, y1, x2, y2) {
  return svg("line", { class: kind, x1, y1, x2, y2 });
}

// Give a node the text that shows when a pointer rests on it.
function hinted(node, text) {
  node.append(svg("title", {}, text));
  return node;
}

function missing(text) {
  return html("p", { class: "missing" }, text);
}

// Fill a holder with panels, and return the places below their titles. A title is [words, remark].
function panels(holder, layout, titles) {
  const places = titles.map(() => html("div"));
  const outer = titles.map(([words, remark = ""], index) => {
    const title = html("p", { class: "panel" }, words, html("small", {}, ` ${remark}`));
    return html("div", {}, title, places[index]);
  });
  holder.replaceChildren(html("div", { class: layout }, ...outer));
  return places;
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

function number(value) {
  return Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

// Return round numbers from `low` to `high`, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let tick = Math.ceil(low / step); tick * step <= high + step * 1e-9; tick += 1)
    found.push(tick * step);
  return found;
}

function linear(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

// Return a logarithmic scale. 0 has a place of its own, before the least positive value.
function logarithmic(values, from, to) {
  const positive = values.filter((value) => value > 0);
  const room = values.length > positive.length ? (to - from) * 0.16 : 0;
  const low = Math.log10(Math.min(...positive));
  const high = Math.log10(Math.max(...positive));
  const scale = linear(low, Math.max(high, low + 1), from + room, to);
  return (value) => (value > 0 ? scale(Math.log10(value)) : from);
}

// Return the values themselves if they are few, else 0 and the powers of ten on their axis.
function logTicks(values) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  if (distinct.length <= 4) return distinct;
  const found = distinct[0] === 0 ? [0] : [];
  const positive = distinct.filter((value) => value > 0);
  const first = Math.log10(positive[0]);
  const last = Math.max(Math.log10(positive[positive.length - 1]), first + 1);
  for (let power = Math.ceil(first); power <= last; power += 1) found.push(10 ** power);
  return found;
}

// Draw both axes. `x` and `y` are { scale, ticks, label }; `box` has left, right, top and bottom.
function axes(plot, box, x, y) {
  for (const tick of y.ticks) {
    const place = y.scale(tick);
    plot.append(line("grid", box.left, place, box.right, place));
    plot.append(write(number(tick), box.left - 8, place + 4, "end", "soft"));
  }
  plot.append(line("axis", box.left, box.bottom, box.right, box.bottom));
  for (const tick of x.ticks) {
    const place = x.scale(tick);
    plot.append(line("axis", place, box.bottom, place, box.bottom + 4));
    plot.append(write(number(tick), place, box.bottom + 18, "middle", "soft"));
  }
  plot.append(write(x.label, (box.left + box.right) / 2, box.bottom + 38, "middle", "soft"));
  plot.append(write(y.label, 0, box.top - 12, "start", "soft"));
}

// Return the look of a method. Random is ink, full training is quiet, others have the look of a slot.
function lookOf(method, slot) {
  if (method.always && method.level) return { color: "quiet", mark: "", dash: "7 4" };
  if (method.always) return { color: "ink", mark: DOT, dash: "" };
  const round = Math.floor(slot / COLORS); // colors repeat with another mark and dash
  const mark = method.level ? "" : MARKS[(slot + round) % MARKS.length];
  const dash = method.level ? "7 4" : DASHES[round % DASHES.length];
  return { color: `c${slot % COLORS}`, mark, dash };
}

function markAt(look, x, y, text = "") {
  const place = `translate(${x} ${y})`;
  return hinted(svg("path", { d: look.mark, transform: place, class: `mark fill ${look.color}` }), text);
}

function legend(shown) {
  const items = shown.map(({ method, look }) => {
    const sample = svg("svg", { width: 30, height: 14, "aria-hidden": "true" });
    const stroke = line(`curve line ${look.color}`, 1, 7, 29, 7);
    stroke.setAttribute("stroke-dasharray", look.dash);
    sample.append(stroke, markAt(look, 15, 7));
    return html("li", {}, sample, method.title);
  });
  return html("ul", { class: "legend" }, ...items);
}

// Return heights at least `gap` apart, near those that are `wanted`.
function apart(wanted, gap, top, bottom) {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a] - wanted[b]);
  const places = [...wanted];
  let before = top - gap;
  for (const index of order) before = places[index] = Math.max(places[index], before + gap);
  let after = bottom + gap;
  for (const index of order.reverse()) after = places[index] = Math.min(places[index], after - gap);
  return places;
}
