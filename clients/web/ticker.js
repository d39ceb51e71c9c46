/**
 * How it works: one pattern brings every price, three topics bring the machine's figures. A message updates a small
 * record and marks its row; the rows are drawn at most once per screen refresh, however fast messages arrive.
 */

import { fields } from "./hub.js";
import { connect, element, flash } from "./page.js";

const RECENT = 60; // prices in a plot
const ROWS_MAX = 200; // a pattern can match more topics than a page should show

const hub = connect();
hub.subscribe("ticker.>", ({ topic, data }) => price(topic, fields(data)));
hub.subscribe("system.cpu", ({ data }) => gauge("cpu", fields(data).percent, (percent) => `${decimal(percent, 1)} %`));
hub.subscribe("system.memory", ({ data }) => memory(fields(data)));
hub.subscribe("system.network", ({ data }) => network(fields(data)));

// --- Prices

const rows = new Map(); // topic -> row
const marked = new Set();

function price(topic, data) {
  const value = Number(data.price);
  if (data.price == null || !Number.isFinite(value)) return;
  const row = rows.get(topic) ?? addRow(topic);
  if (!row) return;
  const before = row.recent.at(-1) ?? value;
  row.recent = [...row.recent, value].slice(-RECENT);
  row.change = Number.isFinite(data.change) ? data.change : value - before;
  row.symbol = String(data.symbol ?? topic.split(".").at(-1)).slice(0, 20);
  row.date = typeof data.date === "string" ? data.date.slice(0, 30) : "";
  marked.add(row);
  if (marked.size === 1) requestAnimationFrame(drawMarked);
}

function drawMarked() {
  for (const row of marked) draw(row);
  marked.clear();
}

function draw(row) {
  const value = row.recent.at(-1);
  const direction = Math.sign(row.change);
  row.node.dataset.direction = ["down", "same", "up"][direction + 1];
  row.name.textContent = row.symbol;
  row.day.textContent = row.date;
  row.price.textContent = decimal(value, 2);
  row.percent.textContent = `${["▼", "", "▲"][direction + 1]} ${decimal(Math.abs(row.change), 2)}`;
  row.line.setAttribute("points", plot(row.recent));
  if (direction) flash(row.price, direction > 0 ? "--up-glow" : "--down-glow");
}

/** The points of a polyline in a box of 120 × 32: the newest at the right, lowest to highest over the whole height. */
function plot(values) {
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const step = 120 / (RECENT - 1);
  return values.map((value, i) => `${(120 - (values.length - 1 - i) * step).toFixed(1)},${(30 - ((value - low) / range) * 28).toFixed(1)}`).join(" ");
}

function addRow(topic) {
  if (rows.size >= ROWS_MAX) return null;
  const svg = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const row = { recent: [], name: element("b"), day: element("small"), price: element("span"), percent: element("td", { className: "number change" }) };
  row.line = svg("polyline", { class: "line" });
  const picture = svg("svg", { viewBox: "0 0 120 32", preserveAspectRatio: "none", class: "plot", "aria-hidden": "true" });
  picture.append(row.line);
  row.node = element(
    "tr",
    {},
    element("th", { scope: "row" }, row.name, row.day),
    element("td", { className: "number" }, row.price),
    row.percent,
    element("td", {}, picture),
  );
  row.price.className = "price";
  rows.set(topic, row);
  const after = [...rows.keys()].filter((other) => other > topic).sort()[0]; // in alphabetical order
  document.querySelector("#symbols").insertBefore(row.node, rows.get(after)?.node ?? null);
  document.querySelector("#empty").hidden = true;
  return row;
}

// --- The machine

function gauge(id, value, text) {
  if (!Number.isFinite(value)) return;
  document.querySelector(`#${id}`).textContent = text(value);
  document.querySelector(`#${id}-meter`).value = value;
}

function memory({ used_bytes, total_bytes, percent = (100 * used_bytes) / total_bytes }) {
  gauge("memory", percent, () => `${decimal(percent, 1)} %${Number.isFinite(total_bytes) ? ` of ${bytes(total_bytes)}` : ""}`);
}

function network({ rx_bytes_per_s, tx_bytes_per_s }) {
  document.querySelector("#received").textContent = `↓ ${bytes(rx_bytes_per_s)}/s`;
  document.querySelector("#sent").textContent = `↑ ${bytes(tx_bytes_per_s)}/s`;
}

let counted = 0;
setInterval(() => {
  document.querySelector("#rate").textContent = `${hub.received - counted} messages/s`;
  counted = hub.received;
}, 1000);

// --- Numbers

function decimal(value, digits) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const power = Math.min(4, Math.max(0, Math.floor(Math.log(value) / Math.log(1024))));
  return `${decimal(value / 1024 ** power, power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}
