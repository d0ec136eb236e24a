/* Histograms as inline SVG. */

const CHART = { width: 190, height: 52, gap: 1 };

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/**
 * A histogram: bins drawn left to right, `label(bin)` says what a bin holds, `look(bin)` is its class,
 * `ticks` are [share of the width, text], `limit` is a share of the width at which a dashed line stands, or null.
 */
function histogram(title, bins, { label, look, ticks, limit, note }) {
  const { width, height, gap } = CHART;
  const most = Math.max(1, ...bins), step = width / bins.length;
  const chart = svg("svg", { width, height: height + 14, viewBox: `0 0 ${width} ${height + 14}`, role: "img", "aria-label": title });
  bins.forEach((count, bin) => {
    const tall = count ? Math.max(1.5, (count / most) * height) : 0;
    const hint = svg("title", {});
    hint.textContent = `${label(bin)}: ${number(count)}`;
    chart.append(
      svg("g", {}, hint,
        svg("rect", { class: look(bin), x: bin * step, y: height - tall, width: step - gap, height: tall, rx: 0.75 }),
        svg("rect", { class: "hit", x: bin * step, y: 0, width: step, height })),
    );
  });
  chart.append(svg("line", { x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }));
  if (limit !== null) chart.append(svg("line", { class: "limit", x1: limit * width, x2: limit * width, y1: 0, y2: height }));
  for (const [share, words] of ticks) {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const text = svg("text", { x: share * width, y: height + 12, "text-anchor": anchor });
    text.textContent = words;
    chart.append(text);
  }
  return make("figure", { class: "chart" }, make("figcaption", {}, make("span", {}, title), make("span", {}, note)), chart);
}

function scoreChart(query) {
  const count = query.scoreBins.length;
  return histogram("Score", query.scoreBins, {
    label: (bin) => `score ${(bin / count).toFixed(2)} to ${((bin + 1) / count).toFixed(2)}`,
    look: (bin) => ((bin + 0.5) / count > query.threshold ? "in" : "out"),
    ticks: [[0, "0"], [0.5, "0.5"], [1, "1"]],
    limit: query.threshold,
    note: "",
  });
}

function coverageChart(query, decades) {
  const count = query.coverageBins.length;
  const bound = (bin) => percent(10 ** ((bin / count) * decades - decades));
  const empty = query.images - query.found;
  return histogram("Coverage", query.coverageBins, {
    label: (bin) => (bin ? `${bound(bin)} to ${bound(bin + 1)} of the image` : `up to ${bound(1)} of the image`),
    look: () => "found",
    ticks: Array.from({ length: decades + 1 }, (_, i) => [i / decades, `${10 ** (i + 2 - decades)}${i === decades ? " %" : ""}`]),
    limit: null,
    note: empty ? `${number(empty)} empty` : "",
  });
}
