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
