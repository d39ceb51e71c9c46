/** What `$sys.stats` says: numbers, lines over the last two minutes, and the busiest topics. */

import { count, element } from "../page.js";
import { line, PLOT_BOX, svg } from "../plot.js";

const PLOT_SECONDS = 120;
const LINES_MAX = 16; // threads in one plot

const GAUGES = [
  ["Sessions", ({ sessions, connections }) => `${whole(sessions)} of ${whole(connections)} connections`],
  ["Deliveries", ({ per_s }) => `${whole(per_s.deliveries)}/s`],
  ["Publishes", ({ per_s }) => `${whole(per_s.publishes)}/s`],
  ["Dropped", ({ per_s, total }) => `${whole(per_s.dropped)}/s, ${count(total.gaps, "gap")} so far`],
  ["Traffic", ({ per_s }) => `↓ ${bytes(per_s.bytes_in)}/s ↑ ${bytes(per_s.bytes_out)}/s`],
  ["Topics", ({ topics, subscriptions }) => `${whole(topics)}, ${count(subscriptions, "subscription")}`],
  ["History", ({ history_bytes }) => bytes(history_bytes)],
  ["Waiting for slow readers", ({ outbox_bytes }) => bytes(outbox_bytes)],
  ["Registry lag, 99 %", ({ registry_lag_p99_ms }) => milliseconds(registry_lag_p99_ms)],
  ["Up", ({ uptime_ms, version, draining }) => `${time(uptime_ms)}, ${draining ? "draining" : `version ${version}`}`],
];

const PLOTS = [
  ["Deliveries", (stats) => [stats.per_s.deliveries], (value) => `${whole(value)}/s`],
  ["Sessions", (stats) => [stats.sessions], whole],
  ["Dropped messages", (stats) => [stats.per_s.dropped], (value) => `${whole(value)}/s`],
  ["Loop delay of each thread, 99 %", (stats) => stats.workers.map((worker) => worker.loop_delay_p99_ms), milliseconds],
];

export class Overview {
  /** Called with a topic that somebody wants to look at. */
  onTopic = () => {};

  #gauges = GAUGES.map(([name, text]) => ({ text, node: element("dd"), name }));
  #plots = PLOTS.map(([name, values, text]) => new Plot(name, values, text));

  constructor() {
    const entries = this.#gauges.map(({ name, node }) => element("div", {}, element("dt", {}, name), node));
    document.querySelector("#gauges").replaceChildren(...entries);
    document.querySelector("#plots").replaceChildren(...this.#plots.map(({ node }) => node));
  }

  show(stats) {
    for (const { text, node } of this.#gauges) node.textContent = text(stats);
    for (const plot of this.#plots) plot.add(stats);
    this.#showTop(stats.top_topics);
  }

  #showTop(topics) {
    const body = document.querySelector("#top");
    const focused = document.activeElement?.dataset?.topic; // it would be lost with its row
    const most = topics[0]?.per_s || 1;
    body.replaceChildren(
      ...topics.map(({ topic, per_s }) => {
        const button = element("button", { type: "button", className: "link" }, topic);
        button.dataset.topic = topic;
        button.onclick = () => this.onTopic(topic);
        const share = element("meter", { max: most, value: per_s });
        share.setAttribute("aria-label", `${Math.round((100 * per_s) / most)} % of the busiest`);
        return element("tr", {}, element("th", { scope: "row" }, button), element("td", { className: "number" }, decimal(per_s)), element("td", {}, share));
      }),
    );
    if (focused) [...body.querySelectorAll("button")].find((button) => button.dataset.topic === focused)?.focus();
    document.querySelector("#top-empty").hidden = topics.length > 0;
  }
}

/** Lines that share a scale from nought. */
class Plot {
  #points = []; // of each line
  #lines = [];
  #picture = svg("svg", { viewBox: PLOT_BOX, preserveAspectRatio: "none", class: "plot", "aria-hidden": "true" });
  #now = element("b");
  #most = element("span");

  constructor(name, values, text) {
    this.values = values;
    this.text = text;
    const caption = element("figcaption", {}, element("span", {}, name), element("span", {}, this.#now, " ", this.#most));
    this.node = element("figure", {}, caption, this.#picture);
  }

  add(stats) {
    const values = this.values(stats).slice(0, LINES_MAX);
    const end = stats.time_ms;
    values.forEach((value, number) => {
      this.#points[number] = [...(this.#points[number] ?? []), { time: end, value }].filter(({ time }) => time > end - PLOT_SECONDS * 1000);
    });
    const high = Math.max(...this.#points.flat().map(({ value }) => value), 0);
    this.#points.forEach((points, number) => {
      this.#lines[number] ??= this.#picture.appendChild(svg("polyline", { class: "line", "data-line": number % 4 }));
      this.#lines[number].setAttribute("points", line(points, { seconds: PLOT_SECONDS, end, low: 0, high }));
    });
    this.#now.textContent = this.text(Math.max(...values, 0));
    this.#most.textContent = `at most ${this.text(high)}`;
  }
}

// --- Numbers

function whole(value) {
  return Math.round(value).toLocaleString("en");
}

function decimal(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 1 });
}

function milliseconds(value) {
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} ms`;
}

function bytes(value) {
  const power = value >= 1 ? Math.min(4, Math.floor(Math.log(value) / Math.log(1024))) : 0;
  return `${(value / 1024 ** power).toLocaleString("en", { maximumFractionDigits: power ? 1 : 0 })} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

function time(ms) {
  const minutes = Math.floor(ms / 60_000);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min` : `${Math.floor(ms / 1000)} s`;
}
