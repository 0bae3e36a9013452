// Asks every two seconds whether the page has changed, and puts the new parts in; all else stays as it is.
"use strict";

const SECONDS = 2;
const LONGEST = 20; // seconds that an answer may take: a long file is read in pieces of about half a second
const shown = new Map(); // part: the text that it was made of
let etag = document.querySelector("main").dataset.etag;
let lost = 0; // questions in a row without an answer
let asking = false;

// Where a reader is in what is about to be replaced: scrolled, opened, focused.
function kept(part) {
  return [...part.querySelectorAll("[data-keep]")].map((element) => ({
    key: element.dataset.keep,
    left: element.scrollLeft,
    top: element.scrollTop,
    open: element.open,
    focused: element === document.activeElement || element.querySelector(":scope > summary") === document.activeElement,
  }));
}

function restore(part, states) {
  for (const state of states) {
    const element = part.querySelector(`[data-keep="${CSS.escape(state.key)}"]`);
    if (!element) continue;
    if (state.open) element.open = true;
    element.scrollLeft = state.left;
    element.scrollTop = state.top;
    if (state.focused) (element.querySelector(":scope > summary") || element).focus({ preventScroll: true });
  }
}

function replace(id, html) {
  const part = document.querySelector(`[data-part="${CSS.escape(id)}"]`);
  if (!part || shown.get(id) === html) return;
  shown.set(id, html);
  const range = document.createRange();
  range.selectNodeContents(part);
  const made = range.createContextualFragment(html);
  for (const figure of made.querySelectorAll("[data-frame]")) {
    const old = part.querySelector(`[data-frame="${CSS.escape(figure.dataset.frame)}"]`);
    if (players.has(id)) figure.hidden = old ? old.hidden : true; // the player shows a new one once it is loaded
    if (!old) continue;
    const [image, again] = [old.querySelector("img"), figure.querySelector("img")];
    image.alt = again.alt;
    again.replaceWith(image); // an image that is there is not loaded again
  }
  const states = kept(part);
  part.replaceChildren(made);
  restore(part, states);
  part.parentElement.hidden = !html;
  const entry = document.querySelector(`nav a[href="#${CSS.escape(id)}"]`);
  if (entry) entry.parentElement.hidden = !html;
  if (part.querySelector(".frames") && !players.has(id)) {
    players.set(id, new Player(part, part.parentElement.querySelector("h2").textContent));
  }
  players.get(id)?.renew();
}

function tell() {
  const state = document.querySelector("[data-title]");
  if (!state) return;
  document.title = state.dataset.title;
  const word = document.getElementById("word");
  if (word.textContent !== state.dataset.word) word.textContent = state.dataset.word;
}

function answered(yes) {
  const note = document.getElementById("lost");
  lost = yes ? 0 : lost + 1;
  if (lost === 2) {
    note.textContent = `The server does not answer any more: this is what it showed at ${new Date().toLocaleTimeString()}. The page goes on when it is started again.`;
  }
  note.hidden = lost < 2;
}

async function ask() {
  if (document.hidden || asking) return;
  asking = true;
  try {
    await renewParts();
  } finally {
    asking = false;
  }
}

async function renewParts() {
  const answer = await fetch("/parts.json", {
    headers: etag ? { "If-None-Match": etag } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(LONGEST * 1000),
  });
  if (answer.status !== 200 && answer.status !== 304) throw new Error(`status ${answer.status}`);
  if (answer.status === 200) {
    const parts = await answer.json();
    etag = answer.headers.get("ETag") || "";
    for (const [id, html] of Object.entries(parts)) replace(id, html);
    tell();
  }
  answered(true);
}

async function watch() {
  try {
    await ask();
  } catch {
    answered(false);
  }
  setTimeout(watch, SECONDS * 1000 * Math.min(1 + lost, 8));
}

document.addEventListener("visibilitychange", () => ask().catch(() => answered(false)));
tell();
watch();
