// The images of the chosen seeds, one of them enlarged, and the real images that are nearest to it.
"use strict";

const GOAL = 80; // milliseconds that a question for images should take, so that the page stays quick
const raw = new Map(); // seed: its latent
let pace = 4; // images of a question
let shown = []; // the seeds of the grid
let written = ""; // the same, as they were typed
let drawn = []; // the pixels of their images
let selected = null; // the seed that is enlarged, and its pixels
let selectedPixels = null;
let first = true;

async function latentsOf(seeds) {
  const missing = seeds.filter((seed) => !raw.has(seed));
  if (missing.length) (await backend.latents(missing)).forEach((latent, place) => raw.set(missing[place], latent));
  return seeds.map((seed) => raw.get(seed));
}

// Calls draw(pixels, number of the image in them, place) for each point, in pieces; stops when it is not current.
async function drawPoints(points, draw, current) {
  for (let start = 0; start < points.length;) {
    const part = points.slice(start, start + pace);
    const begun = performance.now();
    const pixels = await backend.images(part);
    part.forEach((_, number) => draw(pixels, number, start + number)); // also while a slider is moved
    if (!current()) return;
    start += part.length;
    const each = (performance.now() - begun) / part.length;
    pace = Math.max(1, Math.min(32, Math.round(GOAL / each)));
  }
}

const renewGrid = latest(async (current) => {
  let seeds;
  try {
    seeds = seedsOf(state.seeds, MAX_SEEDS, backend.lastSeed);
    written = state.seeds;
    $("seeds").removeAttribute("aria-invalid");
  } catch (error) {
    $("seeds").setAttribute("aria-invalid", "true");
    throw error;
  }
  if (seeds.join() !== shown.join()) rebuild(seeds);
  label();
  $("grid").setAttribute("aria-busy", "true");
  try {
    await drawGrid(seeds, current);
  } finally {
    if (current()) $("grid").setAttribute("aria-busy", "false");
  }
});

async function drawGrid(seeds, current) {
  const begun = performance.now();
  const latents = await latentsOf(seeds);
  const at = seeds.indexOf(selected);
  const order = [at, ...[...seeds.keys()].filter((place) => place !== at)]; // the enlarged one comes first
  const cells = [...$("grid").children];
  const draw = (pixels, number, turn) => {
    paint(cells[order[turn]].firstChild, pixels, number);
    drawn[order[turn]] = imageOf(pixels, number);
    if (seeds[order[turn]] === selected) enlarge(drawn[order[turn]]);
    if (first) performance.mark("first image");
    first = false;
  };
  await drawPoints(order.map((place) => pointOf(seeds[place], latents[place])), draw, current);
  if (!current()) return;
  $("status").textContent = `${seeds.length} images in ${((performance.now() - begun) / 1000).toFixed(2)} s`;
  try {
    history.replaceState(null, "", `#${toFragment(state)}`);
  } catch {
    // a frame without an address, or a browser that counts: the settings stand on the page
  }
}

function enlarge(pixels) {
  selectedPixels = pixels;
  paint($("large"), pixels);
  $("near").replaceChildren();
}

// A click enlarges an image that is drawn already.
function select(place) {
  selected = shown[place];
  label();
  if (drawn[place]) enlarge(drawn[place]);
}

function rebuild(seeds) {
  [shown, drawn] = [seeds, []];
  if (!seeds.includes(selected)) selected = seeds[0];
  $("grid").replaceChildren(...seeds.map((_, place) => {
    const cell = made("button", { type: "button" }, newCanvas());
    cell.addEventListener("click", () => select(place));
    return cell;
  }));
}

// One for each class, or about square.
const columnsOf = (count) => Math.min(count, classes > 1 && classes <= 20 ? classes : Math.ceil(Math.sqrt(count)));

function label() {
  shown.forEach((seed, place) => {
    const cell = $("grid").children[place];
    cell.setAttribute("aria-label", ["seed " + seed, classOf(seed)].filter(Boolean).join(", "));
    cell.title = cell.getAttribute("aria-label");
    cell.setAttribute("aria-pressed", String(seed === selected));
  });
  $("detail-title").textContent = `Seed ${selected}`;
  $("detail-class").textContent = classOf(selected);
  $("grid").style.setProperty("--columns", columnsOf(shown.length));
  showCommand($("command"), commandOf([`--seeds ${quoted(written)}`, `--columns ${columnsOf(shown.length)}`], "grid.png"));
}

// All images side by side, enlarged by a whole factor, as a PNG.
async function saveGrid() {
  const [gap, scale, columns] = [2, Math.max(1, Math.floor(64 / facts.size)), columnsOf(shown.length)];
  const step = facts.size * scale + gap;
  const whole = made("canvas", { width: columns * step + gap, height: Math.ceil(shown.length / columns) * step + gap });
  const context = whole.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, whole.width, whole.height);
  context.imageSmoothingEnabled = false;
  shown.forEach((_, place) => {
    const image = $("grid").children[place].firstChild;
    context.drawImage(image, gap + (place % columns) * step, gap + Math.floor(place / columns) * step, step - gap, step - gap);
  });
  const blob = await new Promise((resolve) => whole.toBlob(resolve, "image/png"));
  tell(saveGrid, blob ? "" : "This grid is too large for the browser: choose fewer seeds, or use the command.");
  if (blob) download(blob, "grid.png");
}

const showNearest = latest(async () => {
  $("near").replaceChildren(made("p", { textContent: "Reading and comparing the real images; the first time may take a while ..." }));
  const [seed, image] = [selected, selectedPixels];
  let found;
  try {
    found = await backend.nearest(image);
  } catch (error) {
    $("near").replaceChildren();
    throw error;
  }
  if (image !== selectedPixels) return;
  const pixels = bytesOf(found.images);
  const figures = found.distances.map((distance, number) => {
    const canvas = newCanvas();
    paint(canvas, pixels, number);
    const caption = `${distance.toFixed(1)}${found.mirrored[number] ? ", mirrored" : ""}`;
    return made("figure", {}, canvas, made("figcaption", { textContent: caption }));
  });
  const note = `Real images nearest to seed ${seed}, of ${found.compared.toLocaleString("en")} of ${found.total.toLocaleString("en")}; distance: root mean square of the pixels' difference, of 255`;
  $("near").replaceChildren(made("p", { textContent: note }), made("div", { className: "strip" }, ...figures));
});
