// Latents out of this file, images by ONNX Runtime in a worker of this page.
"use strict";

const block = (name) => bytesOf(document.getElementById(name).textContent);
const worker = new Worker(URL.createObjectURL(new Blob([block("runtime"), block("worker")], { type: "text/javascript" })));
const waiting = new Map(); // number of a question: its promise's functions
let questions = 0;
let failure = null; // of the worker as a whole

worker.onmessage = ({ data }) => {
  const { resolve, reject } = waiting.get(data.number);
  waiting.delete(data.number);
  if (data.error) reject(new Error(data.error));
  else resolve(data.pixels);
};

worker.onerror = ({ message }) => {
  failure = new Error(`This browser cannot run the generator: ${message ?? "its worker does not start"}`);
  for (const { reject } of waiting.values()) reject(failure);
  waiting.clear();
};

function asked(message, moved) {
  if (failure) return Promise.reject(failure);
  questions += 1;
  const answer = new Promise((resolve, reject) => waiting.set(questions, { resolve, reject }));
  worker.postMessage({ number: questions, ...message }, moved);
  return answer;
}

const begin = { wasm: block("wasm"), model: block("model") };
const started = asked(begin, [begin.wasm.buffer, begin.model.buffer]);
const travelling = rowsOf(facts.latents, facts.latentDim);

const backend = {
  lastSeed: travelling.length - 1,

  async latents(seeds) {
    return seeds.map((seed) => travelling[seed]);
  },

  // [{latent, weights}, ...] -> uint8 [n, channels, size, size]
  async images(points) {
    await started;
    const rows = joined(points);
    return asked({ rows, count: points.length, latentDim: facts.latentDim, classes: facts.classNames.length }, [rows.buffer]);
  },
};
