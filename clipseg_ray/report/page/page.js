/* The page: its parts put together, filters, keys. */

const main = document.getElementById("main");

/** Every card that is shown, in the order of the page. */
const cards = () => [...main.querySelectorAll(".by:not([hidden]) > :not([hidden]) .card:not([hidden])")].filter((each) => !each.closest("[hidden]"));

function build() {
  byId("title").textContent = page.title;
  byId("summary").textContent = page.summary;
  if (page.caution) byId("notes").append(make("p", { class: "note caution" }, page.caution));
  if (page.missing) byId("notes").append(make("p", { class: "note" }, page.missing));
  byId("by-query").append(...page.queries.map(section));
  byId("by-image").append(...page.byImage.map(imageTile));
  byId("contents").append(...page.queries.map(contentsEntry));
  const failed = failures();
  if (failed) {
    main.append(failed);
    const link = make("a", { href: "#failed" }, make("span", {}, "Images without masks"), make("span", {}, number(page.failures.total)));
    byId("contents").append(make("li", { class: "last" }, link));
  }
  main.append(about());
  for (const kind of [...new Set(page.queries.map((query) => query.kind))].sort()) {
    byId("kind").append(make("option", { value: kind }, kind));
  }
}

/** By query, or all masks of an image on one image. */
function setView(name) {
  for (const choice of document.querySelectorAll("input[name=view]")) choice.checked = choice.value === name;
  document.body.dataset.view = name;
  for (const each of ["query", "image"]) byId(`by-${each}`).hidden = each !== name;
  filter();
}

/** Score range and queries that are asked for. */
let asked = { words: "", kind: "", low: 0, high: 1 };
const askedFor = (query) => `${query.id} ${query.words} ${query.kind}`.toLowerCase().includes(asked.words) && (!asked.kind || query.kind === asked.kind);
const passes = (sample) => sample.score >= asked.low && sample.score <= asked.high && askedFor(page.queries[sample.query]);

function filter() {
  const low = +byId("low").value / 100, high = +byId("high").value / 100;
  asked = { words: byId("search").value.trim().toLowerCase(), kind: byId("kind").value, low: Math.min(low, high), high: Math.max(low, high) };
  byId("range").textContent = `${asked.low.toFixed(2)} – ${asked.high.toFixed(2)}`;
  const many = (count, word, words) => `${number(count)} ${count === 1 ? word : words}`;
  const [first, second] = document.body.dataset.view === "image" ? filterImages() : filterQueries();
  const byImage = document.body.dataset.view === "image";
  byId("shown").textContent = byImage ? `${many(first, "image", "images")}, ${many(second, "mask", "masks")}` : `${many(first, "query", "queries")}, ${many(second, "sample", "samples")}`;
  byId("none").hidden = first > 0;
  byId("none").querySelector("span").textContent = byImage && !page.byImage.length ? "Nothing was found in any image." : `No ${byImage ? "image with a mask" : "query"} is left by what is asked for on this page.`;
}

/** How many queries and samples are shown. */
function filterQueries() {
  let queries = 0, shown = 0;
  page.queries.forEach((query, index) => {
    const section = byId(`q${index}`);
    let left = 0;
    for (const strip of section.querySelectorAll(".group")) {
      let own = 0;
      for (const link of strip.querySelectorAll(".card")) {
        const { sample } = entryOf.get(link);
        link.hidden = sample.score < asked.low || sample.score > asked.high;
        own += !link.hidden;
      }
      strip.hidden = own === 0;
      left += own;
    }
    const narrowed = asked.low > 0 || asked.high < 1;
    section.hidden = !askedFor(query) || (narrowed && left === 0);
    byId("contents").children[index].hidden = section.hidden;
    queries += !section.hidden;
    shown += section.hidden ? 0 : left;
  });
  return [queries, shown];
}

/** How many images and masks are shown. */
function filterImages() {
  let images = 0, shown = 0;
  for (const tile of byId("by-image").children) {
    const { masks } = entryOf.get(tile.querySelector(".card")), left = masks.filter(passes).length;
    tile.hidden = left === 0;
    tile.querySelector(".legend").refresh();
    images += left > 0;
    shown += left;
  }
  redraw();
  return [images, shown];
}

function showAll() {
  byId("filters").reset();
  filter();
}

function follow() {
  const bar = document.querySelector(".bar").getBoundingClientRect().bottom + 24;
  const sections = [...main.querySelectorAll(".by:not([hidden]) .query:not([hidden])")];
  const end = innerHeight + scrollY >= root.scrollHeight - 2 && scrollY > 0;
  const current = (end ? sections : sections.filter((each) => each.getBoundingClientRect().top <= bar)).pop();
  for (const link of byId("contents").querySelectorAll("a")) {
    const here = current !== undefined && link.hash === `#${current.id}`;
    if (here && !link.hasAttribute("aria-current")) {
      link.setAttribute("aria-current", "true");
      const list = byId("contents"), at = link.getBoundingClientRect(), own = list.getBoundingClientRect();
      const seen = at.top >= own.top && at.bottom <= own.bottom && at.left >= own.left && at.right <= own.right;
      if (!seen) {
        list.scrollTop += at.top - own.top - own.height / 2;
        list.scrollLeft += at.left - own.left;
      }
    } else if (!here) {
      link.removeAttribute("aria-current");
    }
  }
  return current;
}

function nextQuery(by) {
  const sections = [...main.querySelectorAll(".by:not([hidden]) .query:not([hidden])")];
  const next = sections[sections.indexOf(follow()) + by];
  if (next) {
    next.scrollIntoView();
    next.querySelector("h2").focus({ preventScroll: true });
    follow();
  }
}

function nextCard(by) {
  const all = cards(), own = all.indexOf(document.activeElement);
  const start = own < 0 ? all.findIndex((each) => each.getBoundingClientRect().top > 60) - (by > 0) : own;
  const next = all[start + by];
  if (next) {
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }
}

const KEYS = {
  j: () => nextQuery(1),
  k: () => nextQuery(-1),
  ArrowRight: () => (viewer.open ? step(1) : nextCard(1)),
  ArrowLeft: () => (viewer.open ? step(-1) : nextCard(-1)),
  ...LOOK_KEYS,
  o: () => setLook(LOOKS[(LOOKS.indexOf(look) + 1) % LOOKS.length]),
  v: () => setView(document.body.dataset.view === "image" ? "query" : "image"),
  "/": () => {
    byId("narrow").open = true;
    byId("search").focus();
  },
  "?": () => open(byId("help")),
};

function press(event) {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]):not([type=range]), select");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (byId("help").open || (viewer.open && ["j", "k", "/", "?", "v"].includes(event.key))) return;
  if (event.target.matches("input[type=range], input[type=radio]") && event.key.startsWith("Arrow")) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

function listen() {
  for (const kind of ["input", "change"]) byId("filters").addEventListener(kind, filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  heedLooks();
  byId("keys").addEventListener("click", () => open(byId("help")));
  document.addEventListener("keydown", press);
  document.addEventListener("scroll", () => { moveTip(); requestAnimationFrame(follow); }, { passive: true });
  for (const choice of document.querySelectorAll("input[name=view]")) choice.addEventListener("change", () => setView(choice.value));
  for (const choice of document.querySelectorAll("input[name=look]")) choice.addEventListener("change", () => setLook(choice.value));
  document.addEventListener("look", () => redraw());
  byId("none").querySelector("button").addEventListener("click", showAll);
  addEventListener("hashchange", viewLinked);
  const wide = matchMedia("(min-width: 60.01rem)"), unfold = () => (byId("narrow").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  for (const kind of ["mouseover", "focusin"]) {
    main.addEventListener(kind, (event) => {
      const link = event.target.closest(".card");
      if (link) showTip(link);
      else hideTip();
    });
  }
  main.addEventListener("mouseleave", hideTip);
  main.addEventListener("focusout", hideTip);
  main.addEventListener("click", (event) => {
    const link = event.target.closest(".card");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    view(entryOf.get(link));
  });
}

restoreTheme();
build();
listen();
setLook("outline"); /* a filled mask hides the colour of what it lies on */
setView("query");
follow();
viewLinked();
