// A table of rows: its columns, what sorts them, how it scrolls, and the same as CSV.
// A column: {id, name, about, value, first, cell, text, more, csv}. value(row) sorts, first is the
// first direction, more a node under the heading, csv what is copied where it is not the value:
// pairs of a heading and what gives the text of a row.

const TEXT = 1;
const DOWN = -1;
const UP = 1;

const best = (of) => (of.higher ? DOWN : UP);
// A long name breaks where its parts end.
const breakable = (name) => name.split(/(?<=[_/.,-])/).flatMap((part, i) => (i ? [make("wbr"), part] : [part]));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

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
    changed(`Sorted by ${column.name}, ${state.sort.way === UP ? "ascending" : "descending"}`);
  };
  const button = make("button", { type: "button", id: `sort-${column.id}`, title: column.about, onclick: turn }, ...breakable(column.name));
  return make("th", { ...kind, "aria-sort": way }, button, column.more ?? null);
}

function drawRows(list, rows, caption, redraw, marked) {
  const head = make("tr", {}, ...list.map((column) => header(column, redraw)));
  const body = make("tbody");
  const shown = sortRows(visible(rows), list);
  for (const row of shown) {
    const cells = list.map((column) => column.cell(row));
    body.append(make("tr", { class: row === marked ? "baseline" : "" }, ...cells));
  }
  const drawn = make("table", { "aria-label": caption }, make("thead", {}, head), body);
  const found = body.children.length ? drawn : make("p", { class: "empty" }, "No backbone of that name.");
  byId("results-body").replaceChildren(found);
  byId("results-body").style.setProperty("--names", `${Math.min(24, Math.max(0, ...shown.map((row) => row.label.length)) + 2)}ch`);
  byId("results-copy").hidden = !body.children.length;
  byId("results-copy").onclick = () => copy(csvOf(list, shown), quantity(shown.length, "row"));
  scrolls(byId("results-body"));
}

function nameCell(row) {
  const notes = row.remarks.map(([mark, sentence]) => make("span", { class: "note" }, `${mark} ${sentence}`));
  return make("th", { scope: "row" }, ...breakable(row.label), ...notes);
}

const marksOf = (remarks) => remarks.map(([mark]) => ` ${mark}`).join("");

// A number opens its record.
function recordButton(row, of) {
  return make("button", { type: "button", class: "number", title: `Record of ${row.label}`, onclick: () => openRecord(row) }, amount(row.value, of));
}

function spread(row, of) {
  if (row.deviation !== null) return `± ${amount(row.deviation, of)} over ${row.spread}`;
  return row.low === null ? "" : `${amount(row.low, of)} to ${amount(row.high, of)}`;
}

const lowOf = (row) => row.low ?? row.value - (row.deviation ?? 0);
const highOf = (row) => row.high ?? row.value + (row.deviation ?? 0);

function whisker(row, low, high) {
  const place = (value) => 4 + (112 * (value - low)) / (high - low || 1);
  return make(
    "svg",
    { class: "whisker", viewBox: "0 0 120 18", "aria-hidden": "true" },
    make("line", { x1: place(lowOf(row)), x2: place(highOf(row)), y1: 9, y2: 9 }),
    make("circle", { cx: place(row.value), cy: 9, r: 3.5 }),
  );
}

// ---- where a table goes on beyond its edge

function scrolls(place) {
  const tell = () => {
    const left = place.scrollWidth - place.clientWidth - place.scrollLeft;
    place.classList.toggle("more-right", left > 1);
    place.classList.toggle("more-left", place.scrollLeft > 1);
    const wide = place.scrollWidth > place.clientWidth + 1;
    if (wide) place.tabIndex = 0;
    else place.removeAttribute("tabindex");
    if (place.nextElementSibling?.classList.contains("sideways")) place.nextElementSibling.hidden = !wide;
  };
  place.onscroll = tell;
  widths.observe(place);
  tell();
}

const widths = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.onscroll?.()));

// ---- the same as CSV

const exact = (value, of) => (value === null || value === undefined ? "" : String(Number((of.scale * value).toFixed(of.decimals + 2))));

// A spreadsheet would compute what begins so.
function csvCell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  const plain = typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function csvOf(list, rows) {
  const columns = list.flatMap((column) => column.csv ?? (column.value ? [[column.name, column.value]] : []));
  const lines = [columns.map(([name]) => name), ...rows.map((row) => columns.map(([, of]) => of(row)))];
  return lines.map((cells) => cells.map(csvCell).join(",") + "\n").join("");
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // a page that is not served securely
  }
  tell(`Copied: ${what}`);
}

function copyBySelection(text) {
  const field = make("textarea", { class: "unseen" });
  field.value = text;
  const before = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  before?.focus();
}
