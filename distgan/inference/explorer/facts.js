// What the page knows about its generator, and small helpers of all scripts.
"use strict";

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);

const problems = new Map(); // whose: the sentence

function tell(whose, problem) {
  problems.set(whose, problem);
  $("problem").textContent = [...new Set(problems.values())].filter(Boolean).join(" ");
  $("problem").hidden = !$("problem").textContent;
}

// A function that does `work` once more after a call that came while it was busy; `current()` says whether none has.
function latest(work) {
  let [asked, busy] = [0, false];
  const renew = async () => {
    asked += 1;
    if (busy) return;
    busy = true;
    for (let done = 0; done !== asked;) {
      const mine = done = asked;
      let problem = "";
      try {
        await work(() => mine === asked);
      } catch (error) {
        problem = error.message;
      }
      if (mine === asked) tell(work, problem);
    }
    busy = false;
  };
  return Object.assign(renew, { work });
}

window.addEventListener("error", ({ message }) => tell(window, `This browser cannot show the page: ${message}`));

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const newCanvas = () => made("canvas", { width: facts.size, height: facts.size });

// Image `number` of uint8 [n, channels, size, size] on a canvas of its size.
function paint(canvas, pixels, number = 0) {
  const area = facts.size ** 2;
  const image = new ImageData(facts.size, facts.size);
  for (let place = 0; place < area; place++) {
    for (let color = 0; color < 3; color++) {
      image.data[4 * place + color] = pixels[(number * facts.channels + color % facts.channels) * area + place];
    }
    image.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Image `number` of several, as bytes of its own.
const imageOf = (pixels, number) => pixels.slice(number * facts.channels * facts.size ** 2, (number + 1) * facts.channels * facts.size ** 2);

function download(blob, name) {
  const link = made("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
