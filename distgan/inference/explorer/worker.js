// Runs the generator with ONNX Runtime (`ort`, above this script in the worker), one question after the other.
"use strict";

let session;
let last = Promise.resolve();

async function start({ wasm, model }) {
  const stream = new Blob([wasm]).stream().pipeThrough(new DecompressionStream("gzip"));
  ort.env.wasm.numThreads = 1; // more need a server that isolates the page
  ort.env.wasm.wasmBinary = await new Response(stream).arrayBuffer();
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

// float32 rows of latents and classes' weights -> uint8 [count, channels, size, size]
async function run({ rows, count, latentDim, classes }) {
  const width = latentDim + classes;
  const part = (from, to) => {
    const numbers = new Float32Array(count * (to - from));
    for (let row = 0; row < count; row++) numbers.set(rows.subarray(row * width + from, row * width + to), row * (to - from));
    return new ort.Tensor("float32", numbers, [count, to - from]);
  };
  const inputs = { latents: part(0, latentDim), ...(classes && { class_weights: part(latentDim, width) }) };
  const { images } = await session.run(inputs);
  return Uint8Array.from(images.data, (value) => Math.round(Math.min(1, Math.max(-1, value)) * 127.5 + 127.5));
}

onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const pixels = data.wasm ? await start(data) : await run(data);
      postMessage({ number: data.number, pixels });
    } catch (error) {
      postMessage({ number: data.number, error: `ONNX Runtime failed in this browser: ${error.message ?? error}` });
    }
  });
};
