/** Lines in small plots: the newest point at the right, the box as wide as a time and as high as its values. */

const WIDTH = 120;
const HEIGHT = 32;
const MARGIN = 2;

/** The `viewBox` that the lines are drawn for. */
export const PLOT_BOX = `0 0 ${WIDTH} ${HEIGHT}`;

/**
 * The `points` of a polyline for `{ time, value }` in milliseconds: `seconds` to the newest, or to `end`. From the lowest
 * to the highest over the whole height, unless `low` and `high` say otherwise.
 */
export function line(points, { seconds, end = points.at(-1)?.time, low, high }) {
  const values = points.map(({ value }) => value);
  const bottom = low ?? Math.min(...values);
  const range = (high ?? Math.max(...values)) - bottom || 1;
  const x = (time) => WIDTH - ((end - time) / (seconds * 1000)) * WIDTH;
  const y = (value) => HEIGHT - MARGIN - ((value - bottom) / range) * (HEIGHT - 2 * MARGIN);
  return points.map(({ time, value }) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
}

/** `svg("polyline", { class: "line" })` */
export function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
