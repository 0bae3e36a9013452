// Puts the page together.
"use strict";

function changed() {
  renewGrid();
  renewWalk();
  tellWalk();
}

function applySettings(settings) {
  Object.assign(state, settings);
  showSettings();
  changed();
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text and copy it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

$("about").textContent = facts.about;
if (backend.lastSeed < 1e6) $("seeds-hint").textContent += `, up to ${backend.lastSeed}`;
buildSettings(changed);
$("large").width = $("large").height = walkCanvas().width = walkCanvas().height = facts.size;
document.body.classList.toggle("small-images", facts.size <= 128);
$("settings").addEventListener("submit", (event) => event.preventDefault());
$("save-grid").addEventListener("click", saveGrid);
$("copy").addEventListener("click", () => copy($("copy"), $("command").textContent));
$("walk-copy").addEventListener("click", () => copy($("walk-copy"), $("walk-command").textContent));
$("keep").addEventListener("click", () => keep([...kept, toFragment({ ...state, seeds: String(selected), ...ownClass(selected) })]));
$("add").addEventListener("click", () => { stops = [...stops, selected]; showStops(); });
$("nearest").hidden = !facts.nearest;
$("nearest").addEventListener("click", showNearest);
$("play").addEventListener("click", play);
$("position").addEventListener("input", () => { playing = false; time = Number($("position").value); tellWalk(); renewWalk(); });
$("film").hidden = !filmKind();
$("film").addEventListener("click", saveFilm);
window.addEventListener("hashchange", () => applySettings(fromFragment(location.hash.slice(1))));
applySettings(fromFragment(location.hash.slice(1)));
showKept();

// A favourite keeps its class also when the grid's class changes.
function ownClass(seed) {
  return classes && state.first === OWN ? { first: seed % classes, second: OWN, share: 0 } : {};
}
