/* Maps of probabilities, one byte a cell, 255 for 1, and what is inside at a threshold. */

/** A map's bytes, row by row, and its size; of an image that holds nothing but greys. */
async function bytesOf(src) {
  const image = new Image();
  image.src = src;
  await image.decode();
  const canvas = make("canvas", { width: image.width, height: image.height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, image.width, image.height);
  const bytes = new Uint8Array(image.width * image.height);
  for (let at = 0; at < bytes.length; at++) bytes[at] = data[4 * at];
  return { bytes, size: [image.height, image.width] };
}

const logit = (share) => Math.log(share / (1 - share));
const LOGITS = Float32Array.from({ length: 256 }, (_, byte) => logit(Math.min(Math.max(byte, 0.5), 254.5) / 255));

/** Cells of a map of `cells` between which each of `length` pixels lies, and how near it is to the second. */
function between(length, cells) {
  return Array.from({ length }, (_, at) => {
    const place = Math.max(0, ((at + 0.5) * cells) / length - 0.5), low = Math.min(Math.floor(place), cells - 1);
    return [low, Math.min(low + 1, cells - 1), place - low];
  });
}

/** Pixels (one byte each, row by row) above a threshold: the map's logits, interpolated bilinearly, as `rethreshold` does. */
function above({ bytes, size: [cellsDown, cellsAcross] }, [height, width], threshold) {
  const pixels = new Uint8Array(height * width), limit = logit(threshold), columns = between(width, cellsAcross);
  const rows = between(height, cellsDown), line = new Float32Array(cellsAcross);
  for (let y = 0, at = 0; y < height; y++) {
    const [top, bottom, low] = rows[y];
    for (let cell = 0; cell < cellsAcross; cell++) {
      line[cell] = LOGITS[bytes[top * cellsAcross + cell]] * (1 - low) + LOGITS[bytes[bottom * cellsAcross + cell]] * low;
    }
    for (let x = 0; x < width; x++, at++) {
      const [left, right, near] = columns[x];
      pixels[at] = line[left] * (1 - near) + line[right] * near > limit ? 1 : 0;
    }
  }
  return pixels;
}
