/* One sample in words (beside the pointer) and at large. */

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

function showTip(button) {
  const sample = samples.get(button);
  tipped = button;
  tip.replaceChildren(make("strong", {}, page.pictures[sample.picture].id), pairs(facts(sample), make("dl", {})));
  tip.hidden = false;
  const at = button.getBoundingClientRect(), own = tip.getBoundingClientRect();
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

function view(button) {
  const sample = samples.get(button);
  const picture = page.pictures[sample.picture], query = page.queries[sample.query];
  viewed = button;
  hideTip();
  const box = frame(picture, sample, `${picture.id}, ${query.id}`);
  const wide = innerWidth > 960 ? Math.min(innerWidth * 0.94, 1088) - 304 - 48 : innerWidth * 0.94 - 48;
  const scale = Math.min(wide / picture.width, (innerHeight * 0.92 - 48) / picture.height);
  box.style.width = `${Math.round(scale * picture.width)}px`;
  viewer.querySelector("figure").replaceChildren(box);
  draw(box);
  viewer.querySelector("h2").textContent = query.id;
  viewer.querySelector(".words").textContent = query.words;
  pairs([["id", picture.id], ...facts(sample), ["file", picture.url]], viewer.querySelector("dl"));
  const all = cards(), place = all.indexOf(button);
  viewer.querySelector(".steps span").textContent = `${place + 1} of ${all.length}`;
  if (!viewer.open) open(viewer);
  viewer.scrollTop = 0;
}

/** Show a dialog with no button of it picked out. */
function open(dialog) {
  dialog.showModal();
  dialog.focus();
}

function step(by) {
  const all = cards();
  const next = all[all.indexOf(viewed) + by];
  if (next) view(next);
}

viewer.querySelector(".back").addEventListener("click", () => step(-1));
viewer.querySelector(".on").addEventListener("click", () => step(1));
viewer.addEventListener("close", () => viewed && viewed.focus());
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
