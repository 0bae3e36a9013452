// Latents and images from the server of this page.
"use strict";

const backend = {
  lastSeed: Number.MAX_SAFE_INTEGER,

  async latents(seeds) {
    const numbers = new Float32Array(await asked("latents", seeds.join(",")));
    const width = facts.latentDim;
    return seeds.map((_, row) => numbers.slice(row * width, (row + 1) * width));
  },

  // [{latent, weights}, ...] -> uint8 [n, channels, size, size]
  async images(points) {
    return new Uint8Array(await asked("images", joined(points)));
  },

  async nearest(pixels) {
    return JSON.parse(new TextDecoder().decode(await asked("nearest", pixels)));
  },
};

async function asked(what, body) {
  let answer;
  try {
    answer = await fetch(`/${what}?${facts.digest}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body });
  } catch {
    throw new Error("The server does not answer any more: start `distgan explore` again.");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.arrayBuffer();
}
