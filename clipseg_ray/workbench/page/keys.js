/* Commands by key, and the list of them. */

const commands = new Map();

/** Register a command: `key` as a KeyboardEvent has it, `words` for the list of keys ("" for one that is not listed). */
export function key(name, words, act) {
  commands.set(name, { words, act });
}

/** Open a dialog with no button of it picked out. */
export function open(dialog) {
  dialog.showModal();
  dialog.focus();
}

const NAMES = { ArrowRight: "→", ArrowLeft: "←" };

function help() {
  const dialog = byId("help");
  const listed = [...commands].filter(([, { words }]) => words);
  dialog.querySelector("dl").replaceChildren(
    ...listed.flatMap(([name, { words }]) => [make("dt", {}, make("kbd", {}, NAMES[name] ?? name)), make("dd", {}, words)]));
  open(dialog);
}

function press(event) {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=range]):not([type=radio]), select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  const command = commands.get(event.key);
  if (command) {
    event.preventDefault();
    command.act();
  }
}

export function start() {
  key("t", "light or dark", LOOK_KEYS.t);
  key("m", "masks on or off", LOOK_KEYS.m);
  key("[", "fainter masks", LOOK_KEYS["["]);
  key("]", "stronger masks", LOOK_KEYS["]"]);
  key("?", "this list", help);
  document.addEventListener("keydown", press);
  heedLooks();
  byId("keys").addEventListener("click", help);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
}
