// What is in view, and how it is chosen.

function draw() {
  const current = table();
  const parts = ["classes", "tradeoff", "efficiency", "examples", "pairs"];
  for (const id of [...parts, "origin"]) byId(id).hidden = !current;
  byId("baseline").parentElement.hidden = !current;
  byId("count").textContent = countText(current ?? overall());
  if (!current) return overall() ? drawOverall() : drawNothing();
  byId("examples").hidden = !current.examples.length;
  byId("pairs").hidden = !current.rows.some((row) => row.base !== null);
  fillBaseline(current);
  drawResults();
  drawOrigin(current);
  const draws = [drawClasses, drawTradeoff, drawEfficiency, drawExamples, drawPairs];
  parts.forEach((id, i) => byId(id).hidden || later(byId(id), draws[i]));
}

function countText(current) {
  if (!current) return "";
  const count = visible(current.rows).length;
  const all = quantity(current.rows.length, "backbone");
  return state.filter.trim() ? `${count} of ${all}` : all;
}

function drawNothing() {
  byId("results-title").textContent = "No records yet";
  byId("results-about").textContent = "densebench run makes them.";
  byId("controls").hidden = true;
}

function drawOrigin(current) {
  const list = make("dl");
  const add = (name, ...text) => list.append(make("dt", {}, name), make("dd", {}, ...text));
  add("Parameters", Object.entries(current.params).map((pair) => pair.join(" = ")).join(", "));
  add("Protocol hash", make("code", {}, current.hashes.protocol));
  add("Dataset fingerprint", make("code", {}, current.hashes.dataset));
  for (const row of current.rows) add(row.label, row.circumstances);
  byId("origin-body").replaceChildren(list);
}

function fillBaseline(current) {
  const names = current.rows.map((row) => row.label);
  byId("baseline").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  byId("baseline").value = baseline(current.rows).label;
}

function fillTasks() {
  const select = byId("task");
  data.overall.forEach((all, i) => select.append(make("option", { value: `o${i}` }, `All tasks, ${all.variant}`)));
  data.tables.forEach((one, i) => select.append(make("option", { value: `t${i}` }, one.title + (one.partial ? " (partial runs)" : ""))));
}

function fillAxes() {
  const current = table();
  if (!current) return;
  const some = AXES.filter((axis) => current.rows.some((row) => axis.value(row) !== null));
  byId("tradeoff-axis").replaceChildren(...some.map((axis) => make("option", { value: axis.id }, axis.name)));
  const telling = some.find((axis) => new Set(current.rows.map(axis.value)).size > 1) ?? some[0];
  byId("tradeoff-axis").value = telling.id;
}

function show(view) {
  state.view = view;
  state.sort = { id: view.startsWith("t") ? "miou" : "mean", way: DOWN };
  state.image = 0;
  byId("task").value = view;
  fillAxes();
  draw();
}

// The address after # names the view, so that a link can lead to it.
function viewOfAddress() {
  const name = decodeURIComponent(location.hash.slice(1));
  const options = [...byId("task").options];
  return (options.find((option) => option.textContent === name) ?? options[0])?.value ?? "";
}

const THEMES = ["auto", "light", "dark"];

function remembered() {
  try {
    return localStorage.getItem("densebench-theme");
  } catch {
    return null; // no storage for this page
  }
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
  byId("theme").dataset.name = name;
  try {
    localStorage.setItem("densebench-theme", name);
  } catch {
    // as above: the choice holds for this visit
  }
}

function listen() {
  byId("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(byId("theme").dataset.name) + 1) % THEMES.length]);
  });
  byId("task").addEventListener("change", (event) => {
    const option = event.target.selectedOptions[0];
    history.replaceState(null, "", `#${encodeURIComponent(option.textContent)}`);
    show(event.target.value);
  });
  window.addEventListener("hashchange", () => show(viewOfAddress()));
  byId("filter").addEventListener("input", (event) => {
    state.filter = event.target.value;
    draw();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("baseline").addEventListener("change", (event) => {
    state.baseline = event.target.value;
    draw();
  });
  byId("classes-numbers").addEventListener("change", drawClasses);
  byId("tradeoff-axis").addEventListener("change", drawTradeoff);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width || !table()) return;
    width = window.innerWidth;
    later(byId("tradeoff"), drawTradeoff);
    later(byId("efficiency"), drawEfficiency);
  });
}

function lede() {
  const names = new Set(data.tables.flatMap((one) => one.rows.map((row) => row.label)));
  byId("lede").textContent =
    `Dense features compared by what their patches can segment: ${quantity(names.size, "backbone")}, ` +
    `${quantity(data.tables.length, "table")}.` +
    (data.shown.length ? ` Shows images of ${data.shown.join(", ")}.` : "");
}

setTheme(THEMES.includes(remembered()) ? remembered() : "auto");
lede();
fillTasks();
listen();
show(viewOfAddress());
