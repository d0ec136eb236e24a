/* The page: what is asked, the threshold, what is remembered. */

import { send, events } from "./server.js";
import * as grid from "./grid.js";
import * as list from "./list.js";
import * as picture from "./picture.js";
import * as keys from "./keys.js";
import * as verdicts from "./verdicts.js";

const state = await send("GET", "state");
const images = [];
const listeners = new Map();
let active = null; /* uid of the query of the list that is looked at; null for what stands in the form */
let wished = state.threshold; /* where the threshold was put */
let borders = [];
let asking = null;

const emit = (name) => (listeners.get(name) ?? []).forEach((each) => each());

/** Run what may be refused, and say why; undefined then. */
async function tried(act) {
  try {
    const value = await act();
    say("");
    return value ?? null;
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
    return undefined;
  }
}

function say(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
}

/* What stands in the form. */

function draft() {
  const text = byId("prompt").value.trim(), shown = picture.meant();
  if (!text && !shown) return null;
  return {
    ...(text ? { text } : {}),
    ...(shown ? { picture: shown } : {}),
    ...(text && shown ? { alpha: +byId("alpha").value } : {}),
    ...(picture.isPart() ? { mode: byId("mode").value } : {}),
  };
}

function form() {
  const both = byId("prompt").value.trim() !== "" && picture.meant() !== null;
  byId("blend").hidden = !both;
  byId("share").textContent = percent(+byId("alpha").value);
  byId("mode").parentElement.hidden = !picture.isPart();
}

function fill(query) {
  byId("prompt").value = query.text.join(" | ");
  byId("alpha").value = query.alpha ?? 0.5;
  byId("mode").value = query.mode?.split("(")[0] ?? state.mode;
  if (byId("mode").value === "") byId("mode").value = state.mode;
  picture.set(query.picture, { ...query.picture, quiet: true });
  form();
}

/* Asking. */

async function ask(body, words) {
  asking?.abort();
  const own = (asking = new AbortController());
  const current = () => asking === own;
  byId("asked").textContent = words;
  byId("add").disabled = active !== null;
  emit("active");
  remember();
  const taken = [];
  await tried(async () => {
    await events("POST", "ask", body, own.signal, (name, value) => {
      if (!current()) return;
      if (name === "begin") {
        borders = value.borders;
        grid.clear();
        byId("threshold-row").hidden = false;
        setThreshold(active === null ? wished : value.threshold);
      } else if (name === "answer") {
        taken.push(grid.take(value, current));
      } else if (value.fault) {
        say(value.fault);
      }
    });
    await Promise.all(taken);
  });
  if (current()) {
    grid.sort();
    report();
    emit("answers");
    byId("answers").setAttribute("data-done", words);
  }
}

/** Ask what stands in the form. */
function askDraft() {
  const query = draft();
  active = null;
  list.mark();
  if (query === null) return;
  byId("answers").removeAttribute("data-done");
  ask({ query }, [query.text, query.picture ? "a picture" : null].filter(Boolean).join(" and "));
}

/** Look at a query of the list. */
function look(uid) {
  const query = list.of(uid);
  if (query === null) return;
  active = uid;
  list.mark();
  fill(query);
  byId("answers").removeAttribute("data-done");
  ask({ uid }, query.query_id);
}

/** The list was changed: what is looked at may be another query now, or be gone. */
function edited(asks) {
  if (active === null) return;
  if (list.of(active) === null) {
    active = null;
    asking?.abort();
    grid.clear();
    byId("asked").textContent = "The images";
    byId("add").disabled = draft() === null;
    report();
    emit("active");
    remember();
  } else if (asks) {
    look(active);
  } else {
    byId("asked").textContent = list.of(active).query_id;
  }
}

async function add() {
  const query = draft();
  if (active !== null || query === null) return;
  const added = await list.edit("POST", "queries", { ...query, threshold: threshold() }, false);
  if (added) look(added.uid);
}

/* The threshold. */

const threshold = () => borders[+byId("threshold").value] ?? wished;

function setThreshold(value) {
  const nearest = borders.reduce((best, each, place) => (Math.abs(each - value) < Math.abs(borders[best] - value) ? place : best), 0);
  byId("threshold").max = borders.length - 1;
  byId("threshold").value = nearest;
  slid();
}

function slid() {
  const place = +byId("threshold").value;
  byId("at").textContent = String(borders[place] ?? wished);
  byId("threshold").setAttribute("aria-valuetext", String(borders[place] ?? wished));
  grid.setLevel(place);
  report();
  emit("threshold");
}

function settled() {
  wished = threshold();
  remember();
  if (active !== null && list.of(active).threshold !== wished) {
    list.edit("PATCH", "queries", { [active]: { threshold: wished } }, false);
  }
}

function report() {
  const { answered, found } = grid.counts(), all = images.length;
  byId("found").textContent = answered ? `found in ${found} of ${answered}${answered < all ? `; ${all - answered} to come` : ""}` : "";
}

/* What is remembered when the page is opened again. */

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(keep, 300);
}

function keep() {
  remembering = 0;
  const view = { active, text: byId("prompt").value, picture: picture.kept(), alpha: +byId("alpha").value, mode: byId("mode").value, threshold: wished };
  send("PUT", "view", view).catch((error) => say(error.message));
}

function recall(view) {
  if (typeof view.threshold === "number") wished = view.threshold;
  if (view.active && list.of(view.active)) {
    look(view.active);
  } else if (view.text || view.picture) {
    fill({ text: view.text ? [view.text] : [], alpha: view.alpha, mode: view.mode, picture: view.picture });
    askDraft();
  }
}

/* Images, as they arrive. */

async function arrivals() {
  let missing = 0;
  await tried(() =>
    events("GET", "images", undefined, undefined, (name, value) => {
      if (name === "image" && value.status === "ok") {
        images.push(value);
        grid.arrive(value);
      } else if (name === "image") {
        missing++;
        console.info(`${value.id}: ${value.status}, ${value.error}`);
      }
      const left = missing ? `; ${missing} cannot be read` : "";
      const arrived = images.length + missing;
      byId("summary").textContent = `${arrived < value.total ? `${arrived} of ${value.total}` : arrived} images of ${state.place} · ${state.model}${left}`;
      if (name === "end" && value.fault) throw new Error(value.fault);
      report();
    }));
}

function dropping() {
  let inside = 0;
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragenter", (event) => holds(event) && ((byId("dropping").hidden = false), inside++));
  document.addEventListener("dragleave", (event) => holds(event) && --inside <= 0 && ((byId("dropping").hidden = true), (inside = 0)));
  document.addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    inside = 0;
    byId("dropping").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) tried(() => picture.drop(file));
  });
}

function later(act, after) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, after);
  };
}

function listen() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    askDraft();
  });
  const soon = later(askDraft, 150);
  byId("prompt").addEventListener("input", () => {
    active = null;
    list.mark();
    byId("add").disabled = draft() === null;
    form();
  });
  byId("alpha").addEventListener("input", () => {
    form();
    soon();
  });
  byId("mode").addEventListener("change", askDraft);
  byId("add").addEventListener("click", add);
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", () => {
    const [file] = byId("file").files;
    byId("file").value = "";
    if (file) tried(() => picture.drop(file));
  });
  byId("threshold").addEventListener("input", slid);
  byId("threshold").addEventListener("change", settled);
  const move = (by) => {
    byId("threshold").value = +byId("threshold").value + by;
    slid();
    settledSoon();
  };
  const settledSoon = later(settled, 400);
  keys.key("/", "the prompt", () => byId("prompt").focus());
  keys.key("p", "a picture", () => byId("choose").click());
  keys.key("a", "add to the list", add);
  keys.key("-", "lower threshold", () => move(-1));
  keys.key("+", "higher threshold", () => move(1));
  dropping();
  addEventListener("pagehide", () => remembering && keep());
}

restoreTheme();
document.title = `${state.place} · workbench`;
if (state.caution) {
  byId("caution").textContent = state.caution;
  byId("caution").hidden = false;
}
byId("mode").append(...state.modes.map((name) => make("option", { value: name }, name)));
byId("mode").value = state.mode;
keys.start();
grid.start((index) => tried(() => picture.ofSample(index)), report);
picture.start(() => {
  form();
  byId("add").disabled = draft() === null;
  askDraft();
});
list.start({ activeUid: () => active, look, edited, tried }, state);
form();
listen();
const arrived = arrivals();
recall(state.view);

/** What further parts of the page work with. */
const bench = {
  panel: byId("verdicts"),
  images,
  arrived,
  thumbnail: (index) => `thumbnails/${index}`,
  active: () => list.of(active),
  scores: grid.scores,
  threshold,
  setThreshold(value) {
    setThreshold(value);
    settled();
  },
  send: (method, path, body) => send(method, path, body),
  on: (name, act) => listeners.set(name, [...(listeners.get(name) ?? []), act]),
  key: keys.key,
};
verdicts.start(bench);
