// The Pareto plot and the data-efficiency curves, as SVG of the width that there is.

const three = (value) => Number(value.toPrecision(3)).toLocaleString("en");
const AXES = [
  { id: "parameters", name: "Parameters", value: (r) => r.parameters, format: millions, more: false, about: () => null },
  { id: "speed", name: "Images/s", value: (r) => r.speed, format: three, more: true, about: (t) => `on ${t.device}` },
  { id: "gflops", name: "GFLOPs", value: (r) => r.gflops, format: three, more: false, about: () => "of one image" },
];
const HEIGHT = 330;
const EDGE = { left: 44, right: 16, top: 30, bottom: 44 };
const HUES = [255, 40, 155, 320, 85, 195, 20, 290];

const line = (x1, y1, x2, y2, kind) => make("line", { x1, y1, x2, y2, class: kind });
const label = (x, y, text, more = {}) => make("text", { x, y, ...more }, text);

function chart(place, title) {
  const width = Math.max(300, place.clientWidth);
  return make("svg", {
    class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "group", "aria-label": title,
  });
}

// Round steps that fit between two values of mIoU.
function steps(low, high) {
  const raw = (high - low) / 5 || 0.01;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
  const list = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) list.push(tick);
  return list;
}

function verticalScale(mious, svg, width) {
  const [low, high] = [Math.min(...mious), Math.max(...mious)];
  const room = Math.max(0.01, 0.08 * (high - low));
  const [from, to] = [Math.max(0, low - room), Math.min(1, high + room)];
  const y = (miou) => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.top - EDGE.bottom) * (miou - from)) / (to - from);
  for (const tick of steps(from, to)) {
    svg.append(line(EDGE.left, y(tick), width - EDGE.right, y(tick), "grid"));
    svg.append(label(EDGE.left - 8, y(tick) + 4, String(Number(percent(tick, 1))), { "text-anchor": "end" }));
  }
  svg.append(label(4, 11, "mIoU %"));
  return y;
}

// Logarithmic; what has none of the quantity (a baseline without parameters) stands apart at 0.
function logScale(values, width) {
  const some = values.filter((value) => value > 0);
  const [low, high] = some.length ? [Math.min(...some), Math.max(...some)] : [1, 10];
  const [from, to] = [Math.log10(low) - 0.12, Math.log10(high) + 0.12];
  const start = EDGE.left + (some.length < values.length ? 46 : 12);
  const x = (value) =>
    value > 0 ? start + ((width - EDGE.right - start) * (Math.log10(value) - from)) / (to - from) : EDGE.left + 18;
  const ticks = some.length ? decades(10 ** from, 10 ** to) : [];
  if (some.length < values.length) ticks.unshift(0);
  return [x, ticks];
}

function decades(from, to) {
  const all = (factors) => {
    const list = [];
    for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power += 1) {
      for (const factor of factors) list.push(factor * 10 ** power);
    }
    return list.filter((tick) => tick >= from && tick <= to);
  };
  return [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]].map(all).find((list) => list.length > 2) ?? all([1, 2, 5]);
}

// Nothing is both at least as good and cheaper.
function paretoFront(points, more) {
  const better = (a, b) => (more ? a.x >= b.x : a.x <= b.x) && a.y >= b.y && (a.x !== b.x || a.y !== b.y);
  return points.filter((point) => !points.some((other) => better(other, point)));
}

function drawTradeoff() {
  const place = byId("tradeoff-body");
  const axis = AXES.find((a) => a.id === byId("tradeoff-axis").value) ?? AXES[0];
  const rows = visible(table().rows).filter((row) => axis.value(row) !== null);
  const svg = chart(place, `mIoU against ${axis.name.toLowerCase()}`);
  const width = Math.max(300, place.clientWidth);
  if (!rows.length) return place.replaceChildren(make("p", { class: "empty" }, "Nothing to plot."));
  const points = rows.map((row) => ({ row, x: axis.value(row), y: row.miou }));
  const y = verticalScale(points.map((point) => point.y), svg, width);
  const [x, ticks] = logScale(points.map((point) => point.x), width);
  for (const tick of ticks) {
    svg.append(label(x(tick), HEIGHT - EDGE.bottom + 18, tick ? axis.format(tick).replace(/\.0+(?= |$)/, "") : "0", { "text-anchor": "middle" }));
  }
  svg.append(label(width - EDGE.right, HEIGHT - 6, axis.name + (axis.more ? " (more is better)" : " (less is better)"), { "text-anchor": "end" }));
  const front = paretoFront(points, axis.more).sort((a, b) => a.x - b.x);
  svg.append(make("path", { class: "front", d: staircase(front, x, y, axis.more) }));
  drawPoints(svg, points, front, x, y, axis, width);
  byId("tradeoff-about").textContent =
    `The line is the Pareto front: ${front.map((point) => point.row.label).join(", ")}.` +
    (axis.id === "speed" ? ` Measured on ${table().device}.` : "");
  place.replaceChildren(svg);
}

// The best that is to be had: at a cost, the highest point that costs no more.
function staircase(front, x, y, more) {
  const corner = (point) => (more ? `V${y(point.y)}H${x(point.x)}` : `H${x(point.x)}V${y(point.y)}`);
  return front.map((point, i) => (i ? corner(point) : `M${x(point.x)},${y(point.y)}`)).join("");
}

function drawPoints(svg, points, front, x, y, axis, width) {
  const taken = points.map((point) => ({ x: x(point.x) - 6, y: y(point.y) - 6, w: 12, h: 12 }));
  const order = [...points].sort((a, b) => front.includes(b) - front.includes(a) || b.y - a.y);
  const names = [];
  for (const point of order) {
    const told = `${point.row.label}: mIoU ${percent(point.y)}, ${axis.name.toLowerCase()} ${axis.format(point.x)}`;
    const kind = front.includes(point) ? "point on" : "point";
    const marks = { cx: x(point.x), cy: y(point.y), r: 5, class: kind, tabindex: 0, role: "img", "aria-label": told };
    svg.append(make("circle", marks, make("title", {}, told)));
    const name = placeName(point, x(point.x), y(point.y), width, taken);
    if (name) names.push(name);
  }
  svg.append(...names);
}

// A label beside its point, where it covers no other; else the point's title must do.
function placeName(point, cx, cy, width, taken) {
  const length = 6.6 * point.row.label.length;
  const right = cx + 10 + length < width;
  const box = { x: right ? cx + 7 : cx - 7 - length, y: cy - 17, w: length, h: 14 };
  const apart = (b) => box.x > b.x + b.w || b.x > box.x + box.w || box.y > b.y + b.h || b.y > box.y + box.h;
  if (box.x < EDGE.left || !taken.every(apart)) return null;
  taken.push(box);
  return label(right ? cx + 7 : cx - 7, cy - 6, point.row.label, { class: "name", "text-anchor": right ? "start" : "end" });
}

// ---- data efficiency

function drawEfficiency() {
  const place = byId("efficiency-body");
  const all = table().curves === null ? [] : data.curves[table().curves];
  const curves = visible(all);
  const shares = [...new Set(all.flatMap((curve) => curve.points.map((point) => point[0])))];
  shares.sort((a, b) => b - a);
  if (!curves.length) {
    const told = "No runs on a share of the training images yet: densebench run --subset 1/8 makes them.";
    place.replaceChildren(make("p", { class: "empty" }, told));
    byId("efficiency-about").textContent = "";
    return;
  }
  const svg = chart(place, "mIoU against the share of training images");
  const width = Math.max(300, place.clientWidth);
  const longest = Math.max(...curves.map((curve) => curve.label.length));
  const names = Math.min(6.6 * longest + 16, 0.36 * width);
  const y = verticalScale(curves.flatMap((c) => c.points.flatMap((p) => [p[2], p[3]])), svg, width);
  const [first, last] = [Math.log2(shares[0]), Math.log2(shares[shares.length - 1])];
  const x = (parts) => EDGE.left + 14 + ((width - EDGE.left - 14 - names) * (first - Math.log2(parts))) / (first - last);
  let end = Infinity;
  for (const parts of [...shares].reverse()) {
    if (end - x(parts) < 38) continue;
    end = x(parts);
    svg.append(label(end, HEIGHT - EDGE.bottom + 18, parts === 1 ? "all" : `1/${parts}`, { "text-anchor": "middle" }));
  }
  svg.append(label(EDGE.left + 14, HEIGHT - 6, "share of the training images (logarithmic)"));
  drawCurves(svg, curves, x, y);
  const several = curves.some((curve) => curve.points.some((point) => point[4] > 1));
  byId("efficiency-about").textContent = several ? "Several draws of a share: their mean, and from the lowest to the highest." : "";
  place.replaceChildren(svg);
}

function drawCurves(svg, curves, x, y) {
  const last = (curve) => curve.points[curve.points.length - 1][1];
  const ranked = [...curves].sort((a, b) => last(b) - last(a));
  let free = -100;
  ranked.forEach((curve, number) => {
    const colour = `oklch(0.66 0.13 ${HUES[number % HUES.length]})`;
    const points = curve.points;
    const path = make("path", { class: "curve", d: "M" + points.map((p) => `${x(p[0])},${y(p[1])}`).join("L") });
    path.style.stroke = colour;
    svg.append(path);
    for (const [parts, mean, low, high, draws, marks] of points) {
      const range = line(x(parts), y(low), x(parts), y(high), "range");
      range.style.stroke = colour;
      const told = `${curve.label}: mIoU ${percent(mean)} with ${parts === 1 ? "all" : `1/${parts}`} of the training images` +
        (draws > 1 ? `, mean of ${draws} draws` : "") + (marks ? ` ${marks}` : "");
      const circle = { cx: x(parts), cy: y(mean), r: 4, class: "point", tabindex: 0, role: "img", "aria-label": told };
      const dot = make("circle", circle, make("title", {}, told));
      dot.style.stroke = colour;
      svg.append(...(draws > 1 ? [range] : []), dot);
    }
    const [parts, mean] = points[points.length - 1];
    const height = y(mean) + 4;
    if (height - free >= 13 || height < free - 13) {
      svg.append(label(x(parts) + 10, height, curve.label, { class: "name" }));
      free = height;
    }
  });
}
