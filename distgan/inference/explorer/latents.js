// Pure functions of latents, the same as distgan's own (inference/latents.py). A latent is a Float32Array.
"use strict";

const density = (x) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);

// P(Z > x) of a standard normal Z, x >= 0: a series near 0, a continued fraction beyond (Abramowitz & Stegun 26.2).
function upperTail(x) {
  if (x < 3) {
    let [term, sum] = [x, x];
    for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= x * x / k;
    return 0.5 - density(x) * sum;
  }
  let below = x;
  for (let k = 100; k > 0; k--) below = x + k / below;
  return density(x) / below;
}

// The x >= 0 with P(Z > x) = p, p <= 1/2: a rational start (26.2.23), then Newton's steps.
function upperQuantile(p) {
  const t = Math.sqrt(-2 * Math.log(p));
  let x = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t ** 3);
  for (let step = 0; step < 3; step++) x += (upperTail(Math.max(x, 0)) - p) / density(x);
  return Math.max(x, 0);
}

// Numbers of the standard normal distribution, mapped to the one that is cut at -limit and limit.
function truncated(latent, limit) {
  const beyond = upperTail(limit);
  return latent.map((z) => Math.sign(z) * Math.min(upperQuantile(beyond + upperTail(Math.abs(z)) * (1 - 2 * beyond)), limit));
}

// steps: [[direction, distance], ...]
function moved(latent, steps) {
  return latent.map((z, place) => steps.reduce((sum, [direction, distance]) => sum + direction[place] * distance, z));
}

const norm = (latent) => Math.sqrt(latent.reduce((sum, z) => sum + z * z, 0));
const mixed = (one, other, share) => one.map((value, place) => value * (1 - share) + other[place] * share);

// A point on the arc between two latents; its length changes evenly from one's to the other's.
function slerp(one, other, share) {
  const [first, last] = [norm(one), norm(other)];
  const cosine = one.reduce((sum, z, place) => sum + z * other[place], 0) / (first * last);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const [a, b] = angle < 1e-6
    ? [1 - share, share]
    : [Math.sin((1 - share) * angle) / Math.sin(angle), Math.sin(share * angle) / Math.sin(angle)];
  const length = first + (last - first) * share;
  return one.map((z, place) => (a * z / first + b * other[place] / last) * length);
}

// The point of a closed way through latents, and of their classes' weights: at 0 <= t < 1.
function pointOfWay(latents, weights, t) {
  const place = t * latents.length;
  const [before, share] = [Math.floor(place), place % 1];
  const after = (before + 1) % latents.length;
  return {
    latent: slerp(latents[before], latents[after], share),
    weights: weights.length ? mixed(weights[before], weights[after], share) : null,
  };
}

// 0-3,7 -> [0, 1, 2, 3, 7]; an Error says what is wrong.
function seedsOf(text, most, last) {
  const seeds = [];
  for (const part of text.split(",")) {
    const found = part.trim().match(/^(\d+)(?:-(\d+))?$/);
    if (!found) throw new Error(`"${part.trim()}" is no seed and no range such as 0-29`);
    const [from, to] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (to > last) throw new Error(`seed ${found[2] ?? found[1]} is above ${last}, the last one here`);
    if (from > to) throw new Error(`"${part.trim()}" runs backwards: use ${to}-${from}`);
    if (seeds.length + to - from >= most) throw new Error(`at most ${most} seeds at a time`);
    for (let seed = from; seed <= to; seed++) seeds.push(seed);
  }
  return seeds;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < bytes.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

// base64 of float32 [n, width] -> n Float32Arrays
function rowsOf(base64, width) {
  const numbers = new Float32Array(bytesOf(base64).buffer);
  return Array.from({ length: numbers.length / width }, (_, row) => numbers.subarray(row * width, (row + 1) * width));
}

// [{latent, weights}, ...] -> float32 rows, one after the other
function joined(points) {
  const width = points[0].latent.length + (points[0].weights?.length ?? 0);
  const rows = new Float32Array(points.length * width);
  points.forEach(({ latent, weights }, row) => {
    rows.set(latent, row * width);
    if (weights) rows.set(weights, row * width + latent.length);
  });
  return rows;
}
