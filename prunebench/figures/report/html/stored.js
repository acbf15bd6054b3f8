// The figures that need artefacts of the store.

// Histograms of scores, at one ratio: a panel for each method that is shown.
function scoresChart(holder, values, state) {
  const histograms = values.stored.histograms[state.ratio];
  const shown = state.shown.filter(({ index }) => histograms[index]);
  if (!shown.length) {
    holder.replaceChildren(html("p", { class: "missing" }, "None of the chosen methods has stored scores at this ratio."));
    return;
  }
  const panels = shown.map(({ method }) => html("div", {}, html("p", { class: "panel" }, method.title), html("div")));
  holder.replaceChildren(html("div", { class: "columns" }, ...panels));
  shown.forEach(({ index, look }, place) => histogramPanel(panels[place].lastChild, histograms[index], look));
}

function histogramPanel(holder, found, look) {
  const width = holder.clientWidth;
  const box = { left: 1, right: width - 1, top: 4, bottom: 110 };
  const plot = canvas(width, box.bottom + 26, "Images per score");
  const step = (box.right - box.left) / found.all.length;
  const y = linear(0, Math.max(...found.all), box.bottom, box.top);
  const x = linear(found.low, found.high, box.left, box.right);
  found.all.forEach((count, bin) => {
    const left = box.left + step * bin;
    const bar = (kind, images) => svg("rect", { class: kind, x: left, width: Math.max(step - 0.6, 0.4), y: y(images), height: box.bottom - y(images) });
    const kept = bar(`fill ${look.color}`, found.kept[bin]);
    kept.append(hint(`${found.kept[bin]} of ${count} images kept`));
    plot.append(bar("all", count), kept);
  });
  plot.append(svg("line", { class: `kept-range line ${look.color}`, x1: x(found.kept_low), x2: Math.max(x(found.kept_high), x(found.kept_low) + 2), y1: box.bottom + 4, y2: box.bottom + 4 }));
  plot.append(write(Number(found.low.toPrecision(3)), box.left, box.bottom + 21, { class: "soft" }));
  plot.append(write(Number(found.high.toPrecision(3)), box.right, box.bottom + 21, { class: "soft", "text-anchor": "end" }));
  holder.replaceChildren(plot);
}

// Overlap of subsets and rank correlation of scores, at one ratio, as heat maps.
function overlapChart(holder, values, state) {
  const keep = (100 - values.ratios[state.ratio]) / 100;
  const parts = [
    ["Overlap of subsets", `two random subsets would share ${(keep / (2 - keep)).toFixed(2)}`, values.stored.jaccard[state.ratio]],
    ["Rank correlation of scores", "0 for unrelated scores", values.stored.spearman[state.ratio]],
  ];
  const panels = parts.map(([title, remark]) => html("div", {}, html("p", { class: "panel" }, `${title} `, html("small", {}, remark)), html("div")));
  holder.replaceChildren(html("div", { class: "halves" }, ...panels));
  parts.forEach(([title, , pairs], index) => heatMap(panels[index].lastChild, title, pairs, state));
}

function heatMap(holder, title, pairs, state) {
  const shown = state.shown.filter(({ index }) => pairs.methods.includes(index));
  if (!shown.length) {
    holder.replaceChildren(html("p", { class: "missing" }, "None of the chosen methods is stored at this ratio."));
    return;
  }
  const width = holder.clientWidth;
  const names = Math.min(width * 0.45, 220);
  const size = Math.min(52, (width - names) / shown.length);
  const top = 20;
  const plot = canvas(width, top + size * shown.length + 4, title);
  shown.forEach((one, row) => {
    const y = top + size * row;
    const name = write(cut(`${row + 1} ${one.method.title}`, names - 10), 0, y + size / 2 + 4);
    name.append(hint(one.method.title));
    plot.append(name, write(String(row + 1), names + size * (row + 0.5), top - 7, { class: "soft", "text-anchor": "middle" }));
    shown.forEach((other, column) => {
      const value = pairs.values[pairs.methods.indexOf(one.index)][pairs.methods.indexOf(other.index)];
      heatCell(plot, names + size * column, y, size, value, `${one.method.title} and ${other.method.title}: ${value.toFixed(2)}`);
    });
  });
  holder.replaceChildren(plot);
}

// A cell, blue for values above 0 and orange below, with its value as text where that fits.
function heatCell(plot, x, y, size, value, text) {
  const strength = 0.06 + 0.84 * Math.min(Math.abs(value), 1);
  const cell = svg("rect", { class: `cell fill ${value < 0 ? "c4" : "c0"}`, x, y, width: size, height: size, "fill-opacity": strength });
  cell.append(hint(text));
  plot.append(cell);
  if (size < 28) return;
  const inside = strength > 0.55 && value > 0 ? "reverse" : "";
  plot.append(write(value.toFixed(2).replace("0.", ".").replace("1.00", "1"), x + size / 2, y + size / 2 + 4, { class: inside, "text-anchor": "middle", "pointer-events": "none" }));
}

// Images that methods keep and prune, at one ratio, from one sample of the training images.
function montageChart(holder, values, state) {
  const { sheet, strips } = values.stored.montage;
  const shown = state.shown.filter(({ index }) => strips[state.ratio][index]);
  const rows = shown.flatMap(({ method, index }) => {
    const strip = strips[state.ratio][index];
    const order = strip.ordered ? ", easy to hard" : "";
    const part = (name, images) => html("div", {}, html("p", { class: "panel" }, html("small", {}, `${name}${order}`)), html("div", { class: "strip" }, ...images.map((place) => tile(sheet, place))));
    return [html("h3", {}, method.title), html("div", { class: "halves strips" }, part("kept", strip.kept), part("pruned", strip.pruned))];
  });
  holder.replaceChildren(...rows);
}

function tile(sheet, place) {
  const node = html("div", { class: "tile" });
  const [column, row] = [place % sheet.wide, Math.floor(place / sheet.wide)];
  node.style.backgroundImage = `url(${sheet.picture})`;
  node.style.backgroundSize = `${sheet.wide * 100}% ${sheet.high * 100}%`;
  node.style.backgroundPosition = `${(100 * column) / Math.max(sheet.wide - 1, 1)}% ${(100 * row) / Math.max(sheet.high - 1, 1)}%`;
  return node;
}

// Maps of embeddings, colored by what a method keeps, by class and by pseudo-label.
function mapsChart(holder, values, state) {
  const found = values.stored.maps;
  const known = values.methods.map((method, index) => ({ method, index })).filter(({ index }) => found.methods[index].kept[state.ratio]);
  const first = state.shown.find(({ method, index }) => !method.always && known.some((one) => one.index === index));
  const chosen = known.find(({ index }) => index === state.onMap) ?? first ?? known[0];
  const map = found.maps[state.map] ?? found.maps[0];
  const pick = (label, options, selected, choose) => {
    const list = html("select", {}, ...options.map(([value, text]) => html("option", { value }, text)));
    list.value = String(selected);
    list.addEventListener("change", () => { choose(Number(list.value)); mapsChart(holder, values, state); });
    return html("label", {}, label, list);
  };
  const choice = html(
    "div",
    { class: "choice" },
    pick("Embeddings", found.maps.map(({ title }, index) => [index, title]), found.maps.indexOf(map), (index) => { state.map = index; }),
    pick("Method", known.map(({ method, index }) => [index, method.title]), chosen?.index, (index) => { state.onMap = index; }),
  );
  const panels = html("div", { class: "thirds" });
  const remark = `t-SNE of ${found.truth.length} training images. The nearest neighbor has the same class for ${map.together} % of them.`;
  holder.replaceChildren(choice, panels, html("p", { class: "note" }, remark));
  if (!chosen) return;
  const opinion = found.methods[chosen.index];
  const parts = [["Kept", (plot, scale) => keptDots(plot, map, opinion.kept[state.ratio], scale), "gray: pruned"], ["Class", (plot, scale) => classDots(plot, map, found.truth, found.truth, found.classes, scale)]];
  if (opinion.labels) {
    const names = opinion.clusters ? null : found.classes;
    const crosses = opinion.clusters ? "clusters without names" : "crosses: wrong";
    parts.push([`Pseudo-label`, (plot, scale) => classDots(plot, map, opinion.labels, found.truth, names, scale), crosses]);
  }
  for (const [title, paint, remark_] of parts) {
    const panel = html("div", {}, html("p", { class: "panel" }, title, html("small", {}, remark_ ? ` ${remark_}` : "")), html("div"));
    panels.append(panel);
    const side = Math.min(panel.clientWidth, 340);
    const plot = canvas(side, side, title);
    paint(plot, linear(0, 999, 6, side - 6));
    panel.lastChild.replaceChildren(plot);
  }
}

// Draw many dots of one color as one path: strokes of no length with round ends.
function dots(plot, places, color, size) {
  const d = places.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
  plot.append(svg("path", { class: `dots line ${color}`, "stroke-width": size, d }));
}

function keptDots(plot, map, kept, scale) {
  const places = map.points.map(([x, y]) => [scale(x), scale(y)]);
  dots(plot, places.filter((_, index) => kept[index] === "0"), "faint", 3);
  dots(plot, places.filter((_, index) => kept[index] === "1"), "c1", 5);
}

// Dots colored by label. With `names`, a name stands in the middle of its dots, and wrong labels are crosses.
function classDots(plot, map, labels, truth, names, scale) {
  const places = map.points.map(([x, y]) => [scale(x), scale(y)]);
  const present = [...new Set(labels)].filter((label) => label >= 0).sort((a, b) => a - b);
  present.forEach((label, order) => {
    const own = places.map((place, index) => [place, index]).filter(([, index]) => labels[index] === label);
    const right = own.filter(([, index]) => !names || truth[index] === label).map(([place]) => place);
    const wrong = own.filter(([, index]) => names && truth[index] !== label).map(([place]) => place);
    const color = `c${order % 10}`;
    dots(plot, right, color, 4);
    const d = wrong.map(([x, y]) => `M${(x - 2).toFixed(1)} ${(y - 2).toFixed(1)}l4 4m0-4l-4 4`).join("");
    plot.append(svg("path", { class: `dots line ${color}`, "stroke-width": 1.2, d }));
  });
  if (!names) return;
  const centers = present.map((label) => {
    const own = places.filter((_, index) => labels[index] === label);
    return [median(own.map(([x]) => x)), median(own.map(([, y]) => y))];
  });
  const heights = apart(centers.map(([, y]) => y), 13, 10, scale(999) - 4);
  present.forEach((label, order) => plot.append(write(cut(names[label], 110), centers[order][0], heights[order] + 4, { class: "halo", "text-anchor": "middle" })));
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}
