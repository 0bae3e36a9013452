// Images that the user keeps: a seed with its settings, in this browser's own storage.
"use strict";

const MOST_KEPT = 60;
const KEY = `distgan favourites ${facts.digest}`;
let kept = readKept();

function readKept() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(list) ? list.filter((text) => typeof text === "string").slice(0, MOST_KEPT) : [];
  } catch {
    return []; // a browser that keeps nothing for this page, or not what this page wrote
  }
}

function keep(list) {
  kept = [...new Set(list)].slice(-MOST_KEPT);
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    $("kept-hint").hidden = false; // they stay until the page is closed
  }
  showKept();
}

const showKept = latest(async (current) => {
  $("favourites").hidden = kept.length === 0;
  const cells = kept.map((text) => {
    const settings = fromFragment(text);
    const name = [`seed ${settings.seeds}`, classOf(Number(settings.seeds), settings)].filter(Boolean).join(", ");
    const open = made("button", { type: "button", title: name }, newCanvas());
    open.setAttribute("aria-label", `Show ${name} with its settings`);
    open.addEventListener("click", () => applySettings(settings));
    const remove = made("button", { type: "button", className: "remove", textContent: "\u00d7" });
    remove.setAttribute("aria-label", `Remove ${name} from the favourites`);
    remove.addEventListener("click", () => { keep(kept.filter((other) => other !== text)); $("keep").focus(); });
    return { cell: made("div", { className: "kept" }, open, remove), settings };
  });
  $("kept").replaceChildren(...cells.map(({ cell }) => cell));
  const known = cells.filter(({ settings }) => /^\d+$/.test(settings.seeds) && Number(settings.seeds) <= backend.lastSeed);
  const latents = await latentsOf(known.map(({ settings }) => Number(settings.seeds)));
  const points = known.map(({ settings }, place) => pointOf(Number(settings.seeds), latents[place], settings));
  await drawPoints(points, (pixels, number, place) => paint(known[place].cell.querySelector("canvas"), pixels, number), current);
});
