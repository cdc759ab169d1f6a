// The table of one task, the table of all tasks, and the heat map of classes.

const TEXT = 1;
const DOWN = -1;
const UP = 1;

// One column: its heading, the value that sorts it, the first direction, and its cell.
function columns(current) {
  const rows = current.rows;
  const base = baseline(rows);
  const low = Math.min(...rows.map((row) => row.low ?? row.miou));
  const high = Math.max(...rows.map((row) => row.high ?? row.miou));
  const list = [
    { id: "label", name: "Backbone", value: (r) => r.label, first: UP, cell: nameCell, text: TEXT },
    { id: "miou", name: "mIoU", value: (r) => r.miou, first: DOWN, cell: miouCell },
    {
      id: "standing", name: "Better / worse", about: "Rows that it is significantly better and worse than",
      value: (r) => r.better?.length ?? null, first: DOWN, cell: (r) => standingCell(r, rows),
    },
    { id: "interval", name: "95% interval", cell: (r) => make("td", { class: "text minor" }, spread(r)) },
    { id: "whisker", name: "", cell: (r) => make("td", {}, whisker(r, low, high)) },
    {
      id: "difference", name: "To baseline", value: (r) => r.miou - base.miou, first: DOWN,
      cell: (r) => differenceCell(r === base ? null : r.miou - base.miou),
    },
    {
      id: "accuracy", name: "Pixel acc.", value: (r) => r.accuracy, first: DOWN,
      cell: (r) => make("td", {}, percent(r.accuracy)),
    },
  ];
  if (rows.some((row) => row.published.length)) {
    list.push({
      id: "published", name: "Published", value: (r) => r.published[0]?.[0] ?? null, first: DOWN,
      cell: publishedCell,
    });
  }
  list.push(
    { id: "patch", name: "Patch", value: (r) => r.patch, first: UP, cell: (r) => make("td", {}, String(r.patch)) },
    {
      id: "parameters", name: "Parameters", value: (r) => r.parameters, first: UP,
      cell: (r) => make("td", {}, millions(r.parameters)),
    },
  );
  for (const axis of AXES.slice(1)) {
    if (!rows.some((row) => axis.value(row) !== null)) continue;
    list.push({
      id: axis.id, name: axis.name, about: axis.about(current), value: axis.value, first: axis.more ? DOWN : UP,
      cell: (r) => make("td", {}, axis.value(r) === null ? "" : axis.format(axis.value(r))),
    });
  }
  return list;
}

function standingCell(row, rows) {
  if (row.better === null) return make("td", { class: "minor" }, "–");
  const names = (places) => places.map((place) => rows[place].label).join(", ") || "none";
  const told = `Better than: ${names(row.better)}. Worse than: ${names(row.worse)}.`;
  return make("td", { class: "standing", title: told }, `${row.better.length} / ${row.worse.length}`);
}

function nameCell(row) {
  const notes = row.remarks.map(([mark, sentence]) => make("span", { class: "note" }, `${mark} ${sentence}`));
  return make("th", { scope: "row" }, row.label, ...notes);
}

const marksOf = (remarks) => remarks.map(([mark]) => ` ${mark}`).join("");

function miouCell(row) {
  const link = make("a", { href: row.record, title: `Record of ${row.label}` }, percent(row.miou));
  return make("td", { class: row.mark }, link, marksOf(row.remarks));
}

function differenceCell(value) {
  if (value === null) return make("td", { class: "minor" }, "");
  return make("td", { class: direction(value) }, signed(value));
}

function publishedCell(row) {
  const cell = make("td", { class: "minor" });
  for (const [miou, source] of row.published) {
    cell.append(make("span", { title: source }, miou.toFixed(1)), " ");
  }
  return cell;
}

function spread(row) {
  if (row.deviation !== null) return `± ${percent(row.deviation)} over ${row.spread}`;
  return row.low === null ? "" : `${percent(row.low)} to ${percent(row.high)}`;
}

function whisker(row, low, high) {
  const place = (value) => 4 + (112 * (value - low)) / (high - low || 1);
  const from = row.low ?? row.miou - (row.deviation ?? 0);
  const to = row.high ?? row.miou + (row.deviation ?? 0);
  return make(
    "svg",
    { class: "whisker", viewBox: "0 0 120 18", "aria-hidden": "true" },
    make("line", { x1: place(from), x2: place(to), y1: 9, y2: 9 }),
    make("circle", { cx: place(row.miou), cy: 9, r: 3.5 }),
  );
}

function sortRows(rows, list) {
  const column = list.find((c) => c.id === state.sort?.id && c.value);
  if (!column) return rows;
  const compare = (a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // the missing come last
    return state.sort.way * (typeof x === "string" ? x.localeCompare(y) : x - y);
  };
  return [...rows].sort(compare);
}

function header(column, redraw) {
  const kind = { scope: "col", class: column.text ? "text" : "" };
  if (!column.value) return make("th", { ...kind, class: "text" }, column.name);
  const sorted = state.sort?.id === column.id;
  const way = sorted ? (state.sort.way === UP ? "ascending" : "descending") : "none";
  const turn = () => {
    state.sort = { id: column.id, way: sorted ? -state.sort.way : column.first };
    redraw();
    byId(`sort-${column.id}`)?.focus();
  };
  const button = make("button", { type: "button", id: `sort-${column.id}`, title: column.about, onclick: turn }, column.name);
  return make("th", { ...kind, "aria-sort": way }, button);
}

function drawRows(list, rows, caption, redraw, marked) {
  const head = make("tr", {}, ...list.map((column) => header(column, redraw)));
  const body = make("tbody");
  for (const row of sortRows(visible(rows), list)) {
    const cells = list.map((column) => column.cell(row));
    body.append(make("tr", { class: row === marked ? "baseline" : "" }, ...cells));
  }
  const drawn = make("table", { "aria-label": caption }, make("thead", {}, head), body);
  const found = body.children.length ? drawn : make("p", { class: "empty" }, "No backbone of that name.");
  byId("results-body").replaceChildren(found);
}

function drawResults() {
  const current = table();
  byId("results-title").textContent = current.title;
  byId("results-about").textContent =
    `${current.about}.` + (current.partial ? " Partial runs." : "") +
    (current.skipped ? ` ${current.skipped}.` : "") +
    (current.untested ? ` Not told apart: ${current.untested}.` : "");
  drawRows(columns(current), current.rows, current.title, drawResults, baseline(current.rows));
}

function drawOverall() {
  const current = overall();
  byId("results-title").textContent = `All tasks, ${current.variant}`;
  byId("results-about").textContent =
    "mIoU of every task; the mean is left blank where a task is missing. A heading sorts by its task.";
  const list = [
    { id: "label", name: "Backbone", value: (r) => r.label, first: UP, cell: nameCell, text: TEXT },
    {
      id: "mean", name: "Mean", value: (r) => r.mean, first: DOWN,
      cell: (r) => make("td", {}, percent(r.mean)),
    },
    ...current.headings.map((name, index) => ({
      id: `task-${index}`, name, value: (r) => r.cells[index], first: DOWN,
      cell: (r) => make("td", {}, percent(r.cells[index]), r.marks[index] ? ` ${r.marks[index]}` : ""),
    })),
  ];
  drawRows(list, current.rows, `All tasks, ${current.variant}`, drawOverall, null);
}

// ---- heat map

function drawClasses() {
  const current = table();
  const base = baseline(current.rows);
  const rows = visible(current.rows);
  const changes = rows.flatMap((row) => row.iou.map((iou, c) => change(iou, base.iou[c])));
  const largest = Math.max(0.05, ...changes.filter((value) => value !== null).map(Math.abs));
  const head = make("tr", {}, make("th", { scope: "col" }, "Backbone"));
  for (const name of current.classes) head.append(make("th", { scope: "col" }, make("span", { title: name }, name)));
  const body = make("tbody");
  for (const row of rows) body.append(heatRow(row, base, current.classes, largest));
  byId("classes-body").replaceChildren(
    make("table", { class: "heat", "aria-label": "IoU of each class" }, make("thead", {}, head), body),
  );
  byId("classes-about").textContent =
    `Colour: difference to ${base.label}, which the field Baseline above chooses.`;
  byId("classes-key").replaceChildren(
    `${signed(-largest, 0)} points`, make("i", { "aria-hidden": "true" }), `${signed(largest, 0)} points`,
  );
}

const change = (iou, base) => (iou === null || base === null ? null : iou - base);

function heatRow(row, base, classes, largest) {
  const line = make("tr", { class: row === base ? "baseline" : "" }, make("th", { scope: "row" }, row.label));
  const differences = byId("classes-numbers").value === "difference";
  row.iou.forEach((iou, c) => {
    const difference = change(iou, base.iou[c]);
    const shown = differences && row !== base ? difference : iou;
    const text = shown === null ? "–" : differences && row !== base ? signed(shown, 1) : percent(shown, 1);
    const told = difference === null || row === base ? "" : ` (${signed(difference, 1)})`;
    const cell = make("td", { title: `${row.label}, ${classes[c]}: ${percent(iou, 1) || "absent"}${told}` }, text);
    cell.style.background = heat(difference, largest);
    line.append(cell);
  });
  return line;
}

function heat(difference, largest) {
  if (difference === null) return "transparent";
  const share = Math.round((72 * Math.abs(difference)) / largest);
  const colour = difference > 0 ? "--better" : "--worse";
  return `color-mix(in oklab, var(${colour}) ${share}%, var(--raised))`;
}
