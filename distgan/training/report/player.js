// One of several images at a time, with a slider, arrow keys and a play button. Without this script all of them are seen.
"use strict";

const quiet = matchMedia("(prefers-reduced-motion: reduce)");

class Player {
  // part: the element that holds the figures; its content may be replaced, and `renew` is called then.
  constructor(part, name) {
    this.part = part;
    this.timer = 0;
    this.place = Infinity; // follows the newest image until another one is chosen
    this.box = document.createElement("div");
    this.box.className = "player";
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    this.slider = document.createElement("input");
    this.slider.type = "range";
    this.slider.min = 0;
    this.slider.setAttribute("aria-label", `${name}: images seen`);
    this.slider.addEventListener("input", () => {
      this.stop();
      this.choose(Number(this.slider.value));
    });
    this.box.append(this.button, this.slider);
    part.before(this.box);
    this.stop();
    this.renew();
  }

  get figures() {
    return [...this.part.querySelectorAll("[data-frame]")];
  }

  choose(place) {
    const last = this.figures.length - 1;
    this.place = place < last ? place : Infinity;
    this.key = this.figures[Math.min(place, last)]?.dataset.frame;
    this.show();
  }

  // The chosen image stays the chosen one when others are added.
  renew() {
    if (this.place !== Infinity) this.place = this.nearest();
    this.show();
  }

  // The place of the chosen image or, where it is no longer among those that are shown, of the next one before it.
  nearest() {
    const images = (key) => Number(/\d+$/.exec(key));
    return Math.max(0, this.figures.findLastIndex((figure) => images(figure.dataset.frame) <= images(this.key)));
  }

  async show() {
    const figures = this.figures;
    const last = figures.length - 1;
    const place = Math.min(this.place, last);
    this.box.hidden = last < 1;
    this.slider.max = Math.max(last, 0);
    this.slider.value = place;
    const wanted = figures[place];
    if (!wanted) return;
    this.slider.setAttribute("aria-valuetext", wanted.querySelector("figcaption").textContent);
    const image = wanted.querySelector("img");
    image.loading = "eager";
    this.wanted = wanted;
    await image.decode().catch(() => {}); // no empty moment between two images
    if (this.wanted === wanted) for (const figure of this.figures) figure.hidden = figure !== wanted;
  }

  play() {
    if (this.place === Infinity) this.choose(0);
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      this.choose(this.place + 1);
      if (this.place === Infinity) this.stop();
    }, quiet.matches ? 1500 : 400);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.button.textContent = "Play";
  }
}

const players = new Map();
for (const frames of document.querySelectorAll(".frames")) {
  const part = frames.closest("[data-part]");
  players.set(part.dataset.part, new Player(part, part.parentElement.querySelector("h2").textContent));
}
