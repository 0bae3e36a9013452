// A closed walk through chosen seeds: played, and saved as a film.
"use strict";

const SECONDS_PER_SEED = 2;
let stops = []; // seeds
let playing = false;
const walkCanvas = () => $("walk-image");

async function way() {
  const latents = await latentsOf(stops);
  const points = stops.map((seed, place) => pointOf(seed, latents[place]));
  return (t) => pointOfWay(points.map(({ latent }) => latent), classes ? points.map(({ weights }) => weights) : [], t);
}

const renewWalk = latest(async () => {
  if (stops.length < 2) return;
  paint(walkCanvas(), await backend.images([(await way())(Number($("position").value))]));
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
  const frames = Math.round(stops.length * SECONDS_PER_SEED * FRAMES_PER_SECOND);
  $("walk-command").textContent = commandOf([`--walk ${stops.join(",")}`, `--frames ${frames}`], "walk.webp");
  $("play").textContent = playing ? "Pause" : "Play";
}

const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

async function play() {
  playing = !playing;
  tellWalk();
  let before = performance.now();
  while (playing) {
    const now = await nextFrame();
    const gone = Math.max(0, now - before) / 1000 / (stops.length * SECONDS_PER_SEED);
    before = now;
    $("position").value = (Number($("position").value) + gone) % 1;
    await renewWalk();
  }
}

async function saveFilm() {
  $("film").disabled = true;
  playing = false;
  tellWalk();
  try {
    const frames = Math.round(stops.length * SECONDS_PER_SEED * FRAMES_PER_SECOND);
    const at = await way();
    const images = [];
    await drawPoints(Array.from({ length: frames }, (_, number) => at(number / frames)), (pixels, number) => {
      const size = facts.channels * facts.size ** 2;
      images.push(pixels.slice(number * size, (number + 1) * size));
      $("film-status").textContent = `frame ${images.length} of ${frames}`;
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
      $("film-status").textContent = `recording, ${Math.round(share * 100)} %`;
    });
    $("film-status").textContent = `walk.${suffix}: ${Math.round(blob.size / 1024)} KiB`;
    download(blob, `walk.${suffix}`);
  } catch (error) {
    tell(saveFilm, error.message);
  } finally {
    $("film").disabled = false;
  }
}
