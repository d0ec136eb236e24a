/* Colours for masks that stand off the image they lie on. */

const STANDING_OFF = ["#ff2e74", "#ffb000", "#00c2ff", "#7cff3a", "#b44cff", "#ff6a1a", "#00e0a0", "#fff02e", "#3d6bff", "#ff3030"].map(rgb);
const LOOKED_AT = 48; /* cells a side of the small image that is compared */
const NEAREST = 0.15; /* the share of the cells that are nearest to a colour, over which its distance is taken */

/** OKLab of 8 bit sRGB (B. Ottosson, https://bottosson.github.io/posts/oklab). */
function oklab([red, green, blue]) {
  const [r, g, b] = [red, green, blue].map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/**
 * Colours for masks, the one farthest from those of the image first; `image` is an img that is decoded, `box` [x, y, w, h] in
 * shares of it is what is looked at.
 */
function coloursOff(image, [x, y, w, h] = [0, 0, 1, 1]) {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = canvas.height = LOOKED_AT;
  const { naturalWidth: width, naturalHeight: height } = image;
  pen.drawImage(image, x * width, y * height, Math.max(1, w * width), Math.max(1, h * height), 0, 0, LOOKED_AT, LOOKED_AT);
  const { data } = pen.getImageData(0, 0, LOOKED_AT, LOOKED_AT), cells = [];
  for (let at = 0; at < data.length; at += 4) cells.push(oklab(data.subarray(at, at + 3)));
  const place = Math.floor(NEAREST * cells.length);
  const distance = (colour) => {
    const [light, green, blue] = oklab(colour);
    return Float64Array.from(cells, (cell) => Math.hypot(cell[0] - light, cell[1] - green, cell[2] - blue)).sort()[place];
  };
  return STANDING_OFF.map((colour) => [distance(colour), colour]).sort(([one], [other]) => other - one).map(([, colour]) => colour);
}
