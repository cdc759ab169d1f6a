// What is in view, and how it is chosen.

function draw() {
  const current = table();
  byId("baseline").parentElement.hidden = !current;
  byId("count").textContent = countText(current ?? overall());
  if (current) fillBaseline(current);
  for (const part of VIEWS) {
    const section = byId(part.id);
    section.hidden = !part.shows(current);
    if (section.hidden) continue;
    if (part.early) part.draw();
    else later(section, part.draw);
  }
}

function countText(current) {
  if (!current) return "";
  const count = visible(current.rows).length;
  const all = quantity(current.rows.length, "backbone");
  return state.filter.trim() ? `${count} of ${all}` : all;
}

function fillBaseline(current) {
  const names = current.rows.map((row) => row.label);
  byId("baseline").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  byId("baseline").value = baseline(current.rows).label;
}

function fillTasks() {
  const add = (value, name, more = "") => byId("task").append(make("option", { value, "data-name": name }, name + more));
  data.overall.forEach((all, i) => add(`o${i}`, `All tasks, ${all.title}`));
  data.tables.forEach((one, i) => add(`t${i}`, one.title, one.partial ? " (partial runs)" : ""));
}

function enter(view) {
  state.view = view;
  byId("task").value = view;
  for (const part of VIEWS) part.enter?.(table());
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
    enter(event.target.value);
    draw();
    changed(`Shown: ${nameOf(state.view)}`);
  });
  window.addEventListener("hashchange", arrive);
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is of what is shown
    byId("results").scrollIntoView();
    byId("results").focus();
  });
  byId("filter").addEventListener("input", (event) => {
    state.filter = event.target.value;
    draw();
    changed();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("baseline").addEventListener("change", (event) => {
    state.baseline = event.target.value;
    draw();
    changed(`Differences are to ${state.baseline}`);
  });
  for (const part of VIEWS) part.listen?.();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    for (const part of VIEWS) {
      if (part.wide && !byId(part.id).hidden) later(byId(part.id), part.draw);
    }
  });
}

// A link of the page, or another address in its field, leads to another view.
function arrive() {
  readAddress();
  window.scrollTo(0, 0);
  byId("results").focus({ preventScroll: true });
  tell(`Shown: ${byId("results-title").textContent}`);
}

function lede() {
  const names = new Set(data.tables.flatMap((one) => one.rows.map((row) => row.label)));
  byId("lede").textContent =
    `Dense features compared by what their patches can ${data.tables.every((one) => one.class_title) ? "segment" : "tell"}: ${quantity(names.size, "backbone")}, ` +
    `${quantity(data.tables.length, "table")}.` +
    (data.shown.length ? ` Shows images of ${data.shown.join(", ")}.` : "");
}

setTheme(THEMES.includes(remembered()) ? remembered() : "auto");
lede();
fillTasks();
listen();
readAddress();
