// Where an instruction is written: the form, presets and earlier ones.

import { history } from "./kept.js";
import { byId } from "./shown.js";

// What a preset is called, what it asks for, and how it looks.
export const PRESETS = [
  ["Snowy night", "make it a snowy night", "linear-gradient(160deg, #dfeaf7, #2a3f6b)"],
  ["Oil painting", "turn it into an oil painting", "conic-gradient(from 40deg, #b5532c, #e0a13b, #3f6f4e, #b5532c)"],
  ["Pencil sketch", "turn it into a pencil sketch", "repeating-linear-gradient(45deg, #f2f2ef 0 3px, #9a9a97 3px 4px)"],
  ["Old movie", "make it look like an old movie", "linear-gradient(160deg, #e2cfa5, #5c4527)"],
  ["Fog", "make it foggy", "linear-gradient(180deg, #eef2f4, #94a3ad)"],
  ["Autumn", "make it autumn", "linear-gradient(160deg, #f4b13c, #9c3a12)"],
];

// Walks through earlier instructions with the arrow keys, as a shell does; what was being written is the newest.
class Recall {
  constructor(input) {
    this.input = input;
    this.place = -1;
    this.draft = "";
    input.addEventListener("input", () => { this.place = -1; });
    input.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!step || event.isComposing) return;
      event.preventDefault();
      this.move(step);
    });
  }

  move(step) {
    const words = history.words();
    if (this.place === -1) this.draft = this.input.value;
    this.place = Math.max(-1, Math.min(words.length - 1, this.place + step));
    this.input.value = this.place === -1 ? this.draft : words[this.place];
  }
}

function presetButton([label, words, swatch], index, apply) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.prompt = words;
  button.title = words;
  const dot = document.createElement("i");
  dot.style.setProperty("--swatch", swatch);
  const key = Object.assign(document.createElement("kbd"), { textContent: index + 1 });
  button.append(dot, label, key);
  button.onclick = () => apply(words);
  return button;
}

function showHistory() {
  const options = history.words().map((value) => Object.assign(document.createElement("option"), { value }));
  byId("history").replaceChildren(...options);
}

export function rememberPrompt(prompt) {
  history.add(prompt);
  showHistory();
}

// `apply` gets the words and in how many seconds they are to count.
export function setUpAsking(apply) {
  byId("prompt-form").onsubmit = (event) => {
    event.preventDefault();
    apply(byId("prompt").value, Number(byId("prompt-delay").value) || 0);
  };
  byId("presets").replaceChildren(...PRESETS.map((preset, index) => presetButton(preset, index, apply)));
  new Recall(byId("prompt"));
  showHistory();
}
