// The table of all tasks: what each backbone has on each, with the mean of those that have them all.

const rowOf = (current, row, index) => (row.cells[index] === null ? null : data.tables[current.tables[index]].rows[row.cells[index]]);

function drawOverall() {
  const current = overall();
  const title = `All tasks, ${current.title}`;
  const partial = current.tables.some((place) => data.tables[place].partial);
  byId("results-title").textContent = title;
  byId("results-about").textContent =
    `${heading(current.metric)} of every task${current.metric.higher ? "" : " (lower is better)"} with its 95% interval; ` +
    "bold is the best of a task, underlined the second. The mean is over all tasks, and of a backbone that has them all. " +
    "A heading sorts by its task; the link under it leads to the task." +
    (partial ? " Tasks marked partial are of runs with fewer images than the task has." : "");
  drawRows(overallColumns(current), current.rows, title, drawOverall, null);
}

function overallColumns(current) {
  const of = current.metric;
  return [
    { id: "label", name: "Backbone", value: (r) => r.label, first: UP, cell: nameCell, text: TEXT },
    {
      id: "mean", name: "Mean", value: (r) => r.value, first: best(of), cell: (r) => meanCell(r, current),
      csv: [[`Mean ${withUnit(of)}`, (r) => exact(r.value, of)]],
    },
    ...current.headings.map((name, index) => taskColumn(current, name, index)),
    ...sizes(),
  ];
}

function meanCell(row, current) {
  if (row.value !== null) return make("td", { class: row.mark }, make("b", { class: "plain" }, amount(row.value)));
  const count = row.cells.filter((cell) => cell !== null).length;
  return make("td", { class: "missing" }, make("span", { class: "note" }, `${count} of ${quantity(current.tables.length, "task")}`));
}

function taskColumn(current, name, index) {
  const of = current.metric;
  const one = data.tables[current.tables[index]];
  const value = (row) => rowOf(current, row, index)?.value ?? null;
  const bound = (which) => (row) => exact(rowOf(current, row, index)?.[which] ?? null, of);
  const partial = one.partial ? make("span", { class: "tag" }, "partial") : null;
  const link = make("a", { href: addressOf(one.title), "aria-label": `Task ${one.title}` }, "open");
  return {
    id: `task-${index}`, name, value, first: best(of), cell: (row) => taskCell(current, row, index),
    more: make("span", { class: "note" }, partial, partial ? " " : "", link),
    csv: [[name, (row) => exact(value(row), of)], [`${name}, low`, bound("low")], [`${name}, high`, bound("high")]],
  };
}

function taskCell(current, row, index) {
  const found = rowOf(current, row, index);
  if (!found) return make("td", { class: "missing" }, make("span", { class: "note" }, row.missing[index]));
  return make(
    "td", { class: found.mark }, recordButton(found, current.metric), row.marks[index] ? ` ${row.marks[index]}` : "",
    make("span", { class: "note" }, spread(found, current.metric)),
  );
}
