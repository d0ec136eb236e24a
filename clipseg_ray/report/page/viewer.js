/* One sample in words (beside the pointer), and one sample or image at large. */

function facts(sample) {
  const picture = page.pictures[sample.picture];
  const [x, y, w, h] = sample.box;
  return [
    sample.phrase === null ? null : ["phrase", sample.phrase],
    ["score", score(sample.score)],
    ["mean inside", score(sample.mean)],
    ["area", sample.area ? `${number(sample.area)} px of ${number(sample.grid[0] * sample.grid[1])} (${percent(sample.coverage)})` : "empty"],
    sample.area ? ["box", `${w} × ${h} at ${x}, ${y}`] : null,
    ["image", `${picture.width} × ${picture.height} px`],
    sample.presence === null ? null : ["presence", sample.presence.toFixed(3)],
  ].filter((each) => each !== null);
}

function pairs(list, into) {
  into.className = "pairs";
  into.replaceChildren(...list.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  return into;
}

const tip = document.getElementById("tip");
let tipped = null;

function showTip(link) {
  const { sample, picture } = entryOf.get(link);
  if (!sample) return;
  tipped = link;
  tip.replaceChildren(make("strong", {}, picture.id), pairs(facts(sample), make("dl", {})));
  tip.hidden = false;
  const at = link.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const right = at.right + 10 + own.width < innerWidth;
  tip.style.left = `${Math.max(8, right ? at.right + 10 : at.left - own.width - 10)}px`;
  tip.style.top = `${Math.max(8, Math.min(at.top, innerHeight - own.height - 8))}px`;
}

function hideTip() {
  tipped = null;
  tip.hidden = true;
}

/** A card reached by keys keeps its tip while the page moves to it; under a pointer there is another card by then. */
function moveTip() {
  if (tipped && tipped.matches(":focus-visible")) showTip(tipped);
  else hideTip();
}

const viewer = document.getElementById("viewer");
let viewed = null;

/** Show an entry large; the page's address then leads to it. */
function view(entry) {
  const { picture, sample, masks } = entry;
  viewed = entry;
  hideTip();
  const parts = sample ? sampleParts(entry) : imageParts(entry);
  const box = frame(picture, masks, `${picture.id}, ${entry.title}`, { shows: entry.shows, told: parts.told });
  const wide = innerWidth > 960 ? Math.min(innerWidth * 0.94, 1088) - 304 - 48 : innerWidth * 0.94 - 48;
  const scale = Math.min(wide / picture.width, (innerHeight * (innerWidth > 960 ? 0.92 : 0.6) - 48) / picture.height);
  box.style.width = `${Math.round(scale * picture.width)}px`;
  viewer.querySelector("figure").replaceChildren(box);
  viewer.querySelector("h2").textContent = entry.title;
  viewer.querySelector(".words").textContent = sample ? page.queries[sample.query].words : `${masks.length} masks`;
  viewer.querySelector(".own").replaceChildren(...parts.nodes.filter((each) => each !== null));
  pairs([["id", picture.id], ...(sample ? facts(sample) : [["image", `${picture.width} × ${picture.height} px`]]), ["file", picture.place]], viewer.querySelector("dl"));
  viewer.querySelector(".acts").replaceChildren(...acts(entry));
  const all = cards(), place = all.indexOf(entry.card);
  viewer.querySelector(".steps span").textContent = place < 0 ? "" : `${place + 1} of ${all.length}`;
  history.replaceState(null, "", entry.hash);
  if (!viewer.open) open(viewer);
  viewer.scrollTop = 0;
}

function sampleParts({ sample }) {
  const area = make("p", { class: "muted", role: "status" }), query = page.queries[sample.query];
  const told = ({ areas: [inside] }) => (area.textContent = moved(sample) ? `At threshold ${limits[sample.query].toFixed(2)}: ${coverageOf(sample, inside)}` : "");
  const slider = sample.heat ? limitSlider(query, sample.query) : null;
  if (slider) {
    slider.querySelector("input").value = limits[sample.query];
    slider.querySelector("output").textContent = limits[sample.query].toFixed(2);
  }
  const whole = entries.find((each) => !each.sample && each.picture === page.pictures[sample.picture]);
  const link = whole ? make("button", { type: "button" }, "All masks of this image") : null;
  link?.addEventListener("click", () => {
    setView("image");
    view(whole);
  });
  return { nodes: [slider, area, link], told };
}

function imageParts(entry) {
  const { list, told } = legend(entry);
  const both = [["All", true], ["None", false]].map(([words, on]) => {
    const button = make("button", { type: "button" }, words);
    button.addEventListener("click", () => check(entry.masks, on));
    return button;
  });
  return { nodes: [make("p", { class: "both" }, ...both), list], told };
}

/** Copy the id, copy a link to what is shown, open the original; or why it cannot be opened. */
function acts({ picture, hash }) {
  const original = picture.link === null
    ? make("p", { class: "muted" }, picture.whole ? "The original cannot be opened from here." : "The original lies inside a larger file, which no browser opens.")
    : make("a", { href: picture.link, target: "_blank", rel: "noopener noreferrer" }, "Open the original");
  return [copier("Copy id", () => picture.id), copier("Copy link", () => location.href.split("#")[0] + hash), original];
}

function copier(words, text) {
  const button = make("button", { type: "button" }, words);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text())) ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = words), 1500);
  });
  return button;
}

/** Whether `text` is on the clipboard. Pages over plain HTTP have none to ask, but may copy what is selected. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { readonly: "" });
    field.value = text;
    viewer.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** Show a dialog with no button of it picked out. */
function open(dialog) {
  dialog.showModal();
  dialog.focus();
}

function step(by) {
  const all = cards(), next = all[all.indexOf(viewed.card) + by];
  if (next) view(entryOf.get(next));
}

/** Open what the page's address leads to, if it is a sample or an image. */
function viewLinked() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (!wanted.has("image")) return;
  const found = entries.find((entry) => entry.hash === linked([...wanted]));
  byId("lost").hidden = found !== undefined;
  if (found) {
    setView(found.sample ? "query" : "image");
    view(found);
  }
}

viewer.querySelector(".back").addEventListener("click", () => step(-1));
viewer.querySelector(".on").addEventListener("click", () => step(1));
viewer.addEventListener("close", () => {
  history.replaceState(null, "", location.href.split("#")[0]);
  viewed?.card.focus();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
