/* The images and what they answer: cards, best first, whose masks follow the threshold. */

import { inflated } from "./server.js";
import { key, open } from "./keys.js";

const cards = new Map();
const answers = new Map();
const visible = new Set();
let level = 0; /* place of the threshold among the borders */
let sorting = 0; /* the timer of the next order of the cards */
let sorted = () => {};

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const index = +target.dataset.index;
      if (isIntersecting) {
        visible.add(index);
        draw(index);
      } else {
        visible.delete(index);
      }
    }
  },
  { rootMargin: "300px" },
);

/** Show an image that has arrived. */
export function arrive(image) {
  if (cards.has(image.index)) return;
  const button = make("button", { type: "button", class: "card waiting", "data-index": image.index }, frame(image), make("p", {}, make("b", {}, "–"), make("span", {}, "")));
  button.style.setProperty("--ratio", image.width / image.height);
  button.addEventListener("click", () => view(image.index));
  cards.set(image.index, { button, image });
  byId("cards").append(button);
  label(image.index);
  near.observe(button);
}

function frame(image) {
  const box = make("div", { class: "frame" }, make("img", { alt: image.id, src: `thumbnails/${image.index}`, decoding: "async" }), make("canvas", { "aria-hidden": "true" }));
  box.style.setProperty("--ratio", image.width / image.height);
  return box;
}

/** Nothing is answered: another query is begun, or none is looked at. */
export function clear() {
  answers.clear();
  for (const index of cards.keys()) label(index);
  for (const index of visible) draw(index);
}

/** Take an image's answer; `current()` says whether its query is still being looked at. */
export async function take({ index, score, size, levels }, current) {
  const pixels = await inflated(levels);
  if (!current()) return;
  const above = new Uint32Array(257); /* pixels at a level or higher */
  for (const each of pixels) above[each]++;
  for (let at = 255; at >= 0; at--) above[at] += above[at + 1];
  answers.set(index, { score, size, pixels, above });
  label(index);
  if (visible.has(index)) draw(index);
  sorting ||= setTimeout(sort, SOON);
}

/** Put the threshold at a place among the borders. */
export function setLevel(place) {
  level = place;
  for (const index of answers.keys()) label(index);
  for (const index of visible) draw(index);
  if (byId("viewer").open) draw(viewed, byId("viewer").querySelector(".frame"));
}

/** How many images have answered, and in how many of them something is found. */
export function counts() {
  let found = 0;
  for (const { above } of answers.values()) found += above[level + 1] > 0;
  return { answered: answers.size, found };
}

/** By image, the greatest probability. */
export const scores = () => new Map([...answers].map(([index, answer]) => [index, answer.score]));

function label(index) {
  if (!cards.has(index)) return; /* it has answered before it has arrived */
  const { button } = cards.get(index), answer = answers.get(index);
  const [first, second] = button.querySelector("p").children;
  button.classList.toggle("waiting", answer === undefined);
  const inside = answer ? answer.above[level + 1] : 0;
  button.classList.toggle("off", answer !== undefined && inside === 0);
  first.textContent = answer ? score(answer.score) : "–";
  second.textContent = answer ? (inside ? percent(inside / answer.pixels.length) : "empty") : "";
}

function draw(index, box = cards.get(index).button) {
  const canvas = box.querySelector("canvas"), answer = answers.get(index);
  if (!answer) {
    canvas.width = canvas.height = 1;
    return;
  }
  const inside = new Uint8Array(answer.pixels.length);
  for (let at = 0; at < inside.length; at++) inside[at] = answer.pixels[at] > level;
  paintPixels(canvas, inside, answer.size, maskColour());
}

const SOON = 120; /* milliseconds: many answers come at once, and every order of the cards is laid out anew */

/** Put the cards in the order of their scores. */
export function sort() {
  clearTimeout(sorting);
  sorting = 0;
  const worth = ({ image }) => answers.get(image.index)?.score ?? -1;
  const wanted = [...cards.values()].sort((one, other) => worth(other) - worth(one) || one.image.index - other.image.index);
  const held = document.activeElement;
  wanted.forEach(({ button }, place) => {
    const there = byId("cards").children[place];
    if (there !== button) byId("cards").insertBefore(button, there);
  });
  if (held && held !== document.activeElement && held.matches(".card")) held.focus({ preventScroll: true });
  sorted();
}

let viewed = 0;

function view(index) {
  const { image } = cards.get(index), answer = answers.get(index), dialog = byId("viewer");
  viewed = index;
  dialog.querySelector("figure").replaceChildren(frame(image));
  const width = Math.min(innerWidth > 960 ? innerWidth * 0.94 - 360 : innerWidth * 0.94 - 48, ((innerHeight * 0.9 - 60) * image.width) / image.height);
  dialog.querySelector(".frame").style.width = `${Math.round(width)}px`;
  draw(index, dialog.querySelector(".frame"));
  dialog.querySelector("h2").textContent = image.id;
  const inside = answer ? answer.above[level + 1] : 0;
  const facts = [["size", `${image.width} × ${image.height} px`], ["score", answer ? score(answer.score) : "–"], ["covered", inside ? percent(inside / answer.pixels.length) : "nothing"]];
  dialog.querySelector("dl").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const all = [...byId("cards").children];
  dialog.querySelector(".steps span").textContent = `${all.findIndex((each) => +each.dataset.index === index) + 1} of ${all.length}`;
  if (!dialog.open) open(dialog);
}

function step(by) {
  const all = [...byId("cards").children];
  if (byId("viewer").open) {
    const next = all[all.findIndex((each) => +each.dataset.index === viewed) + by];
    if (next) view(+next.dataset.index);
  } else {
    const next = all[Math.max(-1, all.indexOf(document.activeElement)) + by];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    }
  }
}

/** `use(index)`: an image of the sample becomes the picture that is asked for. `whenSorted()` is called now and then while answers come. */
export function start(use, whenSorted) {
  sorted = whenSorted;
  key("ArrowRight", "next image", () => step(1));
  key("ArrowLeft", "previous image", () => step(-1));
  byId("viewer").querySelector(".back").addEventListener("click", () => step(-1));
  byId("viewer").querySelector(".on").addEventListener("click", () => step(1));
  byId("viewer").addEventListener("close", () => cards.get(viewed)?.button.focus());
  byId("use").addEventListener("click", () => {
    byId("viewer").close();
    use(viewed);
  });
}
