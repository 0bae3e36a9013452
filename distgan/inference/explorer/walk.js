// A closed walk through chosen seeds: played, and saved as a film.
"use strict";

const SECONDS_PER_SEED = 2;
const MOST_BYTES = 1 << 29; // of a film's frames
let stops = []; // seeds
let playing = false;
let time = 0; // on the walk, 0 to 1
let run = 0; // of the play button: a later one ends an earlier one
const framesOf = () => Math.round(stops.length * SECONDS_PER_SEED * FRAMES_PER_SECOND);
const walkCanvas = () => $("walk-image");

async function way() {
  const latents = await latentsOf(stops);
  const points = stops.map((seed, place) => pointOf(seed, latents[place]));
  return (t) => pointOfWay(points.map(({ latent }) => latent), classes ? points.map(({ weights }) => weights) : [], t);
}

const renewWalk = latest(async () => {
  if (stops.length < 2) return;
  paint(walkCanvas(), await backend.images([(await way())(time)]));
});

function showStops() {
  const chips = stops.map((seed, place) => {
    const chip = made("button", { type: "button", textContent: `${seed} \u00d7` });
    chip.setAttribute("aria-label", `Take seed ${seed} out of the walk`);
    chip.addEventListener("click", () => { stops = stops.toSpliced(place, 1); showStops(); $("add").focus(); });
    return chip;
  });
  $("stops").replaceChildren(...chips);
  $("walk").hidden = stops.length === 0;
  $("walk-hint").hidden = stops.length !== 1;
  $("player").hidden = stops.length < 2;
  if (stops.length < 2) playing = false;
  else renewWalk();
  tellWalk();
}

function tellWalk() {
  showCommand($("walk-command"), commandOf([`--walk ${stops.join(",")}`, `--frames ${framesOf()}`], "walk.webp"));
  $("play").textContent = playing ? "Pause" : "Play";
}

const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

async function play() {
  playing = !playing;
  tellWalk();
  const mine = run += 1;
  let before = performance.now();
  while (playing && mine === run) {
    const now = await nextFrame();
    time = (time + Math.max(0, now - before) / 1000 / (stops.length * SECONDS_PER_SEED)) % 1;
    before = now;
    $("position").value = time;
    await renewWalk();
    if (problems.get(renewWalk.work)) playing = false;
  }
  tellWalk();
}

async function saveFilm() {
  $("film").disabled = true;
  $("film-progress").hidden = false;
  $("film-status").textContent = "Making the film: keep this page in view.";
  playing = false;
  tellWalk();
  try {
    const frames = framesOf();
    if (frames * facts.channels * facts.size ** 2 > MOST_BYTES) {
      throw new Error("This film is too long for the browser's memory: take seeds out of the walk, or use the command.");
    }
    const at = await way();
    const images = [];
    await drawPoints(Array.from({ length: frames }, (_, number) => at(number / frames)), (pixels, number) => {
      images.push(imageOf(pixels, number));
      $("film-progress").value = images.length / frames / 2;
    }, () => true);
    const [small, scale] = [newCanvas(), Math.max(1, Math.floor(256 / facts.size))];
    const large = made("canvas", { width: facts.size * scale, height: facts.size * scale });
    const context = large.getContext("2d");
    context.imageSmoothingEnabled = false;
    const draw = (number) => {
      paint(small, images[number]);
      context.drawImage(small, 0, 0, large.width, large.height);
    };
    const { blob, suffix } = await record(large, frames, draw, (share) => {
      $("film-progress").value = (1 + share) / 2;
    });
    $("film-status").textContent = `walk.${suffix}: ${Math.round(blob.size / 1024)} KiB`;
    download(blob, `walk.${suffix}`);
    tell(saveFilm, "");
  } catch (error) {
    tell(saveFilm, error.message);
    $("film-status").textContent = "";
  } finally {
    $("film").disabled = false;
    $("film-progress").hidden = true;
  }
}
