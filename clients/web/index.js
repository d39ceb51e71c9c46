/**
 * The landing page. "Run them here" does what the three lines do, and shows the frames instead of printing them to the console.
 */

import { defaultUrl, fillSnippets } from "./page.js";

fillSnippets();

const run = document.querySelector("#run");
const output = document.querySelector("#output");
const SHOWN = 8;
let ws = null;

run.onclick = () => {
  if (ws) return ws.close();
  const frames = [];
  ws = new WebSocket(defaultUrl(), "pubsub.json");
  ws.onmessage = ({ data }) => {
    frames.push(data);
    output.textContent = frames.slice(-SHOWN).join("\n");
  };
  ws.onopen = () => ws.send('{"op":"subscribe","topic":"ticker.>"}');
  ws.onclose = ({ code }) => {
    ws = null;
    output.textContent += `\nclosed with code ${code}`;
    run.textContent = "Run them here";
  };
  output.hidden = false;
  output.textContent = "connecting …";
  run.textContent = "Stop";
};
