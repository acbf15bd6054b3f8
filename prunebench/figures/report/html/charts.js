// The figures of rows. Each fills a holder from the values of a board and the choice of the reader.

function told([mean, spread, runs]) {
  const seeds = runs === 1 ? "1 seed" : `${runs} seeds`;
  return `${mean.toFixed(1)}${spread === null ? "" : ` ± ${spread.toFixed(1)}`} % (${seeds})`;
}

// Accuracy against ratio: a curve and a band for each method that is shown.
function accuracyChart(holder, values, state) {
  const shown = state.shown.filter(({ method }) => method.accuracy.some(Boolean));
  if (!shown.length) return holder.replaceChildren(missing("No method is chosen."));
  const width = holder.clientWidth;
  const narrow = width < NARROW;
  const names = narrow ? 12 : Math.min(270, Math.max(...shown.map(({ method }) => wide(method.title))) + 30);
  const box = { left: 40, right: width - names, top: 30, bottom: narrow ? 300 : 400 };
  const plot = canvas(width, box.bottom + 46, "Accuracy by ratio");
  const known = shown.flatMap(({ method }) => method.accuracy.filter(Boolean));
  const low = Math.min(...known.map(([mean, spread]) => mean - (spread ?? 0)));
  const high = Math.max(...known.map(([mean, spread]) => mean + (spread ?? 0)));
  const pad = (high - low) * 0.04 || 1;
  const y = linear(low - pad, high + pad, box.bottom, box.top);
  const { ratios } = values;
  const inset = ratios.length > 1 ? 14 : (box.right - box.left) / 2;
  const x = linear(ratios[0], ratios[ratios.length - 1], box.left + inset, box.right - inset);
  const yAxis = { scale: y, ticks: ticks(low - pad, high + pad, 6), label: "test accuracy in percent" };
  axes(plot, box, { scale: x, ticks: ratios, label: "percent pruned" }, yAxis);
  const ends = shown.map((one) =>
    one.method.level ? levelLine(plot, one, y, box) : curve(plot, one, ratios, x, y),
  );
  if (!narrow) endNames(plot, shown, ends, box);
  return holder.replaceChildren(plot, ...(narrow ? [legend(shown)] : []));
}

// Draw a level and return its right end.
function levelLine(plot, { method, look }, y, box) {
  const height = y(method.accuracy[0][0]);
  const level = line(`curve line ${look.color}`, box.left, height, box.right, height);
  level.setAttribute("stroke-dasharray", look.dash);
  plot.append(hinted(level, `${method.title}: ${told(method.accuracy[0])}`));
  return [box.right, height];
}

// Draw a band, a curve and its marks, and return the right end.
function curve(plot, { method, look }, ratios, x, y) {
  const points = ratios
    .map((ratio, index) => ({ ratio, found: method.accuracy[index] }))
    .filter(({ found }) => found)
    .map(({ ratio, found }) => ({ ratio, found, x: x(ratio), y: y(found[0]), spread: found[1] ?? 0 }));
  const edge = (side) => points.map((point) => `${point.x} ${y(point.found[0] + side * point.spread)}`);
  const band = `M${[...edge(1), ...edge(-1).reverse()].join("L")}Z`;
  const path = `M${points.map((point) => `${point.x} ${point.y}`).join("L")}`;
  plot.append(svg("path", { class: `band fill ${look.color}`, d: band }));
  plot.append(svg("path", { class: `curve line ${look.color}`, "stroke-dasharray": look.dash, d: path }));
  for (const { ratio, found, ...place } of points) {
    plot.append(markAt(look, place.x, place.y, `${method.title}, ${ratio} % pruned: ${told(found)}`));
  }
  const last = points[points.length - 1];
  return [last.x, last.y];
}

// Name curves at their right ends.
function endNames(plot, shown, ends, box) {
  const heights = apart(
    ends.map(([, y]) => y),
    16,
    box.top,
    box.bottom,
  );
  const room = Number(plot.getAttribute("width")) - box.right - 24;
  shown.forEach(({ method, look }, index) => {
    const [x, y] = ends[index];
    const height = heights[index];
    const sample = look.mark
      ? markAt(look, box.right + 13, height)
      : line(`curve line ${look.color}`, box.right + 8, height, box.right + 18, height);
    const name = write(cut(method.title, room), box.right + 23, height + 4);
    plot.append(line("grid", x + 6, y, box.right + 6, height), sample, hinted(name, method.title));
  });
}

const LABELS = { title: "Labels", label: "labels annotated before the selection", unit: "labels" };
const COSTS = {
  gmac: { title: "Work of networks", label: "multiply-adds of the selection, in GMAC", unit: "GMAC" },
  cpu_seconds: { title: "Work of the processor", label: "CPU seconds of the selection", unit: "CPU seconds" },
  seconds: { title: "Time", label: "seconds of the selection, by the clock", unit: "s by the clock" },
};

// Accuracy against the labels and the costs of a selection, at one ratio.
function priceChart(holder, values, state) {
  const units = Object.keys(values.methods[0].costs);
  const prices = [
    { ...LABELS, of: (method) => method.labels },
    ...units.map((unit) => ({ ...COSTS[unit], of: (method) => method.costs[unit][state.ratio] })),
  ];
  const places = panels(
    holder,
    prices.length > 2 ? "thirds" : "halves",
    prices.map(({ title }) => [title]),
  );
  prices.forEach((price, index) => pricePanel(places[index], pricePoints(values, state, price), price));
  holder.append(legend(state.shown.filter(({ method }) => !method.level)));
}

// Return a point for each method with an accuracy: its price, and its look if it is shown.
function pricePoints(values, state, price) {
  const looks = new Map(state.shown.map(({ method, look }) => [method, look]));
  return values.methods
    .filter((method) => method.group !== "reference" && method.accuracy[state.ratio])
    .map((method) => {
      const accuracy = method.accuracy[state.ratio];
      const text = `${method.title}: ${told(accuracy)}, ${number(price.of(method))} ${price.unit}`;
      return {
        title: method.title,
        look: looks.get(method),
        price: price.of(method),
        mean: accuracy[0],
        text,
      };
    });
}

function pricePanel(holder, points, price) {
  if (!points.length) return holder.replaceChildren(missing("No method has a row at this ratio."));
  const box = { left: 40, right: holder.clientWidth - 14, top: 30, bottom: 300 };
  const plot = canvas(holder.clientWidth, box.bottom + 46, `Accuracy by ${price.label}`);
  const front = frontier(points);
  const named = points.filter((point) => point.look || front.includes(point));
  const [low, high] = pricedRange(points, named);
  const y = linear(low, high, box.bottom, box.top);
  const paid = points.map((point) => point.price);
  const x = logarithmic(paid, box.left + 14, box.right - 14);
  const yAxis = { scale: y, ticks: ticks(low, high, 6), label: "test accuracy in percent" };
  axes(plot, box, { scale: x, ticks: logTicks(paid), label: price.label }, yAxis);
  const steps = front.map(
    (point, index) => `${index ? "H" : "M"}${x(point.price)}${index ? "V" : " "}${y(point.mean)}`,
  );
  plot.append(svg("path", { class: "frontier", d: `${steps.join("")}H${box.right}` }));
  for (const point of [...points].sort((a, b) => Boolean(a.look) - Boolean(b.look))) {
    const mark = point.mean < low ? DOWN : DOT;
    plot.append(
      markAt(
        point.look ?? { color: "other", mark },
        x(point.price),
        Math.min(y(point.mean), box.bottom - 5),
        point.text,
      ),
    );
  }
  nameDots(plot, points, named, (point) => [x(point.price), y(point.mean)], box);
  return holder.replaceChildren(plot);
}

// Return the accuracies between which all named points lie, and others unless they are far below.
function pricedRange(points, named) {
  const means = named.map((point) => point.mean);
  const high = Math.max(...means);
  const span = Math.max(high - Math.min(...means), 1);
  const low = Math.max(Math.min(...points.map((point) => point.mean)), Math.min(...means) - span);
  return [low - span * 0.08, high + span * 0.08];
}

// Return the points that no other point beats at the same price or a lower one, cheapest first.
function frontier(points) {
  const sorted = [...points].sort((a, b) => a.price - b.price || b.mean - a.mean);
  let best = -Infinity;
  return sorted.filter(({ mean }) => {
    const better = mean > best;
    best = Math.max(best, mean);
    return better;
  });
}

// Name dots where there is room: beside them, above or below, to their left. Hints and the legend name the others.
function nameDots(plot, points, named, placeOf, box) {
  const taken = points.map(placeOf).map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
  for (const point of named) {
    const [x, y] = placeOf(point);
    const width = wide(point.title);
    const middle = x - width / 2;
    const lefts = [x + 9, x - 9 - width, middle, middle, x + 5 - width, x + 5 - width];
    const lines = [y + 4, y + 4, y - 10, y + 19, y - 10, y + 19];
    const areas = lefts.map((left, index) => [left, lines[index] - 11, left + width, lines[index] + 3]);
    const free = areas.find((area) => inside(area, box) && !taken.some((other) => overlap(area, other)));
    if (!free) continue;
    taken.push(free);
    plot.append(write(point.title, free[0], free[3] - 3, "start", "halo"));
  }
}

function inside([left, top, right, bottom], box) {
  return left >= box.left && right <= box.right + 14 && top >= box.top - 8 && bottom <= box.bottom;
}

function overlap(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

// Ranks with intervals, at one ratio.
function ranksChart(holder, values, state) {
  const ranked = values.methods.filter((method) => method.ranks[state.ratio]);
  if (!ranked.length)
    return holder.replaceChildren(missing("Fewer than two methods are complete at this ratio."));
  ranked.sort((a, b) => a.ranks[state.ratio][0] - b.ranks[state.ratio][0]);
  const looks = new Map(state.shown.map(({ method, look }) => [method, look]));
  const names = Math.min(holder.clientWidth * 0.42, 300);
  const height = 22;
  const box = { left: names, right: holder.clientWidth - 12, top: 8, bottom: 8 + height * ranked.length };
  const plot = canvas(holder.clientWidth, box.bottom + 46, "Ranks");
  const x = linear(1, Math.max(ranked.length, 2), box.left + 12, box.right - 8);
  for (const tick of [1, ...ticks(2, ranked.length, 8).filter(Number.isInteger)]) {
    plot.append(line("grid", x(tick), box.top, x(tick), box.bottom));
    plot.append(write(String(tick), x(tick), box.bottom + 16, "middle", "soft"));
  }
  plot.append(write("rank", (box.left + box.right) / 2, box.bottom + 36, "middle", "soft"));
  ranked.forEach((method, index) => {
    const [rank, low, high] = method.ranks[state.ratio];
    const y = box.top + height * (index + 0.5);
    const look = looks.get(method) ?? { color: "quiet", mark: DOT };
    const name = write(cut(method.title, names - 12), 0, y + 4, "start", looks.has(method) ? "" : "soft");
    const text = `${method.title}: rank ${rank}, ${low} to ${high}`;
    plot.append(hinted(name, method.title), line(`interval line ${look.color}`, x(low), y, x(high), y));
    plot.append(markAt(look, x(rank), y, text));
  });
  return holder.replaceChildren(plot);
}

// Share kept of each class, at one ratio: a panel for each method that is shown.
function classesChart(holder, values, state) {
  const shown = state.shown.filter(({ method }) => !method.level && method.shares[state.ratio]);
  if (!shown.length)
    return holder.replaceChildren(missing("No method that is shown has a row at this ratio."));
  const highest = 1.05 * Math.max(1, ...shown.flatMap(({ method }) => method.shares[state.ratio]));
  const places = panels(
    holder,
    "columns",
    shown.map(({ method }) => [method.title]),
  );
  const names = values.classes.map((name) => cut(name, 90));
  const level = 100 - values.ratios[state.ratio];
  return shown.forEach(({ method, look }, index) => {
    classesPanel(places[index], names, method.shares[state.ratio], look, { level, highest });
  });
}

function classesPanel(holder, names, shares, look, { level, highest }) {
  const longest = Math.max(...names.map(wide));
  const named = names.length <= 12;
  const upright = longest <= 14;
  const box = { left: 30, right: holder.clientWidth, top: 8, bottom: 128 };
  const plot = canvas(
    holder.clientWidth,
    box.bottom + (named && !upright ? longest + 10 : 20),
    "Share kept of each class",
  );
  const y = linear(0, highest, box.bottom, box.top);
  for (const tick of ticks(0, highest, 3)) {
    plot.append(line("grid", box.left, y(tick), box.right, y(tick)));
    plot.append(write(number(tick), box.left - 6, y(tick) + 4, "end", "soft"));
  }
  const step = (box.right - box.left) / shares.length;
  const gap = step > 8 ? 2 : 0;
  shares.forEach((share, index) => {
    const x = box.left + step * index;
    const size = { x: x + gap / 2, width: step - gap, y: y(share), height: box.bottom - y(share) };
    plot.append(
      hinted(
        svg("rect", { class: `share fill ${look.color}`, ...size }),
        `${names[index]}: ${share.toFixed(1)} %`,
      ),
    );
    if (!named) return;
    const name = write(names[index], 0, 0, upright ? "middle" : "end", "soft");
    const place = upright ? `${x + step / 2} ${box.bottom + 15}` : `${x + step / 2 + 4} ${box.bottom + 6}`;
    name.setAttribute("transform", `translate(${place})${upright ? "" : " rotate(-90)"}`);
    plot.append(name);
  });
  if (!named)
    plot.append(write(`${shares.length} classes, by size`, box.left, box.bottom + 16, "start", "soft"));
  plot.append(line("level", box.left, y(level), box.right, y(level)));
  holder.replaceChildren(plot);
}
