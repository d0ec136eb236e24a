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

/** Paint pixels (one byte each, row by row: 1 inside) on a canvas of their size: filled, with a white rim, about as wide whatever the size, that shows on any image. */
function paintPixels(canvas, pixels, [height, width], colour) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const [red, green, blue] = colour;
  const fill = ((200 << 24) | (blue << 16) | (green << 8) | red) >>> 0, rim = 0xffffffff, reach = Math.max(1, Math.round(Math.max(height, width) / 130));
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!pixels[at]) continue;
      const edge =
        (x >= reach && !pixels[at - reach]) || (x < width - reach && !pixels[at + reach]) ||
        (y >= reach && !pixels[at - reach * width]) || (y < height - reach && !pixels[at + reach * width]);
      words[at] = edge ? rim : fill;
    }
  }
  const pen = canvas.getContext("2d");
  pen.putImageData(image, 0, 0);
  return pen;
}

/** Paint a mask on a canvas of its own size. */
function paint(canvas, mask, colour) {
  const pen = paintPixels(canvas, pixelsOf(mask.counts, ...mask.size), mask.size, colour);
  if (mask.coverage < TINY) circle(pen, mask, colour);
}

/** Masks smaller than this share of the image are ringed: a few pixels are easily overlooked. */
const TINY = 0.003;

function circle(pen, mask, [red, green, blue]) {
  const down = mask.size[0] / mask.grid[0], across = mask.size[1] / mask.grid[1], longer = Math.max(...mask.size);
  const [x, y, w, h] = mask.box, away = longer * 0.045;
  pen.strokeStyle = `rgb(${red} ${green} ${blue})`;
  pen.lineWidth = Math.max(1, longer / 110);
  pen.beginPath();
  pen.ellipse((x + w / 2) * across, (y + h / 2) * down, (w / 2) * across + away, (h / 2) * down + away, 0, 0, 2 * Math.PI);
  pen.stroke();
}

/** Red, green and blue of masks, as the style has it. */
let colour = null;
function maskColour() {
  if (colour === null) {
    const hex = getComputedStyle(document.documentElement).getPropertyValue("--mask").trim();
    colour = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }
  return colour;
}
