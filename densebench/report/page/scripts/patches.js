// One patch of a validation image, and the memory patches nearest to it.

const gridOf = (memory) => {
  const rows = new Set(memory.queries.map(([row]) => row)).size;
  return [rows, memory.queries.length / rows];
};

// The patch that is chosen, on the finest grid of the backbones; until one is, that nearest to the
// middle whose neighbours have pictures.
function chosenPatch(memory) {
  const [rows, columns] = gridOf(memory);
  const [row, column] = state.patch ?? middle(memory, rows, columns);
  return [Math.min(row, rows - 1), Math.min(column, columns - 1)];
}

function middle(memory, rows, columns) {
  const places = memory.nearest.flatMap((tiles, i) => (tiles.every((tile) => isPictured(memory, tile)) ? [[Math.floor(i / columns), i % columns]] : []));
  const off = ([row, column]) => (row - rows / 2) ** 2 + (column - columns / 2) ** 2;
  return places.sort((a, b) => off(a) - off(b))[0] ?? [rows >> 1, columns >> 1];
}

const isPictured = (memory, tile) => tile < (memory.pictured ?? memory.tiles.length);
const finest = (shown) => shown.models.map((model) => model.memory).filter(Boolean).sort((a, b) => b.queries.length - a.queries.length)[0];

inAddress("patch", () => state.patch && state.patch.map((place) => place + 1).join(","), (text) => {
  const found = /^(\d{1,4}),(\d{1,4})$/.exec(text ?? "");
  state.patch = found ? [Math.max(0, found[1] - 1), Math.max(0, found[2] - 1)] : null;
});

function picker(shown, memory) {
  const [rows, columns] = gridOf(memory);
  const cells = make("div", { class: "cells", role: "group", "aria-label": `Patches of ${shown.name}; arrow keys move` });
  cells.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  const [row, column] = chosenPatch(memory);
  for (let number = 0; number < rows * columns; number += 1) {
    const name = `patch in row ${Math.floor(number / columns) + 1}, column ${(number % columns) + 1} of ${columns}`;
    const chosen = number === row * columns + column;
    cells.append(make("button", { type: "button", "aria-label": name, "aria-pressed": String(chosen), tabindex: chosen ? 0 : -1 }));
  }
  cells.addEventListener("click", (event) => {
    const number = [...cells.children].indexOf(event.target);
    if (number >= 0) choosePatch(cells, memory, [Math.floor(number / columns), number % columns]);
  });
  cells.addEventListener("keydown", (event) => move(event, cells, memory));
  const marker = make("div", { class: "patch", id: "patch-marker" });
  return make("div", { class: "pick" }, make("img", { src: shown.image, alt: `image ${shown.name}` }), cells, marker);
}

function move(event, cells, memory) {
  const grid = gridOf(memory);
  const [row, column] = chosenPatch(memory);
  const places = {
    ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
    Home: [row, 0], End: [row, grid[1] - 1],
  };
  if (!(event.key in places)) return;
  event.preventDefault();
  const [to, beside] = places[event.key];
  if (to >= 0 && to < grid[0] && beside >= 0 && beside < grid[1]) choosePatch(cells, memory, [to, beside]);
}

function choosePatch(cells, memory, place) {
  const mark = ([row, column], chosen) => {
    const one = cells.children[row * gridOf(memory)[1] + column];
    one.setAttribute("aria-pressed", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    return one;
  };
  mark(chosenPatch(memory), false);
  state.patch = place;
  mark(place, true).focus();
  drawNeighbours();
  const nearest = document.querySelector(".near")?.querySelectorAll("li") ?? [];
  changed(`Row ${place[0] + 1}, column ${place[1] + 1}; nearest: ${[...nearest].map((one) => one.dataset.told).join(", ")}`);
}

function drawNeighbours() {
  const shown = example(state.image);
  const asked = finest(shown);
  if (!asked) return;
  const grid = gridOf(asked);
  const place = chosenPatch(asked);
  const owner = shown.models.find((model) => model.memory === asked);
  placeMarker(owner, asked.queries[place[0] * grid[1] + place[1]]);
  for (const list of document.querySelectorAll(".near")) {
    const { memory } = shown.models.find((model) => model.row === Number(list.dataset.row));
    const query = queryAt(gridOf(memory), grid, place);
    list.replaceChildren(...memory.nearest[query].map((tile, i) => neighbour(shown, memory, tile, memory.similarity[query][i])));
  }
}

// Backbones of another grid have their own patches: the one at the same place of the image.
function queryAt([rows, columns], [ofRows, ofColumns], [row, column]) {
  const at = (index, of, side) => Math.min(side - 1, Math.floor(((index + 0.5) * side) / of));
  return at(row, ofRows, rows) * columns + at(column, ofColumns, columns);
}

function placeMarker(model, [row, column]) {
  const [down, along] = [100 / model.grid, 100 / model.columns];
  Object.assign(byId("patch-marker").style, { left: `${column * along}%`, top: `${row * down}%`, width: `${along}%`, height: `${down}%` });
}

// Of most patches the neighbours' classes are kept, and of some their pictures too.
function neighbour(shown, memory, number, similarity) {
  const [name, epoch, row, column, index] = memory.tiles[number];
  const told = shown.scale ? `${(index / 100).toFixed(1)} ${shown.scale.unit}` : table().classes[index];
  const where = `${memory.images[name]}, row ${row + 1}, column ${column + 1}` + (epoch ? `, pass ${epoch + 1}` : "");
  const alt = `memory patch, ${told}, similarity ${similarity.toFixed(2)}, from ${where}`;
  const tile = isPictured(memory, number) ? tileOf(memory, number, alt, where) : blank(shown, index, alt, where);
  const words = make("span", { title: told }, shown.scale ? null : swatch(shown.palette[index]), told);
  return make("li", { "data-told": `${told} ${similarity.toFixed(2)}` }, tile, make("b", {}, similarity.toFixed(2)), words);
}

function tileOf(memory, number, alt, where) {
  const canvas = make("canvas", { width: memory.tile_side, height: memory.tile_side, role: "img", "aria-label": alt, title: where });
  const [left, top] = [number % memory.sprite_columns, Math.floor(number / memory.sprite_columns)];
  sprite(memory.sprite).then((image) => {
    canvas.getContext("2d").drawImage(image, left * memory.tile_side, top * memory.tile_side, memory.tile_side, memory.tile_side, 0, 0, memory.tile_side, memory.tile_side);
  });
  return make("div", { class: "tile" }, canvas);
}

function blank(shown, index, alt, where) {
  const box = make("div", { class: "tile blank", role: "img", "aria-label": `${alt}; its picture was not kept`, title: `${where}; its picture was not kept` });
  const { low, high } = shown.scale ?? {};
  const place = shown.scale ? 1 + Math.round(254 * Math.min(1, Math.max(0, (index / 100 - low) / (high - low)))) : index;
  box.style.background = shown.palette[place] ?? "transparent";
  return box;
}
