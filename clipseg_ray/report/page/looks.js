/* How the page looks: masks on or off, their opacity, light or dark. */

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

function setMasks(on) {
  byId("masks").checked = on;
  document.body.classList.toggle("no-masks", !on);
}

function setOpacity(value) {
  byId("opacity").value = value;
  root.style.setProperty("--mask-opacity", byId("opacity").value / 100);
}

function setTheme(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem("clipseg-ray-theme", theme);
  } catch {
    /* a page opened from a file may have no storage; the choice then lasts as long as the page */
  }
}

function restoreTheme() {
  try {
    const kept = localStorage.getItem("clipseg-ray-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {
    /* see setTheme */
  }
}

function otherTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(dark ? "light" : "dark");
}

/** How masks are painted: a name that `paintLayers` knows. Whoever has painted some hears of it by the document's event "look". */
let look = "fill";
const LOOKS = ["outline", "fill", "dim"];

function setLook(value) {
  look = value;
  document.body.dataset.look = value;
  for (const choice of document.querySelectorAll("input[name=look]")) choice.checked = choice.value === value;
  document.dispatchEvent(new Event("look"));
}

/** The keys for it, the same on every page. */
const LOOK_KEYS = {
  m: () => setMasks(!byId("masks").checked),
  "[": () => setOpacity(+byId("opacity").value - 10),
  "]": () => setOpacity(+byId("opacity").value + 10),
  t: otherTheme,
};

/** Heed the controls in the bar. */
function heedLooks() {
  byId("masks").addEventListener("change", (event) => setMasks(event.target.checked));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value));
  byId("theme").addEventListener("click", otherTheme);
}

/** Heed the keys too, where a page has no others. */
function heedLookKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !LOOK_KEYS[event.key]) return;
    event.preventDefault();
    LOOK_KEYS[event.key]();
  });
}
