"use strict";

/* COCO's compressed run lengths, and masks painted from them. */

/** Lengths of the runs of a mask, column by column, background first (pycocotools maskApi.c, rleFrString). */
function runsOf(counts) {
  const runs = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0, shift = 0, low;
    do {
      low = counts.charCodeAt(at++) - 48;
      value |= (low & 31) << shift;
      shift += 5;
    } while (low & 32);
    if (low & 16 && shift < 32) value |= -1 << shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** One byte a pixel, row by row: 1 inside; `counts` compressed, or as a list of lengths. */
function pixelsOf(counts, height, width) {
  const pixels = new Uint8Array(height * width);
  let at = 0, inside = 0;
  for (const run of Array.isArray(counts) ? counts : runsOf(counts)) {
    if (inside) {
      for (let i = at; i < at + run; i++) pixels[(i % height) * width + Math.floor(i / height)] = 1;
    }
    at += run;
    inside ^= 1;
  }
  return pixels;
}

/** An opaque colour, or one of `alpha` of 255, as a word of an ImageData. */
const word = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

/** For each pixel of a mask within `reach` of its border, from inside, `act(place)`. */
function alongBorder(pixels, height, width, reach, act) {
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!pixels[at]) continue;
      const edge =
        (x >= reach && !pixels[at - reach]) || (x < width - reach && !pixels[at + reach]) ||
        (y >= reach && !pixels[at - reach * width]) || (y < height - reach && !pixels[at + reach * width]);
      if (edge) act(at);
    }
  }
}

/**
 * Paint masks over one another on a canvas of their size; a layer is {pixels, colour}, pixels one byte each, row by row, 1 inside.
 *
 * `look`: "fill", with a white rim that shows on any image; "outline", the border alone, in the colour, and of a single mask with a
 * white rim inside it; "dim", everything black that is in none of them, each with a rim in its colour. Rims are about as wide whatever the size.
 */
function paintLayers(canvas, layers, [height, width], look = "fill") {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), words = new Uint32Array(image.data.buffer);
  const reach = Math.max(1, Math.round(Math.max(height, width) / 130)), white = 0xffffffff;
  if (look === "dim") {
    words.fill(word([0, 0, 0]));
    for (const { pixels } of layers) for (let at = 0; at < pixels.length; at++) if (pixels[at]) words[at] = 0;
  }
  for (const { pixels, colour } of layers) {
    if (look === "fill") {
      const fill = word(colour, 200);
      for (let at = 0; at < pixels.length; at++) if (pixels[at]) words[at] = fill;
      alongBorder(pixels, height, width, reach, (at) => (words[at] = white));
    } else {
      if (look === "outline" && layers.length === 1) alongBorder(pixels, height, width, Math.ceil(1.5 * reach), (at) => (words[at] = white));
      const rim = word(colour);
      alongBorder(pixels, height, width, reach, (at) => (words[at] = rim));
    }
  }
  const pen = canvas.getContext("2d");
  pen.putImageData(image, 0, 0);
  return pen;
}

/** Paint one mask. */
function paintPixels(canvas, pixels, size, colour, look = "fill") {
  return paintLayers(canvas, [{ pixels, colour }], size, look);
}

/** Masks smaller than this share of the image are pointed at: a few pixels are easily overlooked. */
const TINY = 0.003;

/** Four corners around a box of the canvas, white on black: no line of it closes, so that it is not taken for a mask. */
function pointAt(pen, [x, y, w, h]) {
  const longer = Math.max(pen.canvas.width, pen.canvas.height), away = longer * 0.03;
  const arm = Math.min(longer * 0.035, 0.3 * (Math.min(w, h) + 2 * away));
  pen.beginPath();
  for (const [corner, across] of [[x - away, 1], [x + w + away, -1]]) {
    for (const [end, down] of [[y - away, 1], [y + h + away, -1]]) {
      pen.moveTo(corner + across * arm, end);
      pen.lineTo(corner, end);
      pen.lineTo(corner, end + down * arm);
    }
  }
  for (const [colour, thick] of [["#000", 70], ["#fff", 160]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = Math.max(1, longer / thick);
    pen.stroke();
  }
}

/** Red, green and blue of masks, as the style has it. */
let colour = null;
function maskColour() {
  if (colour === null) colour = rgb(getComputedStyle(document.documentElement).getPropertyValue("--mask").trim());
  return colour;
}

/** [red, green, blue] of "#rrggbb". */
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
