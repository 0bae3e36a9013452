// The controls: which seeds, classes, truncation, and steps along directions; as a link and as a command.
"use strict";

const MAX_SEEDS = 100;
const FULL = 3.05; // of the truncation's slider: no truncation
const OWN = -1; // the class that each seed has in `distgan sample`
const directions = rowsOf(facts.directions, facts.latentDim);
const classes = facts.classNames.length;

// Three rows of a column for each class, or as many images as are made quickly.
function usualCount() {
  if (facts.size > 64) return 12;
  return classes > 1 && classes <= 20 ? 3 * classes : 24;
}

const usual = {
  seeds: `0-${usualCount() - 1}`,
  first: OWN,
  second: OWN,
  share: 0,
  truncation: FULL,
  steps: directions.map(() => 0),
};
const state = { ...usual, steps: [...usual.steps] };

// What a setting does to a seed: {latent, weights}.
function pointOf(seed, latent, settings = state) {
  const limited = settings.truncation < FULL ? truncated(latent, settings.truncation) : latent;
  const steps = settings.steps.map((distance, place) => [directions[place], distance]).filter(([, distance]) => distance);
  return { latent: steps.length ? moved(limited, steps) : limited, weights: weightsOf(seed, settings) };
}

function weightsOf(seed, { first, second, share }) {
  if (!classes) return null;
  const weights = new Float32Array(classes);
  weights[first === OWN ? seed % classes : first] = 1;
  return first === OWN || second === OWN ? weights : mixed(weights, weights.map((_, place) => Number(place === second)), share);
}

function classOf(seed, { first, second, share } = state) {
  if (!classes) return "";
  if (first === OWN) return facts.classNames[seed % classes];
  const name = facts.classNames[first];
  return second === OWN || !share ? name : `${name} with ${Math.round(share * 100)} % ${facts.classNames[second]}`;
}

// The settings as a link's fragment, and back; what is wrong in it is left at its usual value.
function toFragment(settings) {
  const { seeds, first, second, share, truncation, steps } = settings;
  const parts = { seeds };
  if (first !== OWN) parts.class = first;
  if (first !== OWN && second !== OWN) parts.mix = `${second},${share}`;
  if (truncation < FULL) parts.truncation = truncation;
  const taken = steps.flatMap((distance, place) => (distance ? [`${place + 1}:${distance}`] : []));
  if (taken.length) parts.move = taken.join(",");
  return new URLSearchParams(parts).toString();
}

function fromFragment(text) {
  const parts = new URLSearchParams(text);
  const known = (place) => (/^\d+$/.test(place ?? "") && Number(place) < classes ? Number(place) : OWN);
  const within = (number, low, high, otherwise) => (number >= low && number <= high ? number : otherwise);
  const [second, share] = (parts.get("mix") ?? "").split(",");
  const settings = {
    seeds: withoutSpaces(parts.get("seeds") ?? usual.seeds),
    first: known(parts.get("class")),
    second: known(second),
    share: within(Number(share), 0, 1, 0),
    truncation: within(Number(parts.get("truncation") ?? FULL), 0.1, FULL, FULL),
    steps: [...usual.steps],
  };
  for (const step of (parts.get("move") ?? "").split(",")) {
    const [number, distance] = step.split(":").map(Number);
    if (number - 1 in settings.steps) settings.steps[number - 1] = within(distance, -5, 5, 0);
  }
  return settings;
}

const withoutSpaces = (text) => text.replace(/\s/g, "");
const quoted = (text) => (/^[\w./=,:+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// The command that makes the same images.
function commandOf(what, out) {
  const parts = [facts.command, ...what];
  const name = (place) => facts.classArguments[place];
  const mix = state.first !== OWN && state.second !== OWN && state.second !== state.first && state.share > 0;
  const named = [...(state.first === OWN ? [] : [state.first]), ...(mix ? [state.second] : [])];
  if (!facts.command || named.some((place) => name(place) === null)) return "There is no command for a name that cannot be typed.";
  if (mix) {
    parts.push(`--mix ${quoted(`${name(state.first)},${name(state.second)},${state.share}`)}`);
  } else if (state.first !== OWN) parts.push(`--classes ${quoted(name(state.first))}`);
  if (state.truncation < FULL) parts.push(`--truncation ${state.truncation}`);
  const steps = state.steps.flatMap((distance, place) => (distance ? [`${place + 1}=${distance}`] : []));
  if (steps.length) parts.push(`--move ${steps.join(",")}`);
  return [...parts, `--out ${out}`].join(" ");
}

// A command that breaks between its words only.
function showCommand(element, text) {
  element.replaceChildren(...text.split(" ").flatMap((word) => [made("span", { textContent: word }), " "]).slice(0, -1));
}

// The controls show the state.
function showSettings() {
  $("seeds").value = state.seeds;
  $("truncation").value = state.truncation;
  $("truncation-value").textContent = state.truncation < FULL ? `at ${state.truncation}` : "off";
  $("truncation").setAttribute("aria-valuetext", $("truncation-value").textContent);
  if (classes) {
    $("first").value = state.first;
    $("second").value = state.second;
    $("share").value = state.share;
    $("mixture").hidden = state.first === OWN;
    $("share").disabled = state.second === OWN;
    $("share-value").textContent = `${Math.round(state.share * 100)} %`;
  }
  state.steps.forEach((distance, place) => {
    $(`step${place + 1}`).value = distance;
    $(`step${place + 1}-value`).textContent = distance.toFixed(1);
  });
}

function buildSettings(changed) {
  const set = (name, value) => {
    state[name] = value;
    showSettings();
    changed();
  };
  $("seeds").addEventListener("change", () => set("seeds", withoutSpaces($("seeds").value)));
  $("truncation").addEventListener("input", () => set("truncation", Number($("truncation").value)));
  $("before").addEventListener("click", () => set("seeds", shifted(-1)));
  $("after").addEventListener("click", () => set("seeds", shifted(1)));
  $("random").addEventListener("click", () => set("seeds", randomSeeds()));
  $("reset").addEventListener("click", () => set("steps", [...usual.steps]));
  for (const name of classes ? ["first", "second"] : []) {
    if (name === "first") $(name).append(made("option", { value: OWN, textContent: "each seed's own" }));
    else $(name).append(made("option", { value: OWN, textContent: "none" }));
    $(name).append(...facts.classNames.map((text, value) => made("option", { value, textContent: text })));
    $(name).addEventListener("change", () => set(name, Number($(name).value)));
  }
  if (classes) $("share").addEventListener("input", () => set("share", Number($("share").value)));
  $("classes").hidden = !classes;
  $("moves").hidden = !directions.length;
  directions.forEach((_, place) => {
    const id = `step${place + 1}`;
    const slider = made("input", { id, type: "range", min: -5, max: 5, step: 0.1 });
    slider.addEventListener("input", () => set("steps", state.steps.with(place, Number(slider.value))));
    $("sliders").append(made("label", { htmlFor: id, textContent: `${place + 1}` }), slider, made("output", { id: `${id}-value` }));
  });
}

// The next or previous seeds, as many as there are.
function shifted(sign) {
  const seeds = currentSeeds();
  const low = Math.max(0, Math.min(seeds[0] + sign * seeds.length, backend.lastSeed - seeds.length + 1));
  return seeds.length > 1 ? `${low}-${low + seeds.length - 1}` : `${low}`;
}

function randomSeeds() {
  const last = Math.min(backend.lastSeed, 999999);
  return currentSeeds().map(() => Math.floor(Math.random() * (last + 1))).join(",");
}

function currentSeeds() {
  try {
    return seedsOf(state.seeds, MAX_SEEDS, backend.lastSeed);
  } catch {
    return seedsOf(usual.seeds, MAX_SEEDS, backend.lastSeed);
  }
}
