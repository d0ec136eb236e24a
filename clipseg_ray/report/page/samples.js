/* Queries with their groups of samples, and images with all their masks, as elements. */

const GROUPS = {
  best: ["Best", "highest score"],
  borderline: ["Borderline", "score nearest to the threshold"],
  smallest: ["Smallest", "least coverage though the score is above the threshold"],
};

/** Whatever can be looked at large, {picture, masks, hash, title, shows}, and by its card. */
const entries = [];
const entryOf = new WeakMap();

const called = (sample) => page.queries[sample.query].id;

function linked(parts) {
  return `#${new URLSearchParams(parts)}`;
}

/** A link that opens the viewer; `entry` is what it shows. */
function card(entry, ...children) {
  const link = make("a", { class: "card", href: entry.hash }, ...children);
  link.style.setProperty("--ratio", entry.picture.width / entry.picture.height);
  entry.card = link;
  entries.push(entry);
  entryOf.set(link, entry);
  return link;
}

function sampleCard(sample) {
  const picture = page.pictures[sample.picture], phrase = sample.phrase === null ? {} : { phrase: sample.phrase };
  const hash = linked({ image: picture.id, query: called(sample), ...phrase });
  const covered = make("span", {}, coverageOf(sample));
  const told = ({ areas: [area] }) => (covered.textContent = coverageOf(sample, area));
  const words = make("p", {}, make("b", {}, score(sample.score)), covered);
  const box = frame(picture, [sample], `${picture.id}, ${called(sample)}`, { told });
  const entry = { picture, sample, masks: [sample], shows: () => true, hash, title: called(sample) };
  return card(entry, box, words, sample.phrase === null ? null : make("p", { class: "phrase" }, sample.phrase));
}

/** The share of the image that is inside, at the query's own threshold or, of the small map, where the slider stands. */
function coverageOf(sample, area = null) {
  if (!moved(sample) || area === null) return sample.area ? percent(sample.coverage) : "empty";
  return area ? `≈ ${percent(area / (sample.size[0] * sample.size[1]))}` : "empty";
}

/** Masks that were unchecked, wherever their image is shown; and the one that is pointed at in a list, shown alone. */
const unchecked = new Set();
let alone = null;

function imageTile(at) {
  const picture = page.pictures[at], masks = page.samples.filter((sample) => sample.picture === at && sample.area);
  masks.sort((one, other) => other.score - one.score);
  const shows = (mask) => (alone?.picture === at ? mask === alone : passes(mask) && !unchecked.has(mask));
  const entry = { picture, masks, shows, hash: linked({ image: picture.id }), title: picture.id };
  const { list, told } = legend(entry);
  const box = frame(picture, masks, `${picture.id}, all its masks`, { shows, told });
  return make("section", { class: "tile" }, card(entry, box), make("p", { class: "name" }, picture.id), list);
}

/** A checkbox for each mask of an image, with its colour, and who is to hear of the colours. */
function legend(entry) {
  const swatches = entry.masks.map(() => make("span", { class: "swatch", "aria-hidden": "true" }));
  const boxes = entry.masks.map((mask) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => check([mask], box.checked));
    return box;
  });
  const labels = entry.masks.map((mask, at) =>
    make("label", { title: page.queries[mask.query].words }, boxes[at], swatches[at], make("span", {}, mask.phrase ?? called(mask)), make("small", {}, score(mask.score))));
  labels.forEach((label, at) => {
    label.addEventListener("mouseenter", () => single(entry.masks[at]));
    label.addEventListener("mouseleave", () => single(null));
  });
  const list = make("div", { class: "legend" }, ...labels);
  function told({ colours }) {
    swatches.forEach((swatch, at) => swatch.style.setProperty("--own", `rgb(${colours[at].join(" ")})`));
    refresh();
  }
  function refresh() {
    entry.masks.forEach((mask, at) => {
      boxes[at].checked = !unchecked.has(mask);
      labels[at].hidden = !passes(mask);
    });
  }
  list.refresh = refresh;
  refresh();
  return { list, told };
}

function single(mask) {
  const picture = (mask ?? alone)?.picture;
  alone = mask;
  redraw(([first]) => first?.picture === picture);
}

function check(masks, on) {
  for (const mask of masks) on ? unchecked.delete(mask) : unchecked.add(mask);
  for (const list of document.querySelectorAll(".legend")) list.refresh();
  redraw((drawn) => drawn.some((mask) => masks.includes(mask)));
}

function group(name, members) {
  if (!members.length) return null;
  const [title, what] = GROUPS[name];
  return make("div", { class: "group" }, make("h3", {}, title, make("span", {}, what)),
    make("div", { class: "strip" }, ...members.map((at) => sampleCard(page.samples[at]))));
}

function section(query, index) {
  const pictures = query.supports.map((support) => frame(support, support.counts ? [support] : [], `support picture of the query ${query.id}`));
  const share = query.images ? ` (${percent(query.found / query.images)})` : "";
  const how = [query.mode, query.alpha === null ? null : `${query.alpha} picture, ${+(1 - query.alpha).toFixed(3)} text`];
  const details = [`threshold ${query.threshold}`, ...query.templates, ...how].filter((each) => each && each !== "{}").join(" · ");
  return make("section", { class: "query", id: `q${index}`, "aria-labelledby": `h${index}` },
    make("header", {},
      make("h2", { id: `h${index}`, tabindex: "-1" }, query.id, make("span", { class: "pill" }, query.kind)),
      make("p", { class: "words" }, query.words),
      make("p", { class: "numbers" }, "found in ", make("b", {}, number(query.found)), ` of ${number(query.images)} images${share} · mean coverage `, make("b", {}, percent(query.coverage))),
      pictures.length ? make("div", { class: "supports" }, ...pictures) : null,
      limitSlider(query, index)),
    query.found ? null : make("p", { class: "none" }, nothing(query)),
    ...Object.keys(GROUPS).map((name) => group(name, query.groups[name])),
    make("footer", {}, make("p", { class: "numbers" }, details), make("div", { class: "charts" }, scoreChart(query), coverageChart(query, page.decades))));
}

/** What is said of a query that found nothing. */
function nothing(query) {
  if (!query.images) return "Nothing was asked: no image has a row of this query.";
  const count = query.scoreBins.length, top = query.scoreBins.findLastIndex((each) => each > 0);
  const range = `${(top / count).toFixed(2)} and ${((top + 1) / count).toFixed(2)}`;
  return `Nothing found: no mask of ${number(query.images)} images has a pixel above the threshold ${query.threshold}. The highest scores are between ${range}. If it should be there, ask with a lower threshold or in other words.`;
}

/** A slider that moves a query's threshold where its samples have maps to draw from. */
function limitSlider(query, index) {
  const own = Object.values(query.groups).flat().map((at) => page.samples[at]);
  if (!own.some((sample) => sample.heat)) return null;
  const slider = make("input", { type: "range", class: "limit", min: 0.01, max: 0.99, step: 0.01, "data-query": index, "aria-label": `Threshold of ${query.id}` });
  slider.value = query.threshold;
  slider.addEventListener("input", () => {
    /* A slider stands on whole hundredths; where it began is the query's own threshold. */
    setLimit(index, Math.abs(slider.value - query.threshold) < 0.005 ? query.threshold : +slider.value);
  });
  return make("label", { class: "limit-row" }, "Threshold", slider, make("output", { "data-query": index }, query.threshold.toFixed(2)));
}

function setLimit(index, value) {
  limits[index] = value;
  for (const slider of document.querySelectorAll(`input.limit[data-query="${index}"]`)) slider.value = value;
  for (const output of document.querySelectorAll(`output[data-query="${index}"]`)) output.textContent = value.toFixed(2);
  redraw((masks) => masks.some((mask) => mask.query === index));
}

function contentsEntry(query, index) {
  const bar = make("i", {});
  bar.style.width = `${query.images ? (100 * query.found) / query.images : 0}%`;
  return make("li", {}, make("a", { href: `#q${index}`, title: query.words },
    make("span", {}, query.id), make("span", {}, number(query.found)), make("span", { class: "share" }, bar)));
}

function failures() {
  const bad = page.failures;
  if (!bad.total) return null;
  const rows = bad.rows.map(([id, status, error]) => make("tr", {}, make("td", {}, id), make("td", {}, status), make("td", {}, error ?? "")));
  return make("section", { class: "query", id: "failed", "aria-labelledby": "failed-title" },
    make("h2", { id: "failed-title", tabindex: "-1" }, "Images without masks"),
    make("p", { class: "numbers" }, `${number(bad.total)} of ${number(page.images)} images: ${bad.statuses.map(([name, count]) => `${number(count)} ${name}`).join(", ")}`),
    make("table", {}, make("thead", {}, make("tr", {}, ...["image", "status", "what was found"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows)));
}

function about() {
  return make("footer", { class: "provenance" },
    make("dl", { class: "about" }, ...page.about.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))));
}
