/* A picture prompt: a picture with a box, something painted, or all of it. */

import { send } from "./server.js";

let picture = null; /* {id, width, height} */
let changed = () => {};
let painted = false;

const tool = () => document.querySelector("input[name=tool]:checked").value;
const number_of = (name) => byId("box").querySelector(`[name=${name}]`);
const box = () => ["x", "y", "w", "h"].map((name) => Math.round(+number_of(name).value) || 0);

/** What is meant, as the server takes it; null where there is no picture. */
export function meant() {
  if (picture === null) return null;
  if (tool() === "box") return { id: picture.id, box: box() };
  if (tool() === "brush" && painted) return { id: picture.id, painted: runs() };
  return { id: picture.id };
}

/** Whether it is a part of the picture that is meant, so that a mode says how the model sees it. */
export const isPart = () => picture !== null && (tool() === "box" || (tool() === "brush" && painted));

/** Take a picture that is kept, {id, width, height}, with what is meant in it: `tool` and a `box`, COCO's `counts` or `painted` runs; null for none. */
export function set(kept, { tool: name = "box", box: given = null, counts = null, painted: drawn = null, quiet = false } = {}) {
  picture = kept;
  byId("picture").hidden = kept === null;
  if (kept) {
    byId("prompted").src = `pictures/${kept.id}`;
    byId("editor").style.setProperty("--ratio", kept.width / kept.height);
    const canvas = byId("marked"), scale = Math.min(1, 512 / Math.max(kept.width, kept.height));
    canvas.width = Math.max(1, Math.round(kept.width * scale));
    canvas.height = Math.max(1, Math.round(kept.height * scale));
    painted = false;
    const half = [kept.width / 4, kept.height / 4, kept.width / 2, kept.height / 2];
    setBox(given ?? half);
    choose(name);
    if (name === "brush" && counts) unpaint(counts, kept.height, kept.width);
    if (name === "brush" && drawn) unpaint(drawn.runs, ...drawn.size);
    redraw();
  }
  if (!quiet) changed();
}

/** Send a picture's bytes and take it. Throws an Error that says why it is none. */
export async function drop(file) {
  set(await send("POST", "pictures", file));
}

/** Take an image of the sample. */
export async function ofSample(index) {
  set(await send("POST", `pictures/of/${index}`));
}

function setBox(values) {
  ["x", "y", "w", "h"].forEach((name, place) => (number_of(name).value = Math.round(values[place])));
}

function choose(name) {
  document.querySelector(`input[name=tool][value=${name}]`).checked = true;
  show();
}

function show() {
  byId("box").hidden = tool() !== "box";
  byId("brush").hidden = tool() !== "brush";
}

const pen = () => byId("marked").getContext("2d", { willReadFrequently: true });
let strokes = null; /* what is painted, apart from the box that may be shown instead */

function redraw() {
  const canvas = byId("marked"), at = pen();
  const [red, green, blue] = maskColour();
  at.clearRect(0, 0, canvas.width, canvas.height);
  at.fillStyle = `rgb(${red} ${green} ${blue})`;
  if (tool() === "box") {
    const across = canvas.width / picture.width, down = canvas.height / picture.height, [x, y, w, h] = box();
    at.fillRect(x * across, y * down, w * across, h * down);
  } else if (tool() === "brush" && painted) {
    at.putImageData(strokes, 0, 0);
  }
}

/** Painted pixels as COCO's run lengths: column by column, background first. */
function runs() {
  const { width, height, data } = strokes, found = [];
  let inside = 0, run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const here = data[4 * (y * width + x) + 3] > 127 ? 1 : 0;
      if (here !== inside) {
        found.push(run);
        run = 0;
        inside = here;
      }
      run++;
    }
  }
  found.push(run);
  return { size: [height, width], runs: found };
}

/** Paint what COCO's run lengths of a mask say, compressed or as numbers. */
function unpaint(counts, height, width) {
  const canvas = byId("marked"), whole = pixelsOf(counts, height, width);
  const image = new ImageData(canvas.width, canvas.height), [red, green, blue] = maskColour();
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const from = Math.floor(((y + 0.5) * height) / canvas.height) * width + Math.floor(((x + 0.5) * width) / canvas.width);
      if (whole[from]) image.data.set([red, green, blue, 255], 4 * (y * canvas.width + x));
    }
  }
  strokes = image;
  painted = true;
}

function follow(editor) {
  let from = null;
  const at = (event) => {
    const place = editor.getBoundingClientRect();
    return [Math.min(1, Math.max(0, (event.clientX - place.left) / place.width)), Math.min(1, Math.max(0, (event.clientY - place.top) / place.height))];
  };
  const move = (event) => {
    const [x, y] = at(event);
    if (tool() === "box") {
      const across = picture.width, down = picture.height;
      setBox([Math.min(from[0], x) * across, Math.min(from[1], y) * down, Math.max(1, Math.abs(x - from[0]) * across), Math.max(1, Math.abs(y - from[1]) * down)]);
      redraw();
    } else {
      stroke(from, [x, y], event.shiftKey);
      from = [x, y];
    }
  };
  editor.addEventListener("pointerdown", (event) => {
    if (tool() === "whole") return;
    event.preventDefault();
    editor.setPointerCapture(event.pointerId);
    from = at(event);
    if (tool() === "brush") stroke(from, from, event.shiftKey);
  });
  editor.addEventListener("pointermove", (event) => from && move(event));
  for (const name of ["pointerup", "pointercancel"]) {
    editor.addEventListener(name, () => {
      if (from) changed();
      from = null;
    });
  }
}

function stroke([x0, y0], [x1, y1], away) {
  const canvas = byId("marked"), at = pen(), [red, green, blue] = maskColour();
  at.globalCompositeOperation = away ? "destination-out" : "source-over";
  at.strokeStyle = `rgb(${red} ${green} ${blue})`;
  at.lineCap = "round";
  at.lineWidth = +byId("width").value;
  at.beginPath();
  at.moveTo(x0 * canvas.width, y0 * canvas.height);
  at.lineTo(x1 * canvas.width + 0.01, y1 * canvas.height);
  at.stroke();
  at.globalCompositeOperation = "source-over";
  strokes = at.getImageData(0, 0, canvas.width, canvas.height);
  painted = strokes.data.some((value, place) => place % 4 === 3 && value > 127);
}

/** `whenChanged()` is called when something else is meant. */
export function start(whenChanged) {
  changed = whenChanged;
  follow(byId("editor"));
  for (const each of document.querySelectorAll("input[name=tool]")) {
    each.addEventListener("change", () => {
      show();
      redraw();
      changed();
    });
  }
  byId("box").addEventListener("change", () => {
    redraw();
    changed();
  });
  byId("wipe").addEventListener("click", () => {
    painted = false;
    redraw();
    changed();
  });
  byId("drop").addEventListener("click", () => set(null));
}

/** The picture and what is meant in it, as `set` takes them again; null where there is none. */
export function kept() {
  if (picture === null) return null;
  const { id, width, height } = picture, drawn = tool() === "brush" && painted;
  return { id, width, height, tool: tool(), box: tool() === "box" ? box() : null, painted: drawn ? runs() : null };
}
