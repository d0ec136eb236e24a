/* Verdicts: "is it there?" of some images, and what the answers say of all, at every threshold. */

let bench = null;
let shown = null; /* {uid, ...} as the server describes it */
let asking = false; /* whether an image is being asked about */
let opened = false;
let current = null; /* uid that is asked for, so that answers on another are dropped */
let wish = "90"; /* as it stands in its field: so many of a hundred images found shall be right */

const share = ([value, low, high]) => `${percent(value)} (${percent(low)} to ${percent(high)})`;

/** Build the panel into `given.panel`; it belongs to the query of the list that is looked at. */
export function start(given) {
  bench = given;
  bench.panel.setAttribute("aria-labelledby", "verdicts-title");
  bench.on("active", activated);
  bench.on("answers", refresh);
  bench.on("threshold", atThreshold);
  bench.key("y", "verdict: it is there", () => asking && say(true));
  bench.key("n", "verdict: it is not there", () => asking && say(false));
  bench.key("x", "verdict: cannot say", () => asking && say(null));
  bench.key("b", "verdict: take the last one back", () => asking && back());
  activated();
}

function activated() {
  const query = bench.active();
  if (query?.uid !== current) {
    current = query?.uid ?? null;
    shown = null;
    asking = false;
  }
  bench.panel.hidden = current === null;
  if (current !== null) draw();
}

async function refresh() {
  if (current === null || !opened) return;
  const uid = current, right = wished();
  await tried(async () => take(uid, await bench.send("GET", `verdicts/${uid}${right === null ? "" : `?right=${right}`}`)));
}

function take(uid, value) {
  if (uid !== current) return;
  shown = value;
  if (!value.next.length) asking = false;
  draw();
}

async function say(there) {
  const uid = current, [index] = shown.next;
  if (index === undefined) return;
  shown.next = []; /* until the answer, so that no key is counted twice */
  await tried(async () => take(uid, await bench.send("POST", `verdicts/${uid}`, { index, there, right: wished() })));
}

async function back() {
  const uid = current;
  await tried(async () => take(uid, await bench.send("POST", `verdicts/${uid}`, { back: true, right: wished() })));
}

async function tried(act) {
  const fault = bench.panel.querySelector(".fault");
  try {
    await act();
  } catch (error) {
    if (fault) {
      fault.textContent = error.message;
      fault.hidden = false;
    }
  }
}

/** The wished share of right images, or null for none. */
const wished = () => (+wish > 0 && +wish < 100 ? +wish / 100 : null);

function button(words, key, act, kind = "") {
  const made = make("button", { type: "button", class: kind, title: `${words} (${key})` }, words);
  made.addEventListener("click", act);
  return made;
}

function draw() {
  const query = bench.active(), held = document.activeElement?.dataset?.verdict;
  const details = make("details", {}, make("summary", {}, make("h2", { id: "verdicts-title" }, "Which images are right?")));
  details.open = opened;
  details.addEventListener("toggle", () => {
    if (details.open === opened) return;
    opened = details.open;
    if (opened) refresh();
    else asking = false;
  });
  details.append(
    make("p", { class: "muted small" },
      "Say of some images whether it is there, and this estimates for all which of the images found are right, and which of the right ones are found. It is about images; which pixels are right, it does not tell."),
    make("p", { class: "note fault", role: "alert", hidden: "" }));
  if (shown) details.append(question(query), results(), proposals(), kept());
  bench.panel.replaceChildren(details);
  if (held) bench.panel.querySelector(`[data-verdict="${held}"]`)?.focus({ preventScroll: true });
  atThreshold();
}

function question(query) {
  const counted = make("p", { class: "small", role: "status" },
    `${shown.verdicts} verdict${shown.verdicts === 1 ? "" : "s"} of ${shown.wanted} asked for, ${shown.there} of them there`);
  if (!shown.next.length) return make("div", {}, counted, shown.verdicts ? backButton() : null);
  if (!asking) {
    const words = shown.verdicts === 0 ? "Begin" : shown.verdicts < shown.wanted ? "Go on" : "Ask more";
    const begin = button(words, "Enter", () => {
      asking = true;
      draw();
      bench.panel.querySelector('[data-verdict="yes"]').focus({ preventScroll: true });
    }, "primary");
    begin.dataset.verdict = "begin";
    return make("div", {}, counted, begin);
  }
  const [index] = shown.next, image = bench.images.find((each) => each.index === index);
  for (const later of shown.next.slice(1)) new Image().src = bench.thumbnail(later);
  const yes = button("There", "y", () => say(true), "primary"), no = button("Not there", "n", () => say(false));
  const unsure = button("Cannot say", "x", () => say(null));
  [yes.dataset.verdict, no.dataset.verdict, unsure.dataset.verdict] = ["yes", "no", "unsure"];
  return make("div", { class: "judged" },
    make("figure", {},
      make("img", { src: bench.thumbnail(index), alt: image?.id ?? "" }),
      make("figcaption", {}, "Is it there: ", make("b", {}, query.query_id), query.words === query.query_id ? "?" : ` (${query.words})?`)),
    make("div", { class: "together" }, yes, no, unsure, shown.last === null ? null : backButton()),
    counted);
}

function backButton() {
  const made = button("Take the last one back", "b", back);
  made.dataset.verdict = "back";
  return made;
}

function results() {
  if (!shown.at) return make("p", { class: "muted small" }, "An estimate needs both: an image in which it is there, and one in which it is not.");
  return make("p", { class: "at", "aria-live": "polite" });
}

/** The shares at the threshold where the slider is; between two thresholds that verdicts tell apart nothing changes. */
function atThreshold() {
  const line = bench.panel.querySelector(".at"), at = bench.threshold();
  if (!line) return;
  const { threshold, right, found } = shown.at;
  const place = threshold.filter((each) => each <= at).length - 1;
  const above = [...bench.scores().values()].filter((each) => each > at).length;
  line.textContent = place < 0 || !above
    ? `At ${at}: ${place < 0 ? "all images are found" : "no image is found"}.`
    : `At ${at}, ${above} of ${shown.images} images are found. Right of these: ${share(right[place])}. Found of the right ones: ${share(found[place])}.`;
}

function proposals() {
  if (!shown.at) return "";
  const field = make("input", { type: "number", id: "wished", min: "1", max: "99", step: "1", value: wish });
  field.dataset.verdict = "wished";
  field.addEventListener("change", () => {
    wish = field.value;
    refresh();
  });
  return make("div", { class: "proposals" },
    make("div", {}, make("h3", {}, "Balanced"), ...proposal(shown.balanced, "")),
    make("div", {}, make("h3", {}, make("label", {}, "So many of those found are right, in percent ", field)),
      ...proposal(shown.wished, wished() === null ? "Give a number between 0 and 100." : "At no threshold are so many right, as far as the verdicts go.")));
}

function proposal(found, otherwise) {
  if (found === null) return [make("p", {}, otherwise)];
  const put = button(`Put the threshold at ${score(found.threshold)}`, "Enter", () => bench.setThreshold(found.threshold));
  put.dataset.verdict = otherwise ? "put-wished" : "put-balanced";
  const [low, high] = found.bounds;
  return [
    make("p", {}, `Threshold ${score(found.threshold)} (${score(low)} to ${score(high)}): ${found.images} images found; right of these ${share(found.right)}, found of the right ones ${share(found.found)}.`),
    put,
  ];
}

function kept() {
  return make("p", { class: "muted small" },
    shown.at ? "In brackets: 95 % intervals. " : "", "The threshold of this page moves the pixels of masks too; to keep both apart, ",
    make("code", {}, `clipseg-ray tune TABLE --verdicts '${shown.file}' -o TABLE2`), " writes a column image_threshold instead.");
}
