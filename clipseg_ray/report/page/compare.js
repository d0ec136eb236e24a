"use strict";

/* The images in which two sets of masks differ most: what both have, what one has alone. */

const page = JSON.parse(byId("data").textContent);

/** Told apart by every kind of colour vision. */
const PARTS = [
  { name: "in both", colour: [240, 228, 66] },
  { name: `in A alone: ${page.a}`, colour: [213, 94, 0] },
  { name: `in B alone: ${page.b}`, colour: [0, 114, 178] },
];

const plural = (count, word, words) => `${number(count)} ${count === 1 ? word : words}`;
const figures = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

function paintParts(canvas, { a_counts: a, b_counts: b, height, width }) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), words = new Uint32Array(image.data.buffer);
  const inA = pixelsOf(a, height, width), inB = pixelsOf(b, height, width);
  const paints = PARTS.map(({ colour: [red, green, blue] }) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0);
  for (let at = 0; at < words.length; at++) {
    if (inA[at] || inB[at]) words[at] = paints[inA[at] && inB[at] ? 0 : inA[at] ? 1 : 2];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const drawn = new WeakMap();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((each) => each.isIntersecting)) {
      const { picture, mask } = drawn.get(target), image = target.querySelector("img");
      if (image) image.src = picture.src;
      paintParts(target.querySelector("canvas"), mask);
      near.unobserve(target);
    }
  },
  { rootMargin: "600px" },
);

function drawing(picture, mask) {
  const pair = page.pairs[mask.pair], box = make("div", { class: "frame" });
  if (picture.src) box.append(make("img", { alt: `${picture.id}, ${pair.name}`, decoding: "async" }));
  else box.classList.add("gone");
  box.append(make("canvas", { "aria-hidden": "true" }));
  drawn.set(box, { picture, mask });
  near.observe(box);
  const scores = `score ${figures(mask.a_score)} → ${figures(mask.b_score)}`;
  const how = mask.a_counts === "" ? "found by B alone" : mask.b_counts === "" ? "lost in B" : `IoU ${figures(mask.iou)}`;
  const words = make("figcaption", {}, make("b", {}, mask.words ?? pair.name), `${how} · ${percent(mask.differing)} of the pixels · ${scores}`);
  const figure = make("figure", {}, box, words);
  figure.style.setProperty("--ratio", picture.width / picture.height);
  return figure;
}

function picture(each, place) {
  const more = each.queries - each.masks.length;
  const words = `${percent(each.pixels)} of the pixels differ, over ${plural(each.queries, "query", "queries")}${more ? `; ${number(more)} not drawn` : ""}`;
  return make("section", { class: "picture", "aria-labelledby": `i${place}` },
    make("h2", { id: `i${place}` }, `${place + 1}. ${each.id}`, make("span", {}, words)),
    make("div", { class: "row" }, ...each.masks.map((mask) => drawing(each, mask))));
}

const COLUMNS = [
  ["masks", (pair) => number(pair.masks)],
  ["in either", (pair) => number(pair.either)],
  ["mean IoU", (pair) => figures(pair.iou)],
  ...["0.05", "0.5", "0.95"].map((share) => [`IoU ${100 * share} %`, (pair) => figures(pair.quantiles[share])]),
  ["same", (pair) => number(pair.same)],
  ["found", (pair) => number(pair.found)],
  ["lost", (pair) => number(pair.lost)],
  ["score drift", (pair) => (pair.drift === null ? "–" : String(Number(pair.drift.toPrecision(2))))],
  ["largest", (pair) => figures(pair.drift_most)],
];

function row(pair) {
  const chart = histogram("IoU", pair.bins, {
    label: (bin) => `${(bin / pair.bins.length).toFixed(2)} – ${((bin + 1) / pair.bins.length).toFixed(2)}`,
    look: () => "found",
    ticks: [[0, "0"], [0.5, "0.5"], [1, "1"]],
    limit: null,
    note: "",
  });
  return make("tr", {}, make("td", { title: pair.words }, pair.name), make("td", {}, chart), ...COLUMNS.map(([, value]) => make("td", { class: "figure" }, value(pair))));
}

function build() {
  const found = page.pairs.filter((pair) => pair.iou !== null).sort((a, b) => a.iou - b.iou);
  const lowest = found.length ? ` · lowest mean IoU ${figures(found[0].iou)} (${found[0].name})` : "";
  byId("summary").textContent = `${plural(page.pairs.length, "query", "queries")}${lowest}`;
  for (const { name, colour } of PARTS) {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.setProperty("--own", `rgb(${colour.join(" ")})`);
    byId("legend").append(make("li", {}, swatch, make("span", {}, name)));
  }
  byId("notes").append(...page.lacks.map((line) => make("p", { class: "note" }, line)));
  if (!page.images.length) byId("notes").append(make("p", { class: "note" }, "No mask differs."));
  byId("images").append(...page.images.map(picture));
  const head = make("tr", {}, ...["query", "IoU"].map((name) => make("th", { scope: "col" }, name)), ...COLUMNS.map(([name]) => make("th", { scope: "col", class: "figure" }, name)));
  const pairs = [...found, ...page.pairs.filter((pair) => pair.iou === null)];
  byId("queries").querySelector("table").append(make("thead", {}, head), make("tbody", {}, ...pairs.map(row)));
  byId("made").hidden = !page.changes.length;
  byId("made").querySelector("ul").append(...page.changes.map((line) => make("li", {}, line)));
}

heedLooks();
heedLookKeys();
restoreTheme();
build();
