// The record behind a number: the file as it is, which the page has with it.

async function unpacked(place) {
  const packed = data.records[place];
  if (packed === null) return null;
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function openRecord(row) {
  const runs = row.records;
  byId("record-title").textContent = `Record of ${row.label}`;
  byId("record-run").replaceChildren(...runs.map((run, i) => make("option", { value: i }, run.seeds || run.name)));
  byId("record-run").parentElement.hidden = runs.length < 2;
  byId("record-run").onchange = (event) => fillRecord(runs[Number(event.target.value)]);
  byId("record").showModal();
  return fillRecord(runs[0]);
}

async function fillRecord(run) {
  byId("record-name").textContent = run.name;
  let text = null;
  try {
    text = await unpacked(run.place);
  } catch {
    // a browser that cannot unpack
  }
  byId("record-text").textContent = text ?? "Not in this page, which it would make too large: look into the file of this name.";
  byId("record-copy").hidden = byId("record-save").hidden = text === null;
  byId("record-copy").onclick = () => copy(text, run.name);
  byId("record-save").onclick = () => save(text, run.name.split("/").at(-1));
}

function save(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}

byId("record-close").addEventListener("click", () => byId("record").close());
