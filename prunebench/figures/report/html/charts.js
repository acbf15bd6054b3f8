// The figures that rows alone can show.

function percent(value) {
  return `${value.toFixed(1)} %`;
}

function told([mean, spread, runs]) {
  const seeds = runs === 1 ? "1 seed" : `${runs} seeds`;
  return spread === null ? `${percent(mean)} (${seeds})` : `${mean.toFixed(1)} ± ${percent(spread)} (${seeds})`;
}

// Accuracy against ratio: a curve and a band for each method that is shown.
function accuracyChart(holder, values, state) {
  const shown = state.shown.filter(({ method }) => method.accuracy.some(Boolean));
  const width = holder.clientWidth;
  const narrow = width < NARROW;
  const longest = Math.max(...shown.map(({ method }) => wide(method.title)));
  const labels = narrow ? 12 : Math.min(270, longest + 30);
  const box = { left: 40, right: width - labels, top: 30, bottom: narrow ? 300 : 400 };
  const plot = canvas(width, box.bottom + 46, "Accuracy by ratio");
  const known = shown.flatMap(({ method }) => method.accuracy.filter(Boolean));
  const lowest = Math.min(...known.map(([mean, spread]) => mean - (spread ?? 0)));
  const highest = Math.max(...known.map(([mean, spread]) => mean + (spread ?? 0)));
  const pad = (highest - lowest) * 0.04 || 1;
  const y = linear(lowest - pad, highest + pad, box.bottom, box.top);
  const ratios = values.ratios;
  const inset = ratios.length > 1 ? 14 : (box.right - box.left) / 2;
  const x = linear(ratios[0], ratios[ratios.length - 1], box.left + inset, box.right - inset);
  const xTicks = ratios.map((ratio) => [x(ratio), String(ratio)]);
  const yTicks = ticks(lowest - pad, highest + pad, 6).map((tick) => [y(tick), number(tick)]);
  axes(plot, box, xTicks, yTicks, "percent pruned", "test accuracy in percent");
  const ends = shown.map(({ method, look }) => {
    const points = ratios.map((ratio, index) => [ratio, method.accuracy[index]]).filter(([, found]) => found);
    return curve(plot, method, look, points, x, y, box);
  });
  if (!narrow) endLabels(plot, shown, ends, box, labels);
  holder.replaceChildren(plot, ...(narrow ? [legend(shown)] : []));
}

// Draw one curve and return the place of its right end.
function curve(plot, method, look, points, x, y, box) {
  const upper = points.map(([ratio, [mean, spread]]) => `${x(ratio)} ${y(mean + (spread ?? 0))}`);
  const lower = points.map(([ratio, [mean, spread]]) => `${x(ratio)} ${y(mean - (spread ?? 0))}`).reverse();
  const line = points.map(([ratio, [mean]]) => [x(ratio), y(mean)]);
  if (method.level) line.splice(0, line.length, [box.left, line[0][1]], [box.right, line[0][1]]);
  else plot.append(svg("path", { class: `band fill ${look.color}`, d: `M${[...upper, ...lower].join("L")}Z` }));
  plot.append(svg("path", { class: `curve line ${look.color}`, "stroke-dasharray": look.dash, d: `M${line.map((point) => point.join(" ")).join("L")}` }));
  for (const [ratio, found] of method.level ? [] : points) {
    plot.append(markAt(look, x(ratio), y(found[0]), `${method.title}, ${ratio} % pruned: ${told(found)}`));
  }
  return line[line.length - 1];
}

function endLabels(plot, shown, ends, box, width) {
  const places = apart(ends.map(([, y]) => y), 16, box.top, box.bottom);
  shown.forEach(({ method, look }, index) => {
    const [x, y] = ends[index];
    const place = places[index];
    plot.append(svg("path", { class: "leader", d: `M${x + 6} ${y}L${box.right + 6} ${place}` }));
    if (look.mark) plot.append(markAt(look, box.right + 13, place));
    else plot.append(svg("line", { class: `curve line ${look.color}`, x1: box.right + 8, x2: box.right + 18, y1: place, y2: place }));
    const text = write(cut(method.title, width - 26), box.right + 23, place + 4);
    text.append(hint(method.title));
    plot.append(text);
  });
}

// Accuracy against labels and against seconds, at one ratio.
function priceChart(holder, values, state) {
  const parts = [
    ["labels annotated before the selection", (method) => method.labels, "labels"],
    ["seconds of the selection", (method) => method.seconds[state.ratio], "s"],
  ];
  const panels = html("div", { class: "halves" }, ...parts.map(() => html("div")));
  const shown = state.shown.filter(({ method }) => !method.level);
  holder.replaceChildren(panels, legend(shown));
  parts.forEach(([label, price, unit], index) => pricePanel(panels.children[index], values, state, label, price, unit));
}

function pricePanel(holder, values, state, label, price, unit) {
  const looks = new Map(state.shown.map(({ method, look }) => [method, look]));
  const points = values.methods
    .filter((method) => method.group !== "reference" && method.accuracy[state.ratio] && price(method) !== null)
    .map((method) => ({ method, look: looks.get(method), price: price(method), found: method.accuracy[state.ratio] }));
  if (!points.length) return;
  const width = holder.clientWidth;
  const box = { left: 40, right: width - 14, top: 30, bottom: 300 };
  const plot = canvas(width, box.bottom + 46, `Accuracy by ${label}`);
  const front = frontier(points);
  const main = points.filter((point) => point.look || front.includes(point)).map(({ found }) => found[0]);
  const highest = Math.max(...main);
  const span = Math.max(highest - Math.min(...main), 1);
  const lowest = Math.max(Math.min(...points.map(({ found }) => found[0])), Math.min(...main) - span);
  const pad = span * 0.08;
  const y = linear(lowest - pad, highest + pad, box.bottom, box.top);
  const prices = points.map((point) => point.price);
  const x = logarithmic(prices, box.left + 14, box.right - 14);
  const xTicks = logTicks(prices).map((tick) => [x(tick), number(tick)]);
  const yTicks = ticks(lowest - pad, highest + pad, 6).map((tick) => [y(tick), number(tick)]);
  axes(plot, box, xTicks, yTicks, label, "test accuracy in percent");
  const path = front.map((point, index) => `${index ? `H${x(point.price)}V` : `M${x(point.price)} `}${y(point.found[0])}`);
  plot.append(svg("path", { class: "frontier", d: `${path.join("")}H${box.right}` }));
  const words = (point) => `${point.method.title}: ${told(point.found)}, ${number(point.price)} ${unit}`;
  for (const point of points.filter(({ look }) => !look)) {
    const below = point.found[0] < lowest - pad;
    const place = `translate(${x(point.price)} ${below ? box.bottom - 5 : y(point.found[0])})`;
    const dot = svg("path", { class: "other", d: below ? MARKS[3] : DOT, transform: place });
    dot.append(hint(words(point)));
    plot.append(dot);
  }
  for (const point of points.filter(({ look }) => look)) {
    plot.append(markAt(point.look, x(point.price), y(point.found[0]), words(point)));
  }
  const named = [...points.filter(({ look }) => look), ...front.filter(({ look }) => !look)];
  nameDots(plot, named.map((point) => ({ text: point.method.title, x: x(point.price), y: y(point.found[0]) })), points.map((point) => [x(point.price), y(point.found[0])]), box);
  holder.replaceChildren(plot);
}

// Return the points that no other point beats at the same price or a lower one, cheapest first.
function frontier(points) {
  const sorted = [...points].sort((a, b) => a.price - b.price || b.found[0] - a.found[0]);
  let best = -Infinity;
  return sorted.filter(({ found }) => {
    const better = found[0] > best;
    best = Math.max(best, found[0]);
    return better;
  });
}

// Name dots where there is room: right of a dot, left, above or below. Others are left to hints and legend.
function nameDots(plot, names, dots, box) {
  const taken = dots.map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
  for (const { text, x, y } of names) {
    const width = wide(text);
    const places = [[x + 9, y + 4], [x - 9 - width, y + 4], [x - width / 2, y - 10], [x - width / 2, y + 19], [x + 6, y - 8], [x + 6, y + 16], [x - width - 6, y - 8], [x - width - 6, y + 16]];
    const place = places.find(([left, base]) => {
      const area = [left, base - 11, left + width, base + 3];
      const inside = area[0] >= box.left && area[2] <= box.right + 14 && area[1] >= box.top - 8 && area[3] <= box.bottom;
      return inside && !taken.some((other) => area[0] < other[2] && other[0] < area[2] && area[1] < other[3] && other[1] < area[3]);
    });
    if (!place) continue;
    taken.push([place[0], place[1] - 11, place[0] + width, place[1] + 3]);
    plot.append(write(text, place[0], place[1], { class: "halo" }));
  }
}

// Ranks with intervals, at one ratio.
function ranksChart(holder, values, state) {
  const looks = new Map(state.shown.map(({ method, look }) => [method, look]));
  const ranked = values.methods.filter((method) => method.ranks[state.ratio]);
  ranked.sort((a, b) => a.ranks[state.ratio][0] - b.ranks[state.ratio][0]);
  if (!ranked.length) {
    holder.replaceChildren(html("p", { class: "missing" }, "Fewer than two methods are complete at this ratio."));
    return;
  }
  const width = holder.clientWidth;
  const names = Math.min(width * 0.42, 300);
  const row = 22;
  const box = { left: names, right: width - 12, top: 8, bottom: 8 + row * ranked.length };
  const plot = canvas(width, box.bottom + 46, "Ranks");
  const x = linear(1, Math.max(ranked.length, 2), box.left + 12, box.right - 8);
  const marks = ticks(1, ranked.length, 8).filter((tick) => Number.isInteger(tick) && tick > 1);
  for (const tick of [1, ...marks]) {
    plot.append(svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom }));
    plot.append(write(String(tick), x(tick), box.bottom + 16, { class: "soft", "text-anchor": "middle" }));
  }
  plot.append(write("rank", (box.left + box.right) / 2, box.bottom + 36, { class: "soft", "text-anchor": "middle" }));
  ranked.forEach((method, index) => {
    const [rank, low, high] = method.ranks[state.ratio];
    const y = box.top + row * (index + 0.5);
    const look = looks.get(method) ?? { color: "quiet", mark: DOT };
    const name = write(cut(method.title, names - 12), 0, y + 4, { class: looks.has(method) ? "" : "soft" });
    name.append(hint(method.title));
    const interval = svg("line", { class: `interval line ${look.color}`, x1: x(low), x2: x(high), y1: y, y2: y });
    plot.append(name, interval, markAt(look, x(rank), y, `${method.title}: rank ${rank}, ${low} to ${high}`));
  });
  holder.replaceChildren(plot);
}

// Share kept of each class, at one ratio: a panel for each method that is shown.
function classesChart(holder, values, state) {
  const shown = state.shown.filter(({ method }) => !method.level && method.shares[state.ratio]);
  const panels = shown.map(({ method }) => html("div", {}, html("p", { class: "panel" }, method.title), html("div")));
  holder.replaceChildren(html("div", { class: "columns" }, ...panels));
  const highest = Math.max(...shown.flatMap(({ method }) => method.shares[state.ratio]), 1);
  shown.forEach(({ method, look }, index) => {
    classesPanel(panels[index].lastChild, values, method.shares[state.ratio], look, 100 - values.ratios[state.ratio], highest);
  });
}

function classesPanel(holder, values, shares, look, level, highest) {
  const width = holder.clientWidth;
  const named = values.classes.length <= 12;
  const names = values.classes.map((name) => cut(name, 90));
  const longest = Math.max(...names.map(wide));
  const box = { left: 30, right: width, top: 8, bottom: 128 };
  const upright = longest <= 14;
  const foot = named && !upright ? longest + 10 : 20;
  const plot = canvas(width, box.bottom + foot, "Share kept of each class");
  const y = linear(0, highest * 1.05, box.bottom, box.top);
  for (const tick of ticks(0, highest * 1.05, 3)) {
    plot.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    plot.append(write(number(tick), box.left - 6, y(tick) + 4, { class: "soft", "text-anchor": "end" }));
  }
  const step = (box.right - box.left) / shares.length;
  const gap = step > 8 ? 2 : 0;
  shares.forEach((share, index) => {
    const x = box.left + step * index;
    const bar = svg("rect", { class: `bar-kept fill ${look.color}`, x: x + gap / 2, width: Math.max(step - gap, 0.5), y: y(share), height: box.bottom - y(share) });
    bar.append(hint(`${values.classes[index]}: ${percent(share)}`));
    plot.append(bar);
    if (named) {
      const place = upright ? `translate(${x + step / 2} ${box.bottom + 15})` : `translate(${x + step / 2 + 4} ${box.bottom + 6}) rotate(-90)`;
      plot.append(write(names[index], 0, 0, { class: "soft", "text-anchor": upright ? "middle" : "end", transform: place }));
    }
  });
  if (!named) plot.append(write(`${shares.length} classes, by size`, box.left, box.bottom + 16, { class: "soft" }));
  plot.append(svg("line", { class: "level", x1: box.left, x2: box.right, y1: y(level), y2: y(level) }));
  holder.replaceChildren(plot);
}
