/* Images with masks over them, painted while they are near the window. */

const page = JSON.parse(byId("data").textContent);

/** By query of the page, the threshold at which its masks are drawn; where it is the query's own they are the dataset's masks. */
const limits = page.queries.map((query) => query.threshold);
const moved = (sample) => sample.heat && limits[sample.query] !== page.queries[sample.query].threshold;

const POINTED_AT = 4; /* of more masks on one image corners would be a thicket */

const framed = new WeakMap();
const visible = new Set();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        visible.add(target);
        draw(target);
      } else {
        visible.delete(target);
        const canvas = target.querySelector("canvas");
        if (canvas) canvas.width = canvas.height = 0; /* thousands of painted masks would be gigabytes */
      }
    }
  },
  { rootMargin: "600px" },
);

/**
 * An image with masks over it. `shows(mask)` says which are drawn; `told({colours, areas})` hears of each painting: the masks' colours,
 * [red, green, blue], and the pixels inside of those that were drawn, null for others.
 */
function frame(picture, masks, words, { shows = () => true, told = () => {} } = {}) {
  const box = make("div", { class: "frame" });
  box.style.setProperty("--ratio", picture.width / picture.height);
  if (picture.src) box.append(make("img", { alt: words, decoding: "async" }));
  else box.classList.add("gone");
  if (masks.length) box.append(make("canvas", { "aria-hidden": "true" }));
  framed.set(box, { picture, masks, shows, told, colours: null });
  near.observe(box);
  return box;
}

/** Paint those again that are near the window; the others are painted when they come near. */
function redraw(which = () => true) {
  for (const box of [...visible]) {
    if (!box.isConnected) visible.delete(box);
    else if (which(framed.get(box).masks)) draw(box);
  }
}

async function draw(box) {
  const own = framed.get(box), image = box.querySelector("img"), canvas = box.querySelector("canvas");
  if (image) {
    if (!image.src) image.src = own.picture.src;
    await image.decode().catch(() => {});
  }
  if (!canvas) return;
  own.colours ??= coloursFor(own, image);
  const drawn = own.masks.map((mask) => own.shows(mask));
  const pixels = await Promise.all(own.masks.map((mask, at) => (drawn[at] ? inside(mask) : null)));
  const areas = pixels.map((each) => each && each.reduce((sum, one) => sum + one, 0));
  const layers = pixels.map((each, at) => ({ pixels: each, colour: own.colours[at], area: areas[at] })).filter(({ area }) => area);
  if (!layers.length) canvas.width = canvas.height = 0;
  else {
    layers.sort((one, other) => other.area - one.area); /* the small ones on top */
    const pen = paintLayers(canvas, layers, own.masks[0].size, look);
    if (layers.length <= POINTED_AT) {
      own.masks.forEach((mask, at) => {
        if (areas[at] && mask.box && !moved(mask) && mask.coverage < TINY) pointAt(pen, onCanvas(mask));
      });
    }
  }
  own.told({ colours: own.colours, areas });
}

/** A mask's box in pixels of its canvas. */
function onCanvas({ box: [x, y, w, h], size, grid }) {
  const down = size[0] / grid[0], across = size[1] / grid[1];
  return [x * across, y * down, w * across, h * down];
}

/** One mask's colour stands off what lies around it, those of several off the image, each another while there are others. */
function coloursFor({ masks }, image) {
  if (!image?.naturalWidth) return masks.map((_, at) => (masks.length > 1 ? STANDING_OFF[at % STANDING_OFF.length] : maskColour()));
  if (masks.length > 1) {
    const colours = coloursOff(image);
    return masks.map((_, at) => colours[at % colours.length]);
  }
  const [mask] = masks;
  if (!mask.box || !mask.area) return [coloursOff(image)[0]];
  const [x, y, w, h] = onCanvas(mask), [height, width] = mask.size, away = 0.08;
  const left = Math.max(0, x / width - away), top = Math.max(0, y / height - away);
  return [coloursOff(image, [left, top, Math.min(1 - left, w / width + 2 * away), Math.min(1 - top, h / height + 2 * away)])[0]];
}

const maps = new WeakMap();

/** Pixels of a mask, one byte each, at the threshold where its query's slider stands. */
async function inside(mask) {
  if (!moved(mask)) return pixelsOf(mask.counts, ...mask.size);
  if (!maps.has(mask)) maps.set(mask, bytesOf(mask.heat));
  return above(await maps.get(mask), mask.size, limits[mask.query]);
}
