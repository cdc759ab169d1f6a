// Pictures of validation images, which several views show.

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

// The colour that the dataset gives a class.
function swatch(colour) {
  if (!colour) return null;
  const mark = make("i", { class: "swatch", "aria-hidden": "true" });
  mark.style.background = colour;
  return mark;
}

// Pictures are as wide as the photograph is, whatever shape the backbone was given it in.
function inRatio(place, shown) {
  place.style.setProperty("--ratio", shown.ratio);
  return place;
}

// What the colours of an image's maps are: its classes, or a scale.
function keyOf(shown) {
  if (shown.scale) return scaleBar(shown);
  const entries = shown.present.map((index) => make("li", {}, swatch(shown.palette[index]), table().classes[index]));
  return make("ul", { class: "legend", "aria-label": "Classes in this image" }, ...entries);
}

// Of a depth: the colours of the palette from the nearest to the farthest, and both in words.
function scaleBar(shown) {
  const { low, high, unit } = shown.scale;
  const told = [low, (low + high) / 2, high].map((value) => `${value.toFixed(1)} ${unit}`);
  const ramp = make("div", { class: "ramp", role: "img", "aria-label": `colours from ${told[0]} to ${told[2]}` });
  ramp.style.background = `linear-gradient(to right, ${shown.palette.slice(1).join(", ")})`;
  const note = make("p", { class: "minor" }, `Errors: from 0 to ${(high - low).toFixed(1)} ${unit} in the same colours. Grey: no value.`);
  return make("div", { class: "scale" }, ramp, make("p", { class: "ends" }, ...told.map((text) => make("span", {}, text))), note);
}

function toldError(shown, model) {
  if (shown.scale) return model.off === null ? "no scored pixel" : `RMSE about ${model.off.toFixed(2)} ${shown.scale.unit}`;
  return model.wrong === null ? "no scored pixel" : `${percent(model.wrong, 1)}% of pixels wrong`;
}
