"use strict";

/* Photos with the masks of every query, drawn from its probabilities at the threshold of its slider. */

const page = JSON.parse(byId("data").textContent);
const limits = page.queries.map((query) => query.threshold);
const shown = page.queries.map(() => true);
const views = [];

/** Pixels inside at a threshold, one byte each. */
function inside(bytes, threshold) {
  const limit = 255 * threshold, pixels = new Uint8Array(bytes.length);
  let area = 0;
  for (let at = 0; at < bytes.length; at++) area += pixels[at] = bytes[at] > limit ? 1 : 0;
  return { pixels, area };
}

function draw(view, index) {
  const { map, canvas, row, coverage } = view[index];
  const { pixels, area } = map ? inside(map.bytes, limits[index]) : { pixels: null, area: 0 };
  // At the query's own threshold it is the model's: bytes are rounded.
  const own = limits[index] === page.queries[index].threshold;
  row.querySelector(".coverage").textContent = own ? percent(coverage) : percent(map ? area / map.bytes.length : 0);
  row.classList.toggle("absent", own ? coverage === 0 : area === 0);
  canvas.hidden = !shown[index] || area === 0;
  if (!canvas.hidden) paintPixels(canvas, pixels, map.size, page.queries[index].colour);
}

function swatch(query) {
  const node = make("span", { class: "swatch", "aria-hidden": "true" });
  node.style.setProperty("--own", `rgb(${query.colour.join(" ")})`);
  return node;
}

function entry(query, index) {
  const box = make("input", { type: "checkbox" }), value = make("output", {}, limits[index].toFixed(2));
  box.checked = true;
  const slider = make("input", { type: "range", min: page.least, max: 0.99, step: 0.01, "aria-label": `Threshold of ${query.words}` });
  slider.value = query.threshold;
  box.addEventListener("change", () => {
    shown[index] = box.checked;
    views.forEach((view) => draw(view, index));
  });
  slider.addEventListener("input", () => {
    // A slider stands on whole hundredths; where it began is the query's own threshold.
    limits[index] = Math.abs(slider.value - query.threshold) < 0.005 ? query.threshold : +slider.value;
    value.textContent = limits[index].toFixed(2);
    views.forEach((view) => draw(view, index));
  });
  const name = make("label", {}, box, swatch(query), make("span", { class: "name" }, query.words));
  return make("li", {}, name, make("label", { class: "limit" }, "threshold", slider, value));
}

async function photo(picture) {
  const frame = make("div", { class: "frame" }, make("img", { src: picture.src, alt: picture.name }));
  frame.style.setProperty("--ratio", picture.width / picture.height);
  const head = make("tr", {}, make("th", {}, "query"), make("th", { class: "figure" }, "score"), make("th", { class: "figure" }, "coverage"));
  const table = make("table", {}, make("thead", {}, head)), body = make("tbody", {});
  table.append(body);
  const view = [];
  for (const [index, { score: highest, coverage, src }] of picture.maps.entries()) {
    const query = page.queries[index], canvas = make("canvas", { "aria-hidden": "true" });
    const row = make("tr", {}, make("td", {}, swatch(query), query.words), make("td", { class: "figure" }, score(highest)), make("td", { class: "figure coverage" }));
    frame.append(canvas);
    body.append(row);
    view.push({ map: src ? await bytesOf(src) : null, canvas, row, coverage });
  }
  views.push(view);
  view.forEach((_, index) => draw(view, index));
  return make("section", { class: "photo" }, make("h2", {}, picture.name), frame, table);
}

async function build() {
  const many = (count, word, words) => `${number(count)} ${count === 1 ? word : words}`;
  byId("summary").textContent = `${many(page.photos.length, "photo", "photos")} · ${many(page.queries.length, "query", "queries")}`;
  if (page.caution) byId("main").append(make("p", { class: "note caution" }, page.caution));
  byId("queries").append(...page.queries.map(entry));
  const photos = make("div", { class: "photos" });
  byId("main").append(photos);
  for (const picture of page.photos) photos.append(await photo(picture));
  document.body.dataset.ready = "true";
}

heedLooks();
heedLookKeys();
restoreTheme();
build();
