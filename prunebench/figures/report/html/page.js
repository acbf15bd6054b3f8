// The choice of the reader: dataset, ratio, methods, dark or light. All figures follow from `state`.

const CHARTS = {
  accuracy: accuracyChart,
  price: priceChart,
  ranks: ranksChart,
  scores: scoresChart,
  overlap: overlapChart,
  montage: montageChart,
  maps: mapsChart,
  classes: classesChart,
};
const GROUPS = {
  none: "No labels to select",
  few: "Few labels",
  full: "All labels",
  reference: "References",
};
const place = (id) => document.getElementById(id);
const boards = JSON.parse(place("values").textContent);
const articles = [...document.querySelectorAll("article")];

// board, ratio: positions. slots: positions of the chosen methods; a slot is a color and a mark.
// shown: the methods of figures, with their looks. map, onMap: positions of the embeddings and the method
// of the maps.
const state = { board: 0, ratio: 0, slots: [], shown: [], map: 0, onMap: -1 };

// Show a board, with the methods that it begins with, at the ratio nearest to `ratio`.
function showBoard(number, ratio) {
  const { ratios, methods } = boards[number];
  const far = ratios.map((one) => Math.abs(one - ratio));
  state.board = number;
  state.ratio = far.indexOf(Math.min(...far));
  state.slots = [...methods.keys()].filter((index) => methods[index].chosen);
  articles.forEach((article, index) => {
    article.hidden = index !== number;
  });
  offerRatios(ratios);
  offerMethods(methods);
  redraw();
}

function offerRatios(ratios) {
  const choices = ratios.map((ratio, index) => {
    const button = html("input", { type: "radio", name: "ratio" });
    button.checked = index === state.ratio;
    button.addEventListener("change", () => {
      state.ratio = index;
      redraw();
    });
    return html("label", {}, button, html("span", {}, String(ratio), html("i", {}, " %")));
  });
  place("ratios").replaceChildren(place("ratios").firstElementChild, ...choices);
}

function offerMethods(methods) {
  const groups = Object.entries(GROUPS).map(([group, title]) => {
    const members = [...methods.keys()].filter(
      (index) => methods[index].group === group && !methods[index].always,
    );
    return members.length ? html("fieldset", {}, html("legend", {}, title), ...members.map(methodBox)) : "";
  });
  place("choices").replaceChildren(...groups);
}

function methodBox(index) {
  const box = html("input", { type: "checkbox" });
  box.checked = state.slots.includes(index);
  box.addEventListener("change", () => {
    if (box.checked) fillSlot(index);
    else state.slots[state.slots.indexOf(index)] = undefined;
    redraw();
  });
  return html("label", {}, box, html("span", {}, boards[state.board].methods[index].title));
}

function fillSlot(index) {
  const free = state.slots.indexOf(undefined);
  state.slots[free < 0 ? state.slots.length : free] = index;
}

function redraw() {
  const { methods } = boards[state.board];
  const always = [...methods.keys()].filter((index) => methods[index].always);
  const seen = (index, slot) => ({ method: methods[index], index, look: lookOf(methods[index], slot) });
  const chosen = state.slots.flatMap((index, slot) => (index === undefined ? [] : [seen(index, slot)]));
  state.shown = [...always.map((index) => seen(index, 0)), ...chosen];
  place("shown").textContent = `${state.shown.length} of ${methods.length}`;
  for (const holder of articles[state.board].querySelectorAll("figure")) {
    CHARTS[holder.dataset.chart](holder, boards[state.board], state);
  }
}

place("board").addEventListener("change", (event) => {
  showBoard(Number(event.target.value), boards[state.board].ratios[state.ratio]);
});
document.addEventListener("click", (event) => {
  if (!place("picker").contains(event.target)) place("picker").open = false;
});
let drawnWidth = document.body.clientWidth;
new ResizeObserver(() => {
  if (document.body.clientWidth === drawnWidth) return;
  drawnWidth = document.body.clientWidth;
  redraw();
}).observe(document.body);
showBoard(Number(place("board").value), 100);
