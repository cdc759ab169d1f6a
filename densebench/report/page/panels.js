// Validation images: pictures of every backbone, and the nearest memory patches of a chosen patch.

const read = new Map();
const sprites = new Map();

// The block of one image is parsed when it is first looked at.
function example(number) {
  const id = `example-${state.view.slice(1)}-${number}`;
  if (!read.has(id)) read.set(id, JSON.parse(byId(id).textContent));
  return read.get(id);
}

function sprite(uri) {
  if (!sprites.has(uri)) {
    const image = new Image();
    image.src = uri;
    sprites.set(uri, image.decode().then(() => image));
  }
  return sprites.get(uri);
}

function picture(uri, alt, caption, kind) {
  const image = make("img", { src: uri, alt, decoding: "async" });
  return make("figure", { class: kind }, image, make("figcaption", {}, caption));
}

function drawExamples() {
  const current = table();
  state.image = Math.min(state.image, current.examples.length - 1);
  const left = current.kept - current.examples.length;
  const trimmed = current.examples.some((_, number) => example(number).trimmed);
  byId("examples-about").textContent =
    `Images from the dataset ${current.dataset}, whose owners' terms apply to them. Components: the first ` +
    "three principal components of the patches as red, green and blue, fitted per backbone on all the " +
    "images that its run kept." +
    (trimmed ? " Some nearest memory patches are left out: they would make the page too large." : "") +
    (left ? ` ${quantity(left, "more image")} would make it too large.` : "");
  byId("examples-images").replaceChildren(...current.examples.map(imageButton));
  drawExample();
}

function imageButton(name, number) {
  const choose = () => {
    state.image = number;
    drawExamples();
    byId("examples-images").children[number].focus();
  };
  const thumbnail = make("img", { src: example(number).image, alt: `image ${name}`, decoding: "async" });
  const pressed = String(number === state.image);
  return make("button", { type: "button", "aria-pressed": pressed, title: name, onclick: choose }, thumbnail);
}

function drawExample() {
  const shown = example(state.image);
  const models = shown.models.filter((model) => matches(table().rows[model.row].label));
  byId("examples-body").replaceChildren(
    source(shown, models),
    make("div", { class: "models" }, ...models.map((model) => modelRow(shown, model))),
  );
  drawNeighbours();
}

function source(shown, models) {
  const asked = models.find((model) => model.memory)?.memory;
  const image = asked
    ? make("figure", {}, picker(shown, asked), make("figcaption", {}, `${shown.name}. Choose a patch: each backbone shows the memory patches nearest to it.`))
    : picture(shown.image, `image ${shown.name}`, shown.name, "");
  const legend = make("ul", { class: "legend", "aria-label": "Classes in this image" });
  for (const index of shown.present) {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.background = shown.palette[index];
    legend.append(make("li", {}, swatch, table().classes[index]));
  }
  return make("div", { class: "source" }, image, picture(shown.truth, `ground truth of ${shown.name}`, "Ground truth", "pixels"), legend);
}

function modelRow(shown, model) {
  const name = table().rows[model.row].label;
  const wrong = model.wrong === null ? "no scored pixel" : `${percent(model.wrong, 1)}% of pixels wrong`;
  const near = model.memory ? make("ul", { class: "near", "data-row": model.row, "aria-label": `Nearest memory patches, ${name}` }) : null;
  return make(
    "article",
    { class: "model", "aria-label": name },
    make("div", {}, make("h3", {}, name), make("p", { class: "minor" }, wrong)),
    picture(model.prediction, `prediction of ${name}`, "Prediction", "pixels"),
    picture(model.error, `error map of ${name}: ${wrong}`, "Wrong pixels", "pixels flat"),
    picture(model.pca, `principal components of the patches of ${name}`, "Components", "pixels"),
    near,
  );
}

// ---- the patch grid: one stop for Tab, arrows inside

function picker(shown, memory) {
  const side = Math.round(Math.sqrt(memory.queries.length));
  state.patch = Math.min(state.patch, side * side - 1);
  const cells = make("div", { class: "cells", role: "group", "aria-label": `Patches of ${shown.name}; arrow keys move` });
  cells.style.gridTemplateColumns = `repeat(${side}, 1fr)`;
  for (let number = 0; number < side * side; number += 1) cells.append(cell(number, side));
  cells.addEventListener("keydown", (event) => move(event, side));
  const marker = make("div", { class: "patch", id: "patch-marker" });
  return make("div", { class: "pick" }, make("img", { src: shown.image, alt: `image ${shown.name}` }), cells, marker);
}

function cell(number, side) {
  const chosen = number === state.patch;
  const name = `patch in row ${Math.floor(number / side) + 1}, column ${(number % side) + 1} of ${side}`;
  const marks = { type: "button", "aria-label": name, "aria-pressed": String(chosen), tabindex: chosen ? 0 : -1 };
  return make("button", { ...marks, onclick: () => choosePatch(number) });
}

function move(event, side) {
  const column = state.patch % side;
  const steps = {
    ArrowLeft: column > 0 ? -1 : 0, ArrowRight: column < side - 1 ? 1 : 0, ArrowUp: -side, ArrowDown: side,
    Home: -column, End: side - 1 - column,
  };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const next = state.patch + steps[event.key];
  if (next >= 0 && next < side * side) choosePatch(next);
}

function choosePatch(number) {
  const cells = document.querySelectorAll(".pick button");
  cells[state.patch].setAttribute("aria-pressed", "false");
  cells[state.patch].tabIndex = -1;
  state.patch = number;
  cells[number].setAttribute("aria-pressed", "true");
  cells[number].tabIndex = 0;
  cells[number].focus();
  drawNeighbours();
}

function drawNeighbours() {
  const shown = example(state.image);
  let marked = false;
  for (const list of document.querySelectorAll(".near")) {
    const model = shown.models.find((m) => m.row === Number(list.dataset.row));
    const query = nearestQuery(shown, model);
    if (!marked) placeMarker(model, query);
    marked = true;
    list.replaceChildren(...model.memory.nearest[query].map((tile, i) => neighbour(shown, model.memory, tile, model.memory.similarity[query][i])));
  }
}

// Backbones of another grid have their own query patches: the one at the same place of the image.
function nearestQuery(shown, model) {
  const queries = model.memory.queries;
  const side = Math.round(Math.sqrt(queries.length));
  const all = document.querySelectorAll(".pick button").length;
  if (queries.length === all) return state.patch;
  const of = Math.round(Math.sqrt(all));
  const place = (index) => Math.floor(((index + 0.5) * side) / of);
  return place(Math.floor(state.patch / of)) * side + place(state.patch % of);
}

function placeMarker(model, query) {
  const marker = byId("patch-marker");
  const [row, column] = model.memory.queries[query];
  const part = 100 / model.grid;
  Object.assign(marker.style, { left: `${column * part}%`, top: `${row * part}%`, width: `${part}%`, height: `${part}%` });
}

function neighbour(shown, memory, number, similarity) {
  const [name, epoch, row, column, index] = memory.tiles[number];
  const told = table().classes[index];
  const where = `${memory.images[name]}, row ${row + 1}, column ${column + 1}` + (epoch ? `, pass ${epoch + 1}` : "");
  const canvas = make("canvas", {
    width: memory.tile_side, height: memory.tile_side, role: "img",
    "aria-label": `memory patch, ${told}, similarity ${similarity.toFixed(2)}, from ${where}`, title: where,
  });
  const [left, top] = [number % memory.sprite_columns, Math.floor(number / memory.sprite_columns)];
  sprite(memory.sprite).then((image) => {
    canvas.getContext("2d").drawImage(image, left * memory.tile_side, top * memory.tile_side, memory.tile_side, memory.tile_side, 0, 0, memory.tile_side, memory.tile_side);
  });
  return make("li", {}, make("div", {}, canvas), make("b", {}, similarity.toFixed(2)), make("span", { title: told }, told));
}

// ---- before and after

function drawPairs() {
  const current = table();
  const pairs = current.rows.filter((row) => row.base !== null && matches(row.label));
  byId("pairs-body").replaceChildren(...pairs.map((row) => pair(current, current.rows[row.base.row], row)));
}

function pair(current, before, after) {
  const { difference, low, high, p } = after.base;
  const told = low === undefined ? "" : `, 95% interval ${signed(low)} to ${signed(high)}, p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`}`;
  const summary = make(
    "div", {},
    make("h3", {}, `${before.label} → ${after.label}`),
    make("p", { class: `big ${direction(difference)}` }, signed(difference)),
    make("p", { class: "minor" }, `mIoU ${percent(before.miou)} before, ${percent(after.miou)} after${told}`),
  );
  return make("article", { class: "change" }, summary, gains(current, before, after), shots(current, before, after));
}

// The classes that changed most, either way.
function gains(current, before, after) {
  const changes = current.classes
    .map((name, c) => ({ name, value: change(after.iou[c], before.iou[c]) }))
    .filter((item) => item.value !== null)
    .sort((a, b) => b.value - a.value);
  const shown = changes.length > 10 ? [...changes.slice(0, 5), ...changes.slice(-5)] : changes;
  const largest = Math.max(1e-9, ...shown.map((item) => Math.abs(item.value)));
  const list = make("div", { class: "gains", role: "group", "aria-label": "Classes that changed most" });
  for (const { name, value } of shown) {
    const fill = make("i");
    const length = (50 * Math.abs(value)) / largest;
    Object.assign(fill.style, {
      left: `${value < 0 ? 50 - length : 50}%`, width: `${length}%`, background: `var(--${value < 0 ? "worse" : "better"})`,
    });
    list.append(make("span", {}, name), make("div", { class: "track", "aria-hidden": "true" }, fill), make("output", {}, signed(value, 1)));
  }
  return list;
}

function shots(current, before, after) {
  const box = make("div", { class: "shots" });
  if (!current.examples.length) return box;
  const shown = example(state.image);
  const models = [before, after].map((row) => shown.models.find((m) => current.rows[m.row] === row));
  if (models.some((model) => !model)) return box;
  const when = ["Before", "After"];
  const names = [before.label, after.label];
  const wrong = (model) => (model.wrong === null ? "" : `, ${percent(model.wrong, 1)}% wrong`);
  models.forEach((m, i) => box.append(picture(m.prediction, `prediction of ${names[i]} on ${shown.name}`, when[i], "pixels")));
  models.forEach((m, i) => box.append(picture(m.error, `error map of ${names[i]} on ${shown.name}`, when[i] + wrong(m), "pixels flat")));
  return box;
}
