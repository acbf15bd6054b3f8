// The figures of artefacts in the store.

const NOTHING = "None of the methods shown is stored at this ratio.";
const NO_SCORES = "None of the methods shown has stored scores at this ratio.";

// Histograms of scores, at one ratio: a panel for each method that is shown.
function scoresChart(holder, values, state) {
  const histograms = values.stored.histograms[state.ratio];
  const shown = state.shown.filter(({ index }) => histograms[index]);
  if (!shown.length) return holder.replaceChildren(missing(NO_SCORES));
  const places = panels(
    holder,
    "columns",
    shown.map(({ method }) => [method.title]),
  );
  return shown.forEach(({ index, look }, place) => histogramPanel(places[place], histograms[index], look));
}

function histogramPanel(holder, found, look) {
  const box = { left: 1, right: holder.clientWidth - 1, top: 4, bottom: 110 };
  const plot = canvas(holder.clientWidth, box.bottom + 26, "Images per score");
  const y = linear(0, Math.max(...found.all), box.bottom, box.top);
  const x = linear(found.low, found.high, box.left, box.right);
  const step = (box.right - box.left) / found.all.length;
  const bar = (kind, bin, images) =>
    svg("rect", {
      class: kind,
      x: box.left + step * bin,
      width: step - 0.6,
      y: y(images),
      height: box.bottom - y(images),
    });
  found.all.forEach((images, bin) => {
    const kept = bar(`fill ${look.color}`, bin, found.kept[bin]);
    plot.append(bar("all", bin, images), hinted(kept, `${found.kept[bin]} of ${images} images kept`));
  });
  const under = box.bottom + 4;
  const from = x(found.kept_low);
  plot.append(
    line(`kept-range line ${look.color}`, from, under, Math.max(x(found.kept_high), from + 2), under),
  );
  plot.append(write(String(Number(found.low.toPrecision(3))), box.left, box.bottom + 21, "start", "soft"));
  plot.append(write(String(Number(found.high.toPrecision(3))), box.right, box.bottom + 21, "end", "soft"));
  holder.replaceChildren(plot);
}

// Overlap of subsets and rank correlation of scores, at one ratio, as heat maps.
function overlapChart(holder, values, state) {
  const keep = (100 - values.ratios[state.ratio]) / 100;
  const chance = (keep / (2 - keep)).toFixed(2);
  const places = panels(holder, "halves", [
    ["Overlap of subsets", `two random subsets: about ${chance}`],
    ["Rank correlation of scores", "unrelated scores: about 0"],
  ]);
  heatMap(places[0], "Overlap of subsets", values.stored.jaccard[state.ratio], state, NOTHING);
  heatMap(places[1], "Rank correlation of scores", values.stored.spearman[state.ratio], state, NO_SCORES);
}

function heatMap(holder, title, pairs, state, nothing) {
  const shown = state.shown
    .map(({ method, index }) => ({ title: method.title, place: pairs.methods.indexOf(index) }))
    .filter(({ place }) => place >= 0);
  if (!shown.length) return holder.replaceChildren(missing(nothing));
  const width = holder.clientWidth;
  const names = Math.min(width * 0.45, 220);
  const size = Math.min(52, (width - names) / shown.length);
  const top = 20;
  const plot = canvas(width, top + size * shown.length + 4, title);
  shown.forEach((one, row) => {
    const y = top + size * row;
    const name = write(cut(`${row + 1} ${one.title}`, names - 10), 0, y + size / 2 + 4);
    const head = write(String(row + 1), names + size * (row + 0.5), top - 7, "middle", "soft");
    plot.append(hinted(name, one.title), head);
    shown.forEach((other, column) => {
      const value = pairs.values[one.place][other.place];
      const box = { x: names + size * column, y, size };
      plot.append(...heatCell(box, value, `${one.title} and ${other.title}: ${value.toFixed(2)}`));
    });
  });
  return holder.replaceChildren(plot);
}

// A cell: blue above 0 and orange below, with its value where that fits.
function heatCell({ x, y, size }, value, text) {
  const strength = 0.06 + 0.84 * Math.min(Math.abs(value), 1);
  const kind = `cell fill ${value < 0 ? "c4" : "c0"}`;
  const cell = svg("rect", { class: kind, x, y, width: size, height: size, "fill-opacity": strength });
  if (size < 28) return [hinted(cell, text)];
  const words = value
    .toFixed(2)
    .replace(/^(-?)0/, "$1")
    .replace("1.00", "1");
  const reverse = strength > 0.55 && value > 0 ? "reverse" : "";
  return [cell, hinted(write(words, x + size / 2, y + size / 2 + 4, "middle", reverse), text)];
}

// Images that methods keep and prune, at one ratio, from one sample of the training images.
function montageChart(holder, values, state) {
  const { sheet, strips } = values.stored.montage;
  const shown = state.shown.filter(({ index }) => strips[state.ratio][index]);
  if (!shown.length) return holder.replaceChildren(missing(NOTHING));
  return holder.replaceChildren(
    ...shown.flatMap(({ method, index }) => {
      const { kept, pruned, ordered } = strips[state.ratio][index];
      const row = html("div");
      const order = ordered ? "easy to hard" : "";
      const places = panels(row, "halves strips", [
        ["Kept", order],
        ["Pruned", order],
      ]);
      places[0].append(strip(sheet, kept));
      places[1].append(strip(sheet, pruned));
      return [html("h3", {}, method.title), row];
    }),
  );
}

// Images of a sheet, side by side.
function strip(sheet, images) {
  const tiles = images.map((place) => {
    const tile = html("div", { class: "tile" });
    const column = (place % sheet.wide) / Math.max(sheet.wide - 1, 1);
    const row = Math.floor(place / sheet.wide) / Math.max(sheet.high - 1, 1);
    tile.style.backgroundImage = `url(${sheet.picture})`;
    tile.style.backgroundSize = `${100 * sheet.wide}% ${100 * sheet.high}%`;
    tile.style.backgroundPosition = `${100 * column}% ${100 * row}%`;
    return tile;
  });
  return html("div", { class: "strip" }, ...tiles);
}

// Maps of embeddings, colored by what a method keeps, by class and by pseudo-label.
function mapsChart(holder, values, state) {
  const found = values.stored.maps;
  const known = values.methods
    .map((method, index) => ({ title: method.title, index, opinion: found.methods[index] }))
    .filter(({ opinion }) => opinion.kept[state.ratio]);
  if (!known.length) return holder.replaceChildren(missing(NOTHING));
  const first = state.shown.find(
    ({ method, index }) => !method.always && known.some((one) => one.index === index),
  );
  const wanted = [state.onMap, first?.index].find((index) => known.some((one) => one.index === index));
  const chosen = known.find(({ index }) => index === wanted) ?? known[0];
  const map = found.maps[state.map] ?? found.maps[0];
  const redrawn = (name) => (value) => {
    state[name] = value;
    mapsChart(holder, values, state);
  };
  const sources = found.maps.map(({ title }, index) => ({ title, index }));
  const choice = html("div", { class: "choice" });
  choice.append(selection("Embeddings", sources, found.maps.indexOf(map), redrawn("map")));
  choice.append(selection("Method", known, chosen.index, redrawn("onMap")));
  const maps = html("div");
  const nearest = `The nearest neighbor has the same class for ${map.together} % of them.`;
  const remark = `t-SNE of ${found.truth.length} training images of at most ten classes. ${nearest}`;
  holder.replaceChildren(choice, maps, html("p", { class: "note" }, remark));
  return mapPanels(maps, map, found, chosen.opinion, state.ratio);
}

function selection(label, options, selected, choose) {
  const list = html(
    "select",
    {},
    ...options.map(({ title, index }) => html("option", { value: index }, title)),
  );
  list.value = String(selected);
  list.addEventListener("change", () => choose(Number(list.value)));
  return html("label", {}, label, list);
}

function mapPanels(holder, map, found, opinion, ratio) {
  const { labels, clusters } = opinion;
  const titles = [["Kept", "gray: pruned"], ["Class"]];
  if (labels) titles.push(["Pseudo-label", clusters ? "clusters without names" : "crosses: wrong"]);
  const plots = panels(holder, "thirds", titles).map((place, index) => {
    const side = Math.min(place.clientWidth, 340);
    const plot = canvas(side, side, titles[index][0]);
    place.replaceChildren(plot);
    return plot;
  });
  const scale = linear(0, 999, 6, Number(plots[0].getAttribute("width")) - 6);
  const points = map.points.map(([x, y]) => [scale(x), scale(y)]);
  const kept = opinion.kept[ratio];
  plots[0].append(
    dots(
      points.filter((_, index) => kept[index] === "0"),
      "faint",
      3,
    ),
  );
  plots[0].append(
    dots(
      points.filter((_, index) => kept[index] === "1"),
      "c1",
      5,
    ),
  );
  classDots(plots[1], points, found.truth, found.truth, found.classes);
  if (labels) classDots(plots[2], points, labels, found.truth, clusters ? null : found.classes);
}

// Return many dots of one color as one path: strokes of no length with round ends.
function dots(points, color, size) {
  const path = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  return svg("path", { class: `dots line ${color}`, "stroke-width": size, d: path });
}

function crosses(points, color) {
  const path = points.map(([x, y]) => `M${(x - 2).toFixed(1)} ${(y - 2).toFixed(1)}l4 4m0-4l-4 4`).join("");
  return svg("path", { class: `dots line ${color}`, "stroke-width": 1.2, d: path });
}

// Dots colored by label. With names, a name stands amid its dots, and wrong labels are crosses.
function classDots(plot, points, labels, truth, names) {
  const present = [...new Set(labels)].filter((label) => label >= 0).sort((a, b) => a - b);
  const centers = present.map((label, order) => {
    const own = points
      .map((point, index) => ({ point, index }))
      .filter(({ index }) => labels[index] === label);
    const right = own.filter(({ index }) => !names || truth[index] === label).map(({ point }) => point);
    const wrong = own.filter(({ index }) => names && truth[index] !== label).map(({ point }) => point);
    plot.append(dots(right, `c${order % 10}`, 4), crosses(wrong, `c${order % 10}`));
    return [median(own.map(({ point }) => point[0])), median(own.map(({ point }) => point[1]))];
  });
  if (!names) return;
  const heights = apart(
    centers.map(([, y]) => y),
    13,
    10,
    Number(plot.getAttribute("height")) - 10,
  );
  present.forEach((label, order) => {
    plot.append(write(cut(names[label], 110), centers[order][0], heights[order] + 4, "middle", "halo"));
  });
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}
