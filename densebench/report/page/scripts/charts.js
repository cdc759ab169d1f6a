// What charts share: axes and scales, as SVG of the width that there is.

const three = (value) => Number(value.toPrecision(3)).toLocaleString("en");
const AXES = [
  { id: "parameters", name: "Parameters", value: (r) => r.parameters ?? null, format: millions, more: false, about: () => null },
  { id: "speed", name: "Images/s", value: (r) => r.speed ?? null, format: three, more: true, about: (t) => `on ${t.device}` },
  { id: "gflops", name: "GFLOPs", value: (r) => r.gflops ?? null, format: three, more: false, about: () => "of one image" },
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

// Round steps that fit between two values.
function steps(low, high) {
  const raw = (high - low) / 5 || 0.01;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
  const list = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-6 * step; tick += step) list.push(tick);
  return list;
}

function verticalScale(values, svg, width) {
  const of = metric();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const share = of.unit === "%";
  const room = Math.max(share ? 0.01 : 0.02 * Math.abs(high) || 0.01, 0.08 * (high - low));
  const from = low < 0 ? low - room : Math.max(0, low - room);
  const to = share ? Math.min(1, high + room) : high + room;
  const y = (value) => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.top - EDGE.bottom) * (value - from)) / (to - from);
  for (const tick of steps(from, to)) {
    svg.append(line(EDGE.left, y(tick), width - EDGE.right, y(tick), "grid"));
    svg.append(label(EDGE.left - 8, y(tick) + 4, String(Number((of.scale * tick).toPrecision(4))), { "text-anchor": "end" }));
  }
  svg.append(label(4, 11, withUnit(of) + (of.higher ? "" : " (less is better)")));
  return y;
}
