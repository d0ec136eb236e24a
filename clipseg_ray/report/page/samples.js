/* Queries, their groups and their samples, as elements. */

const GROUPS = {
  best: ["Best", "highest score"],
  borderline: ["Borderline", "score nearest to the threshold"],
  smallest: ["Smallest", "least coverage though the score is above the threshold"],
};

/** An image with a mask over it; both are drawn when they come near the window. */
function frame(picture, mask, words) {
  const box = make("div", { class: "frame" });
  box.style.setProperty("--ratio", picture.width / picture.height);
  if (picture.src) {
    box.append(make("img", { alt: words, decoding: "async" }));
  } else {
    box.classList.add("gone");
  }
  if (mask && mask.counts) box.append(make("canvas", { "aria-hidden": "true" }));
  drawn.set(box, { picture, mask });
  near.observe(box);
  return box;
}

const drawn = new WeakMap();
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      draw(entry.target);
      near.unobserve(entry.target);
    }
  },
  { rootMargin: "600px" },
);

function draw(box) {
  const { picture, mask } = drawn.get(box);
  const image = box.querySelector("img"), canvas = box.querySelector("canvas");
  if (image) image.src = picture.src;
  if (canvas) paint(canvas, mask, maskColour());
}

function card(sample) {
  const query = page.queries[sample.query], picture = page.pictures[sample.picture];
  const button = make("button", { type: "button", class: "card" },
    frame(picture, sample, `${picture.id}, ${query.id}`),
    make("p", {}, make("b", {}, score(sample.score)), make("span", {}, sample.area ? percent(sample.coverage) : "empty")));
  if (sample.phrase !== null) button.append(make("p", { class: "phrase" }, sample.phrase));
  button.style.setProperty("--ratio", picture.width / picture.height);
  samples.set(button, sample);
  return button;
}

const samples = new WeakMap();

function group(name, members) {
  if (!members.length) return null;
  const [title, what] = GROUPS[name];
  return make("div", { class: "group" }, make("h3", {}, title, make("span", {}, what)), make("div", { class: "strip" }, ...members.map(card)));
}

function section(query, index) {
  const pictures = query.supports.map((support) => frame(support, support, `support picture of the query ${query.id}`));
  const share = query.images ? ` (${percent(query.found / query.images)})` : "";
  const how = [query.mode, query.alpha === null ? null : `${query.alpha} picture, ${+(1 - query.alpha).toFixed(3)} text`];
  const details = [`threshold ${query.threshold}`, ...query.templates, ...how].filter((each) => each && each !== "{}").join(" · ");
  return make("section", { class: "query", id: `q${index}`, "aria-labelledby": `h${index}` },
    make("header", {},
      make("div", { class: "what" },
        make("h2", { id: `h${index}`, tabindex: "-1" }, query.id, make("span", { class: "pill" }, query.kind)),
        make("p", { class: "words" }, query.words),
        make("p", { class: "numbers" }, "found in ", make("b", {}, number(query.found)), ` of ${number(query.images)} images${share} · mean coverage `, make("b", {}, percent(query.coverage))),
        make("p", { class: "numbers" }, details),
        pictures.length ? make("div", { class: "supports" }, ...pictures) : null),
      make("div", { class: "charts" }, scoreChart(query), coverageChart(query, page.decades))),
    ...Object.keys(GROUPS).map((name) => group(name, query.groups[name])));
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
  return make("dl", { class: "about" }, 
    ...[...page.about, ["under each image", "score, share of the image covered"]].map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
