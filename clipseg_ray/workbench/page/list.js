/* The list of queries: shown, changed, ordered, grouped and put below others by drag or in a form, undone, saved. */

import { send } from "./server.js";
import { key } from "./keys.js";

let queries = [];
let opened = new Set(); /* uids whose details are shown */
let bench = null;

/** All entries, in order. */
export const all = () => queries;

/** The entry of a uid, or null. */
export const of = (uid) => queries.find((each) => each.uid === uid) ?? null;

/** Show the list as the server has it: {queries, undo, redo}. */
export function show(list) {
  queries = list.queries;
  byId("undo").disabled = !list.undo;
  byId("redo").disabled = !list.redo;
  byId("empty").hidden = queries.length > 0;
  byId("save").hidden = queries.length === 0;
  const held = document.activeElement?.closest?.("#queries [data-uid]")?.dataset.uid, name = document.activeElement?.name;
  byId("queries").replaceChildren(...queries.flatMap((entry, place) => {
    const heads = entry.group !== null && entry.group !== queries[place - 1]?.group;
    return heads ? [groupName(entry.group), item(entry)] : [item(entry)];
  }));
  byId("queries").classList.remove("dragging"); /* what was dragged may be gone, and then no dragend comes */
  mark();
  if (held) {
    const again = byId("queries").querySelector(`[data-uid="${CSS.escape(held)}"]`);
    (again?.querySelector(name ? `[name="${CSS.escape(name)}"]` : ".pick") ?? again?.querySelector(".pick"))?.focus();
  }
}

function groupName(group) {
  const members = queries.filter((each) => each.group === group).length;
  return make("li", { class: "group-name" }, members > 1 ? `${group}: each pixel to the best of ${members}` : `${group}: alone so far`);
}

/** Mark which query is being looked at. */
export function mark() {
  const uid = bench.activeUid();
  for (const each of byId("queries").querySelectorAll("[data-uid]")) {
    const here = each.dataset.uid === uid;
    each.toggleAttribute("data-active", here);
    each.querySelector(".pick").setAttribute("aria-pressed", here);
  }
}

/** Change the list on the server, and show it; `asks`: whether the answers may be others now. */
export async function edit(method, path, body = undefined, asks = true) {
  const list = await bench.tried(() => send(method, path, body));
  if (list === undefined) return null;
  show(list);
  bench.edited(asks);
  return list;
}

function item(entry) {
  const pick = make("button", { type: "button", class: "pick", draggable: "true", title: entry.query_id }, make("b", {}, entry.query_id), make("span", {}, entry.expression ?? entry.words));
  pick.addEventListener("click", () => bench.look(entry.uid));
  const more = make("button", { type: "button", class: "more", "aria-expanded": opened.has(entry.uid), "aria-label": `Change ${entry.query_id}`, title: "Change" }, "⋯");
  more.addEventListener("click", () => {
    if (!opened.delete(entry.uid)) opened.add(entry.uid);
    show({ queries, undo: !byId("undo").disabled, redo: !byId("redo").disabled });
  });
  const node = make("li", { class: entry.group === null ? "entry" : "entry grouped", "data-uid": entry.uid },
    make("div", { class: "line" }, pick, make("span", { class: "limit", title: "Threshold" }, String(entry.threshold)), more),
    entry.suppress.length ? make("p", { class: "below" }, `only where above ${entry.suppress.join(", ")}`) : null,
    opened.has(entry.uid) ? details(entry) : null,
    targets(entry));
  pick.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData("application/x-clipseg-query", entry.uid);
    event.dataTransfer.effectAllowed = "move";
    setTimeout(() => {
      byId("queries").classList.add("dragging");
      node.classList.add("dragged");
    });
  });
  pick.addEventListener("dragend", () => {
    byId("queries").classList.remove("dragging");
    node.classList.remove("dragged");
  });
  return node;
}

function targets(entry) {
  const into = (words, act) => {
    const target = make("div", { class: words ? "onto" : "between" }, words);
    target.addEventListener("dragover", (event) => {
      event.preventDefault();
      target.classList.add("over");
    });
    target.addEventListener("dragleave", () => target.classList.remove("over"));
    target.addEventListener("drop", (event) => {
      event.preventDefault();
      const dragged = of(event.dataTransfer.getData("application/x-clipseg-query"));
      if (dragged && dragged.uid !== entry.uid) act(dragged);
    });
    return target;
  };
  const next = queries[queries.indexOf(entry) + 1]?.uid ?? null;
  return make("div", { class: "targets", "aria-hidden": "true" },
    into("", (dragged) => move(dragged, entry.uid)),
    into("one group", (dragged) => join(dragged, entry)),
    into("only where above this", (dragged) => yieldTo(dragged, [...new Set([...dragged.suppress, entry.query_id])])),
    into("", (dragged) => move(dragged, next)));
}

/** Put a query before the one of a uid, or last. In a group the first of equals gets the pixel, so it may answer anew. */
function move(entry, before) {
  if (entry.uid !== before) edit("POST", "order", { uid: entry.uid, before }, entry.group !== null);
}

/** Move a query up (-1) or down (1). */
function shift(entry, by) {
  const place = queries.indexOf(entry);
  if (by < 0 ? place > 0 : place < queries.length - 1) move(entry, queries[place + (by < 0 ? -1 : 2)]?.uid ?? null);
}

/** One group: a pixel goes to the best of its members. */
function join(dragged, entry) {
  const group = entry.group ?? `${entry.query_id}-group`;
  const into = { group, suppress: null };
  edit("PATCH", "queries", entry.group === null ? { [entry.uid]: into, [dragged.uid]: into } : { [dragged.uid]: into });
}

function yieldTo(dragged, names) {
  edit("PATCH", "queries", { [dragged.uid]: { suppress: names, group: null, weight: null } });
}

function details(entry) {
  const set = (changes, asks) => edit("PATCH", "queries", { [entry.uid]: changes }, asks);
  const field = (words, name, value, changes, attributes = {}) => {
    const input = make("input", { name, value: value ?? "", ...attributes });
    input.addEventListener("change", () => set(...changes(input.value.trim())));
    return make("label", {}, words, input);
  };
  const others = queries.filter((each) => each.uid !== entry.uid);
  const checks = others.map((each) => {
    const box = make("input", { type: "checkbox", value: each.query_id, name: `above ${each.query_id}` });
    box.checked = entry.suppress.includes(each.query_id);
    box.addEventListener("change", () => {
      const names = checks.map((label) => label.querySelector("input")).filter((one) => one.checked).map((one) => one.value);
      yieldTo(entry, names.length ? names : null);
    });
    return make("label", {}, box, each.query_id);
  });
  const button = (words, act, attributes = {}) => {
    const made = make("button", { type: "button", name: words, ...attributes }, words);
    made.addEventListener("click", act);
    return made;
  };
  const place = queries.indexOf(entry);
  return make("div", { class: "details" },
    field("Name", "query_id", entry.query_id, (value) => [{ query_id: value }, false]),
    field("Kind", "kind", entry.kind, (value) => [{ kind: value || null }, false]),
    field("Threshold", "threshold", entry.threshold, (value) => [{ threshold: value === "" ? null : +value }, true], { type: "number", min: "0.005", max: "0.995", step: "any" }),
    entry.expression === null ? field("Group", "group", entry.group, (value) => [value ? { group: value, suppress: null } : { group: null, weight: null }, true]) : null,
    entry.group === null ? null : field("Weight", "weight", entry.weight, (value) => [{ weight: value === "" ? null : +value }, true], { type: "number", min: "0.01", step: "any" }),
    entry.expression === null && checks.length ? make("fieldset", {}, make("legend", {}, "Only where above"), ...checks) : null,
    make("div", { class: "together" },
      place > 0 ? button("Up", () => shift(entry, -1), { title: "Move up (K)" }) : null,
      place < queries.length - 1 ? button("Down", () => shift(entry, 1), { title: "Move down (J)" }) : null,
      button("Delete", () => edit("DELETE", `queries/${entry.uid}`))));
}

async function save(body) {
  const saved = await bench.tried(() => send("POST", "save", body));
  if (saved === undefined) return;
  byId("saved").replaceChildren(make("span", {}, `Saved ${saved.saved}`), make("br", {}), "Next, where the workbench was started:", ...saved.next.map((each) => make("code", {}, each)));
}

function step(by) {
  const shown = [...byId("queries").querySelectorAll("[data-uid]")].map((each) => each.dataset.uid);
  const next = shown[shown.indexOf(bench.activeUid()) + by];
  if (next) bench.look(next);
}

/** `given`: what the list asks of the page (see workbench.js); `state`: what the server says at the start. */
export function start(given, state) {
  bench = given;
  byId("undo").addEventListener("click", () => edit("POST", "undo"));
  byId("redo").addEventListener("click", () => edit("POST", "redo"));
  byId("save").addEventListener("submit", (event) => {
    event.preventDefault();
    save({ name: byId("name").value.trim() });
  });
  if (state.over) {
    byId("over").hidden = false;
    byId("over").textContent = `Save over ${state.over}`;
    byId("over").addEventListener("click", () => save({ over: true }));
  }
  if (state.tableChanged) {
    byId("reopen").hidden = false;
    byId("reopen").textContent = "The table has changed since; open it again";
    byId("reopen").addEventListener("click", async () => {
      if (await edit("POST", "reopen")) byId("reopen").hidden = true;
    });
  }
  key("j", "next query", () => step(1));
  key("k", "previous query", () => step(-1));
  key("J", "move the query that is looked at down", () => of(bench.activeUid()) && shift(of(bench.activeUid()), 1));
  key("K", "move it up", () => of(bench.activeUid()) && shift(of(bench.activeUid()), -1));
  key("u", "undo", () => !byId("undo").disabled && edit("POST", "undo"));
  key("U", "redo", () => !byId("redo").disabled && edit("POST", "redo"));
  key("e", "change the query that is looked at", () => {
    const uid = bench.activeUid();
    if (!uid) return;
    opened.add(uid);
    show({ queries, undo: !byId("undo").disabled, redo: !byId("redo").disabled });
    byId("queries").querySelector(`[data-uid="${uid}"] [name=query_id]`).focus();
  });
  key("Delete", "delete the query that is looked at", () => bench.activeUid() && edit("DELETE", `queries/${bench.activeUid()}`));
  key("s", "save", () => byId("name").focus());
  show(state);
}
