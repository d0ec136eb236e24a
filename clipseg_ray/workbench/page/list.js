/* The list of queries: shown, changed, grouped and put below others by drag or in a form, undone, saved. */

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
  const groups = Map.groupBy ? Map.groupBy(queries, (each) => each.group) : grouped();
  const items = [];
  for (const [group, members] of groups) {
    if (group !== null) items.push(make("li", { class: "group-name" }, members.length > 1 ? `${group}: each pixel to the best of ${members.length}` : `${group}: alone so far`));
    items.push(...members.map(item));
  }
  byId("queries").replaceChildren(...items);
  byId("queries").classList.remove("dragging"); /* what was dragged may be gone, and then no dragend comes */
  mark();
  if (held) {
    const again = byId("queries").querySelector(`[data-uid="${CSS.escape(held)}"]`);
    (again?.querySelector(name ? `[name="${CSS.escape(name)}"]` : ".pick") ?? again?.querySelector(".pick"))?.focus();
  }
}

function grouped() {
  const found = new Map();
  for (const each of queries) found.set(each.group, [...(found.get(each.group) ?? []), each]);
  return found;
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
  const pick = make("button", { type: "button", class: "pick", draggable: "true" }, make("b", {}, entry.query_id), make("span", {}, entry.expression ?? entry.words));
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
    const target = make("div", {}, words);
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
  return make("div", { class: "targets", "aria-hidden": "true" },
    into("one group", (dragged) => join(dragged, entry)),
    into("only where above this", (dragged) => yieldTo(dragged, [...new Set([...dragged.suppress, entry.query_id])])));
}

/** One group: a pixel goes to the best of its members. */
function join(dragged, entry) {
  const group = entry.group ?? `${entry.query_id}-group`;
  const into = { group, suppress: null };
  edit("PATCH", "queries", entry.group === null ? { [dragged.uid]: into, [entry.uid]: into } : { [dragged.uid]: into });
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
  const gone = make("button", { type: "button" }, "Delete");
  gone.addEventListener("click", () => edit("DELETE", `queries/${entry.uid}`));
  return make("div", { class: "details" },
    field("Name", "query_id", entry.query_id, (value) => [{ query_id: value }, false]),
    field("Kind", "kind", entry.kind, (value) => [{ kind: value || null }, false]),
    field("Threshold", "threshold", entry.threshold, (value) => [{ threshold: value === "" ? null : +value }, true], { type: "number", min: "0.005", max: "0.995", step: "any" }),
    entry.expression === null ? field("Group", "group", entry.group, (value) => [value ? { group: value, suppress: null } : { group: null, weight: null }, true]) : null,
    entry.group === null ? null : field("Weight", "weight", entry.weight, (value) => [{ weight: value === "" ? null : +value }, true], { type: "number", min: "0.01", step: "any" }),
    entry.expression === null && checks.length ? make("fieldset", {}, make("legend", {}, "Only where above"), ...checks) : null,
    gone);
}

async function save(body) {
  const saved = await bench.tried(() => send("POST", "save", body));
  if (saved === undefined) return;
  byId("saved").replaceChildren(make("span", {}, `Saved ${saved.saved}`), ...(saved.next ? [make("br", {}), make("code", {}, saved.next)] : []));
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
