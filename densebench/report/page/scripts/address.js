// What one sees stands in the address after #, so that it can be sent: the name of the table, then,
// of what is not as the page opens, KEY=TEXT. A part of the page says what it keeps there:
// write() gives the text or null, read(text or null) takes it back.

const ADDRESS = [];
const inAddress = (key, write, read) => ADDRESS.push({ key, write, read });

inAddress("sort", writeSort, readSort);
inAddress("filter", () => state.filter.trim() || null, (text) => (byId("filter").value = state.filter = text ?? ""));
inAddress("baseline", () => state.baseline || null, (text) => (state.baseline = text ?? ""));

const usualSort = () => ({ id: overall() ? "mean" : "value", way: table() || overall() ? best(metric()) : DOWN });

function writeSort() {
  const usual = usualSort();
  if (state.sort.id === usual.id && state.sort.way === usual.way) return null;
  return `${state.sort.id},${state.sort.way === UP ? "ascending" : "descending"}`;
}

function readSort(text) {
  const [, id, way] = /^(.+),(ascending|descending)$/.exec(text ?? "") ?? [];
  state.sort = id ? { id, way: way === "ascending" ? UP : DOWN } : usualSort();
}

function fromAddress(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a percent sign that codes nothing
  }
}

// The address of a table, with what holds for all of them.
function addressOf(name, parts = ADDRESS.filter((part) => ["filter", "baseline"].includes(part.key))) {
  const told = parts.map((part) => [part.key, part.write()]).filter(([, text]) => text !== null);
  return "#" + [encodeURIComponent(name), ...told.map(([key, text]) => `${key}=${encodeURIComponent(text)}`)].join("&");
}

// What was changed by hand comes into the address, and is said aloud.
function changed(told = "") {
  const current = table() ?? overall();
  try {
    if (current) history.replaceState(null, "", addressOf(nameOf(state.view), ADDRESS));
  } catch {
    // a page inside another, which has no address of its own
  }
  if (told) tell(told);
}

const optionOf = (name) => [...byId("task").options].find((option) => option.dataset.name === name);
const nameOf = (view) => [...byId("task").options].find((option) => option.value === view).dataset.name;

// Takes the view and everything else from the address; what it does not name is as ever.
function readAddress() {
  const whole = location.hash.slice(1);
  const plain = optionOf(fromAddress(whole));
  const [name, ...parts] = plain ? [whole] : whole.split("&");
  const option = plain ?? optionOf(fromAddress(name)) ?? byId("task").options[0];
  const found = new Map(parts.map((part) => part.split(/=(.*)/s, 2)));
  enter(option?.value ?? "");
  for (const { key, read } of ADDRESS) read(found.has(key) ? fromAddress(found.get(key)) : null);
  draw();
}
