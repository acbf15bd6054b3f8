// What the reader chooses: dataset, ratio, methods, dark or light. Everything shown follows from `state`.

const CHARTS = {
  accuracy: accuracyChart,
  price: priceChart,
  ranks: ranksChart,
  classes: classesChart,
  scores: scoresChart,
  overlap: overlapChart,
  montage: montageChart,
  maps: mapsChart,
};
const GROUPS = { none: "No labels to select", few: "Few labels", full: "All labels", reference: "References" };
const boards = JSON.parse(document.getElementById("values").textContent);
const articles = [...document.querySelectorAll("article")];
const state = { board: 0, ratio: 0, slots: [], shown: [], map: 0, onMap: -1 };

// Show a board at the ratio nearest to the last one, with the methods that it starts with.
function showBoard(number) {
  const ratio = state.shown.length ? boards[state.board].ratios[state.ratio] : Infinity;
  const { ratios, methods } = boards[number];
  state.board = number;
  state.ratio = ratios.reduce((best, one, index) => (Math.abs(one - ratio) <= Math.abs(ratios[best] - ratio) ? index : best), 0);
  if (ratio === Infinity) state.ratio = ratios.length - 1;
  state.slots = [];
  methods.forEach((method, index) => method.chosen && !method.always && state.slots.push(index));
  articles.forEach((article, index) => { article.hidden = index !== number; });
  offerRatios();
  offerMethods();
  redraw();
}

// Give a method the first free slot, which is its color and mark, or free its slot.
function toggle(index, on) {
  const slot = on ? state.slots.indexOf(undefined) : state.slots.indexOf(index);
  if (!on) state.slots[slot] = undefined;
  else if (slot >= 0) state.slots[slot] = index;
  else state.slots.push(index);
  redraw();
}

function offerRatios() {
  const choices = boards[state.board].ratios.map((ratio, index) => {
    const button = html("input", { type: "radio", name: "ratio", value: index });
    button.checked = index === state.ratio;
    button.addEventListener("change", () => { state.ratio = index; redraw(); });
    return html("label", {}, button, html("span", {}, String(ratio), html("i", {}, " %")));
  });
  const place = document.getElementById("ratios");
  place.replaceChildren(place.firstElementChild, ...choices);
}

function offerMethods() {
  const { methods } = boards[state.board];
  const groups = Object.entries(GROUPS).map(([group, title]) => {
    const members = methods.map((method, index) => ({ method, index })).filter(({ method }) => method.group === group && !method.always);
    const boxes = members.map(({ method, index }) => {
      const box = html("input", { type: "checkbox" });
      box.checked = state.slots.includes(index);
      box.addEventListener("change", () => toggle(index, box.checked));
      return html("label", {}, box, html("span", {}, method.title));
    });
    return members.length ? [html("fieldset", {}, html("legend", {}, title), ...boxes)] : [];
  });
  document.getElementById("choices").replaceChildren(...groups.flat());
}

function redraw() {
  const { methods } = boards[state.board];
  const always = methods.map((method, index) => ({ method, index, look: lookOf(method, 0) })).filter(({ method }) => method.always);
  const slots = state.slots.map((index, slot) => ({ index, slot })).filter(({ index }) => index !== undefined);
  state.shown = [...always, ...slots.map(({ index, slot }) => ({ method: methods[index], index, look: lookOf(methods[index], slot) }))];
  document.getElementById("chosen").textContent = `${state.shown.length} of ${methods.length}`;
  for (const holder of articles[state.board].querySelectorAll("figure")) CHARTS[holder.dataset.chart](holder, boards[state.board], state);
}

document.getElementById("board").addEventListener("change", (event) => showBoard(Number(event.target.value)));
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.style.colorScheme ? root.style.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = dark ? "light" : "dark";
});
document.addEventListener("click", (event) => {
  const picker = document.getElementById("picker");
  if (!picker.contains(event.target)) picker.open = false;
});
let width = document.body.clientWidth;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  redraw();
}).observe(document.body);
showBoard(Number(document.getElementById("board").value));
