/* Elements, and numbers as they are written. Text only ever enters as text. */

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

const number = (value) => value.toLocaleString("en-GB");
const score = (value) => (value === null ? "–" : value >= 0.9995 ? "1.00" : value.toFixed(value > 0.99 || value < 0.01 ? 3 : 2));

function percent(share) {
  const value = 100 * share;
  const figures = value >= 9.95 ? value.toFixed(0) : value === 0 || value >= 0.0001 ? Number(value.toPrecision(2)) : "<0.0001";
  return `${figures}\u00a0%`;
}
