/* The page: its parts put together, filters, keys. */

const page = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");

/** Every card that is shown, in the order of the page. */
const cards = () => [...main.querySelectorAll(".query:not([hidden]) .group:not([hidden]) .card:not([hidden])")];

function build() {
  byId("title").textContent = page.title;
  byId("summary").textContent = page.summary;
  if (page.caution) main.append(make("p", { class: "note caution" }, page.caution));
  main.append(about());
  if (page.missing) main.append(make("p", { class: "note" }, page.missing));
  main.append(...page.queries.map(section));
  byId("contents").append(...page.queries.map(contentsEntry));
  const failed = failures();
  if (failed) {
    main.append(failed);
    const link = make("a", { href: "#failed" }, make("span", {}, "Images without masks"), make("span", {}, number(page.failures.total)));
    byId("contents").append(make("li", { class: "last" }, link));
  }
  for (const kind of [...new Set(page.queries.map((query) => query.kind))].sort()) {
    byId("kind").append(make("option", { value: kind }, kind));
  }
}

function filter() {
  const words = byId("search").value.trim().toLowerCase(), kind = byId("kind").value;
  const low = Math.min(+byId("low").value, +byId("high").value) / 100, high = Math.max(+byId("low").value, +byId("high").value) / 100;
  byId("range").textContent = `${low.toFixed(2)} – ${high.toFixed(2)}`;
  let queries = 0, shown = 0;
  page.queries.forEach((query, index) => {
    const section = byId(`q${index}`);
    const asked = `${query.id} ${query.words} ${query.kind}`.toLowerCase().includes(words) && (!kind || query.kind === kind);
    let left = 0;
    for (const strip of section.querySelectorAll(".group")) {
      let own = 0;
      for (const button of strip.querySelectorAll(".card")) {
        const value = samples.get(button).score;
        button.hidden = value < low || value > high;
        own += !button.hidden;
      }
      strip.hidden = own === 0;
      left += own;
    }
    const narrowed = low > 0 || high < 1;
    section.hidden = !asked || (narrowed && left === 0);
    byId("contents").children[index].hidden = section.hidden;
    queries += !section.hidden;
    shown += section.hidden ? 0 : left;
  });
  const many = (count, word, words) => `${number(count)} ${count === 1 ? word : words}`;
  byId("shown").textContent = `${many(queries, "query", "queries")}, ${many(shown, "sample", "samples")}`;
}

function follow() {
  const bar = document.querySelector(".bar").getBoundingClientRect().bottom + 24;
  const sections = [...main.querySelectorAll(".query:not([hidden])")];
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
  const sections = [...main.querySelectorAll(".query:not([hidden])")];
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
  m: () => setMasks(!byId("masks").checked),
  "[": () => setOpacity(+byId("opacity").value - 10),
  "]": () => setOpacity(+byId("opacity").value + 10),
  t: otherTheme,
  "/": () => byId("search").focus(),
  "?": () => open(byId("help")),
};

function press(event) {
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (byId("help").open || (viewer.open && ["j", "k", "/", "?"].includes(event.key))) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

function listen() {
  for (const kind of ["input", "change"]) byId("filters").addEventListener(kind, filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("masks").addEventListener("change", (event) => setMasks(event.target.checked));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value));
  byId("theme").addEventListener("click", otherTheme);
  byId("keys").addEventListener("click", () => open(byId("help")));
  document.addEventListener("keydown", press);
  document.addEventListener("scroll", () => { moveTip(); requestAnimationFrame(follow); }, { passive: true });
  for (const kind of ["mouseover", "focusin"]) {
    main.addEventListener(kind, (event) => {
      const button = event.target.closest(".card");
      if (button) showTip(button);
      else hideTip();
    });
  }
  main.addEventListener("mouseleave", hideTip);
  main.addEventListener("focusout", hideTip);
  main.addEventListener("click", (event) => {
    const button = event.target.closest(".card");
    if (button) view(button);
  });
}

restoreTheme();
build();
listen();
filter();
follow();
