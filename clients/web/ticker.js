/**
 * How it works: one pattern brings every price, and with it those of the last minute, so that the plots are there at once;
 * three topics bring the machine's figures, the last first. A message updates a small record and marks its row; the rows are
 * drawn at most once per screen refresh, however fast messages arrive. The switch subscribes again with other options.
 */

import { connect, count, element, fields, flash, subscribe } from "./page.js";
import { line, PLOT_BOX, svg } from "./plot.js";

const PLOT_SECONDS = 60;
const PLOT_POINTS_MAX = 600;
const ROWS_MAX = 200; // a pattern can match more topics than a page should show

const hub = connect();
const prices = subscribe(hub, "ticker.>", { message: price, gap: withhold }, { replay: { seconds: PLOT_SECONDS } });
const figures = (topic, show) => subscribe(hub, topic, { message: ({ data }) => show(fields(data)) }, { replay: { last: 1 } });
figures("system.cpu", ({ percent }) => gauge("cpu", percent, () => `${decimal(percent, 1)} %`));
figures("system.memory", memory);
figures("system.network", network);

// --- How much of it: what each choice adds to the command, and what that means

const DELIVERY = {
  everything: [{}, "Every price."],
  max_rate: [{ max_rate: 0.5 }, "Of each symbol one price in two seconds, the newest."],
  latest: [{ slow: "latest" }, "Every price, as long as this page keeps up; else the newest of each symbol."],
};

document.querySelector("#delivery").onchange = ({ target }) => deliver(target.value);
tell("everything");

async function deliver(choice) {
  try {
    await prices.change(DELIVERY[choice][0]);
    tell(choice);
  } catch (error) {
    document.querySelector("#delivered").textContent = `Not changed: ${error.message}`;
  }
}

function tell(choice) {
  const [options, meaning] = DELIVERY[choice];
  document.querySelector("#delivered").textContent = meaning;
  document.querySelector("#command").textContent = JSON.stringify({ op: "subscribe", topic: "ticker.>", ...options });
}

const WINDOW_MS = 4000;
let times = []; // when the prices of the last seconds came
let gaps = 0;
let withheld = 0;

setInterval(() => {
  const now = performance.now();
  times = times.filter((time) => time > now - WINDOW_MS);
  document.querySelector("#rate").textContent = `${Math.round((1000 * times.length) / Math.min(now, WINDOW_MS))} messages/s`;
}, 500);

function withhold({ from, to }) {
  if (!from) return; // nobody knows how many
  gaps += 1;
  withheld += to - from + 1;
  document.querySelector("#gaps").textContent = `${count(gaps, "gap")}, ${count(withheld, "message")} left out`;
}

// --- Prices

const rows = new Map(); // topic -> row
const marked = new Set();

function price({ topic, data: published, replayed }) {
  const data = fields(published);
  const value = Number(data.price);
  if (!replayed) times.push(performance.now());
  if (data.price == null || !Number.isFinite(value)) return;
  const row = rows.get(topic) ?? addRow(topic);
  if (!row) return;
  const before = row.points.at(-1)?.value ?? value;
  const time = Date.parse(data.time) || Date.now(); // of those who publish without a time it is the time of arrival
  row.points.push({ time, value });
  row.points = row.points.filter((point) => point.time > time - PLOT_SECONDS * 1000).slice(-PLOT_POINTS_MAX);
  row.news = !replayed;
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
  const { value } = row.points.at(-1);
  const direction = Math.sign(row.change);
  row.node.dataset.direction = ["down", "same", "up"][direction + 1];
  row.name.textContent = row.symbol;
  row.day.textContent = row.date;
  row.price.textContent = decimal(value, 2);
  row.percent.textContent = `${["▼", "", "▲"][direction + 1]} ${decimal(Math.abs(row.change), 2)}`;
  row.line.setAttribute("points", line(row.points, { seconds: PLOT_SECONDS }));
  if (direction && row.news) flash(row.price, direction > 0 ? "--up-glow" : "--down-glow");
}

function addRow(topic) {
  if (rows.size >= ROWS_MAX) return null;
  const row = { points: [], news: false, name: element("b"), day: element("small"), price: element("span"), percent: element("td", { className: "number change" }) };
  row.line = svg("polyline", { class: "line" });
  const picture = svg("svg", { viewBox: PLOT_BOX, preserveAspectRatio: "none", class: "plot", "aria-hidden": "true" });
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
  row.node.dataset.topic = topic;
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

// --- Numbers

function decimal(value, digits) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const power = Math.min(4, Math.max(0, Math.floor(Math.log(value) / Math.log(1024))));
  return `${decimal(value / 1024 ** power, power ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}
